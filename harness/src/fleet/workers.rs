//! The run's side: starts the workers, tells them what to do, hears what they did, and buries them.

use std::{
    convert::Infallible,
    io::{self, Read},
    num::NonZeroU32,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::PathBuf,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{self, SyncSender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    frame::{self, FrameError},
    message::{Answer, Greeting, Order, Start},
    muster::{Muster, note_ports},
};
use crate::{
    drive::{DriveConfig, Latency, Problem},
    plan::{Batch, Segment},
    timeline::{Clock, Elapsed, PortBook, Tally},
};

/// How long a worker may take to start.
const START_WITHIN: Duration = Duration::from_secs(20);
/// How long it may take to end.
const END_WITHIN: Duration = Duration::from_secs(5);
/// How often its clock is compared with ours.
const COMPARISONS: usize = 5;

/// How a fleet is to be.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// How many processes.
    pub workers: NonZeroU32,
    /// What is started: ourselves. Gets one argument, `worker`.
    pub program: PathBuf,
    /// How long a worker may take to answer. The loop behind it turns in milliseconds, but on a crowded machine that may take seconds; and
    /// whoever is given up takes all its streams along.
    pub answer_within: Duration,
    /// What each of them drives; its segment and its limit of open connections are set for it.
    pub drive: DriveConfig,
}

/// Worker processes of ourselves, from outside: what a [`Driver`](crate::drive::Driver) is, on several processes. Counts reach the
/// [`Tally`] within [`EVERY`](super::EVERY), and exactly with [`Fleet::sync`]. Dropping it ends them.
#[derive(Debug)]
pub struct Fleet {
    workers: Vec<Worker>,
    shared: Arc<Shared>,
    ticket: AtomicU64,
    answer_within: Duration,
}

/// One worker as it is now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkerFacts {
    /// Its process; `None` once it is gone.
    pub pid: Option<u32>,
    /// Connections that it holds.
    pub open: u64,
    /// By how much its clock was ahead of ours when it started, seconds.
    pub clock_ahead_s: f64,
    /// Not more wrong than this: half of what a question and its answer took, seconds.
    pub clock_within_s: f64,
}

#[derive(Debug)]
struct Worker {
    pid: u32,
    segment: Segment,
    input: Input,
    child: Arc<Mutex<Child>>,
    reader: Option<JoinHandle<()>>,
    clock: ClockCheck,
}

/// What a worker is told through; `None` once it is to end.
type Input = Arc<Mutex<Option<ChildStdin>>>;

/// What the readers share.
#[derive(Debug)]
struct Shared {
    muster: Mutex<Muster>,
    /// Somebody answered, or is gone.
    news: Condvar,
    clock: Clock,
    tally: Arc<Tally>,
    ports: Arc<PortBook>,
    /// From now on workers may end.
    closing: AtomicBool,
}

#[derive(Clone, Copy, Debug, Default)]
struct ClockCheck {
    ahead_s: f64,
    within_s: f64,
}

