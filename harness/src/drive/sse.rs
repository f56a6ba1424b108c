//! The event-stream decoder, by the rules of the WHATWG (HTML Living Standard, §9.2.6), without I/O and without memory.
//!
//! In: bytes of a body, cut anywhere. Out: [`Piece`]s that borrow from them. Start at [`Decoder::next`].
//! Cost: 24 bytes a stream, no allocation; a line of a gigabyte is never held, only counted against a limit.
//! Never joins the lines of an event: who needs them (a capture) gathers the pieces, everyone else just counts.

use memchr::{memchr2, memchr3};

/// The longest name of a field that means something: `event`, `retry`.
const LONGEST_NAME: usize = 5;
const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// A field that means something to a client. All others, and comments, are skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// A line of the event's data. Several are joined by line feeds.
    Data,
    /// The event's name; the last one counts.
    Event,
    /// The last event id; void if it holds a NUL.
    Id,
    /// The reconnection time, milliseconds; void unless it is all ASCII digits.
    Retry,
}

impl Field {
    fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"data" => Some(Self::Data),
            b"event" => Some(Self::Event),
            b"id" => Some(Self::Id),
            b"retry" => Some(Self::Retry),
            _ => None,
        }
    }
}

/// What was found next in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Some bytes of a field's value; more of the same may follow.
    Part(Field, &'a [u8]),
    /// The line of this field is complete (its value may be empty).
    EndOfLine(Field),
    /// A blank line after data: one event is complete.
    Event,
    /// A blank line without data: the name gathered so far is void.
    Void,
}

/// A line longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line of the event stream is longer than {limit} bytes")]
pub struct LineTooLong {
    /// The most bytes a line may have.
    pub limit: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// So many bytes of a byte order mark were seen at the very start.
    Mark(u8),
    LineStart,
    Name,
    /// After the colon: one space may be skipped.
    ValueStart(Field),
    Value(Field),
    /// The end of this line was read together with its value, and is still to be told.
    LineEnd(Field),
    /// A comment, or a field that means nothing.
    Skipped,
}

/// The state of one stream between two reads.
#[derive(Clone, Debug)]
pub struct Decoder {
    at: At,
    /// The last byte was CR: an LF now belongs to it.
    after_cr: bool,
    /// The event has a `data` field.
    has_data: bool,
    name: [u8; LONGEST_NAME],
    /// Bytes of the name seen; more than [`LONGEST_NAME`] is no name we know.
    name_len: u8,
    line: u32,
    limit: u32,
}

impl Decoder {
    /// A decoder at the start of a stream whose lines may have so many bytes.
    pub const fn new(limit: u32) -> Self {
        Self {
            at: At::Mark(0),
            after_cr: false,
            has_data: false,
            name: [0; LONGEST_NAME],
            name_len: 0,
            line: 0,
            limit,
        }
    }

