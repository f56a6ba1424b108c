//! What the load has done so far. Written by the load, read by anyone.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use crate::units::Leave;

/// Why a connection of ours ended, as we saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// It left in its planned way.
    AsPlanned,
    /// The connection was refused, or could not be opened.
    ConnectFailed,
    /// The server closed before the plan said so.
    ServerClosed,
    /// The server reset the connection.
    ServerReset,
    /// The server answered with an error status.
    HttpStatus,
    /// What came back is not HTTP, not an event stream, or over a limit.
    BadResponse,
    /// Nothing came within the deadline.
    TimedOut,
    /// The run was stopped.
    Stopped,
    /// It went with the worker process that held it: how, only the kernel knows.
    Lost,
}

impl End {
    /// Every reason, in column order.
    pub const ALL: [Self; 9] = [
        Self::AsPlanned,
        Self::ConnectFailed,
        Self::ServerClosed,
        Self::ServerReset,
        Self::HttpStatus,
        Self::BadResponse,
        Self::TimedOut,
        Self::Stopped,
        Self::Lost,
    ];

    /// The name used in columns and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AsPlanned => "as_planned",
            Self::ConnectFailed => "connect_failed",
            Self::ServerClosed => "server_closed",
            Self::ServerReset => "server_reset",
            Self::HttpStatus => "http_status",
            Self::BadResponse => "bad_response",
            Self::TimedOut => "timed_out",
            Self::Stopped => "stopped",
            Self::Lost => "lost",
        }
    }

    /// Whether the connection did not do what the plan asked for, through no wish of ours.
    pub const fn is_error(self) -> bool {
        !matches!(self, Self::AsPlanned | Self::Stopped)
    }
}

/// Counters of the load. Only opened and closed are counted, never "open now": a gauge read once a second lies.
#[derive(Debug, Default)]
pub struct Tally {
    /// Connections of which the connect was started.
    pub opened: AtomicU64,
    /// Connections that got as far as a TCP handshake.
    pub connected: AtomicU64,
    /// Connections gone, by the way they were planned to leave. Counts those that got as far as a TCP handshake, however they ended.
    pub closed: [AtomicU64; Leave::ALL.len()],
    /// Connections gone, by why.
    pub ended: [AtomicU64; End::ALL.len()],
    /// Openings that came due while no descriptor or port was left: never tried, a loss.
    pub not_opened: AtomicU64,
    /// Sessions created on the server by our requests.
    pub sessions_created: AtomicU64,
    /// Sessions that we deleted.
    pub sessions_deleted: AtomicU64,
    /// Turns taken in sessions that live on.
    pub turns: AtomicU64,
    /// Events received.
    pub events: AtomicU64,
    /// Bytes of responses received.
    pub bytes: AtomicU64,
    /// Captures that did not match.
    pub captures_failed: AtomicU64,
    /// Connections of which the connect was started by a client that had one before; also counted as opened.
    pub reconnects: AtomicU64,
    /// Clients that began to wait to come back.
    pub waits: AtomicU64,
    /// Such waits that are over: the client came back, or was sent away.
    pub waits_over: AtomicU64,
    /// Clients that gave up coming back.
    pub gave_up: AtomicU64,
    /// Ids missing between the last one before a comeback and the first new one after it.
    pub ids_lost: AtomicU64,
    /// Events after a comeback whose ids were there before.
    pub ids_repeated: AtomicU64,
    /// Comebacks after which nothing can be said about ids: there are none, or they are no rising numbers.
    pub ids_unknown: AtomicU64,
    /// TCP connections opened for streams of HTTP/2; 0 where every connection has a socket of its own.
    pub carriers_opened: AtomicU64,
    /// Those of them that are gone, by the way in which all their streams were planned to leave.
    pub carriers_closed: [AtomicU64; Leave::ALL.len()],
    /// Openings still due in the batches under way.
    pub pending: AtomicU64,
}

