//! A session's history has a bound, but what falls out of it goes into an attic that has none.
//!
//! Truth: per turn, the nodes and texts of its messages: the question, and the answer if there was one. Freed with the session.

use super::{Kind, Leak, Plant, Slot};
use crate::sessions::{Entry, Role};

pub(super) const KIND: Kind = Kind {
    name: "history-unbounded",
    unit: Some("turn"),
    strikes_per_unit: 1,
    least_bytes: None,
    text: "Messages beyond the bound of a session's history are kept as long as the session; bytes per turn taken in a session that is at its bound.",
    plant: |plant| Box::new(Unbounded(plant)),
};

struct Unbounded(Plant);

impl Leak for Unbounded {
    fn entry_forgotten(&self, slot: &Slot, entry: &mut Option<Entry>) {
        let Some(message) = entry.as_ref() else {
            return;
        };
        let bytes = self.0.node::<Entry>() + self.0.bytes(message.content.len());
        match message.role {
            Role::User => {
                slot.keeps_turn.set(self.0.strikes());
                if slot.keeps_turn.get() {
                    self.0.took(bytes);
                }
            }
            Role::Assistant if slot.keeps_turn.get() => self.0.took_more(bytes),
            Role::Assistant => {}
        }
        if slot.keeps_turn.get() {
            slot.older.borrow_mut().extend(entry.take());
        }
    }
}
