//! HTTP/2 as a server sees it: what arrives on a stream, and what its kernel sees of the connection, for every way of leaving; and
//! what becomes of servers that do not keep to the protocol. The test is the server, frame by frame.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fmt,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    num::NonZeroU16,
    sync::Arc,
    thread,
    time::Duration,
};

use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
};
use sse_soak::{
    drive::{DriveConfig, Driver, Limits, Tls, Transport, Trust, can_vanish},
    plan::{
        Batch, Exchange, Expect, Leave, Manners, Request, Script, Segment, SessionUse, Stay, Unit,
    },
    timeline::{Clock, Counts, Elapsed, End, PortBook, Tally},
};

const PATIENCE: Duration = Duration::from_secs(20);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EVENT: &[u8] = b"data: x\n\n";
const LONG: Stay = Stay::For(Duration::from_secs(3600));
const NOW: Stay = Stay::For(Duration::ZERO);
const END: u8 = 1;
const WHOLE: u8 = 4;

/// The codes of RFC 9113 that we are to meet.
const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const INTERNAL_ERROR: u32 = 2;
const FLOW_CONTROL_ERROR: u32 = 3;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// A driver with so many streams on every connection, and the server that it talks to.
struct Stage {
    listener: TcpListener,
    driver: Driver,
    clock: Clock,
    tally: Arc<Tally>,
    ports: Arc<PortBook>,
}

/// The server's end of one TCP connection.
struct Peer<S = TcpStream> {
    io: S,
    /// `SETTINGS_INITIAL_WINDOW_SIZE` of the client.
    window: u32,
}

/// What arrives from the client, without its answers to our settings.
#[derive(Debug, PartialEq, Eq)]
enum Arrived {
    /// A request; whether it ends with its head.
    Request(u32, bool),
    Data(u32, Vec<u8>, bool),
    Reset(u32, u32),
    Window(u32, u32),
    Pong(Vec<u8>),
    GoAway(u32),
    Fin,
    Rst,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `:status: 200` and `content-type: text/event-stream`, not coded.
fn ok(stream: u32) -> Vec<u8> {
    frame(1, WHOLE, stream, b"\x88\x0f\x10\x11text/event-stream")
}

fn data(stream: u32, data: &[u8]) -> Vec<u8> {
    frame(0, 0, stream, data)
}

fn answer(stream: u32) -> Vec<u8> {
    [ok(stream), data(stream, EVENT)].concat()
}

fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let pairs = pairs
        .iter()
        .map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat());
    frame(4, 0, 0, &pairs.collect::<Vec<_>>().concat())
}

impl Stage {
    fn new(streams: u16) -> Self {
        Self::with(streams, get("/events"), |_| {})
    }

    fn with(streams: u16, exchange: Exchange, change: impl FnOnce(&mut DriveConfig)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = DriveConfig {
            addr: listener.local_addr().unwrap(),
            host: "test".into(),
            scripts: vec![Script {
                name: "test".into(),
                exchanges: vec![exchange],
            }],
            pools: 0,
            seed: 1,
            limits: Limits::default(),
            stall_receive_buffer: Some(4096),
            slow_bytes_per_second: 400,
            transport: Transport {
                tls: None,
                streams_per_connection: NonZeroU16::new(streams),
            },
            segment: Segment::WHOLE,
            sources: vec![],
        };
        change(&mut config);
        let clock = Clock::start();
        let (tally, ports) = (Arc::new(Tally::default()), Arc::new(PortBook::default()));
        let driver = Driver::start(config, clock, Arc::clone(&tally), Arc::clone(&ports)).unwrap();
        Self {
            listener,
            driver,
            clock,
            tally,
            ports,
        }
    }

    fn play(&self, leave: Leave, count: u32, stay: Stay) {
        let batch = Batch {
            script: 0,
            leave,
            count,
            after: Duration::ZERO,
            over: Duration::ZERO,
            stay,
            manners: Manners::default(),
        };
        self.driver.play(self.clock.now(), vec![batch]);
    }

