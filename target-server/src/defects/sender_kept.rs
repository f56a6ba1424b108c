//! A registry of senders, one per stream, so that anybody may broadcast; and nobody who takes them out when the stream is over.
//!
//! Truth: the node and the queue behind the sender (empty, its reader gone).

use std::{cell::RefCell, collections::LinkedList};

use super::{Kind, Leak, Plant};
use crate::stream::Sender;

pub(super) const KIND: Kind = Kind {
    name: "sender-kept",
    unit: Some("all"),
    strikes_per_unit: 1,
    least_bytes: None,
    text: "The sender of every stream stays in a registry after the stream ended, however it did; bytes per stream.",
    plant: |plant| {
        Box::new(Kept {
            plant,
            registry: RefCell::default(),
        })
    },
};

struct Kept {
    plant: Plant,
    registry: RefCell<LinkedList<Sender>>,
}

impl Leak for Kept {
    fn stream_opened(&self, sender: &Sender) {
        if self.plant.strikes() {
            self.registry.borrow_mut().push_back(sender.clone());
            self.plant
                .took(self.plant.node::<Sender>() + self.plant.bytes(Sender::QUEUE));
        }
    }
}