    /// Takes bytes off the front of `input` until something is found; `None` once all of it is read.
    ///
    /// # Errors
    /// [`LineTooLong`]; the stream cannot be read further.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, LineTooLong> {
        loop {
            if let At::LineEnd(field) = self.at {
                return Ok(Some(self.end_of_line(field)));
            }
            let Some(&byte) = input.first() else {
                return Ok(None);
            };
            if self.after_cr {
                self.after_cr = false;
                if byte == b'\n' {
                    *input = &input[1..];
                    continue;
                }
            }
            let found = match self.at {
                At::Mark(seen) => {
                    self.byte_order_mark(seen, byte, input);
                    None
                }
                At::LineStart => self.line_start(byte, input),
                At::Name => self.name(input)?,
                At::ValueStart(field) => {
                    if byte == b' ' {
                        self.advance(input, 1)?;
                    }
                    self.at = At::Value(field);
                    None
                }
                At::Value(field) => self.value(field, input)?,
                At::Skipped => {
                    self.skipped(input)?;
                    None
                }
                At::LineEnd(_) => None,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    fn byte_order_mark(&mut self, seen: u8, byte: u8, input: &mut &[u8]) {
        if BYTE_ORDER_MARK[usize::from(seen)] != byte {
            // Half a mark is the start of a field that means nothing.
            self.at = if seen == 0 {
                At::LineStart
            } else {
                At::Skipped
            };
            return;
        }
        *input = &input[1..];
        self.at = match seen {
            0 => At::Mark(1),
            1 => At::Mark(2),
            _ => At::LineStart,
        };
    }

    fn line_start<'a>(&mut self, byte: u8, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        self.line = 0;
        self.name_len = 0;
        match byte {
            b'\r' | b'\n' => {
                self.after_cr = byte == b'\r';
                *input = &input[1..];
                let had_data = std::mem::take(&mut self.has_data);
                return Some(if had_data { Piece::Event } else { Piece::Void });
            }
            b':' => self.at = At::Skipped,
            _ => self.at = At::Name,
        }
        None
    }

    fn name<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, LineTooLong> {
        let end = memchr3(b':', b'\r', b'\n', input);
        let part = &input[..end.unwrap_or(input.len())];
        for &byte in part.iter().take(LONGEST_NAME + 1) {
            if let Some(slot) = self.name.get_mut(usize::from(self.name_len)) {
                *slot = byte;
            }
            self.name_len = self.name_len.saturating_add(1);
        }
        self.advance(input, part.len())?;
        if end.is_none() {
            return Ok(None);
        }
        let field = self
            .name
            .get(..usize::from(self.name_len))
            .and_then(Field::named);
        let is_value = input.first() == Some(&b':');
        match field {
            Some(field) if is_value => {
                self.advance(input, 1)?;
                self.at = At::ValueStart(field);
            }
            // A line without a colon is a field with an empty value.
            Some(field) => {
                self.take_line_break(input);
                return Ok(Some(self.end_of_line(field)));
            }
            None => self.at = At::Skipped,
        }
        Ok(None)
    }

    fn value<'a>(
        &mut self,
        field: Field,
        input: &mut &'a [u8],
    ) -> Result<Option<Piece<'a>>, LineTooLong> {
        let end = memchr2(b'\r', b'\n', input);
        let part = &input[..end.unwrap_or(input.len())];
        self.advance(input, part.len())?;
        if end.is_some() {
            self.take_line_break(input);
            self.at = At::LineEnd(field);
        }
        Ok((!part.is_empty()).then_some(Piece::Part(field, part)))
    }

    fn skipped(&mut self, input: &mut &[u8]) -> Result<(), LineTooLong> {
        let end = memchr2(b'\r', b'\n', input);
        self.advance(input, end.unwrap_or(input.len()))?;
        if end.is_some() {
            self.take_line_break(input);
            self.at = At::LineStart;
        }
        Ok(())
    }

    fn end_of_line<'a>(&mut self, field: Field) -> Piece<'a> {
        self.at = At::LineStart;
        self.has_data |= field == Field::Data;
        Piece::EndOfLine(field)
    }

    fn take_line_break(&mut self, input: &mut &[u8]) {
        self.after_cr = input.first() == Some(&b'\r');
        *input = input.get(1..).unwrap_or_default();
    }

    fn advance(&mut self, input: &mut &[u8], by: usize) -> Result<(), LineTooLong> {
        *input = &input[by..];
        self.line = u32::try_from(by)
            .ok()
            .and_then(|by| self.line.checked_add(by))
            .filter(|&line| line <= self.limit)
            .ok_or(LineTooLong { limit: self.limit })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a browser would hand to the page.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    struct Event {
        name: String,
        data: String,
        id: String,
    }

    fn event(name: &str, data: &str, id: &str) -> Event {
        Event {
            name: name.into(),
            data: data.into(),
            id: id.into(),
        }
    }

    /// Gathers events from bytes that arrive in these cuts, as the standard says.
    fn gather<'a>(cuts: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
        let mut decoder = Decoder::new(1 << 20);
        let (mut events, mut data, mut name, mut value) = (vec![], vec![], vec![], vec![]);
        let mut id = vec![];
        for mut cut in cuts {
            while let Some(piece) = decoder.next(&mut cut).unwrap() {
                match piece {
                    Piece::Part(_, part) => value.extend_from_slice(part),
                    Piece::EndOfLine(field) => {
                        let value = std::mem::take(&mut value);
                        match field {
                            Field::Data => {
                                data.extend(value);
                                data.push(b'\n');
                            }
                            Field::Event => name = value,
                            Field::Id if !value.contains(&0) => id = value,
                            Field::Id | Field::Retry => {}
                        }
                    }
                    Piece::Void => name.clear(),
                    Piece::Event => {
                        data.pop();
                        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                        events.push(Event {
                            name: text(&std::mem::take(&mut name)),
                            data: text(&std::mem::take(&mut data)),
                            id: text(&id),
                        });
                    }
                }
            }
        }
        events
    }

    #[test]
    fn the_examples_of_the_standard() {
        for (text, expected) in [
            (
                "data: This is the first message.\n\n",
                vec![event("", "This is the first message.", "")],
            ),
            (
                "data: This is the second message, it\ndata: has two lines.\n\n",
                vec![event(
                    "",
                    "This is the second message, it\nhas two lines.",
                    "",
                )],
            ),
            (
                "event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n",
                vec![event("add", "73857293", ""), event("remove", "2153", "")],
            ),
            (
                "data: YHOO\ndata: +2\ndata: 10\n\n",
                vec![event("", "YHOO\n+2\n10", "")],
            ),
            (
                ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
                vec![
                    event("", "first event", "1"),
                    event("", "second event", ""),
                    event("", " third event", ""),
                ],
            ),
            // Two events of empty data, and one that is never finished.
            (
                "data\n\ndata\ndata\n\ndata:",
                vec![event("", "", ""), event("", "\n", "")],
            ),
            (
                "data:test\n\ndata: test\n\n",
                vec![event("", "test", ""), event("", "test", "")],
            ),
        ] {
            assert_eq!(gather([text.as_bytes()]), expected, "{text:?}");
        }
    }

    #[test]
    fn the_corners_of_the_standard() {
        for (text, expected) in [
            // Any line break, and CR LF is one.
            (
                "data: a\r\rdata: b\r\n\r\ndata: c\n\n",
                vec![event("", "a", ""), event("", "b", ""), event("", "c", "")],
            ),
            // One byte order mark is no text; half of one, or a second, spoils its line only.
            ("\u{feff}data: a\n\n", vec![event("", "a", "")]),
            (
                "\u{feff}\u{feff}data: a\n\ndata: b\n\n",
                vec![event("", "b", "")],
            ),
            // A blank line without data voids the name.
            ("event: lost\n\ndata: a\n\n", vec![event("", "a", "")]),
            // The last name counts; unknown, longer and differently written fields do not.
            (
                "event: x\nevent: y\nretry: 10\ndatax: n\nDATA: n\n data: n\ndata: a\n\n",
                vec![event("y", "a", "")],
            ),
            // An id with a NUL is void; an id stays for the events after it.
            (
                "id: 7\ndata: a\n\nid: 8\0\ndata: b\n\n",
                vec![event("", "a", "7"), event("", "b", "7")],
            ),
            ("\n\n\r\n:\n::\n", vec![]),
        ] {
            assert_eq!(gather([text.as_bytes()]), expected, "{text:?}");
        }
        assert_eq!(
            gather([&b"\xEF\xBBdata: a\n\ndata: b\n\n"[..]]),
            [event("", "b", "")]
        );
    }

    #[test]
    fn a_line_without_end_is_refused_without_being_held() {
        let mut decoder = Decoder::new(1000);
        let mut line = &[b'x'; 990][..];
        assert_eq!(decoder.next(&mut line), Ok(None));
        let mut more = &[b'x'; 11][..];
        assert_eq!(decoder.next(&mut more), Err(LineTooLong { limit: 1000 }));
        assert!(size_of::<Decoder>() <= 24, "{}", size_of::<Decoder>());
    }

    fn streams() -> impl Strategy<Value = Vec<u8>> {
        let fragment = prop_oneof![
            4 => prop::sample::select(vec!["data", "event", "id", "retry", ":", ": ", " ", "\n", "\r", "\r\n", "\n\n", "x", "\u{feff}", "\0", "7"]).prop_map(|text| text.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..8),
        ];
        prop::collection::vec(fragment, 0..40).prop_map(|fragments| fragments.concat())
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_cut_the_events_are_the_same(stream in streams(), sizes in prop::collection::vec(1_usize..9, 1..20)) {
            let whole = gather([&stream[..]]);
            prop_assert_eq!(&gather(stream.chunks(1)), &whole);
            let mut rest = &stream[..];
            let mut cuts = vec![];
            for size in sizes.iter().cycle().take(stream.len()) {
                let (cut, after) = rest.split_at((*size).min(rest.len()));
                cuts.push(cut);
                rest = after;
            }
            prop_assert_eq!(&gather(cuts), &whole);
        }
    }
}
