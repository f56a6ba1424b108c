//! The verdict so far: what may be said of a run that goes on, as often as one likes (the method, §8).
//!
//! Read from the run directory by a thread of its own, so that neither the load nor the recording waits for it. It uses the interval that
//! is right at all times together; the verdict of the run uses planned looks, is sharper, and comes at the end.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{
    diagnose::{
        finding::sentence::{amount, per},
        sequence::Watched,
        so_far::{self, Known, Standing},
        staircase,
    },
    record::Recording,
    timeline::Clock,
};

/// Not looked more often than this.
const EVERY: Duration = Duration::from_secs(5);
/// A look costs at most this share of a core: a day's readings take a moment to judge.
const SHARE: u32 = 50;

/// What is known so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SoFar {
    pub(super) factors: Vec<Known>,
    /// Of a step load: its steps in a line.
    pub(super) steps: Option<String>,
}

impl SoFar {
    /// In a few words; `None` while there is nothing to say.
    pub(super) fn words(&self) -> Option<String> {
        if let Some(steps) = &self.steps {
            return Some(steps.clone());
        }
        let leaks: Vec<String> = self
            .factors
            .iter()
            .filter(|known| known.standing() == Standing::Leaks)
            .map(leak)
            .collect();
        if !leaks.is_empty() {
            return Some(format!("leaks {}", leaks.join(", ")));
        }
        let open = self
            .factors
            .iter()
            .filter(|known| known.standing() != Standing::Clean)
            .count();
        match (self.factors.len(), open) {
            (0, _) => None,
            (all, open) if open == all => Some("too early to say".into()),
            (_, 0) => Some("no leak so far".into()),
            (all, open) => Some(format!("no leak in {} of {all} so far", all - open)),
        }
    }
}

fn leak(known: &Known) -> String {
    let Watched { slope, half_width } = known.watched;
    format!(
        "{} ± {} B {}",
        amount(slope),
        amount(half_width),
        per(known.factor)
    )
}

/// Looks at a run directory.
pub(super) fn look(folder: &Path) -> SoFar {
    let Ok(recording) = Recording::so_far(folder) else {
        return SoFar::default(); // not there yet
    };
    if recording.manifest.kind == staircase::KIND {
        return SoFar {
            steps: staircase::stairs(&recording).last().map(|stair| {
                let p95 = stair
                    .response
                    .or(stair.first_event)
                    .map(|times| times.p95_s);
                let p95 = p95.map_or_else(|| "?".into(), staircase::duration);
                format!("{} users served, p95 {p95}", stair.users)
            }),
            ..SoFar::default()
        };
    }
    SoFar {
        factors: so_far::so_far(&recording),
        steps: None,
    }
}

/// Looks again and again, until it is dropped.
pub(super) struct Watch {
    known: Arc<Mutex<SoFar>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(super) fn over(folder: PathBuf) -> Self {
        let known = Arc::new(Mutex::new(SoFar::default()));
        let (stop, stopped) = mpsc::channel::<()>();
        let told = Arc::clone(&known);
        let watch = move || {
            let clock = Clock::start();
            let mut pause = EVERY;
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let began = clock.now();
                let fresh = look(&folder);
                *told.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
                pause = EVERY.max(clock.now().since(began) * SHARE);
            }
        };
        let thread = thread::Builder::new().name("so-far".into()).spawn(watch);
        Self {
            known,
            stop: Some(stop),
            thread: thread.ok(), // without it, nothing is said before the end
        }
    }

    /// What was known at the last look.
    pub(super) fn known(&self) -> SoFar {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok(); // a panic in it has been said, and the run is not its business
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Factor, Leave};

    fn known(factor: Factor, slope: f64, half_width: f64) -> Known {
        Known {
            factor,
            watched: Watched { slope, half_width },
            tolerance: 1024.0,
            floor: 5.0,
        }
    }

    #[test]
    fn what_is_said_is_no_more_than_the_interval_allows() {
        let fin = Factor::Closed(Leave::Fin);
        for (factors, words) in [
            (vec![], None),
            (
                vec![known(fin, 0.0, f64::INFINITY)],
                Some("too early to say"),
            ),
            (vec![known(fin, 10.0, 500.0)], Some("no leak so far")),
            (
                vec![
                    known(fin, 10.0, 500.0),
                    known(Factor::Session, 10.0, 5000.0),
                ],
                Some("no leak in 1 of 2 so far"),
            ),
            (
                vec![
                    known(fin, 10.0, 5000.0),
                    known(Factor::Session, 2816.0, 90.0),
                ],
                Some("leaks 2,816 ± 90 B per session"),
            ),
        ] {
            let so_far = SoFar {
                factors,
                steps: None,
            };
            assert_eq!(so_far.words().as_deref(), words, "{so_far:?}");
        }
    }

    #[test]
    fn a_folder_that_is_no_run_yet_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(look(folder.path()), SoFar::default());
    }
}
