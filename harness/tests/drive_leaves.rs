//! Every way of leaving, as the server's kernel saw it. The test is the server: it accepts, answers, and looks what arrives.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use socket2::SockRef;
use sse_soak::{
    drive::{DriveConfig, Driver, Limits},
    plan::{Batch, Exchange, Expect, Leave, Request, Script, SessionUse, Stay, Unit},
    timeline::{Clock, Counts, Elapsed, End, PortBook, Tally},
};

/// Far beyond anything these tests wait for.
const PATIENCE: Duration = Duration::from_secs(20);
const STREAM: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const EVENT: &str = "9\r\ndata: x\n\n\r\n";
const END: &str = "0\r\n\r\n";

/// A driver and the server that it talks to.
struct Stage {
    listener: TcpListener,
    driver: Driver,
    clock: Clock,
    tally: Arc<Tally>,
    ports: Arc<PortBook>,
}

/// What a server reads after the request.
#[derive(Debug, PartialEq, Eq)]
enum Arrived {
    Fin,
    Rst,
    NothingYet,
    Bytes(Vec<u8>),
}

/// The server's end of one connection.
struct Peer(TcpStream);

impl Stage {
    fn new(exchanges: Vec<Exchange>) -> Self {
        Self::with(exchanges, |_| {})
    }

    fn with(exchanges: Vec<Exchange>, change: impl FnOnce(&mut DriveConfig)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = DriveConfig {
            addr: listener.local_addr().unwrap(),
            host: "test".into(),
            scripts: vec![Script {
                name: "test".into(),
                exchanges,
            }],
            pools: 1,
            seed: 1,
            limits: Limits::default(),
            stall_receive_buffer: Some(4096),
            slow_bytes_per_second: 400,
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
        self.play_over(leave, count, stay, Duration::ZERO);
    }

    fn play_over(&self, leave: Leave, count: u32, stay: Stay, over: Duration) {
        let batch = Batch {
            script: 0,
            leave,
            count,
            after: Duration::ZERO,
            over,
            stay,
        };
        self.driver.play(self.clock.now(), vec![batch]);
    }

    fn accept(&self) -> Peer {
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
        Peer(stream)
    }

    /// Accepts, takes the request, and answers with this.
    fn serve(&self, answer: &str) -> Peer {
        let mut peer = self.accept();
        peer.request();
        peer.send(answer);
        peer
    }

    /// Waits for a condition; says so if it does not come.
    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = self.clock.now() + PATIENCE;
        while !holds() {
            assert!(
                self.clock.now() < deadline,
                "waited in vain for {what}: {self}"
            );
            thread::park_timeout(Duration::from_millis(1));
        }
    }

    fn counts(&self) -> Counts {
        self.tally.counts()
    }

    fn ended(&self, end: End) -> u64 {
        self.counts().ended[end as usize]
    }

    /// Waits until so many connections have ended for this reason, and none for another.
    fn all_end(&self, end: End, count: u64) {
        self.until(end.name(), || {
            self.counts().ended.iter().sum::<u64>() >= count
        });
        assert_eq!(self.ended(end), count, "{self}");
        assert_eq!(self.counts().live(), 0);
    }

    fn problem(&self) -> String {
        self.driver.problems().first().unwrap().to_string()
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?}", self.counts(), self.driver.problems())
    }
}

impl Peer {
    /// Reads one request without a body, or with one of known length.
    fn request(&mut self) -> String {
        let mut bytes = vec![];
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte).unwrap();
            bytes.push(byte[0]);
        }
        let head = String::from_utf8(bytes).unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        self.0.read_exact(&mut body).unwrap();
        head + &String::from_utf8(body).unwrap()
    }

    fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// What comes next, however long it takes.
    fn sees(&mut self) -> Arrived {
        let mut bytes = [0; 64];
        match self.0.read(&mut bytes) {
            Ok(0) => Arrived::Fin,
            Ok(length) => Arrived::Bytes(bytes[..length].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Arrived::Rst,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Arrived::NothingYet,
            Err(error) => panic!("{error}"),
        }
    }

    fn sees_now(&mut self) -> Arrived {
        self.0.set_nonblocking(true).unwrap();
        let seen = self.sees();
        self.0.set_nonblocking(false).unwrap();
        seen
    }

    fn addr(&self) -> SocketAddr {
        self.0.peer_addr().unwrap()
    }
}

