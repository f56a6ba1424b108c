//! The floor: a raw epoll client. One thread, one buffer, one `read` a readiness; counts blank lines and does nothing else.
//!
//! No parser, no timeouts, no statistics: what any client must at least pay for the same load, and the measure of `scripts/bench`.
//!
//! ```text
//! bench-epoll hold  PORT STREAMS RAMP_MS LENGTH_MS
//! bench-epoll churn PORT RATE LENGTH_MS fin|rst
//! ```

use std::{
    io::{self, Write},
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use memchr::memmem;
use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    io::Errno,
    net::{
        AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt::set_socket_linger,
    },
};
use signal_hook::consts::SIGTERM;

/// Openings in a row before the open streams get their turn.
const MOST_OPENINGS: usize = 64;
/// How long the last ones of a churn may take.
const LINGER: Duration = Duration::from_secs(2);

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (port, plan) = match arguments[..] {
        ["hold", port, streams, ramp, length] => (port, Plan::hold(streams, ramp, length)?),
        ["churn", port, rate, length, how] => (port, Plan::churn(rate, length, how)?),
        _ => {
            return Err(io::Error::other(
                "usage: see the top of harness/bench/epoll.rs",
            ));
        }
    };
    let port = u16::try_from(number(port)?).map_err(io::Error::other)?;
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGTERM, Arc::clone(&stop))?;
    let mut load = Load::new(port, plan)?;
    load.run(&stop)?;
    let Load {
        opened,
        closed,
        events,
        ..
    } = load;
    writeln!(
        io::stdout(),
        r#"{{"opened":{opened},"closed":{closed},"events":{events}}}"#
    )
}

/// Who opens when, and leaves how.
struct Plan {
    count: u64,
    over: Duration,
    length: Duration,
    goodbye: Goodbye,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Goodbye {
    AtTheEnd,
    Fin,
    Rst,
}

impl Plan {
    fn hold(streams: &str, ramp: &str, length: &str) -> io::Result<Self> {
        Ok(Self {
            count: number(streams)?,
            over: millis(ramp)?,
            length: millis(length)?,
            goodbye: Goodbye::AtTheEnd,
        })
    }

    fn churn(rate: &str, length: &str, how: &str) -> io::Result<Self> {
        Ok(Self {
            count: number(rate)? * number(length)? / 1000,
            over: millis(length)?,
            length: millis(length)? + LINGER,
            goodbye: if how == "rst" {
                Goodbye::Rst
            } else {
                Goodbye::Fin
            },
        })
    }

    /// When the next one opens, if so many are open.
    fn due(&self, opened: u64) -> Duration {
        self.over.mul_f64(opened as f64 / self.count as f64)
    }
}

fn number(text: &str) -> io::Result<u64> {
    text.parse().map_err(io::Error::other)
}

fn millis(text: &str) -> io::Result<Duration> {
    number(text).map(Duration::from_millis)
}

struct Load {
    addr: SocketAddr,
    plan: Plan,
    request: Vec<u8>,
    epoll: OwnedFd,
    clients: Vec<Option<OwnedFd>>,
    /// Places in `clients` that are empty.
    free: Vec<usize>,
    buffer: Vec<u8>,
    opened: u64,
    closed: u64,
    events: u64,
}

impl Load {
    fn new(port: u16, plan: Plan) -> io::Result<Self> {
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        Ok(Self {
            addr,
            plan,
            request: format!(
                "GET /events HTTP/1.1\r\nHost: {addr}\r\nAccept: text/event-stream\r\n\r\n"
            )
            .into_bytes(),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            clients: vec![],
            free: vec![],
            buffer: vec![0; 64 * 1024],
            opened: 0,
            closed: 0,
            events: 0,
        })
    }

    fn run(&mut self, stop: &AtomicBool) -> io::Result<()> {
        let began = now();
        let mut ready = Vec::with_capacity(1024);
        loop {
            let elapsed = began.elapsed();
            if elapsed >= self.plan.length || self.is_done() || stop.load(Relaxed) {
                return Ok(());
            }
            self.open_what_is_due(elapsed)?;
            let next = if self.opened < self.plan.count {
                self.plan.due(self.opened)
            } else {
                self.plan.length
            };
            ready.clear();
            let wait = whole_millis(next.saturating_sub(began.elapsed()));
            match epoll::wait(&self.epoll, spare_capacity(&mut ready), Some(&wait)) {
                Err(Errno::INTR) => continue,
                result => result?,
            };
            for event in &ready {
                self.attend(event)?;
            }
        }
    }

    fn is_done(&self) -> bool {
        self.plan.goodbye != Goodbye::AtTheEnd && self.closed == self.plan.count
    }

    fn open_what_is_due(&mut self, elapsed: Duration) -> io::Result<()> {
        for _ in 0..MOST_OPENINGS {
            if self.opened == self.plan.count || self.plan.due(self.opened) > elapsed {
                break;
            }
            self.open()?;
        }
        Ok(())
    }

    fn open(&mut self) -> io::Result<()> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        let flags = match connect(&socket, &self.addr) {
            Ok(()) => {
                rustix::io::write(&socket, &self.request)?;
                epoll::EventFlags::IN
            }
            Err(Errno::INPROGRESS) => epoll::EventFlags::OUT,
            Err(error) => Err(error)?,
        };
        let key = self.free.pop().unwrap_or(self.clients.len());
        epoll::add(
            &self.epoll,
            &socket,
            epoll::EventData::new_u64(key as u64),
            flags,
        )?;
        if key == self.clients.len() {
            self.clients.push(Some(socket));
        } else {
            self.clients[key] = Some(socket);
        }
        self.opened += 1;
        Ok(())
    }

    fn attend(&mut self, event: &epoll::Event) -> io::Result<()> {
        let epoll::Event { flags, data } = *event;
        let key = usize::try_from(data.u64()).map_err(io::Error::other)?;
        let Some(socket) = &self.clients[key] else {
            return Ok(());
        };
        if flags.contains(epoll::EventFlags::OUT) {
            rustix::io::write(socket, &self.request)?;
            return Ok(epoll::modify(
                &self.epoll,
                socket,
                data,
                epoll::EventFlags::IN,
            )?);
        }
        let length = rustix::io::read(socket, &mut self.buffer[..])?;
        let events = memmem::find_iter(&self.buffer[..length], b"\n\n").count();
        self.events += events as u64;
        let leaves = events > 0 && self.plan.goodbye != Goodbye::AtTheEnd;
        if leaves && self.plan.goodbye == Goodbye::Rst {
            set_socket_linger(socket, Some(Duration::ZERO))?;
        }
        if leaves || length == 0 {
            self.clients[key] = None;
            self.free.push(key);
            self.closed += 1;
        }
        Ok(())
    }
}

/// Rounded up: the poll must not wake before something is due, again and again.
fn whole_millis(length: Duration) -> Timespec {
    let millis = length.as_nanos().div_ceil(1_000_000);
    let part = i32::try_from(millis % 1000).unwrap_or(0);
    Timespec {
        tv_sec: i64::try_from(millis / 1000).unwrap_or(i64::MAX),
        tv_nsec: (part * 1_000_000).into(),
    }
}

#[expect(clippy::disallowed_methods, reason = "a program of its own")]
fn now() -> Instant {
    Instant::now()
}
