//! A session whose TTL has passed is forgotten as it should be, but a note about it is not.
//!
//! Truth: one block, 256 bytes if nothing else is asked for.

use super::{Kind, Leak, Plant};
use crate::sessions::Session;

pub(super) const KIND: Kind = Kind {
    name: "leak-on-expiry",
    unit: Some("session"),
    strikes_per_unit: 1,
    least_bytes: Some(16),
    text: "Bytes per session that expired; the session itself is removed.",
    plant: |plant| Box::new(OnExpiry(plant)),
};

const USUAL: usize = 256;

struct OnExpiry(Plant);

impl Leak for OnExpiry {
    fn session_due(&self, session: &Session) -> bool {
        if self.0.strikes() {
            self.0.forgets(USUAL, session.id.as_bytes());
        }
        false
    }
}
