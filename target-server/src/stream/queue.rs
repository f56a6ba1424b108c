//! The queue between a generator and its connection: bounded, single-threaded, empty when nothing waits.
//!
//! In: [`Feeder::send`], which never waits. Out: [`Frames`], polled by the body. A full queue is answered by the slow-client
//! policy. Memory: a block per frame that waits.

use std::{
    cell::{Cell, RefCell},
    collections::LinkedList,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{Terms, events, gone};
use crate::{Server, config::SlowClient, instruments::Outcome, sessions::Session, signal::Signal};

/// A piece of the stream as it goes on the wire.
#[derive(Clone, Debug)]
pub(crate) enum Frame {
    /// Counts as an event.
    Event(Bytes),
    /// A comment or a `retry:` line: nothing a client's application sees.
    Comment(Bytes),
}

impl Frame {
    fn bytes(&self) -> &Bytes {
        match self {
            Self::Event(bytes) | Self::Comment(bytes) => bytes,
        }
    }
}

struct Shared {
    /// A list: one block per frame that waits, and none when none does.
    waiting: RefCell<LinkedList<Frame>>,
    ending: Cell<Option<Outcome>>,
    reader: RefCell<Option<Waker>>,
    reader_gone: Signal,
    taken: Notify,
}

/// One more hold on a stream's queue, for whoever else may write into it.
#[derive(Clone)]
pub(crate) struct Sender {
    _shared: Rc<Shared>,
}

impl Sender {
    /// Bytes of what it holds: the queue, and the two counts of its `Rc`.
    pub(crate) const QUEUE: usize = size_of::<Shared>() + 2 * size_of::<usize>();
}

/// The generator's end.
pub(crate) struct Feeder {
    shared: Rc<Shared>,
    terms: Terms,
    server: Rc<Server>,
    session: Option<Rc<Session>>,
    last_sent: Instant,
}

/// The connection's end. Dropping it tells the generator that the client is gone.
pub(crate) struct Frames {
    shared: Rc<Shared>,
}

/// Opens a queue that also knows what else may end the stream: the drain of the server, the end of the session.
pub(crate) fn open(
    terms: Terms,
    server: Rc<Server>,
    session: Option<Rc<Session>>,
) -> (Feeder, Frames) {
    let shared = Rc::new(Shared {
        waiting: RefCell::default(),
        ending: Cell::default(),
        reader: RefCell::default(),
        reader_gone: Signal::default(),
        taken: Notify::new(),
    });
    let feeder = Feeder {
        shared: Rc::clone(&shared),
        terms,
        server,
        session,
        last_sent: Instant::now(),
    };
    (feeder, Frames { shared })
}

impl Feeder {
    /// One more hold on this queue.
    pub(crate) fn sender(&self) -> Sender {
        Sender {
            _shared: Rc::clone(&self.shared),
        }
    }

    /// Queues an event.
    ///
    /// # Errors
    /// Why the generator should stop: the client left, or it is slow and the policy is to disconnect.
    pub(crate) fn event(&mut self, bytes: Bytes) -> Result<(), Outcome> {
        self.send(Frame::Event(bytes))
    }

    /// Queues something that is not an event.
    ///
    /// # Errors
    /// As [`Self::event`].
    pub(crate) fn comment(&mut self, bytes: Bytes) -> Result<(), Outcome> {
        self.send(Frame::Comment(bytes))
    }

    fn send(&mut self, frame: Frame) -> Result<(), Outcome> {
        if self.shared.reader_gone.is_raised() {
            return Err(Outcome::Cancelled);
        }
        if self.shared.waiting.borrow().len() >= self.terms.limit {
            return match (self.terms.slow_client, frame) {
                (SlowClient::Disconnect, Frame::Event(_)) => Err(Outcome::Slow),
                (SlowClient::DropNewest, Frame::Event(_)) => {
                    self.server.counters.dropped_events.add(1);
                    Ok(())
                }
                (_, Frame::Comment(_)) => Ok(()), // a heartbeat behind a full queue says nothing new
            };
        }
        self.push(frame);
        Ok(())
    }

    fn push(&mut self, frame: Frame) {
        let mut waiting = self.shared.waiting.borrow_mut();
        self.server.leaks.frame_queued(waiting.len(), frame.bytes());
        waiting.push_back(frame);
        drop(waiting);
        self.last_sent = Instant::now();
        self.shared.wake();
    }

    /// Waits until `due`, sending heartbeats while it is quiet.
    ///
    /// # Errors
    /// Returns early with the reason when the stream should end: the client left, the server drains, the session is gone.
    pub(crate) async fn wait_until(&mut self, due: Instant) -> Result<(), Outcome> {
        loop {
            let beat = self.last_sent + self.terms.heartbeat;
            tokio::select! {
                biased;
                stop = self.stopped() => return Err(stop),
                () = sleep_until(due.min(beat)) => {}
            }
            if due <= beat {
                return Ok(());
            }
            self.last_sent = Instant::now();
            self.comment(events::heartbeat())?;
        }
    }

    /// Waits until there is room in the queue: for an answer whose parts must not be lost, to a client that has time.
    ///
    /// # Errors
    /// As [`Self::wait_until`]; a client that makes no room is ended by the connection's write timeout.
    pub(crate) async fn room(&mut self) -> Result<(), Outcome> {
        while self.shared.waiting.borrow().len() >= self.terms.limit {
            let shared = Rc::clone(&self.shared);
            let taken = shared.taken.notified();
            tokio::select! {
                biased;
                stop = self.stopped() => return Err(stop),
                () = taken => {}
            }
        }
        Ok(())
    }

    /// Whatever ends the stream from outside, when it comes.
    async fn stopped(&self) -> Outcome {
        tokio::select! {
            biased;
            () = self.shared.reader_gone.raised() => Outcome::Cancelled,
            () = self.server.drain.raised() => Outcome::Drained,
            () = gone(self.session.as_deref().map(|session| &session.gone)) => Outcome::Error,
        }
    }

    /// Ends the stream. A client that is still there is told why, when the end is not its own doing.
    pub(crate) fn finish(mut self, outcome: Outcome) {
        let told = match outcome {
            Outcome::Drained => Some(events::error("drained", "the server is shutting down")),
            Outcome::Error => Some(events::error("gone", "the conversation was deleted")),
            _ => None,
        };
        self.shared.ending.set(Some(outcome));
        match told {
            Some(frame) if !self.shared.reader_gone.is_raised() => self.push(Frame::Event(frame)), // one beyond the limit
            _ => self.shared.wake(),
        }
    }
}

impl Drop for Feeder {
    /// A generator that died without a word ends its stream as an error.
    fn drop(&mut self) {
        if self.shared.ending.get().is_none() {
            self.shared.ending.set(Some(Outcome::Error));
            self.shared.wake();
        }
    }
}

impl Shared {
    fn wake(&self) {
        if let Some(waker) = self.reader.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl Frames {
    /// The next frame; `None` when the generator has finished and everything was taken.
    pub(crate) fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<Frame>> {
        let mut waiting = self.shared.waiting.borrow_mut();
        if let Some(frame) = waiting.pop_front() {
            self.shared.taken.notify_one();
            return Poll::Ready(Some(frame));
        }
        if self.shared.ending.get().is_some() {
            return Poll::Ready(None);
        }
        *self.shared.reader.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    /// How the generator ended, if it has; and whether everything it wrote was taken.
    pub(crate) fn ending(&self) -> Option<(Outcome, bool)> {
        self.shared
            .ending
            .get()
            .map(|outcome| (outcome, self.shared.waiting.borrow().is_empty()))
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.shared.waiting.borrow_mut().clear();
        self.shared.reader.take(); // it would keep the connection's task
        self.shared.reader_gone.raise();
    }
}
