//! The head of an answer: status, framing of the body, and the few headers that matter.

use std::str;

use httparse::{EMPTY_HEADER, Status};

use super::Framing;
use crate::drive::h2::hpack::Field;

/// More header lines than this are refused.
const MOST_HEADERS: usize = 96;

/// Why the head of an answer cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// A record of TLS, where plain HTTP was spoken.
    #[error("the answer is TLS: the URL must begin with https://")]
    Tls,
    /// A frame of HTTP/2, to which nobody had agreed.
    #[error("the answer is HTTP/2: ask for it with --h2, or `h2` in the profile")]
    Http2,
    /// Not HTTP/1.
    #[error("the answer is not HTTP/1: {0}")]
    Syntax(httparse::Error),
    /// No end of the head within the limit.
    #[error("the head of the answer is longer than {limit} bytes")]
    TooLong {
        /// The most bytes a head may have.
        limit: usize,
    },
    /// `Content-Length` is no number, or there are two that differ.
    #[error("the content length of the answer is invalid")]
    ContentLength,
    /// A transfer coding other than `chunked`.
    #[error("the transfer coding of the answer is not `chunked`")]
    TransferCoding,
    /// A head of HTTP/2 without a `:status` of three digits.
    #[error("the answer has no valid :status")]
    Status,
    /// `101`: nobody asked for it.
    #[error("the answer switches protocols")]
    SwitchingProtocols,
}

impl HeadError {
    /// What it is that is not HTTP/1: both of the others give themselves away by their first byte.
    fn of(bytes: &[u8], error: httparse::Error) -> Self {
        const ALERT: u8 = 0x15;
        const HANDSHAKE: u8 = 0x16;
        const SHORT_FRAME: u8 = 0;
        match bytes.first() {
            Some(&(ALERT | HANDSHAKE)) => Self::Tls,
            Some(&SHORT_FRAME) => Self::Http2,
            _ => Self::Syntax(error),
        }
    }
}

/// What the head of a final answer says.
#[derive(Debug)]
pub struct Head {
    /// Three digits, not `1xx`.
    pub status: u16,
    /// How the end of the body is told.
    pub framing: Framing,
    /// Whether another request may follow on this connection.
    pub keeps_alive: bool,
    /// Whether the body is an event stream, not compressed.
    pub media: Media,
    /// The value of the header that was looked for.
    pub found: Option<Vec<u8>>,
}

/// What kind of body follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Media {
    /// `text/event-stream`.
    EventStream,
    /// Another type, or none.
    Other(Option<Box<str>>),
    /// Compressed in this way, although nobody asked for it.
    Encoded(Box<str>),
}

/// What became of the bytes read so far.
#[derive(Debug)]
pub enum Parsed {
    /// The head goes on.
    Partial,
    /// An interim answer (`1xx`) of so many bytes, to be skipped.
    Interim(usize),
    /// The head, and how many bytes it took.
    Final(usize, Head),
}

