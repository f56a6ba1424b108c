//! A stream whose client reset the connection leaves something behind; every other way of leaving is clean.
//!
//! Truth: one node.

use std::{cell::RefCell, collections::LinkedList};

use super::{Ended, Kind, Leak, Plant};
use crate::listener::PeerLeft;

pub(super) const KIND: Kind = Kind {
    name: "leak-on-rst",
    unit: Some("rst"),
    strikes_per_unit: 1,
    text: "Bytes per stream whose client sent RST; a stalled client that closes over unread bytes sends one too.",
    plant: |plant| {
        Box::new(OnRst {
            plant,
            garbage: RefCell::default(),
        })
    },
};

/// With its node, 1024 bytes.
type Garbage = [u8; 1008];

struct OnRst {
    plant: Plant,
    garbage: RefCell<LinkedList<Garbage>>,
}

impl Leak for OnRst {
    fn stream_ended(&self, ended: &Ended<'_>) {
        if ended.left == PeerLeft::Reset && self.plant.strikes() {
            self.garbage.borrow_mut().push_back([0xA5; _]);
            self.plant.took(self.plant.node::<Garbage>());
        }
    }
}
