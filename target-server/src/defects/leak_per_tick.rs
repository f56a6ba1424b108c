//! A clock that notes every tick and never forgets one, whether anybody is there or not.
//!
//! Truth: one block per tick, 512 bytes if nothing else is asked for, twenty ticks a second; late ticks are made up for.

use std::time::Duration;

use tokio::time::{Instant, interval_at};

use super::{Kind, Leak, Plant};

const TICKS_PER_SECOND: u32 = 20;

pub(super) const KIND: Kind = Kind {
    name: "leak-per-tick",
    unit: Some("time"),
    strikes_per_unit: TICKS_PER_SECOND,
    least_bytes: Some(16),
    text: "Bytes per second of uptime, with or without load.",
    plant: |plant| {
        tokio::task::spawn_local(tick(plant));
        Box::new(Clock)
    },
};

const USUAL: usize = 512;

/// Has no seam: its task needs nobody.
struct Clock;

impl Leak for Clock {}

async fn tick(plant: Plant) {
    let period = Duration::from_secs(1) / TICKS_PER_SECOND;
    let mut ticks = interval_at(Instant::now() + period, period);
    loop {
        ticks.tick().await;
        if plant.strikes() {
            plant.forgets(USUAL, b"");
        }
    }
}
