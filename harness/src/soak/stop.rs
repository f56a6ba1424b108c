//! Stopping: the first request ends the run in good order, the second at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

/// A request to stop that anyone may make and the conductor heeds within a tick.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks the run to end: what was recorded is judged.
    pub fn ask(&self) {
        self.0.store(true, Relaxed);
    }

    /// Whether anyone asked.
    pub fn asked(&self) -> bool {
        self.0.load(Relaxed)
    }
}
