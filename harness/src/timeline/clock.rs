//! The run's clock: monotonic, anchored once to wall time.

use std::{
    fmt,
    ops::{Add, Sub},
    time::{Duration, Instant, SystemTime},
};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Time since the run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Elapsed(pub Duration);

impl Elapsed {
    /// Seconds, for CSV columns that end in `_s`.
    pub fn seconds(self) -> f64 {
        self.0.as_secs_f64()
    }

    /// How long since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Elapsed {
    type Output = Self;

    fn add(self, length: Duration) -> Self {
        Self(self.0 + length)
    }
}

impl Sub<Duration> for Elapsed {
    type Output = Self;

    fn sub(self, length: Duration) -> Self {
        Self(self.0.saturating_sub(length))
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.seconds())
    }
}

/// The only place where the harness asks what time it is.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    wall: SystemTime,
}

impl Clock {
    /// Starts the run's time at zero, now.
    #[expect(clippy::disallowed_methods, reason = "this is the run's clock")]
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// Time since the run began.
    #[expect(clippy::disallowed_methods, reason = "this is the run's clock")]
    pub fn now(&self) -> Elapsed {
        Elapsed(Instant::now().duration_since(self.origin))
    }

    /// Where this clock's zero lies on the machine's monotonic clock: what another process needs to follow it.
    pub fn anchor(&self) -> Duration {
        let (instant, monotonic) = both();
        monotonic.saturating_sub(instant.duration_since(self.origin))
    }

    /// The clock of another process of this machine, by its [`Clock::anchor`]. Off by what lies between two readings: about 1 µs. Whoever
    /// follows a clock compares the two and says so.
    pub fn anchored(anchor: Duration) -> Self {
        let (instant, monotonic) = both();
        let age = monotonic.saturating_sub(anchor);
        Self {
            origin: instant.checked_sub(age).unwrap_or(instant),
            wall: SystemTime::now() - age,
        }
    }

    /// The wall time at which the run began.
    pub const fn wall_start(&self) -> SystemTime {
        self.wall
    }
}

/// The same moment on `Instant`, which only counts from another `Instant`, and on the machine's clock. Of several tries the one in which
/// the least time went by: whoever is interrupted between the two readings reads wrong.
#[expect(clippy::disallowed_methods, reason = "this is the run's clock")]
fn both() -> (Instant, Duration) {
    let tries = (0..8).map(|_| {
        let before = monotonic();
        let instant = Instant::now();
        let length = monotonic().saturating_sub(before);
        (length, (instant, before + length / 2))
    });
    let best = tries.min_by_key(|(length, _)| *length);
    best.expect("there is more than one try").1
}

fn monotonic() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_follows_another_shows_the_same_time() {
        let clock = Clock::start();
        let follower = Clock::anchored(clock.anchor());
        let (before, between, after) = (clock.now(), follower.now(), clock.now());
        let slack = Duration::from_micros(500); // an interrupted reading; normally below one
        assert!(before <= between + slack && between <= after + slack);
    }
}
