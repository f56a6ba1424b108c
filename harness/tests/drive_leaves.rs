//! Every way of leaving, as the server's kernel saw it. The test is the server: it accepts, answers, and looks what arrives.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use socket2::SockRef;
use sse_soak::{
    drive::{DriveConfig, Driver, Limits, Transport},
    plan::{
        Batch, Capture, CaptureBy, CaptureFrom, Exchange, Expect, Leave, Manners, Request, Script,
        Segment, SessionUse, Stay, Unit,
    },
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
            transport: Transport::default(),
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
        self.play_over(leave, count, stay, Duration::ZERO);
    }

    fn play_over(&self, leave: Leave, count: u32, stay: Stay, over: Duration) {
        let batch = Batch {
            over,
            ..self.batch(leave, count, stay)
        };
        self.driver.play(self.clock.now(), vec![batch]);
    }

    fn batch(&self, leave: Leave, count: u32, stay: Stay) -> Batch {
        Batch {
            script: 0,
            leave,
            count,
            after: Duration::ZERO,
            over: Duration::ZERO,
            stay,
            manners: Manners::default(),
        }
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
        think: std::time::Duration::ZERO,
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

/// What becomes of one client that gets this answer, and what is said about it.
fn meets(answer: &str, close: bool, end: End) -> String {
    let stage = Stage::with(vec![get("/events")], |config| {
        config.limits.first_event = Duration::from_millis(150);
        config.limits.head = Duration::from_millis(150);
        config.limits.line_bytes = 1000;
    });
    stage.play(Leave::Fin, 1, LONG);
    let mut peer = stage.accept();
    peer.request();
    // The client may be gone before all of it is sent.
    peer.0.write_all(answer.as_bytes()).ok();
    if close {
        peer.0.shutdown(std::net::Shutdown::Write).ok();
    }
    stage.all_end(end, 1);
    assert_eq!(stage.counts().closed[Leave::Fin.index()], 1);
    assert_eq!(stage.driver.died(), None);
    stage.problem()
}

/// Each answer, whether the server then closes its side, how the client ends, and the words for it.
type Row<'a> = (&'a str, bool, End, &'a str);

fn each_meets(rows: &[Row<'_>]) {
    for &(answer, close, end, words) in rows {
        assert_eq!(meets(answer, close, end), words, "{answer:.60}");
    }
}

fn stream_with(headers: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{headers}\r\n")
}

#[test]
fn a_head_that_makes_no_sense_is_refused() {
    let many_headers = format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(20_000));
    let endless_header = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(70_000));
    let two_lengths = stream_with("Content-Length: 9\r\nContent-Length: 8\r\n");
    #[rustfmt::skip]
    each_meets(&[
        ("hello\r\n\r\n", false, End::BadResponse, "GET /events: the answer is not HTTP/1: invalid HTTP version"),
        (&many_headers, false, End::BadResponse, "GET /events: the answer is not HTTP/1: too many headers"),
        (&endless_header, false, End::BadResponse, "GET /events: the head of the answer is longer than 32768 bytes"),
        (&two_lengths, false, End::BadResponse, "GET /events: the content length of the answer is invalid"),
    ]);
}

#[test]
fn a_body_that_is_no_event_stream_is_refused() {
    let html = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n";
    let gzip = stream_with("Content-Encoding: gzip\r\n");
    let long_line = format!("{}data: {}", stream_with(""), "x".repeat(2000));
    let no_size = format!("{STREAM}xyz\r\n");
    let huge_size = format!("{STREAM}{}\r\n", "f".repeat(17));
    let surplus = format!("{STREAM}{EVENT}{END}more");
    #[rustfmt::skip]
    each_meets(&[
        (html, false, End::BadResponse, "GET /events answered 200 with `text/html` instead of text/event-stream"),
        (&gzip, false, End::BadResponse, "GET /events answered 200 with content coding `gzip`, which nobody asked for, instead of text/event-stream"),
        (&long_line, false, End::BadResponse, "GET /events: a line of the event stream is longer than 1000 bytes"),
        (&no_size, false, End::BadResponse, "GET /events: a chunk size is no hexadecimal number"),
        (&huge_size, false, End::BadResponse, "GET /events: a chunk size is no hexadecimal number"),
        (&surplus, false, End::BadResponse, "GET /events sent more than its answer"),
    ]);
}

