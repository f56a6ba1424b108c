//! Who is to be looked at when. One entry a client at most, taken out when the client goes: nothing is left behind to pile up.

use std::collections::BTreeSet;

use crate::timeline::Elapsed;

/// Clients by the time at which they must be looked at.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Elapsed, usize)>);

impl Timers {
    /// Sees to it that `key` comes up by `wanted` at the latest; `armed` is what was set for it before.
    ///
    /// A deadline that moves away is left alone and comes up early: it moves with every event, and that must cost nothing.
    pub(super) fn arm(&mut self, key: usize, armed: &mut Option<Elapsed>, wanted: Option<Elapsed>) {
        let Some(wanted) = wanted else { return };
        if armed.is_some_and(|armed| armed <= wanted) {
            return;
        }
        self.disarm(key, armed.take());
        self.0.insert((wanted, key));
        *armed = Some(wanted);
    }

    pub(super) fn disarm(&mut self, key: usize, armed: Option<Elapsed>) {
        if let Some(armed) = armed {
            self.0.remove(&(armed, key));
        }
    }

    /// The earliest time somebody must be looked at.
    pub(super) fn first(&self) -> Option<Elapsed> {
        self.0.first().map(|&(at, _)| at)
    }

    /// Takes out one who is due.
    pub(super) fn pop(&mut self, now: Elapsed) -> Option<usize> {
        if self.first()? > now {
            return None;
        }
        self.0.pop_first().map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_deadline_that_moves_away_costs_nothing_and_one_that_comes_nearer_replaces_it() {
        let at = |seconds| Elapsed(Duration::from_secs(seconds));
        let mut timers = Timers::default();
        let mut armed = None;
        for (wanted, first) in [(9, 9), (12, 9), (7, 7), (30, 7)] {
            timers.arm(1, &mut armed, Some(at(wanted)));
            assert_eq!(timers.first(), Some(at(first)));
            assert_eq!(timers.0.len(), 1);
        }
        assert_eq!(timers.pop(at(6)), None);
        assert_eq!(timers.pop(at(7)), Some(1));
        timers.arm(1, &mut Some(at(7)), None);
        timers.disarm(1, Some(at(7)));
        assert_eq!(timers.first(), None);
    }
}
