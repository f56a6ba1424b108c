//! One look at everything: what the observer's thread does again and again.

use std::{fs::File, io, net::SocketAddr, os::fd::AsFd, sync::Arc, thread, time::Duration};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::{
    admin::{self, Admin, AdminError, AdminLine, Ask},
    backoff::Backoff,
    error::{ObserveError, sentence},
    generations::Generations,
    host::{self, HostWatch, SuspendWatch},
    metrics::MetricsWatch,
    observer::ObserveConfig,
    runtime::{RuntimeHeap, RuntimeWatch},
    sample::{Heap, Presence, Sample, Sockets, TargetReport, Tree},
    sock_diag::{self, SockDiag},
    tree::{Depth, TreeWatch},
};
use crate::{
    target::{is_local, tcp_table},
    timeline::{Clock, PortBook},
};

/// Everything that is open for looking.
#[derive(Debug)]
pub(super) struct Eyes {
    clock: Clock,
    tree: Option<TreeWatch>,
    sockets: SocketWatch,
    admin: Option<AdminWatch>,
    metrics: Option<MetricsWatch>,
    runtime: RuntimeWatch,
    host: HostWatch,
    suspend: SuspendWatch,
    generations: Generations,
    /// What made the generation rise, until a sample of the grid tells it.
    restarts: Vec<String>,
    ports: Arc<PortBook>,
    addr: SocketAddr,
}

/// Why a look is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A row of the recording.
    Sample,
    /// "Is it quiet yet?"
    Poll,
    /// A reading: the target is asked to tidy up first.
    Settled,
}

impl Eyes {
    pub(super) fn open(
        config: ObserveConfig,
        clock: Clock,
        ports: Arc<PortBook>,
    ) -> Result<Self, ObserveError> {
        let ObserveConfig {
            pid, addr, admin, ..
        } = config;
        Ok(Self {
            clock,
            tree: pid
                .map(TreeWatch::of)
                .transpose()
                .map_err(ObserveError::Target)?,
            sockets: SocketWatch::open(pid, addr, Arc::clone(&ports)),
            admin: admin.map(AdminWatch::open).transpose()?,
            metrics: config.metrics.map(MetricsWatch::open).transpose()?,
            runtime: RuntimeWatch::open(config.runtime, addr.port(), clock),
            host: HostWatch::of(pid),
            suspend: SuspendWatch::start(),
            generations: Generations::default(),
            restarts: Vec::new(),
            ports,
            addr,
        })
    }

    /// From now on whoever is there carries the target's memory.
    pub(super) fn take_roll(&mut self) {
        if let Some(tree) = &mut self.tree {
            tree.look(Depth::Quick, &mut Vec::new());
            self.generations.take_roll(tree.root(), tree.seen());
        }
    }

    /// Looks at another root from now on: the target was replaced.
    pub(super) fn follow(&mut self, pid: u32) -> Result<(), ObserveError> {
        let mut tree = TreeWatch::of(pid).map_err(ObserveError::Target)?;
        tree.look(Depth::Quick, &mut Vec::new());
        self.generations.follow(tree.root(), tree.seen());
        self.tree = Some(tree);
        self.sockets = SocketWatch::open(Some(pid), self.addr, Arc::clone(&self.ports));
        self.host = HostWatch::of(Some(pid));
        Ok(())
    }

    /// The run was resumed: counts generations on from there.
    pub(super) const fn resume_at(&mut self, generation: u64) {
        self.generations.resume_at(generation);
    }

    /// Takes back what a sample that nobody took would have told.
    pub(super) fn tell_again(&mut self, restarts: Vec<String>) {
        self.restarts.splice(0..0, restarts);
    }