impl Head {
    /// Reads a head at the start of `bytes`. `look_for` names a header whose value is wanted.
    ///
    /// # Errors
    /// See [`HeadError`].
    pub fn parse(
        bytes: &[u8],
        asked_by: &str,
        look_for: Option<&str>,
    ) -> Result<Parsed, HeadError> {
        let mut headers = [EMPTY_HEADER; MOST_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let used = match response
            .parse(bytes)
            .map_err(|error| HeadError::of(bytes, error))?
        {
            Status::Partial => return Ok(Parsed::Partial),
            Status::Complete(used) => used,
        };
        let status = response.code.unwrap_or_default();
        match status {
            101 => return Err(HeadError::SwitchingProtocols),
            100..200 => return Ok(Parsed::Interim(used)),
            _ => {}
        }
        let headers = Headers(response.headers);
        let head = Self {
            status,
            framing: headers.framing(asked_by, status)?,
            keeps_alive: headers.keeps_alive(response.version),
            media: headers.media(),
            found: look_for.and_then(|name| headers.get(name)).map(Into::into),
        };
        Ok(Parsed::Final(used, head))
    }

    /// What a head of HTTP/2 says. The end of its body is told by the stream, and the connection is not its business.
    ///
    /// # Errors
    /// [`HeadError::Status`].
    pub fn of_fields(fields: &[Field], look_for: Option<&str>) -> Result<Self, HeadError> {
        let status = fields.iter().find(|field| field.name == ":status");
        let status = status.and_then(|field| match field.value[..] {
            [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
                Some([a, b, c].map(|digit| u16::from(digit - b'0')))
            }
            _ => None,
        });
        let [a, b, c] = status.ok_or(HeadError::Status)?;
        let headers: Vec<_> = fields
            .iter()
            .map(|Field { name, value }| httparse::Header { name, value })
            .collect();
        let headers = Headers(&headers);
        Ok(Self {
            status: 100 * a + 10 * b + c,
            framing: Framing::UntilClose,
            keeps_alive: true,
            media: headers.media(),
            found: look_for.and_then(|name| headers.get(name)).map(Into::into),
        })
    }
}

struct Headers<'a>(&'a [httparse::Header<'a>]);

impl<'a> Headers<'a> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let named = self
            .0
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value.trim_ascii())
    }

    fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// RFC 9112 §6.3: how the length of the body is told.
    fn framing(&self, asked_by: &str, status: u16) -> Result<Framing, HeadError> {
        if asked_by == "HEAD" || matches!(status, 204 | 304) {
            return Ok(Framing::Length(0));
        }
        let mut codings = self
            .all("transfer-encoding")
            .flat_map(|value| value.split(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii)
            .peekable();
        if codings.peek().is_some() {
            return if codings.all(|coding| coding.eq_ignore_ascii_case(b"chunked")) {
                Ok(Framing::Chunked(Default::default()))
            } else {
                Err(HeadError::TransferCoding)
            };
        }
        let mut lengths = self.all("content-length");
        let Some(first) = lengths.next() else {
            return Ok(Framing::UntilClose);
        };
        if lengths.any(|other| other != first) || !first.iter().all(u8::is_ascii_digit) {
            return Err(HeadError::ContentLength);
        }
        let length = str::from_utf8(first)
            .ok()
            .and_then(|text| text.parse().ok());
        length.map(Framing::Length).ok_or(HeadError::ContentLength)
    }

    fn keeps_alive(&self, version: Option<u8>) -> bool {
        let says = |token: &[u8]| {
            self.all("connection")
                .flat_map(|value| value.split(|&byte| byte == b','))
                .any(|value| value.trim_ascii().eq_ignore_ascii_case(token))
        };
        !says(b"close") && (version == Some(1) || says(b"keep-alive"))
    }

    fn media(&self) -> Media {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned().into_boxed_str();
        if let Some(coding) = self.get("content-encoding")
            && !coding.eq_ignore_ascii_case(b"identity")
        {
            return Media::Encoded(text(coding));
        }
        let Some(kind) = self.get("content-type") else {
            return Media::Other(None);
        };
        let essence = kind.split(|&byte| byte == b';').next().unwrap_or_default();
        if essence
            .trim_ascii()
            .eq_ignore_ascii_case(b"text/event-stream")
        {
            Media::EventStream
        } else {
            Media::Other(Some(text(kind)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Head, HeadError> {
        match Head::parse(text.as_bytes(), "GET", Some("x-session"))? {
            Parsed::Final(used, head) => {
                assert_eq!(used, text.len());
                Ok(head)
            }
            other => panic!("{text:?} gave {other:?}"),
        }
    }

    #[test]
    fn the_framing_follows_the_headers() {
        for (headers, framing) in [
            ("Transfer-Encoding: chunked\r\n", "Chunked"),
            (
                "transfer-encoding: Chunked\r\nContent-Length: 5\r\n",
                "Chunked",
            ),
            ("Content-Length: 5\r\n", "Length(5)"),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", "Length(5)"),
            ("", "UntilClose"),
        ] {
            let head = head(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n")).unwrap();
            let found = format!("{:?}", head.framing);
            assert!(found.starts_with(framing), "{headers:?} gave {found}");
        }
        let no_body = head("HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        assert!(matches!(no_body.framing, Framing::Length(0)));
    }

    #[test]
    fn a_head_that_cannot_be_trusted_is_refused() {
        for (text, error) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
                HeadError::ContentLength,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
                HeadError::ContentLength,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
                HeadError::ContentLength,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                HeadError::TransferCoding,
            ),
            (
                "HTTP/1.1 101 Switching Protocols\r\n\r\n",
                HeadError::SwitchingProtocols,
            ),
            (
                "SSH-2.0-OpenSSH_9\r\n\r\n",
                HeadError::Syntax(httparse::Error::Version),
            ),
        ] {
            assert_eq!(head(text).unwrap_err(), error, "{text:?}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(200));
        assert_eq!(
            head(&many).unwrap_err(),
            HeadError::Syntax(httparse::Error::TooManyHeaders)
        );
    }

    #[test]
    fn type_coding_and_connection_are_read() {
        let answer = head("HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\nX-Session:  s1 \r\n\r\n").unwrap();
        assert_eq!(answer.media, Media::EventStream);
        assert_eq!(answer.found.as_deref(), Some(&b"s1"[..]));
        assert!(answer.keeps_alive);
        let gzip = head("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\nConnection: a, Close\r\n\r\n").unwrap();
        assert_eq!(gzip.media, Media::Encoded("gzip".into()));
        assert!(!gzip.keeps_alive);
        assert!(!head("HTTP/1.0 200 OK\r\n\r\n").unwrap().keeps_alive);
        assert!(matches!(
            Head::parse(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1", "GET", None),
            Ok(Parsed::Interim(28))
        ));
        assert!(matches!(
            Head::parse(b"HTTP/1.1 200 O", "GET", None),
            Ok(Parsed::Partial)
        ));
    }
}