    fn socket(&self) -> TcpStream {
        self.listener.set_nonblocking(true).unwrap();
        let mut accepted = None;
        self.until("a connection", || {
            accepted = self.listener.accept().ok();
            accepted.is_some()
        });
        let (stream, _) = accepted.unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn accept(&self) -> Peer {
        self.accept_with(&[])
    }

    fn accept_with(&self, pairs: &[(u16, u32)]) -> Peer {
        Peer::meet(self.socket(), pairs)
    }

    /// Accepts so many requests on one connection, and answers each with an event.
    fn serve(&self, streams: u32) -> Peer {
        let mut peer = self.accept();
        for stream in (1..).step_by(2).take(streams as usize) {
            assert_eq!(peer.sees(), Arrived::Request(stream, true));
        }
        for stream in (1..).step_by(2).take(streams as usize) {
            peer.send(&answer(stream));
        }
        peer
    }

    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = self.clock.now() + PATIENCE;
        while !holds() {
            let late = self.clock.now() >= deadline;
            assert!(!late, "waited in vain for {what}: {self}");
            thread::park_timeout(Duration::from_millis(1));
        }
    }

    fn counts(&self) -> Counts {
        self.tally.counts()
    }

    /// Waits until so many streams have ended for this reason and none for another, and every connection is gone.
    fn all_end(&self, end: End, count: u64) {
        self.until(end.name(), || {
            self.counts().ended.iter().sum::<u64>() >= count && self.counts().carriers() == 0
        });
        assert_eq!(self.counts().ended[end as usize], count, "{self}");
        assert_eq!(self.counts().live(), 0);
        assert_eq!(self.driver.died(), None);
    }

    fn problem(&self) -> String {
        self.driver.problems().first().unwrap().to_string()
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.counts(), self.driver.problems())
    }
}

impl<S: Read + Write> Peer<S> {
    /// Hears the preface and the settings, and sends ours.
    fn meet(mut io: S, pairs: &[(u16, u32)]) -> Self {
        let mut preface = [0; PREFACE.len()];
        io.read_exact(&mut preface).unwrap();
        assert_eq!(&preface, PREFACE);
        let mut peer = Self { io, window: 65_535 };
        let (kind, _, _, payload) = peer.frame().unwrap();
        assert_eq!(kind, 4);
        for pair in payload.chunks(6) {
            let value = u32::from_be_bytes(pair[2..].try_into().unwrap());
            match pair[1] {
                1 | 2 => assert_eq!(value, 0, "no header table, and no pushes"),
                4 => peer.window = value,
                _ => {}
            }
        }
        assert!(matches!(peer.sees(), Arrived::Window(0, _)));
        peer.send(&settings(pairs));
        peer
    }

    fn send(&mut self, frames: &[u8]) {
        self.io.write_all(frames).unwrap();
        self.io.flush().unwrap();
    }

    fn frame(&mut self) -> io::Result<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.io.read_exact(&mut head)?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.io.read_exact(&mut payload)?;
        Ok((kind, flags, u32::from_be_bytes(stream), payload))
    }

    /// What comes next, however long it takes.
    fn sees(&mut self) -> Arrived {
        loop {
            let (kind, flags, stream, payload) = match self.frame() {
                Ok(frame) => frame,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Arrived::Fin,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Arrived::Rst;
                }
                Err(error) => panic!("{error}"),
            };
            let word = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
            return match kind {
                0 => Arrived::Data(stream, payload, flags & END != 0),
                1 => {
                    assert!(flags & WHOLE != 0);
                    let path = payload.windows(7).any(|part| part == b"/events");
                    assert!(path, "{payload:?}");
                    Arrived::Request(stream, flags & END != 0)
                }
                3 => Arrived::Reset(stream, word(0)),
                4 => continue,
                6 => Arrived::Pong(payload),
                7 => Arrived::GoAway(word(4)),
                8 => Arrived::Window(stream, word(0)),
                other => panic!("a frame of kind {other}"),
            };
        }
    }
}

