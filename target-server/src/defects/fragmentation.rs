//! Innocent: the bytes in use stay the same, but they come to lie scattered, so that the pages around them cannot be given back.
//!
//! A pool of blocks is allocated at the start, dense. Each unit frees one of them and allocates one in a run of pages where no
//! other block of ours lies (blocks of the same size fill the gaps meanwhile, and are freed again). It ends when all have moved:
//! `allocated` is flat throughout, the resident size grows to eight times the pool.

use std::{
    cell::RefCell,
    collections::{BTreeSet, VecDeque},
};

use super::{Kind, Leak, Plant};
use crate::stream::Sender;

pub(super) const KIND: Kind = Kind {
    name: "fragmentation",
    unit: None,
    strikes_per_unit: 1,
    least_bytes: None,
    text: "Innocent: every stream moves 3.5 KiB of a pool of 7 MiB to pages of its own; allocated stays, resident grows by up to 50 MiB and stops.",
    plant: |plant| {
        Box::new(Fragmentation {
            plant,
            pool: RefCell::new(Pool::dense()),
        })
    },
};

/// A size class that nothing else uses much: eight to a run of seven pages.
const BLOCK: usize = 3584;
const PER_RUN: usize = 8;
const RUN: usize = BLOCK * PER_RUN;
const BLOCKS: usize = 2048;

struct Fragmentation {
    plant: Plant,
    pool: RefCell<Pool>,
}

impl Leak for Fragmentation {
    fn stream_opened(&self, _: &Sender) {
        if self.plant.strikes() {
            self.pool.borrow_mut().scatter_one();
        }
    }
}

/// Dense blocks in front, scattered ones behind.
struct Pool {
    blocks: VecDeque<Vec<u8>>,
    at: BTreeSet<usize>,
    dense: usize,
}

impl Pool {
    fn dense() -> Self {
        let mut blocks = VecDeque::with_capacity(BLOCKS + 1);
        blocks.extend((0..BLOCKS).map(|_| written()));
        let at = blocks.iter().map(|block| address(block)).collect();
        Self {
            blocks,
            at,
            dense: BLOCKS,
        }
    }

    fn scatter_one(&mut self) {
        if self.dense == 0 {
            return;
        }
        let mut fillers = Vec::new();
        let Some(lonely) = (0..=BLOCKS * PER_RUN).find_map(|_| self.lonely(&mut fillers)) else {
            return; // the allocator is not jemalloc
        };
        let neighbours: Vec<_> = (1..PER_RUN).map(|_| written()).collect();
        drop((neighbours, fillers));
        self.replace_one_by(lonely);
    }

    /// A block far from all of ours; else one more filler.
    fn lonely(&self, fillers: &mut Vec<Vec<u8>>) -> Option<Vec<u8>> {
        let mut block = Vec::with_capacity(BLOCK);
        let at = address(&block);
        if self
            .at
            .range(at.saturating_sub(RUN)..at + RUN)
            .next()
            .is_some()
        {
            fillers.push(block);
            return None;
        }
        block.resize(BLOCK, 1);
        Some(block)
    }

    fn replace_one_by(&mut self, block: Vec<u8>) {
        self.at.insert(address(&block));
        self.blocks.push_back(block);
        self.dense -= 1;
        if let Some(freed) = self.blocks.pop_front() {
            self.at.remove(&address(&freed));
        }
    }
}

/// A block whose page is really there.
fn written() -> Vec<u8> {
    vec![1; BLOCK]
}

fn address(block: &[u8]) -> usize {
    block.as_ptr().addr()
}
