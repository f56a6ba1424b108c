//! Drive: the load. One thread, one poll, raw sockets; thousands of clients that weigh nothing.
//!
//! In: [`Batch`]es of a plan, paced against the run's [`Clock`]. Out: counts in the [`Tally`], leave modes in the
//! [`PortBook`], and on request [`Latency`] and [`Problem`]s. Start at [`Driver`]; then `engine` (the loop), `client` (a socket
//! and how it leaves), `connection` (what is said, pure), `pacer` (who is due, pure), `reconnect` and
//! `shape` (who comes back, who is slow; pure), [`http`] and [`sse`] (decoders, pure).
//! Cost: about 200 B a held stream, one read a delivery, no allocation an event. Open loop: what opens when never depends on
//! how the target does. Never decides what a number means, and knows neither the run directory nor what is observed.

mod capture;
mod carriers;
mod client;
mod connection;
mod engine;
pub mod h2;
pub mod http;
mod latency;
mod leave;
mod line;
mod pacer;
mod reconnect;
#[cfg(any(test, fuzzing))]
pub mod rehearsal;
mod request;
mod shape;
pub mod sse;
mod timers;
mod tls;
mod trouble;
mod users;
mod vanish;
mod world;

use std::{
    any::Any,
    io,
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{self, SyncSender},
    },
    thread::{Builder, JoinHandle},
};

use mio::Waker;
use serde::{Deserialize, Serialize};

use crate::{
    plan::{Batch, Script, Segment},
    timeline::{Clock, Elapsed, PortBook, Tally},
};

use engine::{Command, Engine};
use world::World;

pub use latency::Latency;
pub use tls::{Tls, Trust};
pub use trouble::Problem;
pub use vanish::{Farewell, can_vanish};
pub use world::Limits;

/// The buffers that everybody reads into: one of the loop, and another of TLS.
const BUFFER_SIZE: usize = 64 * 1024;
/// Commands that may wait for the loop.
const COMMANDS: usize = 64;

/// Why a slow line and HTTP/2 exclude each other.
const SHARED_LINE: &str = "over HTTP/2 streams share a line, so none of them can have a slow one of its own: leave out `network` (--latency, --bandwidth, --tunnel), or HTTP/2";

/// What a driver needs to know before it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DriveConfig {
    /// Where to connect to.
    pub addr: SocketAddr,
    /// The `Host` header.
    pub host: String,
    /// What clients say; a [`Batch`] names one by its index.
    pub scripts: Vec<Script>,
    /// How many pools of session ids there are.
    pub pools: usize,
    /// Fixes every random choice.
    pub seed: u64,
    /// What no connection may exceed.
    pub limits: Limits,
    /// `SO_RCVBUF` of clients that stall or read slowly, set before they connect.
    pub stall_receive_buffer: Option<u32>,
    /// How fast slow clients read.
    pub slow_bytes_per_second: u32,
    /// What carries the requests: bare sockets, unless told otherwise.
    #[serde(default)]
    pub transport: Transport,
    /// Which part of every batch is played here.
    pub segment: Segment,
    /// Addresses to connect from, in turn by the client's number; empty: the kernel's choice. One address has some 28,000 ports to one
    /// destination. A port that was bound rests for a minute after its client closed, so this is for clients that stay.
    pub sources: Vec<IpAddr>,
}

/// What carries requests and answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transport {
    /// TLS, and how; `None`: plainly.
    pub tls: Option<Tls>,
    /// HTTP/2, with so many streams on every TCP connection; `None`: HTTP/1.1, a connection for each.
    pub streams_per_connection: Option<NonZeroU16>,
}

impl Transport {
    /// The scheme of its URLs.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Whether these clients can be played over it.
    ///
    /// # Errors
    /// A sentence: over HTTP/2 streams share a line, so none of them can have a slow one of its own.
    pub fn plays<'a>(
        &self,
        batches: impl IntoIterator<Item = &'a Batch>,
    ) -> Result<(), &'static str> {
        let is_shaped = |batch: &Batch| batch.manners.network.is_some();
        if self.streams_per_connection.is_some() && batches.into_iter().any(is_shaped) {
            return Err(SHARED_LINE);
        }
        Ok(())
    }

    /// What leaving means on a connection that others share, in a sentence.
    const SHARED: &str = "over HTTP/2 fin, orphan, early, stall and slow leave by RST_STREAM (CANCEL), rst by RST_STREAM (INTERNAL_ERROR), \
        half-close sends END_STREAM; the TCP connection ends as its clients leave (GOAWAY and FIN; RST; nothing) after the last of them";

    /// What a reader of the results must know of it.
    pub fn notes(&self) -> Vec<String> {
        let blind = self
            .tls
            .as_ref()
            .is_some_and(|tls| tls.trust == Trust::Anyone);
        let blind = blind.then(|| {
            "any certificate was believed (--insecure): nobody knows who answered".to_owned()
        });
        let shared = self.streams_per_connection.map(|streams| {
            let words = Self::SHARED;
            format!("HTTP/2: {streams} streams share a TCP connection, and each of them counts as a connection; {words}")
        });
        blind.into_iter().chain(shared).collect()
    }
}

/// The load's thread, from outside. Dropping it drops every connection.
#[derive(Debug)]
pub struct Driver {
    commands: SyncSender<Command>,
    waker: Waker,
    tally: Arc<Tally>,
    standing: Arc<AtomicU64>,
    /// Why the thread ended, if it was not told to.
    died: Arc<Mutex<Option<String>>>,
    segment: Segment,
    thread: Option<JoinHandle<()>>,
}

