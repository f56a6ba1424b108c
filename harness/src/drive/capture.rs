//! Captures: finding a session's id in an answer, and keeping ids for others to borrow.

use std::collections::VecDeque;

use regex::bytes::Regex;
use serde_json::Value;

use crate::plan::{Capture, CaptureBy, CaptureFrom};

use super::sse::{Field, Piece};

/// At most so much of an answer is kept to look for a value.
pub(super) const MOST_KEPT: usize = 64 * 1024;
/// Ids kept in a pool; older ones make room.
const POOL_SIZE: usize = 4096;
/// A longer value is no session id.
const LONGEST_SESSION: usize = 4096;

/// A [`Capture`] with its pattern compiled.
#[derive(Debug)]
pub(super) struct PreparedCapture {
    pub(super) from: CaptureFrom,
    by: By,
}

#[derive(Debug)]
enum By {
    Pointer(String),
    Regex(Regex),
    Whole,
}

impl PreparedCapture {
    pub(super) fn new(capture: &Capture) -> Result<Self, String> {
        let by = match &capture.by {
            CaptureBy::Pointer(pointer) if pointer.is_empty() || pointer.starts_with('/') => {
                By::Pointer(pointer.clone())
            }
            CaptureBy::Pointer(pointer) => return Err(format!("`{pointer}` is no JSON pointer")),
            CaptureBy::Regex(pattern) => By::Regex(
                Regex::new(pattern)
                    .map_err(|error| format!("`{pattern}` is no regular expression: {error}"))?,
            ),
            CaptureBy::Whole => By::Whole,
        };
        Ok(Self {
            from: capture.from.clone(),
            by,
        })
    }

    /// The value in `bytes`, unless it is empty, too long, or could not be sent back in a header.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<Box<str>> {
        let found = match &self.by {
            By::Pointer(pointer) => match serde_json::from_slice::<Value>(bytes)
                .ok()?
                .pointer(pointer)?
            {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                _ => return None,
            },
            By::Regex(regex) => {
                let groups = regex.captures(bytes)?;
                let group = groups.get(1).or_else(|| groups.get(0))?;
                text(group.as_bytes())?
            }
            By::Whole => text(bytes)?,
        };
        let usable = !found.is_empty()
            && found.len() <= LONGEST_SESSION
            && !found.chars().any(char::is_control);
        usable.then(|| found.into_boxed_str())
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes.trim_ascii()).ok().map(Into::into)
}

/// Gathers one event at a time: only while a capture waits for the event of a name.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    name: Vec<u8>,
    data: Vec<u8>,
    /// Some of this event was thrown away: it was too long.
    overflown: bool,
}

impl Gathering {
    /// Adds a piece; gives the data of the event once it is complete, if it has the name that is waited for.
    pub(super) fn add(&mut self, piece: Piece<'_>, wanted: &str) -> Option<Vec<u8>> {
        match piece {
            Piece::Part(Field::Data, part) => self.keep(part, |this| &mut this.data),
            Piece::Part(Field::Event, part) => self.keep(part, |this| &mut this.name),
            Piece::EndOfLine(Field::Data) => self.keep(b"\n", |this| &mut this.data),
            // Another name follows, or a blank line: what `name` holds now counts until then.
            Piece::EndOfLine(Field::Event) => self.keep(b"\n", |this| &mut this.name),
            Piece::Part(..) | Piece::EndOfLine(_) => {}
            Piece::Void => *self = Self::default(),
            Piece::Event => {
                let Self {
                    name,
                    mut data,
                    overflown,
                } = std::mem::take(self);
                data.pop();
                let last_name = name.strip_suffix(b"\n").unwrap_or_default();
                let last_name = last_name.rsplit(|&b| b == b'\n').next().unwrap_or_default();
                // An event without a name is a `message`.
                let last_name = if last_name.is_empty() {
                    b"message"
                } else {
                    last_name
                };
                return (!overflown && last_name == wanted.as_bytes()).then_some(data);
            }
        }
        None
    }

