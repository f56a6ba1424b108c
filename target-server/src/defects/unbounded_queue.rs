//! The queue between a generator and a client that does not read has no limit.
//!
//! Truth: per frame that waits beyond the honest limit, its text and its node. Freed when the stream ends: a backlog, no residue.

use std::cell::Cell;

use bytes::Bytes;

use super::{Kind, Leak, Plant};
use crate::stream::Frame;

pub(super) const KIND: Kind = Kind {
    name: "unbounded-queue",
    unit: Some("backlog"),
    strikes_per_unit: 1,
    least_bytes: None,
    text: "Every event that a stalled reader does not take waits in memory until its stream ends; bytes per undelivered event, no residue. every:N strikes one stream in N.",
    plant: |plant| {
        Box::new(Unbounded {
            plant,
            streams: Cell::new(0),
            honest: Cell::new(usize::MAX),
        })
    },
};

struct Unbounded {
    plant: Plant,
    streams: Cell<u32>,
    honest: Cell<usize>,
}

impl Leak for Unbounded {
    fn queue_limit(&self, honest: usize) -> usize {
        self.honest.set(honest);
        self.streams.set(self.streams.get().wrapping_add(1));
        if self.streams.get().is_multiple_of(self.plant.every()) {
            usize::MAX
        } else {
            honest
        }
    }

    fn frame_queued(&self, waiting: usize, frame: &Bytes) {
        if waiting >= self.honest.get() {
            self.plant.unit();
            self.plant
                .took(self.plant.node::<Frame>() + self.plant.bytes(frame.len()));
        }
    }
}
