//! A stream's helper knows the stream's queue, and through a callback also itself: a cycle of `Rc`s, which nothing can reach.
//!
//! Truth: the helper and the queue.

use std::{cell::RefCell, rc::Rc};

use super::{Kind, Leak, Plant};
use crate::stream::Sender;

pub(super) const KIND: Kind = Kind {
    name: "reference-cycle",
    unit: Some("all"),
    strikes_per_unit: 1,
    least_bytes: None,
    text: "Every stream leaves a helper that refers to itself and to the stream's queue; bytes per stream, however it ends.",
    plant: |plant| Box::new(Cycle(plant)),
};

struct Cycle(Plant);

/// Holds itself once [`tie`] is done.
struct Helper {
    itself: RefCell<Option<Rc<Helper>>>,
    _stream: Sender,
}

impl Leak for Cycle {
    fn stream_opened(&self, sender: &Sender) {
        if self.0.strikes() {
            tie(sender.clone());
            self.0
                .took(self.0.shared::<Helper>() + self.0.bytes(Sender::QUEUE));
        }
    }
}

fn tie(stream: Sender) {
    let helper = Rc::new(Helper {
        itself: RefCell::default(),
        _stream: stream,
    });
    *helper.itself.borrow_mut() = Some(Rc::clone(&helper));
}
