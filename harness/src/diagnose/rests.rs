//! What happens while nobody is there: no load, everybody gone (the method, §6.6).
//!
//! In: one [`Rest`] per stretch without load, the first one before any connection. Out: CPU that rises with the number of closed
//! connections ([`residue`]), and descriptors or threads that stay behind ([`left_behind`]). The rests are not randomised: what
//! they show alone has no factor. But descriptors are exact, and what remains of them in proportion to the closes is a leak.

use serde::Serialize;

use super::{
    signal::Signal,
    stats::order::{differences, greatest, least, mean},
};

/// A core is full from here on: then the machine flattens the curve, not the server.
pub const FULL_CORE: f64 = 0.7;
/// CPU in the rests must rise by this much of a core.
const LEAST_RISE: f64 = 0.02;
/// Closes between two rests, and what is left of them, before anything is said.
const LEAST_CLOSED: f64 = 100.0;
const LEAST_LEFT: f64 = 50.0;
/// The first and the last rate may differ by this much and still be the same rate.
const SAME_RATE: (f64, f64) = (0.3, 3.0);
/// What grows by itself may lose this much of its rate from priming to the end, as strikes fall into rests by chance.
const NOT_SLOWER: f64 = 0.6;
/// Left per closed connection: from here on unexplained, from there on a leak.
const UNEXPLAINED_FROM: f64 = 0.05;
const LEAK_FROM: f64 = 0.2;

/// One stretch without load.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Rest {
    /// Connections closed before it.
    pub closed: f64,
    /// Its length.
    pub seconds: f64,
    /// CPU of the tree, in cores, without bursts.
    pub cpu: Option<f64>,
    /// Growth of resident memory, bytes per second.
    pub memory_growth: Option<f64>,
    /// Growth of the collected heap, bytes per second.
    pub heap_growth: Option<f64>,
    /// Descriptors open at its end.
    pub descriptors: Option<f64>,
    /// Threads at its end.
    pub threads: Option<f64>,
}

impl Rest {
    fn count(&self, signal: Signal) -> Option<f64> {
        match signal {
            Signal::Descriptors => self.descriptors,
            Signal::Threads => self.threads,
            _ => None,
        }
    }
}

/// The rate of a cumulative counter without its busiest fifth (at least one step): bursts of a collector, a job.
pub fn quiet_rate(total: &[f64], seconds: &[f64]) -> Option<f64> {
    let steps = differences(total);
    let lengths = differences(seconds);
    let mut rates: Vec<f64> = steps
        .iter()
        .zip(&lengths)
        .map(|(s, l)| s / l.max(0.2))
        .collect();
    rates.sort_by(f64::total_cmp);
    let quiet = rates.len().saturating_sub((rates.len() / 5).max(1)).max(1);
    (!rates.is_empty()).then(|| mean(&rates[..quiet.min(rates.len())]))
}

/// CPU that follows the number of closed connections while nobody is connected.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Residue {
    /// Cores per closed connection.
    pub cores_per_closed: f64,
    /// Cores, from the first rest to the last.
    pub rise: f64,
}

/// CPU in the rests rises from nothing, stays, and keeps its rate per close. A residue is unexplained, never a leak by itself.
pub fn residue(rests: &[Rest]) -> Option<Residue> {
    let cores: Vec<f64> = rests.iter().map(|r| r.cpu).collect::<Option<_>>()?;
    let closed: Vec<f64> = rests.iter().map(|r| r.closed).collect();
    let &[first, second, .., last] = cores.as_slice() else {
        return None;
    };
    let &[none, primed, .., all] = closed.as_slice() else {
        return None;
    };
    if none > 0.02 * all || all <= primed {
        return None;
    }
    let rise = last - first;
    let (early, late) = (
        (second - first) / (primed - none),
        (last - second) / (all - primed),
    );
    let steady = (SAME_RATE.0 * early..=SAME_RATE.1 * early).contains(&late);
    let found = rise > LEAST_RISE.max(2.0 * first)
        && early > 0.0
        && least(&cores[1..]) - first > 0.2 * rise
        && differences(&cores).iter().all(|step| *step > -0.25 * rise)
        && (last > FULL_CORE || steady);
    found.then(|| Residue {
        cores_per_closed: rise / (all - none),
        rise,
    })
}

