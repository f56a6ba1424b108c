//! Requests: a script made ready to be rendered, and its bytes. The same plan and seed give the same bytes.

use std::{
    io::{self, Write},
    time::Duration,
};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use crate::plan::{CaptureFrom, Expect, Script, SessionUse, Unit};

use super::{capture::PreparedCapture, h2::hpack};

/// A [`Script`] with its templates cut and its patterns compiled.
#[derive(Debug)]
pub(super) struct PreparedScript {
    pub(super) exchanges: Vec<PreparedExchange>,
}

/// One request, ready to render, and what its answer must be.
#[derive(Debug)]
pub(super) struct PreparedExchange {
    /// `GET /events`, as written in the plan: for problems.
    pub(super) label: String,
    pub(super) method: String,
    target: Template,
    headers: Vec<(String, Template)>,
    body: Template,
    pub(super) expect: Expect,
    pub(super) counts: Unit,
    pub(super) think: Duration,
    pub(super) session: PreparedUse,
}

/// A [`SessionUse`] with its pattern compiled.
#[derive(Debug)]
pub(super) enum PreparedUse {
    None,
    Creates {
        capture: PreparedCapture,
        pool: Option<usize>,
    },
    Uses {
        pool: Option<usize>,
    },
    Deletes,
}

/// What the placeholders stand for in one request.
pub(super) struct Fill<'a> {
    pub(super) session: Option<&'a str>,
    pub(super) number: u64,
    pub(super) exchange: u16,
    pub(super) seed: u64,
    /// Of the last event of the stream that is asked for again.
    pub(super) last_event_id: Option<&'a [u8]>,
}

impl PreparedScript {
    /// Checks everything that can be wrong with a script before anything is sent.
    pub(super) fn new(script: &Script, pools: usize) -> io::Result<Self> {
        let complain = |what: String| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("script `{}`: {what}", script.name),
            )
        };
        if script.exchanges.is_empty() || script.exchanges.len() > usize::from(u16::MAX) {
            return Err(complain("has no exchanges".into()));
        }
        let exchanges = script.exchanges.iter().map(|exchange| {
            let request = &exchange.request;
            let method_is_token = !request.method.is_empty()
                && request.method.bytes().all(|b| b.is_ascii_uppercase());
            if !method_is_token {
                return Err(complain(format!("`{}` is no method", request.method)));
            }
            if !request.target.starts_with(['/', '{']) || has_control(&request.target) {
                return Err(complain(format!("`{}` is no path", request.target)));
            }
            let bad = |(name, value): &&(String, String)| {
                name.is_empty()
                    || has_control(name)
                    || name.contains([':', ' '])
                    || has_control(value)
            };
            if let Some((name, _)) = request.headers.iter().find(bad) {
                return Err(complain(format!(
                    "header `{}` is invalid",
                    name.escape_debug()
                )));
            }
            let session = PreparedUse::new(&exchange.session).map_err(&complain)?;
            if session.pool().is_some_and(|pool| pool >= pools) {
                return Err(complain("names a pool that does not exist".into()));
            }
            let template = |(name, value): &(String, String)| (name.clone(), Template::new(value));
            Ok(PreparedExchange {
                label: format!("{} {}", request.method, request.target),
                method: request.method.clone(),
                target: Template::new(&request.target),
                headers: request.headers.iter().map(template).collect(),
                body: Template::new(&request.body),
                expect: exchange.expect,
                counts: exchange.counts,
                think: exchange.think,
                session,
            })
        });
        Ok(Self {
            exchanges: exchanges.collect::<io::Result<_>>()?,
        })
    }
}

fn has_control(text: &str) -> bool {
    text.bytes().any(|byte| byte < b' ' || byte == 0x7F)
}

impl PreparedUse {
    fn new(session: &SessionUse) -> Result<Self, String> {
        Ok(match session {
            SessionUse::None => Self::None,
            SessionUse::Creates { capture, pool } => Self::Creates {
                capture: PreparedCapture::new(capture)?,
                pool: *pool,
            },
            SessionUse::Uses { pool } => Self::Uses { pool: *pool },
            SessionUse::Deletes => Self::Deletes,
        })
    }