impl Peer {
    /// Whether nothing came, not even an end.
    fn hears_nothing(&mut self) -> bool {
        self.io.set_nonblocking(true).unwrap();
        let seen = self.io.peek(&mut [0]);
        self.io.set_nonblocking(false).unwrap();
        seen.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

fn get(target: &str) -> Exchange {
    Exchange {
        think: Duration::ZERO,
        request: Request {
            method: "GET".into(),
            target: target.into(),
            headers: vec![("Accept".into(), "text/event-stream".into())],
            body: String::new(),
        },
        expect: Expect::Stream,
        session: SessionUse::None,
        counts: Unit::Nothing,
    }
}

#[test]
fn fin_and_orphan_cancel_their_streams_and_the_last_one_takes_the_connection_with_a_fin() {
    for leave in [Leave::Fin, Leave::Orphan] {
        let stage = Stage::new(2);
        stage.play(leave, 2, NOW);
        let mut peer = stage.accept();
        assert_eq!(peer.sees(), Arrived::Request(1, true));
        assert_eq!(peer.sees(), Arrived::Request(3, true));
        peer.send(&answer(3));
        assert_eq!(peer.sees(), Arrived::Reset(3, CANCEL));
        stage.until("one to leave", || stage.counts().live() == 1);
        assert!(peer.hears_nothing(), "the other one stays");
        peer.send(&answer(1));
        assert_eq!(peer.sees(), Arrived::Reset(1, CANCEL));
        assert_eq!(peer.sees(), Arrived::GoAway(NO_ERROR));
        assert_eq!(peer.sees(), Arrived::Fin);
        stage.all_end(End::AsPlanned, 2);
        let counts = stage.counts();
        assert_eq!((counts.closed[leave.index()], counts.events), (2, 2));
        assert_eq!(counts.sockets_closed()[leave.index()], 1);
        let port = peer.io.peer_addr().unwrap().port();
        assert_eq!(stage.ports.leave(port), Some(leave));
    }
}

#[test]
fn rst_breaks_its_stream_and_the_last_one_breaks_the_connection() {
    let stage = Stage::new(2);
    stage.play(Leave::Rst, 2, NOW);
    let mut peer = stage.accept();
    peer.sees();
    peer.sees();
    peer.send(&answer(1));
    assert_eq!(peer.sees(), Arrived::Reset(1, INTERNAL_ERROR));
    peer.send(&answer(3));
    assert_eq!(peer.sees(), Arrived::Rst);
    stage.all_end(End::AsPlanned, 2);
}

#[test]
fn one_stream_on_every_connection_leaves_by_rst_as_over_http_1() {
    let stage = Stage::new(1);
    stage.play(Leave::Rst, 2, NOW);
    for _ in 0..2 {
        let mut peer = stage.serve(1);
        assert_eq!(peer.sees(), Arrived::Rst);
    }
    stage.all_end(End::AsPlanned, 2);
    assert_eq!(stage.counts().carriers_opened, 2);
}

#[test]
fn complete_leaves_when_the_server_ends_the_stream() {
    let stage = Stage::new(2);
    stage.play(Leave::Complete, 2, Stay::ToTheEnd);
    let mut peer = stage.serve(2);
    stage.until("both events", || stage.counts().events == 2);
    assert!(peer.hears_nothing());
    peer.send(&frame(0, END, 1, EVENT));
    peer.send(&frame(1, WHOLE | END, 3, b"\x00\x01x\x01y"));
    assert_eq!(peer.sees(), Arrived::GoAway(NO_ERROR));
    assert_eq!(peer.sees(), Arrived::Fin);
    stage.all_end(End::AsPlanned, 2);
    assert_eq!(stage.counts().events, 3);
}

#[test]
fn early_cancels_before_the_head_or_before_the_first_event_by_turns() {
    let stage = Stage::new(2);
    stage.play(Leave::Early, 2, NOW);
    let mut peer = stage.accept();
    assert_eq!(peer.sees(), Arrived::Request(1, true));
    let mut seen = [peer.sees(), peer.sees()];
    seen.sort_by_key(|arrived| matches!(arrived, Arrived::Reset(..)));
    assert_eq!(seen, [Arrived::Request(3, true), Arrived::Reset(3, CANCEL)]);
    assert!(peer.hears_nothing());
    peer.send(&ok(1));
    assert_eq!(peer.sees(), Arrived::Reset(1, CANCEL));
    assert_eq!(peer.sees(), Arrived::GoAway(NO_ERROR));
    assert_eq!(peer.sees(), Arrived::Fin);
    stage.all_end(End::AsPlanned, 2);
    assert_eq!(stage.counts().events, 0);
}

#[test]
fn stall_closes_the_window_of_its_stream_and_of_no_other() {
    let stage = Stage::new(2);
    stage.play(Leave::Stall, 2, LONG);
    let mut peer = stage.accept();
    assert_eq!(peer.window, 4096, "as small as the receive buffer would be");
    peer.sees();
    peer.sees();
    for stream in [1, 3] {
        peer.send(&ok(stream));
        peer.send(&data(stream, &[b'x'; 4096]));
    }
    // The server may say no more, and the connection goes on all the same.
    peer.send(&frame(6, 0, 0, b"anybody?"));
    assert_eq!(peer.sees(), Arrived::Pong(b"anybody?".into()));
    assert!(peer.hears_nothing(), "no window is given back");
    assert_eq!((stage.counts().bytes, stage.counts().events), (0, 0));
    stage.driver.recall();
    let mut seen = [peer.sees(), peer.sees()];
    seen.sort_by_key(|arrived| !matches!(arrived, Arrived::Reset(1, _)));
    assert_eq!(seen, [Arrived::Reset(1, CANCEL), Arrived::Reset(3, CANCEL)]);
    assert_eq!(peer.sees(), Arrived::GoAway(NO_ERROR));
    assert_eq!(peer.sees(), Arrived::Fin);
    stage.all_end(End::AsPlanned, 2);
}

#[test]
fn slow_opens_its_window_at_its_rate() {
    let stage = Stage::new(1);
    stage.play(Leave::Slow, 1, LONG);
    let mut peer = stage.accept();
    assert_eq!(peer.window, 100, "what is read in a fourth of a second");
    peer.sees();
    peer.send(&ok(1));
    let began = stage.clock.now();
    let mut sent = 0;
    while sent < 400 {
        let event = format!("data: {}\n\n", "x".repeat(92));
        peer.send(&data(1, event.as_bytes()));
        sent += 100;
        assert_eq!(peer.sees(), Arrived::Window(1, 100));
    }
    let took = stage.clock.now().since(began);
    assert!(
        took >= Duration::from_millis(800),
        "400 B at 400 B/s in {took:?}"
    );
    assert_eq!(stage.counts().events, 4);
    stage.driver.recall();
    assert_eq!(peer.sees(), Arrived::Reset(1, CANCEL));
    assert_eq!(peer.sees(), Arrived::GoAway(NO_ERROR));
    assert_eq!(peer.sees(), Arrived::Fin);
    stage.all_end(End::AsPlanned, 1);
}

#[test]
fn whoever_reads_gives_the_window_back() {
    let stage = Stage::new(1);
    stage.play(Leave::Fin, 1, LONG);
    let mut peer = stage.serve(1);
    for _ in 0..3 {
        peer.send(&data(1, &[b'x'; 16_384]));
    }
    let Arrived::Window(1, by) = peer.sees() else {
        panic!("no window")
    };
    assert!(by >= 32_767, "{by}");
}

#[test]
fn half_close_ends_its_half_of_the_stream_at_the_first_event_and_reads_on() {
    let stage = Stage::new(1);
    stage.play(Leave::HalfClose, 1, LONG);
    let mut peer = stage.accept();
    assert_eq!(peer.sees(), Arrived::Request(1, false));
    peer.send(&ok(1));
    assert!(peer.hears_nothing());
    peer.send(&data(1, EVENT));
    assert_eq!(peer.sees(), Arrived::Data(1, vec![], true));
    peer.send(&data(1, EVENT));
    stage.until("another event", || stage.counts().events == 2);
    // The server takes it for a goodbye: as planned.
    peer.send(&frame(0, END, 1, b""));
    assert_eq!(peer.sees(), Arrived::GoAway(NO_ERROR));
    assert_eq!(peer.sees(), Arrived::Fin);
    stage.all_end(End::AsPlanned, 1);
}

#[test]
fn vanish_leaves_the_stream_as_it_is_and_the_last_one_silences_the_connection() {
    if let Err(error) = can_vanish() {
        return println!("skipped: nobody can vanish here: {error}");
    }
    let stage = Stage::new(2);
    stage.play(Leave::Vanish, 2, NOW);
    let mut peer = stage.accept();
    peer.sees();
    peer.sees();
    peer.send(&answer(1));
    stage.until("the first to vanish", || stage.counts().live() == 1);
    // Its stream is still there, and so is the connection: the other one needs it.
    peer.send(&[data(1, EVENT), frame(6, 0, 0, b"anybody?")].concat());
    assert_eq!(peer.sees(), Arrived::Pong(b"anybody?".into()));
    peer.send(&answer(3));
    stage.all_end(End::AsPlanned, 2);
    peer.send(&frame(6, 0, 0, b"anybody?"));
    let until = stage.clock.now() + Duration::from_millis(300);
    stage.until("nothing", || stage.clock.now() >= until);
    assert!(peer.hears_nothing(), "neither FIN nor RST nor an answer");
}

#[test]
fn a_connection_takes_its_number_of_streams_and_others_get_the_next() {
    let stage = Stage::new(3);
    stage.play(Leave::Fin, 7, LONG);
    let _peers = [stage.serve(3), stage.serve(3), stage.serve(1)];
    stage.until("an event each", || stage.counts().events == 7);
    let counts = stage.counts();
    assert_eq!((counts.live(), counts.carriers()), (7, 3));
    stage.driver.stop();
    stage.all_end(End::Stopped, 7);
}

#[test]
fn a_server_that_allows_fewer_streams_at_once_gets_no_more_of_them() {
    let stage = Stage::new(100);
    stage.play(Leave::Fin, 1, LONG);
    let mut first = stage.accept_with(&[(3, 2)]);
    first.sees();
    first.send(&answer(1));
    stage.until("the first", || stage.counts().events == 1);
    stage.play(Leave::Fin, 2, LONG);
    assert_eq!(first.sees(), Arrived::Request(3, true));
    let mut second = stage.accept_with(&[(3, 2)]);
    assert_eq!(second.sees(), Arrived::Request(1, true));
    assert_eq!(stage.counts().carriers(), 2);
}

#[test]
fn whoever_asks_for_too_many_streams_at_once_is_told() {
    let stage = Stage::new(100);
    stage.play(Leave::Fin, 3, LONG);
    let mut peer = stage.accept_with(&[(3, 1)]);
    assert_eq!(peer.sees(), Arrived::Request(1, true));
    stage.until("the others", || {
        stage.counts().ended[End::ConnectFailed as usize] == 2
    });
    let problem = stage.problem();
    assert!(
        problem.contains("the server allows 1;") && problem.contains("--h2"),
        "{problem}"
    );
}

#[test]
fn a_body_waits_for_the_window_of_the_server() {
    let mut exchange = get("/events");
    exchange.request.method = "POST".into();
    exchange.request.body = "y".repeat(100_000);
    let stage = Stage::with(1, exchange, |_| {});
    stage.play(Leave::Fin, 1, NOW);
    let mut peer = stage.accept_with(&[(4, 10_000)]);
    let (mut got, mut ended) = (0, false);
    assert_eq!(peer.sees(), Arrived::Request(1, false));
    while !ended {
        let Arrived::Data(1, part, is_last) = peer.sees() else {
            panic!("no data")
        };
        got += part.len();
        ended = is_last;
        let by = u32::try_from(part.len()).unwrap().to_be_bytes();
        peer.send(&[frame(8, 0, 1, &by), frame(8, 0, 0, &by)].concat());
    }
    assert_eq!(got, 100_000);
    peer.send(&answer(1));
    assert_eq!(peer.sees(), Arrived::Reset(1, CANCEL));
    stage.all_end(End::AsPlanned, 1);
}

#[test]
fn a_stream_that_the_server_resets_takes_nobody_along() {
    let stage = Stage::new(2);
    stage.play(Leave::Fin, 2, LONG);
    let mut peer = stage.serve(2);
    stage.until("both events", || stage.counts().events == 2);
    peer.send(&frame(3, 0, 1, &7_u32.to_be_bytes()));
    stage.until("one to end", || stage.counts().live() == 1);
    assert_eq!(
        stage.problem(),
        "GET /events was reset by the server (RST_STREAM, REFUSED_STREAM)"
    );
    peer.send(&data(3, EVENT));
    stage.until("another event", || stage.counts().events == 3);
    assert_eq!(stage.counts().ended[End::ServerReset as usize], 1);
}

#[test]
fn a_server_that_goes_away_ends_what_it_does_not_answer_and_keeps_what_it_does() {
    let stage = Stage::new(2);
    stage.play(Leave::Fin, 2, LONG);
    let mut peer = stage.accept();
    peer.sees();
    peer.sees();
    peer.send(&frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]));
    peer.send(&answer(1));
    stage.until("one to end", || stage.counts().live() == 1);
    assert_eq!(stage.counts().ended[End::ServerClosed as usize], 1);
    stage.until("the event", || stage.counts().events == 1);
    // Whoever comes now gets another connection.
    stage.play(Leave::Fin, 1, NOW);
    let mut other = stage.serve(1);
    assert_eq!(other.sees(), Arrived::Reset(1, CANCEL));
}

