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
    /// What lingered, from each look at which that changed; never more entries than clients.
    course: Vec<(Elapsed, Option<u64>)>,
}

impl Track {
    fn see(&mut self, at: Elapsed, lingering: Option<u64>) {
        if self.course.last().is_none_or(|last| last.1 != lingering) {
            self.course.push((at, lingering));
        }
    }

    fn lingering(&self) -> Option<u64> {
        self.course.last()?.1
    }

    /// From when on never more than so many lingered. A look that could not count proves nothing.
    fn down_to(&self, allowed: u64) -> Option<Elapsed> {
        let above = |(_, seen): &(Elapsed, Option<u64>)| seen.is_none_or(|seen| seen > allowed);
        let first = self
            .course
            .iter()
            .rposition(above)
            .map_or(0, |last| last + 1);
        self.course.get(first).map(|(at, _)| *at)
    }
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
            Self::Leave(leave) => dose.sockets_closed()[leave.index()],
            Self::Connections => dose.sockets_closed().iter().sum(),
            Self::Sessions => dose.sessions_created,
        }
    }
}

impl Drain {
    /// Starts to watch. `before` is what was there before the dose.
    pub(super) fn begin(began: Elapsed, before: Baseline) -> Self {
        let track = |of| Track {
            of,
            course: Vec::new(),
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
            track.see(look.at, over);
        }
    }

    /// What lingered, row by row, of what came in the cycle. `dose` is what the load did from the dose to the end of the drain.
    pub(super) fn end(self, at: Elapsed, cycle: i32, dose: &Counts) -> Vec<CleanupRow> {
        let began = self.began;
        let row = |track: Track| {
            let left = track.of.left(dose);
            let after = |allowed| {
                let clean = track.down_to(allowed)?;
                Some(clean.since(began).as_secs_f64())
            };
            CleanupRow {
                at,
                cycle,
                of: track.of.name(),
                left,
                lingering: track.lingering(),
                clean_s: after(0),
                half_clean_s: after(left / 2),
                clean_99_s: after(left / 100),
            }
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
    fn half_of_them_and_most_of_them_are_gone_before_the_last() {
        let before = Baseline::of(&Counts::default(), &look(0, 0, 0));
        let mut drain = Drain::begin(Elapsed::default(), before);
        let lingered = [4, 0, 0, 0, 0, 0, 0, 0, 0];
        for now in [
            look(50, 60, 0),
            look(100, 30, 0),
            look(150, 2, 0),
            look(200, 0, 0),
        ] {
            drain.see(&now, &lingered);
        }
        let rows = drain.end(Elapsed::default(), 0, &dose());
        let connections = rows.iter().find(|row| row.of == "connections").unwrap();
        assert_eq!(
            [
                connections.half_clean_s,
                connections.clean_99_s,
                connections.clean_s
            ],
            [Some(0.1), Some(0.2), Some(0.2)]
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
