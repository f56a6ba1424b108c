//! The stream as hyper sees it: frames out, and a reason at the end.

use std::{
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::Body;
use tokio::time::Instant;

use super::queue::{Frame, Frames};
use crate::{
    Server,
    defects::Ended,
    instruments::{ConnectionState, Outcome},
    listener::Peer,
    sessions::Visit,
};

/// A stream's way out. Dropping it (hyper does, when the client is gone) ends the generator and the visit, and settles the outcome.
pub(crate) struct EventBody {
    server: Rc<Server>,
    peer: Rc<Peer>,
    frames: Frames,
    visit: Option<Visit>,
    kind: &'static str,
    opened: Instant,
    events: u64,
    bytes: u64,
}

impl EventBody {
    pub(super) fn new(
        server: Rc<Server>,
        peer: Rc<Peer>,
        frames: Frames,
        visit: Option<Visit>,
        kind: &'static str,
    ) -> Self {
        server.counters.streams.open();
        peer.become_state(ConnectionState::Streaming);
        Self {
            server,
            peer,
            frames,
            visit,
            kind,
            opened: Instant::now(),
            events: 0,
            bytes: 0,
        }
    }

    fn outcome(&self) -> Outcome {
        match self.frames.ending() {
            Some((outcome, true)) => outcome,
            Some((Outcome::Slow, _)) => Outcome::Slow,
            _ if self.peer.timed_out() => Outcome::Timeout,
            _ if self.server.cut.is_raised() => Outcome::Drained,
            _ => Outcome::Cancelled,
        }
    }
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        let frame = std::task::ready!(self.frames.poll_next(cx));
        Poll::Ready(frame.map(|frame| {
            let bytes = match frame {
                Frame::Event(bytes) => {
                    self.events += 1;
                    self.server.counters.events.add(1);
                    self.server.leaks.event_sent(&bytes);
                    bytes
                }
                Frame::Comment(bytes) => bytes,
            };
            self.bytes += bytes.len() as u64;
            self.server.counters.stream_bytes.add(bytes.len() as u64);
            Ok(hyper::body::Frame::data(bytes))
        }))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.frames.ending(), Some((_, true)))
    }
}

impl Drop for EventBody {
    fn drop(&mut self) {
        let outcome = self.outcome();
        self.server.counters.streams.end(outcome as usize);
        self.peer.become_state(ConnectionState::Waiting);
        self.server.leaks.stream_ended(&Ended {
            kind: self.kind,
            outcome,
            left: self.peer.left(),
            events: self.events,
            session: self.visit.as_ref().map(|visit| &**visit.session()),
        });
        tracing::info!(
            stream = self.kind,
            session = self
                .visit
                .as_ref()
                .map(|visit| tracing::field::display(visit.session().id)),
            ended = outcome.name(),
            peer_left = self.peer.left().name(),
            duration_ms = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX),
            events = self.events,
            bytes = self.bytes,
            "stream"
        );
    }
}