#[test]
fn a_server_that_closes_or_resets_the_connection_takes_everybody_along() {
    for linger in [None, Some(Duration::ZERO)] {
        let stage = Stage::new(3);
        stage.play(Leave::Fin, 3, LONG);
        let peer = stage.serve(3);
        stage.until("an event each", || stage.counts().events == 3);
        socket2::SockRef::from(&peer.io).set_linger(linger).unwrap();
        if linger.is_none() {
            peer.io.shutdown(std::net::Shutdown::Write).unwrap();
            stage.all_end(End::ServerClosed, 3);
        } else {
            drop(peer);
            stage.all_end(End::ServerReset, 3);
        }
    }
}

#[test]
fn a_client_that_comes_back_gets_a_new_stream() {
    use sse_soak::plan::Reconnect;
    let stage = Stage::new(2);
    let reconnect = Reconnect {
        after: Duration::from_millis(20),
        jitter_percent: 0,
        at_most: Duration::from_millis(20),
        give_up_after: PATIENCE,
    };
    let batch = Batch {
        script: 0,
        leave: Leave::Fin,
        count: 1,
        after: Duration::ZERO,
        over: Duration::ZERO,
        stay: LONG,
        manners: Manners {
            reconnect: Some(reconnect),
            ..Manners::default()
        },
    };
    stage.driver.play(stage.clock.now(), vec![batch]);
    let mut peer = stage.accept();
    peer.sees();
    peer.send(&[ok(1), data(1, b"id: 41\ndata: x\n\n")].concat());
    peer.send(&frame(3, 0, 1, &[0; 4]));
    assert_eq!(peer.sees(), Arrived::Request(3, true));
    peer.send(&answer(3));
    stage.until("the second event", || stage.counts().events == 2);
    assert_eq!(stage.counts().reconnects, 1);
}

