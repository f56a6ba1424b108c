//! What may go wrong with a connection, how it counts, and the first few of it in words.

use std::{fmt, io, net::SocketAddr, time::Duration};

use crate::timeline::End;

use super::{
    h2::{Code, H2Error},
    http::{ChunkError, HeadError, Media},
    sse::LineTooLong,
    tls::TlsTrouble,
};

/// Distinct problems that are kept; more are only counted.
const MOST_PROBLEMS: usize = 32;
/// So much of an error's body is quoted.
pub(super) const LONGEST_QUOTE: usize = 200;

/// Why a connection ended otherwise than planned.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("connect to {addr} {}", refused_or(.source))]
    Connect { addr: SocketAddr, source: io::Error },
    #[error("answered {status} instead of {expected}")]
    Status {
        status: u16,
        expected: &'static str,
        quote: Vec<u8>,
    },
    #[error("{0}")]
    Head(#[from] HeadError),
    #[error("{0}")]
    Chunk(#[from] ChunkError),
    #[error("{0}")]
    Line(#[from] LineTooLong),
    #[error("answered 200 with {} instead of text/event-stream", described(.0))]
    NotAStream(Media),
    #[error("sent more than its answer")]
    Surplus,
    #[error("has no session to name: none was captured so far")]
    NoSession,
    #[error("was closed by the server {0}")]
    Closed(Where),
    #[error("was reset by the server")]
    Reset,
    #[error("was reset by the server (RST_STREAM, {0})")]
    StreamReset(Code),
    #[error("{0}")]
    Http2(H2Error),
    #[error(
        "is one stream too many for its connection: the server allows {0}; ask for at most that with --h2, or `streams-per-connection` in the profile"
    )]
    StreamTooMany(u32),
    #[error("TLS with the server failed: {0}")]
    Tls(TlsTrouble),
    #[error("failed: {0}")]
    Socket(io::Error),
    #[error("had no {what} within {within:?}")]
    TimedOut {
        what: &'static str,
        within: Duration,
    },
}

/// How far an answer had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    BeforeTheHead,
    MidAnswer,
    BeforeThePlan,
    BetweenExchanges,
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeforeTheHead => "before it answered",
            Self::MidAnswer => "in the middle of the answer",
            Self::BeforeThePlan => "earlier than planned: the answer is complete",
            Self::BetweenExchanges => "although more requests were to follow",
        })
    }
}

fn refused_or(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused".into(),
        _ => format!("failed: {error}"),
    }
}

fn described(media: &Media) -> String {
    match media {
        Media::EventStream => "an event stream".into(),
        Media::Other(None) => "no content type".into(),
        Media::Other(Some(kind)) => format!("`{kind:.100}`"),
        Media::Encoded(coding) => {
            format!("content coding `{coding:.100}`, which nobody asked for,")
        }
    }
}

impl Trouble {
    /// What a failed read or write means.
    pub(super) fn of_socket(error: io::Error) -> Self {
        let error = match error.downcast() {
            Ok(trouble) => return Self::Tls(trouble),
            Err(error) => error,
        };
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            _ => Self::Socket(error),
        }
    }

    /// How it counts.
    pub(super) fn end(&self) -> End {
        match self {
            Self::Connect { .. } | Self::Tls(_) | Self::StreamTooMany(_) => End::ConnectFailed,
            Self::Http2(error) if error.is_another_language() => End::ConnectFailed,
            Self::Status { .. } => End::HttpStatus,
            Self::Head(_)
            | Self::Chunk(_)
            | Self::Line(_)
            | Self::Http2(_)
            | Self::NotAStream(_)
            | Self::Surplus
            | Self::NoSession => End::BadResponse,
            Self::Closed(_) => End::ServerClosed,
            Self::Reset | Self::StreamReset(_) => End::ServerReset,
            Self::Socket(error) if error.kind() == io::ErrorKind::TimedOut => End::TimedOut,
            Self::Socket(_) => End::ServerReset,
            Self::TimedOut { .. } => End::TimedOut,
        }
    }

    /// In words, for a request like `GET /events`.
    pub(super) fn worded(&self, label: &str) -> String {
        match self {
            Self::Connect { .. } | Self::Tls(_) => self.to_string(),
            Self::Http2(error) if error.is_another_language() => self.to_string(),
            Self::Head(_) | Self::Chunk(_) | Self::Line(_) | Self::Http2(_) => {
                format!("{label}: {self}")
            }
            _ => format!("{label} {self}"),
        }
    }
}

/// Something that went wrong, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// In words.
    pub what: String,
    /// How many connections met it.
    pub count: u64,
    /// The start of what the server said about it, the first time.
    pub quote: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if self.count > 1 {
            write!(f, " (x {})", self.count)?;
        }
        match &self.quote {
            Some(quote) => write!(f, ": {quote}"),
            None => Ok(()),
        }
    }
}

/// The first few distinct problems; the rest is counted.
#[derive(Debug, Default)]
pub(super) struct Problems {
    kept: Vec<Problem>,
    others: u64,
}

impl Problems {
    pub(super) fn note(&mut self, what: String, quote: &[u8]) {
        if let Some(known) = self.kept.iter_mut().find(|known| known.what == what) {
            known.count += 1;
        } else if self.kept.len() < MOST_PROBLEMS {
            let text = String::from_utf8_lossy(quote);
            self.kept.push(Problem {
                what,
                count: 1,
                quote: (!quote.is_empty()).then(|| text.trim().escape_debug().to_string()),
            });
        } else {
            self.others += 1;
        }
    }

    pub(super) fn list(&self) -> Vec<Problem> {
        let mut list = self.kept.clone();
        if self.others > 0 {
            list.push(Problem {
                what: "other problems".into(),
                count: self.others,
                quote: None,
            });
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_problems_are_counted_and_the_list_is_bounded() {
        let mut problems = Problems::default();
        for _ in 0..12 {
            let trouble = Trouble::Status {
                status: 404,
                expected: "200",
                quote: vec![],
            };
            problems.note(trouble.worded("GET /events"), b"{\"error\":\n1}");
        }
        for i in 0..100 {
            problems.note(format!("problem {i}"), b"");
        }
        let list = problems.list();
        assert_eq!(
            list[0].to_string(),
            "GET /events answered 404 instead of 200 (x 12): {\\\"error\\\":\\n1}"
        );
        assert_eq!(list.len(), MOST_PROBLEMS + 1);
        assert_eq!(list[MOST_PROBLEMS].to_string(), "other problems (x 69)");
    }

    #[test]
    fn a_refused_connect_says_where() {
        let trouble = Trouble::Connect {
            addr: ([127, 0, 0, 1], 8080).into(),
            source: io::ErrorKind::ConnectionRefused.into(),
        };
        assert_eq!(trouble.worded("GET /"), "connect to 127.0.0.1:8080 refused");
    }
}
