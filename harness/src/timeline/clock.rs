//! The run's clock: monotonic, anchored once to wall time.

use std::{
    fmt,
    ops::{Add, Sub},
    time::{Duration, Instant, SystemTime},
};

/// Time since the run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
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

    /// The wall time at which the run began.
    pub const fn wall_start(&self) -> SystemTime {
        self.wall
    }
}
