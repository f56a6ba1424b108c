//! The stretch of each dose in which everybody has come and nobody has left, as rows of a regression.
//!
//! In: the samples and readings of a recording. Out: the best memory signal that was sampled, and a [`Window`] per judged dose.

use crate::{
    plan::ARRIVALS,
    record::{Series, Table},
    units::Leave,
};

use super::{
    super::{
        recording::MEMORY,
        signal::Signal,
        stats::order::{count, greatest, mean},
    },
    READERS,
};

/// After the last client of a dose has come, this share of the dose passes before it is looked at: whoever came last fills the buffers
/// on its way meanwhile.
const AFTER_ARRIVALS: f64 = 0.07;

/// Samples that a stretch needs: two for each half would be a line through two points.
const LEAST_SAMPLES: usize = 6;

/// Late in one dose. Growth is bytes per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Readers who stalled, and who crawled: how many came, whatever became of them.
    pub readers: [f64; READERS.len()],
    /// Length of the stretch, seconds.
    pub seconds: f64,
    /// Over the whole stretch.
    pub growth: f64,
    /// Over its earlier half.
    pub early: f64,
    /// Over its later half.
    pub late: f64,
    /// What the dose added by its end, bytes since the reading before it; `None` where that is not known.
    pub added: Option<f64>,
    /// What of it was there at the reading after it, when everybody had left.
    pub stayed: Option<f64>,
    /// The most that the kernel held in the send queues of such readers, bytes.
    pub kernel: Option<f64>,
}

impl Window {
    /// How many readers of one way there were.
    pub fn readers(&self, reader: Leave) -> f64 {
        let place = READERS.iter().position(|known| *known == reader);
        place.map_or(0.0, |place| self.readers[place])
    }
}

/// The best signal that was sampled in doses, and a window per dose that is long enough to be looked at; priming is left out. What an
/// allocator says counts here without its having been asked to tidy up: what waits is live.
pub fn windows(samples: &Table, readings: &Table) -> Option<(Signal, Vec<Window>)> {
    let doses = doses(samples);
    let known = |series: Series| {
        let rows = doses.iter().flat_map(|dose| &dose.rows);
        let all = rows.clone().count();
        let read = rows.filter(|row| samples.number(series.name(), **row).is_some());
        all > 0 && 2 * read.count() > all
    };
    let (signal, series) = MEMORY.into_iter().find(|(_, series)| known(*series))?;
    let window = |dose: &Dose| dose.window(samples, readings, series);
    Some((signal, doses.iter().filter_map(window).collect()))
}

/// The samples of one dose.
struct Dose {
    cycle: f64,
    rows: Vec<usize>,
}

fn doses(samples: &Table) -> Vec<Dose> {
    let mut doses: Vec<Dose> = Vec::new();
    for row in 0..samples.rows() {
        let Some(cycle) = samples.number("cycle", row).filter(|cycle| *cycle >= 0.0) else {
            continue;
        };
        if samples.text("phase", row) != Some("dose") {
            continue;
        }
        match doses.last_mut() {
            Some(dose) if is_same(dose.cycle, cycle) => dose.rows.push(row),
            _ => doses.push(Dose {
                cycle,
                rows: vec![row],
            }),
        }
    }
    doses
}

fn is_same(one: f64, other: f64) -> bool {
    (one - other).abs() < 0.5
}

impl Dose {
    fn window(&self, samples: &Table, readings: &Table, series: Series) -> Option<Window> {
        let at = |row: &usize| {
            Some((
                samples.number("t_s", *row)?,
                samples.number(series.name(), *row)?,
            ))
        };
        let seen: Vec<(f64, f64)> = self.rows.iter().filter_map(at).collect();
        let (begun, ended) = (seen.first()?.0, seen.last()?.0);
        let from = begun + (ARRIVALS + AFTER_ARRIVALS) * (ended - begun);
        let stretch: Vec<(f64, f64)> = seen.iter().copied().filter(|(t, _)| *t >= from).collect();
        if stretch.len() < LEAST_SAMPLES {
            return None;
        }
        let (early, late) = stretch.split_at(stretch.len() / 2);
        let (before, after) = self.readings(readings)?;
        let came = |leave: Leave| {
            let name = format!("closed_{}_total", leave.name());
            let total = |row| readings.number(&name, row);
            Some((total(after)? - total(before)?).max(0.0))
        };
        let level = |row| readings.number(series.name(), row);
        let gained = |end: f64| Some(end - level(before)?);
        Some(Window {
            readers: [came(READERS[0])?, came(READERS[1]).unwrap_or(0.0)],
            seconds: ended - stretch.first()?.0,
            growth: slope(&stretch)?,
            early: slope(early)?,
            late: slope(late)?,
            added: gained(stretch.last()?.1),
            stayed: level(after).and_then(gained),
            kernel: self.kernel(samples),
        })
    }

