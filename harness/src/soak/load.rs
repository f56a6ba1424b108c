//! Load without judgement: hold, churn, abandon. The same driver, no target to look at but its sockets, a summary at the end.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, mpsc},
    time::Duration,
};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{
    SoakError, Stop, TICK,
    crew::{Crew, Need, WorkerReport, together},
};
use crate::{
    drive::{DriveConfig, Farewell, Latency, Limits, Transport},
    isolate::Isolated,
    observe::{ObserveConfig, Observer, Own, RuntimeConfig, own},
    plan::{Batch, Script, Segment},
    profile::Workers,
    target::{Launch, Readiness, Target},
    timeline::{Clock, Counts, Elapsed, End, PortBook, Tally},
    units::{ByteSize, Leave},
};

/// How often whoever watches is told.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// How often the queues of those who do not read are looked at.
const QUEUES_EVERY: Duration = Duration::from_millis(250);

/// How long a server that we start may take to listen.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// How often we look whether it is over. A wake-up costs as much as two events: 50 a second weighed a tenth of 1,000 streams.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long the last clients may take to go.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// What is to be played.
#[derive(Clone, Debug)]
pub struct LoadSetup {
    /// Where to connect to.
    pub addr: SocketAddr,
    /// The `Host` header.
    pub host: String,
    /// What carries the requests.
    pub transport: Transport,
    /// What every client says.
    pub script: Script,
    /// Who comes when, and how they leave.
    pub batches: Vec<Batch>,
    /// When everyone leaves.
    pub length: Duration,
    /// Fixes every random choice.
    pub seed: u64,
    /// `SO_RCVBUF` of clients that stall or read slowly, bytes.
    pub receive_buffer: Option<u32>,
    /// Bytes a second that a slow client reads.
    pub slow_bytes_per_second: u32,
    /// How to start the server; empty if it runs already.
    pub command: Vec<String>,
    /// The private network that we are in.
    pub isolated: Option<Isolated>,
    /// How many processes play it; `None`: one thread of ours.
    pub workers: Option<Workers>,
    /// The most connections that may be open at a time.
    pub most_open: u64,
}

/// What happened. A stable format: fields are added, never renamed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LoadReport {
    /// Seconds since the load began.
    pub seconds: f64,
    /// Connections open now.
    pub open: u64,
    /// Connections of which the connect was started.
    pub opened: u64,
    /// Connections that got as far as a TCP handshake.
    pub connected: u64,
    /// Openings that came due while no descriptor or port was left.
    pub not_opened: u64,
    /// Connections gone, by why; only those that happened.
    pub ended: BTreeMap<&'static str, u64>,
    /// Connections gone, by the way they were planned to leave; only those that happened.
    pub closed: BTreeMap<&'static str, u64>,
    /// Events received.
    pub events: u64,
    /// Events a second since the last report (in the summary: over the whole run).
    pub events_per_second: f64,
    /// Bytes of responses received.
    pub bytes: u64,
    /// What came of clients that came back.
    pub comebacks: Comebacks,
    /// From due to connected, microseconds.
    pub connect_us: Percentiles,
    /// From due to the first event, microseconds.
    pub first_event_us: Percentiles,
    /// Between two events of one stream, microseconds.
    pub gap_us: Percentiles,
    /// From due to the start of the connect: our own lateness, microseconds.
    pub late_us: Percentiles,
    /// Our own resident memory, worker processes included, bytes.
    pub own_rss_bytes: Option<u64>,
    /// Our own CPU time, worker processes included, seconds.
    pub own_cpu_seconds: Option<f64>,
    /// What the server's kernel held when it held most, for those who do not take what it sends, or not at once; empty if it is
    /// another machine's.
    pub held_by_kernel: BTreeMap<&'static str, HeldByKernel>,
    /// How something was done on this machine.
    pub notes: Vec<String>,
    /// The worker processes, if there are any.
    pub workers: Vec<WorkerReport>,
    /// What went wrong, in words.
    pub problems: Vec<String>,
}

/// What came of clients that came back after their stream was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Comebacks {
    /// Connections opened by a client that had one before; they are among those opened.
    pub reconnects: u64,
    /// Clients that gave up.
    pub gave_up: u64,
    /// Ids missing between the last one before a comeback and the first new one after it.
    pub ids_lost: u64,
    /// Events whose ids were there before.
    pub ids_repeated: u64,
    /// Comebacks after which nothing can be said about ids.
    pub ids_unknown: u64,
}

impl From<&Counts> for Comebacks {
    fn from(counts: &Counts) -> Self {
        Self {
            reconnects: counts.reconnects,
            gave_up: counts.gave_up,
            ids_lost: counts.ids_lost,
            ids_repeated: counts.ids_repeated,
            ids_unknown: counts.ids_unknown,
        }
    }
}