    fn keep(&mut self, part: &[u8], which: impl Fn(&mut Self) -> &mut Vec<u8>) {
        if self.name.len() + self.data.len() + part.len() > MOST_KEPT {
            self.overflown = true;
        } else {
            which(self).extend_from_slice(part);
        }
    }
}

/// Session ids that anybody may borrow: the last [`POOL_SIZE`] of them, round robin.
#[derive(Debug, Default)]
pub(super) struct Pool {
    ids: VecDeque<Box<str>>,
}

impl Pool {
    pub(super) fn put(&mut self, id: Box<str>) {
        if self.ids.len() == POOL_SIZE {
            self.ids.pop_front();
        }
        self.ids.push_back(id);
    }

    pub(super) fn borrow(&mut self) -> Option<Box<str>> {
        let id = self.ids.pop_front()?;
        self.ids.push_back(id.clone());
        Some(id)
    }

    /// A deleted session must not be borrowed again.
    pub(super) fn forget(&mut self, id: &str) {
        self.ids.retain(|kept| &**kept != id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::sse::Decoder;

    fn capture(by: CaptureBy) -> PreparedCapture {
        PreparedCapture::new(&Capture {
            from: CaptureFrom::Body,
            by,
        })
        .unwrap()
    }

    #[test]
    fn a_value_is_found_by_pointer_by_pattern_or_as_a_whole() {
        let pointer = |path: &str| CaptureBy::Pointer(path.into());
        let regex = |pattern: &str| CaptureBy::Regex(pattern.into());
        for (by, text, found) in [
            (pointer("/a/0"), "{\"a\":[\"x\"]}", Some("x")),
            (pointer("/id"), "{\"id\":12}", Some("12")),
            (pointer("/id"), "{\"id\":null}", None),
            (pointer("/id"), "not json", None),
            (regex("id=([^&]+)"), "/messages?id=7f&x", Some("7f")),
            (regex("[0-9]+"), "abc 99", Some("99")),
            (regex("id=(.*)"), "none", None),
            (CaptureBy::Whole, "  /messages?s=1\n", Some("/messages?s=1")),
            (CaptureBy::Whole, "a\r\nInjected: yes", None),
            (CaptureBy::Whole, " ", None),
        ] {
            assert_eq!(
                capture(by.clone()).find(text.as_bytes()).as_deref(),
                found,
                "{by:?} in {text:?}"
            );
        }
    }

    fn events_named(wanted: &str, text: &str) -> Vec<String> {
        let mut found = vec![];
        let mut gathering = Gathering::default();
        let mut decoder = Decoder::new(1 << 20);
        for mut cut in text.as_bytes().chunks(3) {
            while let Some(piece) = decoder.next(&mut cut).unwrap() {
                if let Some(data) = gathering.add(piece, wanted) {
                    found.push(String::from_utf8(data).unwrap());
                }
            }
        }
        found
    }

    #[test]
    fn only_the_event_of_the_name_is_looked_at() {
        let stream = "event: ping\ndata: 1\n\nevent: x\nevent: connected\ndata: 2\ndata: 3\n\ndata: 4\n\nevent: connected\nevent\ndata: 5\n\nevent: connected\n\ndata: 6\n\n";
        assert_eq!(events_named("connected", stream), ["2\n3"]);
        assert_eq!(events_named("message", stream), ["4", "5", "6"]);
        let long = format!("event: connected\ndata: {}\n\n", "x".repeat(MOST_KEPT));
        assert!(events_named("connected", &long).is_empty());
    }

    #[test]
    fn a_pool_is_a_ring() {
        let mut pool = Pool::default();
        assert_eq!(pool.borrow(), None);
        for id in 0..POOL_SIZE + 2 {
            pool.put(id.to_string().into());
        }
        assert_eq!(pool.borrow().as_deref(), Some("2"));
        assert_eq!(pool.borrow().as_deref(), Some("3"));
        pool.forget("4");
        assert_eq!(pool.borrow().as_deref(), Some("5"));
        assert_eq!(pool.ids.len(), POOL_SIZE - 1);
    }
}
