//! The instruments: wrappers around sessions and streams that count, and readers of the two allocators.
//!
//! In: the data path calls [`Counters`] (atomics, no allocation). Out: numbers for the admin listener and `GET /metrics`.
//! [`Allocator`] is chosen by the binary and tells which readers work. Nothing here judges what a number means.

mod counters;
mod heap_dhat;
mod heap_jemalloc;
pub(crate) mod metrics;
pub(crate) mod retain;
mod settle;

pub(crate) use counters::{ConnectionState, Counters, Gone, Outcome, Total};
pub(crate) use heap_dhat::Windows;
pub(crate) use settle::Settle;

use serde::Serialize;

/// The global allocator of the binary that called us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Allocator {
    /// `target-jemalloc`.
    Jemalloc,
    /// `target-dhat`.
    Dhat,
}

/// What an allocator says it holds. Fields an allocator does not know are `None`, never 0.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Heap {
    /// Bytes in live blocks, as the application sees them (size classes).
    pub allocated_bytes: u64,
    /// Bytes in pages that hold at least one live block.
    pub active_bytes: Option<u64>,
    /// Upper bound of physical memory held.
    pub resident_bytes: Option<u64>,
    /// Bytes mapped for live extents.
    pub mapped_bytes: Option<u64>,
    /// Virtual memory kept for reuse.
    pub retained_bytes: Option<u64>,
    /// The allocator's own bookkeeping.
    pub metadata_bytes: Option<u64>,
}

/// An instrument that cannot answer now. Answered as 409.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstrumentError {
    /// The other binary has it.
    #[error("{0}")]
    NotHere(&'static str),
    /// jemalloc refused.
    #[error("jemalloc refused {call}: {reason}")]
    Refused {
        /// The mallctl name.
        call: &'static str,
        /// Its error.
        reason: String,
    },
    /// The dump file could not be written or read.
    #[error("cannot pass the profile through a temporary file: {0}")]
    File(#[from] std::io::Error),
}

impl Allocator {
    /// Gives the calling thread's cached blocks back to their arena.
    pub(crate) fn flush_thread(self) {
        if self == Self::Jemalloc {
            heap_jemalloc::flush_thread();
        }
    }

    /// Gives unused pages of all arenas back to the system.
    pub(crate) fn purge(self) {
        if self == Self::Jemalloc {
            heap_jemalloc::purge();
        }
    }

    /// Reads the allocator's statistics now; `None` when it keeps none (dhat without a window).
    pub(crate) fn read(self, windows: &Windows) -> Option<Heap> {
        match self {
            Self::Jemalloc => heap_jemalloc::read(),
            Self::Dhat => windows.read(),
        }
    }

    /// Starts sampling one allocation in 2^`lg_sample` bytes, forgetting what was sampled before.
    pub(crate) fn start_profile(self, lg_sample: u8) -> Result<(), InstrumentError> {
        self.jemalloc_only()?;
        heap_jemalloc::start_profile(lg_sample)
    }

    /// Makes the calling thread draw anew when to sample next: what it drew before a profile began was for another rate.
    pub(crate) fn resample_thread(self) {
        if self == Self::Jemalloc {
            heap_jemalloc::resample_thread();
        }
    }

    /// Forgets what was sampled so far: from now on a dump shows only what is allocated from now on.
    pub(crate) fn reset_profile(self) -> Result<(), InstrumentError> {
        self.jemalloc_only()?;
        heap_jemalloc::reset_profile()
    }

    /// The samples that are live now, as heap_v2 text.
    pub(crate) fn dump_profile(self) -> Result<Vec<u8>, InstrumentError> {
        self.jemalloc_only()?;
        heap_jemalloc::dump_profile()
    }

    fn jemalloc_only(self) -> Result<(), InstrumentError> {
        match self {
            Self::Jemalloc => Ok(()),
            Self::Dhat => Err(InstrumentError::NotHere(
                "heap profiles need target-jemalloc; this is target-dhat",
            )),
        }
    }

    /// Bytes of this thread that `work` leaves allocated; `None` when the allocator does not count by thread.
    pub(crate) fn weigh(self, work: impl FnOnce()) -> Option<u64> {
        let before = self.thread_bytes();
        work();
        Some(self.thread_bytes()?.saturating_sub(before?))
    }

    fn thread_bytes(self) -> Option<u64> {
        match self {
            Self::Jemalloc => heap_jemalloc::thread_bytes(),
            Self::Dhat => None,
        }
    }

    /// Bytes the allocator really takes for a request of `size` bytes.
    pub(crate) fn usable(self, size: usize) -> usize {
        match self {
            Self::Jemalloc => heap_jemalloc::size_class(size),
            Self::Dhat => size,
        }
    }
}

/// A new folder only we can enter, for a dump on its way to the client.
pub(crate) fn private_folder() -> std::io::Result<std::path::PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let folder = std::env::temp_dir().join(format!("target-server-{}", uuid::Uuid::new_v4()));
    std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
    Ok(folder)
}
