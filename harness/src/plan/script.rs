//! What one client says: the exchanges of a connection, and what is kept of the answers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What one connection does, in order, over HTTP/1.1 keep-alive. The way of leaving applies to the last exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// For reports and errors.
    pub name: String,
    /// Never empty.
    pub exchanges: Vec<Exchange>,
}

/// One request and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// What is sent.
    pub request: Request,
    /// What the answer must be.
    pub expect: Expect,
    /// What it does to sessions.
    pub session: SessionUse,
    /// What it counts as once its answer has begun as expected.
    pub counts: Unit,
    /// How long the client thinks after the answer before, until it sends this. Nothing before the first.
    #[serde(default)]
    pub think: Duration,
}

/// A request. Placeholders in `target`, header values and `body`: `{session}` (the captured or borrowed session),
/// `{n}` (the connection's number in the run), `{uuid}` (a random UUID from the run's seed).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Without `Host` and `Content-Length`, which are added.
    pub headers: Vec<(String, String)>,
    /// The body; empty means none.
    pub body: String,
}

/// What the answer must be; anything else is an error that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expect {
    /// `200` with `text/event-stream`.
    Stream,
    /// Any `2xx`, read to its end.
    Success,
}

/// What an exchange does to the server's sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionUse {
    /// Nothing.
    None,
    /// Makes a session, whose id is captured. With `pool`, the id is put there for others to borrow.
    Creates {
        /// Where the id stands in the answer.
        capture: Capture,
        /// Index of the pool that gets it.
        pool: Option<usize>,
    },
    /// Borrows a session of the pool (round robin) unless this connection captured one itself.
    Uses {
        /// Index of the pool; `None`: only its own.
        pool: Option<usize>,
    },
    /// Ends the session of this connection.
    Deletes,
}

/// Where a value stands in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// Which part of the answer.
    pub from: CaptureFrom,
    /// How it is found there.
    pub by: CaptureBy,
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CaptureFrom {
    /// The data of the first event of this name.
    Event(String),
    /// A response header.
    Header(String),
    /// The whole body (of an answer that is no stream; at most 64 KiB of it).
    Body,
}

/// How a value is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CaptureBy {
    /// A JSON pointer (RFC 6901), `/conversation_id`.
    Pointer(String),
    /// A regular expression; its first group, or the whole match.
    Regex(String),
    /// All of it, trimmed.
    Whole,
}

/// What an exchange counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Nothing beyond its connection and its events.
    Nothing,
    /// One session created.
    Session,
    /// One turn in a session that lives on.
    Turn,
}
