//! What memory may follow: the ways a client leaves, and the other units a run doses.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// How a client goes. Each is real on the wire; see `drive`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leave {
    /// The server ends the stream; we read it to its end.
    Complete,
    /// We close after at least one event: FIN.
    Fin,
    /// We close after at least one event with `SO_LINGER 0`: RST.
    Rst,
    /// We close before the first event, or before the headers.
    Early,
    /// We stay for the whole dose and never read; gone with it.
    Stall,
    /// We read at a fixed, low rate.
    Slow,
    /// We shut our write side and go on reading.
    HalfClose,
    /// Gone without FIN and without RST.
    Vanish,
    /// We close in mid-stream and never delete the session that the stream belongs to.
    Orphan,
}

impl Leave {
    /// Every way of leaving, in the order of the design's table.
    pub const ALL: [Self; 9] = [
        Self::Complete,
        Self::Fin,
        Self::Rst,
        Self::Early,
        Self::Stall,
        Self::Slow,
        Self::HalfClose,
        Self::Vanish,
        Self::Orphan,
    ];

    /// The name used in files, reports and flags.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Fin => "fin",
            Self::Rst => "rst",
            Self::Early => "early",
            Self::Stall => "stall",
            Self::Slow => "slow",
            Self::HalfClose => "half-close",
            Self::Vanish => "vanish",
            Self::Orphan => "orphan",
        }
    }

    /// A dense index, for tables by leave mode.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Leave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One unit that memory may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Factor {
    /// Connections closed in one way.
    Closed(Leave),
    /// Every closed connection, however it closed.
    AllClosed,
    /// Every closed connection that the client ended: all ways of leaving but `complete`.
    Left,
    /// Connections that closed without a goodbye (`rst`, `stall` and `vanish`).
    Abrupt,
    /// Sessions created.
    Session,
    /// Turns taken in sessions that live on.
    Turn,
    /// Events delivered.
    Event,
    /// Wall time, seconds.
    Time,
    /// Blocks retained on purpose by the target: the positive control.
    Control,
}

impl Factor {
    /// The name used in `findings.json`, in reports and in CSV columns.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed(leave) => leave.name(),
            Self::AllClosed => "all",
            Self::Left => "left",
            Self::Abrupt => "abrupt",
            Self::Session => "session",
            Self::Turn => "turn",
            Self::Event => "event",
            Self::Time => "time",
            Self::Control => "control",
        }
    }

    /// Whether one unit of it is one closed connection.
    pub const fn is_connection(self) -> bool {
        matches!(self, Self::Closed(_)) || self.is_sum()
    }

    /// Whether it sums up several ways of leaving.
    pub const fn is_sum(self) -> bool {
        matches!(self, Self::AllClosed | Self::Left | Self::Abrupt)
    }

    /// Whether what is given of another factor is given of this one: itself, or a part of the sum.
    pub fn includes(self, other: Self) -> bool {
        let Self::Closed(leave) = other else {
            return self == other;
        };
        match self {
            Self::AllClosed => true,
            Self::Left => leave != Leave::Complete,
            Self::Abrupt => matches!(leave, Leave::Rst | Leave::Stall | Leave::Vanish),
            single => single == other,
        }
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no factor.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a factor")]
pub struct UnknownFactor(pub String);

impl FromStr for Factor {
    type Err = UnknownFactor;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let others = [
            Self::AllClosed,
            Self::Left,
            Self::Abrupt,
            Self::Session,
            Self::Turn,
            Self::Event,
            Self::Time,
            Self::Control,
        ];
        let all = Leave::ALL.into_iter().map(Self::Closed).chain(others);
        all.into_iter()
            .find(|factor| factor.name() == name)
            .ok_or_else(|| UnknownFactor(name.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_reads_back_from_its_own_name() {
        for leave in Leave::ALL {
            assert_eq!(
                leave.name().parse::<Factor>().unwrap(),
                Factor::Closed(leave)
            );
        }
        for factor in [
            Factor::AllClosed,
            Factor::Left,
            Factor::Abrupt,
            Factor::Session,
            Factor::Event,
            Factor::Time,
        ] {
            assert_eq!(factor.name().parse::<Factor>().unwrap(), factor);
        }
        assert!("fins".parse::<Factor>().is_err());
    }
}