#[test]
fn a_wrong_status_is_counted_and_quoted() {
    #[rustfmt::skip]
    each_meets(&[
        ("HTTP/1.1 302 Found\r\nLocation: /events\r\nContent-Length: 0\r\n\r\n", false, End::HttpStatus, "GET /events answered 302 instead of 200"),
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 13\r\n\r\n{\"error\":404}", false, End::HttpStatus, "GET /events answered 404 instead of 200: {\\\"error\\\":404}"),
        ("HTTP/1.1 500 Oops\r\n\r\nit bur", true, End::HttpStatus, "GET /events answered 500 instead of 200: it bur"),
        ("HTTP/1.1 204 No Content\r\n\r\n", false, End::HttpStatus, "GET /events answered 204 instead of 200"),
    ]);
}

#[test]
fn a_server_that_says_nothing_is_left_after_a_deadline() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(50);
    let comment = format!("{STREAM}5\r\n: hi\n\r\n");
    #[rustfmt::skip]
    each_meets(&[
        ("", false, End::TimedOut, "GET /events had no answer within 150ms"),
        (&interim, false, End::TimedOut, "GET /events had no answer within 150ms"),
        (STREAM, false, End::TimedOut, "GET /events had no first event within 150ms"),
        (&comment, false, End::TimedOut, "GET /events had no first event within 150ms"),
    ]);
}

#[test]
fn a_server_that_closes_first_is_told_by_how_far_it_came() {
    let cut = format!("{STREAM}{EVENT}");
    let ended = format!("{STREAM}{EVENT}{END}");
    #[rustfmt::skip]
    each_meets(&[
        ("", true, End::ServerClosed, "GET /events was closed by the server before it answered"),
        ("HTTP/1.1 200", true, End::ServerClosed, "GET /events was closed by the server before it answered"),
        (&cut, true, End::ServerClosed, "GET /events was closed by the server in the middle of the answer"),
        (&ended, true, End::ServerClosed, "GET /events was closed by the server earlier than planned: the answer is complete"),
    ]);
}

#[test]
fn an_error_that_never_ends_is_quoted_in_part_and_left() {
    let answer = format!("HTTP/1.1 503 No\r\n\r\n{}", "busy ".repeat(1000));
    let words = meets(&answer, false, End::HttpStatus);
    assert!(words.ends_with("busy busy"), "{words}");
    assert!(words.len() < 260, "{words}");
}

#[test]
fn a_stream_without_any_line_break_is_cut_off_and_costs_no_memory() {
    let stage = Stage::with(vec![get("/events")], |config| {
        config.limits.line_bytes = 200 << 20;
    });
    stage.play(Leave::Complete, 1, Stay::ToTheEnd);
    let mut peer = stage.serve("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: ");
    let block = vec![b'x'; 1 << 20];
    for _ in 0..300 {
        if peer.0.write_all(&block).is_err() {
            break;
        }
    }
    stage.all_end(End::BadResponse, 1);
    assert!(stage.problem().contains("longer than"), "{stage}");
}

#[test]
fn a_reset_by_the_server_is_a_reset() {
    for leave in [Leave::Fin, Leave::Stall] {
        let stage = Stage::new(vec![get("/events")]);
        stage.play(leave, 1, LONG);
        let peer = stage.serve(STREAM);
        SockRef::from(&peer.0)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(peer);
        stage.all_end(End::ServerReset, 1);
        assert_eq!(stage.problem(), "GET /events was reset by the server");
    }
}

#[test]
fn a_refused_connect_never_counts_as_closed() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let stage = Stage::with(vec![get("/events")], |config| config.addr = free);
    stage.play(Leave::Fin, 12, NOW);
    stage.all_end(End::ConnectFailed, 12);
    assert_eq!(stage.counts().closed_total(), 0);
    assert_eq!(stage.counts().opened, 12);
    assert_eq!(stage.problem(), format!("connect to {free} refused (x 12)"));
}

#[test]
fn openings_beyond_the_limit_are_lost_and_counted() {
    let stage = Stage::with(vec![get("/events")], |config| config.limits.most_open = 2);
    stage.play(Leave::Fin, 5, LONG);
    let _peers = [stage.serve(STREAM), stage.serve(STREAM)];
    stage.until("the losses", || stage.counts().not_opened == 3);
    assert_eq!(stage.counts().opened, 2);
    assert_eq!(stage.counts().live(), 2);
}

