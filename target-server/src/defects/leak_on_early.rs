//! A client that leaves before it can have looked at an event leaves something behind; later, every way of leaving is clean.
//!
//! Truth: one block, 512 bytes if nothing else is asked for. What a server knows: the first event goes out with the head, so a client that left with one event handed to
//! its connection is taken for one that left before it. So is one that left before its request had an answer.

use super::{Ended, Kind, Leak, Plant};
use crate::{instruments::ConnectionState, listener::PeerLeft};

pub(super) const KIND: Kind = Kind {
    name: "leak-on-early",
    unit: Some("early"),
    strikes_per_unit: 1,
    least_bytes: Some(16),
    text: "Bytes per client that left before its answer, or with at most one event of its stream handed to the connection.",
    plant: |plant| Box::new(OnEarly(plant)),
};

/// Events that a client may have got without having looked.
const UNSEEN: u64 = 1;

const USUAL: usize = 512;

struct OnEarly(Plant);

impl OnEarly {
    fn strike(&self) {
        if self.0.strikes() {
            self.0.forgets(USUAL, b"");
        }
    }
}

impl Leak for OnEarly {
    fn stream_ended(&self, ended: &Ended<'_>) {
        if ended.client_left() && ended.events <= UNSEEN {
            self.strike();
        }
    }

    fn connection_ended(&self, state: ConnectionState, left: PeerLeft) {
        if state == ConnectionState::Answering && left != PeerLeft::No {
            self.strike();
        }
    }
}