/// A copy of a [`Tally`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// See [`Tally::opened`].
    pub opened: u64,
    /// See [`Tally::connected`].
    pub connected: u64,
    /// See [`Tally::closed`]; indexed by [`Leave::index`].
    pub closed: [u64; Leave::ALL.len()],
    /// See [`Tally::ended`]; in the order of [`End::ALL`].
    pub ended: [u64; End::ALL.len()],
    /// See [`Tally::not_opened`].
    pub not_opened: u64,
    /// See [`Tally::sessions_created`].
    pub sessions_created: u64,
    /// See [`Tally::sessions_deleted`].
    pub sessions_deleted: u64,
    /// See [`Tally::turns`].
    pub turns: u64,
    /// See [`Tally::events`].
    pub events: u64,
    /// See [`Tally::bytes`].
    pub bytes: u64,
    /// See [`Tally::captures_failed`].
    pub captures_failed: u64,
    /// See [`Tally::reconnects`].
    #[serde(default)]
    pub reconnects: u64,
    /// See [`Tally::waits`].
    #[serde(default)]
    pub waits: u64,
    /// See [`Tally::waits_over`].
    #[serde(default)]
    pub waits_over: u64,
    /// See [`Tally::gave_up`].
    #[serde(default)]
    pub gave_up: u64,
    /// See [`Tally::ids_lost`].
    #[serde(default)]
    pub ids_lost: u64,
    /// See [`Tally::ids_repeated`].
    #[serde(default)]
    pub ids_repeated: u64,
    /// See [`Tally::ids_unknown`].
    #[serde(default)]
    pub ids_unknown: u64,
    /// See [`Tally::carriers_opened`].
    #[serde(default)]
    pub carriers_opened: u64,
    /// See [`Tally::carriers_closed`]; indexed by [`Leave::index`].
    #[serde(default)]
    pub carriers_closed: [u64; Leave::ALL.len()],
    /// See [`Tally::pending`].
    pub pending: u64,
}

impl Tally {
    /// Adds one; relaxed, since nobody orders anything by it.
    pub fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Relaxed);
    }

    /// Adds what another load did. `pending` is not touched: it is a promise, not a deed.
    ///
    /// Beginnings before ends, so that nobody who reads meanwhile sees more ends than beginnings.
    pub fn add_all(&self, more: &Counts) {
        for (counter, by) in [
            (&self.opened, more.opened),
            (&self.carriers_opened, more.carriers_opened),
            (&self.waits, more.waits),
            (&self.waits_over, more.waits_over),
            (&self.connected, more.connected),
            (&self.not_opened, more.not_opened),
            (&self.sessions_created, more.sessions_created),
            (&self.sessions_deleted, more.sessions_deleted),
            (&self.turns, more.turns),
            (&self.events, more.events),
            (&self.bytes, more.bytes),
            (&self.captures_failed, more.captures_failed),
            (&self.reconnects, more.reconnects),
            (&self.gave_up, more.gave_up),
            (&self.ids_lost, more.ids_lost),
            (&self.ids_repeated, more.ids_repeated),
            (&self.ids_unknown, more.ids_unknown),
        ] {
            Self::add(counter, by);
        }
        for (counter, by) in self.closed.iter().zip(more.closed) {
            Self::add(counter, by);
        }
        for (counter, by) in self.ended.iter().zip(more.ended) {
            Self::add(counter, by);
        }
        for (counter, by) in self.carriers_closed.iter().zip(more.carriers_closed) {
            Self::add(counter, by);
        }
    }

    /// Notes that a connection is gone.
    pub fn note_end(&self, leave: Leave, end: End, was_connected: bool) {
        if was_connected {
            Self::add(&self.closed[leave.index()], 1);
        }
        Self::add(&self.ended[end as usize], 1);
    }

    /// A copy of every counter. Ends are read before beginnings, so that `live` is never negative.
    pub fn counts(&self) -> Counts {
        let ended = std::array::from_fn(|i| self.ended[i].load(Relaxed));
        let closed = std::array::from_fn(|i| self.closed[i].load(Relaxed));
        let carriers_closed = std::array::from_fn(|i| self.carriers_closed[i].load(Relaxed));
        Counts {
            ended,
            closed,
            carriers_closed,
            waits_over: self.waits_over.load(Relaxed),
            not_opened: self.not_opened.load(Relaxed),
            sessions_deleted: self.sessions_deleted.load(Relaxed),
            sessions_created: self.sessions_created.load(Relaxed),
            turns: self.turns.load(Relaxed),
            events: self.events.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            captures_failed: self.captures_failed.load(Relaxed),
            reconnects: self.reconnects.load(Relaxed),
            gave_up: self.gave_up.load(Relaxed),
            ids_lost: self.ids_lost.load(Relaxed),
            ids_repeated: self.ids_repeated.load(Relaxed),
            ids_unknown: self.ids_unknown.load(Relaxed),
            pending: self.pending.load(Relaxed),
            waits: self.waits.load(Relaxed),
            connected: self.connected.load(Relaxed),
            opened: self.opened.load(Relaxed),
            carriers_opened: self.carriers_opened.load(Relaxed),
        }
    }
}

