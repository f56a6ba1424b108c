//! A slow line on our side of the wire: when a client sends, when it reads, and how much. Pure; the clock is an argument.
//!
//! In: a [`Network`], the time, and how many bytes lie in the socket. Out: how many may be read now, and when to look again.
//! Start at [`Shaper`]. It is made by when we read, so this is what the server sees:
//!
//! - *latency*: the handshake is as fast as ever; the request comes so much later. What the server sends is acknowledged at once by our
//!   kernel and read by us so much after it came. So an answer is late by twice the latency, and so is our leaving.
//! - *bandwidth*: bytes wait in our receive buffer, and when it is full, in the server's send buffer: the window closes. Up to there (4 MB
//!   with the kernel's defaults; set the receive buffer to see it earlier) the server notices nothing.
//! - *tunnel*: nothing is sent or read in there; our kernel still acknowledges, so no retransmissions, and a closed window at most.
//!   What the server does meanwhile (also a reset) is noticed at once only by the kernel, by us when we look.
//!
//! Nothing is ever lost or reordered, and no packet is delayed: that takes `netem` and a kernel that has it.

use std::{collections::VecDeque, time::Duration};

use crate::{plan::Network, timeline::Elapsed};

/// Arrivals that are told apart; what comes beyond counts as coming with the last one, and so is late rather than early.
const MOST_ARRIVALS: usize = 32;
/// A read takes at most the bandwidth of a fourth of a second at once.
const READS_PER_SECOND: u64 = 4;

/// One client's line.
#[derive(Debug)]
pub(super) struct Shaper {
    network: Network,
    /// When the line was opened: tunnels count from here.
    began: Elapsed,
    /// A request waits until then.
    sends_from: Option<Elapsed>,
    /// Before this nothing is read: what was read last takes its time.
    reads_from: Elapsed,
    /// Bytes read so far.
    read: u64,
    arrivals: VecDeque<Arrival>,
}

/// Bytes up to here have come, and may be read from then on.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    readable_from: Elapsed,
    up_to: u64,
}

impl Shaper {
    pub(super) fn new(network: Network, now: Elapsed) -> Self {
        Self {
            network,
            began: now,
            sends_from: None,
            reads_from: now,
            read: 0,
            arrivals: VecDeque::new(),
        }
    }

    /// There is something to send now: until then it waits.
    pub(super) fn wants_to_send(&mut self, now: Elapsed) {
        self.sends_from = Some(now + self.network.latency);
    }

    /// When the request that waits may be sent.
    pub(super) fn sends_at(&self) -> Option<Elapsed> {
        self.sends_from.map(|at| self.out_of_tunnel(at))
    }

    /// Whether a request may be sent now; from then on it does not wait any more.
    pub(super) fn lets_send(&mut self, now: Elapsed) -> bool {
        let waits = self.sends_at().is_some_and(|at| at > now);
        if !waits {
            self.sends_from = None;
        }
        !waits
    }

    /// So many bytes lie in the socket now; with `ended` the end lies behind them.
    pub(super) fn noticed(&mut self, available: u64, ended: bool, now: Elapsed) {
        let up_to = if ended {
            u64::MAX
        } else {
            self.read + available
        };
        let known = self.arrivals.back().map_or(self.read, |last| last.up_to);
        if up_to <= known {
            return;
        }
        let readable_from = now + self.network.latency;
        let arrival = Arrival {
            readable_from,
            up_to,
        };
        if self.arrivals.len() >= MOST_ARRIVALS {
            self.arrivals.pop_back();
        }
        self.arrivals.push_back(arrival);
    }

    /// How many bytes may be read now.
    pub(super) fn allowance(&self, now: Elapsed) -> Option<usize> {
        let mut arrivals = self.arrivals.iter().rev();
        let arrived = arrivals.find(|arrival| arrival.readable_from <= now)?;
        if self.reads_from > now || self.out_of_tunnel(now) > now {
            return None;
        }
        let share = self.network.bandwidth.map_or(u64::MAX, |rate| {
            (u64::from(rate.get()) / READS_PER_SECOND).max(1)
        });
        usize::try_from((arrived.up_to - self.read).min(share)).ok()
    }

    /// So many bytes were read now.
    pub(super) fn took(&mut self, bytes: usize, now: Elapsed) {
        self.read += bytes as u64;
        self.arrivals.retain(|arrival| arrival.up_to > self.read);
        if let Some(rate) = self.network.bandwidth {
            self.reads_from = now + rate.time_for(bytes as u64);
        }
    }

    /// There was nothing left to read: whatever was expected is not there.
    pub(super) fn found_nothing(&mut self, now: Elapsed) {
        self.arrivals.retain(|arrival| arrival.readable_from > now);
    }

    /// When something may be sent or read next; `None` while nothing waits.
    pub(super) fn next(&self) -> Option<Elapsed> {
        [self.sends_at(), self.reads_at()]
            .into_iter()
            .flatten()
            .min()
    }

    /// When something may be read next; `None` while nothing has come.
    fn reads_at(&self) -> Option<Elapsed> {
        let first = self.arrivals.front()?;
        Some(self.out_of_tunnel(first.readable_from.max(self.reads_from)))
    }