fn chat(body: &str, session: SessionUse, counts: Unit) -> Exchange {
    let mut exchange = get("/chat");
    exchange.request.method = "POST".into();
    exchange.request.body = body.into();
    Exchange {
        think: std::time::Duration::ZERO,
        session,
        counts,
        ..exchange
    }
}

fn creates(from: CaptureFrom, by: CaptureBy, pool: Option<usize>) -> SessionUse {
    SessionUse::Creates {
        capture: Capture { from, by },
        pool,
    }
}

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

#[test]
fn a_conversation_goes_on_over_one_connection_with_the_session_it_was_given() {
    let from_event = creates(
        CaptureFrom::Event("connected".into()),
        CaptureBy::Pointer("/conversation_id".into()),
        None,
    );
    let mut stream = get("/events?session={session}");
    stream.session = SessionUse::Uses { pool: None };
    let stage = Stage::new(vec![
        chat("message=hi+{n}", from_event, Unit::Session),
        stream,
    ]);
    stage.play(Leave::Fin, 1, NOW);
    let mut peer = stage.accept();
    let request = peer.request();
    assert!(request.starts_with("POST /chat HTTP/1.1\r\n"), "{request}");
    assert!(
        request.ends_with("Content-Length: 12\r\n\r\nmessage=hi+0"),
        "{request}"
    );
    let wire = format!(
        "HTTP/1.1 100 Continue\r\n\r\n{STREAM}{}{}{END}",
        chunk("event: connected\ndata: {\"conversation_id\":"),
        chunk("\"c-7\"}\n\ndata: x\n\n"),
    );
    for byte in wire.as_bytes() {
        peer.0.write_all(&[*byte]).unwrap();
    }
    let request = peer.request();
    assert!(
        request.starts_with("GET /events?session=c-7 HTTP/1.1\r\n"),
        "{request}"
    );
    assert_eq!(peer.sees_now(), Arrived::NothingYet);
    peer.send(STREAM);
    peer.send(EVENT);
    assert_eq!(peer.sees(), Arrived::Fin);
    stage.all_end(End::AsPlanned, 1);
    let counts = stage.counts();
    assert_eq!((counts.sessions_created, counts.turns), (1, 0));
    assert_eq!((counts.events, counts.captures_failed), (3, 0));
    assert_eq!(stage.driver.take_latency().first_event.len(), 2);
}

#[test]
fn a_session_is_shared_by_its_pool_until_it_is_deleted() {
    let header = creates(
        CaptureFrom::Header("Mcp-Session-Id".into()),
        CaptureBy::Whole,
        Some(0),
    );
    let create = Script {
        name: "create".into(),
        exchanges: vec![Exchange {
            think: std::time::Duration::ZERO,
            expect: Expect::Success,
            ..chat("{}", header, Unit::Session)
        }],
    };
    let turn = Script {
        name: "turn".into(),
        exchanges: vec![
            chat(
                "id={session}",
                SessionUse::Uses { pool: Some(0) },
                Unit::Turn,
            ),
            Exchange {
                think: std::time::Duration::ZERO,
                request: Request {
                    method: "DELETE".into(),
                    target: "/sessions/{session}".into(),
                    headers: vec![("Mcp-Session-Id".into(), "{session}".into())],
                    body: String::new(),
                },
                expect: Expect::Success,
                session: SessionUse::Deletes,
                counts: Unit::Nothing,
            },
        ],
    };
    let stage = Stage::with(vec![], |config| config.scripts = vec![create, turn]);
    stage.play(Leave::Complete, 1, Stay::ToTheEnd);
    let mut creator = stage.serve("HTTP/1.1 201 Created\r\nmcp-session-id: s9\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
    assert_eq!(creator.sees(), Arrived::Fin);
    let mut batch = stage.batch(Leave::Complete, 1, Stay::ToTheEnd);
    batch.script = 1;
    stage.driver.play(stage.clock.now(), vec![batch.clone()]);
    let mut peer = stage.accept();
    assert!(peer.request().ends_with("\r\n\r\nid=s9"));
    peer.send(&format!("{STREAM}{EVENT}{END}"));
    let request = peer.request();
    assert!(request.starts_with("DELETE /sessions/s9 "), "{request}");
    assert!(request.contains("Mcp-Session-Id: s9\r\n"), "{request}");
    peer.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(peer.sees(), Arrived::Fin);
    stage.all_end(End::AsPlanned, 2);
    let counts = stage.counts();
    assert_eq!(
        (
            counts.sessions_created,
            counts.turns,
            counts.sessions_deleted
        ),
        (1, 1, 1)
    );
    // Nobody may borrow it any more.
    stage.driver.play(stage.clock.now(), vec![batch]);
    stage.until("the third", || stage.ended(End::BadResponse) == 1);
    assert!(
        stage.problem().contains("has no session to name"),
        "{stage}"
    );
}

#[test]
fn a_server_that_closes_between_two_exchanges_is_named() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n",
    ] {
        let stage = Stage::new(vec![get("/one"), get("/two")]);
        stage.play(Leave::Fin, 1, NOW);
        let peer = stage.serve(answer);
        peer.0.shutdown(std::net::Shutdown::Write).unwrap();
        stage.all_end(End::ServerClosed, 1);
        assert_eq!(
            stage.problem(),
            "GET /one was closed by the server although more requests were to follow"
        );
    }
}