    /// The target's own counters first: what asking costs it is in the memory that is read after.
    pub(super) fn look(&mut self, purpose: Purpose) -> Sample {
        let at = self.clock.now();
        let mut gaps = Vec::new();
        self.suspend.look(&mut gaps);
        let (settled, target) = match &mut self.admin {
            Some(admin) => admin.look(purpose, &self.clock, &mut gaps),
            None => (None, None),
        };
        let told = self.metrics.as_mut();
        let told = told.and_then(|metrics| metrics.look(&self.clock, &mut gaps));
        let target = match (target, told) {
            (Some(target), Some(told)) => Some(target.or(told)),
            (target, told) => target.or(told),
        };
        let runtime = self.ask_the_runtime(purpose, &mut gaps);
        let (presence, tree) = self.look_at_the_tree(purpose, &mut gaps);
        let restarts = match purpose {
            Purpose::Sample => std::mem::take(&mut self.restarts),
            Purpose::Poll | Purpose::Settled => Vec::new(),
        };
        Sample {
            at,
            settled: settled.is_some(),
            presence,
            generation: Some(self.generations.number()),
            restarts,
            tree,
            sockets: self.sockets.look(&mut gaps),
            target,
            runtime,
            host: self.host.look(purpose, &mut gaps),
            own: host::own(&mut gaps),
            gaps,
        }
    }

    pub(super) fn admin(&mut self) -> Result<&mut AdminWatch, ObserveError> {
        self.admin.as_mut().ok_or(ObserveError::NoAdmin)
    }

    /// Before the tree: what the runtime gives back to the kernel is gone from it then.
    fn ask_the_runtime(&mut self, purpose: Purpose, gaps: &mut Vec<String>) -> Option<RuntimeHeap> {
        if purpose != Purpose::Settled {
            return None;
        }
        let pids = self.tree.as_mut()?.pids();
        self.runtime.settle(&pids, gaps)
    }

    fn look_at_the_tree(
        &mut self,
        purpose: Purpose,
        gaps: &mut Vec<String>,
    ) -> (Presence, Option<Tree>) {
        let depth = match purpose {
            Purpose::Poll => Depth::Quick,
            Purpose::Sample | Purpose::Settled => Depth::Full,
        };
        let Some(tree) = &mut self.tree else {
            return (Presence::Unseen, None);
        };
        let (presence, sums) = tree.look(depth, gaps);
        if presence == Presence::Alive {
            let restarts = self.generations.look(&tree.seen());
            self.restarts.extend(restarts);
        }
        (presence, sums)
    }
}

/// The target's sockets, by the best way that works here.
#[derive(Debug)]
struct SocketWatch {
    way: Way,
    /// Whose network it is; ours, if nobody's is known.
    pid: Option<u32>,
    port: u16,
    ports: Arc<PortBook>,
}

#[derive(Debug)]
enum Way {
    /// Asking the kernel.
    Netlink(SockDiag),
    /// Parsing the table, for this reason.
    Table(String),
    /// The target is on another machine.
    None,
}

impl SocketWatch {
    fn open(pid: Option<u32>, addr: SocketAddr, ports: Arc<PortBook>) -> Self {
        let is_elsewhere = pid.is_none() && !is_local(addr);
        let way = if is_elsewhere {
            Way::None
        } else {
            Way::to(pid)
        };
        Self {
            way,
            pid,
            port: addr.port(),
            ports,
        }
    }

    fn look(&mut self, gaps: &mut Vec<String>) -> Option<Sockets> {
        match &mut self.way {
            Way::None => None,
            Way::Table(why) => {
                let why = why.clone();
                self.look_at_the_table(&why, gaps)
            }
            Way::Netlink(diag) => match diag.census(self.port, &self.ports) {
                Ok(sockets) => Some(sockets),
                Err(error) => {
                    // A new line, so that no late answer is taken for the next one.
                    self.way = Way::to(self.pid);
                    self.look_at_the_table(&sentence(&error), gaps)
                }
            },
        }
    }

    fn look_at_the_table(&self, why: &str, gaps: &mut Vec<String>) -> Option<Sockets> {
        let pid = self.pid.unwrap_or_else(std::process::id);
        gaps.push(format!(
            "{why}: sockets are read from /proc/{pid}/net/tcp, which tells of their kernel memory only what is queued"
        ));
        let rows = tcp_table::read(pid).inspect_err(|error| gaps.push(sentence(error)));
        rows.ok()
            .map(|rows| sock_diag::census_of_table(&rows, self.port, &self.ports))
    }
}

impl Way {
    fn to(pid: Option<u32>) -> Self {
        match pid {
            Some(pid) if lives_in_another_network(pid) => Self::netlink_inside(pid),
            _ => Self::netlink(),
        }
    }

