//! Real worker processes against a small server: the same counts as one driver's, and every way in which a worker or a run may end.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    num::NonZeroU32,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use sse_soak::{
    drive::{DriveConfig, Driver, Limits, Transport},
    fleet::{Fleet, FleetConfig},
    plan::{
        Batch, Exchange, Expect, Leave, Manners, Request, Script, Segment, SessionUse, Stay, Unit,
    },
    timeline::{Clock, Counts, Elapsed, End, PortBook, Tally},
};

/// Far beyond anything these tests wait for.
const PATIENCE: Duration = Duration::from_secs(60);
const HEAD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const EVENT: &str = "9\r\ndata: x\n\n\r\n";
const END: &str = "0\r\n\r\n";

/// Who came to the server: the port it came from, and what it asked for.
type Guests = Arc<Mutex<Vec<(u16, String)>>>;

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let clock = Clock::start();
    while !holds() {
        assert!(clock.now().0 < PATIENCE, "waited in vain for {what}");
        thread::park_timeout(Duration::from_millis(2));
    }
}

/// `/complete` is answered with three events and ends; everything else gets one event and waits for its client to go.
fn serve() -> (SocketAddr, Guests) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let guests = Guests::default();
    let all = Arc::clone(&guests);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let guests = Arc::clone(&guests);
            thread::spawn(move || answer(stream.unwrap(), &guests));
        }
    });
    (addr, all)
}

fn answer(mut stream: TcpStream, guests: &Guests) -> Option<()> {
    let mut request = vec![];
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        request.push(byte[0]);
    }
    let request = String::from_utf8(request).unwrap();
    let target = request.split(' ').nth(1)?.to_owned();
    let text = if target.starts_with("/complete") {
        [HEAD, EVENT, EVENT, EVENT, END].concat()
    } else {
        [HEAD, EVENT].concat()
    };
    let port = stream.peer_addr().ok()?.port();
    guests.lock().unwrap().push((port, target));
    stream.write_all(text.as_bytes()).ok()?;
    stream.read_exact(&mut [0]).ok() // it never says more: this ends when it goes
}

fn script(path: &str) -> Script {
    Script {
        name: path.into(),
        exchanges: vec![Exchange {
            think: std::time::Duration::ZERO,
            request: Request {
                method: "GET".into(),
                target: format!("/{path}?n={{n}}"),
                headers: vec![],
                body: String::new(),
            },
            expect: Expect::Stream,
            session: SessionUse::None,
            counts: Unit::Nothing,
        }],
    }
}

fn drive(addr: SocketAddr) -> DriveConfig {
    DriveConfig {
        addr,
        host: "test".into(),
        scripts: ["complete", "fin", "rst"].map(script).into(),
        pools: 0,
        seed: 1,
        limits: Limits::default(),
        stall_receive_buffer: None,
        slow_bytes_per_second: 100,
        segment: Segment::WHOLE,
        sources: vec![],
        transport: Transport::default(),
    }
}

fn batch(leave: Leave, count: u32, stay: Stay) -> Batch {
    let script = match leave {
        Leave::Complete => 0,
        Leave::Fin => 1,
        _ => 2,
    };
    Batch {
        script,
        leave,
        count,
        after: Duration::ZERO,
        over: Duration::from_millis(50),
        stay,
        manners: Manners::default(),
    }
}

fn us() -> PathBuf {
    env!("CARGO_BIN_EXE_sse-soak").into()
}

/// A fleet and the books that it fills.
struct Stage {
    fleet: Fleet,
    clock: Clock,
    tally: Arc<Tally>,
    ports: Arc<PortBook>,
}

impl Stage {
    fn new(workers: u32, drive: DriveConfig) -> Self {
        let (tally, ports) = (Arc::<Tally>::default(), Arc::<PortBook>::default());
        let clock = Clock::start();
        let config = FleetConfig {
            workers: NonZeroU32::new(workers).unwrap(),
            program: us(),
            answer_within: Duration::from_secs(5),
            drive,
        };
        let fleet = Fleet::start(&config, clock, Arc::clone(&tally), Arc::clone(&ports)).unwrap();
        Self {
            fleet,
            clock,
            tally,
            ports,
        }
    }

    fn play(&self, batches: &[Batch]) {
        self.fleet.play(self.clock.now(), batches);
    }

    fn counts(&self) -> Counts {
        self.fleet.sync();
        self.tally.counts()
    }

    /// Holds so many streams.
    fn hold(&self, count: u32) {
        self.play(&[batch(Leave::Fin, count, Stay::Until(PATIENCE * 60))]);
        until("the streams to stand", || {
            self.tally.counts().events >= u64::from(count)
        });
    }

