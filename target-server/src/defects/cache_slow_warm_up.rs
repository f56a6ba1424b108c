//! Innocent: a cache by key, with as many keys as it has room for. Each stream asks for a random one, so it fills ever more slowly.

use std::cell::{Cell, RefCell};

use super::{Kind, Leak, Plant};
use crate::stream::Sender;

pub(super) const KIND: Kind = Kind {
    name: "cache-slow-warm-up",
    unit: None,
    strikes_per_unit: 1,
    least_bytes: None,
    text: "Innocent: a cache takes 1 KiB for each of 512 keys when it is first asked for; every stream asks for a random one.",
    plant: |plant| {
        Box::new(Cache {
            plant,
            dice: Cell::new(1),
            entries: RefCell::new(vec![None; KEYS].into()),
        })
    },
};

const KEYS: usize = 512;

type Entry = [u8; 1024];

struct Cache {
    plant: Plant,
    dice: Cell<u64>,
    entries: RefCell<Box<[Option<Box<Entry>>]>>,
}

impl Cache {
    /// A key as good as random (PCG's multiplier), the same in every run.
    fn ask(&self) -> usize {
        let next = self
            .dice
            .get()
            .wrapping_mul(0x5851_F42D_4C95_7F2D)
            .wrapping_add(1);
        self.dice.set(next);
        usize::try_from(next >> 33).unwrap_or(0) % KEYS
    }
}

impl Leak for Cache {
    fn stream_opened(&self, _: &Sender) {
        if self.plant.strikes() {
            self.entries.borrow_mut()[self.ask()].get_or_insert_with(|| Box::new([0xC4; _]));
        }
    }
}