fn get(target: &str) -> Exchange {
    Exchange {
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

const NOW: Stay = Stay::For(Duration::ZERO);
const LONG: Stay = Stay::For(Duration::from_secs(3600));

#[test]
fn fin_leaves_after_its_first_event_with_a_fin() {
    let stage = Stage::new(vec![get("/events")]);
    stage.play(Leave::Fin, 1, NOW);
    let mut peer = stage.accept();
    assert_eq!(
        peer.request(),
        "GET /events HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n"
    );
    peer.send(STREAM);
    assert_eq!(peer.sees_now(), Arrived::NothingYet, "the head is no event");
    peer.send(EVENT);
    assert_eq!(peer.sees(), Arrived::Fin);
    stage.all_end(End::AsPlanned, 1);
    assert_eq!(stage.counts().closed[Leave::Fin.index()], 1);
    assert_eq!(stage.counts().events, 1);
    assert_eq!(stage.ports.leave(peer.addr().port()), Some(Leave::Fin));
}

#[test]
fn fin_and_orphan_stay_as_long_as_planned_and_are_never_an_accidental_rst() {
    for leave in [Leave::Fin, Leave::Orphan] {
        let stage = Stage::new(vec![get("/events")]);
        stage.play(leave, 1, Stay::Until(Duration::from_millis(100)));
        let mut peer = stage.serve(STREAM);
        for _ in 0..100 {
            peer.send(EVENT);
        }
        assert_eq!(peer.sees(), Arrived::Fin);
        assert!(stage.clock.now() >= Elapsed(Duration::from_millis(100)));
        stage.all_end(End::AsPlanned, 1);
        assert_eq!(stage.counts().events, 100, "{leave}");
    }
}

#[test]
fn rst_is_a_reset() {
    let stage = Stage::new(vec![get("/events")]);
    stage.play(Leave::Rst, 1, NOW);
    let mut peer = stage.serve(STREAM);
    peer.send(EVENT);
    assert_eq!(peer.sees(), Arrived::Rst);
    stage.all_end(End::AsPlanned, 1);
}

#[test]
fn complete_reads_to_the_end_that_the_server_sets() {
    for (head, event, end) in [
        (STREAM, EVENT, END),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
            "data: x\n\n",
            "",
        ),
    ] {
        let stage = Stage::new(vec![get("/chat")]);
        stage.play(Leave::Complete, 1, Stay::ToTheEnd);
        let mut peer = stage.serve(head);
        peer.send(event);
        stage.until("the event", || stage.counts().events == 1);
        assert_eq!(peer.sees_now(), Arrived::NothingYet);
        peer.send(end);
        if end.is_empty() {
            peer.0.shutdown(std::net::Shutdown::Write).unwrap();
        }
        assert_eq!(peer.sees(), Arrived::Fin);
        stage.all_end(End::AsPlanned, 1);
    }
}

#[test]
fn early_leaves_before_the_headers_or_before_the_first_event_by_turns() {
    let stage = Stage::new(vec![get("/events?n={n}")]);
    stage.play(Leave::Early, 2, NOW);
    for _ in 0..2 {
        let mut peer = stage.accept();
        let request = peer.request();
        if request.contains("n=1") {
            // Odd: gone without waiting for anything.
            assert_eq!(peer.sees(), Arrived::Fin);
        } else {
            assert_eq!(peer.sees_now(), Arrived::NothingYet);
            peer.send(STREAM);
            assert_eq!(peer.sees(), Arrived::Fin);
        }
    }
    stage.all_end(End::AsPlanned, 2);
    assert_eq!(stage.counts().closed[Leave::Early.index()], 2);
    assert_eq!(stage.counts().events, 0);
}

#[test]
fn stall_never_reads_so_that_the_server_cannot_write() {
    let stage = Stage::new(vec![get("/events")]);
    stage.play(Leave::Stall, 1, LONG);
    let mut peer = stage.serve(STREAM);
    SockRef::from(&peer.0).set_send_buffer_size(4096).unwrap();
    peer.0.set_nonblocking(true).unwrap();
    let mut taken = 0;
    let blocked = loop {
        match peer.0.write(&[b'x'; 4096]) {
            Ok(length) => taken += length,
            Err(error) => break error,
        }
        assert!(
            taken < 1 << 20,
            "a client that does not read took {taken} B"
        );
    };
    assert_eq!(blocked.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(peer.sees(), Arrived::NothingYet);
    assert_eq!(stage.counts().bytes, 0);
    // It goes with the dose; what it never read is thrown away, and TCP says so.
    stage.driver.recall();
    peer.0.set_nonblocking(false).unwrap();
    assert_eq!(peer.sees(), Arrived::Rst);
    stage.all_end(End::AsPlanned, 1);
}

#[test]
fn slow_reads_at_its_rate_and_not_faster() {
    let stage = Stage::new(vec![get("/events")]);
    stage.play(Leave::Slow, 1, LONG);
    let mut peer = stage.serve(STREAM);
    for _ in 0..100 {
        peer.send(EVENT); // 14 B each
    }
    let began = stage.clock.now();
    stage.until("300 B", || stage.counts().bytes >= 300);
    let took = stage.clock.now().since(began);
    assert!(
        took >= Duration::from_millis(400),
        "300 B at 400 B/s in {took:?}"
    );
    assert!(stage.counts().bytes < 1000);
    stage.driver.recall();
    assert_eq!(peer.sees(), Arrived::Fin);
    stage.all_end(End::AsPlanned, 1);
}

#[test]
fn half_close_shuts_its_side_and_reads_on() {
    let stage = Stage::new(vec![get("/events")]);
    stage.play(Leave::HalfClose, 1, LONG);
    let mut peer = stage.serve(STREAM);
    peer.send(EVENT);
    assert_eq!(peer.sees(), Arrived::Fin);
    peer.send(EVENT);
    peer.send(EVENT);
    stage.until("three events", || stage.counts().events == 3);
    assert_eq!(stage.counts().live(), 1);
    // The server takes it for a goodbye: as planned.
    drop(peer);
    stage.all_end(End::AsPlanned, 1);
}

#[test]
fn vanish_says_that_it_is_not_there_yet() {
    let stage = Stage::new(vec![get("/events")]);
    stage.play(Leave::Vanish, 3, NOW);
    stage.until("the losses", || stage.counts().not_opened == 3);
    assert_eq!(stage.counts().pending, 0);
    assert!(stage.problem().contains("not supported"), "{stage}");
}

#[test]
fn the_standing_population_outlives_a_recall_and_leaves_when_released() {
    let stage = Stage::new(vec![get("/events")]);
    stage.play(Leave::Fin, 2, Stay::Standing);
    let mut standing = [stage.serve(STREAM), stage.serve(STREAM)];
    stage.play(Leave::Fin, 1, LONG);
    let mut dosed = stage.serve(STREAM);
    for peer in standing.iter_mut().chain([&mut dosed]) {
        peer.send(EVENT);
    }
    stage.until("three events", || stage.counts().events == 3);
    assert_eq!(stage.driver.standing(), 2);
    stage.driver.recall();
    assert_eq!(dosed.sees(), Arrived::Fin);
    assert_eq!(standing[0].sees_now(), Arrived::NothingYet);
    assert_eq!(stage.driver.standing(), 2);
    stage.driver.release_standing();
    assert_eq!(standing[0].sees(), Arrived::Fin);
    assert_eq!(standing[1].sees(), Arrived::Fin);
    stage.all_end(End::AsPlanned, 3);
    assert_eq!(stage.driver.standing(), 0);
}

#[test]
fn a_recall_takes_pending_openings_off_the_plan_and_does_not_call_it_leaving_when_nothing_came() {
    let stage = Stage::new(vec![get("/events")]);
    stage.play_over(Leave::Fin, 1000, LONG, Duration::from_secs(3600));
    assert_eq!(stage.counts().pending + stage.counts().opened, 1000);
    let mut peer = stage.accept();
    peer.request();
    stage.driver.recall();
    assert_eq!(peer.sees(), Arrived::Fin);
    stage.all_end(End::Stopped, 1);
    assert_eq!(stage.counts().pending, 0);
    assert_eq!(stage.counts().opened, 1);
}

#[test]
fn stop_drops_everyone_and_opens_nothing_more() {
    let stage = Stage::new(vec![get("/events")]);
    stage.play(Leave::Fin, 3, Stay::Standing);
    let _peers = [
        stage.serve(STREAM),
        stage.serve(STREAM),
        stage.serve(STREAM),
    ];
    stage.until("the heads", || stage.driver.standing() == 3);
    stage.driver.stop();
    stage.all_end(End::Stopped, 3);
    stage.play(Leave::Fin, 3, NOW);
    stage.until("nothing pending", || stage.counts().pending == 0);
    assert_eq!(stage.counts().opened, 3);
    assert_eq!(stage.driver.died(), None);
}
