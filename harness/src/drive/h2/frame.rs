//! Frames: read in any cuts, and written.

use super::{Code, H2Error};

/// The most bytes of a frame, as long as nobody says otherwise; and we do not.
pub(super) const LONGEST: u32 = 16_384;
/// Length, kind, flags and stream of a frame.
const HEAD: usize = 9;
/// The highest bit of a stream's number, or of a window, is reserved.
const RESERVED: u32 = 1 << 31;

/// Kinds that are named in more than one place.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;

const ACK: u8 = 0x1;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// What was found next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Data begins: so many bytes, padding included, count against the windows.
    Begins {
        /// Of this stream.
        stream: u32,
        /// Bytes.
        length: u32,
    },
    /// Some bytes of an answer.
    Data {
        /// Of this stream.
        stream: u32,
        /// Never empty.
        data: &'a [u8],
    },
    /// A whole header block.
    Headers {
        /// Of this stream.
        stream: u32,
        /// Compressed.
        block: Vec<u8>,
        /// Nothing more comes on this stream; [`Frame::Ends`] follows.
        is_last: bool,
    },
    /// The answer is complete.
    Ends {
        /// Of this stream.
        stream: u32,
    },
    /// `RST_STREAM`.
    Reset {
        /// This stream.
        stream: u32,
        /// Why.
        code: Code,
    },
    /// `SETTINGS`: names and values.
    Settings(Vec<(u16, u32)>),
    /// `PING` that wants an answer.
    Ping([u8; 8]),
    /// `GOAWAY`: streams after the last one are not answered.
    GoAway {
        /// The last stream that is.
        last: u32,
        /// Why.
        code: Code,
    },
    /// `WINDOW_UPDATE`: so much more may be sent.
    Window {
        /// On this stream; 0: on all of them together.
        stream: u32,
        /// Bytes.
        by: u32,
    },
}

/// Cuts bytes into frames. What it holds is bounded by one frame that is no data, and one header block.
#[derive(Debug)]
pub struct Reader {
    at: At,
    head: [u8; HEAD],
    have: usize,
    /// The payload so far of a frame that is read whole.
    held: Vec<u8>,
    /// A header block whose end has not come.
    block: Option<Block>,
    /// The most bytes of a header block, frame heads included.
    limit: usize,
    has_begun: bool,
}

#[derive(Clone, Copy, Debug)]
enum At {
    Head,
    /// The first byte of padded data tells how much is padding; so many bytes follow it.
    PadLength(Data),
    Data(Data),
    /// After the data.
    Padding(Data),
    /// A frame that is read whole; so many bytes are to come.
    Whole(Kind, u32),
    Skipped(u32),
    /// The frame before ended this stream.
    Ended(u32),
}

#[derive(Clone, Copy, Debug)]
struct Data {
    stream: u32,
    left: u32,
    padding: u32,
    is_last: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Headers { stream: u32, flags: u8 },
    Continuation { flags: u8 },
    Reset { stream: u32 },
    Settings,
    Ping,
    GoAway,
    Window { stream: u32 },
}

impl Kind {
    /// A frame that is read whole; `None`: it is skipped, since it says nothing to us, or belongs to a later version.
    fn of(kind: u8, flags: u8, stream: u32, length: u32) -> Result<Option<Self>, H2Error> {
        let (of_a_stream, of_all) = (stream != 0, stream == 0);
        let (is_placed, fits, found) = match kind {
            HEADERS => (of_a_stream, true, Some(Self::Headers { stream, flags })),
            2 => (of_a_stream, length == 5, None), // PRIORITY
            3 => (of_a_stream, length == 4, Some(Self::Reset { stream })),
            SETTINGS if flags & ACK != 0 => (of_all, length == 0, None),
            SETTINGS => (of_all, length.is_multiple_of(6), Some(Self::Settings)),
            5 => return Err(H2Error::Push),
            6 if flags & ACK != 0 => (of_all, length == 8, None),
            6 => (of_all, length == 8, Some(Self::Ping)),
            7 => (of_all, length >= 8, Some(Self::GoAway)),
            8 => (true, length == 4, Some(Self::Window { stream })),
            CONTINUATION => (of_a_stream, true, Some(Self::Continuation { flags })),
            _ => (true, true, None),
        };
        match (is_placed, fits) {
            (false, _) => Err(H2Error::Misplaced(name(kind))),
            (true, false) => Err(H2Error::Malformed(name(kind))),
            (true, true) => Ok(found),
        }
    }
}

