//! The rows of the regression: one per cycle of an assay, or per block of a soak (the method, §4).
//!
//! In: whatever could be read of a run. Out: [`Observations`], the only thing the judge of one signal works on. Row 0 is the
//! reading that ends priming: everything counts from there. Readings are bytes (or what a counter counts), times seconds.
//!
//! The run chooses which ways of leaving and which other units it doses. With `fin`, `rst`, `stall`, sessions and events this is
//! exactly the method as written; [`Factors`](super::factors::Factors) says how it carries over to any other list.

use crate::units::Factor;

use super::stats::order::{count, differences, median};

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A cycle, read when everybody has left.
    Assay,
    /// A block of steady load, read under load.
    Soak,
    /// A block of steady load, read when everybody has left: a long cycle, judged as a soak is.
    Drained,
}

/// How much of one factor had been given at each reading.
#[derive(Clone, Debug, PartialEq)]
pub struct Dose {
    /// Which factor.
    pub factor: Factor,
    /// Units given since row 0.
    pub total: Vec<f64>,
    /// For a way of leaving: connection-seconds since the closes, since row 0 (the time integral of *all* closes, those of priming
    /// included). `None` where nobody added them up: then nothing is said about what eats on.
    pub waited: Option<Vec<f64>>,
}

/// When a nuisance column takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Always, unless it never changes.
    Always,
    /// From ten rows on, if it varies by more than 5 % of its largest value: live connections, live sessions.
    IfItVaries,
}

/// Something memory legitimately follows, removed before any factor is accused.
#[derive(Clone, Debug, PartialEq)]
pub struct Nuisance {
    /// What it is, for the report.
    pub name: String,
    /// Its value at each reading.
    pub values: Vec<f64>,
    /// When it takes part.
    pub kept: Kept,
}

/// The positive control: blocks that the target was asked to keep. A judge that does not find them is blind.
#[derive(Clone, Debug, PartialEq)]
pub struct Control {
    /// Blocks kept since row 0.
    pub blocks: Vec<f64>,
    /// Bytes in each.
    pub bytes_each: f64,
}

/// How well the signal can be read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Precision {
    /// What an innocent server may keep per cycle with a dose, in the unit of the readings: see
    /// [`Signal::floor`](super::signal::Signal::floor).
    pub floor: f64,
    /// Smallest step the signal can take, bytes; 0 if it is exact.
    pub granularity: f64,
    /// Noise within a reading, root mean square.
    pub dither: f64,
    /// Bytes that come and go with the connections of the probe.
    pub footprint: f64,
    /// The share of the footprint that stays when the probe has left: 1 if the allocator gives nothing back, 0 for exact bytes.
    pub retained: f64,
}

impl Precision {
    /// A signal that counts bytes exactly and keeps nothing back, such as an allocator's own statistics.
    pub fn exact(floor: f64) -> Self {
        Self {
            floor,
            granularity: 0.0,
            dither: 0.0,
            footprint: 0.0,
            retained: 0.0,
        }
    }

    /// Half a step in every reading, where the noise does not average steps out.
    pub fn half_step(&self) -> f64 {
        if self.granularity > 3.0 * self.dither {
            0.5 * self.granularity
        } else {
            0.0
        }
    }
}

/// One signal of one run, a row per reading.
#[derive(Clone, Debug, PartialEq)]
pub struct Observations {
    /// What a row is.
    pub kind: Kind,
    /// The signal.
    pub readings: Vec<f64>,
    /// Seconds since row 0.
    pub seconds: Vec<f64>,
    /// The length of a cycle or block, seconds.
    pub cycle_seconds: f64,
    /// What was given, by factor, in any order. Never `all` or `abrupt`: those are sums.
    pub doses: Vec<Dose>,
    /// What memory legitimately follows.
    pub nuisances: Vec<Nuisance>,
    /// The positive control, if the run has one.
    pub control: Option<Control>,
    /// How well the signal can be read.
    pub precision: Precision,
    /// Whether drift itself may be accused; never by a counter.
    pub time_floor: f64,
}

impl Observations {
    /// How many rows.
    pub fn rows(&self) -> usize {
        self.readings.len()
    }

    /// The same design with another series in it (CPU, descriptors): no interval extras, and time is never accused.
    pub fn counting(&self, readings: Vec<f64>, floor: f64) -> Self {
        Self {
            readings,
            precision: Precision::exact(floor),
            time_floor: 1e9,
            ..self.clone()
        }
    }

    /// Leaves out every row in which a number is missing; returns which.
    pub fn without_gaps(&self) -> (Self, Vec<usize>) {
        let gap = |row: &usize| {
            !self
                .columns()
                .all(|c| c.get(*row).is_some_and(|v| v.is_finite()))
        };
        let gaps: Vec<usize> = (0..self.rows()).filter(gap).collect();
        let mut whole = self.clone();
        for column in whole.columns_mut() {
            let kept = column
                .iter()
                .enumerate()
                .filter(|(row, _)| !gaps.contains(row));
            *column = kept
                .map(|(_, value)| *value)
                .take(self.rows() - gaps.len())
                .collect();
        }
        (whole, gaps)
    }

