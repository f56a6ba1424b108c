//! Sums over the target's process tree: memory, descriptors, threads, processor time.

use std::{collections::BTreeMap, fs};

use super::{
    error::sentence,
    generations::Seen,
    memory::{Rollup, Status},
    sample::{Presence, Tree},
};
use crate::target::{
    Family,
    proc::{self, ProcError, ProcessId, Stat},
};

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Without what walks page tables (proportional sizes, huge and lazily freed pages): may be asked twenty times a second.
    Quick,
    /// Everything.
    Full,
}

/// Looks at a process tree again and again.
#[derive(Debug)]
pub(super) struct TreeWatch {
    family: Family,
    cpu: CpuAccount,
    /// Resident memory of each member at the last look, bytes.
    resident: BTreeMap<ProcessId, u64>,
}

impl TreeWatch {
    pub(super) fn of(pid: u32) -> Result<Self, ProcError> {
        Ok(Self {
            family: Family::of(pid)?,
            cpu: CpuAccount::default(),
            resident: BTreeMap::new(),
        })
    }

    /// The head of the tree.
    pub(super) const fn root(&self) -> ProcessId {
        self.family.root()
    }

    /// Who was there at the last look. Cost: one small file a process.
    pub(super) fn seen(&self) -> Vec<Seen> {
        let seen = |stat: &Stat| Seen {
            id: stat.id,
            parent: stat.parent,
            program: proc::read(stat.id.pid, "comm")
                .map(|name| name.trim_end().to_owned())
                .unwrap_or_default(),
            rss_bytes: self.resident.get(&stat.id).copied(),
        };
        let alive = self.family.members().filter(|stat| stat.is_alive());
        alive.map(seen).collect()
    }

    /// Who is alive in it now.
    pub(super) fn pids(&mut self) -> Vec<u32> {
        self.family.refresh();
        self.family.alive().map(|process| process.pid).collect()
    }

    /// `None` once the root has ended; orphans of its that still run do not make it alive.
    pub(super) fn look(
        &mut self,
        depth: Depth,
        gaps: &mut Vec<String>,
    ) -> (Presence, Option<Tree>) {
        self.family.refresh();
        let cpu = self.cpu.take_in(self.family.members());
        if !self.family.root_is_alive() {
            return (Presence::Gone, None);
        }
        let mut sums = Sums::new(depth);
        self.resident.clear();
        for process in self.family.alive() {
            let rss = sums.add(process, gaps);
            self.resident.extend(rss.map(|rss| (process, rss)));
        }
        let tree = Tree {
            cpu_seconds: Some(cpu),
            processes_seen_total: self.family.seen_total(),
            ..sums.tree
        };
        (Presence::Alive, Some(tree))
    }
}

struct Sums {
    depth: Depth,
    tree: Tree,
}

impl Sums {
    fn new(depth: Depth) -> Self {
        let full = (depth == Depth::Full).then_some(0);
        let tree = Tree {
            processes: 0,
            processes_seen_total: 0,
            rss_bytes: Some(0),
            pss_bytes: full,
            pss_anon_bytes: full,
            anon_bytes: Some(0),
            huge_bytes: full,
            lazy_free_bytes: full,
            swap_bytes: Some(0),
            cpu_seconds: None,
            fds: Some(0),
            threads: Some(0),
        };
        Self { depth, tree }
    }

    /// Adds a process and returns its resident memory. One that ends between being listed and being read counts as gone.
    fn add(&mut self, process: ProcessId, gaps: &mut Vec<String>) -> Option<u64> {
        let status = Status::read(process.pid);
        let fds = open_descriptors(process.pid);
        let rollup = (self.depth == Depth::Full).then(|| Rollup::read(process.pid));
        if !ProcessId::of(process.pid).is_ok_and(|now| now == process) {
            return None;
        }
        let status = noted(status, gaps);
        let status = status.as_ref();
        let tree = &mut self.tree;
        tree.processes += 1;
        add(&mut tree.anon_bytes, status.and_then(|s| s.anon_bytes));
        add(&mut tree.swap_bytes, status.and_then(|s| s.swap_bytes));
        add(&mut tree.threads, status.map(|s| s.threads));
        add(&mut tree.fds, noted(fds, gaps));
        let rollup = rollup.and_then(|rollup| noted(rollup, gaps));
        let rollup = rollup.as_ref();
        // Without the rights for the exact file, the cheap one still tells the resident size.
        let exact_rss = rollup.map(|r| r.rss_bytes);
        let rss = exact_rss.or(status.map(|s| s.rss_bytes));
        add(&mut tree.rss_bytes, rss);
        add(&mut tree.pss_bytes, rollup.map(|r| r.pss_bytes));
        add(
            &mut tree.pss_anon_bytes,
            rollup.and_then(|r| r.pss_anon_bytes),
        );
        add(&mut tree.huge_bytes, rollup.map(|r| r.huge_bytes));
        add(&mut tree.lazy_free_bytes, rollup.map(|r| r.lazy_free_bytes));
        rss
    }
}