#[test]
fn a_capture_that_does_not_match_is_counted_and_the_rest_goes_on() {
    let body = creates(CaptureFrom::Body, CaptureBy::Pointer("/id".into()), None);
    let stage = Stage::new(vec![
        Exchange {
            think: std::time::Duration::ZERO,
            expect: Expect::Success,
            ..chat("x", body, Unit::Session)
        },
        get("/events"),
    ]);
    stage.play(Leave::Fin, 1, NOW);
    let mut peer = stage.serve("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"id\":null");
    peer.request();
    peer.send(STREAM);
    peer.send(EVENT);
    assert_eq!(peer.sees(), Arrived::Fin);
    assert_eq!(stage.counts().captures_failed, 1);
}

#[test]
fn a_large_request_is_sent_to_its_end_before_the_answer_counts() {
    let mut exchange = chat("", SessionUse::None, Unit::Nothing);
    exchange.request.body = "x".repeat(8 << 20);
    let stage = Stage::new(vec![exchange]);
    stage.play(Leave::Complete, 1, Stay::ToTheEnd);
    let mut peer = stage.accept();
    assert!(peer.request().len() > 8 << 20);
    peer.send(&format!("{STREAM}{EVENT}{END}"));
    assert_eq!(peer.sees(), Arrived::Fin);
    stage.all_end(End::AsPlanned, 1);
}

/// Coordinated omission: a server that stops for a while must not make the load stop, nor hide the wait.
#[test]
fn a_server_that_stops_is_loaded_all_the_same_and_every_wait_is_seen() {
    let pause = Duration::from_millis(1000);
    let stage = Stage::new(vec![get("/events")]);
    let began = stage.clock.now();
    stage.play_over(Leave::Fin, 100, NOW, pause);
    // The server accepts nothing for a second; the kernel completes the handshakes. All 100 are open by then.
    stage.until("all openings", || stage.counts().opened == 100);
    let took = stage.clock.now().since(began);
    assert!(took < pause + pause / 2, "opening took {took:?}");
    for _ in 0..100 {
        let mut peer = stage.serve(STREAM);
        peer.send(EVENT);
        assert_eq!(peer.sees(), Arrived::Fin);
    }
    stage.all_end(End::AsPlanned, 100);
    let latency = stage.driver.take_latency();
    assert_eq!(latency.first_event.len(), 100);
    // Client i was due at i × 10 ms and waited at least until the second was over: the median waited half of it.
    let median = latency.first_event.value_at_quantile(0.5);
    assert!(median >= 450_000, "median wait {median} µs");
    assert!(latency.late.value_at_quantile(0.9) < 50_000);
    assert!(stage.driver.take_latency().first_event.is_empty());
}

#[test]
fn a_flood_on_one_stream_does_not_keep_the_others_waiting() {
    let stage = Stage::new(vec![get("/events")]);
    stage.play(Leave::Fin, 1, LONG);
    let flood = stage.serve("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
    let events = "data: x\n\n".repeat(7000);
    let flooding = thread::spawn(move || {
        let mut flood = flood;
        while flood.0.write_all(events.as_bytes()).is_ok() {}
    });
    stage.until("the flood", || stage.counts().events > 100_000);
    for _ in 0..50 {
        stage.play(Leave::Fin, 1, NOW);
        let mut peer = stage.serve(STREAM);
        peer.send(EVENT);
        assert_eq!(peer.sees(), Arrived::Fin);
    }
    stage.driver.recall();
    stage.all_end(End::AsPlanned, 51);
    flooding.join().unwrap();
}