impl Driver {
    /// Starts the thread. It opens nothing before [`Driver::play`].
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a script that cannot be sent; anything else if the thread or its poll cannot be made.
    pub fn start(
        config: DriveConfig,
        clock: Clock,
        tally: Arc<Tally>,
        ports: Arc<PortBook>,
    ) -> io::Result<Self> {
        let (commands, inbox) = mpsc::sync_channel(COMMANDS);
        let world = World::new(&config, Arc::clone(&tally))?;
        let standing = Arc::clone(&world.standing);
        let (mut engine, waker) = Engine::new(&config, clock, world, ports, inbox)?;
        let died = Arc::new(Mutex::new(None));
        let segment = config.segment;
        let obituary = Arc::clone(&died);
        let thread = Builder::new().name("drive".into()).spawn(move || {
            let cause = cause_of_death(|| engine.run());
            *obituary.lock().unwrap_or_else(PoisonError::into_inner) = cause;
            // Whatever the reason: nobody may look as if still connected.
            engine.stop();
        })?;
        Ok(Self {
            commands,
            waker,
            tally,
            standing,
            died,
            segment,
            thread: Some(thread),
        })
    }

    /// Begins a step: its batches are paced against `began`. [`Tally::pending`] counts those of our segment from this call on.
    pub fn play(&self, began: Elapsed, batches: Vec<Batch>) {
        let share = |batch: &Batch| u64::from(self.segment.share(batch.count));
        let count = batches.iter().map(share).sum();
        Tally::add(&self.tally.pending, count);
        if !self.tell(Command::Play(began, batches)) {
            self.tally.pending.fetch_sub(count, Relaxed);
        }
    }

    /// The standing population leaves, in its planned way.
    pub fn release_standing(&self) {
        self.tell(Command::ReleaseStanding);
    }

    /// Everyone but the standing population leaves now: the end of a dose. Who is far enough leaves in its planned way and
    /// counts as such; who is not (still connecting, no event yet, `complete` in mid-answer) closes and counts as stopped.
    /// Openings that were still to come are off the plan.
    pub fn recall(&self) {
        self.tell(Command::Recall);
    }

    /// Every connection is dropped at once, nothing more is opened. For good.
    pub fn stop(&self) {
        self.tell(Command::Stop);
    }

    /// The latencies since the last call; empty once the thread has died.
    pub fn take_latency(&self) -> Latency {
        self.ask(Command::Latency).unwrap_or_default()
    }

    /// The first few distinct things that went wrong, and how often each did.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = self.ask(Command::Problems).unwrap_or_default();
        problems.extend(self.died().map(|what| Problem {
            what,
            count: 1,
            quote: None,
        }));
        problems
    }

    /// Standing streams up now: connected, and answered as expected (stalled ones: asked).
    pub fn standing(&self) -> u64 {
        self.standing.load(Relaxed)
    }

    /// Why the load's thread is gone although nobody told it to; `None` while all is well.
    pub fn died(&self) -> Option<String> {
        let why = self.died.lock().unwrap_or_else(PoisonError::into_inner);
        why.as_ref()
            .map(|why| format!("the load's thread is gone: {why}"))
    }

    /// Waits while the channel is full; the loop empties it every turn. False once the thread is gone.
    fn tell(&self, command: Command) -> bool {
        self.commands.send(command).is_ok() && self.waker.wake().is_ok()
    }

    fn ask<T>(&self, question: impl FnOnce(SyncSender<T>) -> Command) -> Option<T> {
        let (reply, answer) = mpsc::sync_channel(1);
        // If the thread dies meanwhile, the reply's sender dies with it.
        self.tell(question(reply)).then(|| answer.recv().ok())?
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.tell(Command::Quit);
        if let Some(thread) = self.thread.take() {
            thread.join().ok(); // it catches its own panics
        }
    }
}

/// Runs the loop to its end; `None` if it ended because it was told to.
fn cause_of_death(run: impl FnOnce() -> io::Result<()>) -> Option<String> {
    // What a panic leaves half done is only dropped, never driven on.
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("its poll failed: {error}")),
        Err(panic) => Some(format!("it panicked: {}", panic_text(&*panic))),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without words")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A handle whose thread has died of this.
    fn after(run: impl FnOnce() -> io::Result<()>) -> Driver {
        let poll = mio::Poll::new().unwrap();
        let (commands, _) = mpsc::sync_channel(1);
        Driver {
            commands,
            waker: Waker::new(poll.registry(), mio::Token(0)).unwrap(),
            tally: Arc::default(),
            standing: Arc::default(),
            died: Arc::new(Mutex::new(cause_of_death(run))),
            segment: Segment::WHOLE,
            thread: None,
        }
    }

    #[test]
    fn a_panic_in_the_loop_is_noticed_and_nobody_waits_for_the_dead() {
        let driver = after(|| panic!("at the disco"));
        let batch = Batch {
            script: 0,
            leave: crate::plan::Leave::Fin,
            count: 3,
            after: std::time::Duration::ZERO,
            over: std::time::Duration::ZERO,
            stay: crate::plan::Stay::ToTheEnd,
            manners: crate::plan::Manners::default(),
        };
        driver.play(Elapsed::default(), vec![batch]);
        driver.recall();
        assert_eq!(driver.tally.counts().pending, 0);
        assert!(driver.take_latency().gap.is_empty());
        let words = "the load's thread is gone: it panicked: at the disco";
        assert_eq!(driver.died().as_deref(), Some(words));
        assert_eq!(driver.problems()[0].to_string(), words);
        assert_eq!(after(|| Ok(())).died(), None);
    }
}
