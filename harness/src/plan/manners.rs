//! How a client behaves beyond its script and its leave: whether it comes back, and how it is connected.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    profile::{NetworkSpec, ReconnectSpec},
    units::{ByteRate, Period, Tunnel},
};

/// What makes a client more than a script. The default is a client on a perfect line that takes an end for an end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manners {
    /// Comes back when its stream ends before its time.
    pub reconnect: Option<Reconnect>,
    /// Is connected by a line with these faults.
    pub network: Option<Network>,
    /// Is a user: its conversations are timed as a whole, and it may have several.
    #[serde(default)]
    pub user: Option<User>,
}

/// Someone whose conversations are timed, from when each was due to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Begins again when the last conversation has ended: a closed loop. `None`: one conversation.
    pub again: Option<Again>,
}

/// How a user goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    /// The pause between the end of a conversation and the next.
    pub think: Duration,
    /// None begins later than so long after the first one was due.
    pub until: Duration,
}

/// Coming back as a browser's `EventSource` does (HTML Living Standard, §9.2): after the time that the stream told by `retry:`,
/// naming the last id it saw. A browser comes back for ever; this one gives up after a time that is stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconnect {
    /// The wait before the first try, unless the stream has told another.
    pub after: Duration,
    /// Each further try waits twice as long, up to this. A longer wait that the stream told stays as it is.
    pub at_most: Duration,
    /// So much of each wait is added to it at most, at random, percent: those who lost a server together do not come back together.
    pub jitter_percent: u8,
    /// Without an event for so long after a stream ended, it stays away.
    pub give_up_after: Duration,
}

impl Default for Reconnect {
    /// Three seconds, as Chromium; at most half a minute; a fifth of jitter; five minutes.
    fn default() -> Self {
        Self {
            after: Duration::from_secs(3),
            at_most: Duration::from_secs(30),
            jitter_percent: 20,
            give_up_after: Duration::from_secs(300),
        }
    }
}

/// A line's faults, on our side of the wire: they are made by when we send and read, so the server feels them as back-pressure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Added to every request before it is sent, and to every byte before it is read.
    pub latency: Duration,
    /// Read no faster than this.
    pub bandwidth: Option<ByteRate>,
    /// Sends and reads nothing in there.
    pub tunnel: Option<Tunnel>,
}

impl From<ReconnectSpec> for Reconnect {
    fn from(spec: ReconnectSpec) -> Self {
        let usual = Self::default();
        Self {
            after: spec.after.map_or(usual.after, Period::get),
            at_most: spec.at_most.map_or(usual.at_most, Period::get),
            jitter_percent: spec.jitter_percent.unwrap_or(usual.jitter_percent),
            give_up_after: spec.give_up_after.map_or(usual.give_up_after, Period::get),
        }
    }
}

impl From<NetworkSpec> for Network {
    fn from(spec: NetworkSpec) -> Self {
        Self {
            latency: spec.latency.map_or(Duration::ZERO, Period::get),
            bandwidth: spec.bandwidth,
            tunnel: spec.tunnel,
        }
    }
}

impl Manners {
    /// Whether what is sent to such a client may wait in buffers for long.
    pub fn fills_buffers(&self) -> bool {
        let network = self.network.as_ref();
        network.is_some_and(|network| network.bandwidth.is_some() || network.tunnel.is_some())
    }

    /// What a profile says of a population.
    pub fn new(reconnect: Option<ReconnectSpec>, network: Option<NetworkSpec>) -> Self {
        Self {
            reconnect: reconnect.map(Into::into),
            network: network.map(Into::into),
            user: None,
        }
    }
}