/// Memory that grows while nobody is there, at the same rate before the first connection and after the last.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct IdleGrowth {
    /// Bytes per second, over all rests.
    pub per_second: f64,
    /// The least in one rest.
    pub low: f64,
    /// The most in one rest.
    pub high: f64,
}

/// Growth in every rest, by an exact account of live bytes (a collected heap, an allocator): not randomised, so unexplained and never a
/// leak by itself. Each rest must gain more than `floor` bytes.
///
/// The rest before the first dose may gain more, since whoever stands there for the whole run is still warming the server up; it must not
/// gain much less: then what grows follows the closes. The rests after priming must not slow down: a warm-up does. The last rate is at
/// least [`NOT_SLOWER`] of the first after priming. The estimate is made of the rests after priming.
pub fn idle_growth(rests: &[Rest], floor: f64) -> Option<IdleGrowth> {
    let rates: Vec<f64> = rests.iter().map(|r| r.heap_growth).collect::<Option<_>>()?;
    let &[before, primed, .., last] = rates.as_slice() else {
        return None;
    };
    let gains: Vec<f64> = rests
        .iter()
        .zip(&rates)
        .map(|(r, g)| r.seconds * g)
        .collect();
    let later = &rates[1..];
    let alike = least(later) > SAME_RATE.0 * greatest(later) && before >= 0.5 * least(later);
    let steady = alike && last >= NOT_SLOWER * primed;
    let seconds: f64 = rests[1..].iter().map(|r| r.seconds).sum();
    (least(&gains) > floor && steady).then(|| IdleGrowth {
        per_second: gains[1..].iter().sum::<f64>() / seconds,
        low: least(later),
        high: greatest(later),
    })
}

/// Descriptors or threads that stay when everybody has left.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LeftBehind {
    /// Per closed connection, over all.
    pub per_closed: f64,
    /// The least between two rests.
    pub low: f64,
    /// The most between two rests.
    pub high: f64,
    /// Whether it is enough to be a leak without any regression.
    pub leak: bool,
}

