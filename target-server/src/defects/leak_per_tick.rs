//! A clock that notes every tick and never forgets one, whether anybody is there or not.
//!
//! Truth: one node per tick, twenty ticks a second; late ticks are made up for.

use std::{collections::LinkedList, time::Duration};

use tokio::time::{Instant, interval_at};

use super::{Kind, Leak, Plant};

const TICKS_PER_SECOND: u32 = 20;

pub(super) const KIND: Kind = Kind {
    name: "leak-per-tick",
    unit: Some("time"),
    strikes_per_unit: TICKS_PER_SECOND,
    text: "Bytes per second of uptime, with or without load.",
    plant: |plant| {
        tokio::task::spawn_local(tick(plant));
        Box::new(Clock)
    },
};

/// With its node, 512 bytes.
type Note = [u8; 496];

/// Has no seam: its task needs nobody.
struct Clock;

impl Leak for Clock {}

async fn tick(plant: Plant) {
    let (mut notes, period) = (
        LinkedList::<Note>::new(),
        Duration::from_secs(1) / TICKS_PER_SECOND,
    );
    let mut ticks = interval_at(Instant::now() + period, period);
    loop {
        ticks.tick().await;
        if plant.strikes() {
            notes.push_back([0xA5; _]);
            plant.took(plant.node::<Note>());
        }
    }
}
