//! Counts of everything that opens and closes. Written by the data thread, read by anybody, never waited for.
//!
//! Totals of opened and closed are kept, and "live" is their difference: a gauge alone, read once a second, lies.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::{Value, json};

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionState {
    /// No request is being served: between requests, or its head is not complete.
    Waiting,
    /// A handler is at work.
    Answering,
    /// An event stream is open on it.
    Streaming,
}

impl ConnectionState {
    const NAMES: [&str; 3] = ["waiting", "answering", "streaming"];
}

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The server had said everything.
    Done,
    /// The server gave up: its session was deleted, or its generator died.
    Error,
    /// The client left first.
    Cancelled,
    /// The client read too slowly and its queue was full.
    Slow,
    /// The client took no byte for the write timeout.
    Timeout,
    /// The server is shutting down.
    Drained,
}

impl Outcome {
    const NAMES: [&str; 6] = ["done", "error", "cancelled", "slow", "timeout", "drained"];

    /// The word used in logs, status and metrics.
    pub(crate) fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// How a session came to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// By `DELETE`.
    Deleted,
    /// By the sweeper, after its TTL.
    Expired,
    /// By the sweeper, because memory was short.
    Evicted,
}

impl Gone {
    const NAMES: [&str; 3] = ["deleted", "expired", "evicted"];
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Total(AtomicU64);

impl Total {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Things that come and go, by how they went. Ends are read before openings, so `live` is never below zero.
#[derive(Debug)]
pub(crate) struct Lives<const ENDS: usize> {
    opened: Total,
    ended: [Total; ENDS],
}

impl<const ENDS: usize> Default for Lives<ENDS> {
    fn default() -> Self {
        Self {
            opened: Total::default(),
            ended: std::array::from_fn(|_| Total::default()),
        }
    }
}

impl<const ENDS: usize> Lives<ENDS> {
    pub(crate) fn open(&self) {
        self.opened.add(1);
    }

    pub(crate) fn end(&self, how: usize) {
        self.ended[how].add(1);
    }

    pub(crate) fn opened(&self) -> u64 {
        self.opened.get()
    }

    pub(crate) fn ended(&self) -> [u64; ENDS] {
        std::array::from_fn(|how| self.ended[how].get())
    }

    pub(crate) fn live(&self) -> u64 {
        let ended: u64 = self.ended().iter().sum();
        self.opened() - ended
    }
}

/// Everything this process counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Connections accepted; refused ones included.
    pub(crate) connections: Lives<1>,
    /// Connections by [`ConnectionState`].
    states: [AtomicU64; 3],
    /// Connections answered 503 without a look at their request.
    pub(crate) refused: Total,
    /// Times `accept` failed.
    pub(crate) accept_errors: Total,
    /// Event streams, by [`Outcome`].
    pub(crate) streams: Lives<6>,
    /// Sessions, by [`Gone`].
    pub(crate) sessions: Lives<3>,
    /// Sessions with at least one live stream.
    streaming_sessions: AtomicU64,
    /// Chat answers completed.
    pub(crate) turns: Total,
    /// Events handed to a connection; comments are not events.
    pub(crate) events: Total,
    /// Events lost to slow clients.
    pub(crate) dropped_events: Total,
    /// Bytes of event streams handed to a connection.
    pub(crate) stream_bytes: Total,
    /// Tasks of the data thread that belong to a connection or a stream.
    pub(crate) tasks: Lives<1>,
    /// Blocks and bytes kept on purpose: the positive control.
    pub(crate) retained_blocks: AtomicU64,
    /// Their bytes as the allocator counts them.
    pub(crate) retained_bytes: AtomicU64,
}

impl Counters {
    pub(crate) fn enter(&self, state: ConnectionState) {
        self.states[state as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn leave(&self, state: ConnectionState) {
        self.states[state as usize].fetch_sub(1, Relaxed);
    }

    pub(crate) fn session_streams(&self) {
        self.streaming_sessions.fetch_add(1, Relaxed);
    }

    pub(crate) fn session_rests(&self) {
        self.streaming_sessions.fetch_sub(1, Relaxed);
    }

    /// The counts as `GET /v1/status` shows them.
    pub(crate) fn to_json(&self) -> Value {
        let streaming = self.streaming_sessions.load(Relaxed);
        let states = std::array::from_fn::<_, 3, _>(|state| self.states[state].load(Relaxed));
        json!({
            "connections": {
                "live": self.connections.live(),
                "opened_total": self.connections.opened(),
                "closed_total": self.connections.ended()[0],
                "refused_total": self.refused.get(),
                "accept_errors_total": self.accept_errors.get(),
                "by_state": named(ConnectionState::NAMES, states),
            },
            "streams": {
                "live": self.streams.live(),
                "opened_total": self.streams.opened(),
                "ended_total": named(Outcome::NAMES, self.streams.ended()),
            },
            "sessions": {
                "live": self.sessions.live(),
                "created_total": self.sessions.opened(),
                "removed_total": named(Gone::NAMES, self.sessions.ended()),
                "by_state": { "streaming": streaming, "idle": self.sessions.live().saturating_sub(streaming) },
            },
            "turns_total": self.turns.get(),
            "events_total": self.events.get(),
            "dropped_events_total": self.dropped_events.get(),
            "tasks_live": self.tasks.live(),
            "retained": {
                "blocks": self.retained_blocks.load(Relaxed),
                "bytes": self.retained_bytes.load(Relaxed),
            },
        })
    }

    /// Names of the outcomes, for metrics.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Outcome::NAMES.into_iter().zip(self.streams.ended())
    }

    /// Names of the removals, for metrics.
    pub(crate) fn removals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Gone::NAMES.into_iter().zip(self.sessions.ended())
    }
}

fn named<const N: usize>(names: [&str; N], values: [u64; N]) -> Value {
    names
        .into_iter()
        .zip(values)
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