impl Fleet {
    /// Starts the workers and waits until all of them are ready. They open nothing before [`Fleet::play`].
    ///
    /// # Errors
    /// One cannot be started, is another version of us, or does not answer; in a sentence.
    pub fn start(
        config: &FleetConfig,
        clock: Clock,
        tally: Arc<Tally>,
        ports: Arc<PortBook>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            muster: Mutex::default(),
            news: Condvar::new(),
            clock,
            tally,
            ports,
            closing: AtomicBool::new(false),
        });
        // Whoever was started is ended again if a later one cannot be.
        let mut fleet = Self {
            workers: vec![],
            shared,
            ticket: AtomicU64::new(0),
            answer_within: config.answer_within,
        };
        for segment in Segment::all(config.workers) {
            let worker = Worker::start(config, segment, &fleet.shared)?;
            fleet.workers.push(worker);
        }
        Ok(fleet)
    }

    /// Begins a step: every worker paces its segment of the batches against `began`.
    pub fn play(&self, began: Elapsed, batches: &[Batch]) {
        for (index, worker) in self.workers.iter().enumerate() {
            let share = |batch: &Batch| u64::from(worker.segment.share(batch.count));
            let openings = batches.iter().map(share).sum();
            let tally = &self.shared.tally;
            self.shared.muster().plan(index, openings, tally);
            worker.tell(&Order::Play(began, batches.to_vec()));
        }
    }

    /// See [`Driver::release_standing`](crate::drive::Driver::release_standing).
    pub fn release_standing(&self) {
        self.tell_all(|| Order::ReleaseStanding);
    }

    /// See [`Driver::recall`](crate::drive::Driver::recall).
    pub fn recall(&self) {
        self.tell_all(|| Order::Recall);
    }

    /// See [`Driver::stop`](crate::drive::Driver::stop).
    pub fn stop(&self) {
        self.tell_all(|| Order::Stop);
    }

    /// Waits until every worker has done all that it was told so far, and has reported: from then on the counts are exact, as long as
    /// nothing happens. A worker that does not answer in time is of no use to anybody: it is ended, and counted as lost.
    pub fn sync(&self) {
        let ticket = self.ticket.fetch_add(1, Relaxed) + 1;
        self.tell_all(|| Order::Report(ticket));
        if self
            .shared
            .wait(self.answer_within, |muster| muster.all_answered(ticket))
        {
            return;
        }
        let silent: Vec<usize> = self.shared.muster().silent(ticket).collect();
        for index in silent {
            self.workers[index].kill();
        }
        self.shared
            .wait(END_WITHIN, |muster| muster.all_answered(ticket));
    }

    /// The latencies since the last call. Those of a worker that died since are lost with it.
    pub fn take_latency(&self) -> Latency {
        self.sync();
        self.shared.muster().take_latency()
    }

    /// The first few distinct things that went wrong, and how often each did, in all workers together.
    pub fn problems(&self) -> Vec<Problem> {
        self.sync();
        self.shared.muster().problems()
    }

    /// Standing streams up, as last reported.
    pub fn standing(&self) -> u64 {
        self.shared.muster().standing()
    }

    /// A sentence for every worker that died, in order; they only become more.
    pub fn losses(&self) -> Vec<String> {
        self.shared.muster().losses().to_vec()
    }

    /// Why nobody is left to play; `None` while anybody is.
    pub fn died(&self) -> Option<String> {
        let muster = self.shared.muster();
        let last = muster.losses().last();
        muster
            .all_gone()
            .then(|| format!("no worker is left: {}", last.map_or("", |last| last)))
    }

    /// Every worker as it is now.
    pub fn facts(&self) -> Vec<WorkerFacts> {
        let muster = self.shared.muster();
        let workers = self.workers.iter().enumerate();
        workers
            .map(|(index, worker)| WorkerFacts {
                pid: (!muster.is_gone(index)).then_some(worker.pid),
                open: muster.open(index),
                clock_ahead_s: worker.clock.ahead_s,
                clock_within_s: worker.clock.within_s,
            })
            .collect()
    }

    fn tell_all(&self, order: impl Fn() -> Order) {
        for worker in &self.workers {
            worker.tell(&order());
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop();
        self.sync(); // counted as stopped, not as lost
        self.shared.closing.store(true, Relaxed);
        for worker in &self.workers {
            // The end of its input is the end of a worker.
            worker.input().take();
        }
        if !self.shared.wait(END_WITHIN, Muster::all_gone) {
            self.workers.iter().for_each(Worker::kill);
        }
        for worker in &mut self.workers {
            if let Some(reader) = worker.reader.take() {
                reader.join().ok(); // it has nothing to tell but what it told
            }
        }
    }
}

