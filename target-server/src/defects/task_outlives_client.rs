//! A task that works for a stream is told when the stream is complete, and not when its client leaves: it waits for ever.
//!
//! Truth: the task's block, weighed. It holds nothing else, so it is the same for every kind of stream.

use super::{Ended, Kind, Leak, Plant};

pub(super) const KIND: Kind = Kind {
    name: "task-outlives-client",
    unit: Some("left"),
    strikes_per_unit: 1,
    least_bytes: None,
    text: "An idle task stays for every stream whose client left before the server ended it (every way of leaving but complete); bytes per such client.",
    plant: |plant| Box::new(Outlives(plant)),
};

struct Outlives(Plant);

impl Leak for Outlives {
    fn stream_ended(&self, ended: &Ended<'_>) {
        if ended.client_left() && self.0.strikes() {
            self.0
                .takes_by(|| drop(tokio::task::spawn_local(std::future::pending::<()>())));
        }
    }
}
