//! Every planted leak against its own word: what it says it takes is what the allocator counts, and only from the guilty.

use std::{cell::RefCell, time::Duration};

use serde_json::Value;

use crate::{
    client::{Client, Deadline},
    target::{DHAT, JEMALLOC, Target},
};

/// Clients of one round.
const CLIENTS: u64 = 100;
/// Of them at once.
const AT_ONCE: u64 = 50;

const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";
const SETTINGS: &[&str] = &[
    "--log-level=warn",
    "--chunk-interval=10ms",
    "--heartbeat=1h",
    "--session-ttl=10ms",
    "--sweep-every=10ms",
    "--history-entries=4",
    "--sndbuf=4KiB",
];

/// How a client comes and goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A feed of three events, read to its end.
    Complete,
    /// A feed left after three events, by FIN.
    Fin,
    /// The same by RST.
    Rst,
    /// A feed left by FIN before anything was read.
    Early,
    /// A conversation of one turn.
    Chat,
    /// A conversation left in mid-answer, by FIN.
    Orphan,
}

use Way::{Chat, Complete, Early, Fin, Orphan, Rst};

const EVERY_WAY: [Way; 6] = [Complete, Fin, Rst, Early, Chat, Orphan];

impl Way {
    fn ask(self, client: &mut Client) {
        match self {
            Chat | Orphan => client.start("POST", "/chat", FORM, b"message=hello"),
            Complete => client.start("GET", "/events?interval_ms=1&limit=3", "", b""),
            Early => client.start("GET", "/events?interval_ms=60000", "", b""),
            Fin | Rst => client.start("GET", "/events?interval_ms=30", "", b""),
        }
    }

    fn leave(self, mut client: Client) {
        match self {
            Complete | Chat => drop(client.answer()),
            Early => {
                client.throw_away(); // closing over unread bytes would be an RST
                client.fin();
            }
            Orphan => {
                client.read_until("event: connected\n");
                client.read_until("event: message\n");
                client.fin();
            }
            Fin | Rst => {
                client.read_until("id: 3\n");
                client.read_until("\n\n\r\n");
                if self == Fin {
                    client.fin();
                } else {
                    client.rst();
                }
            }
        }
    }
}

/// A server with planted leaks, and a scale.
struct Bench {
    target: Target,
    admin: RefCell<Client>,
}

impl Bench {
    fn with(leaks: &[&str]) -> Self {
        Self::set(leaks, &[])
    }

    fn set(leaks: &[&str], more: &[&str]) -> Self {
        let mut args = [SETTINGS, more].concat();
        for leak in leaks {
            args.extend(["--defect", leak]);
        }
        let target = Target::start(&args);
        let admin = RefCell::new(Client::connect(target.admin));
        Self { target, admin }
    }

    fn ask(&self, method: &str, path: &str) -> Value {
        let admin = &mut self.admin.borrow_mut();
        self.target
            .ask_admin_on(admin, method, path, &Value::Null)
            .json()
    }

    /// Lets everybody come and go in one way, until the server has noticed.
    fn round(&self, way: Way) {
        for _ in 0..CLIENTS / AT_ONCE {
            let mut clients: Vec<_> = (0..AT_ONCE).map(|_| self.target.client()).collect();
            clients.iter_mut().for_each(|client| way.ask(client));
            clients.into_iter().for_each(|client| way.leave(client));
        }
        self.rest();
    }

    /// Until nobody is connected, and no session waits for its TTL: none is removed for some sweeps' time.
    fn rest(&self) {
        self.wait("quiet", |status| {
            status["connections"]["live"] == 0 && status["streams"]["live"] == 0
        });
        let gone = |status: &Value| status["sessions"]["live"].clone();
        let mut last = gone(&self.status());
        loop {
            self.pass(Duration::from_millis(40));
            let now = gone(&self.status());
            if now == last {
                return;
            }
            last = now;
        }
    }

    fn wait(&self, what: &str, good: impl Fn(&Value) -> bool) {
        let deadline = Deadline::new();
        while !good(&self.status()) {
            deadline.check(what);
        }
    }

    /// Lets time pass, by the server's own clock.
    fn pass(&self, time: Duration) {
        let until = self.uptime() + time.as_secs_f64();
        let deadline = Deadline::new();
        while self.uptime() < until {
            deadline.check("the time to pass");
        }
    }

    /// A reading, and the server's clock before and after it.
    fn allocated_at(&self) -> (f64, f64, f64) {
        let before = self.uptime();
        let bytes = self.allocated();
        (before, bytes, self.uptime())
    }