    fn pool(&self) -> Option<usize> {
        match self {
            Self::Creates { pool, .. } | Self::Uses { pool } => *pool,
            Self::None | Self::Deletes => None,
        }
    }
}

impl PreparedExchange {
    /// The header of the answer that holds the session, if one does.
    pub(super) fn captured_header(&self) -> Option<&str> {
        match &self.session {
            PreparedUse::Creates { capture, .. } => match &capture.from {
                CaptureFrom::Header(name) => Some(name),
                CaptureFrom::Event(_) | CaptureFrom::Body => None,
            },
            _ => None,
        }
    }

    /// Whether any part of the request names the session.
    pub(super) fn needs_session(&self) -> bool {
        let mut parts = self.headers.iter().map(|(_, value)| value);
        self.target.needs_session()
            || self.body.needs_session()
            || parts.any(Template::needs_session)
    }

    /// Writes the request to `out`; `body` is scratch.
    pub(super) fn render(
        &self,
        host: &str,
        fill: &Fill<'_>,
        out: &mut Vec<u8>,
        body: &mut Vec<u8>,
    ) {
        let mut uuids = Uuids::new(fill);
        body.clear();
        out.clear();
        out.extend_from_slice(self.method.as_bytes());
        out.push(b' ');
        let target = out.len();
        self.target.render(fill, &mut uuids, out);
        replace_unsendable(out, target);
        out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        out.extend_from_slice(host.as_bytes());
        out.extend_from_slice(b"\r\n");
        for (name, value) in &self.headers {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            value.render(fill, &mut uuids, out);
            out.extend_from_slice(b"\r\n");
        }
        if let Some(id) = fill.last_event_id {
            out.extend_from_slice(b"Last-Event-ID: ");
            out.extend_from_slice(id);
            out.extend_from_slice(b"\r\n");
        }
        self.body.render(fill, &mut uuids, body);
        if self.has_body(body) {
            write!(out, "Content-Length: {}\r\n", body.len()).expect("a Vec takes every write");
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body);
    }

    /// Writes the compressed head of the same request for HTTP/2 to `out`, and its body to `body`.
    pub(super) fn render_h2(
        &self,
        scheme: &str,
        host: &str,
        fill: &Fill<'_>,
        out: &mut Vec<u8>,
        body: &mut Vec<u8>,
    ) {
        let mut uuids = Uuids::new(fill);
        let mut value = vec![];
        body.clear();
        out.clear();
        hpack::begin(out);
        hpack::write(":method", self.method.as_bytes(), out);
        hpack::write(":scheme", scheme.as_bytes(), out);
        hpack::write(":authority", host.as_bytes(), out);
        self.target.render(fill, &mut uuids, &mut value);
        replace_unsendable(&mut value, 0);
        hpack::write(":path", &value, out);
        for (name, template) in &self.headers {
            value.clear();
            template.render(fill, &mut uuids, &mut value);
            let name = name.to_ascii_lowercase();
            if !HTTP1_ONLY.contains(&&*name) {
                hpack::write(&name, value.trim_ascii(), out);
            }
        }
        if let Some(id) = fill.last_event_id {
            hpack::write("last-event-id", id, out);
        }
        self.body.render(fill, &mut uuids, body);
        if self.has_body(body) {
            hpack::write("content-length", body.len().to_string().as_bytes(), out);
        }
    }

    /// Whether the length of the body must be told, even if there is none.
    fn has_body(&self, body: &[u8]) -> bool {
        !body.is_empty() || matches!(&*self.method, "POST" | "PUT" | "PATCH")
    }
}

