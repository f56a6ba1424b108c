//! A session whose client left in the middle of an answer is never forgotten: whoever should have let it go was the stream.
//!
//! Truth: as in [`session_never_expires`](super::session_never_expires).

use super::{Ended, Kind, Leak, seams::Fate, session_never_expires::Keeper};
use crate::sessions::Session;

pub(super) const KIND: Kind = Kind {
    name: "session-kept-on-disconnect",
    unit: Some("orphan"),
    strikes_per_unit: 1,
    least_bytes: None,
    text: "A session whose client left a chat before it was completed is never forgotten; bytes per such client.",
    plant: |plant| Box::new(KeptOnDisconnect(Keeper::new(plant))),
};

struct KeptOnDisconnect(Keeper);

impl Leak for KeptOnDisconnect {
    fn stream_ended(&self, ended: &Ended<'_>) {
        let Some(session) = ended
            .session
            .filter(|_| ended.kind == "chat" && ended.client_left())
        else {
            return;
        };
        if session.slot.fate.get() == Fate::Open {
            session.slot.fate.set(Fate::LeftInMidAnswer);
        }
    }

    fn session_due(&self, session: &Session) -> bool {
        self.0
            .keeps(session, |fate| fate == Fate::LeftInMidAnswer, true)
    }
}
