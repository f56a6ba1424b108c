//! The observer over real processes, real sockets and a small admin listener.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, sync_channel},
    },
    time::Duration,
};

use sse_soak::{
    observe::{
        Admin, ObserveConfig, ObserveError, Observer, Presence, RuntimeConfig, Sample, Sockets,
    },
    plan::Leave,
    timeline::{Clock, PortBook},
};

const LONG: Duration = Duration::from_secs(20);
const SECOND: Duration = Duration::from_secs(1);
const NEVER: Duration = Duration::from_secs(3600);

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let clock = Clock::start();
    while !condition() {
        assert!(clock.now().0 < LONG, "waited in vain for: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// A python process that prints its port; killed when dropped.
struct Server {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Server {
    fn python(program: &str) -> Self {
        Self::command(Command::new("python3").args(["-uc", program]))
    }

    fn command(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn addr(&mut self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.line().parse().unwrap()))
    }

    /// Gives the program a line to go on.
    fn go_on(&mut self) {
        self.child
            .stdin
            .as_mut()
            .unwrap()
            .write_all(b"go on\n")
            .unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn config(pid: Option<u32>, addr: SocketAddr) -> ObserveConfig {
    ObserveConfig {
        runtime: RuntimeConfig::None,
        metrics: None,
        pid,
        addr,
        admin: None,
        every: NEVER,
    }
}

fn start(config: ObserveConfig) -> (Observer, Receiver<Sample>) {
    let (sender, samples) = sync_channel(100);
    let observer = Observer::start(config, Clock::start(), Arc::default(), sender).unwrap();
    (observer, samples)
}

fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}

#[test]
fn samples_come_on_the_grid_and_a_full_queue_counts_its_losses() {
    let every = Duration::from_millis(20);
    let (sender, samples) = sync_channel(3);
    let config = ObserveConfig {
        every,
        ..config(Some(std::process::id()), nowhere())
    };
    let observer = Observer::start(config, Clock::start(), Arc::default(), sender).unwrap();
    eventually("a loss", || observer.lost() > 0);
    let taken: Vec<Sample> = samples.try_iter().collect();
    assert_eq!(taken.len(), 3);
    for pair in taken.windows(2) {
        let points = pair[1].at.0.as_millis() / 20 - pair[0].at.0.as_millis() / 20;
        assert!(points >= 1, "two samples for one point: {pair:?}");
    }
    assert!(taken[0].own.rss_bytes.is_some() && !taken[0].settled);
    observer.stop();
    samples.iter().for_each(drop); // ends, since the thread and its end of the queue are gone
}

#[test]
fn a_target_out_of_sight_is_missing_and_not_zero() {
    let (observer, _samples) = start(config(None, "192.0.2.1:80".parse().unwrap()));
    let look = observer.look();
    assert_eq!(
        (look.presence, look.tree, look.sockets, look.target),
        (Presence::Unseen, None, None, None)
    );
    assert!(look.host.memory_total_bytes.is_some() && look.host.cgroup_bytes.is_none());
    assert!(look.gaps.is_empty(), "{:?}", look.gaps);
    assert!(matches!(observer.retain(1, 1), Err(ObserveError::NoAdmin)));
    assert_eq!(observer.status_json(), None);
}

#[test]
fn a_process_that_is_not_there_cannot_be_observed() {
    let (sender, _samples) = sync_channel(1);
    let gone = Observer::start(
        config(Some(u32::MAX - 1), nowhere()),
        Clock::start(),
        Arc::default(),
        sender,
    );
    let error = gone.unwrap_err();
    assert!(matches!(error, ObserveError::Target(_)), "{error}");
}

/// A root that forks two workers of 20 MB each, which burn a little processor time; told to go on, it loses one after the other, the
/// first waited for, the second not.
const WORKERS: &str = "
import os, signal, sys, time
workers = []
for _ in range(2):
    pid = os.fork()
    if pid == 0:
        data = bytearray(b'x' * 20_000_000)
        end = time.process_time() + 0.1
        while time.process_time() < end: pass
        print('worker', flush=True)
        signal.pause()
    workers.append(pid)
sys.stdin.readline()
os.kill(workers[0], 9)
os.waitpid(workers[0], 0)
print('one less')
sys.stdin.readline()
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.kill(workers[1], 9)
print('two less')
sys.stdin.readline()
";

#[test]
fn workers_count_come_and_go_and_processor_time_never_falls() {
    let mut server = Server::python(WORKERS);
    let (observer, _samples) = start(config(Some(server.child.id()), nowhere()));
    assert_eq!([server.line(), server.line()], ["worker", "worker"]);

    let three = observer.settled_look();
    let tree = three.tree.unwrap();
    assert_eq!(
        (three.presence, tree.processes, tree.threads),
        (Presence::Alive, 3, Some(3))
    );
    assert!(!three.settled, "nobody to ask");
    for bytes in [
        tree.rss_bytes,
        tree.pss_bytes,
        tree.pss_anon_bytes,
        tree.anon_bytes,
    ] {
        assert!(bytes.unwrap() > 40_000_000, "{tree:?}");
    }
    assert!(tree.pss_bytes < tree.rss_bytes && tree.pss_anon_bytes <= tree.pss_bytes);
    assert!(tree.cpu_seconds.unwrap() >= 0.2);
    assert!((9..40).contains(&tree.fds.unwrap()), "{tree:?}");
    assert!(three.gaps.is_empty(), "{:?}", three.gaps);

    for (left, line) in [(2, "one less"), (1, "two less")] {
        let before = observer.look().tree.unwrap().cpu_seconds;
        server.go_on();
        assert_eq!(server.line(), line);
        eventually("one process less", || {
            observer.look().tree.unwrap().processes == left
        });
        assert!(observer.look().tree.unwrap().cpu_seconds >= before);
    }
    let alone = observer.look().tree.unwrap();
    assert_eq!(alone.processes_seen_total, 3);
    assert!(alone.anon_bytes.unwrap() < 20_000_000, "{alone:?}");
    assert_eq!(alone.pss_bytes, None, "a quick look walks no page tables");
}

#[test]
fn a_target_that_ended_is_gone_which_is_no_gap() {
    let mut server = Server::python("input()");
    let (observer, _samples) = start(config(Some(server.child.id()), nowhere()));
    assert_eq!(observer.look().presence, Presence::Alive);
    server.child.kill().unwrap();
    eventually("gone even as a zombie", || {
        observer.look().presence == Presence::Gone
    });
    server.child.wait().unwrap();
    let look = observer.settled_look();
    assert_eq!((look.presence, look.tree), (Presence::Gone, None));
    assert!(look.gaps.is_empty(), "{:?}", look.gaps);
}

/// Accepts everything and, told to go on, closes nothing: what the peers close stays in CLOSE_WAIT.
const HOARDER: &str = "
import socket, sys
s = socket.create_server(('127.0.0.1', 0), backlog=64)
print(s.getsockname()[1], flush=True)
held = [s.accept()[0] for _ in range(4)]
print('four', flush=True)
sys.stdin.readline()
";

#[test]
fn the_servers_sockets_are_told_by_how_their_clients_left() {
    let mut server = Server::python(HOARDER);
    let addr = server.addr();
    let ports = Arc::new(PortBook::default());
    let (sender, _samples) = sync_channel(1);
    let config = config(Some(server.child.id()), addr);
    let observer = Observer::start(config, Clock::start(), Arc::clone(&ports), sender).unwrap();
    let client = |leave| {
        let client = TcpStream::connect(addr).unwrap();
        ports.note(client.local_addr().unwrap().port(), leave);
        client
    };
    let [left, stays, mut writes] = [Leave::Fin, Leave::Vanish, Leave::HalfClose].map(client);
    let _stranger = TcpStream::connect(addr).unwrap();
    assert_eq!(server.line(), "four");
    writes.write_all(&[0; 1000]).unwrap();
    drop(left);
    let held = |sockets: &Sockets, leave: Leave| sockets.held_by_leave[leave.index()];
    eventually("one in CLOSE_WAIT", || {
        observer.look().sockets.unwrap().close_wait == 1
    });
    let sockets = observer.look().sockets.unwrap();
    assert_eq!(
        (sockets.established, sockets.held(), sockets.held_by_others),
        (3, 4, 1)
    );
    for leave in [Leave::Fin, Leave::Vanish, Leave::HalfClose] {
        assert_eq!(held(&sockets, leave), 1, "{leave:?}");
    }
    assert_eq!(
        sockets.receive_queue_bytes,
        1000 + 1,
        "the FIN counts as one byte"
    );
    assert!(sockets.kernel_bytes >= 1000);
    drop(server);
    eventually("all gone", || observer.look().sockets.unwrap().held() == 0);
    drop(stays);
}

#[test]
fn a_target_in_a_network_of_its_own_is_seen_too() {
    const INSIDE: &str = "
import socket, sys
s = socket.create_server(('127.0.0.1', 17))
print(17)
c = socket.create_connection(('127.0.0.1', 17))
print('connected')
sys.stdin.readline()
";
    let script = "ip link set lo up && exec python3 -uc \"$0\"";
    let mut server =
        Server::command(Command::new("unshare").args(["-n", "sh", "-c", script, INSIDE]));
    if server.line() != "17" {
        return; // no right to make a network namespace, or no `ip`
    }
    assert_eq!(server.line(), "connected");
    let (observer, _samples) = start(config(
        Some(server.child.id()),
        SocketAddr::from(([127, 0, 0, 1], 17)),
    ));
    let look = observer.look();
    assert!(look.gaps.is_empty(), "root may go there: {:?}", look.gaps);
    let sockets = look.sockets.unwrap();
    assert_eq!(
        (sockets.established, sockets.accept_queue),
        (1, 1),
        "connected, and not accepted"
    );
    assert!(
        TcpListener::bind("127.0.0.1:17").is_ok(),
        "we ourselves stayed where we were"
    );
}

/// Answers every request with what the test says; counts the requests.
struct FakeAdmin {
    addr: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl FakeAdmin {
    /// `answer` gets the request's first line; `None` hangs for ever.
    fn new(answer: impl Fn(&str) -> Option<(u16, String)> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            let mut hung = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let request = read_request(&mut stream);
                let reply = answer(request.lines().next().unwrap_or_default());
                seen.lock().unwrap().push(request);
                match reply {
                    None => hung.push(stream),
                    Some((status, body)) => {
                        let length = body.len();
                        let head = format!(
                            "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
                        );
                        stream.write_all(head.as_bytes()).ok();
                        stream.write_all(body.as_bytes()).ok();
                    }
                }
            }
        });
        Self { addr, requests }
    }

    fn observed(&self) -> (Observer, Receiver<Sample>) {
        start(ObserveConfig {
            admin: Some(Admin {
                url: format!("http://{}", self.addr),
                token: "open sesame".into(),
            }),
            ..config(None, nowhere())
        })
    }
}

/// Head and body of one request.
fn read_request(stream: &mut TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") && reader.read_line(&mut text).unwrap() > 0 {}
    let length = text
        .to_lowercase()
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    text + &String::from_utf8(body).unwrap()
}

const STATUS: &str = r#"{"connections":{"live":2,"opened_total":7},"streams":{"live":1},
  "sessions":{"live":3,"created_total":9,"removed_total":{"ttl":4,"deleted":2}},"events_total":55,"tasks_live":8,
  "heap":{"allocated_bytes":1000},"defects":[{"name":"x"}],"allocator":"jemalloc"}"#;

