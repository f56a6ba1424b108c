//! Leaving alone for a while what hangs: waiting for it would make every sample late.

use std::time::Duration;

use crate::timeline::Clock;

/// How often somebody hung in a row, and when he is asked again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    hung: u32,
    ask_again: Duration,
}

const LONGEST: Duration = Duration::from_secs(30);

impl Backoff {
    pub(super) fn waits(&self, clock: &Clock) -> bool {
        clock.now().0 < self.ask_again
    }

    /// Notes how the last question went: each time that it hung doubles the pause.
    pub(super) fn note(&mut self, hung: bool, clock: &Clock) {
        if !hung {
            self.hung = 0;
            return;
        }
        self.hung = (self.hung + 1).min(6);
        let pause = Duration::from_secs(1 << (self.hung - 1)).min(LONGEST);
        self.ask_again = clock.now().0 + pause;
    }
}