/// What the server's kernel holds for streams that leave in one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HeldByKernel {
    /// Sockets that the server has open for them.
    pub streams: u64,
    /// Bytes that the server has written and they have not taken.
    pub send_queue_bytes: u64,
    /// Memory of those sockets, bytes: what is queued, with the kernel's own room around it.
    pub memory_bytes: u64,
}

/// A distribution in five numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// How many were measured.
    pub count: u64,
    /// The median.
    pub p50: u64,
    /// 90 % are not above.
    pub p90: u64,
    /// 99 % are not above.
    pub p99: u64,
    /// The largest.
    pub max: u64,
}

impl Percentiles {
    fn of(histogram: &Histogram<u32>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |share| histogram.value_at_quantile(share);
        Self {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: histogram.max(),
        }
    }
}

/// Plays a load and reports; `tell` hears about it once a second.
///
/// # Errors
/// The load's thread cannot be started, or died.
pub fn load(
    setup: &LoadSetup,
    stop: &Stop,
    tell: &mut dyn FnMut(&LoadReport),
) -> Result<LoadReport, SoakError> {
    let transport = &setup.transport;
    transport
        .plays(&setup.batches)
        .map_err(SoakError::Transport)?;
    let clock = Clock::start();
    let _server = serve(setup, &clock)?; // stopped when it is dropped, after everyone has left
    let tally = Arc::new(Tally::default());
    let ports = Arc::new(PortBook::default());
    let mut queues = Queues::of(setup, &clock, &ports)?;
    let need = Need {
        workers: setup.workers,
        most_open: setup.most_open,
        at_most: None,
    };
    let crew = Crew::start(need, config(setup), clock, Arc::clone(&tally), ports)?;
    let began = clock.now();
    crew.play(began, &setup.batches);
    let mut watch = Watch {
        tally: &tally,
        crew: &crew,
        began,
        latency: Latency::default(),
        last: (began, Counts::default()),
    };
    let end = began + setup.length;
    let mut due = began + TELL_EVERY;
    let is_over = || !vanishes(setup) && all_gone(&tally.counts());
    while clock.now() < end && !stop.asked() && !is_over() {
        watch.check()?;
        pause(LOOK_EVERY);
        queues.look(clock.now());
        if clock.now() >= due {
            due = due + TELL_EVERY;
            tell(&watch.report(clock.now()));
        }
    }
    watch.check()?;
    crew.recall();
    let last = clock.now() + LEAVE_WITHIN;
    while tally.counts().live() > 0 && clock.now() < last {
        pause(TICK);
    }
    watch.last = (began, Counts::default());
    let report = LoadReport {
        held_by_kernel: queues.most,
        notes: notes(setup),
        ..watch.report(clock.now())
    };
    crew.stop();
    Ok(report)
}

/// Starts the server, if that is asked for. Its output is thrown away but for what explains why it did not start.
fn serve(setup: &LoadSetup, clock: &Clock) -> Result<Option<Target>, SoakError> {
    if setup.command.is_empty() {
        return Ok(None);
    }
    let mut server = Target::launch(&Launch {
        command: setup.command.clone(),
        env: vec![],
        dir: None,
        log: "/dev/null".into(),
        log_limit: ByteSize(0),
        memory_limit: None,
        huge_pages: false,
    })?;
    let readiness = Readiness {
        addr: Some(setup.addr),
        ready_file: None,
    };
    server.wait_ready(&readiness, READY_WITHIN, clock)?;
    Ok(Some(server))
}

/// What waits in the server's kernel for those who do not take it.
struct Queues {
    /// `None` if everyone takes what comes: a look costs a microsecond for every socket.
    observer: Option<Observer>,
    every: Duration,
    due: Elapsed,
    most: BTreeMap<&'static str, HeldByKernel>,
}

impl Queues {
    fn of(setup: &LoadSetup, clock: &Clock, ports: &Arc<PortBook>) -> Result<Self, SoakError> {
        let fills =
            |batch: &Batch| matches!(batch.leave, Leave::Stall | Leave::Slow | Leave::Vanish);
        let every = QUEUES_EVERY.min(setup.length / 4);
        let mut observer = None;
        if setup.batches.iter().any(fills) {
            let config = ObserveConfig {
                metrics: None,
                runtime: RuntimeConfig::None,
                pid: None,
                addr: setup.addr,
                admin: None,
                every: Duration::from_secs(3600), // only looks that are asked for count
            };
            let (nobody, _) = mpsc::sync_channel(1);
            observer = Some(Observer::start(config, *clock, Arc::clone(ports), nobody)?);
        }
        Ok(Self {
            observer,
            every,
            due: clock.now() + every,
            most: BTreeMap::new(),
        })
    }