    /// The rows of the readings before and after it.
    fn readings(&self, readings: &Table) -> Option<(usize, usize)> {
        let is_own = |row: &usize| {
            readings.text("kind", *row) == Some("cycle")
                && readings
                    .number("cycle", *row)
                    .is_some_and(|cycle| is_same(cycle, self.cycle))
        };
        let after = (0..readings.rows()).find(is_own)?;
        Some((after.checked_sub(1)?, after))
    }

    fn kernel(&self, samples: &Table) -> Option<f64> {
        let held = |row: &usize| {
            READERS
                .iter()
                .map(|leave| {
                    samples.number(&format!("kernel_send_queue_{}_bytes", leave.name()), *row)
                })
                .sum::<Option<f64>>()
        };
        let all: Vec<f64> = self.rows.iter().filter_map(held).collect();
        (!all.is_empty()).then(|| greatest(&all))
    }
}

/// The slope of a straight line through the points; `None` if they are all at one moment.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let (times, values): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    let (middle, level) = (mean(&times), mean(&values));
    let spread: f64 = times.iter().map(|t| (t - middle).powi(2)).sum();
    let together: f64 = points.iter().map(|(t, y)| (t - middle) * (y - level)).sum();
    (spread > 1e-9 * count(points.len())).then(|| together / spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    const READINGS: &str = "t_s,kind,cycle,closed_stall_total,closed_slow_total,heap_allocated_bytes\n\
        0,cycle,-1,5,0,1000\n20,cycle,0,15,0,1000\n40,cycle,1,15,0,1000\n";

    /// Samples twice a second of two doses of ten seconds: in the first one 40 B/s are added from its middle on.
    fn samples(phase: &str, memory: &str) -> Table {
        let mut text = format!(
            "t_s,phase,cycle,{memory},kernel_send_queue_stall_bytes,kernel_send_queue_slow_bytes\n"
        );
        for cycle in 0..2 {
            for half in 0..=20 {
                let t = f64::from(half) / 2.0;
                let bytes = 1000.0
                    + if cycle == 0 {
                        40.0 * (t - 5.0).max(0.0)
                    } else {
                        0.0
                    };
                let at = t + 20.0 * f64::from(cycle) + 5.0;
                text += &format!("{at},{phase},{cycle},{bytes},{},0\n", half * 10);
            }
        }
        Table::read(text.as_bytes(), &["phase"]).unwrap().0
    }

    fn readings() -> Table {
        Table::read(READINGS.as_bytes(), &["kind"]).unwrap().0
    }

    #[test]
    fn a_window_is_the_end_of_a_dose_with_those_who_came_in_it() {
        let (signal, found) =
            windows(&samples("dose", "heap_allocated_bytes"), &readings()).unwrap();
        assert_eq!((signal, found.len()), (Signal::Allocated, 2));
        let stalled = found.iter().map(|window| window.readers(Leave::Stall));
        assert_eq!(stalled.collect::<Vec<_>>(), [10.0, 0.0]);
        for rate in [found[0].growth, found[0].early, found[0].late] {
            assert!((rate - 40.0).abs() < 1e-9, "{rate}");
        }
        assert!(found[1].growth.abs() < 1e-9);
        assert_eq!((found[0].added, found[0].stayed), (Some(200.0), Some(0.0)));
        assert_eq!(found[0].kernel, Some(200.0));
    }

    #[test]
    fn without_doses_without_memory_or_with_too_few_samples_there_is_nothing_to_judge() {
        assert_eq!(windows(&samples("load", "rss_bytes"), &readings()), None);
        assert_eq!(windows(&samples("dose", "some_bytes"), &readings()), None);
        let short = "t_s,phase,cycle,rss_bytes\n1,dose,0,5\n2,dose,0,5\n";
        let short = Table::read(short.as_bytes(), &["phase"]).unwrap().0;
        assert_eq!(windows(&short, &readings()), Some((Signal::Rss, vec![])));
    }
}