impl Worker {
    fn start(config: &FleetConfig, segment: Segment, shared: &Arc<Shared>) -> io::Result<Self> {
        let mut child = Command::new(&config.program)
            .arg("worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What a terminal sends to everybody is for the run alone: it ends in good order, and then its workers do.
            .process_group(0)
            .spawn()?;
        let pid = child.id();
        let input = child.stdin.take();
        let output = child.stdout.take();
        let input = Arc::new(Mutex::new(input));
        let mut worker = Self {
            pid,
            segment,
            input,
            child: Arc::new(Mutex::new(child)),
            reader: None,
            clock: ClockCheck::default(),
        };
        let output = output.ok_or(io::ErrorKind::BrokenPipe)?;
        let index = shared.muster().join();
        let ready = worker.listen(output, index, config.workers, shared)?;
        match worker.introduce(config, shared) {
            // Whoever has gone already is asked why: its last words count.
            Err(error) if !error.is_end() => {
                return Err(worker.give_up(&format!("cannot be told what to do: {error}")));
            }
            _ => {}
        }
        match ready.recv_timeout(START_WITHIN) {
            Ok(Ok(clock)) => worker.clock = clock,
            Ok(Err(why)) => return Err(worker.give_up(&why)),
            Err(_) => return Err(worker.give_up("does not answer")),
        }
        Ok(worker)
    }

    fn give_up(&self, why: &str) -> io::Error {
        self.kill();
        self.input().take();
        io::Error::other(format!("a worker process cannot be started: it {why}"))
    }

    /// The greeting and the first order.
    fn introduce(&self, config: &FleetConfig, shared: &Shared) -> Result<(), FrameError> {
        let config = DriveConfig {
            segment: self.segment,
            ..config.drive.clone()
        };
        let start = Start {
            config,
            anchor: shared.clock.anchor(),
        };
        let mut input = self.input();
        let input = input.as_mut().ok_or(FrameError::End)?;
        frame::write(input, &Greeting::ours())?;
        frame::write(input, &Order::Start(Box::new(start)))
    }

    /// Reads on a thread of its own what the worker says, until it says nothing any more.
    fn listen(
        &mut self,
        mut output: impl Read + Send + 'static,
        index: usize,
        of: NonZeroU32,
        shared: &Arc<Shared>,
    ) -> io::Result<mpsc::Receiver<Result<ClockCheck, String>>> {
        let (sender, ready) = mpsc::sync_channel(1);
        let (shared, child) = (Arc::clone(shared), Arc::clone(&self.child));
        let pid = self.pid;
        let mut ear = Ear {
            index,
            shared: Arc::clone(&shared),
            input: Arc::clone(&self.input),
            asked: Elapsed::default(),
            comparisons: vec![],
            ready: sender.clone(),
        };
        let listen = move || {
            let Err(why) = ear.hear(&mut output);
            let died = how(&child, why);
            shared.bury(
                index,
                &format!("worker {} of {of} (pid {pid}) {died}", index + 1),
            );
            sender.try_send(Err(died)).ok();
        };
        let thread = thread::Builder::new().name(format!("worker {}", index + 1));
        self.reader = Some(thread.spawn(listen)?);
        Ok(ready)
    }

    /// Whoever does not take it is gone or will be: its reader notices.
    fn tell(&self, order: &Order) {
        tell(&self.input, order);
    }

    fn input(&self) -> MutexGuard<'_, Option<ChildStdin>> {
        lock(&self.input)
    }

