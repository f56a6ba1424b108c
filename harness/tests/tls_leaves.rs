//! TLS as a server sees it: whom we believe, what we say when we do not, and how every leave mode ends a session.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fmt, fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use sse_soak::{
    drive::{DriveConfig, Driver, Limits, Tls, Transport, Trust},
    plan::{
        Batch, Exchange, Expect, Leave, Manners, Request, Script, Segment, SessionUse, Stay, Unit,
    },
    timeline::{Clock, Counts, End, PortBook, Tally},
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);
const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
const EVENT: &str = "data: x\n\n";
const LONG: Stay = Stay::For(Duration::from_secs(3600));
const NOW: Stay = Stay::For(Duration::ZERO);

/// A server that we know everything about, and a driver that is told whom to believe.
struct Stage {
    listener: TcpListener,
    config: Arc<ServerConfig>,
    driver: Driver,
    clock: Clock,
    tally: Arc<Tally>,
    _folder: TempDir,
}

/// What the certificate of the server is like.
#[derive(Clone, Copy)]
struct Certificate {
    name: &'static str,
    until: i32,
}

const GOOD: Certificate = Certificate {
    name: "127.0.0.1",
    until: 4000,
};

/// How a session ended, for the server.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// `close_notify`, then FIN.
    Politely,
    /// FIN alone.
    Cut,
    Rst,
    Bytes(usize),
}

type Peer = StreamOwned<ServerConnection, TcpStream>;

fn made(
    certificate: Certificate,
) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, String) {
    let mut params = CertificateParams::new([certificate.name.to_owned()]).unwrap();
    params.not_after = date_time_ymd(certificate.until, 1, 1);
    let key = KeyPair::generate().unwrap();
    let made = params.self_signed(&key).unwrap();
    let secret = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    (vec![made.der().clone()], secret, made.pem())
}

impl Stage {
    fn new(certificate: Certificate, trust: impl FnOnce(PathBuf) -> Trust) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (chain, key, pem) = made(certificate);
        let file = folder.path().join("ca.pem");
        fs::write(&file, pem).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let drive = DriveConfig {
            addr: listener.local_addr().unwrap(),
            host: "test".into(),
            scripts: vec![script()],
            pools: 0,
            seed: 1,
            limits: Limits::default(),
            stall_receive_buffer: Some(4096),
            slow_bytes_per_second: 4096,
            transport: Transport {
                tls: Some(Tls {
                    name: "127.0.0.1".into(),
                    trust: trust(file),
                }),
                streams_per_connection: None,
            },
            segment: Segment::WHOLE,
            sources: vec![],
        };
        let (clock, tally) = (Clock::start(), Arc::new(Tally::default()));
        let ports = Arc::new(PortBook::default());
        let driver = Driver::start(drive, clock, Arc::clone(&tally), ports).unwrap();
        Self {
            listener,
            config: Arc::new(config),
            driver,
            clock,
            tally,
            _folder: folder,
        }
    }

    fn believed() -> Self {
        Self::new(GOOD, Trust::File)
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
        StreamOwned::new(
            ServerConnection::new(Arc::clone(&self.config)).unwrap(),
            stream,
        )
    }

    /// Accepts, takes the request, and answers with this.
    fn serve(&self, answer: &str) -> Peer {
        let mut peer = self.accept();
        let mut request = vec![];
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            peer.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        peer.write_all(answer.as_bytes()).unwrap();
        peer.flush().unwrap();
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

    fn ends(&self, end: End) {
        self.until(end.name(), || {
            self.counts().live() == 0 && self.counts().pending == 0
        });
        assert_eq!(self.counts().ended[end as usize], 1, "{self}");
    }

    /// The one problem, after a handshake with a server that does its best.
    fn problem(&self) -> String {
        self.play(Leave::Fin, 1, NOW);
        let mut peer = self.accept();
        peer.read_exact(&mut [0]).ok(); // it is refused, or it is not: the driver says
        self.ends(End::ConnectFailed);
        self.driver.problems()[0].to_string()
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.counts(), self.driver.problems())
    }
}

fn script() -> Script {
    Script {
        name: "test".into(),
        exchanges: vec![Exchange {
            think: std::time::Duration::ZERO,
            request: Request {
                method: "GET".into(),
                target: "/events".into(),
                headers: vec![],
                body: String::new(),
            },
            expect: Expect::Stream,
            session: SessionUse::None,
            counts: Unit::Nothing,
        }],
    }
}

