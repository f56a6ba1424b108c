//! What all connections of one driver share: the scripts, the limits, the counts, the pools.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::timeline::Tally;

use super::{
    BUFFER_SIZE, DriveConfig,
    capture::Pool,
    carriers::Carriers,
    latency::Latency,
    pacer::Opening,
    reconnect::Resume,
    request::{Fill, PreparedExchange, PreparedScript},
    timers::MOST_KEYS,
    tls::TlsClient,
    trouble::{Problems, Trouble},
};

/// What no connection may exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// From the start of the connect to the handshake.
    pub connect: Duration,
    /// From the request to the end of the answer's head.
    pub head: Duration,
    /// From the head to the first event of a stream.
    pub first_event: Duration,
    /// Without a byte, in an answer that the server has to end.
    pub silence: Duration,
    /// Bytes in the head of an answer.
    pub head_bytes: usize,
    /// Bytes in a line of an event stream. Lines are not held, so this may be generous.
    pub line_bytes: u32,
    /// Connections open at a time; an opening beyond is lost, and counted.
    pub most_open: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            head: Duration::from_secs(30),
            first_event: Duration::from_secs(30),
            silence: Duration::from_secs(300),
            head_bytes: 32 * 1024,
            line_bytes: 16 << 20,
            most_open: 19_000,
        }
    }
}

/// One owner: the load's thread. Connections get it as an argument.
#[derive(Debug)]
pub(super) struct World {
    pub(super) addr: SocketAddr,
    pub(super) scripts: Vec<PreparedScript>,
    pub(super) limits: Limits,
    pub(super) slow_bytes_per_second: u32,
    pub(super) tally: Arc<Tally>,
    pub(super) latency: Latency,
    pub(super) pools: Vec<Pool>,
    pub(super) problems: Problems,
    /// Standing streams up now.
    pub(super) standing: Arc<AtomicU64>,
    /// How TLS is spoken; `None`: plainly.
    pub(super) tls: Option<TlsClient>,
    /// Where what is encrypted comes first; empty without TLS.
    pub(super) scratch: Box<[u8]>,
    /// The request that was rendered last; over HTTP/2 its head, and then its body is in `body`.
    pub(super) request: Vec<u8>,
    pub(super) body: Vec<u8>,
    /// Who carries the streams of HTTP/2; `None`: every client has a connection of its own.
    pub(super) carriers: Option<Carriers>,
    scheme: &'static str,
    sources: Vec<IpAddr>,
    host: String,
    seed: u64,
}

impl World {
    pub(super) fn new(config: &DriveConfig, tally: Arc<Tally>) -> io::Result<Self> {
        let prepare = |script| PreparedScript::new(script, config.pools);
        let shared = config.transport.streams_per_connection;
        let tls = config.transport.tls.as_ref();
        let tls = tls.map(|tls| TlsClient::new(tls, shared.is_some()));
        let tls = tls.transpose()?;
        Ok(Self {
            addr: config.addr,
            scripts: config
                .scripts
                .iter()
                .map(prepare)
                .collect::<Result<_, _>>()?,
            limits: Limits {
                most_open: config.limits.most_open.min(MOST_KEYS),
                ..config.limits
            },
            slow_bytes_per_second: config.slow_bytes_per_second.max(1),
            tally,
            latency: Latency::default(),
            pools: (0..config.pools).map(|_| Pool::default()).collect(),
            problems: Problems::default(),
            standing: Arc::default(),
            scratch: vec![0; if tls.is_some() { BUFFER_SIZE } else { 0 }].into_boxed_slice(),
            tls,
            request: vec![],
            carriers: shared.map(|most| Carriers::new(most, config)),
            scheme: config.transport.scheme(),
            sources: config.sources.clone(),
            host: config.host.clone(),
            seed: config.seed,
            body: vec![],
        })
    }

    pub(super) fn exchange(&self, script: u16, exchange: u16) -> &PreparedExchange {
        &self.scripts[usize::from(script)].exchanges[usize::from(exchange)]
    }

    /// Whether no exchange comes after this one.
    pub(super) fn is_last(&self, script: u16, exchange: u16) -> bool {
        exchange == self.last(script)
    }

    /// The last exchange of a script. There are never more than fit, and never none.
    pub(super) fn last(&self, script: u16) -> u16 {
        let count = self.scripts[usize::from(script)].exchanges.len();
        u16::try_from(count - 1).unwrap_or(u16::MAX)
    }

    /// Notes what went wrong with a connection that asked for this.
    pub(super) fn note(&mut self, trouble: &Trouble, label: &str) {
        let quote = match trouble {
            Trouble::Status { quote, .. } => &**quote,
            _ => &[],
        };
        self.problems.note(trouble.worded(label), quote);
    }

    /// The address that this client connects from; `None`: the kernel's choice.
    pub(super) fn source(&self, number: u64) -> Option<IpAddr> {
        let count = self.sources.len() as u64;
        let index = number.checked_rem(count)?;
        self.sources.get(usize::try_from(index).ok()?).copied()
    }

    /// What a client keeps that is to come back.
    pub(super) fn resume(&self, opening: &Opening) -> Option<Box<Resume>> {
        let policy = opening.manners.reconnect?;
        Some(Box::new(Resume::new(opening, policy, self.seed)))
    }

    /// Renders a request into [`World::request`].
    pub(super) fn render(
        &mut self,
        script: u16,
        exchange: u16,
        number: u64,
        session: Option<&str>,
        last_event_id: Option<&[u8]>,
    ) {
        let fill = Fill {
            session,
            number,
            exchange,
            seed: self.seed,
            last_event_id,
        };
        let prepared = &self.scripts[usize::from(script)].exchanges[usize::from(exchange)];
        let (host, out, body) = (&*self.host, &mut self.request, &mut self.body);
        match self.carriers {
            None => prepared.render(host, &fill, out, body),
            Some(_) => prepared.render_h2(self.scheme, host, &fill, out, body),
        }
    }
}
