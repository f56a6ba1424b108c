//! What is sent: the bytes of each event. Pure: the same arguments give the same bytes.

use std::{fmt::Write, time::Duration};

use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

const WORDS: [&str; 32] = [
    "memory", "grows", "while", "nobody", "looks", "a", "stream", "that", "ended", "keeps", "its",
    "name", "in", "some", "table", "until", "the", "process", "dies", "and", "then", "it", "is",
    "called", "an", "outage", "so", "count", "what", "you", "open", "close",
];

/// The first event of a chat answer.
#[derive(Serialize)]
pub(super) struct Connected {
    pub(super) conversation_id: Uuid,
    pub(super) message_id: u64,
}

/// One piece of the answer.
#[derive(Serialize)]
pub(super) struct Message<'a> {
    pub(super) content: &'a str,
}

/// The last event of a chat answer.
#[derive(Serialize)]
pub(super) struct Completed {
    pub(super) conversation_id: Uuid,
    pub(super) message_id: u64,
    pub(super) chunks: u32,
    pub(super) characters: usize,
}

/// `event: NAME` with JSON data.
pub(super) fn named(name: &str, data: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(data).expect("plain structs serialise");
    let mut frame = String::with_capacity(name.len() + data.len() + 16);
    write!(frame, "event: {name}\ndata: {data}\n\n").expect("writing to a String cannot fail");
    exact(frame)
}

/// An `error` event.
pub(super) fn error(error: &str, message: &str) -> Bytes {
    named(
        "error",
        &serde_json::json!({ "error": error, "message": message }),
    )
}

/// An unnamed event with an id and `bytes` bytes of text.
pub(super) fn numbered(id: u64, bytes: usize, seed: u64) -> Bytes {
    let mut frame = String::with_capacity(bytes + 40);
    write!(frame, "id: {id}\ndata: ").expect("writing to a String cannot fail");
    let end = frame.len() + bytes;
    let mut words = Words::new(seed, id);
    while frame.len() < end {
        frame.push_str(words.next());
        frame.push(' ');
    }
    frame.truncate(end);
    frame.push_str("\n\n");
    exact(frame)
}

/// How long a client should wait before it comes back.
pub(super) fn retry(after: Duration) -> Bytes {
    exact(format!("retry: {}\n\n", after.as_millis()))
}

/// A comment: keeps proxies and dead-peer detection awake.
pub(super) fn heartbeat() -> Bytes {
    Bytes::from_static(b": heartbeat\n\n")
}

/// Tells that events were lost because the replay window did not reach back far enough.
pub(super) fn missed(count: u64) -> Bytes {
    exact(format!(": {count} events are beyond the replay window\n\n"))
}

/// One chunk of an answer: a few words, each time others, always the same for the same seed and place.
pub(super) fn chunk(seed: u64, turn: u64, index: u32) -> String {
    let mut words = Words::new(seed, turn << 20 | u64::from(index));
    let count = 4 + words.below(8);
    let mut text = String::new();
    for _ in 0..count {
        text.push_str(words.next());
        text.push(' ');
    }
    text
}

/// Without spare capacity `Bytes` needs no second block for its reference count until it is shared.
fn exact(frame: String) -> Bytes {
    Bytes::from(frame.into_bytes().into_boxed_slice())
}

/// Words in an order fixed by (seed, place). The generator is SplitMix64: eight bytes of state.
struct Words(u64);

impl Words {
    fn new(seed: u64, place: u64) -> Self {
        Self(seed ^ place.wrapping_mul(0xD1B5_4A32_D192_ED03))
    }

    fn next(&mut self) -> &'static str {
        WORDS[self.below(WORDS.len())]
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).expect("below a usize")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numbered_event_carries_exactly_the_bytes_asked_for() {
        for bytes in [0, 1, 7, 64, 1000, 65536] {
            let frame = numbered(42, bytes, 1);
            let text = std::str::from_utf8(&frame).expect("ASCII");
            let data = text
                .strip_prefix("id: 42\ndata: ")
                .and_then(|rest| rest.strip_suffix("\n\n"))
                .expect("one event");
            assert_eq!(data.len(), bytes);
            assert!(!data.contains('\n'));
        }
    }

    #[test]
    fn text_depends_on_the_seed_and_the_place_and_on_nothing_else() {
        assert_eq!(numbered(7, 100, 1), numbered(7, 100, 1));
        assert_ne!(chunk(1, 1, 0), chunk(2, 1, 0));
        assert_ne!(chunk(1, 1, 0), chunk(1, 1, 1));
    }

    #[test]
    fn a_named_event_is_one_line_of_json() {
        assert_eq!(
            &named("message", &Message { content: "a\nb" })[..],
            b"event: message\ndata: {\"content\":\"a\\nb\"}\n\n"
        );
    }
}