fn end_of(peer: &mut Peer) -> Ended {
    match peer.read(&mut [0; 64]) {
        Ok(0) => Ended::Politely,
        Ok(length) => Ended::Bytes(length),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ended::Cut,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ended::Rst,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn every_way_of_leaving_ends_the_session_in_its_own_way() {
    for (leave, stay, ended) in [
        (Leave::Fin, NOW, Ended::Politely),
        (Leave::Orphan, NOW, Ended::Politely),
        (Leave::Slow, NOW, Ended::Politely),
        (Leave::HalfClose, LONG, Ended::Politely),
        (Leave::Early, NOW, Ended::Politely),
        (Leave::Rst, NOW, Ended::Rst),
    ] {
        let stage = Stage::believed();
        stage.play(leave, 1, stay);
        let mut peer = stage.serve(HEAD);
        // Who left before the answer takes no event any more.
        let event = peer.write_all(EVENT.as_bytes()).and_then(|()| peer.flush());
        assert!(
            event.is_ok() || leave == Leave::Early,
            "{leave:?} {event:?}"
        );
        assert_eq!(end_of(&mut peer), ended, "{leave:?}");
        if leave == Leave::HalfClose {
            // It reads on, although it has said goodbye.
            peer.write_all(EVENT.as_bytes()).unwrap();
            peer.flush().unwrap();
            stage.until("another event", || stage.counts().events == 2);
            stage.driver.recall();
        }
        stage.ends(End::AsPlanned);
    }
}

#[test]
fn whoever_stalls_reads_nothing_and_resets_at_the_end() {
    let stage = Stage::believed();
    stage.play(Leave::Stall, 1, LONG);
    let mut peer = stage.serve(HEAD);
    peer.write_all(EVENT.as_bytes()).unwrap();
    stage.driver.recall();
    assert_eq!(end_of(&mut peer), Ended::Rst);
    stage.ends(End::AsPlanned);
    assert_eq!(stage.counts().events, 0);
}

#[test]
fn an_answer_is_complete_when_the_server_says_so() {
    let stage = Stage::believed();
    stage.play(Leave::Complete, 1, Stay::ToTheEnd);
    let mut peer = stage.serve(&format!("{HEAD}{}", EVENT.repeat(3)));
    peer.conn.send_close_notify();
    peer.flush().unwrap();
    assert_eq!(end_of(&mut peer), Ended::Politely);
    stage.ends(End::AsPlanned);
    assert_eq!(stage.counts().events, 3);
}

#[test]
fn a_stream_of_many_records_is_read_whole_however_they_are_cut() {
    const EVENTS: usize = 20_000;
    let stage = Stage::believed();
    stage.play(Leave::Fin, 1, LONG);
    let mut peer = stage.serve(HEAD);
    let text = "data: 0123456789\n\n".repeat(EVENTS);
    for cut in text.as_bytes().chunks(40_001) {
        peer.write_all(cut).unwrap();
    }
    peer.flush().unwrap();
    stage.until("all events", || stage.counts().events == EVENTS as u64);
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused_in_one_sentence() {
    let other = |_| {
        let folder = tempfile::tempdir().unwrap().keep();
        let file = folder.join("other.pem");
        fs::write(&file, made(GOOD).2).unwrap();
        Trust::File(file)
    };
    let wrong_authority = Stage::new(GOOD, other).problem();
    assert!(
        wrong_authority.contains("signed by nobody we trust") && wrong_authority.contains("--ca"),
        "{wrong_authority}"
    );
    let expired = Certificate {
        until: 2020,
        ..GOOD
    };
    let expired = Stage::new(expired, Trust::File).problem();
    assert!(expired.contains("has expired"), "{expired}");
    let name = Certificate {
        name: "elsewhere.test",
        ..GOOD
    };
    let name = Stage::new(name, Trust::File).problem();
    assert!(name.contains("for another name"), "{name}");
}

#[test]
fn whoever_is_told_to_believes_an_expired_certificate_for_another_name() {
    let certificate = Certificate {
        name: "elsewhere.test",
        until: 2020,
    };
    let stage = Stage::new(certificate, |_| Trust::Anyone);
    stage.play(Leave::Fin, 1, NOW);
    let mut peer = stage.serve(&format!("{HEAD}{EVENT}"));
    assert_eq!(end_of(&mut peer), Ended::Politely);
    stage.ends(End::AsPlanned);
}

#[test]
fn a_file_without_certificates_is_refused_before_the_load_begins() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("empty.pem");
    fs::write(&file, "nothing").unwrap();
    let config = DriveConfig {
        addr: ([127, 0, 0, 1], 1).into(),
        host: "test".into(),
        scripts: vec![script()],
        pools: 0,
        seed: 1,
        limits: Limits::default(),
        stall_receive_buffer: None,
        slow_bytes_per_second: 1,
        transport: Transport {
            tls: Some(Tls {
                name: "localhost".into(),
                trust: Trust::File(file),
            }),
            streams_per_connection: None,
        },
        segment: Segment::WHOLE,
        sources: vec![],
    };
    let started = Driver::start(config, Clock::start(), Arc::default(), Arc::default());
    let error = started.unwrap_err().to_string();
    assert!(
        error.contains("empty.pem") && error.contains("PEM"),
        "{error}"
    );
}

/// Bytes in place of a handshake, or in the middle of one.
#[test]
fn a_server_that_speaks_no_tls_is_found_out_and_nothing_breaks() {
    let garbage: [&[u8]; 6] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x16\x03\x03\x40\x00",
        b"\x16\x03\x03\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x03\x00\x03\x02\x00\x00\x16\x03\x03\x00\x01\x00",
        b"\x17\x03\x03\x00\x05hello",
        &[0xFF; 5000],
    ];
    for bytes in garbage {
        let stage = Stage::believed();
        stage.play(Leave::Fin, 1, NOW);
        let mut socket = stage.accept().sock;
        socket.write_all(bytes).unwrap();
        drop(socket);
        stage.until("its end", || {
            stage.counts().live() == 0 && stage.counts().pending == 0
        });
        let counts = stage.counts();
        let known = [End::ConnectFailed, End::ServerClosed, End::ServerReset];
        let ended: u64 = known.iter().map(|end| counts.ended[*end as usize]).sum();
        assert_eq!(ended, 1, "{bytes:?}: {stage}");
        assert_eq!(stage.driver.died(), None);
    }
}
