//! Who plays the load: one thread of ours, or worker processes of ourselves.

use std::{env, fmt, num::NonZeroU32, sync::Arc, time::Duration};

use serde::Serialize;

use super::SoakError;
use crate::{
    drive::{DriveConfig, Driver, Latency, Problem},
    fleet::{self, Fleet, FleetConfig, Room, WorkerFacts},
    observe::{self, Own},
    plan::Batch,
    profile::Workers,
    timeline::{Clock, Counts, Elapsed, PortBook, Tally},
    units::bytes,
};

/// How long a worker may take to answer. More than 10 s were seen, on a crowded machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// What a crew is to be able to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    /// What was asked for; `None`: one thread of ours.
    pub(super) workers: Option<Workers>,
    /// The most connections that may be open at a time.
    pub(super) most_open: u64,
    /// More workers than this would find nothing to do, or no session to borrow.
    pub(super) at_most: Option<NonZeroU32>,
}

/// Who plays the load.
#[derive(Debug)]
pub(super) struct Crew {
    players: Players,
    tally: Arc<Tally>,
}

#[derive(Debug)]
enum Players {
    Thread(Driver),
    Fleet(Fleet),
}

impl Need {
    fn workers(&self) -> Option<NonZeroU32> {
        match self.workers? {
            Workers::Count(count) => Some(count),
            Workers::Auto => {
                let needed = Room::now().workers_for(self.most_open)?;
                Some(self.at_most.map_or(needed, |most| needed.min(most)))
            }
        }
    }
}

impl Crew {
    /// Starts whoever is needed.
    pub(super) fn start(
        need: Need,
        drive: DriveConfig,
        clock: Clock,
        tally: Arc<Tally>,
        ports: Arc<PortBook>,
    ) -> Result<Self, SoakError> {
        let players = match need.workers() {
            None => Driver::start(drive, clock, Arc::clone(&tally), ports).map(Players::Thread),
            Some(workers) => {
                let config = fleet(workers, drive, need.most_open)?;
                Fleet::start(&config, clock, Arc::clone(&tally), ports).map(Players::Fleet)
            }
        };
        let players = players.map_err(SoakError::Drive)?;
        Ok(Self { players, tally })
    }

    /// See [`Driver::play`].
    pub(super) fn play(&self, began: Elapsed, batches: &[Batch]) {
        match &self.players {
            Players::Thread(driver) => driver.play(began, batches.to_vec()),
            Players::Fleet(fleet) => fleet.play(began, batches),
        }
    }

    /// See [`Driver::recall`].
    pub(super) fn recall(&self) {
        match &self.players {
            Players::Thread(driver) => driver.recall(),
            Players::Fleet(fleet) => fleet.recall(),
        }
    }

    /// See [`Driver::stop`].
    pub(super) fn stop(&self) {
        match &self.players {
            Players::Thread(driver) => driver.stop(),
            Players::Fleet(fleet) => fleet.stop(),
        }
    }

    /// The counts, exact to this moment: for readings. [`Tally::counts`] costs less, and may be [`fleet::EVERY`] old.
    pub(super) fn counts(&self) -> Counts {
        if let Players::Fleet(fleet) = &self.players {
            fleet.sync();
        }
        self.tally.counts()
    }

    /// See [`Driver::take_latency`].
    pub(super) fn take_latency(&self) -> Latency {
        match &self.players {
            Players::Thread(driver) => driver.take_latency(),
            Players::Fleet(fleet) => fleet.take_latency(),
        }
    }

    /// See [`Driver::problems`].
    pub(super) fn problems(&self) -> Vec<Problem> {
        match &self.players {
            Players::Thread(driver) => driver.problems(),
            Players::Fleet(fleet) => fleet.problems(),
        }
    }

    /// A sentence for every worker that died so far.
    pub(super) fn losses(&self) -> Vec<String> {
        match &self.players {
            Players::Thread(_) => vec![],
            Players::Fleet(fleet) => fleet.losses(),
        }
    }

