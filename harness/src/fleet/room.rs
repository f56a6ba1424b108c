//! How many connections a process and an address have room for, and so how many of each a plan needs.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU32,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors of a worker that are no connections: pipes, poll, libraries; generous.
const RESERVED: u64 = 100;
/// More than this in one thread would not be served in time, whatever the limit.
const MOST_A_WORKER: u64 = 100_000;
/// Per cent of an address's ports that are planned for. Linux gives out every second one first and looks for a free one in order: until
/// half of them are in use that is quick, from then on it tries 14,000 in vain every time (seen: 1,000 openings a second became a few).
const PORTS_USED: u64 = 40;
/// Addresses that are used at most: 127.0.0.1 to 127.0.0.254.
const MOST_SOURCES: u64 = 254;

/// Connections that may be open at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// In this process, as it is.
    pub here: u64,
    /// In a worker, which raises its own limit as far as the system lets it.
    pub worker: u64,
}

impl Room {
    /// By the limits of this process.
    pub fn now() -> Self {
        let limit = getrlimit(Resource::Nofile);
        let room = |limit: Option<u64>| {
            let connections = limit.unwrap_or(u64::MAX).saturating_sub(RESERVED);
            connections.clamp(1, MOST_A_WORKER)
        };
        Self {
            here: room(limit.current),
            worker: room(limit.maximum),
        }
    }

    /// How many workers so many connections need; `None`: they fit into this process.
    pub fn workers_for(self, connections: u64) -> Option<NonZeroU32> {
        if connections <= self.here {
            return None;
        }
        let workers = connections.div_ceil(self.worker);
        NonZeroU32::new(u32::try_from(workers).unwrap_or(u32::MAX))
    }
}

/// Lets this process have as many descriptors as the system allows. Only a worker does: the run's target inherits its limits.
pub(super) fn raise_the_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // If it fails, what does not fit is counted as not opened.
    setrlimit(Resource::Nofile, raised).ok();
}

/// The addresses to connect from, if one has too few ports for so many connections to this target; else none: the kernel's choice.
/// Only on the loopback network are there others.
pub fn sources(target: IpAddr, connections: u64) -> Vec<IpAddr> {
    sources_for(target, connections, ports())
}

fn sources_for(target: IpAddr, connections: u64, ports: u64) -> Vec<IpAddr> {
    let an_address = (ports * PORTS_USED / 100).max(1);
    let is_local = target.is_ipv4() && target.is_loopback();
    if !is_local || connections <= an_address {
        return vec![];
    }
    let count = connections.div_ceil(an_address).min(MOST_SOURCES);
    (1..=count)
        .filter_map(|last| u8::try_from(last).ok())
        .map(|last| Ipv4Addr::new(127, 0, 0, last).into())
        .collect()
}

/// How many ports there are to connect from.
fn ports() -> u64 {
    const USUAL: u64 = 28_232;
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut bounds = text.split_whitespace().flat_map(str::parse::<u64>);
    let first = bounds.next().zip(bounds.next());
    first.map_or(USUAL, |(first, last)| last.saturating_sub(first) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_connections_need_so_many_workers_and_addresses() {
        let room = Room {
            here: 900,
            worker: 19_900,
        };
        let target = IpAddr::from([127, 0, 0, 1]);
        for (connections, workers, addresses) in [
            (0, None, 0),
            (900, None, 0),
            (901, Some(1), 0),
            (11_292, Some(1), 0),
            (11_293, Some(1), 2),
            (19_901, Some(2), 2),
            (60_000, Some(4), 6),
        ] {
            let found = room.workers_for(connections).map(NonZeroU32::get);
            assert_eq!(found, workers, "workers for {connections}");
            let sources = sources_for(target, connections, 28_232);
            assert_eq!(sources.len(), addresses, "addresses for {connections}");
        }
        for elsewhere in ["::1", "192.0.2.1"] {
            assert!(sources_for(elsewhere.parse().unwrap(), 1 << 20, 28_232).is_empty());
        }
    }
}
