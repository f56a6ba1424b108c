//! Starting the target, and leaving nothing of it behind.

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use rustix::{
    process::{
        Pid, PidfdFlags, Signal, WaitOptions, kill_process_group, pidfd_open, pidfd_send_signal,
        set_child_subreaper, test_kill_process_group, waitpid,
    },
    thread::{disable_transparent_huge_pages, transparent_huge_pages_are_disabled},
};

use super::{
    confine::Confinement,
    error::TargetError,
    family::Family,
    guard::Guard,
    life::{Life, OomWatch},
    log::{LogKept, LogPump},
    proc::{self, ProcessId, Stat},
};
use crate::{timeline::Clock, units::ByteSize};

/// How to start the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Added to our own environment.
    pub env: Vec<(String, String)>,
    /// Where it runs; here, if left out.
    pub dir: Option<PathBuf>,
    /// Where its output goes.
    pub log: PathBuf,
    /// How much of its output is kept.
    pub log_limit: ByteSize,
    /// How much memory it may use, all its processes together; as much as there is, if left out.
    pub memory_limit: Option<ByteSize>,
    /// Whether the kernel may give it transparent huge pages: they make memory grow in steps of 2 MiB.
    pub huge_pages: bool,
}

/// What stopping found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// How the target ended; [`Life::Running`] if it was not ours to stop.
    pub life: Life,
    /// Processes that did not end within the grace and were killed.
    pub killed: Vec<u32>,
    /// What became of its output.
    pub log: LogKept,
}

/// A process group that we started.
#[derive(Debug)]
pub(super) struct Launched {
    child: Child,
    life: Life,
    /// `SSE_SOAK_TARGET=…` in the environment of the target and of all that it starts.
    mark: String,
    family: Family,
    guard: Option<Guard>,
    log: LogPump,
    oom: OomWatch,
    confinement: Option<Confinement>,
}

impl Launched {
    pub(super) fn start(launch: &Launch) -> Result<Self, TargetError> {
        let mark = next_mark();
        let confinement = launch.memory_limit.map(Confinement::prepare);
        let words = confinement
            .as_ref()
            .map(|confinement| confinement.around(&launch.command));
        let words = words.as_ref().unwrap_or(&launch.command);
        if launch.command.is_empty() {
            return Err(TargetError::EmptyCommand);
        }
        let (reader, mut command) = command(launch, words, &mark)?;
        let log = File::create(&launch.log).map_err(|source| log_error(launch, source))?;
        adopt_orphans();
        let child =
            spawn(&mut command, launch.huge_pages).map_err(|source| TargetError::Spawn {
                program: launch.command[0].clone(),
                source,
            })?;
        drop(command); // it holds our copies of the pipe's writing end; while one is open, the log never ends
        let family = Family::of(child.id())?; // even a child that has ended is there until we wait for it
        let oom = OomWatch::start(family.root());
        let log = LogPump::start(reader, log, launch.log_limit)
            .map_err(|source| log_error(launch, source))?;
        Ok(Self {
            guard: Guard::over(child.id()).ok(), // best effort: a machine without `sh` has none
            child,
            life: Life::Running,
            mark,
            family,
            log,
            oom,
            confinement,
        })
    }

    pub(super) fn confinement(&self) -> Option<String> {
        self.confinement.as_ref().map(Confinement::words)
    }

    pub(super) const fn family(&self) -> &Family {
        &self.family
    }

    pub(super) fn last_lines(&self) -> String {
        const LINES: usize = 20;
        if self.life.has_ended() {
            self.log.wait_for_the_end(Duration::from_millis(500));
        }
        self.log.last_lines(LINES)
    }

    /// Asks how it is, and buries orphans of its that ended.
    pub(super) fn look(&mut self) -> Life {
        self.gather();
        if let Life::Running = self.life
            && let Ok(Some(status)) = self.child.try_wait()
        {
            self.life = Life::from_status(status, &self.oom);
        }
        if self.life.has_ended() && self.group_is_empty() {
            self.disarm(); // from now on the group's number may become somebody else's
        }
        self.life
    }

    /// SIGTERM, patience, SIGKILL, until nothing that came from the target runs.
    pub(super) fn stop(&mut self, grace: Duration) -> Stopped {
        self.signal_all(Signal::TERM);
        let mut killed = BTreeSet::new();
        if !self.gone_within(grace) {
            killed.extend(self.family.alive().map(|id| id.pid));
            self.kill_all();
        }
        self.disarm();
        self.log.wait_for_the_end(Duration::from_secs(1));
        Stopped {
            life: self.life,
            killed: killed.into_iter().collect(),
            log: self.log.kept(),
        }
    }

    /// What a process forks while it is being killed is found by the next round.
    fn kill_all(&mut self) {
        const ROUNDS: u32 = 50;
        for _ in 0..ROUNDS {
            self.signal_all(Signal::KILL);
            if self.gone_within(Duration::from_millis(100)) {
                return;
            }
        }
    }

    fn gone_within(&mut self, patience: Duration) -> bool {
        let clock = Clock::start();
        loop {
            self.look();
            let somebody = self.family.alive().next().is_some();
            if !somebody && self.life.has_ended() {
                return true;
            }
            if clock.now().0 >= patience {
                return false;
            }
            pause(Duration::from_millis(5));
        }
    }