/// At every rest more of them, in proportion to the connections closed in between.
pub fn left_behind(rests: &[Rest], signal: Signal) -> Option<LeftBehind> {
    let counts: Vec<f64> = rests
        .iter()
        .map(|r| r.count(signal))
        .collect::<Option<_>>()?;
    let closed: Vec<f64> = rests.iter().map(|r| r.closed).collect();
    let (&[none, .., all], &[before, .., after]) = (closed.as_slice(), counts.as_slice()) else {
        return None;
    };
    let (more, closes) = (differences(&counts), differences(&closed));
    if rests.len() < 3 || none > 0.02 * all || closes.iter().any(|c| *c < LEAST_CLOSED) {
        return None;
    }
    let rates: Vec<f64> = more.iter().zip(&closes).map(|(m, c)| m / c).collect();
    let (first, last) = (rates[0], rates[rates.len() - 1]);
    let steady = first > 0.0 && (SAME_RATE.0..=SAME_RATE.1).contains(&(last / first));
    if least(&rates) < UNEXPLAINED_FROM || least(&more) < LEAST_LEFT || !steady {
        return None;
    }
    Some(LeftBehind {
        per_closed: (after - before) / (all - none),
        low: least(&rates),
        high: greatest(&rates),
        leak: least(&rates) >= LEAK_FROM,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rests(rows: &[(f64, f64, f64)]) -> Vec<Rest> {
        let rest = |&(closed, cpu, descriptors): &(f64, f64, f64)| Rest {
            closed,
            cpu: Some(cpu),
            descriptors: Some(descriptors),
            ..Rest::default()
        };
        rows.iter().map(rest).collect()
    }

    #[test]
    fn cpu_that_follows_the_closes_is_a_residue_and_a_warm_start_is_not() {
        for (rows, found) in [
            (
                &[
                    (0.0, 0.01, 9.0),
                    (1700.0, 0.1, 9.0),
                    (3300.0, 0.2, 9.0),
                    (4500.0, 0.27, 9.0),
                ][..],
                true,
            ),
            (
                &[
                    (0.0, 0.01, 9.0),
                    (1700.0, 0.1, 9.0),
                    (3300.0, 0.1, 9.0),
                    (4500.0, 0.1, 9.0),
                ],
                false,
            ), // one step
            (
                &[(0.0, 0.2, 9.0), (1700.0, 0.2, 9.0), (3300.0, 0.3, 9.0)],
                false,
            ), // busy from the start
            (
                &[
                    (0.0, 0.01, 9.0),
                    (1700.0, 0.5, 9.0),
                    (3300.0, 0.9, 9.0),
                    (4500.0, 0.9, 9.0),
                ],
                true,
            ), // the core is full
            (&[(0.0, 0.01, 9.0), (1700.0, 0.2, 9.0)], false), // two points are no trend
            (
                &[
                    (0.0, 0.01, 9.0),
                    (1700.0, 0.05, 9.0),
                    (3300.0, 0.06, 9.0),
                    (4500.0, 0.9, 9.0),
                ],
                false,
            ), // all at once, late
            (
                &[(900.0, 0.01, 9.0), (1700.0, 0.1, 9.0), (3300.0, 0.2, 9.0)],
                false,
            ), // nobody saw the beginning
        ] {
            assert_eq!(residue(&rests(rows)).is_some(), found, "{rows:?}");
        }
    }

    #[test]
    fn descriptors_left_in_proportion_are_a_leak_and_a_pool_that_fills_is_not() {
        for (rows, leak) in [
            (
                &[
                    (0.0, 0.0, 40.0),
                    (1700.0, 0.0, 1740.0),
                    (3300.0, 0.0, 3340.0),
                ][..],
                Some(true),
            ),
            (
                &[(0.0, 0.0, 40.0), (1700.0, 0.0, 210.0), (3300.0, 0.0, 370.0)],
                Some(false),
            ), // one in ten
            (
                &[(0.0, 0.0, 40.0), (1700.0, 0.0, 740.0), (3300.0, 0.0, 740.0)],
                None,
            ), // a pool
            (
                &[(0.0, 0.0, 40.0), (90.0, 0.0, 130.0), (180.0, 0.0, 220.0)],
                None,
            ), // too few to say
            (
                &[(0.0, 0.0, 40.0), (1700.0, 0.0, 40.0), (3300.0, 0.0, 40.0)],
                None,
            ),
        ] {
            let found = left_behind(&rests(rows), Signal::Descriptors);
            assert_eq!(found.map(|f| f.leak), leak, "{rows:?}");
        }
    }

    #[test]
    fn a_leak_per_second_is_seen_with_nobody_there_and_a_warm_up_is_not() {
        for (rates, found) in [
            (&[100.0, 101.0, 99.0, 100.0][..], true),
            (&[5460.0, 2560.0, 2200.0, 2560.0], true), // and a standing population that warms up before
            (&[1000.0, 600.0, 200.0, 50.0], false),    // warms up
            (&[1000.0, 900.0, 600.0, 450.0], false),   // slows down
            (&[0.0, 800.0, 1600.0, 2400.0], false), // follows the closes: zombies are judged elsewhere
            (&[10.0, 10.0, 10.0, 10.0], false),     // below the floor
            (&[100.0, 100.0], false),               // two points are no trend
        ] {
            let rest = |rate: &f64| Rest {
                seconds: 10.0,
                heap_growth: Some(*rate),
                ..Rest::default()
            };
            let rests: Vec<Rest> = rates.iter().map(rest).collect();
            assert_eq!(idle_growth(&rests, 512.0).is_some(), found, "{rates:?}");
        }
    }

    #[test]
    fn what_was_not_recorded_says_nothing() {
        let blind = vec![Rest::default(); 4];
        assert_eq!(residue(&blind), None);
        assert_eq!(left_behind(&blind, Signal::Threads), None);
    }
}
