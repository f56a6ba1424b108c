//! Bringing the allocator's numbers to rest: both threads give back what their caches hold, before anybody reads.
//!
//! jemalloc counts a block in a thread's cache as allocated, and only the thread itself can give it back. So the admin thread
//! asks the data thread. The two meet at two [`Notify`]s: a channel would allocate a block now and then, in the middle of a reading.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::sync::Notify;

use super::Allocator;

/// How often the data thread lets others run first: what a closing connection still has to do is a few polls deep.
const YIELDS: u32 = 32;

/// The meeting point of the admin thread and the data thread.
#[derive(Debug, Default)]
pub(crate) struct Settle {
    asked: Notify,
    resample: AtomicBool,
    done: Notify,
}

impl Settle {
    /// On the data thread, for ever: flushes its cache whenever asked.
    pub(crate) async fn answer(&self, allocator: Allocator) {
        loop {
            self.asked.notified().await;
            for _ in 0..YIELDS {
                tokio::task::yield_now().await;
            }
            if self.resample.swap(false, Relaxed) {
                allocator.resample_thread();
            }
            allocator.flush_thread();
            self.done.notify_waiters();
        }
    }

    /// On the admin thread: as [`Self::ask`], and the data thread draws anew when to take its next heap sample.
    pub(crate) async fn ask_to_resample(&self) {
        self.resample.store(true, Relaxed);
        self.ask().await;
    }

    /// On the admin thread: returns when the data thread has flushed. Dropping the future leaves a flush that nobody waits for.
    pub(crate) async fn ask(&self) {
        let mut done = std::pin::pin!(self.done.notified());
        done.as_mut().enable();
        self.asked.notify_one();
        done.await;
    }
}