    fn signal_all(&mut self, signal: Signal) {
        self.gather();
        // While the head is not waited for, the group's number is its own: then one call reaches even what forks at this moment.
        if let Life::Running = self.life
            && let Some(group) = self.group()
        {
            kill_process_group(group, signal).ok(); // fails only if nobody is left
        }
        let head = self.family.root();
        let group = head.pid;
        let in_group = |stat: &&Stat| stat.group == group && self.life == Life::Running;
        let others = self
            .family
            .members()
            .filter(|stat| stat.is_alive() && !in_group(stat));
        for stat in others {
            signal_exactly(stat.id, signal);
        }
    }

    /// Everyone who came from the target: descendants, members of its group, orphans that we inherited.
    fn gather(&mut self) {
        self.family.refresh();
        let group = self.family.root().pid;
        for pid in proc::children(std::process::id()) {
            let Ok(stat) = Stat::read(pid) else { continue };
            if pid == self.child.id() {
                continue;
            }
            let known = self.family.members().any(|member| member.id == stat.id);
            let kin = known || stat.group == group || stat.session == group;
            if kin && !stat.is_alive() {
                bury(pid);
            } else if !known && (kin || carries(pid, &self.mark)) {
                self.family.adopt(stat);
            }
        }
    }

    fn group(&self) -> Option<Pid> {
        i32::try_from(self.family.root().pid)
            .ok()
            .and_then(Pid::from_raw)
    }

    fn group_is_empty(&self) -> bool {
        self.group()
            .is_none_or(|group| test_kill_process_group(group).is_err())
    }

    fn disarm(&mut self) {
        if let Some(guard) = self.guard.take() {
            guard.disarm();
        }
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        self.kill_all(); // after `stop`, nobody is left and this only looks
        self.disarm();
    }
}

fn command(
    launch: &Launch,
    words: &[String],
    mark: &str,
) -> Result<(io::PipeReader, Command), TargetError> {
    let (program, arguments) = words.split_first().ok_or(TargetError::EmptyCommand)?;
    let pipe = io::pipe().and_then(|(reader, writer)| Ok((reader, writer.try_clone()?, writer)));
    let (reader, out, err) = pipe.map_err(|source| TargetError::System {
        what: "make a pipe for the target's output",
        source,
    })?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .envs(launch.env.iter().map(|(name, value)| (name, value)))
        .env(MARK_NAME, mark)
        .stdin(std::process::Stdio::null())
        .stdout(out)
        .stderr(err)
        .process_group(0);
    if let Some(dir) = &launch.dir {
        command.current_dir(dir);
    }
    Ok((reader, command))
}

/// Huge pages are switched off for ourselves around the fork, since the child inherits it; nothing may run between fork and exec.
fn spawn(command: &mut Command, huge_pages: bool) -> io::Result<Child> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if huge_pages {
        return command.spawn();
    }
    let before = transparent_huge_pages_are_disabled().unwrap_or(false);
    let switched = disable_transparent_huge_pages(true); // a kernel without huge pages refuses, and needs no switch
    let child = command.spawn();
    if switched.is_ok() && !before {
        disable_transparent_huge_pages(false).ok(); // cannot fail where the opposite did not
    }
    child
}

const MARK_NAME: &str = "SSE_SOAK_TARGET";

fn next_mark() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed))
}

/// From now on a daemon of the target becomes *our* child when its parent ends, so that it can be found and stopped.
fn adopt_orphans() {
    // Best effort: refused only by kernels before 3.4.
    set_child_subreaper(Some(rustix::process::getpid())).ok();
}

/// Whether a process was started with this mark. What a process does to its own environment later does not show.
fn carries(pid: u32, mark: &str) -> bool {
    proc::read(pid, "environ").is_ok_and(|text| {
        text.split('\0')
            .filter_map(|entry| entry.strip_prefix(MARK_NAME)?.strip_prefix('='))
            .any(|value| value == mark)
    })
}

/// Waits for an orphan that has ended, so that its entry disappears.
fn bury(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        waitpid(Some(pid), WaitOptions::NOHANG).ok(); // somebody else was quicker: as well
    }
}

/// Signals a process and never the next owner of its number: the handle is opened first and the start time checked after.
fn signal_exactly(id: ProcessId, signal: Signal) {
    let Some(pid) = i32::try_from(id.pid).ok().and_then(Pid::from_raw) else {
        return;
    };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else {
        return; // it ended
    };
    if ProcessId::of(id.pid).is_ok_and(|now| now == id) {
        pidfd_send_signal(handle, signal).ok(); // it ended just now: as well
    }
}

fn log_error(launch: &Launch, source: io::Error) -> TargetError {
    TargetError::Log {
        path: launch.log.clone(),
        source,
    }
}

/// The one place of this stage that waits for time itself; every caller checks a condition and a deadline around it.
#[expect(clippy::disallowed_methods, reason = "the edge that polls a process")]
pub(super) fn pause(length: Duration) {
    thread::sleep(length);
}
