//! Init: asks a server a few questions and writes a profile that runs against it at once.
//!
//! In: where it listens, and what is known of its process. Out: a [`Portrait`] (what it answered) and, from that alone, the text of a
//! profile ([`write()`]). Start at [`look`]; `ask` is the only part that touches a socket, `guess` and `write` are pure.
//! Cost to the server: some twenty requests, each read for a few seconds at most. Never loads anything.

mod ask;
mod guess;
mod write;

use std::{io, net::SocketAddr, time::Duration};

pub use self::{
    ask::{Answer, Heard, Question},
    guess::{Body, Captured, Script},
    write::write,
};
use crate::{doctor::allocator::Heap, timeline::Clock};

/// A head that has not come by then will not come.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// So long an answer is listened to: one that has not ended by then is a feed.
const LISTEN: Duration = Duration::from_secs(6);

/// Where the server is.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its address.
    pub addr: SocketAddr,
    /// What the `Host` header says.
    pub host: String,
    /// The path that was given; `/` means none.
    pub path: String,
}

/// How long a session that nobody uses is kept, by the server's own count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ttl {
    /// Gone after so long.
    Seen(Duration),
    /// Still there after so long.
    LongerThan(Duration),
    /// Nobody counts sessions where we can see it.
    Unseen,
}

/// What the server answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Portrait {
    /// A stream that stays open.
    pub feed: Option<Script>,
    /// An answer that the server ends.
    pub chat: Option<Script>,
    /// Where it shows metrics.
    pub metrics: Option<&'static str>,
    /// Whether it is a Go server that shows its profiles.
    pub pprof: bool,
    /// How long it keeps a session.
    pub ttl: Ttl,
    /// What its process manages memory with.
    pub heap: Option<Heap>,
}

/// Why no profile can be written.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Nobody answers.
    #[error("{addr} does not answer")]
    Silent {
        /// Where we asked.
        addr: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Nothing that was asked for is an event stream.
    #[error(
        "no event stream was found: {}\n  give the path of one: --url http://{host}/PATH",
        told.join("; ")
    )]
    NoStream {
        /// The `Host` header.
        host: String,
        /// What was answered instead, question by question.
        told: Vec<String>,
    },
}

/// Asks, and says what it hears.
///
/// # Errors
/// Nobody answers, or nothing is an event stream.
pub fn look(
    server: &Server,
    heap: Option<Heap>,
    ttl_wait: Duration,
    say: &mut dyn FnMut(&str),
) -> Result<Portrait, InitError> {
    let clock = Clock::start();
    let mut told = Vec::new();
    let (mut feed, mut chat) = (None, None);
    let metrics = metrics(server, &clock);
    for question in guess::questions(&server.path) {
        let is_known = if question.method == "GET" {
            feed.is_some()
        } else {
            chat.is_some()
        };
        if is_known {
            continue;
        }
        let heard = ask::ask(server, &question, HEAD_WITHIN, LISTEN, &clock);
        let heard = match heard {
            Ok(heard) => heard,
            Err(source) if source.kind() == io::ErrorKind::ConnectionRefused => {
                let addr = server.addr;
                return Err(InitError::Silent { addr, source });
            }
            Err(error) => {
                told.push(format!("{question}: {error}"));
                continue;
            }
        };
        match guess::script(&question, &heard) {
            Ok(script) => {
                say(&format!("{question}: {}", script.words()));
                if script.ends_s.is_some() {
                    chat.get_or_insert(script);
                } else {
                    feed.get_or_insert(script);
                }
            }
            Err(why) => told.push(format!("{question} {why}")),
        }
        if feed.is_some() && chat.is_some() {
            break;
        }
    }
    if feed.is_none() && chat.is_none() {
        let host = server.host.clone();
        return Err(InitError::NoStream { host, told });
    }
    let ttl = match (&chat, &metrics) {
        (Some(chat), Some(_)) if chat.session.is_some() => {
            ttl(server, &chat.question, ttl_wait, &clock)
        }
        _ => Ttl::Unseen,
    };
    Ok(Portrait {
        feed,
        chat,
        metrics: metrics.map(|_| "/metrics"),
        pprof: is_there(server, "/debug/pprof/", &clock),
        ttl,
        heap,
    })
}

fn plain(server: &Server, path: &str, clock: &Clock) -> Option<Heard> {
    let question = Question::get(path);
    let heard = ask::ask(server, &question, HEAD_WITHIN, HEAD_WITHIN, clock).ok()?;
    (heard.status == 200).then_some(heard)
}

fn is_there(server: &Server, path: &str, clock: &Clock) -> bool {
    plain(server, path, clock).is_some_and(|heard| matches!(heard.answer, Answer::Text(_)))
}

/// The text of `/metrics`, if it is one.
fn metrics(server: &Server, clock: &Clock) -> Option<String> {
    match plain(server, "/metrics", clock)?.answer {
        Answer::Text(text) if text.contains("# TYPE") || text.contains("# HELP") => Some(text),
        _ => None,
    }
}

/// Makes one session and watches the server's own count of them until it is gone.
fn ttl(server: &Server, question: &Question, wait: Duration, clock: &Clock) -> Ttl {
    const EVERY: Duration = Duration::from_millis(200);
    let count = || guess::sessions(&metrics(server, clock)?);
    let Some(before) = count() else {
        return Ttl::Unseen;
    };
    if ask::ask(server, question, HEAD_WITHIN, LISTEN, clock).is_err() {
        return Ttl::Unseen;
    }
    let made = clock.now();
    if count().is_none_or(|now| now <= before) {
        return Ttl::Unseen;
    }
    loop {
        let waited = clock.now().since(made);
        if count().is_some_and(|now| now <= before) {
            return Ttl::Seen(waited);
        }
        if waited >= wait {
            return Ttl::LongerThan(waited);
        }
        ask::pause(EVERY);
    }
}
