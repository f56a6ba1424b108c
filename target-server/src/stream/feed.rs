//! A feed: numbered events at a fixed pace, until the client leaves or its limit is reached.
//!
//! The events of a feed with a session belong to the session: they are numbered there, and the last few are kept for a client that
//! comes back with `Last-Event-ID`. A feed without a session keeps nothing: its text follows from the number, so it just goes on.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::{events, queue::Feeder};
use crate::{Server, instruments::Outcome, sessions::Session};

/// What a client asked `GET /events` for.
pub(crate) struct Feed {
    pub(crate) server: Rc<Server>,
    pub(crate) session: Option<Rc<Session>>,
    pub(crate) interval: Duration,
    pub(crate) bytes: usize,
    pub(crate) limit: Option<u64>,
    pub(crate) last_event_id: Option<u64>,
}

/// Writes the feed.
pub(crate) async fn feed(mut feeder: Feeder, feed: Feed) -> (Feeder, Outcome) {
    let outcome = publish(&mut feeder, &feed)
        .await
        .err()
        .unwrap_or(Outcome::Done);
    (feeder, outcome)
}

async fn publish(feeder: &mut Feeder, feed: &Feed) -> Result<(), Outcome> {
    feeder.comment(events::retry(feed.server.config.retry.get()))?;
    let mut left = feed.limit.unwrap_or(u64::MAX);
    for frame in feed.missed(feeder)? {
        if left == 0 {
            return Ok(());
        }
        feeder.room().await?;
        feeder.event(frame)?;
        left -= 1;
    }
    let mut own_id = feed.last_event_id.unwrap_or(0);
    let mut due = Instant::now();
    while left > 0 {
        feeder.wait_until(due).await?;
        own_id = own_id.wrapping_add(1);
        feeder.event(feed.next(own_id))?;
        left -= 1;
        due = (due + feed.interval).max(Instant::now()); // a late generator does not catch up in a burst
    }
    Ok(())
}

impl Feed {
    fn next(&self, own_id: u64) -> Bytes {
        let write = |id| events::numbered(id, self.bytes, self.server.config.seed);
        match &self.session {
            Some(session) => {
                session.touch(Instant::now());
                session.next_event(write)
            }
            None => write(own_id),
        }
    }

    /// What the session still has of the events after `Last-Event-ID`.
    fn missed(&self, feeder: &mut Feeder) -> Result<Vec<Bytes>, Outcome> {
        let (Some(session), Some(last)) = (&self.session, self.last_event_id) else {
            return Ok(Vec::new());
        };
        let (frames, beyond) = session.missed_since(last);
        if beyond > 0 {
            feeder.comment(events::missed(beyond))?;
        }
        Ok(frames)
    }
}
