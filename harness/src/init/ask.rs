//! One question to a server, and what comes back of it within a time. The only part of `init` that touches a socket.

use std::{
    fmt,
    io::{self, Read as _, Write as _},
    net::TcpStream,
    sync::mpsc,
    time::Duration,
};

use super::Server;
use crate::{
    drive::{
        http::{Framing, Head, Media, Parsed},
        sse::{Decoder, Field, Piece},
    },
    timeline::{Clock, Elapsed},
};

/// More of an answer than this is not read.
const MOST_BYTES: usize = 1 << 20;
/// More events than this tell nothing new.
const MOST_EVENTS: usize = 200;
/// Longer lines are no events.
const LONGEST_LINE: u32 = 1 << 20;
/// So many bytes of what is sent are kept per event.
const MOST_DATA: usize = 64 * 1024;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Path and query.
    pub path: String,
    /// Its body.
    pub body: super::Body,
}

impl Question {
    /// A `GET`.
    pub fn get(path: &str) -> Self {
        Self {
            method: "GET",
            path: path.into(),
            body: super::Body::None,
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.method, self.path, self.body.words())
    }
}

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its name; empty if it has none.
    pub name: String,
    /// Its data.
    pub data: String,
}

/// What kind of answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// An event stream: its events, and when the first came.
    Stream(Vec<Event>, Option<Duration>),
    /// Text of any kind.
    Text(String),
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// The status.
    pub status: u16,
    /// The content type, if it is no event stream.
    pub kind: Option<String>,
    /// The body so far.
    pub answer: Answer,
    /// After how long the server ended it; `None`: it was still going on.
    pub ended: Option<Duration>,
}

/// Asks, and listens until the answer ends or the time is over.
pub(super) fn ask(
    server: &Server,
    question: &Question,
    head_within: Duration,
    listen: Duration,
    clock: &Clock,
) -> io::Result<Heard> {
    let began = clock.now();
    let mut line = Line {
        socket: TcpStream::connect_timeout(&server.addr, head_within)?,
        clock,
        deadline: began + head_within,
        read: 0,
    };
    line.socket.write_all(&request(server, question))?;
    let (head, mut rest) = line.head(question.method)?;
    line.deadline = began + listen;
    let mut framing = head.framing;
    let mut listener = Listener::new(head.media == Media::EventStream);
    let ended = loop {
        let is_whole = listener.hear(&mut framing, &rest, clock.now().since(began))?;
        if is_whole {
            break Some(clock.now().since(began));
        }
        if listener.events.len() >= MOST_EVENTS {
            break None;
        }
        rest = match line.read() {
            Ok(bytes) if bytes.is_empty() => break Some(clock.now().since(began)),
            Ok(bytes) => bytes,
            Err(error) if is_timeout(&error) => break None,
            Err(error) => return Err(error),
        };
    };
    Ok(Heard {
        status: head.status,
        kind: match head.media {
            Media::EventStream => None,
            Media::Other(kind) => Some(kind.map_or_else(|| "no content type".into(), String::from)),
            Media::Encoded(coding) => Some(format!("content coding {coding}")),
        },
        answer: listener.answer(),
        ended,
    })
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn request(server: &Server, question: &Question) -> Vec<u8> {
    let body = question.body.text();
    let kind = question
        .body
        .kind()
        .map_or_else(String::new, |kind| format!("Content-Type: {kind}\r\n"));
    let length = if question.method == "GET" {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    format!(
        "{} {} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream, */*\r\n{kind}{length}Connection: close\r\n\r\n{body}",
        question.method, question.path, server.host
    )
    .into_bytes()
}

/// A socket that is read until a moment.
struct Line<'c> {
    socket: TcpStream,
    clock: &'c Clock,
    deadline: Elapsed,
    read: usize,
}

impl Line<'_> {
    /// Some bytes; none at the end of the connection.
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let left = self.deadline.since(self.clock.now());
        if left.is_zero() || self.read > MOST_BYTES {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.socket.set_read_timeout(Some(left))?;
        let mut buffer = vec![0; 16 * 1024];
        let length = self.socket.read(&mut buffer)?;
        self.read += length;
        buffer.truncate(length);
        Ok(buffer)
    }

    fn head(&mut self, method: &str) -> io::Result<(Head, Vec<u8>)> {
        let mut bytes = Vec::new();
        loop {
            let fresh = self.read().map_err(|error| {
                if is_timeout(&error) {
                    io::Error::other("no answer in time")
                } else {
                    error
                }
            })?;
            if fresh.is_empty() {
                return Err(io::Error::other("closed without an answer"));
            }
            bytes.extend(fresh);
            match Head::parse(&bytes, method, None).map_err(io::Error::other)? {
                Parsed::Partial => {}
                Parsed::Interim(used) => {
                    bytes.drain(..used);
                }
                Parsed::Final(used, head) => return Ok((head, bytes.split_off(used))),
            }
        }
    }
}

/// Gathers a body: events of a stream, or text.
struct Listener {
    decoder: Option<Decoder>,
    events: Vec<Event>,
    now: Event,
    first: Option<Duration>,
    text: Vec<u8>,
}

impl Listener {
    fn new(is_stream: bool) -> Self {
        Self {
            decoder: is_stream.then(|| Decoder::new(LONGEST_LINE)),
            events: Vec::new(),
            now: Event::default(),
            first: None,
            text: Vec::new(),
        }
    }

    /// Takes in bytes; true once the body is whole.
    fn hear(&mut self, framing: &mut Framing, bytes: &[u8], at: Duration) -> io::Result<bool> {
        let mut input = bytes;
        while let Some(mut data) = framing.next(&mut input).map_err(io::Error::other)? {
            let Some(mut decoder) = self.decoder.take() else {
                self.text.extend_from_slice(data);
                continue;
            };
            while let Some(piece) = decoder.next(&mut data).map_err(io::Error::other)? {
                self.piece(piece, at);
            }
            self.decoder = Some(decoder);
        }
        Ok(framing.is_done())
    }

    fn piece(&mut self, piece: Piece<'_>, at: Duration) {
        let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
        match piece {
            Piece::Part(Field::Data, part) if self.now.data.len() < MOST_DATA => {
                self.now.data.push_str(&text(part));
            }
            Piece::Part(Field::Event, part) => self.now.name.push_str(&text(part)),
            Piece::EndOfLine(Field::Data) => self.now.data.push('\n'), // lines of one event are joined by it
            Piece::Event => {
                self.first.get_or_insert(at);
                self.now.data.pop();
                self.events.push(std::mem::take(&mut self.now));
            }
            Piece::Void => self.now = Event::default(),
            Piece::Part(..) | Piece::EndOfLine(_) => {}
        }
    }

    fn answer(self) -> Answer {
        match self.decoder {
            Some(_) => Answer::Stream(self.events, self.first),
            None => Answer::Text(String::from_utf8_lossy(&self.text).into_owned()),
        }
    }
}

/// A moment between two questions.
pub(super) fn pause(length: Duration) {
    let (_sender, never) = mpsc::channel::<()>();
    never.recv_timeout(length).ok(); // the sender lives as long: only time ends it
}
