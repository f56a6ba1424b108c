//! Backlog: bytes that grow behind readers who stall or crawl, while the number of streams stays the same. Gone when they leave, so it
//! is no leak; but it kills servers.
//!
//! In: [`Window`]s, one per dose, from a recording ([`window`]). Out: a [`Backlog`] for every such way of reading, and findings in words
//! ([`findings`]). Start at [`judge`]. Which doses had such readers was drawn at random, so whatever else grows in a dose is laid beside
//! doses without them, as everywhere in this judge. Growth is taken late in a dose only, when everybody has come: a queue with a limit is
//! full by then, and innocent. What still fills slows down, and is told from what never ends by that.
//! Bytes per second; a soak has no stretch in which their number stays the same, and is not judged.

mod say;
mod window;

use crate::units::Leave;

use super::{
    interval::Interval,
    signal::Signal,
    stats::{Engine, Estimate, order::count},
};

pub use say::findings;
pub use window::{Window, windows};

/// Readers that may build up a backlog.
pub const READERS: [Leave; 2] = [Leave::Stall, Leave::Slow];

/// What is tolerated where the profile says nothing, bytes per second and reader.
pub const TOLERATED: f64 = 64.0;

/// Probability of a false accusation in a run, over both ways of reading.
const ALPHA: f64 = 0.001;

/// The later half of the stretch must still show growth at this level, and at least so much of the growth in the earlier half.
const GOES_ON: (f64, f64) = (0.05, 0.5);

/// Windows with and without such readers, each, that a judgement takes.
const LEAST: usize = 2;

/// What became of the memory behind one way of reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backlog {
    /// Which readers.
    pub reader: Leave,
    /// Bytes per second and reader.
    pub interval: Interval,
    /// Whether it grew at all, beyond chance.
    pub grew: bool,
    /// Whether it went on to the end of the doses; otherwise something filled.
    pub goes_on: bool,
    /// Doses with such readers, and all doses.
    pub doses: (usize, usize),
    /// Readers in a dose that had any.
    pub readers: f64,
}

impl Backlog {
    /// Whether it is an accusation, whatever is tolerated.
    pub fn is_backlog(&self) -> bool {
        self.grew && self.goes_on
    }
}

/// Judges every way of reading that was in some doses and not in others.
pub fn judge(windows: &[Window], signal: Signal) -> Vec<Backlog> {
    let judged: Vec<Leave> = READERS
        .into_iter()
        .filter(|reader| can_be_judged(windows, *reader))
        .collect();
    let mut columns = vec![vec![1.0; windows.len()]];
    columns.extend(judged.iter().map(|reader| readers(windows, *reader)));
    let all: Vec<usize> = (0..columns.len()).collect();
    let rates = |part: fn(&Window) -> f64| {
        let response: Vec<f64> = windows.iter().map(part).collect();
        Engine::new(&response, &columns)
    };
    let whole = rates(|w| w.growth).fit_robust(&all);
    let (early, late) = (rates(|w| w.early).fit(&all), rates(|w| w.late).fit(&all));
    let one = |(i, reader): (usize, &Leave)| {
        let [whole, early, late] = [&whole, &early, &late].map(|fit| fit.estimate(i + 1));
        let here = windows.iter().filter(|w| w.readers(*reader) > 0.0);
        let doses = here.clone().count();
        let readers = here.map(|w| w.readers(*reader)).sum::<f64>() / count(doses.max(1));
        let interval = Interval {
            estimate: whole,
            systematic: floor(windows, signal, readers),
            hidden: 0.0,
        };
        Backlog {
            reader: *reader,
            grew: whole.chance_above(interval.systematic) < ALPHA / count(READERS.len()),
            goes_on: goes_on(early, late),
            interval,
            doses: (doses, windows.len()),
            readers,
        }
    };
    judged.iter().enumerate().map(one).collect()
}

fn goes_on(early: Estimate, late: Estimate) -> bool {
    let (chance, share) = GOES_ON;
    late.slope >= share * early.slope && late.chance_above(0.0) < chance
}

/// What an innocent server may gain in a stretch, over its length and its readers.
fn floor(windows: &[Window], signal: Signal, readers: f64) -> f64 {
    let seconds = windows.iter().map(|w| w.seconds).sum::<f64>() / count(windows.len().max(1));
    signal.floor() / seconds.max(1e-3) / readers.max(1.0)
}

fn can_be_judged(windows: &[Window], reader: Leave) -> bool {
    let with = windows.iter().filter(|w| w.readers(reader) > 0.0).count();
    with >= LEAST && windows.len() - with >= LEAST
}

fn readers(windows: &[Window], reader: Leave) -> Vec<f64> {
    windows.iter().map(|w| w.readers(reader)).collect()
}

#[cfg(test)]
mod tests;
