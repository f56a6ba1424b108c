//! A timer for every connection ("close it when it gets too old"), hours long, and not cancelled when the connection is closed.
//!
//! Truth: the block of the task that waits for it, weighed.

use std::time::Duration;

use tokio::time::sleep;

use super::{Kind, Leak, Plant};

pub(super) const KIND: Kind = Kind {
    name: "timer-per-connection",
    unit: Some("all"),
    strikes_per_unit: 1,
    least_bytes: None,
    text: "A timer of twelve hours is started for every connection and never cancelled; bytes per connection, however it closes.",
    plant: |plant| Box::new(Timer(plant)),
};

const HOURS: Duration = Duration::from_secs(12 * 3600);

struct Timer(Plant);

impl Leak for Timer {
    fn connection_opened(&self) {
        if self.0.strikes() {
            self.0
                .takes_by(|| drop(tokio::task::spawn_local(sleep(HOURS))));
        }
    }
}