/// A sum stays `None` once a part of it is missing.
fn add(sum: &mut Option<u64>, part: Option<u64>) {
    *sum = sum.zip(part).map(|(sum, part)| sum + part);
}

/// The value; a failure becomes a gap, unless the process ended under our eyes.
fn noted<T>(read: Result<T, ProcError>, gaps: &mut Vec<String>) -> Option<T> {
    read.inspect_err(|error| gaps.push(sentence(error))).ok()
}

/// The kernel counts them in 2 µs since Linux 6.2; before, the size of the directory is 0 and they are listed (9 ms for 10,000).
fn open_descriptors(pid: u32) -> Result<u64, ProcError> {
    let path = format!("/proc/{pid}/fd");
    let failed = |source| ProcError::from_io(pid, "fd", source);
    match fs::metadata(&path).map_err(failed)?.len() {
        0 => Ok(fs::read_dir(&path).map_err(failed)?.count() as u64),
        counted => Ok(counted),
    }
}

/// Processor time of a tree whose members come and go: never falls, and counts nobody twice.
///
/// A child that was waited for is in its parent's account from then on. One that nobody waited for, or whose parent went first, would
/// take its time with it; that much is carried on here.
#[derive(Debug, Default)]
struct CpuAccount {
    last: BTreeMap<ProcessId, (u64, u64)>,
    carried: u64,
}

impl CpuAccount {
    /// Takes in who is there now, zombies included (nobody has waited for them yet), and returns seconds since the tree began.
    fn take_in<'a>(&mut self, members: impl Iterator<Item = &'a Stat>) -> f64 {
        let now: BTreeMap<ProcessId, (u64, u64)> = members
            .map(|stat| (stat.id, (stat.own_time.0, stat.reaped_time.0)))
            .collect();
        let departed = self.last.iter().filter(|(id, _)| !now.contains_key(id));
        let went: u64 = departed.map(|(_, (own, reaped))| own + reaped).sum();
        let reaped: u64 = now
            .iter()
            .filter_map(|(id, (_, reaped))| Some(reaped.saturating_sub(self.last.get(id)?.1)))
            .sum();
        self.carried += went.saturating_sub(reaped);
        let total = self.carried + now.values().map(|(own, reaped)| own + reaped).sum::<u64>();
        self.last = now;
        crate::target::proc::Ticks(total).seconds()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(pid: u32, own: u64, reaped: u64) -> Stat {
        let line = format!("{pid} (x) S 1 1 1 0 -1 0 0 0 0 0 {own} 0 {reaped} 0 20 0 1 0 {pid}");
        Stat::parse(&line).unwrap()
    }

    #[test]
    fn processor_time_never_falls_when_workers_go() {
        let mut account = CpuAccount::default();
        for (why, members, seconds) in [
            ("two of them", vec![stat(1, 100, 0), stat(2, 300, 0)], 4.0),
            ("the worker was waited for", vec![stat(1, 100, 320)], 4.2),
            (
                "another comes",
                vec![stat(1, 100, 320), stat(3, 50, 0)],
                4.7,
            ),
            ("and goes, and nobody waits", vec![stat(1, 110, 320)], 4.8),
            ("the root goes too", vec![], 4.8),
        ] {
            let found = account.take_in(members.iter());
            assert!((found - seconds).abs() < 1e-9, "{why}: {found}");
        }
    }

    #[test]
    fn half_a_sum_is_not_a_sum() {
        let mut sum = Some(1);
        add(&mut sum, Some(2));
        assert_eq!(sum, Some(3));
        add(&mut sum, None);
        add(&mut sum, Some(4));
        assert_eq!(sum, None);
    }

    proptest::proptest! {
        #[test]
        fn processor_time_is_monotone_however_workers_come_and_go(
            steps in proptest::collection::vec(proptest::collection::vec((1u32..6, 0u64..50, 0u64..50), 0..5), 1..12),
        ) {
            let mut account = CpuAccount::default();
            let mut clocks = BTreeMap::<u32, (u64, u64)>::new();
            let mut before = 0.0;
            for step in steps {
                let mut members = BTreeMap::new();
                for (pid, own, reaped) in step {
                    let clock = clocks.entry(pid).or_default();
                    clock.0 += own;
                    clock.1 += reaped;
                    members.insert(pid, stat(pid, clock.0, clock.1));
                }
                // A pid that went and comes back is somebody else in the kernel; here it only makes the law harder to keep.
                let now = account.take_in(members.values());
                proptest::prop_assert!(now >= before - 1e-9, "{now} after {before}");
                before = now;
            }
        }
    }
}