/// Headers that speak of one connection of HTTP/1.1: HTTP/2 has no place for them (RFC 9113 §8.2.2), and names the host otherwise.
const HTTP1_ONLY: [&str; 6] = [
    "connection",
    "host",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

/// A session that holds a blank or a byte beyond ASCII must not end the request line: such bytes are percent-encoded.
fn replace_unsendable(out: &mut Vec<u8>, from: usize) {
    let sendable = |byte: &u8| (0x21..0x7F).contains(byte);
    if out[from..].iter().all(sendable) {
        return;
    }
    for byte in out.split_off(from) {
        if sendable(&byte) {
            out.push(byte);
        } else {
            write!(out, "%{byte:02X}").expect("a Vec takes every write");
        }
    }
}

/// A text with placeholders, cut at them.
#[derive(Debug)]
struct Template(Vec<Slot>);

#[derive(Debug, PartialEq, Eq)]
enum Slot {
    Text(String),
    Session,
    Number,
    Uuid,
}

impl Slot {
    /// The placeholder that `text` starts with, and what comes after it.
    fn at_start_of(text: &str) -> Option<(Self, &str)> {
        let placeholders = [
            ("{session}", Self::Session),
            ("{n}", Self::Number),
            ("{uuid}", Self::Uuid),
        ];
        placeholders
            .into_iter()
            .find_map(|(name, slot)| text.strip_prefix(name).map(|after| (slot, after)))
    }
}

impl Template {
    fn new(text: &str) -> Self {
        let mut slots = vec![];
        let mut plain = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some((slot, after)) = Slot::at_start_of(rest) {
                if !plain.is_empty() {
                    slots.push(Slot::Text(std::mem::take(&mut plain)));
                }
                slots.push(slot);
                rest = after;
            } else {
                plain.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
        if !plain.is_empty() {
            slots.push(Slot::Text(plain));
        }
        Self(slots)
    }

    fn needs_session(&self) -> bool {
        self.0.contains(&Slot::Session)
    }

    fn render(&self, fill: &Fill<'_>, uuids: &mut Uuids, out: &mut Vec<u8>) {
        for slot in &self.0 {
            match slot {
                Slot::Text(text) => out.extend_from_slice(text.as_bytes()),
                Slot::Session => out.extend_from_slice(fill.session.unwrap_or_default().as_bytes()),
                Slot::Number => write!(out, "{}", fill.number).expect("a Vec takes every write"),
                Slot::Uuid => uuids.write(out),
            }
        }
    }
}

/// Random UUIDs of one request: a stream of the generator of its own, whatever was sent before it. Made only when asked for.
struct Uuids {
    seed: u64,
    stream: u64,
    generator: Option<ChaCha8Rng>,
}

impl Uuids {
    fn new(fill: &Fill<'_>) -> Self {
        Self {
            seed: fill.seed,
            stream: fill.number << 16 | u64::from(fill.exchange),
            generator: None,
        }
    }

    /// A version 4 UUID (RFC 9562 §5.4).
    fn write(&mut self, out: &mut Vec<u8>) {
        let generator = self.generator.get_or_insert_with(|| {
            let mut generator = ChaCha8Rng::seed_from_u64(self.seed);
            generator.set_stream(self.stream);
            generator
        });
        let high = generator.next_u64() & !0xF000 | 0x4000;
        let low = generator.next_u64() & !(0b11 << 62) | 0b10 << 62;
        write!(
            out,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xFFFF,
            high & 0xFFFF,
            low >> 48,
            low & 0xFFFF_FFFF_FFFF
        )
        .expect("a Vec takes every write");
    }
}

#[cfg(test)]
pub(super) mod tests {
    use crate::plan::{Exchange, Request};

    use super::*;

    /// A script of these exchanges.
    pub(crate) fn script(exchanges: Vec<Exchange>) -> Script {
        Script {
            name: "test".into(),
            exchanges,
        }
    }

    /// `GET target`, expecting a stream.
    pub(crate) fn get(target: &str) -> Exchange {
        Exchange {
            think: std::time::Duration::ZERO,
            request: Request {
                method: "GET".into(),
                target: target.into(),
                headers: vec![],
                body: String::new(),
            },
            expect: Expect::Stream,
            session: SessionUse::None,
            counts: Unit::Nothing,
        }
    }

    fn rendered(exchange: Exchange, session: Option<&str>, number: u64) -> String {
        let script = PreparedScript::new(&script(vec![exchange]), 0).unwrap();
        let fill = Fill {
            session,
            number,
            exchange: 0,
            seed: 42,
            last_event_id: None,
        };
        let (mut out, mut body) = (vec![], vec![]);
        script.exchanges[0].render("host:1", &fill, &mut out, &mut body);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn placeholders_are_filled_and_the_length_is_that_of_the_filled_body() {
        let mut exchange = get("/events?session={session}&n={n}");
        exchange.request.method = "POST".into();
        exchange.request.headers = vec![("X-N".into(), "{n}{n}".into())];
        exchange.request.body = "{\"a\":\"{session}\"}".into();
        assert_eq!(
            rendered(exchange, Some("s 1"), 7),
            "POST /events?session=s%201&n=7 HTTP/1.1\r\nHost: host:1\r\nX-N: 77\r\nContent-Length: 11\r\n\r\n{\"a\":\"s 1\"}"
        );
        assert_eq!(
            rendered(get("/"), None, 0),
            "GET / HTTP/1.1\r\nHost: host:1\r\n\r\n"
        );
    }

    #[test]
    fn over_http_2_the_same_request_is_fields_without_those_of_a_connection() {
        let mut exchange = get("/events?session={session}");
        exchange.request.method = "POST".into();
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        exchange.request.headers = vec![header("X-N", "{n}"), header("Connection", "close")];
        exchange.request.body = "hi".into();
        let script = PreparedScript::new(&script(vec![exchange]), 0).unwrap();
        let fill = Fill {
            session: Some("s 1"),
            number: 7,
            exchange: 0,
            seed: 42,
            last_event_id: Some(b"9"),
        };
        let (mut out, mut body) = (vec![], vec![]);
        script.exchanges[0].render_h2("https", "host:1", &fill, &mut out, &mut body);
        let fields = hpack::decode(&out, 1000).unwrap();
        let fields = fields
            .iter()
            .map(|field| format!("{}={}", field.name, String::from_utf8_lossy(&field.value)));
        assert_eq!(
            fields.collect::<Vec<_>>().join(" "),
            ":method=POST :scheme=https :authority=host:1 :path=/events?session=s%201 x-n=7 last-event-id=9 content-length=2"
        );
        assert_eq!(body, b"hi");
    }

    #[test]
    fn the_same_seed_and_number_give_the_same_uuids_and_no_two_are_equal() {
        let once = rendered(get("/{uuid}/{uuid}"), None, 3);
        assert_eq!(once, rendered(get("/{uuid}/{uuid}"), None, 3));
        assert_ne!(once, rendered(get("/{uuid}/{uuid}"), None, 4));
        let path = once.split(' ').nth(1).unwrap();
        let mut uuids = path[1..].split('/');
        let (first, second) = (uuids.next().unwrap(), uuids.next().unwrap());
        assert_ne!(first, second);
        for uuid in [first, second] {
            assert_eq!(uuid.len(), 36);
            assert_eq!(&uuid[14..15], "4");
            assert!("89ab".contains(&uuid[19..20]), "{uuid}");
        }
    }

    #[test]
    fn a_script_that_cannot_be_sent_is_refused_before_the_load_begins() {
        let break_out = |change: fn(&mut Exchange)| {
            let mut exchange = get("/");
            change(&mut exchange);
            PreparedScript::new(&script(vec![exchange]), 1)
        };
        assert!(PreparedScript::new(&script(vec![]), 0).is_err());
        assert!(break_out(|e| e.request.method = "G T".into()).is_err());
        assert!(break_out(|e| e.request.target = "/a\r\nX: y".into()).is_err());
        assert!(break_out(|e| e.request.headers = vec![("a\n".into(), "b".into())]).is_err());
        assert!(break_out(|e| e.session = SessionUse::Uses { pool: Some(1) }).is_err());
        assert!(break_out(|e| e.session = SessionUse::Uses { pool: Some(0) }).is_ok());
    }
}
