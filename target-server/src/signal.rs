//! A condition that becomes true once and stays true: "drain", "this client left", "this session is gone".
//!
//! For the data thread only. Waiting allocates nothing, so ten thousand streams may wait for one drain.

use std::{cell::Cell, pin::pin};

use tokio::sync::Notify;

/// Raised at most once; everybody who waits, or comes later, sees it.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    raised: Cell<bool>,
    waiting: Notify,
}

impl Signal {
    /// Makes the condition true. Again is the same as once.
    pub(crate) fn raise(&self) {
        self.raised.set(true);
        self.waiting.notify_waiters();
    }

    /// Whether it is true already.
    pub(crate) fn is_raised(&self) -> bool {
        self.raised.get()
    }

    /// Returns as soon as the condition is true. Dropping the future just stops waiting.
    pub(crate) async fn raised(&self) {
        let mut notified = pin!(self.waiting.notified());
        notified.as_mut().enable();
        if !self.raised.get() {
            notified.await;
        }
    }
}