#[derive(Debug)]
struct Block {
    stream: u32,
    is_last: bool,
    bytes: Vec<u8>,
    /// What counts against the limit: also frames that bring nothing.
    weight: usize,
}

impl Reader {
    /// A reader of a connection whose heads may have so many bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            at: At::Head,
            head: [0; HEAD],
            have: 0,
            held: vec![],
            block: None,
            limit,
            has_begun: false,
        }
    }

    /// Takes bytes off the front of `input` up to the next thing that matters; `None` once all is read.
    ///
    /// # Errors
    /// See [`H2Error`]; nothing can be read after it.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Frame<'a>>, H2Error> {
        loop {
            let found = match self.at {
                At::Ended(stream) => {
                    self.at = At::Head;
                    Some(Frame::Ends { stream })
                }
                At::Data(data) if data.left == 0 => {
                    self.at = At::Padding(data);
                    None
                }
                At::Padding(data) if data.padding == 0 => {
                    self.at = if data.is_last {
                        At::Ended(data.stream)
                    } else {
                        At::Head
                    };
                    None
                }
                At::Skipped(0) => {
                    self.at = At::Head;
                    None
                }
                At::Whole(kind, 0) => self.whole(kind)?,
                _ if input.is_empty() => return Ok(None),
                At::Head => match self.has_head(input) {
                    true => self.begin()?,
                    false => None, // not all of it has come
                },
                At::PadLength(data) => {
                    self.pad_length(data, input)?;
                    None
                }
                At::Data(mut data) => {
                    let part = take(input, data.left);
                    data.left -= length(part);
                    self.at = At::Data(data);
                    Some(Frame::Data {
                        stream: data.stream,
                        data: part,
                    })
                }
                At::Padding(mut data) => {
                    data.padding -= length(take(input, data.padding));
                    self.at = At::Padding(data);
                    None
                }
                At::Whole(kind, left) => {
                    let part = take(input, left);
                    self.held.extend_from_slice(part);
                    self.at = At::Whole(kind, left - length(part));
                    None
                }
                At::Skipped(left) => {
                    self.at = At::Skipped(left - length(take(input, left)));
                    None
                }
            };
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// Gathers the head of a frame; true once it is whole.
    fn has_head(&mut self, input: &mut &[u8]) -> bool {
        let room = &mut self.head[self.have..];
        let length = room.len().min(input.len());
        let (part, rest) = input.split_at(length);
        room[..length].copy_from_slice(part);
        *input = rest;
        self.have += length;
        let is_whole = self.have == HEAD;
        if is_whole {
            self.have = 0;
        }
        is_whole
    }

    /// Judges the head of a frame, and decides how its payload is read.
    fn begin<'a>(&mut self) -> Result<Option<Frame<'a>>, H2Error> {
        let [a, b, c, kind, flags, stream @ ..] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]);
        let stream = u32::from_be_bytes(stream) & !RESERVED;
        if !std::mem::replace(&mut self.has_begun, true) {
            let is_settings = kind == SETTINGS && flags & ACK == 0;
            if self.head.starts_with(b"HTTP/") {
                return Err(H2Error::Http1);
            }
            if !is_settings || stream != 0 || length > LONGEST {
                return Err(H2Error::NoSettings);
            }
        }
        if length > LONGEST {
            return Err(H2Error::FrameTooLong(length));
        }
        let before = self.block.as_ref();
        if before.is_some_and(|block| kind != CONTINUATION || block.stream != stream) {
            return Err(H2Error::Misplaced(name(kind)));
        }
        let weight = before.map(|block| block.weight);
        match kind {
            DATA => return self.data(stream, length, flags).map(Some),
            HEADERS => self.weigh(length, 0)?,
            CONTINUATION => self.weigh(length, weight.ok_or(H2Error::Misplaced(name(kind)))?)?,
            _ => {}
        }
        self.at = match Kind::of(kind, flags, stream, length)? {
            Some(kind) => {
                self.held = Vec::with_capacity(length as usize);
                At::Whole(kind, length)
            }
            None => At::Skipped(length),
        };
        Ok(None)
    }

    /// Refuses a header block that grows beyond the limit, before it does.
    fn weigh(&mut self, length: u32, before: usize) -> Result<(), H2Error> {
        let weight = before + HEAD + length as usize;
        if weight > self.limit {
            return Err(H2Error::HeadTooLong { limit: self.limit });
        }
        if let Some(block) = &mut self.block {
            block.weight = weight;
        }
        Ok(())
    }

    fn data<'a>(&mut self, stream: u32, length: u32, flags: u8) -> Result<Frame<'a>, H2Error> {
        if stream == 0 {
            return Err(H2Error::Misplaced(name(DATA)));
        }
        let data = Data {
            stream,
            left: length,
            padding: 0,
            is_last: flags & END_STREAM != 0,
        };
        self.at = if flags & PADDED == 0 {
            At::Data(data)
        } else if length > 0 {
            At::PadLength(data)
        } else {
            return Err(H2Error::Malformed("DATA"));
        };
        Ok(Frame::Begins { stream, length })
    }

    fn pad_length(&mut self, mut data: Data, input: &mut &[u8]) -> Result<(), H2Error> {
        let padding = take(input, 1).first().copied().map_or(0, u32::from);
        let left = (data.left - 1).checked_sub(padding);
        data.left = left.ok_or(H2Error::Malformed("DATA"))?;
        data.padding = padding;
        self.at = At::Data(data);
        Ok(())
    }

    /// A frame is here as a whole.
    fn whole<'a>(&mut self, kind: Kind) -> Result<Option<Frame<'a>>, H2Error> {
        self.at = At::Head;
        let held = std::mem::take(&mut self.held);
        let found = match kind {
            Kind::Headers { stream, flags } => return self.headers(stream, flags, held),
            Kind::Continuation { flags } => return Ok(self.continued(flags, &held)),
            Kind::Ping => held.try_into().ok().map(Frame::Ping),
            Kind::Settings => {
                let pairs = held.chunks_exact(6);
                let pairs =
                    pairs.map(|pair| (u16::from_be_bytes([pair[0], pair[1]]), word(&pair[2..])));
                Some(Frame::Settings(pairs.collect()))
            }
            Kind::Reset { stream } => Some(Frame::Reset {
                stream,
                code: Code(word(&held)),
            }),
            Kind::GoAway => Some(Frame::GoAway {
                last: word(&held) & !RESERVED,
                code: Code(word(&held[4..])),
            }),
            Kind::Window { stream } => match word(&held) & !RESERVED {
                0 => return Err(H2Error::Malformed("WINDOW_UPDATE")),
                by => Some(Frame::Window { stream, by }),
            },
        };
        Ok(found)
    }

    fn headers<'a>(
        &mut self,
        stream: u32,
        flags: u8,
        payload: Vec<u8>,
    ) -> Result<Option<Frame<'a>>, H2Error> {
        let malformed = || H2Error::Malformed("HEADERS");
        let mut start = 0;
        let mut padding = 0;
        if flags & PADDED != 0 {
            padding = usize::from(*payload.first().ok_or_else(malformed)?);
            start += 1;
        }
        if flags & PRIORITY != 0 {
            start += 5;
        }
        let end = payload.len().checked_sub(padding).ok_or_else(malformed)?;
        let bytes = payload.get(start..end).ok_or_else(malformed)?.to_vec();
        self.block = Some(Block {
            stream,
            is_last: flags & END_STREAM != 0,
            bytes,
            weight: HEAD + payload.len(),
        });
        Ok(self.continued(flags, &[]))
    }

    /// Adds to a header block, and gives it away if this was its end.
    fn continued<'a>(&mut self, flags: u8, part: &[u8]) -> Option<Frame<'a>> {
        self.block.as_mut()?.bytes.extend_from_slice(part);
        if flags & END_HEADERS == 0 {
            return None;
        }
        let block = self.block.take()?;
        if block.is_last {
            self.at = At::Ended(block.stream);
        }
        Some(Frame::Headers {
            stream: block.stream,
            block: block.bytes,
            is_last: block.is_last,
        })
    }
}

