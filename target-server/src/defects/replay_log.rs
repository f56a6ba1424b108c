//! A log of everything that was sent, for clients that come back; and nobody who trims it.
//!
//! Truth: one node per event. The log keeps the head of each, so that the truth does not depend on what is said.

use std::{cell::RefCell, collections::LinkedList};

use bytes::Bytes;

use super::{Kind, Leak, Plant};

pub(super) const KIND: Kind = Kind {
    name: "replay-log",
    unit: Some("event"),
    strikes_per_unit: 1,
    text: "The head of every event is kept in a log that is never trimmed; bytes per event handed to a connection.",
    plant: |plant| {
        Box::new(Log {
            plant,
            lines: RefCell::default(),
        })
    },
};

/// With its node, 160 bytes.
struct Line {
    _head: [u8; 136],
    _length: usize,
}

struct Log {
    plant: Plant,
    lines: RefCell<LinkedList<Line>>,
}

impl Leak for Log {
    fn event_sent(&self, event: &Bytes) {
        if self.plant.strikes() {
            self.lines.borrow_mut().push_back(Line::of(event));
            self.plant.took(self.plant.node::<Line>());
        }
    }
}

impl Line {
    fn of(event: &Bytes) -> Self {
        let mut head = [0; 136];
        let kept = event.len().min(head.len());
        head[..kept].copy_from_slice(&event[..kept]);
        Self {
            _head: head,
            _length: event.len(),
        }
    }
}
