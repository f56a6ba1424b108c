//! Is it quiet yet? Computed from what was counted; somebody else looks and waits.

use crate::{
    observe::{Sample, Sockets},
    plan::Leave,
    record::CleanupRow,
    timeline::{Counts, Elapsed},
};

/// What is there when only the standing population is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Baseline {
    /// Connections of ours.
    pub(super) own: u64,
    /// Sockets that the target holds, by the kernel's count.
    pub(super) kernel: Option<u64>,
    /// Connections, by the target's count.
    pub(super) connections: Option<u64>,
    /// Sessions, by the target's count.
    pub(super) sessions: Option<u64>,
}

impl Baseline {
    /// Takes what is there now as the baseline.
    pub(super) fn of(counts: &Counts, look: &Sample) -> Self {
        let target = look.target.as_ref();
        Self {
            own: counts.live(),
            kernel: look.sockets.as_ref().map(Sockets::held),
            connections: target.and_then(|target| target.connections_live),
            sessions: target.and_then(|target| target.sessions_live),
        }
    }

    /// Whether every connection beyond the baseline is gone, by every count there is.
    pub(super) fn connections_gone(&self, counts: &Counts, look: &Sample) -> bool {
        let now = Self::of(counts, look);
        now.own <= self.own
            && counts.is_nobody_due()
            && back(now.kernel, self.kernel)
            && back(now.connections, self.connections)
    }

    /// Whether every session beyond the baseline is gone too.
    pub(super) fn all_gone(&self, counts: &Counts, look: &Sample) -> bool {
        self.connections_gone(counts, look) && back(Self::of(counts, look).sessions, self.sessions)
    }
}

/// A count that cannot be read never says "not yet": it would make every drain wait for nothing.
fn back(now: Option<u64>, base: Option<u64>) -> bool {
    now.zip(base).is_none_or(|(now, base)| now <= base)
}

/// Watches one drain: what of this cycle is still there, and since when it is not.
#[derive(Clone, Debug)]
pub(super) struct Drain {
    began: Elapsed,
    before: Baseline,
    tracks: Vec<Track>,
}

#[derive(Clone, Debug)]
struct Track {
    of: Of,
    lingering: Option<u64>,
    clean: Option<Elapsed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Leave(Leave),
    Connections,
    Sessions,
}

impl Of {
    const fn name(self) -> &'static str {
        match self {
            Self::Leave(leave) => leave.name(),
            Self::Connections => "connections",
            Self::Sessions => "sessions",
        }
    }

    fn left(self, dose: &Counts) -> u64 {
        match self {
            Self::Leave(leave) => dose.closed[leave.index()],
            Self::Connections => dose.closed_total(),
            Self::Sessions => dose.sessions_created,
        }
    }
}

impl Drain {
    /// Starts to watch. `before` is what was there before the dose.
    pub(super) fn begin(began: Elapsed, before: Baseline) -> Self {
        let track = |of| Track {
            of,
            lingering: None,
            clean: None,
        };
        let tracks = Leave::ALL
            .into_iter()
            .map(Of::Leave)
            .chain([Of::Connections, Of::Sessions])
            .map(track)
            .collect();
        Self {
            began,
            before,
            tracks,
        }
    }

    /// Takes in one look.
    pub(super) fn see(&mut self, look: &Sample, lingered_before: &[u64; Leave::ALL.len()]) {
        let before = self.before;
        for track in &mut self.tracks {
            let over = match track.of {
                Of::Leave(leave) => {
                    let held = look
                        .sockets
                        .as_ref()
                        .map(|sockets| sockets.held_by_leave[leave.index()]);
                    held.map(|held| held.saturating_sub(lingered_before[leave.index()]))
                }
                Of::Connections => over(
                    look.target
                        .as_ref()
                        .and_then(|target| target.connections_live),
                    before.connections,
                ),
                Of::Sessions => over(
                    look.target.as_ref().and_then(|target| target.sessions_live),
                    before.sessions,
                ),
            };
            track.lingering = over;
            track.clean = match (over, track.clean) {
                (Some(0), None) => Some(look.at),
                (Some(0), since) => since,
                _ => None,
            };
        }
    }

    /// What lingered, row by row, of what came in the cycle. `dose` is what the load did from the dose to the end of the drain.
    pub(super) fn end(self, at: Elapsed, cycle: i32, dose: &Counts) -> Vec<CleanupRow> {
        let began = self.began;
        let row = |track: Track| CleanupRow {
            at,
            cycle,
            of: track.of.name(),
            left: track.of.left(dose),
            lingering: track.lingering,
            clean_s: track.clean.map(|clean| clean.since(began).as_secs_f64()),
        };
        self.tracks
            .into_iter()
            .map(row)
            .filter(|row| row.left > 0)
            .collect()
    }
}

fn over(now: Option<u64>, base: Option<u64>) -> Option<u64> {
    Some(now?.saturating_sub(base?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::observe::TargetReport;

    fn look(at_ms: u64, fin: u64, sessions: u64) -> Sample {
        let mut sockets = Sockets {
            established: 4 + fin,
            ..Sockets::default()
        };
        sockets.held_by_leave[Leave::Fin.index()] = 4 + fin;
        let target = TargetReport {
            connections_live: Some(4 + fin),
            sessions_live: Some(4 + sessions),
            ..TargetReport::default()
        };
        Sample {
            at: Elapsed(Duration::from_millis(at_ms)),
            sockets: Some(sockets),
            target: Some(target),
            ..Sample::default()
        }
    }

    fn dose() -> Counts {
        let mut dose = Counts {
            sessions_created: 30,
            ..Counts::default()
        };
        dose.closed[Leave::Fin.index()] = 60;
        dose
    }

    #[test]
    fn what_lingers_is_told_apart_from_what_was_there_before() {
        let before = Baseline::of(&Counts::default(), &look(0, 0, 0));
        let mut lingered = [0; Leave::ALL.len()];
        lingered[Leave::Fin.index()] = 4;
        let mut drain = Drain::begin(Elapsed::default(), before);
        for now in [look(50, 9, 30), look(100, 0, 30), look(150, 0, 30)] {
            drain.see(&now, &lingered);
        }
        let rows = drain.end(Elapsed(Duration::from_millis(200)), 3, &dose());
        let told: Vec<_> = rows
            .iter()
            .map(|row| (row.of, row.left, row.lingering, row.clean_s))
            .collect();
        assert_eq!(
            told,
            [
                ("fin", 60, Some(0), Some(0.1)),
                ("connections", 60, Some(0), Some(0.1)),
                ("sessions", 30, Some(30), None)
            ]
        );
    }

    #[test]
    fn a_count_that_comes_back_for_a_moment_only_is_not_clean() {
        let before = Baseline::of(&Counts::default(), &look(0, 0, 0));
        let mut drain = Drain::begin(Elapsed::default(), before);
        for now in [look(50, 0, 0), look(100, 0, 5)] {
            drain.see(&now, &[4; Leave::ALL.len()]);
        }
        let sessions = drain.end(Elapsed::default(), 0, &dose()).pop().unwrap();
        assert_eq!((sessions.lingering, sessions.clean_s), (Some(5), None));
    }

    #[test]
    fn a_count_that_nobody_reports_does_not_hold_up_the_drain() {
        let blind = Sample::default();
        let before = Baseline::of(&Counts::default(), &blind);
        assert!(before.all_gone(&Counts::default(), &blind));
        assert!(!before.all_gone(
            &Counts {
                opened: 1,
                ..Counts::default()
            },
            &blind
        ));
    }
}
