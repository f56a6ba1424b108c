//! A stream whose client reset the connection leaves something behind; every other way of leaving is clean.
//!
//! Truth: one block, 1,024 bytes if nothing else is asked for.

use super::{Ended, Kind, Leak, Plant};
use crate::listener::PeerLeft;

pub(super) const KIND: Kind = Kind {
    name: "leak-on-rst",
    unit: Some("rst"),
    strikes_per_unit: 1,
    least_bytes: Some(16),
    text: "Bytes per stream whose client sent RST; a stalled client that closes over unread bytes sends one too.",
    plant: |plant| Box::new(OnRst(plant)),
};

const USUAL: usize = 1024;

struct OnRst(Plant);

impl Leak for OnRst {
    fn stream_ended(&self, ended: &Ended<'_>) {
        if ended.left == PeerLeft::Reset && self.0.strikes() {
            self.0.forgets(USUAL, b"");
        }
    }
}
