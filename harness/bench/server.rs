//! The server that all clients of `scripts/bench` talk to: fixed, raw, one thread, never the bottleneck.
//!
//! Answers every request with a chunked event stream: the first event at once, then one an interval, phases spread evenly.
//! `GET /counts` answers with what it has counted: the script's only source for how many streams are up and events went out.
//! Cost: one `write` an event. Never waits for a client: who does not take an event whole is dropped, and counted.
//!
//! ```text
//! bench-server PORT INTERVAL_MS EVENT_BYTES SECONDS
//! ```

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);
const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
    Transfer-Encoding: chunked\r\n\r\n";
/// What an event is without its text.
const EVENT: (&str, &str) = ("id: 1234567\nevent: token\ndata: ", "\n\n");
/// Milliseconds that are made up for at a time.
const MOST_TICKS: usize = 20;
/// Turns of the golden ratio spread any number of phases evenly.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

fn main() -> io::Result<()> {
    let arguments: Vec<u64> = std::env::args()
        .skip(1)
        .map(|argument| argument.parse().map_err(io::Error::other))
        .collect::<Result<_, _>>()?;
    let &[port, interval_ms, event_bytes, seconds] = &arguments[..] else {
        return Err(io::Error::other(
            "usage: bench-server PORT INTERVAL_MS EVENT_BYTES SECONDS",
        ));
    };
    let port = u16::try_from(port).map_err(io::Error::other)?;
    let slots = usize::try_from(interval_ms.max(1)).map_err(io::Error::other)?;
    let event_bytes = usize::try_from(event_bytes).map_err(io::Error::other)?;
    Server::new(port, slots, event_bytes)?.serve(Duration::from_secs(seconds))
}

/// One client.
struct Stream {
    socket: TcpStream,
    /// The millisecond of the interval at which it gets its events; `None` before its request came.
    slot: Option<usize>,
}

#[derive(Default)]
struct Counts {
    accepted: u64,
    open: u64,
    closed: u64,
    events: u64,
    dropped: u64,
}

struct Server {
    poll: Poll,
    listener: TcpListener,
    streams: Slab<Stream>,
    /// Who gets an event at which millisecond of the interval.
    slots: Vec<Vec<usize>>,
    chunk: Vec<u8>,
    buffer: Vec<u8>,
    counts: Counts,
}

impl Server {
    fn new(port: u16, slots: usize, event_bytes: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        let text = event_bytes.saturating_sub(EVENT.0.len() + EVENT.1.len());
        let event = [EVENT.0, &"x".repeat(text), EVENT.1].concat();
        Ok(Self {
            poll,
            listener,
            streams: Slab::new(),
            slots: vec![vec![]; slots],
            chunk: format!("{:x}\r\n{event}\r\n", event.len()).into_bytes(),
            buffer: vec![0; 16 * 1024],
            counts: Counts::default(),
        })
    }

    fn serve(&mut self, length: Duration) -> io::Result<()> {
        let began = now();
        let mut events = Events::with_capacity(1024);
        let mut tick: u32 = 0;
        while began.elapsed() < length {
            let next = Duration::from_millis(1) * tick;
            let wait = next.saturating_sub(began.elapsed());
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => result?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    Token(key) => self.hear(key),
                }
            }
            // A starved server must not forget its listener over what it owes.
            for _ in 0..MOST_TICKS {
                if Duration::from_millis(1) * tick > began.elapsed() {
                    break;
                }
                self.tell(tick as usize % self.slots.len());
                tick += 1;
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => continue, // that client is gone again
            };
            socket.set_nodelay(true).ok();
            self.counts.accepted += 1;
            let entry = self.streams.vacant_entry();
            let token = Token(entry.key());
            self.poll
                .registry()
                .register(&mut socket, token, Interest::READABLE)?;
            entry.insert(Stream { socket, slot: None });
        }
    }

    /// Reads all there is from one client.
    fn hear(&mut self, key: usize) {
        while let Some(stream) = self.streams.get_mut(key) {
            match stream.socket.read(&mut self.buffer) {
                Ok(0) => self.close(key),
                Ok(length) => self.answer(key, length),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.close(key),
            }
        }
    }

    fn answer(&mut self, key: usize, length: usize) {
        let request = &self.buffer[..length];
        if request.starts_with(b"GET /counts ") {
            let counts = self.counts.json();
            let length = counts.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{counts}"
            );
            // Whoever asked may be gone.
            self.streams[key].socket.write_all(answer.as_bytes()).ok();
        } else if request.ends_with(b"\r\n\r\n") && self.streams[key].slot.is_none() {
            let slot = phase(self.counts.accepted, self.slots.len());
            self.streams[key].slot = Some(slot);
            self.slots[slot].push(key);
            self.counts.open += 1;
            let first = [HEAD, &self.chunk].concat();
            self.write(key, &first);
        } else {
            self.close(key);
        }
    }

    /// One event for everyone whose turn it is.
    fn tell(&mut self, slot: usize) {
        let chunk = std::mem::take(&mut self.chunk);
        let mut at = 0;
        while let Some(&key) = self.slots[slot].get(at) {
            // Who was dropped has left the list, and the next one has moved up.
            at += usize::from(self.write(key, &chunk));
        }
        self.chunk = chunk;
    }

    /// Writes it whole, or drops the client.
    fn write(&mut self, key: usize, bytes: &[u8]) -> bool {
        let is_whole =
            matches!(self.streams[key].socket.write(bytes), Ok(length) if length == bytes.len());
        if is_whole {
            self.counts.events += 1;
        } else {
            self.counts.dropped += 1;
            self.close(key);
        }
        is_whole
    }

    fn close(&mut self, key: usize) {
        let stream = self.streams.remove(key);
        if let Some(slot) = stream.slot {
            self.slots[slot].retain(|&other| other != key);
            self.counts.open -= 1;
            self.counts.closed += 1;
        }
    }
}

impl Counts {
    fn json(&self) -> String {
        let Self {
            accepted,
            open,
            closed,
            events,
            dropped,
        } = self;
        format!(
            r#"{{"accepted":{accepted},"open":{open},"closed":{closed},"events":{events},"dropped":{dropped}}}"#
        )
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a fraction of a small number of slots"
)]
fn phase(number: u64, slots: usize) -> usize {
    ((number as f64 * GOLDEN).fract() * slots as f64) as usize % slots
}

#[expect(clippy::disallowed_methods, reason = "a program of its own")]
fn now() -> Instant {
    Instant::now()
}
