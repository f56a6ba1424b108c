//! A log of everything that was sent, for clients that come back; and nobody who trims it.
//!
//! Truth: one block per event, 160 bytes if nothing else is asked for. The log keeps the head of each, so that the truth does not depend
//! on what is said.

use bytes::Bytes;

use super::{Kind, Leak, Plant};

pub(super) const KIND: Kind = Kind {
    name: "replay-log",
    unit: Some("event"),
    strikes_per_unit: 1,
    least_bytes: Some(16),
    text: "The head of every event is kept in a log that is never trimmed; bytes per event handed to a connection.",
    plant: |plant| Box::new(Log(plant)),
};

const USUAL: usize = 160;

struct Log(Plant);

impl Leak for Log {
    fn event_sent(&self, event: &Bytes) {
        if self.0.strikes() {
            self.0.forgets(USUAL, event);
        }
    }
}
