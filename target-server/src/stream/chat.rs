//! A chat answer: connected, a few messages, completed.

use std::rc::Rc;

use tokio::time::Instant;

use super::{events, queue::Feeder};
use crate::{
    Server,
    instruments::Outcome,
    sessions::{Role, Session},
};

/// What an answer belongs to.
pub(crate) struct Turn {
    pub(crate) server: Rc<Server>,
    pub(crate) session: Rc<Session>,
    pub(crate) number: u64,
}

/// Writes the answer. Ends early when the client leaves, the server drains or the conversation is deleted.
pub(crate) async fn chat(mut feeder: Feeder, turn: Turn) -> (Feeder, Outcome) {
    let outcome = answer(&mut feeder, &turn)
        .await
        .err()
        .unwrap_or(Outcome::Done);
    (feeder, outcome)
}

async fn answer(feeder: &mut Feeder, turn: &Turn) -> Result<(), Outcome> {
    let config = &turn.server.config;
    let (conversation_id, message_id) = (turn.session.id, turn.number);
    feeder.event(events::named(
        "connected",
        &events::Connected {
            conversation_id,
            message_id,
        },
    ))?;
    let mut said = String::new();
    let mut due = Instant::now();
    for index in 0..config.chunks {
        due = (due + config.chunk_interval.get()).max(Instant::now());
        feeder.wait_until(due).await?;
        feeder.room().await?;
        let content = events::chunk(config.seed, turn.number, index);
        feeder.event(events::named(
            "message",
            &events::Message { content: &content },
        ))?;
        said.push_str(&content);
    }
    feeder.room().await?;
    let characters = said.chars().count();
    feeder.event(events::named(
        "completed",
        &events::Completed {
            conversation_id,
            message_id,
            chunks: config.chunks,
            characters,
        },
    ))?;
    turn.session.remember(Role::Assistant, &said);
    turn.session.touch(Instant::now());
    turn.server.counters.turns.add(1);
    Ok(())
}
