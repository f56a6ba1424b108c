//! What one look at the target finds. A missing reading is `None`, never zero.

use super::runtime::RuntimeHeap;
use crate::{plan::Leave, timeline::Elapsed};

/// Everything seen at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// When the look began.
    pub at: Elapsed,
    /// Whether the target's runtime was asked to tidy up just before.
    pub settled: bool,
    /// Whether the target's root process is there. [`Presence::Gone`] is a fact, not a gap.
    pub presence: Presence,
    /// The generation of the target: rises whenever the level of its memory cannot be continued (a worker was replaced, another root
    /// listens, the run was resumed). `None`: nobody looked.
    pub generation: Option<u64>,
    /// The target's process tree.
    pub tree: Option<Tree>,
    /// The target's sockets, as its kernel reports them.
    pub sockets: Option<Sockets>,
    /// What the target says of itself.
    pub target: Option<TargetReport>,
    /// What the target's runtime holds, right after it was asked to tidy up. Only in looks for a reading.
    pub runtime: Option<RuntimeHeap>,
    /// The machine and the target's control group.
    pub host: Host,
    /// The harness itself.
    pub own: Own,
    /// What could not be read, and why: one sentence each. In the samples of the grid, only what the sample before did not say already.
    pub gaps: Vec<String>,
    /// What made the generation rise since the sample before, a sentence each. Only in the samples of the grid.
    pub restarts: Vec<String>,
}

/// Whether the target's root process is there. How it ended, its parent knows: see `target`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// Nobody looked: no pid is known.
    #[default]
    Unseen,
    /// It runs.
    Alive,
    /// It has ended, whoever else of its tree still runs.
    Gone,
}

/// Sums over the target's process tree. One process that cannot be read makes a sum `None`: half a sum is not a sum.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree {
    /// Processes alive.
    pub processes: u32,
    /// Processes ever seen in the tree. A worker that is replaced takes its leak with it: then memory falls and this rises.
    pub processes_seen_total: u64,
    /// Resident set size, bytes.
    pub rss_bytes: Option<u64>,
    /// Proportional set size, bytes.
    pub pss_bytes: Option<u64>,
    /// Anonymous part of the proportional set size, bytes.
    pub pss_anon_bytes: Option<u64>,
    /// Resident anonymous memory, bytes.
    pub anon_bytes: Option<u64>,
    /// Anonymous memory in transparent huge pages, bytes.
    pub huge_bytes: Option<u64>,
    /// Pages that the kernel may take back at any time (`LazyFree`), bytes.
    pub lazy_free_bytes: Option<u64>,
    /// Swapped out, bytes.
    pub swap_bytes: Option<u64>,
    /// User and system time, children that were reaped included, seconds.
    pub cpu_seconds: Option<f64>,
    /// Open descriptors.
    pub fds: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
}

/// TCP sockets whose local port is the target's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// ESTABLISHED, those included that still wait to be accepted.
    pub established: u64,
    /// CLOSE_WAIT: the peer is gone, the target has not closed.
    pub close_wait: u64,
    /// FIN_WAIT1, FIN_WAIT2, CLOSING, LAST_ACK: closing.
    pub closing: u64,
    /// Of `closing`: the target has closed them, and only the kernel still waits for the peer.
    pub orphaned: u64,
    /// TIME_WAIT: no process holds it.
    pub time_wait: u64,
    /// SYN_RECV.
    pub syn_recv: u64,
    /// Connections that the target has not accepted yet.
    pub accept_queue: u64,
    /// Bytes written by the target and not yet acknowledged by its peers.
    pub send_queue_bytes: u64,
    /// Bytes that wait for the target to read them.
    pub receive_queue_bytes: u64,
    /// Kernel memory of these sockets (`SK_MEMINFO`: read, write, forward and optional memory, and backlog), bytes. Where netlink is
    /// refused (a gap says so) only what is queued is known: a lower bound.
    pub kernel_bytes: u64,
    /// Sockets that a process still holds (see [`held`](Self::held)), by how our client on the other side left or will leave.
    /// Indexed by [`Leave::index`].
    pub held_by_leave: [u64; Leave::ALL.len()],
    /// Of `send_queue_bytes`: that of those sockets.
    pub send_queue_by_leave: [u64; Leave::ALL.len()],
    /// Of `kernel_bytes`: that of those sockets.
    pub kernel_bytes_by_leave: [u64; Leave::ALL.len()],
    /// The same sockets whose peer is none of ours.
    pub held_by_others: u64,
}

impl Sockets {
    /// Sockets that a process of the target still holds.
    pub fn held(&self) -> u64 {
        self.established + self.close_wait + self.closing - self.orphaned
    }
}

/// What the target says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetReport {
    /// Connections that it serves now.
    pub connections_live: Option<u64>,
    /// Connections ever accepted.
    pub connections_opened_total: Option<u64>,
    /// Streams that it serves now.
    pub streams_live: Option<u64>,
    /// Sessions that it holds now.
    pub sessions_live: Option<u64>,
    /// Sessions ever created.
    pub sessions_created_total: Option<u64>,
    /// Sessions ever removed.
    pub sessions_removed_total: Option<u64>,
    /// Events ever sent.
    pub events_total: Option<u64>,
    /// Tasks alive in its runtime.
    pub tasks_live: Option<u64>,
    /// Its allocator's account.
    pub heap: Option<Heap>,
}

impl TargetReport {
    /// What is missing here is taken from another report.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            connections_live: self.connections_live.or(other.connections_live),
            connections_opened_total: self
                .connections_opened_total
                .or(other.connections_opened_total),
            streams_live: self.streams_live.or(other.streams_live),
            sessions_live: self.sessions_live.or(other.sessions_live),
            sessions_created_total: self.sessions_created_total.or(other.sessions_created_total),
            sessions_removed_total: self.sessions_removed_total.or(other.sessions_removed_total),
            events_total: self.events_total.or(other.events_total),
            tasks_live: self.tasks_live.or(other.tasks_live),
            heap: self.heap.or(other.heap),
        }
    }
}

/// An allocator's account, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heap {
    /// Handed out to the program and not given back.
    pub allocated_bytes: u64,
    /// In pages that hold at least one allocation.
    pub active_bytes: Option<u64>,
    /// Physically resident, an upper bound.
    pub resident_bytes: Option<u64>,
    /// Virtual memory mapped for it.
    pub mapped_bytes: Option<u64>,
    /// Virtual memory kept for later use.
    pub retained_bytes: Option<u64>,
    /// The allocator's own bookkeeping.
    pub metadata_bytes: Option<u64>,
}

/// The machine that the harness runs on, and the target's control group. Never the target's own memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Host {
    /// Memory of the machine, bytes.
    pub memory_total_bytes: Option<u64>,
    /// Available memory of the machine, bytes.
    pub memory_available_bytes: Option<u64>,
    /// Share of all cores that is idle, 0 to 1, since the last sample.
    pub cpu_idle_share: Option<f64>,
    /// Memory charged to the target's control group, bytes.
    pub cgroup_bytes: Option<u64>,
    /// Limit of the target's control group, bytes; `None` without one.
    pub cgroup_limit_bytes: Option<u64>,
    /// Socket memory charged to the target's control group, bytes.
    pub cgroup_socket_bytes: Option<u64>,
    /// How often the kernel killed a process of that control group for want of memory.
    pub cgroup_oom_kills_total: Option<u64>,
}

/// The harness itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Own {
    /// Resident set size, bytes.
    pub rss_bytes: Option<u64>,
    /// User and system time, seconds.
    pub cpu_seconds: Option<f64>,
}