    /// A socket belongs to the network it was opened in, so a thread goes there (which takes root), opens one and ends.
    fn netlink_inside(pid: u32) -> Self {
        let opened = thread::spawn(move || {
            enter_network_of(pid)?;
            Ok(Self::netlink())
        });
        let opened = opened
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread that went there ended")));
        opened.unwrap_or_else(|error: io::Error| {
            Self::Table(format!(
                "the target lives in another network namespace, which cannot be entered ({error})"
            ))
        })
    }

    fn netlink() -> Self {
        SockDiag::open().map_or_else(|error| Self::Table(sentence(&error)), Self::Netlink)
    }
}

fn lives_in_another_network(pid: u32) -> bool {
    let network = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net")).ok();
    let (theirs, ours) = (network(&pid.to_string()), network("self"));
    theirs.is_some() && ours.is_some() && theirs != ours
}

fn enter_network_of(pid: u32) -> io::Result<()> {
    let network = File::open(format!("/proc/{pid}/ns/net"))?;
    let only = Some(LinkNameSpaceType::Network);
    Ok(move_into_link_name_space(network.as_fd(), only)?)
}

/// The admin listener, left alone for a while when it hangs: waiting for it would make every sample late.
#[derive(Debug)]
pub(super) struct AdminWatch {
    line: AdminLine,
    runtime: Runtime,
    backoff: Backoff,
}

/// A counter is worth waiting this long; a target that is busy may still answer, and one that hangs costs one sample.
const STATUS_WITHIN: Duration = Duration::from_millis(800);
/// Purging a large heap takes long.
const SETTLE_WITHIN: Duration = Duration::from_secs(30);

impl AdminWatch {
    fn open(admin: Admin) -> Result<Self, ObserveError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ObserveError::Thread)?;
        let line = {
            let _inside = runtime.enter();
            AdminLine::to(admin)?
        };
        Ok(Self {
            line,
            runtime,
            backoff: Backoff::default(),
        })
    }

    /// The heap after tidying up, if that was asked for and done, and the report.
    fn look(
        &mut self,
        purpose: Purpose,
        clock: &Clock,
        gaps: &mut Vec<String>,
    ) -> (Option<Heap>, Option<TargetReport>) {
        let settled = (purpose == Purpose::Settled).then(|| self.settle());
        let settled = settled.and_then(|heap| noted(heap, gaps));
        let patient = purpose != Purpose::Settled && self.backoff.waits(clock);
        if patient {
            gaps.push("the target's admin listener hung and is left alone for a while".into());
            return (None, None);
        }
        let status = self.ask(Ask::Status, None, STATUS_WITHIN);
        let hung = matches!(status, Err(AdminError::TimedOut { .. }));
        self.backoff.note(hung, clock);
        let report = noted(status, gaps).map(|status| {
            let mut problems = Vec::new();
            let report = admin::report(&status, &mut problems);
            gaps.extend(problems.iter().map(|problem| sentence(problem)));
            report
        });
        // What it said right after tidying up is nearer to the truth than what it says after answering one more request.
        let report = match settled {
            Some(heap) => Some(TargetReport {
                heap: Some(heap),
                ..report.unwrap_or_default()
            }),
            None => report,
        };
        (settled, report)
    }

    fn settle(&mut self) -> Result<Heap, AdminError> {
        let answer = self.ask(Ask::Settle, None, SETTLE_WITHIN)?;
        admin::settled_heap(&answer)?.ok_or(AdminError::Missing {
            what: Ask::Settle,
            field: "allocated_bytes",
        })
    }

    /// Asks one thing of the target.
    pub(super) fn ask(
        &self,
        what: Ask,
        body: Option<Value>,
        within: Duration,
    ) -> Result<Value, AdminError> {
        self.runtime.block_on(self.line.ask(what, body, within))
    }

    /// Asks for something large, and writes it where it is kept.
    pub(super) fn fetch(
        &self,
        what: Ask,
        keep: &mut File,
        within: Duration,
    ) -> Result<u64, AdminError> {
        self.runtime.block_on(self.line.fetch(what, keep, within))
    }
}

fn noted<T>(answer: Result<T, AdminError>, gaps: &mut Vec<String>) -> Option<T> {
    answer.inspect_err(|error| gaps.push(sentence(error))).ok()
}