    /// Memory must grow by so much a second, `slack` bytes and 2 % aside, while `time` passes.
    fn assert_eaten(&self, per_second: f64, slack: f64, time: Duration) {
        let (earliest, low, latest) = self.allocated_at();
        self.pass(time);
        let (end, high, late_end) = self.allocated_at();
        let (least, most) = (
            per_second * (end - latest) * 0.98 - slack,
            per_second * (late_end - earliest) * 1.02 + slack,
        );
        assert!(
            (least..=most).contains(&(high - low)),
            "{} is not between {least} and {most}",
            high - low
        );
    }

    fn uptime(&self) -> f64 {
        self.status()["uptime_s"].as_f64().expect("seconds")
    }

    fn status(&self) -> Value {
        self.ask("GET", "/v1/status")
    }

    fn settle(&self, what: &str) -> f64 {
        self.ask("POST", "/v1/heap/settle")[what]
            .as_f64()
            .expect("bytes")
    }

    fn allocated(&self) -> f64 {
        self.settle("allocated_bytes")
    }

    /// Bytes per unit and units of the first leak.
    fn truth(&self) -> (f64, f64) {
        let truth = &self.status()["defects"][0];
        let number = |key: &str| truth[key].as_f64();
        (
            number("bytes_per_unit").unwrap_or(0.0),
            number("units_total").expect("a count"),
        )
    }

    /// Bytes that a round left, its units by the leak's own count.
    fn weigh(&self, way: Way) -> (f64, f64) {
        let (before, units) = (self.allocated(), self.truth().1);
        self.round(way);
        (self.allocated() - before, self.truth().1 - units)
    }
}

/// Within 2 % and 1 KiB.
fn assert_near(found: f64, expected: f64, what: &str) {
    assert!(
        (found - expected).abs() <= expected.abs() * 0.02 + 1024.0,
        "{what}: {found} where {expected} was expected"
    );
}

/// What the registry's tree may keep of sessions that are gone, while others stay: its nodes are then less full.
const TREE: f64 = 4096.0;

/// Plants `name` at every unit and at every fourth; the guilty leave its word times their number, the others nothing.
fn check(name: &str, unit: &str, per_client: f64, guilty: &[Way]) {
    let mut stated = Vec::new();
    for every in [1.0, 4.0] {
        let bench = Bench::with(&[&format!("{name}=every:{every}")]);
        assert_eq!(bench.status()["defects"][0]["unit"], unit);
        EVERY_WAY.iter().for_each(|way| bench.round(*way)); // what may be kept once is kept
        for way in EVERY_WAY {
            let (grown, units) = bench.weigh(way);
            let (bytes, _) = bench.truth();
            let what = format!("{name}, one in {every}, {way:?}, {bytes} B per unit");
            if guilty.contains(&way) {
                assert_near(units, clients(per_client), &what);
                assert!(units > 0.0, "{what}");
                assert_near(grown, bytes * units, &what);
            } else {
                let tree = if unit == "orphan" { TREE } else { 0.0 };
                assert_near((grown.abs() - tree).max(0.0), 0.0, &what);
            }
        }
        stated.push(bench.truth().0 * every);
    }
    assert!(
        (stated[0] - stated[1]).abs() <= stated[0] * 0.01,
        "{name}: a struck unit takes the same at any rate: {stated:?}"
    );
}

fn clients(each: f64) -> f64 {
    f64::from(u32::try_from(CLIENTS).expect("a few")) * each
}

/// A session left in mid-answer stays too, but weighs less: no answer in its history. The word is about the answered ones.
#[test]
fn session_never_expires() {
    for every in [1.0, 4.0] {
        let bench = Bench::with(&[&format!("session-never-expires=every:{every}")]);
        EVERY_WAY.iter().for_each(|way| bench.round(*way));
        for way in [Complete, Fin, Rst, Early] {
            assert_near(bench.weigh(way).0, 0.0, &format!("{way:?}"));
        }
        let (grown, units) = bench.weigh(Chat);
        let (bytes, _) = bench.truth();
        assert_near(units, clients(1.0), "sessions");
        assert_near(grown, bytes * units, &format!("one in {every}"));
        let (grown, units) = bench.weigh(Orphan);
        assert_near(units, clients(1.0), "orphans");
        assert!((0.5..0.95).contains(&(grown / (bytes * units))), "{grown}");
        let kept = bench.status()["sessions"]["live"].as_f64();
        assert_near(kept.expect("a gauge"), bench.truth().1 / every, "kept");
    }
}

