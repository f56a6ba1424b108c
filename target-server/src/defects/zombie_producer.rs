//! The task of a stream goes on when the stream is over, however it ended: it produces events into a queue that nobody reads.
//!
//! Truth: one node per beat and client, so bytes per second and client since its stream ended. The task's own block comes on top, once.

use std::{collections::LinkedList, time::Duration};

use tokio::time::{Instant, interval_at};

use super::{Ended, Kind, Leak, Plant};

pub(super) const KIND: Kind = Kind {
    name: "zombie-producer",
    unit: Some("zombie"),
    strikes_per_unit: 1,
    least_bytes: None,
    text: "Bytes per second and closed stream, from when it ended, however it did; the block of its task comes on top, once.",
    plant: |plant| Box::new(Producer(plant)),
};

/// Two beats a second: ten thousand zombies then cost some, but not all, of a core.
const BEATS_PER_SECOND: u32 = 2;

/// An event of the queue; with its node, 128 bytes.
type Event = [u8; 112];

struct Producer(Plant);

impl Leak for Producer {
    fn stream_ended(&self, _: &Ended<'_>) {
        if self.0.strikes() {
            tokio::task::spawn_local(produce());
            self.0
                .took(self.0.node::<Event>() * BEATS_PER_SECOND as usize);
        }
    }
}

async fn produce() {
    let (mut queue, beat) = (LinkedList::new(), Duration::from_secs(1) / BEATS_PER_SECOND);
    let mut beats = interval_at(Instant::now() + beat, beat); // late beats are made up for: the rate is exact
    loop {
        beats.tick().await;
        queue.push_back(event(queue.len()));
    }
}

fn event(number: usize) -> Event {
    std::array::from_fn(|at| number.wrapping_mul(31).wrapping_add(at).to_le_bytes()[0])
}
