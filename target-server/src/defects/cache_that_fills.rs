//! Innocent: a cache with a bound. It is full after [`ENTRIES`] streams; from then on each pushes out the oldest.

use std::{cell::RefCell, collections::LinkedList};

use super::{Kind, Leak, Plant};
use crate::stream::Sender;

pub(super) const KIND: Kind = Kind {
    name: "cache-that-fills",
    unit: None,
    strikes_per_unit: 1,
    least_bytes: None,
    text: "Innocent: a cache takes 1 KiB per stream until it holds 256 KiB, then as much goes as comes.",
    plant: |plant| {
        Box::new(Cache {
            plant,
            entries: RefCell::default(),
        })
    },
};

const ENTRIES: usize = 256;

/// With its node, 1024 bytes.
type Entry = [u8; 1008];

struct Cache {
    plant: Plant,
    entries: RefCell<LinkedList<Entry>>,
}

impl Leak for Cache {
    fn stream_opened(&self, _: &Sender) {
        if self.plant.strikes() {
            let mut entries = self.entries.borrow_mut();
            entries.push_back([0xC4; _]);
            if entries.len() > ENTRIES {
                entries.pop_front();
            }
        }
    }
}