    fn pid(&self, worker: usize) -> Pid {
        pid(self.fleet.facts()[worker].pid.unwrap())
    }
}

fn pid(raw: u32) -> Pid {
    Pid::from_raw(raw.try_into().unwrap()).unwrap()
}

fn is_gone(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let is_zombie = stat.is_ok_and(|stat| stat.rsplit(')').next().unwrap().starts_with(" Z"));
    is_zombie || test_kill_process(pid).is_err()
}

fn is_over(counts: &Counts) -> bool {
    counts.pending == 0 && counts.live() == 0
}

#[test]
fn a_fleet_counts_what_one_driver_counts() {
    let plan = [
        batch(Leave::Complete, 31, Stay::ToTheEnd),
        batch(Leave::Fin, 20, Stay::For(Duration::ZERO)),
        batch(Leave::Rst, 10, Stay::For(Duration::ZERO)),
    ];
    let (addr, alone_guests) = serve();
    let (tally, clock) = (Arc::<Tally>::default(), Clock::start());
    let driver = Driver::start(drive(addr), clock, Arc::clone(&tally), Arc::default()).unwrap();
    driver.play(clock.now(), plan.to_vec());
    until("one driver to be done", || is_over(&tally.counts()));
    let (alone, alone_latency) = (tally.counts(), driver.take_latency());

    let (addr, guests) = serve();
    let stage = Stage::new(3, drive(addr));
    stage.play(&plan);
    until("the fleet to be done", || is_over(&stage.tally.counts()));
    let latency = stage.fleet.take_latency();
    assert_eq!(stage.counts(), alone);
    assert_eq!(latency.connect.len(), alone_latency.connect.len());
    assert_eq!(latency.late.len(), 61);
    assert_eq!(latency.first_event.len(), alone_latency.first_event.len());

    let asked = |guests: &Guests| -> BTreeSet<String> {
        let guests = guests.lock().unwrap();
        guests.iter().map(|(_, target)| target.clone()).collect()
    };
    assert_eq!(asked(&guests), asked(&alone_guests));
    assert_eq!(asked(&guests).len(), 61);
    for (port, target) in guests.lock().unwrap().iter() {
        let leave = stage.ports.leave(*port).unwrap().name();
        assert!(
            target.starts_with(&format!("/{leave}?")),
            "{port}: {target}"
        );
    }
    assert_eq!(stage.fleet.losses(), [""; 0]);
    assert!(stage.fleet.problems().is_empty());
    for worker in stage.fleet.facts() {
        assert!(
            worker.clock_ahead_s.abs() <= worker.clock_within_s + 1e-3,
            "{worker:?}"
        );
    }
}

#[test]
fn a_worker_that_dies_is_said_and_counted_and_the_others_go_on() {
    let (addr, _) = serve();
    let stage = Stage::new(3, drive(addr));
    stage.hold(9);
    let before = stage.counts();
    assert_eq!((before.live(), before.errors()), (9, 0));
    kill_process(stage.pid(1), Signal::KILL).unwrap();
    until("the loss", || !stage.fleet.losses().is_empty());
    let losses = stage.fleet.losses();
    for part in ["worker 2 of 3", "killed by signal 9", "3 open streams"] {
        assert!(losses[0].contains(part), "{losses:?}");
    }
    let counts = stage.counts();
    assert!(counts.follows(&before));
    assert_eq!((counts.live(), counts.ended[End::Lost as usize]), (6, 3));
    assert_eq!(counts.closed[Leave::Fin.index()], 3);
    assert_eq!(stage.fleet.facts()[1].pid, None);

    stage.play(&[batch(Leave::Fin, 3, Stay::Until(PATIENCE))]);
    until("the others", || stage.counts().live() == 8);
    assert_eq!(
        stage.counts().not_opened,
        1,
        "what was planned for the dead"
    );
    stage.fleet.recall();
    until("everybody to leave", || is_over(&stage.counts()));
    assert_eq!(stage.counts().ended[End::AsPlanned as usize], 8);
    assert_eq!(stage.fleet.died(), None);
    for worker in [0, 2] {
        kill_process(stage.pid(worker), Signal::KILL).unwrap();
    }
    until("the end of all", || stage.fleet.died().is_some());
    assert_eq!(stage.fleet.losses().len(), 3);
}

