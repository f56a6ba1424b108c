//! Every way of leaving, as the server's kernel has it: the state of the server's socket, its queue, and what its reads bring.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says aloud what it skips"
)]

use std::{
    io,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use sse_soak::{
    drive::{DriveConfig, Driver, Farewell, Limits, Transport, can_vanish},
    observe::{ObserveConfig, Observer, RuntimeConfig, Sockets},
    plan::{
        Batch, Exchange, Expect, Leave, Manners, Request, Script, Segment, SessionUse, Stay, Unit,
    },
    timeline::{Clock, Elapsed, End, PortBook, Tally},
};

/// Far beyond anything these tests wait for.
const PATIENCE: Duration = Duration::from_secs(20);
const HEAD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const EVENT: &str = "9\r\ndata: x\n\n\r\n";
const END: &str = "0\r\n\r\n";

const NOW: Stay = Stay::For(Duration::ZERO);
const LONG: Stay = Stay::For(Duration::from_secs(3600));

/// The kernel's numbers of TCP states.
const ESTABLISHED: u8 = 1;
const FIN_WAIT2: u8 = 5;
const CLOSE_WAIT: u8 = 8;

/// A server, its load, and the eyes of the harness on it.
struct Stage {
    listener: TcpListener,
    port: u16,
    clock: Clock,
    tally: Arc<Tally>,
    observer: Observer,
    driver: Driver,
}

/// The server's end of one connection.
struct Peer {
    stream: TcpStream,
    port: u16,
    client: u16,
    clock: Clock,
}

/// A socket in the kernel's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    state: u8,
    send_queue: u32,
    /// How often in a row the segment under way was sent again.
    retransmits: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Arrived {
    Fin,
    Rst,
    Nothing,
}

impl Stage {
    fn with(limits: Limits) -> Self {
        let listener = listen();
        let addr = listener.local_addr().unwrap();
        let clock = Clock::start();
        let tally = Arc::new(Tally::default());
        let ports = Arc::new(PortBook::default());
        let watch = ObserveConfig {
            pid: None,
            addr,
            admin: None,
            metrics: None,
            runtime: RuntimeConfig::None,
            every: Duration::from_secs(3600),
        };
        let (samples, _) = mpsc::sync_channel(1);
        let observer = Observer::start(watch, clock, Arc::clone(&ports), samples).unwrap();
        let config = DriveConfig {
            addr,
            host: "test".into(),
            scripts: vec![Script {
                name: "test".into(),
                exchanges: vec![events()],
            }],
            pools: 0,
            seed: 1,
            limits,
            stall_receive_buffer: Some(4096),
            slow_bytes_per_second: 2048,
            transport: Transport::default(),
            segment: Segment::WHOLE,
            sources: vec![],
        };
        let driver = Driver::start(config, clock, Arc::clone(&tally), ports).unwrap();
        Self {
            port: addr.port(),
            listener,
            clock,
            tally,
            observer,
            driver,
        }
    }

    /// One client that leaves so, and the server's end of it; the head and one event are sent.
    fn one(leave: Leave, stay: Stay) -> (Self, Peer) {
        let stage = Self::with(Limits::default());
        stage.play(leave, 1, stay);
        let mut peer = stage.accept();
        peer.send(HEAD);
        peer.send(EVENT);
        (stage, peer)
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

    /// Accepts one, and reads its request.
    fn accept(&self) -> Peer {
        self.listener.set_nonblocking(true).unwrap();
        let mut accepted = None;
        self.until("a connection", || {
            accepted = self.listener.accept().ok();
            accepted.is_some()
        });
        let (mut stream, client) = accepted.unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        stream.set_nonblocking(true).unwrap();
        Peer {
            stream,
            port: self.port,
            client: client.port(),
            clock: self.clock,
        }
    }

    fn until(&self, what: &str, holds: impl FnMut() -> bool) {
        wait(&self.clock, what, holds);
    }

    /// Waits until so many have left as planned, and nobody otherwise.
    fn left(&self, count: u64) {
        self.until("everyone to leave", || self.tally.counts().live() == 0);
        let counts = self.tally.counts();
        let problems = self.driver.problems();
        assert_eq!(
            counts.ended[End::AsPlanned as usize],
            count,
            "{counts:?} {problems:?}"
        );
    }

    /// The server's sockets, as the harness counts them by `sock_diag`.
    fn census(&self) -> Sockets {
        self.observer.look().sockets.unwrap()
    }
}

impl Peer {
    fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// What the server reads now.
    fn reads(&mut self) -> Arrived {
        let mut bytes = [0; 64];
        match self.stream.read(&mut bytes) {
            Ok(0) => Arrived::Fin,
            Ok(length) => panic!("{length} bytes after the request"),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Arrived::Rst,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Arrived::Nothing,
            Err(error) => panic!("{error}"),
        }
    }

    /// The server's socket; `None` once the kernel has none.
    fn row(&self) -> Option<Row> {
        row(self.port, self.client)
    }

    /// The client's.
    fn other_end(&self) -> Option<u8> {
        Some(row(self.client, self.port)?.state)
    }

    fn until(&self, what: &str, mut holds: impl FnMut(Option<Row>) -> bool) {
        let what = format!("{what}, last seen {:?}", self.row());
        wait(&self.clock, &what, || holds(self.row()));
    }

    fn until_state(&self, state: u8) {
        self.until(&format!("state {state}"), |row| {
            row.is_some_and(|row| row.state == state)
        });
    }

    /// FIN came: the kernel waits for the server to close, and a read says so; nothing of the client holds the connection.
    fn was_closed_by_fin(&mut self) {
        self.until_state(CLOSE_WAIT);
        assert_eq!(self.reads(), Arrived::Fin);
        wait(&self.clock, "the FIN to be acknowledged", || {
            self.other_end() == Some(FIN_WAIT2)
        });
    }
}

/// A listener whose port no outgoing connection can take.
fn listen() -> TcpListener {
    let first = 20_000 + u16::try_from(std::process::id() % 500).unwrap() * 20;
    (first..32_000)
        .find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
        .unwrap()
}

fn events() -> Exchange {
    Exchange {
        think: std::time::Duration::ZERO,
        request: Request {
            method: "GET".into(),
            target: "/events".into(),
            headers: vec![("Accept".into(), "text/event-stream".into())],
            body: String::new(),
        },
        expect: Expect::Stream,
        session: SessionUse::None,
        counts: Unit::Nothing,
    }
}

fn wait(clock: &Clock, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline: Elapsed = clock.now() + PATIENCE;
    while !holds() {
        assert!(clock.now() < deadline, "waited in vain for {what}");
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// The socket with these two ports, asked of the kernel by name (`struct inet_diag_req_v2`, `struct inet_diag_msg`): reading the whole
/// table takes a third of a second while somebody else on this machine holds thousands of streams.
fn row(local: u16, peer: u16) -> Option<Row> {
    const AF_NETLINK: i32 = 16;
    const NETLINK_SOCK_DIAG: i32 = 4;
    const LISTEN: u8 = 10;
    let mut socket = Socket::new(
        Domain::from(AF_NETLINK),
        Type::DGRAM,
        Some(Protocol::from(NETLINK_SOCK_DIAG)),
    )
    .unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send(&question(local, peer)).unwrap();
    let mut answer = [0; 4096];
    let length = socket.read(&mut answer).unwrap();
    let (header, socket) = answer[..length].split_at(16);
    let error = 2_u16.to_ne_bytes();
    // Where no connection has these ports, the kernel names the listener.
    if header[4..6] == error || socket[1] == LISTEN {
        return None;
    }
    Some(Row {
        state: socket[1],
        retransmits: u32::from(socket[3]),
        send_queue: u32::from_ne_bytes(socket[60..64].try_into().unwrap()),
    })
}

fn question(local: u16, peer: u16) -> [u8; 72] {
    let (length, by_family, request) = (72_u32, 20_u16, 1_u16);
    let here = Ipv4Addr::LOCALHOST.octets();
    let mut bytes = [0; 72];
    for (at, value) in [
        (0, &length.to_ne_bytes()[..]),
        (4, &by_family.to_ne_bytes()),
        (6, &request.to_ne_bytes()),
        (16, &[2, 6]),                 // AF_INET, IPPROTO_TCP
        (20, &u32::MAX.to_ne_bytes()), // any state
        (24, &local.to_be_bytes()),
        (26, &peer.to_be_bytes()),
        (28, &here),
        (44, &here),
        (64, &[0xff; 8]), // no cookie
    ] {
        bytes[at..at + value.len()].copy_from_slice(value);
    }
    bytes
}

#[test]
fn complete_is_a_fin_after_the_end_that_the_server_set() {
    let (stage, mut peer) = Stage::one(Leave::Complete, Stay::ToTheEnd);
    stage.until("the event", || stage.tally.counts().events == 1);
    assert_eq!(peer.row().unwrap().state, ESTABLISHED);
    peer.send(END);
    peer.was_closed_by_fin();
    stage.left(1);
}

#[test]
fn fin_and_orphan_leave_the_server_in_close_wait() {
    for leave in [Leave::Fin, Leave::Orphan] {
        let (stage, mut peer) = Stage::one(leave, NOW);
        peer.was_closed_by_fin();
        stage.left(1);
        let sockets = stage.census();
        assert_eq!((sockets.close_wait, sockets.established), (1, 0), "{leave}");
        assert_eq!(sockets.held_by_leave[leave.index()], 1, "{leave}");
    }
}

#[test]
fn rst_takes_the_socket_from_the_server_at_once() {
    let (stage, mut peer) = Stage::one(Leave::Rst, NOW);
    peer.until("no socket", |row| row.is_none());
    assert_eq!(peer.other_end(), None, "an RST leaves nothing to wait for");
    assert_eq!(peer.reads(), Arrived::Rst);
    stage.left(1);
}

#[test]
fn early_is_a_fin_before_the_headers_or_after_them() {
    let stage = Stage::with(Limits::default());
    stage.play(Leave::Early, 2, NOW);
    // One of them goes without an answer. The other one waits for its headers, and goes without an event.
    let mut peers = [stage.accept(), stage.accept()];
    stage.until("the first to leave", || stage.tally.counts().live() == 1);
    let state = |peer: &Peer| peer.row().unwrap().state;
    peers.sort_by_key(state);
    assert_eq!(peers.each_ref().map(state), [ESTABLISHED, CLOSE_WAIT]);
    let [late, early] = &mut peers;
    early.was_closed_by_fin();
    late.send(HEAD);
    late.was_closed_by_fin();
    stage.left(2);
    assert_eq!(stage.tally.counts().events, 0);
}

#[test]
fn stall_fills_the_servers_queue_and_goes_with_an_rst() {
    let (stage, mut peer) = Stage::one(Leave::Stall, LONG);
    fill(&mut peer.stream);
    assert_eq!(peer.reads(), Arrived::Nothing);
    let mut sockets = Sockets::default();
    stage.until("both counts to agree", || {
        // A delayed acknowledgement may come between two looks.
        sockets = stage.census();
        let row = peer.row().unwrap();
        row.state == ESTABLISHED && u64::from(row.send_queue) == sockets.send_queue_bytes
    });
    let queued = sockets.send_queue_by_leave[Leave::Stall.index()];
    assert_eq!(queued, sockets.send_queue_bytes);
    assert!(queued > 100_000, "{sockets:?}");
    let kernel = sockets.kernel_bytes_by_leave[Leave::Stall.index()];
    assert!(kernel >= queued, "{sockets:?}");
    stage.driver.recall();
    peer.until("no socket", |row| row.is_none());
    assert_eq!(peer.reads(), Arrived::Rst);
    stage.left(1);
}

#[test]
fn slow_drains_the_servers_queue_bit_by_bit_and_goes_with_a_fin() {
    let (stage, mut peer) = Stage::one(Leave::Slow, LONG);
    // More than its window: what it reads shows as what the server can send.
    let body = format!("2000\r\n{}\r\n", "x".repeat(0x2000)).repeat(4);
    peer.send(&body);
    peer.until("a full window", |row| row.unwrap().send_queue > 0);
    let full = peer.row().unwrap().send_queue;
    peer.until("a window that opens", |row| row.unwrap().send_queue < full);
    assert_eq!(peer.reads(), Arrived::Nothing);
    assert!(stage.tally.counts().bytes < body.len() as u64);
    stage.until("the event", || stage.tally.counts().events == 1);
    stage.driver.recall();
    peer.was_closed_by_fin();
    stage.left(1);
}

#[test]
fn half_close_is_close_wait_with_somebody_who_still_acknowledges() {
    let (stage, mut peer) = Stage::one(Leave::HalfClose, LONG);
    peer.was_closed_by_fin();
    for _ in 0..10 {
        peer.send(EVENT);
    }
    stage.until("eleven events", || stage.tally.counts().events == 11);
    peer.until("everything acknowledged", |row| {
        row.unwrap().send_queue == 0
    });
    assert_eq!(peer.row().unwrap().state, CLOSE_WAIT);
    assert_eq!(stage.tally.counts().live(), 1);
    stage.driver.recall();
    stage.left(1);
}

#[test]
fn vanish_sends_nothing_and_acknowledges_nothing() {
    if is_skipped() {
        return;
    }
    let (stage, mut peer) = Stage::one(Leave::Vanish, NOW);
    stage.left(1);
    peer.until("the last acknowledgement", |row| {
        row.unwrap().send_queue == 0
    });
    let mut unheard = 0;
    for _ in 0..5 {
        peer.send(EVENT);
        unheard += EVENT.len();
        let row = peer.row().unwrap();
        assert_eq!(row.send_queue, u32::try_from(unheard).unwrap(), "{row:?}");
    }
    peer.until("three retransmissions", |row| row.unwrap().retransmits >= 3);
    assert_eq!(peer.reads(), Arrived::Nothing);
    let row = peer.row().unwrap();
    assert_eq!(row.state, ESTABLISHED);
    assert_eq!(row.send_queue, u32::try_from(unheard).unwrap());
    let sockets = stage.census();
    assert_eq!(sockets.held_by_leave[Leave::Vanish.index()], 1);
    let queued = sockets.send_queue_by_leave[Leave::Vanish.index()];
    assert_eq!(queued, unheard as u64, "{sockets:?}");
    assert_eq!(stage.tally.counts().closed[Leave::Vanish.index()], 1);
}

#[test]
fn the_server_that_closes_on_somebody_who_vanished_waits_in_vain() {
    if is_skipped() {
        return;
    }
    let (stage, peer) = Stage::one(Leave::Vanish, NOW);
    stage.left(1);
    peer.stream.shutdown(std::net::Shutdown::Write).unwrap();
    peer.until("a FIN sent again", |row| {
        let fin_wait1 = 4;
        row.is_some_and(|row| row.state == fin_wait1 && row.retransmits >= 1)
    });
}

#[test]
fn the_vanished_are_let_go_as_quietly_as_this_machine_allows() {
    if is_skipped() {
        return;
    }
    let (stage, mut peer) = Stage::one(Leave::Vanish, NOW);
    stage.left(1);
    peer.until("the last acknowledgement", |row| {
        row.unwrap().send_queue == 0
    });
    let Stage {
        driver,
        clock,
        listener: _listener,
        ..
    } = stage;
    drop(driver);
    match Farewell::here() {
        Farewell::Quiet => {
            assert_eq!(peer.reads(), Arrived::Nothing);
            assert_eq!(peer.row().unwrap().state, ESTABLISHED);
            assert_eq!(peer.other_end(), None, "our side is gone");
            // What the words say: with nobody there any more, the next segment is answered.
            peer.send(EVENT);
        }
        Farewell::Reset => println!("no CAP_NET_ADMIN: the close is an RST"),
    }
    wait(&clock, "the RST", || peer.row().is_none());
    assert_eq!(peer.reads(), Arrived::Rst);
}

#[test]
fn the_first_who_vanished_make_room_for_others_and_it_is_said() {
    if is_skipped() {
        return;
    }
    let stage = Stage::with(Limits {
        most_open: 2,
        ..Limits::default()
    });
    let mut peers = Vec::new();
    for _ in 0..3 {
        stage.play(Leave::Vanish, 1, NOW);
        let mut peer = stage.accept();
        peer.send(HEAD);
        peer.send(EVENT);
        stage.until("nobody", || {
            let counts = stage.tally.counts();
            counts.live() == 0 && counts.closed_total() > peers.len() as u64
        });
        peers.push(peer);
    }
    stage.left(3);
    assert_eq!(stage.tally.counts().not_opened, 0);
    let problems = stage.driver.problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    let words = format!(
        "a vanished client had to make room: {}",
        Farewell::here().words()
    );
    assert_eq!(problems[0].to_string(), words);
    assert_eq!(peers[0].other_end(), None);
    assert_eq!(peers[1].other_end(), Some(ESTABLISHED));
    assert_eq!(peers[2].other_end(), Some(ESTABLISHED));
}

#[test]
fn who_may_not_vanish_is_told_what_it_takes() {
    let Err(error) = can_vanish() else {
        return println!("skipped: everyone who runs this may vanish");
    };
    let stage = Stage::with(Limits::default());
    stage.play(Leave::Vanish, 3, NOW);
    stage.until("the losses", || stage.tally.counts().not_opened == 3);
    let said = stage.driver.problems()[0].to_string();
    let words = format!(
        "not opened: to vanish takes CAP_NET_ADMIN here ({error}): be root, or use --isolate (x 3)"
    );
    assert_eq!(said, words);
}

/// Without the privilege there is nothing to see.
fn is_skipped() -> bool {
    match can_vanish() {
        Ok(()) => false,
        Err(error) => {
            println!("skipped: nobody can vanish here: {error}");
            true
        }
    }
}

/// Writes until the kernel takes no more; how many bytes that were.
fn fill(stream: &mut TcpStream) -> usize {
    let block = [b'x'; 4096];
    let mut taken = 0;
    loop {
        match stream.write(&block) {
            Ok(length) => taken += length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return taken,
            Err(error) => panic!("{error}"),
        }
    }
}