    /// What went wrong, in words: losses first.
    pub(super) fn troubles(&self) -> Vec<String> {
        let problems = self.problems();
        let losses = self.losses().into_iter();
        losses
            .chain(problems.iter().map(ToString::to_string))
            .collect()
    }

    /// See [`Driver::standing`].
    pub(super) fn standing(&self) -> u64 {
        match &self.players {
            Players::Thread(driver) => driver.standing(),
            Players::Fleet(fleet) => fleet.standing(),
        }
    }

    /// Why nobody plays any more; `None` while anybody does.
    pub(super) fn died(&self) -> Option<String> {
        match &self.players {
            Players::Thread(driver) => driver.died(),
            Players::Fleet(fleet) => fleet.died(),
        }
    }

    /// The worker processes, each with what it weighs.
    pub(super) fn workers(&self) -> Vec<(WorkerFacts, Own)> {
        let Players::Fleet(fleet) = &self.players else {
            return vec![];
        };
        let weighed = |facts: WorkerFacts| {
            let own = facts.pid.map(observe::process).unwrap_or_default();
            (facts, own)
        };
        fleet.facts().into_iter().map(weighed).collect()
    }
}

/// What all of us weigh; `None` if one of us cannot be read.
pub(super) fn together(us: Own, workers: &[(WorkerFacts, Own)]) -> Own {
    let alive = workers.iter().filter(|(facts, _)| facts.pid.is_some());
    alive.fold(us, |sum, (_, own)| Own {
        rss_bytes: sum.rss_bytes.zip(own.rss_bytes).map(|(a, b)| a + b),
        cpu_seconds: sum.cpu_seconds.zip(own.cpu_seconds).map(|(a, b)| a + b),
    })
}

fn fleet(
    workers: NonZeroU32,
    mut drive: DriveConfig,
    most_open: u64,
) -> Result<FleetConfig, SoakError> {
    let room = Room::now().worker;
    drive.limits.most_open = usize::try_from(room).unwrap_or(usize::MAX);
    drive.sources = fleet::sources(drive.addr.ip(), most_open);
    Ok(FleetConfig {
        workers,
        program: env::current_exe().map_err(SoakError::Drive)?,
        answer_within: ANSWER_WITHIN,
        drive,
    })
}

/// A worker process as it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct WorkerReport {
    /// `None` once it is gone.
    pub pid: Option<u32>,
    /// Connections that it holds.
    pub open: u64,
    /// Its resident memory, bytes.
    pub rss_bytes: Option<u64>,
    /// Its CPU time, seconds.
    pub cpu_seconds: Option<f64>,
    /// By how much its clock was ahead of ours when it started, microseconds.
    pub clock_ahead_us: f64,
    /// Not more wrong than this, microseconds.
    pub clock_within_us: f64,
}

impl From<&(WorkerFacts, Own)> for WorkerReport {
    fn from((facts, own): &(WorkerFacts, Own)) -> Self {
        let micros = |seconds: f64| (seconds * 1e7).round() / 10.0;
        Self {
            pid: facts.pid,
            open: facts.open,
            rss_bytes: own.rss_bytes,
            cpu_seconds: own.cpu_seconds,
            clock_ahead_us: micros(facts.clock_ahead_s),
            clock_within_us: micros(facts.clock_within_s),
        }
    }
}

impl fmt::Display for WorkerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(pid) = self.pid else {
            return f.write_str("gone");
        };
        write!(f, "pid {pid}, ")?;
        if let Some(rss) = self.rss_bytes {
            write!(f, "{}, ", bytes(rss as f64))?;
        }
        let cpu = self.cpu_seconds.unwrap_or(0.0);
        let (ahead, within) = (self.clock_ahead_us, self.clock_within_us);
        write!(f, "{cpu:.2} s of CPU, clock {ahead:+} µs ± {within} µs")
    }
}
