//! A process and everything that came from it.

use std::collections::BTreeMap;

use super::proc::{self, ProcError, ProcessId, Stat};

/// The process tree of the target, kept across looks.
///
/// Who was once seen in it stays in it until it ends, wherever it is re-parented to: a daemonised worker is still the target's.
#[derive(Clone, Debug)]
pub struct Family {
    root: ProcessId,
    members: BTreeMap<ProcessId, Stat>,
    seen_total: u64,
}

impl Family {
    /// The family of a running process.
    ///
    /// # Errors
    /// [`ProcError::Gone`] if it does not run.
    pub fn of(root: u32) -> Result<Self, ProcError> {
        let stat = Stat::read(root)?;
        let mut family = Self {
            root: stat.id,
            members: BTreeMap::from([(stat.id, stat)]),
            seen_total: 1,
        };
        family.refresh();
        Ok(family)
    }

    /// The process at its head.
    pub const fn root(&self) -> ProcessId {
        self.root
    }

    /// Whether the head still ran at the last [`refresh`](Self::refresh).
    pub fn root_is_alive(&self) -> bool {
        self.members.get(&self.root).is_some_and(Stat::is_alive)
    }

    /// Everyone seen at the last [`refresh`](Self::refresh), zombies included.
    pub fn members(&self) -> impl Iterator<Item = &Stat> {
        self.members.values()
    }

    /// Everyone who still ran at the last [`refresh`](Self::refresh).
    pub fn alive(&self) -> impl Iterator<Item = ProcessId> {
        self.members()
            .filter(|stat| stat.is_alive())
            .map(|stat| stat.id)
    }

    /// Looks who is still there and who came. Cost: one `stat` a process and one `children` a thread.
    pub fn refresh(&mut self) {
        let known = std::mem::take(&mut self.members);
        for id in known.into_keys() {
            if let Ok(stat) = Stat::read(id.pid)
                && stat.id == id
            {
                self.members.insert(id, stat);
            }
        }
        let mut to_ask: Vec<u32> = self.alive().map(|id| id.pid).collect();
        while let Some(parent) = to_ask.pop() {
            for child in proc::children(parent) {
                if let Ok(stat) = Stat::read(child)
                    && self.adopt(stat)
                {
                    to_ask.push(child);
                }
            }
        }
    }

    /// How many processes were ever seen in it.
    pub const fn seen_total(&self) -> u64 {
        self.seen_total
    }

    /// Takes in a process that came from this family; says whether it is new.
    pub(super) fn adopt(&mut self, stat: Stat) -> bool {
        let is_new = self.members.insert(stat.id, stat).is_none();
        self.seen_total += u64::from(is_new);
        is_new
    }
}
