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
    /// What it showed at the origin.
    before: Duration,
    wall: SystemTime,
}

/// A moment that another process of this machine can follow a clock from.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Anchor {
    /// The moment on the machine's monotonic clock.
    at: Duration,
    /// What the clock showed then.
    shows: Elapsed,
}

impl Clock {
    /// Starts the run's time at zero, now.
    #[expect(clippy::disallowed_methods, reason = "this is the run's clock")]
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
            before: Duration::ZERO,
            wall: SystemTime::now(),
        }
    }

    /// Goes on for a run that began at this wall time and whose clock had shown this. The machine's own clock may have begun anew since, so
    /// only wall time tells how long it was; where that stands before what was shown, time goes on from there.
    #[expect(clippy::disallowed_methods, reason = "this is the run's clock")]
    pub fn resume(began: SystemTime, shown: Elapsed) -> Self {
        Self {
            origin: Instant::now(),
            before: went_by(began, SystemTime::now(), shown),
            wall: began,
        }
    }

    /// Whether the wall clock stands before a moment of this clock: somebody set it back.
    pub fn wall_before(&self, moment: Elapsed) -> bool {
        SystemTime::now() < self.wall + moment.0
    }

    /// Time since the run began.
    #[expect(clippy::disallowed_methods, reason = "this is the run's clock")]
    pub fn now(&self) -> Elapsed {
        Elapsed(self.before + Instant::now().duration_since(self.origin))
    }

    /// What another process needs to follow it.
    pub fn anchor(&self) -> Anchor {
        let (instant, at) = both();
        Anchor {
            at,
            shows: Elapsed(self.before + instant.duration_since(self.origin)),
        }
    }

    /// The clock of another process of this machine, by its [`Clock::anchor`]. Off by what lies between two readings: about 1 µs. Whoever
    /// follows a clock compares the two and says so.
    pub fn anchored(anchor: Anchor) -> Self {
        let (origin, monotonic) = both();
        let before = anchor.shows.0 + monotonic.saturating_sub(anchor.at);
        Self {
            origin,
            before,
            wall: SystemTime::now() - before,
        }
    }

    /// The wall time at which the run began.
    pub const fn wall_start(&self) -> SystemTime {
        self.wall
    }
}

/// How long a run has been under way, by the wall; never less than it had been when it was last seen.
fn went_by(began: SystemTime, now: SystemTime, shown: Elapsed) -> Duration {
    now.duration_since(began).unwrap_or_default().max(shown.0)
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
    fn a_resumed_clock_takes_the_break_from_the_wall_and_never_goes_back() {
        let (hour, minute) = (Duration::from_secs(3600), Duration::from_secs(60));
        let began = SystemTime::UNIX_EPOCH + 100 * hour;
        let shown = Elapsed(hour);
        for (now, shows) in [
            (began + hour + minute, hour + minute),
            (began + 24 * hour, 24 * hour), // a night later
            (began + minute, hour),         // somebody set the wall clock back
            (began - minute, hour),         // even before the run began
        ] {
            assert_eq!(went_by(began, now, shown), shows);
        }
        let clock = Clock::resume(SystemTime::now() + hour, shown);
        let (before, after) = (clock.now(), clock.now());
        assert!(shown <= before && before <= after);
        assert!(Clock::anchored(clock.anchor()).now() >= after);
    }

    #[test]
    fn a_clock_that_follows_another_shows_the_same_time() {
        let clock = Clock::start();
        let follower = Clock::anchored(clock.anchor());
        let (before, between, after) = (clock.now(), follower.now(), clock.now());
        let slack = Duration::from_micros(500); // an interrupted reading; normally below one
        assert!(before <= between + slack && between <= after + slack);
    }
}