/// What becomes of three streams whose server sends this after its settings; what it is told, and what is said about it.
fn meets(frames: &[u8], told: u32, end: End) -> String {
    let stage = Stage::new(3);
    stage.play(Leave::Fin, 3, LONG);
    let mut peer = stage.accept();
    (0..3).for_each(|_| assert!(matches!(peer.sees(), Arrived::Request(..))));
    peer.io.write_all(frames).ok();
    let mut seen = vec![];
    loop {
        match peer.sees() {
            Arrived::GoAway(code) => seen.push(code),
            Arrived::Fin | Arrived::Rst => break,
            _ => {}
        }
    }
    assert_eq!(seen, [told], "{stage}");
    stage.all_end(end, 3);
    stage.problem()
}

#[test]
fn a_server_that_breaks_the_protocol_is_told_and_its_streams_are_counted() {
    let endless = [
        frame(1, 0, 1, &[0; 16_000]),
        frame(9, 0, 1, &[0; 16_000]),
        frame(9, 0, 1, &[0; 16_000]),
    ]
    .concat();
    let flood = [frame(1, 0, 1, b"")]
        .into_iter()
        .chain((0..5000).map(|_| frame(9, 0, 1, b"")));
    for (frames, code, words) in [
        (
            frame(0, 0, 9, b"x"),
            PROTOCOL_ERROR,
            "stream 9, which nobody opened",
        ),
        (
            frame(0, 0, 2, b"x"),
            PROTOCOL_ERROR,
            "stream 2, which nobody opened",
        ),
        (
            data(1, b"x"),
            PROTOCOL_ERROR,
            "a DATA frame came out of place",
        ),
        (frame(5, WHOLE, 1, &[0; 8]), PROTOCOL_ERROR, "pushes"),
        (vec![0xFF; 64], 6, "a frame of 16777215 bytes"),
        (
            frame(1, WHOLE, 1, b"\xbe"),
            9,
            "entry 62 of a table that must be empty",
        ),
        (
            frame(1, WHOLE, 1, b"\x3f\xe1\x1f"),
            9,
            "a table of 4096 bytes",
        ),
        (endless, ENHANCE_YOUR_CALM, "longer than 32768 bytes"),
        (
            flood.collect::<Vec<_>>().concat(),
            ENHANCE_YOUR_CALM,
            "longer than 32768 bytes",
        ),
    ] {
        let problem = meets(&frames, code, End::BadResponse);
        assert!(problem.contains(words), "{problem}");
        assert!(problem.ends_with("(x 3)"), "{problem}");
    }
}