    fn kill(&self) {
        lock(&self.child).kill().ok(); // fails only if it is gone
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tell(input: &Input, order: &Order) {
    if let Some(input) = lock(input).as_mut() {
        frame::write(input, order).ok();
    }
}

/// Why nothing more comes from a worker.
enum Farewell {
    /// The pipe ended, or what came is no frame.
    Frame(FrameError),
    /// It says why it ends.
    Failed(String),
    /// What it says cannot be.
    Wrong(String),
}

impl From<FrameError> for Farewell {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

/// Waits for the end of a worker that says nothing more, and puts it in words.
fn how(child: &Mutex<Child>, why: Farewell) -> String {
    let mut child = lock(child);
    child.kill().ok(); // one that is ending already keeps its own reason
    let status = child.wait().ok();
    match why {
        Farewell::Frame(error) if error.is_end() => ended(status),
        Farewell::Frame(error) => format!("was ended, since {error}"),
        Farewell::Failed(why) => format!("ended: {why}"),
        Farewell::Wrong(why) => format!("was ended, since {why}"),
    }
}

fn ended(status: Option<ExitStatus>) -> String {
    match status.map(|status| (status.signal(), status.code())) {
        Some((Some(signal), _)) => format!("was killed by signal {signal}"),
        Some((None, Some(code))) => format!("ended with exit code {code}"),
        _ => "ended, nobody knows how".into(),
    }
}

/// Hears one worker.
struct Ear {
    index: usize,
    shared: Arc<Shared>,
    input: Input,
    /// When it was last asked for the time.
    asked: Elapsed,
    comparisons: Vec<ClockCheck>,
    ready: SyncSender<Result<ClockCheck, String>>,
}

impl Ear {
    fn hear(&mut self, output: &mut impl Read) -> Result<Infallible, Farewell> {
        let greeting: Greeting = frame::read(output)?;
        if let Some(why) = greeting.mismatch("the worker") {
            return Err(Farewell::Failed(why));
        }
        self.ask_the_time();
        loop {
            match frame::read(output)? {
                Answer::Time(there) => self.compare(there),
                Answer::Ports(ports) => note_ports(&self.shared.ports, &ports),
                Answer::Report(report) => {
                    let tally = &self.shared.tally;
                    let taken = self.shared.muster().report(self.index, *report, tally);
                    taken.map_err(Farewell::Wrong)?;
                    self.shared.news.notify_all();
                }
                Answer::Failed(why) => return Err(Farewell::Failed(why)),
            }
        }
    }

    fn ask_the_time(&mut self) {
        self.asked = self.shared.clock.now();
        tell(&self.input, &Order::Time);
    }

    /// Somewhere between question and answer it was that late there. The quickest answer says it best.
    fn compare(&mut self, there: Elapsed) {
        let within_s = self.shared.clock.now().since(self.asked).as_secs_f64() / 2.0;
        self.comparisons.push(ClockCheck {
            ahead_s: there.seconds() - (self.asked.seconds() + within_s),
            within_s,
        });
        if self.comparisons.len() < COMPARISONS {
            return self.ask_the_time();
        }
        let by_width = |a: &&ClockCheck, b: &&ClockCheck| a.within_s.total_cmp(&b.within_s);
        if let Some(best) = self.comparisons.iter().min_by(by_width) {
            self.ready.try_send(Ok(*best)).ok(); // who does not wait any more has given up
        }
    }
}

impl Shared {
    fn muster(&self) -> MutexGuard<'_, Muster> {
        lock(&self.muster)
    }

    /// Waits until it is so; tells whether it was in time.
    fn wait(&self, within: Duration, is_so: impl Fn(&Muster) -> bool) -> bool {
        let waited = self
            .news
            .wait_timeout_while(self.muster(), within, |muster| !is_so(muster));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// A worker is gone: what it held is counted, and said unless it was to end.
    fn bury(&self, index: usize, how: &str) {
        let mut muster = self.muster();
        let loss = muster.lose(index, &self.tally);
        let was_to_end = self.closing.load(Relaxed);
        if let Some(loss) = loss.filter(|_| !was_to_end) {
            muster.note_loss(format!(
                "{how}; lost with it: {} open streams, {} openings to come, and all that it did after {} s",
                loss.open, loss.planned, loss.heard
            ));
        }
        drop(muster);
        self.news.notify_all();
    }
}
