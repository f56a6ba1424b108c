//! Streams: a generator task writes events into a bounded queue; the connection takes them out as a response body.
//!
//! [`open`] starts both ends. [`chat()`] and [`feed()`] are the two generators; [`queue`] is what connects them to [`body`].
//! Whoever stops first tells the other: a client that leaves drops the body, which ends the generator at once, even when no
//! event is due; a generator that has said everything ends the body. Times are paced by tokio's clock; one task per stream.

mod body;
mod chat;
mod events;
mod feed;
mod queue;

pub(crate) use body::EventBody;
pub(crate) use chat::{Turn, chat};
pub(crate) use feed::{Feed, feed};
pub(crate) use queue::{Frame, Sender};

use std::{rc::Rc, time::Duration};

use crate::{
    Server, config::SlowClient, instruments::Outcome, listener::Peer, sessions::Visit,
    signal::Signal,
};
use queue::Feeder;

/// What the generator may expect of its queue and what ends it from outside.
pub(crate) struct Terms {
    /// Frames that may wait.
    pub(crate) limit: usize,
    /// What to do with one more.
    pub(crate) slow_client: SlowClient,
    /// A quiet stream gets a comment this often.
    pub(crate) heartbeat: Duration,
}

/// Opens a stream: `generate` runs as a task of its own and writes; the answer is the body to send.
/// Dropping the body ends the task.
pub(crate) fn open<G>(
    server: &Rc<Server>,
    peer: &Rc<Peer>,
    visit: Option<Visit>,
    kind: &'static str,
    generate: impl FnOnce(Feeder) -> G,
) -> EventBody
where
    G: Future<Output = (Feeder, Outcome)> + 'static,
{
    let session_gone = visit.as_ref().map(|visit| Rc::clone(visit.session()));
    let (feeder, frames) = queue::open(
        Terms {
            limit: server
                .leaks
                .queue_limit(server.config.queue_events as usize),
            slow_client: server.config.slow_client,
            heartbeat: server.config.heartbeat.get(),
        },
        Rc::clone(server),
        session_gone,
    );
    server.leaks.stream_opened(&feeder.sender());
    let task = generate(feeder);
    let counted = server.task();
    let server_body = EventBody::new(Rc::clone(server), Rc::clone(peer), frames, visit, kind);
    let peer = Rc::clone(peer);
    tokio::task::spawn_local(async move {
        let (feeder, outcome) = task.await;
        if outcome == Outcome::Slow {
            peer.cut.raise(); // its socket is full: nothing we could send would arrive
        }
        feeder.finish(outcome);
        drop(counted);
    });
    server_body
}

/// A future for "its session was deleted" that also works without a session.
async fn gone(session: Option<&Signal>) {
    match session {
        Some(signal) => signal.raised().await,
        None => std::future::pending().await,
    }
}