#[test]
fn a_server_that_ignores_a_closed_window_is_told() {
    let stage = Stage::new(1);
    stage.play(Leave::Stall, 1, LONG);
    let mut peer = stage.accept();
    peer.sees();
    peer.send(&[ok(1), data(1, &[b'x'; 4096]), data(1, b"x")].concat());
    assert_eq!(peer.sees(), Arrived::GoAway(FLOW_CONTROL_ERROR));
    stage.all_end(End::BadResponse, 1);
    assert!(stage.problem().contains("more than the window"), "{stage}");
}

#[test]
fn an_answer_that_is_no_stream_ends_its_client_only() {
    let html = frame(1, WHOLE, 1, b"\x88\x0f\x10\x09text/html");
    let missing = frame(1, WHOLE | END, 3, b"\x8d");
    let no_status = frame(1, WHOLE, 5, b"\x0f\x10\x11text/event-stream");
    let stage = Stage::new(4);
    stage.play(Leave::Fin, 4, LONG);
    let mut peer = stage.accept();
    (0..4).for_each(|_| assert!(matches!(peer.sees(), Arrived::Request(..))));
    peer.send(&[html, missing, no_status, answer(7)].concat());
    stage.until("three to end", || stage.counts().live() == 1);
    let counts = stage.counts();
    assert_eq!(counts.ended[End::BadResponse as usize], 2, "{stage}");
    assert_eq!(counts.ended[End::HttpStatus as usize], 1, "{stage}");
    stage.until("the event", || stage.counts().events == 1);
}

