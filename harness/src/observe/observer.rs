//! The observer's own thread: samples on the grid, and answers in between.

use std::{
    collections::BTreeSet,
    fs::File,
    net::SocketAddr,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::Value;

use super::{
    admin::{self, Admin, Ask, Retained},
    error::ObserveError,
    grid,
    look::{Eyes, Purpose},
    metrics::MetricsConfig,
    runtime::RuntimeConfig,
    sample::Sample,
};
use crate::timeline::{Clock, PortBook};

/// What to look at, and how often.
#[derive(Debug)]
pub struct ObserveConfig {
    /// The head of the target's process tree; `None` if it cannot be seen.
    pub pid: Option<u32>,
    /// Where the target listens: its sockets are those with this local port.
    pub addr: SocketAddr,
    /// The target's admin listener.
    pub admin: Option<Admin>,
    /// The target's metrics endpoint.
    pub metrics: Option<MetricsConfig>,
    /// How to ask the target's runtime to tidy up.
    pub runtime: RuntimeConfig,
    /// One sample each.
    pub every: Duration,
}

/// Looks at the target from its own thread, since on the load's it would look late exactly when it matters.
#[derive(Debug)]
pub struct Observer {
    asks: SyncSender<Question>,
    thread: Option<JoinHandle<()>>,
    lost: Arc<AtomicU64>,
    clock: Clock,
}

/// A question to the thread, with the way back for its answer.
enum Question {
    Look(Purpose, SyncSender<Sample>),
    Status(SyncSender<Result<Value, ObserveError>>),
    Retain(Value, SyncSender<Result<Retained, ObserveError>>),
    Release(SyncSender<Result<(), ObserveError>>),
    Roll(SyncSender<()>),
    Follow(u32, SyncSender<Result<(), ObserveError>>),
    ResumeAt(u64, SyncSender<()>),
    Instrument(Ask, Option<Value>, SyncSender<Result<(), ObserveError>>),
    Fetch(Ask, File, SyncSender<Result<u64, ObserveError>>),
    Stop,
}

/// Longer than any single look may take, so that what is reported is what hung, not us.
const LOOK_WITHIN: Duration = Duration::from_secs(10);
const SETTLED_WITHIN: Duration = Duration::from_secs(45);
const RETAIN_WITHIN: Duration = Duration::from_secs(30);
/// A dump of a large heap stops the target for seconds, and comes as 100 MB.
const FETCH_WITHIN: Duration = Duration::from_secs(120);

impl Observer {
    /// Starts to sample.
    ///
    /// # Errors
    /// If the process is not there, the admin listener's address makes no sense, or no thread can be started.
    pub fn start(
        config: ObserveConfig,
        clock: Clock,
        ports: Arc<PortBook>,
        samples: SyncSender<Sample>,
    ) -> Result<Self, ObserveError> {
        let every = config.every;
        let eyes = Eyes::open(config, clock, ports)?;
        let (asks, questions) = sync_channel(4);
        let lost = Arc::new(AtomicU64::new(0));
        let watch = Watch {
            eyes,
            every,
            clock,
            samples,
            lost: Arc::clone(&lost),
            lasting: BTreeSet::new(),
        };
        let thread = thread::Builder::new()
            .name("observe".into())
            .spawn(move || watch.run(&questions))
            .map_err(ObserveError::Thread)?;
        Ok(Self {
            asks,
            thread: Some(thread),
            lost,
            clock,
        })
    }

    /// Looks now, without what walks page tables: cheap enough to ask "is it quiet yet?" twenty times a second.
    pub fn look(&self) -> Sample {
        self.ask_for_a_look(Purpose::Poll, LOOK_WITHIN)
    }

    /// Looks now at everything, memory maps included, without asking the target to tidy up.
    pub fn full_look(&self) -> Sample {
        self.ask_for_a_look(Purpose::Sample, LOOK_WITHIN)
    }

    /// Asks the target's runtime to tidy up, then looks. [`Sample::settled`] says whether it did.
    pub fn settled_look(&self) -> Sample {
        self.ask_for_a_look(Purpose::Settled, SETTLED_WITHIN)
    }

    /// Makes the target keep `count` blocks of `bytes` for good: the positive control.
    ///
    /// # Errors
    /// If there is no admin listener, or it does not do it.
    pub fn retain(&self, bytes: u64, count: u64) -> Result<Retained, ObserveError> {
        let body = admin::retain_body(bytes, count);
        self.ask(|back| Question::Retain(body, back), RETAIN_WITHIN)?
    }

    /// Lets the target give back what [`retain`](Self::retain) made it keep.
    ///
    /// # Errors
    /// If there is no admin listener, or it does not do it.
    pub fn release(&self) -> Result<(), ObserveError> {
        self.ask(Question::Release, RETAIN_WITHIN)?
    }

    /// Lets the target sample one allocation in 2^`lg_sample` bytes from now on, and forget what it sampled before.
    ///
    /// # Errors
    /// If there is no admin listener, or it does not do it.
    pub fn start_profile(&self, lg_sample: u8) -> Result<(), ObserveError> {
        let body = Some(admin::profile_body(lg_sample));
        self.ask(
            |back| Question::Instrument(Ask::ProfileStart, body, back),
            RETAIN_WITHIN,
        )?
    }

    /// Writes what was sampled since and is live now to a file; how many bytes it is. No sample is taken meanwhile.
    ///
    /// # Errors
    /// If there is no admin listener, it does not do it, or the file cannot be written.
    pub fn fetch_profile(&self, file: File) -> Result<u64, ObserveError> {
        self.ask(
            |back| Question::Fetch(Ask::Profile, file, back),
            FETCH_WITHIN,
        )?
    }

    /// Lets the target note every allocation from now on.
    ///
    /// # Errors
    /// If there is no admin listener, or it does not do it.
    pub fn start_dhat(&self) -> Result<(), ObserveError> {
        self.ask(
            |back| Question::Instrument(Ask::DhatStart, None, back),
            RETAIN_WITHIN,
        )?
    }

    /// Ends that, and writes what was noted to a file; how many bytes it is.
    ///
    /// # Errors
    /// If there is no admin listener, it does not do it, or the file cannot be written.
    pub fn stop_dhat(&self, file: File) -> Result<u64, ObserveError> {
        self.ask(
            |back| Question::Fetch(Ask::DhatStop, file, back),
            FETCH_WITHIN,
        )?
    }

    /// The target's whole status as it sent it: defects, allocator, settings.
    pub fn status_json(&self) -> Option<Value> {
        self.ask(Question::Status, LOOK_WITHIN).ok()?.ok()
    }

    /// Calls the roll of the target's processes, with nobody connected: from now on each of them that is replaced makes a new generation.
    ///
    /// # Errors
    /// [`ObserveError::NoAnswer`].
    pub fn take_roll(&self) -> Result<(), ObserveError> {
        self.ask(Question::Roll, LOOK_WITHIN)
    }

    /// Looks at another root from now on, which is a new generation.
    ///
    /// # Errors
    /// If that process is not there.
    pub fn follow(&self, pid: u32) -> Result<(), ObserveError> {
        self.ask(|back| Question::Follow(pid, back), LOOK_WITHIN)?
    }

    /// Counts generations from this one on: the run was resumed.
    ///
    /// # Errors
    /// [`ObserveError::NoAnswer`].
    pub fn resume_at(&self, generation: u64) -> Result<(), ObserveError> {
        self.ask(|back| Question::ResumeAt(generation, back), LOOK_WITHIN)
    }

    /// Samples that nobody took in time.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// Ends the thread.
    pub fn stop(self) {
        drop(self);
    }

    fn ask_for_a_look(&self, purpose: Purpose, within: Duration) -> Sample {
        let at = self.clock.now();
        self.ask(|back| Question::Look(purpose, back), within)
            .unwrap_or_else(|error| Sample {
                at,
                gaps: vec![error.to_string()],
                ..Sample::default()
            })
    }

    fn ask<T>(
        &self,
        question: impl FnOnce(SyncSender<T>) -> Question,
        within: Duration,
    ) -> Result<T, ObserveError> {
        let (back, answer) = sync_channel(1);
        self.asks
            .try_send(question(back))
            .map_err(|_| ObserveError::NoAnswer)?;
        answer
            .recv_timeout(within)
            .map_err(|_| ObserveError::NoAnswer)
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        // A thread that is gone needs no telling; one that is busy takes this after it.
        self.asks.send(Question::Stop).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// What the thread owns.
struct Watch {
    eyes: Eyes,
    every: Duration,
    clock: Clock,
    samples: SyncSender<Sample>,
    lost: Arc<AtomicU64>,
    /// The gaps of the last sample.
    lasting: BTreeSet<String>,
}

impl Watch {
    fn run(mut self, questions: &Receiver<Question>) {
        let mut due = grid::next_point(self.clock.now(), self.every);
        loop {
            let wait = due.since(self.clock.now());
            match questions.recv_timeout(wait) {
                Ok(question) => {
                    if self.answer(question).is_break() {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    let mut sample = self.eyes.look(Purpose::Sample);
                    sample.gaps = begun(&mut self.lasting, sample.gaps);
                    self.send(sample);
                    due = grid::next_point(self.clock.now(), self.every);
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// A full queue loses the sample; the loss is counted, and every report shows it.
    fn send(&mut self, sample: Sample) {
        if let Err(TrySendError::Full(sample) | TrySendError::Disconnected(sample)) =
            self.samples.try_send(sample)
        {
            self.lost.fetch_add(1, Relaxed);
            self.eyes.tell_again(sample.restarts);
        }
    }

    /// Who asked may have given up; then the answer goes nowhere.
    fn answer(&mut self, question: Question) -> ControlFlow<()> {
        match question {
            Question::Look(purpose, back) => {
                let sample = self.eyes.look(purpose);
                back.try_send(sample).ok();
            }
            Question::Status(back) => {
                back.try_send(self.ask(Ask::Status, None)).ok();
            }
            Question::Retain(body, back) => {
                let answer = self.ask(Ask::Retain, Some(body));
                let kept = answer.and_then(|answer| Ok(admin::retained(&answer)?));
                back.try_send(kept).ok();
            }
            Question::Release(back) => {
                back.try_send(self.ask(Ask::Release, None).map(drop)).ok();
            }
            Question::Roll(back) => {
                self.eyes.take_roll();
                back.try_send(()).ok();
            }
            Question::Follow(pid, back) => {
                back.try_send(self.eyes.follow(pid)).ok();
            }
            Question::ResumeAt(generation, back) => {
                self.eyes.resume_at(generation);
                back.try_send(()).ok();
            }
            Question::Instrument(what, body, back) => {
                back.try_send(self.ask(what, body).map(drop)).ok();
            }
            Question::Fetch(what, file, back) => {
                back.try_send(self.fetch(what, file)).ok();
            }
            Question::Stop => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn ask(&mut self, what: Ask, body: Option<Value>) -> Result<Value, ObserveError> {
        let within = RETAIN_WITHIN.saturating_sub(Duration::from_secs(5));
        Ok(self.eyes.admin()?.ask(what, body, within)?)
    }

    fn fetch(&mut self, what: Ask, mut file: File) -> Result<u64, ObserveError> {
        let within = FETCH_WITHIN.saturating_sub(Duration::from_secs(5));
        Ok(self.eyes.admin()?.fetch(what, &mut file, within)?)
    }
}

/// The gaps that were not there in the sample before. One that lasts a day is said once, when it begins: its empty cells say the rest.
fn begun(lasting: &mut BTreeSet<String>, gaps: Vec<String>) -> Vec<String> {
    let now: BTreeSet<String> = gaps.into_iter().collect();
    let new = now.difference(lasting).cloned().collect();
    *lasting = now;
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_that_lasts_is_said_once_and_again_when_it_comes_back() {
        let mut lasting = BTreeSet::new();
        for (found, said) in [
            (vec!["a"], vec!["a"]),
            (vec!["a", "b"], vec!["b"]),
            (vec!["b"], vec![]),
            (vec!["a", "b"], vec!["a"]),
        ] {
            let gaps = found.iter().map(|&gap| gap.to_owned()).collect();
            assert_eq!(begun(&mut lasting, gaps), said, "of {found:?}");
        }
    }
}
