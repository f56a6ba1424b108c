//! Stopping: the first request ends the run in good order, the second at once. And holding: the run waits before its next step.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

/// A request to stop that anyone may make and the conductor heeds within a tick.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Asked>);

#[derive(Debug, Default)]
struct Asked {
    stop: AtomicBool,
    hold: AtomicBool,
}

impl Stop {
    /// Asks the run to end: what was recorded is judged.
    pub fn ask(&self) {
        self.0.stop.store(true, Relaxed);
    }

    /// Whether anyone asked.
    pub fn asked(&self) -> bool {
        self.0.stop.load(Relaxed)
    }

    /// Asks the run to wait before its next step, or to go on. A step under way is played to its end: its doses are what was planned.
    pub fn hold(&self, wanted: bool) {
        self.0.hold.store(wanted, Relaxed);
    }

    /// Whether it shall wait.
    pub fn held(&self) -> bool {
        self.0.hold.load(Relaxed)
    }
}