    fn columns(&self) -> impl Iterator<Item = &Vec<f64>> {
        let doses = self.doses.iter().map(|d| &d.total);
        let waited = self.doses.iter().filter_map(|d| d.waited.as_ref());
        let nuisances = self.nuisances.iter().map(|n| &n.values);
        let control = self.control.iter().map(|c| &c.blocks);
        let own = [&self.readings, &self.seconds].into_iter();
        own.chain(doses)
            .chain(waited)
            .chain(nuisances)
            .chain(control)
    }

    fn columns_mut(&mut self) -> impl Iterator<Item = &mut Vec<f64>> {
        let doses = self.doses.iter_mut();
        let doses = doses.flat_map(|d| std::iter::once(&mut d.total).chain(d.waited.as_mut()));
        let nuisances = self.nuisances.iter_mut().map(|n| &mut n.values);
        let control = self.control.iter_mut().map(|c| &mut c.blocks);
        let own = [&mut self.readings, &mut self.seconds].into_iter();
        own.chain(doses).chain(nuisances).chain(control)
    }
}

/// What one more unit cannot be told from, given what an innocent server may keep per dose: the floor over the usual dose.
pub fn floor_per_unit(floor: f64, total: &[f64]) -> f64 {
    let given: Vec<f64> = differences(total)
        .into_iter()
        .filter(|d| *d > 0.5)
        .collect();
    floor / median(&given).unwrap_or(1e9).max(1.0)
}

/// The sum of several columns, row by row.
pub fn sum<'a>(columns: impl IntoIterator<Item = &'a [f64]>) -> Vec<f64> {
    let mut columns = columns.into_iter();
    let mut sum = columns.next().map_or_else(Vec::new, <[f64]>::to_vec);
    for column in columns {
        sum.iter_mut().zip(column).for_each(|(s, v)| *s += v);
    }
    sum
}

/// Whether a nuisance is worth a degree of freedom.
pub fn takes_part(nuisance: &Nuisance, values: &[f64]) -> bool {
    let largest = values.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
    let range = super::stats::order::range(values);
    match nuisance.kept {
        Kept::Always => range > 0.0,
        Kept::IfItVaries => range > 0.05 * largest && count(values.len()) >= 10.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Leave;

    fn three_rows() -> Observations {
        Observations {
            kind: Kind::Assay,
            readings: vec![1.0, f64::NAN, 3.0],
            seconds: vec![0.0, 2.0, 4.0],
            cycle_seconds: 2.0,
            doses: vec![Dose {
                factor: Factor::Closed(Leave::Fin),
                total: vec![0.0, 60.0, 60.0],
                waited: Some(vec![0.0, 10.0, 30.0]),
            }],
            nuisances: Vec::new(),
            control: None,
            precision: Precision::exact(512.0),
            time_floor: 256.0,
        }
    }

    #[test]
    fn a_row_with_a_gap_is_left_out_of_every_column() {
        let (whole, gaps) = three_rows().without_gaps();
        assert_eq!(gaps, [1]);
        assert_eq!(whole.readings, [1.0, 3.0]);
        assert_eq!(whole.doses[0].total, [0.0, 60.0]);
        assert_eq!(whole.doses[0].waited.as_deref(), Some(&[0.0, 30.0][..]));
    }

    #[test]
    fn a_short_column_costs_rows_and_never_panics() {
        let mut short = three_rows();
        short.doses[0].total.pop();
        let (whole, gaps) = short.without_gaps();
        assert_eq!((whole.rows(), gaps), (1, vec![1, 2]));
    }

    #[test]
    fn the_floor_is_shared_by_the_units_of_a_usual_dose() {
        for (total, wanted) in [
            (&[0.0, 60.0, 60.0, 120.0][..], 8.0),
            (&[0.0, 0.25, 0.5], 480e-9), // never dosed
            (&[0.0, 0.6], 480.0),        // less than one unit counts as one
        ] {
            let found = floor_per_unit(480.0, total);
            assert!((found - wanted).abs() < 1e-12, "{total:?}: {found}");
        }
    }

    #[test]
    fn live_connections_take_part_only_if_they_vary_over_enough_rows() {
        let live = |values: &[f64]| Nuisance {
            name: "live connections".into(),
            values: values.to_vec(),
            kept: Kept::IfItVaries,
        };
        for (values, wanted) in [
            ([vec![100.0; 9], vec![110.0]].concat(), true),
            ([vec![100.0; 9], vec![103.0]].concat(), false),
            (vec![0.0, 50.0, 100.0], false), // too few rows to spend one on it
        ] {
            assert_eq!(takes_part(&live(&values), &values), wanted, "{values:?}");
        }
    }
}
