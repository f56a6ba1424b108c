//! Coming back like a browser: what is named, when, and that what was lost and repeated is counted to the id.

use std::{
    fs,
    io::Read,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;
use socket2::SockRef;
use sse_soak::{
    plan::{Manners, Reconnect, Stay},
    timeline::End,
};

use super::server::{END, Load, PATIENCE, STREAM, accept, chunk, listen, listen_on, send};

fn comes_back(change: impl FnOnce(&mut Reconnect)) -> Manners {
    let mut reconnect = Reconnect {
        after: Duration::from_millis(20),
        at_most: Duration::from_millis(80),
        jitter_percent: 50,
        give_up_after: PATIENCE,
    };
    change(&mut reconnect);
    Manners {
        reconnect: Some(reconnect),
        ..Manners::default()
    }
}

fn events(ids: impl IntoIterator<Item = u64>) -> String {
    let event = |id| chunk(&format!("id: {id}\ndata: x\n\n"));
    ids.into_iter().map(event).collect()
}

fn last_event_id(request: &str) -> Option<&str> {
    let mut lines = request.lines();
    lines.find_map(|line| line.strip_prefix("Last-Event-ID: "))
}

/// What a server does in one visit of the same client: the ids that it sends, and how it ends it.
struct Visit {
    ids: &'static [u64],
    end: Option<fn(TcpStream)>,
}

fn completes(mut stream: TcpStream) {
    send(&mut stream, END);
}

fn breaks_off(stream: TcpStream) {
    stream.shutdown(Shutdown::Write).unwrap();
}

fn resets(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

#[test]
fn however_a_stream_ends_it_is_asked_for_again_from_where_it_was_and_every_gap_is_counted() {
    let visits = [
        Visit {
            ids: &[1, 2, 3],
            end: Some(completes),
        },
        Visit {
            ids: &[4, 5],
            end: Some(breaks_off),
        }, // nothing lost
        Visit {
            ids: &[9],
            end: Some(resets),
        }, // 6, 7, 8 are lost
        Visit {
            ids: &[8, 9, 10],
            end: Some(breaks_off),
        }, // 8 and 9 once more
        Visit {
            ids: &[10, 13, 17],
            end: Some(completes),
        }, // 10 once more, 11 and 12 lost; after that a gap is the server's business
        Visit {
            ids: &[18],
            end: None,
        },
    ];
    let listener = listen();
    let load = Load::new(listener.local_addr().unwrap(), "/events");
    load.play(1, Duration::ZERO, Stay::Standing, comes_back(|_| {}));
    let mut kept = None;
    let mut seen = 0;
    let mut last: Option<u64> = None;
    for visit in &visits {
        let (mut stream, request) = accept(&listener);
        assert_eq!(
            last_event_id(&request),
            last.map(|id| id.to_string()).as_deref()
        );
        send(&mut stream, STREAM);
        send(&mut stream, &events(visit.ids.iter().copied()));
        seen += visit.ids.len() as u64;
        load.until("the events", || load.counts().events == seen);
        last = visit.ids.last().copied();
        match visit.end {
            Some(end) => end(stream),
            None => kept = Some(stream),
        }
    }
    let counts = load.counts();
    assert_eq!(counts.reconnects, 5);
    assert_eq!(
        (counts.ids_lost, counts.ids_repeated, counts.ids_unknown),
        (3 + 2, 2 + 1, 0)
    );
    assert_eq!((counts.opened, kept.is_some()), (6, true));
}

/// The issue's own words: a server that closes every second, and a client that is told to come back at once.
#[test]
fn a_server_that_closes_every_second_loses_nothing_but_what_it_does_not_send() {
    const VISITS: u64 = 4;
    let listener = listen();
    let load = Load::new(listener.local_addr().unwrap(), "/events");
    load.play(
        1,
        Duration::ZERO,
        Stay::Standing,
        comes_back(|reconnect| {
            reconnect.after = PATIENCE; // in vain: the stream says otherwise
        }),
    );
    let mut id = 0;
    for visit in 0..VISITS {
        let (mut stream, request) = accept(&listener);
        let asked = last_event_id(&request).map_or(0, |id| id.parse().unwrap());
        assert_eq!(asked, id);
        send(&mut stream, &format!("{STREAM}{}", chunk("retry: 30\n\n")));
        id += visit; // so many are lost in this pause
        let closes_at = load.clock.now() + Duration::from_secs(1);
        while load.clock.now() < closes_at {
            id += 1;
            send(&mut stream, &events([id]));
            thread::park_timeout(Duration::from_millis(20));
        }
        send(&mut stream, END);
    }
    load.until("the last visit", || load.counts().reconnects == VISITS);
    let counts = load.counts();
    assert_eq!(counts.ids_lost, (0..VISITS).sum::<u64>());
    assert_eq!((counts.ids_repeated, counts.ids_unknown), (0, 0));
    assert_eq!(counts.events + counts.ids_lost, id);
}

#[test]
fn who_comes_back_waits_longer_each_time_and_gives_up_in_the_end() {
    let listener = listen();
    let addr = listener.local_addr().unwrap();
    let load = Load::new(addr, "/events");
    load.play(
        1,
        Duration::ZERO,
        Stay::Standing,
        comes_back(|reconnect| {
            reconnect.jitter_percent = 0;
            reconnect.give_up_after = Duration::from_millis(1000);
        }),
    );
    let (mut stream, _) = accept(&listener);
    send(&mut stream, STREAM);
    send(&mut stream, &events([1]));
    load.until("the event", || load.counts().events == 1);
    drop((stream, listener));
    let down_since = load.clock.now();
    load.until("giving up", || load.counts().gave_up == 1);
    // 20 + 40 + 80 + 80 …: not more than 14 tries fit into a second.
    let tried = load.counts().reconnects;
    assert!((2..=14).contains(&tried), "{tried} tries");
    assert!(load.clock.now().since(down_since) > Duration::from_millis(500));
    load.until("the last refusal", || {
        load.ended(End::ConnectFailed) == tried
    });
    assert_eq!((load.counts().waiting(), load.counts().live()), (0, 0));
    assert_eq!(load.driver.standing(), 0);
}

#[test]
fn a_server_that_is_away_for_a_while_gets_its_standing_population_back() {
    let listener = listen();
    let addr = listener.local_addr().unwrap();
    let load = Load::new(addr, "/events");
    load.play(3, Duration::ZERO, Stay::Standing, comes_back(|_| {}));
    let serve = |listener: &TcpListener| {
        [(); 3].map(|()| {
            let (mut stream, _) = accept(listener);
            send(&mut stream, STREAM);
            send(&mut stream, &events([1]));
            stream
        })
    };
    let streams = serve(&listener);
    load.until("the population", || load.driver.standing() == 3);
    for stream in streams {
        resets(stream);
    }
    drop(listener);
    load.until("refusals", || load.ended(End::ConnectFailed) >= 3);
    assert_eq!((load.driver.standing(), load.counts().gave_up), (0, 0));
    let listener = listen_on(addr).unwrap();
    let _streams = serve(&listener);
    load.until("the population again", || load.driver.standing() == 3);
    let counts = load.counts();
    assert_eq!((counts.waiting(), counts.live()), (0, 3));
    load.until("the ids", || load.counts().ids_repeated == 3);
}

#[test]
fn an_answer_that_is_no_stream_is_final() {
    for answer in [
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n",
    ] {
        let listener = listen();
        let load = Load::new(listener.local_addr().unwrap(), "/events");
        load.play(1, Duration::ZERO, Stay::Standing, comes_back(|_| {}));
        let (mut stream, _) = accept(&listener);
        send(&mut stream, answer);
        load.until("the end", || load.counts().live() == 0);
        let counts = load.counts();
        assert_eq!(
            (counts.errors(), counts.waiting(), counts.reconnects),
            (1, 0, 0),
            "{answer}"
        );
    }
}

#[test]
fn who_waits_to_come_back_counts_as_waiting_and_is_sent_away_like_everyone() {
    let listener = listen();
    let load = Load::new(listener.local_addr().unwrap(), "/events");
    let patient = comes_back(|reconnect| {
        reconnect.after = Duration::from_secs(3000);
        reconnect.give_up_after = Duration::from_secs(9000);
    });
    load.play(1, Duration::ZERO, Stay::For(PATIENCE), patient);
    load.play(1, Duration::ZERO, Stay::Standing, patient);
    for _ in 0..2 {
        drop(accept(&listener));
    }
    load.until("both to be lost", || {
        load.ended(End::ServerClosed) + load.ended(End::ServerReset) == 2
    });
    assert_eq!(load.counts().waiting(), 2);
    load.driver.recall();
    load.until("one to stay", || load.counts().waiting() == 1);
    load.driver.release_standing();
    load.until("none to stay", || load.counts().is_nobody_due());
    // Until a time that will be over by then: there is nothing to come back for.
    load.play(
        1,
        Duration::ZERO,
        Stay::Until(Duration::from_secs(30)),
        patient,
    );
    drop(accept(&listener));
    load.until("the third to be lost", || load.counts().live() == 0);
    assert_eq!((load.counts().waiting(), load.counts().gave_up), (0, 0));
}

/// The reference server: killed when dropped.
struct Target {
    child: Child,
    addr: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Target {
    fn start(arguments: &[&str]) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_sse-soak")).with_file_name("target-jemalloc");
        assert!(
            program.is_file(),
            "{} is missing: run `cargo build --workspace` with the same profile first",
            program.display()
        );
        let addr = listen().local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let child = Command::new(program)
            .args([
                format!("--listen={addr}"),
                "--admin-listen=127.0.0.1:0".into(),
            ])
            .arg("--ready-file")
            .arg(file("ready"))
            .arg("--token-file")
            .arg(file("token"))
            .args(["--log-level=warn", "--chunks=1", "--chunk-interval=0s"])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(fs::File::create(file("log")).unwrap())
            .spawn()
            .unwrap();
        Self {
            child,
            addr,
            _folder: folder,
        }
    }

    /// The whole answer to a request on a connection of its own; waits until the server listens.
    fn ask(&self, request: &str, load_clock: &sse_soak::timeline::Clock) -> String {
        let deadline = load_clock.now() + PATIENCE;
        let mut stream = loop {
            match TcpStream::connect(self.addr) {
                Ok(stream) => break stream,
                Err(error) => assert!(load_clock.now() < deadline, "{error}"),
            }
            thread::park_timeout(Duration::from_millis(1));
        };
        send(&mut stream, request);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn session(&self, clock: &sse_soak::timeline::Clock) -> String {
        let form = "message=hello";
        let answer = self.ask(
            &format!(
                "POST /chat HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
                form.len()
            ),
            clock,
        );
        let data = answer
            .lines()
            .find_map(|line| line.strip_prefix("data: "))
            .unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        data["conversation_id"].as_str().unwrap().into()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn the_reference_server_resumes_so_that_nothing_is_lost() {
    let clock = sse_soak::timeline::Clock::start();
    let target = Target::start(&["--retry=30ms", "--replay-window=8"]);
    let session = target.session(&clock);
    let load = Load::new(
        target.addr,
        &format!("/events?session={session}&interval_ms=2&limit=10"),
    );
    load.play(
        1,
        Duration::ZERO,
        Stay::Standing,
        comes_back(|reconnect| reconnect.after = PATIENCE),
    );
    load.until("five visits", || load.counts().events >= 50);
    let counts = load.counts();
    assert!(counts.reconnects >= 4);
    assert_eq!(
        (counts.ids_lost, counts.ids_repeated, counts.ids_unknown),
        (0, 0, 0)
    );
}

#[test]
fn what_is_beyond_the_replay_window_of_the_reference_server_is_counted_as_lost() {
    let clock = sse_soak::timeline::Clock::start();
    let target = Target::start(&["--retry=5s", "--replay-window=8"]);
    let session = target.session(&clock);
    let path = format!("/events?session={session}&interval_ms=1");
    let load = Load::new(target.addr, &format!("{path}&limit=10"));
    load.play(1, Duration::ZERO, Stay::Standing, comes_back(|_| {}));
    load.until("the first visit", || {
        load.counts().events == 10 && load.counts().waiting() == 1
    });
    // While it is away the session goes on for 20 events, of which the server keeps the last 8.
    target.ask(
        &format!("GET {path}&limit=20 HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"),
        &clock,
    );
    assert_eq!(
        load.counts().reconnects,
        0,
        "this machine took 5 s for 20 events"
    );
    load.until("the second visit", || load.counts().events == 20);
    let counts = load.counts();
    assert_eq!(
        (counts.ids_lost, counts.ids_repeated, counts.ids_unknown),
        (12, 0, 0)
    );
}

/// `sse-soak hold --reconnect`, as a person uses it.
#[test]
fn hold_comes_back_and_says_so() {
    let listener = listen();
    let url = format!("http://{}/events", listener.local_addr().unwrap());
    let child = Command::new(env!("CARGO_BIN_EXE_sse-soak"))
        .args([
            "hold", "--url", &url, "-n", "1", "--for", "3s", "--ramp", "1ms",
        ])
        .args(["--reconnect=1m", "--format", "json", "--quiet"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut first, _) = accept(&listener);
    send(
        &mut first,
        &format!("{STREAM}{}{}{END}", chunk("retry: 20\n\n"), events([1, 2])),
    );
    let (mut second, request) = accept(&listener);
    assert_eq!(last_event_id(&request), Some("2"));
    send(&mut second, &format!("{STREAM}{}", events([2, 5])));
    let output = child.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = serde_json::json!({
        "reconnects": 1, "gave_up": 0, "ids_lost": 2, "ids_repeated": 1, "ids_unknown": 0,
    });
    assert_eq!(report["comebacks"], expected, "{report}");
    assert_eq!(report["opened"], 2);
}

#[test]
fn a_client_that_does_not_come_back_has_no_such_counts() {
    let listener = listen();
    let load = Load::new(listener.local_addr().unwrap(), "/events");
    load.play(1, Duration::ZERO, Stay::Standing, Manners::default());
    let (mut stream, _) = accept(&listener);
    send(&mut stream, STREAM);
    send(&mut stream, &events([1]));
    completes(stream);
    load.until("its end", || {
        load.counts().live() == 0 && load.counts().opened == 1
    });
    let counts = load.counts();
    assert_eq!((counts.reconnects, counts.gave_up, counts.waits), (0, 0, 0));
}