#[test]
fn a_worker_that_does_not_answer_any_more_is_ended_and_lost() {
    let (addr, _) = serve();
    let stage = Stage::new(2, drive(addr));
    stage.hold(4);
    let stopped = stage.pid(0);
    kill_process(stopped, Signal::STOP).unwrap();
    let counts = stage.counts(); // waits for it as long as it waits for anybody
    assert_eq!((counts.live(), counts.ended[End::Lost as usize]), (2, 2));
    assert!(is_gone(stopped));
}

#[test]
fn dropping_a_fleet_ends_its_workers_and_counts_what_they_held_as_stopped() {
    let (addr, _) = serve();
    let stage = Stage::new(2, drive(addr));
    stage.hold(4);
    let workers = [stage.pid(0), stage.pid(1)];
    let tally = Arc::clone(&stage.tally);
    drop(stage);
    assert!(workers.into_iter().all(is_gone));
    let counts = tally.counts();
    assert_eq!((counts.live(), counts.ended[End::Stopped as usize]), (0, 4));
}

#[test]
fn workers_die_with_a_run_that_is_killed() {
    let (addr, guests) = serve();
    let mut run = Command::new(us())
        .args(["hold", "-q", "-n", "6", "--ramp", "1ms", "--for", "1h"])
        .args(["--workers", "2", "--url", &format!("http://{addr}/held")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the streams", || guests.lock().unwrap().len() == 6);
    let children = format!("/proc/{0}/task/{0}/children", run.id());
    let children = fs::read_to_string(children).unwrap();
    let workers = children
        .split_whitespace()
        .map(|id| pid(id.parse().unwrap()));
    let workers: Vec<_> = workers.collect();
    assert_eq!(workers.len(), 2);
    run.kill().unwrap();
    run.wait().unwrap();
    until("the end of the workers", || {
        workers.iter().all(|id| is_gone(*id))
    });
}

#[test]
fn what_makes_no_sense_ends_a_worker_with_one_sentence() {
    for (input, sentence) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "this is not our protocol"),
        (b"\x05\0\0\0hello", "a frame makes no sense"),
        (b"\x40\0\0\0{\"he", "ended in the middle of a frame"),
        (
            b"\x2a\0\0\0{\"hello\":{\"protocol\":99,\"version\":\"9.9\"}} ",
            "the run (sse-soak 9.9) speaks version 99",
        ),
    ] {
        let mut worker = Command::new(us())
            .arg("worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        worker.stdin.take().unwrap().write_all(input).unwrap();
        let ended = worker.wait_with_output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(
            (ended.status.code(), said.lines().count()),
            (Some(1), 1),
            "{said}"
        );
        assert!(said.contains(sentence), "{said}");
    }
}

#[test]
fn a_worker_that_is_none_is_refused_with_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    for (name, words, sentence) in [
        ("silent", "exit 3", "it ended with exit code 3"),
        ("chatty", "echo Hello, run!", "this is not our protocol"),
        (
            "newer",
            r#"printf '\051\000\000\000{"hello":{"protocol":99,"version":"9.9"}}'"#,
            "the worker (sse-soak 9.9) speaks version 99",
        ),
        (
            "stranger",
            r#"printf '\016\000\000\000{"failed":"x"}'"#,
            "it ended: x",
        ),
    ] {
        let program = folder.path().join(name);
        fs::write(&program, format!("#!/bin/sh\n{words}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        let config = FleetConfig {
            workers: NonZeroU32::MIN,
            program,
            answer_within: PATIENCE,
            drive: drive(([127, 0, 0, 1], 1).into()),
        };
        let started = Fleet::start(&config, Clock::start(), Arc::default(), Arc::default());
        let said = started.unwrap_err().to_string();
        assert!(
            said.contains(sentence) && !said.contains('\n'),
            "{name}: {said}"
        );
    }
}

#[test]
fn a_worker_plays_on_the_clock_of_the_run() {
    let (addr, _) = serve();
    let stage = Stage::new(2, drive(addr));
    // Due half an hour ago on the run's clock: a worker that counted from its own start would have to wait.
    let long_ago = Elapsed::default();
    let late = Batch {
        after: Duration::ZERO,
        over: Duration::ZERO,
        ..batch(Leave::Complete, 4, Stay::ToTheEnd)
    };
    let began = stage.clock.now();
    stage.fleet.play(long_ago, &[late]);
    until("all to be done", || {
        is_over(&stage.tally.counts()) && stage.tally.counts().opened == 4
    });
    let late = stage.fleet.take_latency().late;
    let lateness = Duration::from_micros(late.min());
    assert!(
        lateness + Duration::from_millis(2) >= began.0,
        "{lateness:?} of {:?}",
        began.0
    );
}
