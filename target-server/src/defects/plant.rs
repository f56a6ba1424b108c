//! What every leak is planted with: when to strike, and how to say what it took.

use std::{cell::Cell, sync::Arc};

use super::Planted;
use crate::Allocator;

/// A leak's rate, its account, and the scale it weighs its garbage with.
pub(crate) struct Plant {
    planted: Arc<Planted>,
    allocator: Allocator,
    lightest: Cell<Option<u64>>,
}

impl Plant {
    pub(super) fn new(planted: Arc<Planted>, allocator: Allocator) -> Self {
        Self {
            planted,
            allocator,
            lightest: Cell::new(None),
        }
    }

    /// One more unit came by. True if it is to be struck: the last of every N, so that no unit is struck before N came.
    pub(super) fn strikes(&self) -> bool {
        self.unit();
        self.planted.units.get().is_multiple_of(self.every().into())
    }

    /// One more unit came by, and something else decides.
    pub(super) fn unit(&self) {
        self.planted.units.add(1);
    }

    /// One in how many is struck.
    pub(super) fn every(&self) -> u32 {
        self.planted.every.get()
    }

    /// A strike took `bytes`, as the allocator counts them.
    pub(super) fn took(&self, bytes: usize) {
        self.planted.strikes.add(1);
        self.took_more(bytes);
    }

    /// The last strike goes on taking.
    pub(super) fn took_more(&self, bytes: usize) {
        self.planted.bytes.add(bytes as u64);
    }

    /// Strikes by `strike`, which costs the same each time and says nothing of its size: so it is weighed. The lightest
    /// weighing counts, because now and then the runtime grows a buffer of its own meanwhile.
    pub(super) fn takes_by(&self, strike: impl FnOnce()) {
        let weighed = self.allocator.weigh(strike);
        let lightest = match (self.lightest.get(), weighed) {
            (Some(known), Some(now)) => Some(known.min(now)),
            (known, now) => known.or(now),
        };
        self.lightest.set(lightest);
        if let Some(bytes) = lightest {
            self.took(usize::try_from(bytes).unwrap_or(usize::MAX));
        }
    }

    /// Strikes by forgetting one block with this text in it: of the size that was asked for, or of this one.
    pub(super) fn forgets(&self, usual: usize, text: &[u8]) {
        let size = self.size(usual);
        let mut block = vec![0xA5; size].into_boxed_slice();
        let kept = text.len().min(size);
        block[..kept].copy_from_slice(&text[..kept]);
        Box::leak(block);
        self.took(self.bytes(size));
    }

    /// The size that was asked for, or this one.
    pub(super) fn size(&self, usual: usize) -> usize {
        self.planted.size.unwrap_or(usual)
    }

    /// Bytes of a block for one `T`.
    pub(super) fn block<T>(&self) -> usize {
        self.bytes(size_of::<T>())
    }

    /// Bytes of a `LinkedList`'s node: the item and two links.
    pub(super) fn node<T>(&self) -> usize {
        self.block::<(T, [usize; 2])>()
    }

    /// Bytes of the block behind an `Rc` or `Arc`: the value and two counts.
    pub(super) fn shared<T>(&self) -> usize {
        self.block::<(T, [usize; 2])>()
    }

    /// Bytes of a block of `size` bytes.
    pub(super) fn bytes(&self, size: usize) -> usize {
        if size == 0 {
            0
        } else {
            self.allocator.usable(size)
        }
    }

    /// Bytes that `build` leaves allocated; 0 under an allocator that cannot tell (dhat outside a window).
    pub(super) fn weigh<T>(&self, build: impl FnOnce() -> T) -> u64 {
        let mut built = None;
        let bytes = self.allocator.weigh(|| built = Some(build()));
        drop(built);
        bytes.unwrap_or(0)
    }
}