#[test]
fn session_kept_on_disconnect() {
    check("session-kept-on-disconnect", "orphan", 1.0, &[Orphan]);
}

#[test]
fn sender_kept() {
    check("sender-kept", "all", 1.0, &EVERY_WAY);
}

#[test]
fn task_outlives_client() {
    check(
        "task-outlives-client",
        "left",
        1.0,
        &[Fin, Rst, Early, Orphan],
    );
}

#[test]
fn timer_per_connection() {
    check("timer-per-connection", "all", 1.0, &EVERY_WAY);
}

#[test]
fn reference_cycle() {
    check("reference-cycle", "all", 1.0, &EVERY_WAY);
}

#[test]
fn metric_label_per_client() {
    check("metric-label-per-client", "all", 1.0, &EVERY_WAY);
    let bench = Bench::with(&["metric-label-per-client"]);
    bench.round(Complete);
    let text = bench.target.get("/metrics").text();
    assert_eq!(
        text.matches("target_client_streams_total{client=").count() as u64,
        CLIENTS
    );
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn leak_on_expiry() {
    check("leak-on-expiry", "session", 1.0, &[Chat, Orphan]);
}

/// What is asked for is what is taken: sizes that are size classes of the allocator, to the byte.
#[test]
fn a_leak_whose_size_is_chosen_takes_so_much_a_unit() {
    for (name, way) in [
        ("leak-on-rst", Rst),
        ("leak-on-early", Early),
        ("leak-on-expiry", Chat),
        ("replay-log", Complete),
        ("metric-label-per-client", Complete),
    ] {
        for size in [64, 256, 4096] {
            let bench = Bench::with(&[&format!("{name}=bytes:{size}+every:2")]);
            bench.round(way);
            let (grown, units) = bench.weigh(way);
            let (bytes, _) = bench.truth();
            let what = format!("{name}, {size} B, {units} units");
            assert!(units > 0.0, "{what}"); // of those who leave early, some are gone before they are anything
            assert_near(grown, bytes * units, &what);
            let room = if name == "metric-label-per-client" {
                1.25
            } else {
                1.0
            };
            let asked = f64::from(size) / 2.0;
            assert!((asked..=asked * room).contains(&bytes), "{what}: {bytes} B");
        }
    }
}

#[test]
fn leak_on_rst() {
    check("leak-on-rst", "rst", 1.0, &[Rst]);
}

#[test]
fn leak_on_early() {
    check("leak-on-early", "early", 1.0, &[Early]);
}

#[test]
fn replay_log_keeps_every_event_that_was_sent() {
    for every in [1.0, 4.0] {
        let bench = Bench::with(&[&format!("replay-log=every:{every}")]);
        EVERY_WAY.iter().for_each(|way| bench.round(*way));
        for (way, events) in [(Complete, 3.0), (Chat, 7.0), (Fin, 3.0)] {
            let (grown, units) = bench.weigh(way);
            assert!(units >= clients(events), "{way:?}: {units}");
            assert_near(grown, bench.truth().0 * units, &format!("{way:?}"));
        }
        let (_, units) = bench.truth();
        assert_eq!(bench.status()["events_total"].as_f64(), Some(units));
    }
}

#[test]
fn history_unbounded_grows_by_the_turn_in_a_session_that_lives_on() {
    for every in [1, 4] {
        let bench = Bench::with(&[&format!("history-unbounded=every:{every}")]);
        let mut stands = bench.target.client();
        stands.start("POST", "/chat", FORM, b"message=hello");
        let id =
            crate::client::events(&stands.answer().text())[0].json()["conversation_id"].clone();
        let id = id.as_str().expect("an id");
        stands.start(
            "GET",
            &format!("/events?interval_ms=60000&session={id}"),
            "",
            b"",
        );
        stands.read_until("id: 1\n");
        let turns = |count: u32| {
            for n in 0..count {
                let form = format!("message=turn+number+{n:03}&conversation_id={id}");
                assert_eq!(bench.target.chat(&form).status, 200);
            }
            bench.wait("turns", |status| status["connections"]["live"] == 1);
        };
        turns(20);
        let (before, (_, units)) = (bench.allocated(), bench.truth());
        turns(100);
        let (grown, (bytes, now)) = (bench.allocated() - before, bench.truth());
        assert_near(now - units, 100.0, "turns");
        assert!(bytes > 100.0 / f64::from(every), "{bytes}");
        assert_near(grown, bytes * 100.0, &format!("one in {every}"));
        bench
            .target
            .client()
            .ask("DELETE", &format!("/conversations/{id}"), "", b"");
        stands.read_to_end();
        bench.rest();
        assert!(bench.allocated() < before, "it goes with its session");
    }
}

#[test]
fn unbounded_queue_keeps_what_a_stalled_reader_does_not_take_and_only_so_long() {
    let bench = Bench::set(&["unbounded-queue"], &["--queue-events=4"]);
    bench.round(Complete);
    let before = bench.allocated();
    let mut stalled = Vec::new();
    for _ in 0..4 {
        let mut client = bench.target.client();
        client.start(
            "GET",
            "/events?interval_ms=1&bytes=16000&limit=600",
            "",
            b"",
        );
        stalled.push(client);
    }
    bench.wait("the generators to end", |status| {
        status["streams"]["live"] == 4 && status["tasks_live"] == 4
    });
    let (grown, (bytes, units)) = (bench.allocated() - before, bench.truth());
    assert!(units > 100.0, "the kernel took all but {units}");
    let (connections, first) = (4.0 * 26_000.0, 4.0 * 4.0 * bytes); // what they cost anyway, and the honest queue
    assert!(
        (grown - bytes * units).abs() < connections + first + 4.0 * bytes,
        "{grown} for {units} of {bytes} B"
    );
    stalled.into_iter().for_each(Client::rst);
    bench.rest();
    assert_near(bench.allocated(), before, "a backlog leaves no residue");
}

#[test]
fn an_honest_queue_is_bounded_whoever_stalls() {
    let bench = Bench::set(&[], &["--queue-events=4", "--slow-client=drop-newest"]);
    let mut client = bench.target.client();
    client.start(
        "GET",
        "/events?interval_ms=1&bytes=16000&limit=900",
        "",
        b"",
    );
    bench.wait("the generator to end", |status| {
        status["streams"]["live"] == 1 && status["tasks_live"] == 1
    });
    assert!(bench.allocated() < 400_000.0);
    drop(client);
}

#[test]
fn leak_per_tick_follows_the_clock_and_nothing_else() {
    for every in [1, 4] {
        let bench = Bench::with(&[&format!("leak-per-tick=every:{every}")]);
        bench.pass(Duration::from_secs(1)); // until it struck
        let (bytes, _) = bench.truth();
        assert_near(bytes * f64::from(every), 20.0 * 512.0, "stated");
        bench.assert_eaten(bytes, 512.0 + 1024.0, Duration::from_millis(1500));
    }
}

#[test]
fn zombie_producer_eats_by_the_second_for_every_stream_that_ended() {
    for every in [1, 4] {
        let bench = Bench::with(&[&format!("zombie-producer=every:{every}")]);
        let before = bench.allocated();
        bench.pass(Duration::from_secs(1));
        assert_near(bench.allocated(), before, "nobody was here");
        EVERY_WAY.iter().for_each(|way| bench.round(*way));
        let (_, units) = bench.truth();
        assert_near(units, clients(6.0), "streams that ended");
        let per_second = bench.truth().0 * units;
        let beat = per_second / 2.0;
        bench.assert_eaten(per_second, beat + 1024.0, Duration::from_secs(2));
    }
}

#[test]
fn half_close_keeps_a_descriptor_in_close_wait_for_every_fin() {
    for every in [1u32, 4] {
        let bench = Bench::with(&[&format!("half-close=every:{every}")]);
        let descriptors = || {
            let folder = format!("/proc/{}/fd", bench.target.pid());
            std::fs::read_dir(folder).expect("our child").count()
        };
        EVERY_WAY.iter().for_each(|way| bench.round(*way));
        let fds = descriptors();
        let (grown, units) = bench.weigh(Rst);
        assert_near(units, 0.0, "an RST leaves nothing");
        assert_near(grown, 0.0, "an RST leaves nothing");
        assert!(descriptors().abs_diff(fds) <= 2);
        for way in [Fin, Complete, Orphan, Early] {
            let fds = descriptors();
            let (grown, units) = bench.weigh(way);
            assert_near(grown, bench.truth().0 * units, &format!("{way:?}"));
            let kept = f64::from(u32::try_from(descriptors() - fds).expect("a few"));
            let expected = clients(1.0) / f64::from(every);
            assert!(
                (kept - expected).abs() <= 4.0,
                "{way:?}: {kept} of {expected}"
            );
        }
        let tcp = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
        let ours = format!(":{:04X} ", bench.target.public.port());
        let waiting = tcp
            .lines()
            .filter(|line| {
                let mut words = line.split_whitespace().skip(1);
                let local = words.next().unwrap_or("");
                format!("{local} ").ends_with(&ours) && words.nth(1) == Some("08")
            })
            .count();
        let most = 4 * CLIENTS / u64::from(every);
        assert!(
            waiting as u64 * 10 >= most * 9,
            "{waiting} in CLOSE_WAIT of about {most}"
        );
    }
}

#[test]
fn two_leaks_at_once_add_up() {
    let bench = Bench::with(&["leak-on-rst=every:2", "sender-kept"]);
    EVERY_WAY.iter().for_each(|way| bench.round(*way));
    let (both, _) = bench.weigh(Rst);
    let (one, _) = bench.weigh(Fin);
    let truths = bench.status()["defects"].clone();
    let bytes = |n: usize| truths[n]["bytes_per_unit"].as_f64().expect("bytes");
    assert_near(both, clients(bytes(0) + bytes(1)), "rst");
    assert_near(one, clients(bytes(1)), "fin");
}

#[test]
fn fragmentation_is_innocent_live_bytes_stay_while_the_process_grows() {
    let bench = Bench::with(&["fragmentation"]);
    bench.round(Complete);
    let (live, resident) = (bench.allocated(), bench.settle("resident_bytes"));
    bench.round(Complete);
    bench.round(Complete);
    assert!((bench.allocated() - live).abs() <= 4096.0);
    let grown = bench.settle("resident_bytes") - resident;
    let expected = clients(2.0) * 7.0 * 3584.0;
    assert!(grown > 0.8 * expected, "{grown} of {expected}");
    assert!(bench.truth().0.abs() < 0.1);
}

#[test]
fn a_cache_that_fills_is_innocent_it_stops() {
    let bench = Bench::with(&["cache-that-fills"]);
    let empty = bench.allocated();
    (0..3).for_each(|_| bench.round(Complete));
    let (full, _) = (bench.allocated(), bench.round(Complete));
    assert!(full - empty > 256.0 * 1024.0);
    assert_near(bench.allocated(), full, "full is full");
}

#[test]
fn a_cache_that_warms_up_slowly_is_innocent_it_stops() {
    let bench = Bench::with(&["cache-slow-warm-up"]);
    let mut readings = vec![bench.allocated()];
    for _ in 0..20 {
        bench.round(Complete);
        readings.push(bench.allocated());
    }
    let early = readings[2] - readings[1];
    let late = readings[20] - readings[19];
    assert!(
        early > 50.0 * 1024.0 && late < 10.0 * 1024.0,
        "{readings:?}"
    );
    assert!(readings[20] - readings[0] < 600.0 * 1024.0, "{readings:?}");
}

const ALL: &str = "session-never-expires,session-kept-on-disconnect,history-unbounded,leak-on-expiry,sender-kept,task-outlives-client,\
zombie-producer,timer-per-connection,unbounded-queue,replay-log,reference-cycle,metric-label-per-client,leak-on-rst,\
leak-on-early,leak-per-tick,half-close,fragmentation,cache-that-fills,cache-slow-warm-up";

#[test]
fn all_at_once_still_serve_and_drain_alone_in_workers_and_under_dhat() {
    for (binary, workers) in [(JEMALLOC, "1"), (JEMALLOC, "2"), (DHAT, "1")] {
        let args = [SETTINGS, &["--workers", workers, "--defect", ALL]].concat();
        let mut target = Target::start_binary(binary, &args);
        let count = if workers == "1" { 20 } else { 60 }; // each worker gets some
        let mut clients: Vec<_> = (0..count).map(|_| target.client()).collect();
        for (n, client) in clients.iter_mut().enumerate() {
            EVERY_WAY[n % EVERY_WAY.len()].ask(client);
        }
        for (n, client) in clients.into_iter().enumerate() {
            EVERY_WAY[n % EVERY_WAY.len()].leave(client);
        }
        let status = target.wait_until("streams to end", |status| status["streams"]["live"] == 0);
        let defects = status["defects"].as_array().expect("a list").clone();
        assert_eq!(defects.len(), 19);
        let label = defects
            .iter()
            .find(|truth| truth["name"] == "metric-label-per-client")
            .expect("on the list");
        assert_eq!(label["units_total"].as_u64(), Some(count), "{label}");
        assert!(label["bytes_per_unit"].is_number());
        target.signal(rustix::process::Signal::TERM);
        assert!(target.wait_for_exit().success(), "{}", target.log());
    }
}