impl Counts {
    /// Connections opened and not yet gone.
    pub fn live(&self) -> u64 {
        self.opened.saturating_sub(self.ended.iter().sum())
    }

    /// TCP connections opened for streams of HTTP/2 and not yet gone.
    pub fn carriers(&self) -> u64 {
        let closed = self.carriers_closed.iter().sum();
        self.carriers_opened.saturating_sub(closed)
    }

    /// Sockets gone, by the way their clients left: as the kernel counts, where several streams share one.
    pub fn sockets_closed(&self) -> [u64; Leave::ALL.len()] {
        if self.carriers_opened > 0 || self.carriers_closed.iter().any(|closed| *closed > 0) {
            self.carriers_closed
        } else {
            self.closed
        }
    }

    /// Clients that wait to come back.
    pub fn waiting(&self) -> u64 {
        self.waits.saturating_sub(self.waits_over)
    }

    /// Whether nobody is still to open, or to come back.
    pub fn is_nobody_due(&self) -> bool {
        self.pending == 0 && self.waiting() == 0
    }

    /// Connections gone, however they left.
    pub fn closed_total(&self) -> u64 {
        self.closed.iter().sum()
    }

    /// What was done between `earlier` and now.
    pub fn since(&self, earlier: &Self) -> Self {
        let minus = |now: u64, then: u64| now.saturating_sub(then);
        Self {
            opened: minus(self.opened, earlier.opened),
            connected: minus(self.connected, earlier.connected),
            closed: std::array::from_fn(|i| minus(self.closed[i], earlier.closed[i])),
            ended: std::array::from_fn(|i| minus(self.ended[i], earlier.ended[i])),
            not_opened: minus(self.not_opened, earlier.not_opened),
            sessions_created: minus(self.sessions_created, earlier.sessions_created),
            sessions_deleted: minus(self.sessions_deleted, earlier.sessions_deleted),
            turns: minus(self.turns, earlier.turns),
            events: minus(self.events, earlier.events),
            bytes: minus(self.bytes, earlier.bytes),
            captures_failed: minus(self.captures_failed, earlier.captures_failed),
            reconnects: minus(self.reconnects, earlier.reconnects),
            waits: minus(self.waits, earlier.waits),
            waits_over: minus(self.waits_over, earlier.waits_over),
            gave_up: minus(self.gave_up, earlier.gave_up),
            ids_lost: minus(self.ids_lost, earlier.ids_lost),
            ids_repeated: minus(self.ids_repeated, earlier.ids_repeated),
            ids_unknown: minus(self.ids_unknown, earlier.ids_unknown),
            carriers_opened: minus(self.carriers_opened, earlier.carriers_opened),
            carriers_closed: std::array::from_fn(|i| {
                minus(self.carriers_closed[i], earlier.carriers_closed[i])
            }),
            pending: self.pending,
        }
    }

    /// Whether nothing that is only ever counted up has fallen since.
    pub fn follows(&self, earlier: &Self) -> bool {
        let fell = earlier.since(self);
        Self { pending: 0, ..fell } == Self::default()
    }

    /// Connections that did not do what the plan asked for.
    pub fn errors(&self) -> u64 {
        End::ALL
            .iter()
            .zip(self.ended)
            .filter(|(end, _)| end.is_error())
            .map(|(_, count)| count)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_loads_did_adds_up_and_only_rises() {
        let (one, both) = (Tally::default(), Tally::default());
        for (opened, ends) in [(5, 2), (4, 1)] {
            Tally::add(&one.opened, opened);
            let before = one.counts();
            (0..ends).for_each(|_| one.note_end(Leave::Rst, End::Lost, true));
            assert!(one.counts().follows(&before) && !before.follows(&one.counts()));
        }
        both.add_all(&one.counts());
        both.add_all(&one.counts());
        let counts = both.counts();
        assert_eq!(
            (counts.live(), counts.closed_total(), counts.errors()),
            (12, 6, 6)
        );
    }

    #[test]
    fn a_refused_connection_ends_but_never_closed() {
        let tally = Tally::default();
        Tally::add(&tally.opened, 2);
        Tally::add(&tally.connected, 1);
        tally.note_end(Leave::Fin, End::AsPlanned, true);
        tally.note_end(Leave::Fin, End::ConnectFailed, false);
        let counts = tally.counts();
        assert_eq!(
            (counts.live(), counts.closed_total(), counts.errors()),
            (0, 1, 1)
        );
    }
}
