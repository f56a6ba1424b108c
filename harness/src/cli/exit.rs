//! Exit codes: the same for `run` and `diagnose`, documented in the README.

use std::process::ExitCode;

use crate::{
    dashboard::DashboardError, diagnose::compare::Incomparable, profile::ProfileError,
    soak::SoakError, target::TargetError,
};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: no leak above the tolerance.
    NoLeak,
    /// 10: a leak.
    Leak,
    /// 11: sessions were not cleaned up.
    NotCleanedUp,
    /// 12: inconclusive, and the report says why.
    Inconclusive,
    /// 13: an alarm or a stop condition.
    Alarm,
    /// 20: the target died or ran out of memory.
    TargetDied,
    /// 2: a bad command line or profile.
    BadUsage,
    /// 1: anything else.
    Other,
    /// What `git bisect run` is told, see [`Exit::for_bisect`].
    Bisect(u8),
}

/// What `--help` says about exit codes.
pub(super) const HELP: &str = "Exit codes: 0 no leak above the tolerance, 10 leak, 11 sessions not cleaned up, 12 inconclusive, \
     13 an alarm or stop condition, 20 the target died, 2 bad usage or profile, 1 anything else.";

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::NoLeak => 0,
            Self::Leak => 10,
            Self::NotCleanedUp => 11,
            Self::Inconclusive => 12,
            Self::Alarm => 13,
            Self::TargetDied => 20,
            Self::BadUsage => 2,
            Self::Other => 1,
            Self::Bisect(code) => code,
        }
    }

    /// The exit codes that `git bisect run` understands: 0 good, 1 bad (a leak, or sessions not cleaned up), 125 skip (this commit
    /// cannot be judged: inconclusive, or its target does not run), 128 stop bisecting (the command itself is wrong).
    pub const fn for_bisect(self) -> Self {
        Self::Bisect(match self {
            Self::NoLeak => 0,
            Self::Leak | Self::NotCleanedUp => 1,
            Self::Inconclusive | Self::Alarm | Self::TargetDied => 125,
            Self::BadUsage | Self::Other => 128,
            Self::Bisect(code) => code,
        })
    }

    /// The exit with this number.
    pub fn from_code(code: u8) -> Self {
        let all = [
            Self::NoLeak,
            Self::Leak,
            Self::NotCleanedUp,
            Self::Inconclusive,
            Self::Alarm,
            Self::TargetDied,
            Self::BadUsage,
        ];
        all.into_iter()
            .find(|exit| exit.code() == code)
            .unwrap_or(Self::Other)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A mistake in the command line that clap cannot see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(pub(super) String);

/// The exit code of an error.
pub(super) fn of(error: &anyhow::Error) -> Exit {
    if error.is::<ProfileError>()
        || error.is::<Usage>()
        || error.is::<Incomparable>()
        || error.is::<DashboardError>()
    {
        return Exit::BadUsage;
    }
    match error.downcast_ref::<SoakError>() {
        Some(SoakError::Target(TargetError::Ended { .. })) => Exit::TargetDied,
        Some(SoakError::Trial { .. } | SoakError::Address(_) | SoakError::Target(_)) => {
            Exit::BadUsage
        }
        _ => Exit::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bisect_skips_what_cannot_be_judged_and_stops_at_a_wrong_command() {
        let rows = [
            (Exit::NoLeak, 0),
            (Exit::Leak, 1),
            (Exit::NotCleanedUp, 1),
            (Exit::Inconclusive, 125),
            (Exit::TargetDied, 125),
            (Exit::BadUsage, 128),
            (Exit::Other, 128),
        ];
        for (exit, code) in rows {
            assert_eq!(exit.for_bisect().code(), code, "{exit:?}");
        }
    }
}
