//! The sweeper finds a session whose TTL has passed, and leaves it where it is.
//!
//! Truth: everything the session holds, as computed at the moment it should have gone, and its share of the registry's tree.
//! A session left in mid-answer holds less (no answer in its history): the truth is that of the answered ones.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{Kind, Leak, Plant, seams::Fate};
use crate::sessions::Session;

pub(super) const KIND: Kind = Kind {
    name: "session-never-expires",
    unit: Some("session"),
    strikes_per_unit: 1,
    least_bytes: None,
    text: "A session is never forgotten; bytes per session created, averaged over the struck sessions whose answer was completed.",
    plant: |plant| Box::new(NeverExpires(Keeper::new(plant))),
};

struct NeverExpires(Keeper);

impl Leak for NeverExpires {
    fn session_due(&self, session: &Session) -> bool {
        self.0
            .keeps(session, |fate| fate != Fate::Kept, session.is_answered())
    }
}

/// Keeps sessions beyond their TTL, and knows what one costs.
pub(super) struct Keeper {
    plant: Plant,
    place: usize,
}

impl Keeper {
    pub(super) fn new(plant: Plant) -> Self {
        let place = share_of_the_tree(&plant);
        Self { plant, place }
    }

    /// Whether this session stays. One that `is_ours` to decide on counts as a unit, once; a typical one is weighed.
    pub(super) fn keeps(
        &self,
        session: &Session,
        is_ours: impl FnOnce(Fate) -> bool,
        is_typical: bool,
    ) -> bool {
        let fate = &session.slot.fate;
        if is_ours(fate.get()) && self.plant.strikes() {
            fate.set(Fate::Kept);
            if is_typical {
                self.plant.took(self.cost(session));
            }
        }
        fate.get() == Fate::Kept
    }

    fn cost(&self, session: &Session) -> usize {
        let own = self.plant.shared::<Session>();
        own + session.held_bytes(|size| self.plant.bytes(size)) + self.place
    }
}

/// Bytes of the registry's tree per session, measured on one of many random names.
fn share_of_the_tree(plant: &Plant) -> usize {
    const TREE: u64 = 4096;
    let bytes = plant.weigh(|| {
        let mut tree = BTreeSet::new();
        for _ in 0..TREE {
            tree.insert(Uuid::new_v4().as_u64_pair().0); // as wide as the pointer that the registry keeps; one by one: what is collected at once is packed tighter
        }
        tree
    });
    usize::try_from(bytes / TREE).unwrap_or(0)
}