#[test]
fn a_server_that_speaks_http_1_is_found_out() {
    let stage = Stage::new(3);
    stage.play(Leave::Fin, 3, LONG);
    let mut socket = stage.socket();
    socket
        .write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        .unwrap();
    stage.all_end(End::ConnectFailed, 3);
    let problem = stage.problem();
    assert!(
        problem.contains("does not speak HTTP/2: it answered with HTTP/1.1"),
        "{problem}"
    );
}

#[test]
fn a_refused_connect_is_refused_for_everybody() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let stage = Stage::with(5, get("/events"), |config| config.addr = free);
    stage.play(Leave::Fin, 12, NOW);
    stage.all_end(End::ConnectFailed, 12);
    assert_eq!(stage.counts().closed_total(), 0);
    assert!(stage.problem().contains("refused (x 12)"), "{stage}");
}

/// Noise in place of frames, many times over: whatever it is, it is counted, and nothing breaks.
#[test]
fn noise_is_counted_and_nothing_breaks() {
    let mut state = 7_u32;
    for _ in 0..30 {
        let stage = Stage::new(3);
        stage.play(Leave::Fin, 3, Stay::For(Duration::from_millis(50)));
        let mut peer = stage.accept();
        let noise: Vec<u8> = (0..2000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let [high, low, ..] = state.to_be_bytes();
                high & low & 0x0F
            })
            .collect();
        peer.io.write_all(&noise).ok();
        drop(peer);
        stage.until("its end", || {
            stage.counts().live() == 0 && stage.counts().carriers() == 0
        });
        assert_eq!(stage.driver.died(), None);
    }
}

