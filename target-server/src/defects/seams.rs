//! The seams: the places in the honest server where a planted leak may do something else.

use std::{
    cell::{Cell, RefCell},
    collections::LinkedList,
};

use bytes::Bytes;
use prometheus_client::collector::Collector;
use tokio::net::TcpStream;

use super::{Defects, Plant};
use crate::{
    Allocator,
    instruments::{ConnectionState, Outcome},
    listener::PeerLeft,
    sessions::{Entry, Session},
    stream::Sender,
};

/// One planted leak. A method is a seam, named by what has just happened; left out, it is honest.
pub(crate) trait Leak {
    /// The listener accepted a connection.
    fn connection_opened(&self) {}

    /// The client sent FIN. True if the socket must stay as it is, because a leak holds on to it.
    fn client_closed(&self, _socket: &TcpStream) -> bool {
        false
    }

    /// A connection is over, `state` being what it did last.
    fn connection_ended(&self, _state: ConnectionState, _left: PeerLeft) {}

    /// A stream asks how many frames may wait in its queue; the answer is `honest` or worse.
    fn queue_limit(&self, honest: usize) -> usize {
        honest
    }

    /// A stream has a queue, and nothing in it yet.
    fn stream_opened(&self, _sender: &Sender) {}

    /// A frame was queued behind `waiting` others.
    fn frame_queued(&self, _waiting: usize, _frame: &Bytes) {}

    /// An event was handed to the connection.
    fn event_sent(&self, _event: &Bytes) {}

    /// A stream is over and everything it had is about to go.
    fn stream_ended(&self, _ended: &Ended<'_>) {}

    /// A session's TTL has passed. True if it is not forgotten.
    fn session_due(&self, _session: &Session) -> bool {
        false
    }

    /// A message fell out of a session's bounded history.
    fn entry_forgotten(&self, _slot: &Slot, _entry: &mut Option<Entry>) {}

    /// More for `GET /metrics`.
    fn collector(&self) -> Option<Box<dyn Collector>> {
        None
    }
}

/// How a stream ended.
pub(crate) struct Ended<'a> {
    /// `chat` or `events`.
    pub(crate) kind: &'static str,
    /// Why.
    pub(crate) outcome: Outcome,
    /// How the client went, if it did.
    pub(crate) left: PeerLeft,
    /// Events handed to the connection.
    pub(crate) events: u64,
    /// The session it belonged to.
    pub(crate) session: Option<&'a Session>,
}

impl Ended<'_> {
    /// Whether the client went before the server had said everything.
    pub(super) fn client_left(&self) -> bool {
        matches!(self.outcome, Outcome::Cancelled | Outcome::Timeout)
    }
}

/// What planted leaks note on a session. Empty in an honest server.
#[derive(Default)]
pub(crate) struct Slot {
    pub(super) fate: Cell<Fate>,
    /// Whether the messages of the turn being forgotten are kept.
    pub(super) keeps_turn: Cell<bool>,
    pub(super) older: RefCell<LinkedList<Entry>>,
}

/// What becomes of a session at the end of its TTL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nobody has decided.
    #[default]
    Open,
    /// Its client left in mid-answer.
    LeftInMidAnswer,
    /// It stays for ever.
    Kept,
}

/// All planted leaks, at every seam one after the other.
#[derive(Default)]
pub(crate) struct Leaks(Vec<Box<dyn Leak>>);

impl Leaks {
    /// Plants what was asked for. On the data thread, inside its runtime: some leaks are tasks.
    pub(crate) fn plant(defects: &Defects, allocator: Allocator) -> Self {
        let plant = |planted: &std::sync::Arc<super::Planted>| {
            (planted.kind.plant)(Plant::new(planted.clone(), allocator))
        };
        Self(defects.planted.iter().map(plant).collect())
    }

    /// See [`Leak::connection_opened`].
    pub(crate) fn connection_opened(&self) {
        self.0.iter().for_each(|leak| leak.connection_opened());
    }

    /// See [`Leak::client_closed`]. What one leak holds, the next is not asked about.
    pub(crate) fn client_closed(&self, socket: &TcpStream) -> bool {
        self.0.iter().any(|leak| leak.client_closed(socket))
    }

    /// See [`Leak::connection_ended`].
    pub(crate) fn connection_ended(&self, state: ConnectionState, left: PeerLeft) {
        self.0
            .iter()
            .for_each(|leak| leak.connection_ended(state, left));
    }

    /// See [`Leak::queue_limit`].
    pub(crate) fn queue_limit(&self, honest: usize) -> usize {
        self.0
            .iter()
            .fold(honest, |limit, leak| leak.queue_limit(limit))
    }

    /// See [`Leak::stream_opened`].
    pub(crate) fn stream_opened(&self, sender: &Sender) {
        self.0.iter().for_each(|leak| leak.stream_opened(sender));
    }

    /// See [`Leak::frame_queued`].
    pub(crate) fn frame_queued(&self, waiting: usize, frame: &Bytes) {
        self.0
            .iter()
            .for_each(|leak| leak.frame_queued(waiting, frame));
    }

    /// See [`Leak::event_sent`].
    pub(crate) fn event_sent(&self, event: &Bytes) {
        self.0.iter().for_each(|leak| leak.event_sent(event));
    }

    /// See [`Leak::stream_ended`].
    pub(crate) fn stream_ended(&self, ended: &Ended<'_>) {
        self.0.iter().for_each(|leak| leak.stream_ended(ended));
    }

    /// See [`Leak::session_due`]. What one leak keeps, the next is not asked about.
    pub(crate) fn session_due(&self, session: &Session) -> bool {
        self.0.iter().any(|leak| leak.session_due(session))
    }

    /// See [`Leak::entry_forgotten`].
    pub(crate) fn entry_forgotten(&self, slot: &Slot, entry: Entry) {
        let mut entry = Some(entry);
        self.0
            .iter()
            .for_each(|leak| leak.entry_forgotten(slot, &mut entry));
    }

    /// See [`Leak::collector`].
    pub(crate) fn collectors(&self) -> impl Iterator<Item = Box<dyn Collector>> + '_ {
        self.0.iter().filter_map(|leak| leak.collector())
    }
}