fn take<'a>(input: &mut &'a [u8], most: u32) -> &'a [u8] {
    let most = usize::try_from(most).unwrap_or(usize::MAX).min(input.len());
    let (part, rest) = input.split_at(most);
    *input = rest;
    part
}

/// Of a part that was taken as one of at most `u32` bytes.
fn length(part: &[u8]) -> u32 {
    u32::try_from(part.len()).unwrap_or(u32::MAX)
}

/// The first four bytes; every payload that is looked at has them.
fn word(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk()
        .map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

fn name(kind: u8) -> &'static str {
    const NAMES: [&str; 10] = [
        "DATA",
        "HEADERS",
        "PRIORITY",
        "RST_STREAM",
        "SETTINGS",
        "PUSH_PROMISE",
        "PING",
        "GOAWAY",
        "WINDOW_UPDATE",
        "CONTINUATION",
    ];
    NAMES.get(usize::from(kind)).copied().unwrap_or("foreign")
}

/// Frames of ours, appended to what is to be sent.
pub(super) mod write {
    use super::{ACK, Code, END_HEADERS, END_STREAM, LONGEST};

    fn head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        out.extend_from_slice(&length[1..]);
        out.extend_from_slice(&[kind, flags]);
        out.extend_from_slice(&stream.to_be_bytes());
    }

    pub(in super::super) fn settings(out: &mut Vec<u8>, pairs: &[(u16, u32)]) {
        head(out, 6 * pairs.len(), 4, 0, 0);
        for (name, value) in pairs {
            out.extend_from_slice(&name.to_be_bytes());
            out.extend_from_slice(&value.to_be_bytes());
        }
    }

    pub(in super::super) fn settings_taken(out: &mut Vec<u8>) {
        head(out, 0, 4, ACK, 0);
    }

    pub(in super::super) fn ping_answer(out: &mut Vec<u8>, ping: [u8; 8]) {
        head(out, ping.len(), 6, ACK, 0);
        out.extend_from_slice(&ping);
    }

    /// A head; in several frames if one is too short for it.
    pub(in super::super) fn headers(out: &mut Vec<u8>, stream: u32, block: &[u8], is_last: bool) {
        let mut parts = block.chunks(LONGEST as usize).peekable();
        let mut kind = 1;
        let mut flags = if is_last { END_STREAM } else { 0 };
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                flags |= END_HEADERS;
            }
            head(out, part.len(), kind, flags, stream);
            out.extend_from_slice(part);
            (kind, flags) = (9, 0);
        }
    }

    /// Data, in as many frames as it takes; also none, to end a stream.
    pub(in super::super) fn data(out: &mut Vec<u8>, stream: u32, data: &[u8], is_last: bool) {
        let mut parts = data.chunks(LONGEST as usize).peekable();
        while let Some(part) = parts.next() {
            let ends = is_last && parts.peek().is_none();
            head(
                out,
                part.len(),
                0,
                if ends { END_STREAM } else { 0 },
                stream,
            );
            out.extend_from_slice(part);
        }
        if data.is_empty() && is_last {
            head(out, 0, 0, END_STREAM, stream);
        }
    }

    pub(in super::super) fn reset(out: &mut Vec<u8>, stream: u32, code: Code) {
        head(out, 4, 3, 0, stream);
        out.extend_from_slice(&code.0.to_be_bytes());
    }

    pub(in super::super) fn window(out: &mut Vec<u8>, stream: u32, by: u32) {
        head(out, 4, 8, 0, stream);
        out.extend_from_slice(&by.to_be_bytes());
    }

    pub(in super::super) fn go_away(out: &mut Vec<u8>, code: Code) {
        head(out, 8, 7, 0, 0);
        out.extend_from_slice(&0_u32.to_be_bytes()); // it opened no stream
        out.extend_from_slice(&code.0.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1000;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// Settings, and then these frames.
    fn wire(frames: &[Vec<u8>]) -> Vec<u8> {
        [vec![frame(4, 0, 0, &[])], frames.to_vec()]
            .concat()
            .concat()
    }

    /// What is read, data joined, up to the first error.
    fn read<'a>(cuts: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, Option<H2Error>) {
        let mut reader = Reader::new(LIMIT);
        let (mut told, mut data) = (vec![], vec![]);
        for mut cut in cuts {
            loop {
                match reader.next(&mut cut) {
                    Ok(None) => break,
                    Ok(Some(Frame::Data { data: part, .. })) => data.extend_from_slice(part),
                    Ok(Some(frame)) => {
                        if !data.is_empty() {
                            told.push(format!(
                                "{:?}",
                                String::from_utf8_lossy(&std::mem::take(&mut data))
                            ));
                        }
                        told.push(format!("{frame:?}"));
                    }
                    Err(error) => return (told, Some(error)),
                }
            }
        }
        if !data.is_empty() {
            told.push(format!("{:?}", String::from_utf8_lossy(&data)));
        }
        (told, None)
    }

    fn error(frames: &[Vec<u8>]) -> Option<H2Error> {
        read([&wire(frames)[..]]).1
    }

    #[test]
    fn a_padded_answer_in_pieces_is_one_answer() {
        let head = [&[2, 0, 0, 0, 0, 9][..], b"ab", &[0, 0]].concat();
        let wire = wire(&[
            frame(1, PADDED | PRIORITY, 1, &head),
            frame(9, 0, 1, b""),
            frame(9, END_HEADERS, 1, b"cd"),
            frame(0, PADDED, 1, b"\x03hello\0\0\0"),
            frame(0xFA, 0xFF, 7, b"unknown"),
            frame(0, PADDED | END_STREAM, 1, b"\x01!\0"),
            frame(8, 0, 0, &[0x80, 0, 0, 1]),
        ]);
        let expected = [
            "Settings([])",
            "Headers { stream: 1, block: [97, 98, 99, 100], is_last: false }",
            "Begins { stream: 1, length: 9 }",
            "\"hello\"",
            "Begins { stream: 1, length: 3 }",
            "\"!\"",
            "Ends { stream: 1 }",
            "Window { stream: 0, by: 1 }",
        ];
        assert_eq!(
            read([&wire[..]]),
            (expected.map(String::from).to_vec(), None)
        );
        assert_eq!(read(wire.chunks(1)), read([&wire[..]]));
    }

    #[test]
    fn whoever_speaks_something_else_is_found_out() {
        assert_eq!(
            read([&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..]]).1,
            Some(H2Error::Http1)
        );
        for wire in [
            &b"SSH-2.0-OpenSSH_9\r\n"[..],
            &frame(0, 0, 1, b"x"),
            &frame(4, ACK, 0, b""),
        ] {
            assert_eq!(read([wire]).1, Some(H2Error::NoSettings));
        }
    }

    #[test]
    fn a_frame_that_makes_no_sense_is_refused_by_its_name() {
        let open = frame(1, 0, 1, b"x");
        let flood: Vec<_> = std::iter::once(open.clone())
            .chain((0..200).map(|_| frame(9, 0, 1, b"")))
            .collect();
        for (frames, expected) in [
            (vec![frame(0, 0, 0, b"x")], H2Error::Misplaced("DATA")),
            (vec![frame(0, PADDED, 1, b"")], H2Error::Malformed("DATA")),
            (
                vec![frame(0, PADDED, 1, b"\x05ab")],
                H2Error::Malformed("DATA"),
            ),
            (
                vec![frame(1, PADDED | END_HEADERS, 1, b"\x05ab")],
                H2Error::Malformed("HEADERS"),
            ),
            (
                vec![frame(1, PRIORITY | END_HEADERS, 1, b"ab")],
                H2Error::Malformed("HEADERS"),
            ),
            (
                vec![open.clone(), frame(0, 0, 1, b"x")],
                H2Error::Misplaced("DATA"),
            ),
            (
                vec![open.clone(), frame(9, 0, 3, b"x")],
                H2Error::Misplaced("CONTINUATION"),
            ),
            (
                vec![frame(9, 0, 1, b"x")],
                H2Error::Misplaced("CONTINUATION"),
            ),
            (
                vec![open, frame(9, 0, 1, &[0; LIMIT])],
                H2Error::HeadTooLong { limit: LIMIT },
            ),
            (flood, H2Error::HeadTooLong { limit: LIMIT }),
            (vec![frame(3, 0, 1, b"x")], H2Error::Malformed("RST_STREAM")),
            (vec![frame(4, 0, 0, b"x")], H2Error::Malformed("SETTINGS")),
            (vec![frame(4, 0, 1, b"")], H2Error::Misplaced("SETTINGS")),
            (vec![frame(5, 0, 1, b"")], H2Error::Push),
            (vec![frame(6, 0, 0, b"1234567")], H2Error::Malformed("PING")),
            (
                vec![frame(7, 0, 0, b"1234567")],
                H2Error::Malformed("GOAWAY"),
            ),
            (
                vec![frame(8, 0, 1, &[0; 4])],
                H2Error::Malformed("WINDOW_UPDATE"),
            ),
            (
                vec![frame(0, 0, 1, &[0; 16_385])],
                H2Error::FrameTooLong(16_385),
            ),
        ] {
            assert_eq!(error(&frames), Some(expected));
        }
    }

    #[test]
    fn a_long_head_of_ours_takes_several_frames() {
        let mut out = vec![];
        write::headers(&mut out, 1, &[7; 20_000], true);
        let mut reader = Reader::new(30_000);
        let wire = [frame(4, 0, 0, &[]), out].concat();
        let mut input = &wire[..];
        reader.next(&mut input).unwrap();
        let Some(Frame::Headers { block, is_last, .. }) = reader.next(&mut input).unwrap() else {
            panic!("no head");
        };
        assert_eq!((block.len(), is_last), (20_000, true));
    }

    fn frames() -> impl Strategy<Value = Vec<u8>> {
        let one = (
            0_u8..11,
            prop::bits::u8::masked(0x2D),
            0_u32..4,
            prop::collection::vec(0_u8..9, 0..40),
        );
        prop::collection::vec(one, 0..12).prop_map(|frames| {
            let frames = frames
                .iter()
                .map(|(kind, flags, stream, payload)| frame(*kind, *flags, *stream, payload));
            wire(&frames.collect::<Vec<_>>())
        })
    }

    proptest! {
        #[test]
        fn however_frames_are_cut_they_mean_the_same(wire in frames(), size in 1_usize..30) {
            let whole = read([&wire[..]]);
            prop_assert_eq!(&read(wire.chunks(1)), &whole);
            prop_assert_eq!(&read(wire.chunks(size)), &whole);
        }
    }
}