    /// So much longer than others it may take over so many bytes.
    pub(super) fn slack(&self, bytes: usize) -> Duration {
        let tunnel = self.network.tunnel.map_or(Duration::ZERO, |t| t.lasts());
        let rate = self.network.bandwidth;
        let reading = rate.map_or(Duration::ZERO, |rate| rate.time_for(bytes as u64));
        2 * self.network.latency + 2 * tunnel + reading
    }

    /// The first moment from `at` on that is in no tunnel.
    fn out_of_tunnel(&self, at: Elapsed) -> Elapsed {
        let ends = self.network.tunnel;
        let ends = ends.and_then(|tunnel| tunnel.ends(at.since(self.began)));
        ends.map_or(at, |end| self.began + end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(millis: u64) -> Elapsed {
        Elapsed(Duration::from_millis(millis))
    }

    fn line(latency: u64, bandwidth: Option<&str>, tunnel: Option<&str>) -> Shaper {
        let network = Network {
            latency: Duration::from_millis(latency),
            bandwidth: bandwidth.map(|text| text.parse().unwrap()),
            tunnel: tunnel.map(|text| text.parse().unwrap()),
        };
        Shaper::new(network, at(0))
    }

    #[test]
    fn latency_holds_back_each_arrival_for_itself() {
        let mut line = line(40, None, None);
        line.noticed(100, false, at(10));
        line.noticed(150, false, at(30));
        assert_eq!(line.next(), Some(at(50)));
        for (now, readable) in [
            (49, None),
            (50, Some(100)),
            (69, Some(100)),
            (70, Some(150)),
        ] {
            assert_eq!(line.allowance(at(now)), readable, "at {now} ms");
        }
        line.took(100, at(50));
        assert_eq!((line.allowance(at(69)), line.next()), (None, Some(at(70))));
        line.noticed(50, true, at(60)); // the end comes last
        line.took(50, at(70));
        assert_eq!(line.next(), Some(at(100)));
        assert!(line.allowance(at(100)).is_some());
        line.found_nothing(at(100));
        assert_eq!((line.allowance(at(200)), line.next()), (None, None));
    }

    #[test]
    fn a_request_waits_for_the_latency_and_for_the_end_of_a_tunnel() {
        for (latency, now, sent) in [(40, 0, 40), (40, 60, 100), (40, 670, 1000), (0, 10, 10)] {
            let mut line = line(latency, None, Some("300ms every 1s"));
            line.wants_to_send(at(now));
            assert_eq!(line.sends_at(), Some(at(sent)), "asked at {now}");
            assert!(sent == 0 || !line.lets_send(at(sent - 1)));
            assert!(line.lets_send(at(sent)));
            assert_eq!(line.next(), None);
        }
    }

    #[test]
    fn nothing_is_read_in_a_tunnel() {
        let mut line = line(0, None, Some("300ms every 1s"));
        line.noticed(10, false, at(800));
        assert_eq!(
            (line.allowance(at(800)), line.next()),
            (None, Some(at(1000)))
        );
        assert_eq!(line.allowance(at(1000)), Some(10));
    }

    #[test]
    fn what_was_read_takes_its_time() {
        let mut line = line(0, Some("1000 B/s"), None);
        line.noticed(600, false, at(0));
        assert_eq!(line.allowance(at(0)), Some(250));
        line.took(250, at(0));
        assert_eq!(
            (line.allowance(at(249)), line.next()),
            (None, Some(at(250)))
        );
        line.took(250, at(250));
        assert_eq!(line.allowance(at(500)), Some(100));
    }

    #[test]
    fn a_line_has_a_limited_memory_and_forgets_late_rather_than_early() {
        let mut line = line(10, None, None);
        for byte in 1..=100 {
            line.noticed(byte, false, at(byte));
        }
        assert_eq!(line.arrivals.len(), MOST_ARRIVALS);
        assert_eq!(line.allowance(at(11)), Some(1));
        assert_eq!(line.allowance(at(109)), Some(31));
        assert_eq!(line.allowance(at(110)), Some(100));
    }

    proptest! {
        /// Whatever comes when, nothing is read before its time, nor faster than allowed, and all of it in the end.
        #[test]
        fn a_line_is_never_faster_than_it_says(arrivals in prop::collection::vec((1_u64..400, 1_u64..300), 1..20), latency in 0_u64..200) {
            let mut line = line(latency, Some("1000 B/s"), Some("300ms every 1s"));
            let (mut read, mut come, mut now) = (0, 0, 0);
            let mut arrivals = arrivals.into_iter();
            let (mut due, mut next) = (0, arrivals.next());
            while next.is_some() || read < come {
                if let Some((bytes, gap)) = next && now >= due {
                    come += bytes;
                    line.noticed(come - read, false, at(now));
                    (due, next) = (now + gap, arrivals.next());
                }
                if let Some(length) = line.allowance(at(now)) {
                    prop_assert!(now % 1000 < 700, "read in a tunnel, at {}", now);
                    line.took(length, at(now));
                    read += length as u64;
                }
                prop_assert!(read <= come && read <= 250 + now);
                now += 1;
                prop_assert!(now < 60_000, "waits for ever");
            }
        }
    }
}