    fn look(&mut self, now: Elapsed) {
        if now < self.due {
            return;
        }
        self.due = now + self.every;
        let look = self.observer.as_ref().map(Observer::look);
        let Some(sockets) = look.and_then(|look| look.sockets) else {
            return;
        };
        for leave in Leave::ALL {
            let held = HeldByKernel {
                streams: sockets.held_by_leave[leave.index()],
                send_queue_bytes: sockets.send_queue_by_leave[leave.index()],
                memory_bytes: sockets.kernel_bytes_by_leave[leave.index()],
            };
            let most = self.most.get(leave.name()).copied().unwrap_or_default();
            if held.memory_bytes > most.memory_bytes {
                self.most.insert(leave.name(), held);
            }
        }
    }
}

fn notes(setup: &LoadSetup) -> Vec<String> {
    let isolated = setup
        .isolated
        .map(|isolated| format!("server and load in a {isolated}"));
    let vanishes = vanishes(setup).then(|| {
        format!(
            "vanished clients sent no FIN and no RST, and acknowledged nothing; at the end they are {}",
            Farewell::here().words()
        )
    });
    let transport = setup.transport.notes();
    isolated
        .into_iter()
        .chain(vanishes)
        .chain(transport)
        .collect()
}

fn vanishes(setup: &LoadSetup) -> bool {
    let mut batches = setup.batches.iter();
    batches.any(|batch| batch.leave == Leave::Vanish)
}

fn config(setup: &LoadSetup) -> DriveConfig {
    DriveConfig {
        addr: setup.addr,
        host: setup.host.clone(),
        scripts: vec![setup.script.clone()],
        pools: 0,
        seed: setup.seed,
        limits: Limits::default(),
        stall_receive_buffer: setup.receive_buffer,
        slow_bytes_per_second: setup.slow_bytes_per_second,
        transport: setup.transport.clone(),
        segment: Segment::WHOLE,
        sources: vec![],
    }
}

/// Whether everyone who was to come has come and gone. Never asked about those who vanish: they are kept silent to the end.
fn all_gone(counts: &Counts) -> bool {
    counts.is_nobody_due() && counts.opened > 0 && counts.live() == 0
}

#[expect(
    clippy::disallowed_methods,
    reason = "the conductor of a load is the edge that waits"
)]
fn pause(length: Duration) {
    std::thread::sleep(length);
}

struct Watch<'a> {
    tally: &'a Tally,
    crew: &'a Crew,
    began: Elapsed,
    latency: Latency,
    last: (Elapsed, Counts),
}

impl Watch<'_> {
    fn check(&self) -> Result<(), SoakError> {
        self.crew
            .died()
            .map_or(Ok(()), |why| Err(SoakError::DriveDied(why)))
    }

    fn report(&mut self, now: Elapsed) -> LoadReport {
        self.latency.add(&self.crew.take_latency());
        let counts = self.tally.counts();
        let (then, before) = std::mem::replace(&mut self.last, (now, counts));
        let workers = self.crew.workers();
        let Own {
            rss_bytes,
            cpu_seconds,
        } = together(own(), &workers);
        let happened = |(name, count): (&'static str, u64)| (count > 0).then_some((name, count));
        LoadReport {
            seconds: now.since(self.began).as_secs_f64(),
            open: counts.live(),
            opened: counts.opened,
            connected: counts.connected,
            not_opened: counts.not_opened,
            ended: End::ALL
                .iter()
                .map(|end| (end.name(), counts.ended[*end as usize]))
                .filter_map(happened)
                .collect(),
            closed: Leave::ALL
                .iter()
                .map(|leave| (leave.name(), counts.closed[leave.index()]))
                .filter_map(happened)
                .collect(),
            events: counts.events,
            events_per_second: (counts.events - before.events) as f64
                / now.since(then).as_secs_f64().max(1e-3),
            bytes: counts.bytes,
            comebacks: Comebacks::from(&counts),
            connect_us: Percentiles::of(&self.latency.connect),
            first_event_us: Percentiles::of(&self.latency.first_event),
            gap_us: Percentiles::of(&self.latency.gap),
            late_us: Percentiles::of(&self.latency.late),
            own_rss_bytes: rss_bytes,
            own_cpu_seconds: cpu_seconds,
            held_by_kernel: BTreeMap::new(),
            notes: vec![],
            workers: workers.iter().map(WorkerReport::from).collect(),
            problems: self.crew.troubles(),
        }
    }
}