#[test]
fn the_targets_own_counters_are_read_and_it_tidies_up_when_asked() {
    let admin = FakeAdmin::new(|request| {
        Some(match request {
            "GET /v1/status HTTP/1.1" => (200, STATUS.into()),
            "POST /v1/heap/settle HTTP/1.1" => {
                (200, r#"{"allocated_bytes":900,"active_bytes":950}"#.into())
            }
            "POST /v1/retain HTTP/1.1" => (200, r#"{"blocks":1000,"bytes":256000}"#.into()),
            "POST /v1/release HTTP/1.1" => (204, String::new()),
            _ => (404, String::new()),
        })
    });
    let (observer, _samples) = admin.observed();
    let look = observer.look();
    let target = look.target.unwrap();
    assert!(look.gaps.is_empty(), "{:?}", look.gaps);
    assert_eq!(
        (target.sessions_live, target.sessions_removed_total),
        (Some(3), Some(6))
    );
    assert_eq!(target.heap.unwrap().allocated_bytes, 1000);
    assert!(!look.settled);

    let settled = observer.settled_look();
    assert!(settled.settled);
    let target = settled.target.unwrap();
    assert_eq!(target.heap.unwrap().allocated_bytes, 900);
    assert_eq!(target.events_total, Some(55));

    let retained = observer.retain(256, 1000).unwrap();
    assert_eq!((retained.blocks, retained.bytes), (1000, 256_000));
    observer.release().unwrap();
    assert_eq!(observer.status_json().unwrap()["allocator"], "jemalloc");
    let requests = admin.requests.lock().unwrap();
    assert!(requests.iter().all(|request| {
        request
            .to_lowercase()
            .contains("authorization: bearer open sesame")
    }));
    assert!(
        requests
            .iter()
            .any(|request| request.ends_with(r#"{"bytes":256,"count":1000}"#))
    );
}

#[test]
fn whatever_the_admin_listener_does_wrong_is_one_clear_sentence() {
    for (answer, sentence) in [
        (
            Some((401, "{}".to_owned())),
            "GET /v1/status of the target's admin listener was answered with 401 Unauthorized (is the token the one of this server?)",
        ),
        (
            Some((500, String::new())),
            "GET /v1/status of the target's admin listener was answered with 500 Internal Server Error",
        ),
        (
            Some((200, "<html>".to_owned())),
            "GET /v1/status of the target's admin listener was not answered with JSON: expected value at line 1 column 1",
        ),
        (
            Some((200, "x".repeat(2 << 20))),
            "GET /v1/status of the target's admin listener was answered with more than 1.0 MiB",
        ),
        (
            Some((200, r#"{"connections":{"live":"many"}}"#.to_owned())),
            "the target's `connections.live` should be a whole number, found `\"many\"`",
        ),
        (
            None,
            "GET /v1/status of the target's admin listener was not answered within 800 ms",
        ),
    ] {
        let admin = FakeAdmin::new(move |_| answer.clone());
        let (observer, _samples) = admin.observed();
        assert_eq!(observer.look().gaps, [sentence]);
    }
}

#[test]
fn an_admin_listener_that_hangs_is_left_alone_for_a_while() {
    let admin = FakeAdmin::new(|_| None);
    let (observer, _samples) = admin.observed();
    observer.look();
    let clock = Clock::start();
    let look = observer.look();
    assert_eq!(
        look.gaps,
        ["the target's admin listener hung and is left alone for a while"]
    );
    assert!(
        clock.now().0 < SECOND / 2,
        "it must not be waited for again"
    );
    eventually("it is asked again", || {
        observer.look();
        admin.requests.lock().unwrap().len() > 1
    });
}

#[test]
fn a_target_that_does_not_tidy_up_is_not_settled() {
    let admin = FakeAdmin::new(|request| {
        Some(if request.starts_with("GET") {
            (200, STATUS.into())
        } else {
            (404, String::new())
        })
    });
    let (observer, _samples) = admin.observed();
    let look = observer.settled_look();
    assert!(!look.settled);
    assert_eq!(look.target.unwrap().heap.unwrap().allocated_bytes, 1000);
    assert_eq!(
        look.gaps,
        [
            "POST /v1/heap/settle of the target's admin listener was answered with 404 Not Found (is this the admin listener?)"
        ]
    );
}

#[test]
fn nobody_listening_is_said_with_the_cause() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (observer, _samples) = start(ObserveConfig {
        admin: Some(Admin {
            url: closed.to_string(),
            token: "t".into(),
        }),
        ..config(None, nowhere())
    });
    let gaps = observer.look().gaps;
    assert_eq!(gaps.len(), 1);
    assert!(
        gaps[0].starts_with("GET /v1/status of the target's admin listener failed: "),
        "{gaps:?}"
    );
    assert!(gaps[0].contains("onnection refused"), "{gaps:?}");
}