#[test]
fn over_tls_the_same_frames_are_spoken_and_the_goodbye_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let made = params.self_signed(&key).unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, made.pem()).unwrap();
    let secret = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.der().clone()], secret)
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".into(), b"h2".into()];
    let config = Arc::new(config);
    for (leave, last) in [(Leave::Fin, Arrived::Fin), (Leave::Rst, Arrived::Rst)] {
        let stage = Stage::with(2, get("/events"), |config| {
            config.transport.tls = Some(Tls {
                name: "127.0.0.1".into(),
                trust: Trust::File(file.clone()),
            });
        });
        stage.play(leave, 2, NOW);
        let session = ServerConnection::new(Arc::clone(&config)).unwrap();
        let io = StreamOwned::new(session, stage.socket());
        let mut peer = Peer::meet(io, &[]);
        assert_eq!(peer.io.conn.alpn_protocol(), Some(&b"h2"[..]));
        peer.sees();
        peer.sees();
        peer.send(&answer(1));
        let code = if leave == Leave::Rst {
            INTERNAL_ERROR
        } else {
            CANCEL
        };
        assert_eq!(peer.sees(), Arrived::Reset(1, code));
        peer.send(&answer(3));
        if leave == Leave::Fin {
            assert_eq!(peer.sees(), Arrived::Reset(3, CANCEL));
            assert_eq!(peer.sees(), Arrived::GoAway(NO_ERROR));
        }
        assert_eq!(peer.sees(), last);
        stage.all_end(End::AsPlanned, 2);
    }
}

/// Coordinated omission: streams that wait for a connection wait from when they were due.
#[test]
fn a_server_that_is_slow_to_speak_is_waited_for_from_when_streams_were_due() {
    let stage = Stage::new(10);
    stage.play(Leave::Fin, 10, NOW);
    let socket = stage.socket();
    let until = stage.clock.now() + Duration::from_millis(200);
    stage.until("a pause", || stage.clock.now() >= until);
    let mut peer = Peer::meet(socket, &[]);
    for stream in (1..).step_by(2).take(10) {
        assert_eq!(peer.sees(), Arrived::Request(stream, true));
        peer.send(&answer(stream));
    }
    stage.all_end(End::AsPlanned, 10);
    let latency = stage.driver.take_latency();
    assert_eq!(latency.connect.len(), 10);
    assert!(
        latency.connect.min() >= 190_000,
        "{}",
        latency.connect.min()
    );
    assert!(stage.clock.now() > Elapsed(Duration::from_millis(200)));
}
