//! What the fuzz targets hold the decoders to: cuts that follow from the input, and a second, naive decoder of event streams.
//!
//! Nothing here is fast, and nothing here is shared with the program: a shared mistake would hide itself.

use sse_soak::drive::sse::{Decoder, Field, LineTooLong, Piece};

/// Cuts `bytes` into pieces whose lengths follow from `key`: 0 gives single bytes, larger keys longer and more uneven pieces.
pub fn cuts(key: u8, bytes: &[u8]) -> Vec<&[u8]> {
    let longest = 1_usize << (key & 7);
    let mut state = u32::from(key) | 1;
    let mut rest = bytes;
    let mut pieces = vec![];
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = 1 + (state >> 16) as usize % longest;
        let (piece, after) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// What a browser would hand to the page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub name: Vec<u8>,
    pub data: Vec<u8>,
    pub id: Vec<u8>,
}

/// All that a stream says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    pub events: Vec<Event>,
    pub retry: Option<Vec<u8>>,
    pub error: Option<LineTooLong>,
}

/// What our decoder makes of a stream that arrives in these pieces.
pub fn decoded<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limit: u32) -> Said {
    let mut decoder = Decoder::new(limit);
    let mut gathered = Gathered::default();
    for mut piece in pieces {
        loop {
            match decoder.next(&mut piece) {
                Ok(Some(found)) => gathered.add(found),
                Ok(None) => break,
                Err(error) => {
                    gathered.said.error = Some(error);
                    return gathered.said;
                }
            }
        }
    }
    gathered.said
}

#[derive(Default)]
struct Gathered {
    value: Vec<u8>,
    event: Event,
    said: Said,
}

impl Gathered {
    fn add(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Part(_, part) => self.value.extend_from_slice(part),
            Piece::EndOfLine(field) => {
                let value = std::mem::take(&mut self.value);
                let name = match field {
                    Field::Data => "data",
                    Field::Event => "event",
                    Field::Id => "id",
                    Field::Retry => "retry",
                };
                field_line(&mut self.event, &mut self.said, name.as_bytes(), &value);
            }
            Piece::Event => dispatch(&mut self.event, &mut self.said),
            Piece::Void => self.event.name.clear(),
        }
    }
}

/// The same, by the letter of the standard and all at once: decode, split into lines, look at each.
pub fn by_the_standard(stream: &[u8]) -> Said {
    let stream = stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(stream);
    let (mut said, mut event) = (Said::default(), Event::default());
    let mut has_data = false;
    for line in lines(stream) {
        if line.is_empty() {
            if std::mem::take(&mut has_data) {
                dispatch(&mut event, &mut said);
            } else {
                event.name.clear();
            }
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = colon.map_or((line, &b""[..]), |at| (&line[..at], &line[at + 1..]));
        has_data |= name == b"data";
        field_line(
            &mut event,
            &mut said,
            name,
            value.strip_prefix(b" ").unwrap_or(value),
        );
    }
    said
}

/// The lines that have an end; what follows the last one is not processed.
fn lines(stream: &[u8]) -> Vec<&[u8]> {
    let (mut lines, mut start, mut at) = (vec![], 0, 0);
    while at < stream.len() {
        if matches!(stream[at], b'\r' | b'\n') {
            lines.push(&stream[start..at]);
            at += usize::from(stream[at..].starts_with(b"\r\n"));
            start = at + 1;
        }
        at += 1;
    }
    lines
}

fn field_line(event: &mut Event, said: &mut Said, name: &[u8], value: &[u8]) {
    match name {
        b"data" => event.data = [&event.data, value, b"\n"].concat(),
        b"event" => event.name = value.to_vec(),
        b"id" if !value.contains(&0) => event.id = value.to_vec(),
        b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
            said.retry = Some(value.to_vec());
        }
        _ => {}
    }
}

fn dispatch(event: &mut Event, said: &mut Said) {
    event.data.pop();
    let next = Event {
        id: event.id.clone(),
        ..Event::default()
    };
    said.events.push(std::mem::replace(event, next));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_decoders_read_the_examples() {
        let stream = b"\xEF\xBB\xBF: hi\r\nid: 7\revent: a\ndata: x\ndata:y\n\nretry: 10\n\nid\ndata\n\ndata: lost";
        let said = by_the_standard(stream);
        assert_eq!(said.events.len(), 2);
        assert_eq!(said.events[0].data, b"x\ny");
        for key in 0..=255 {
            assert_eq!(decoded(cuts(key, stream), 1000), said);
        }
    }
}
