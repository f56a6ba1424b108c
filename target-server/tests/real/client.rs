//! A tiny HTTP/1.1 client: raw bytes in and out, so that tests can be rude.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

/// How long a test waits for anything before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A moment by which something must have happened.
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn new() -> Self {
        Self::after(PATIENCE)
    }

    pub(crate) fn after(patience: Duration) -> Self {
        Self(Instant::now() + patience)
    }

    pub(crate) fn passed(&self) -> bool {
        Instant::now() > self.0
    }

    /// Fails the test when it is too late; otherwise lets others run.
    pub(crate) fn check(&self, what: &str) {
        assert!(!self.passed(), "waited too long for {what}");
        std::thread::yield_now();
    }
}

/// One connection.
pub(crate) struct Client {
    pub(crate) socket: TcpStream,
    seen: Vec<u8>,
}

/// A whole response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// One dispatched event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: String,
}

impl Event {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).expect("JSON data")
    }
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.head, self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            line.split_once(": ")
                .filter(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value)
        })
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        events(&self.text())
    }
}

/// The events in a text of an event stream.
pub(crate) fn events(text: &str) -> Vec<Event> {
    text.split("\n\n")
        .filter_map(|block| {
            let mut event = Event::default();
            for line in block.lines() {
                match line.split_once(": ") {
                    Some(("id", value)) => event.id = value.into(),
                    Some(("event", value)) => event.name = value.into(),
                    Some(("data", value)) => event.data = value.into(),
                    _ => {}
                }
            }
            (!event.data.is_empty()).then_some(event)
        })
        .collect()
}

impl Client {
    pub(crate) fn connect(to: SocketAddr) -> Self {
        let socket = TcpStream::connect_timeout(&to, PATIENCE).expect("connects");
        socket
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket option");
        socket
            .set_write_timeout(Some(PATIENCE))
            .expect("a socket option");
        Self {
            socket,
            seen: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("the server reads");
    }

    /// Sends a request and reads its whole response.
    pub(crate) fn ask(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        self.start(method, path, headers, body);
        self.answer()
    }

    /// Sends a request.
    pub(crate) fn start(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) {
        let length = if body.is_empty() {
            String::new()
        } else {
            format!("content-length: {}\r\n", body.len())
        };
        let head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\n{headers}{length}\r\n");
        self.send(&[head.as_bytes(), body].concat());
    }

    /// Reads one whole response; the connection can be used again.
    pub(crate) fn answer(&mut self) -> Answer {
        let end = self.until(b"\r\n\r\n");
        let head = String::from_utf8(self.seen.drain(..end).collect()).expect("an ASCII head");
        let mut answer = Answer {
            status: head[9..12].parse().expect("a status"),
            head,
            body: Vec::new(),
        };
        if answer.header("transfer-encoding") == Some("chunked") {
            loop {
                let line = self.until(b"\r\n");
                let size =
                    String::from_utf8(self.seen.drain(..line).collect()).expect("a chunk size");
                let size = usize::from_str_radix(size.trim(), 16).expect("a chunk size");
                self.fill(size + 2);
                answer.body.extend(self.seen.drain(..size));
                self.seen.drain(..2);
                if size == 0 {
                    return answer;
                }
            }
        }
        let length = answer
            .header("content-length")
            .map_or(0, |length| length.parse().expect("a length"));
        self.fill(length);
        answer.body.extend(self.seen.drain(..length));
        answer
    }

    /// Reads until `text` has arrived; answers everything up to its end, chunk framing included.
    pub(crate) fn read_until(&mut self, text: &str) -> String {
        let end = self.until(text.as_bytes());
        String::from_utf8(self.seen.drain(..end).collect()).expect("UTF-8")
    }

    /// Reads until the server closes, however it does.
    pub(crate) fn read_to_end(&mut self) -> String {
        while self.more() {}
        String::from_utf8_lossy(&std::mem::take(&mut self.seen)).into_owned()
    }

    /// Reads what is there, without a look and without waiting.
    pub(crate) fn throw_away(&mut self) {
        self.socket.set_nonblocking(true).expect("a socket option");
        while self.socket.read(&mut [0; 16 * 1024]).is_ok_and(|n| n > 0) {}
    }

    /// Leaves with FIN.
    pub(crate) fn fin(self) {
        self.socket
            .shutdown(Shutdown::Both)
            .expect("an open socket");
    }

    /// Leaves with RST.
    pub(crate) fn rst(self) {
        socket2::SockRef::from(&self.socket)
            .set_linger(Some(Duration::ZERO))
            .expect("a socket option");
    }

    fn until(&mut self, needle: &[u8]) -> usize {
        let mut from = 0;
        loop {
            if let Some(at) = memchr::memmem::find(&self.seen[from..], needle) {
                return from + at + needle.len();
            }
            from = self.seen.len().saturating_sub(needle.len());
            assert!(
                self.more(),
                "closed before {:?}: {:?}",
                String::from_utf8_lossy(needle),
                String::from_utf8_lossy(&self.seen)
            );
        }
    }

    fn fill(&mut self, length: usize) {
        while self.seen.len() < length {
            assert!(self.more(), "closed within a body");
        }
    }

    /// Reads what is there; false when the server has closed.
    fn more(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        match self.socket.read(&mut buffer) {
            Ok(0) => false,
            Ok(n) => {
                self.seen.extend_from_slice(&buffer[..n]);
                true
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                ) =>
            {
                false
            }
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&self.seen)),
        }
    }
}
