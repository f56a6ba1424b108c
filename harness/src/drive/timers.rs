//! Who is to be looked at when. One entry a client at most, taken out when the client goes: nothing is left behind to pile up.

use std::{collections::BTreeSet, num::NonZeroU64, time::Duration};

use crate::timeline::Elapsed;

/// Bits of an entry that hold the client's key; the rest holds milliseconds, which last for 34 years.
const KEY_BITS: u32 = 24;
/// Keys must be below this.
pub(super) const MOST_KEYS: usize = 1 << KEY_BITS;

/// Clients by the millisecond at which they must be looked at: the poll cannot wait for less. 8 B an entry.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<u64>);

/// What is set for one client.
#[derive(Debug, Default)]
pub(super) struct Armed(Option<NonZeroU64>);

impl Timers {
    /// Sees to it that `key` comes up by `wanted` (rounded up to a millisecond); `armed` is what was set for it before.
    ///
    /// A deadline that moves away is left alone and comes up early: it moves with every event, and that must cost nothing.
    pub(super) fn arm(&mut self, key: usize, armed: &mut Armed, wanted: Option<Elapsed>) {
        let Some(wanted) = wanted else { return };
        let wanted = entry(wanted, key);
        if armed.0.is_some_and(|armed| armed <= wanted) {
            return;
        }
        self.disarm(armed);
        self.0.insert(wanted.get());
        armed.0 = Some(wanted);
    }

    pub(super) fn disarm(&mut self, armed: &mut Armed) {
        if let Some(entry) = armed.0.take() {
            self.0.remove(&entry.get());
        }
    }

    /// The earliest time somebody must be looked at.
    pub(super) fn first(&self) -> Option<Elapsed> {
        let entry = self.0.first()?;
        Some(Elapsed(Duration::from_millis(entry >> KEY_BITS)))
    }

    /// Takes out one who is due; its [`Armed`] is void.
    pub(super) fn pop(&mut self, now: Elapsed) -> Option<usize> {
        if self.first()? > now {
            return None;
        }
        let entry = self.0.pop_first()?;
        usize::try_from(entry & (MOST_KEYS as u64 - 1)).ok()
    }
}

/// The millisecond in the high bits, so that entries are in the order of time. Never zero: time 0 counts as 1 ms.
fn entry(at: Elapsed, key: usize) -> NonZeroU64 {
    let millis = at.0.as_nanos().div_ceil(1_000_000).max(1);
    let millis = u64::try_from(millis)
        .unwrap_or(u64::MAX)
        .min(u64::MAX >> KEY_BITS);
    NonZeroU64::new(millis << KEY_BITS | key as u64).expect("a millisecond is not zero")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_moves_away_costs_nothing_and_one_that_comes_nearer_replaces_it() {
        let at = |seconds| Elapsed(Duration::from_secs(seconds));
        let mut timers = Timers::default();
        let mut armed = Armed::default();
        for (wanted, first) in [(9, 9), (12, 9), (7, 7), (30, 7)] {
            timers.arm(1, &mut armed, Some(at(wanted)));
            assert_eq!(timers.first(), Some(at(first)));
            assert_eq!(timers.0.len(), 1);
        }
        assert_eq!(timers.pop(at(6)), None);
        assert_eq!(timers.pop(at(7)), Some(1));
        timers.arm(1, &mut armed, None);
        timers.disarm(&mut armed);
        assert_eq!(timers.first(), None);
    }

    #[test]
    fn a_timer_never_comes_up_too_early() {
        for (micros, millis) in [(0, 1), (1, 1), (999, 1), (1000, 1), (1001, 2)] {
            let mut timers = Timers::default();
            let wanted = Elapsed(Duration::from_micros(micros));
            timers.arm(MOST_KEYS - 1, &mut Armed::default(), Some(wanted));
            assert_eq!(timers.first(), Some(Elapsed(Duration::from_millis(millis))));
            assert_eq!(
                timers.pop(Elapsed(Duration::from_secs(1))),
                Some(MOST_KEYS - 1)
            );
        }
    }
}
