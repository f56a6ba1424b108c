//! How clients behave beyond their script, as a profile writes it: `reconnect = { … }` and `network = { … }` of a population.

use serde::Deserialize;

use crate::units::{ByteRate, Period, Tunnel};

/// Coming back like a browser's `EventSource` when the stream ends before its time. `{}` is Chromium's way, for five minutes.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ReconnectSpec {
    /// The wait before the first try, unless the stream tells another by `retry:`; 3 s if not given.
    pub after: Option<Period>,
    /// Waits double with every try up to this; 30 s if not given.
    pub at_most: Option<Period>,
    /// So much of a wait is added at random at most, percent; 20 if not given.
    pub jitter_percent: Option<u8>,
    /// How long it tries; 5 min if not given.
    pub give_up_after: Option<Period>,
}

/// The line by which a client is connected. Made by when we send and read: the server feels real back-pressure.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct NetworkSpec {
    /// Added to every request and to every byte of an answer, each way: `"40ms"`.
    pub latency: Option<Period>,
    /// Read no faster than this: `"16 KiB/s"`.
    pub bandwidth: Option<ByteRate>,
    /// Nothing is sent or read for a while, again and again: `"10s every 60s"`.
    pub tunnel: Option<Tunnel>,
}
