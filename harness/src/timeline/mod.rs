//! Timeline: the run's one clock, and the counts that the load keeps while it runs.
//!
//! In: nothing. Out: [`Clock`], [`Elapsed`], [`Tally`], [`PortBook`]. Start at [`Clock`].
//! Times are [`Elapsed`] since the run began, monotonic, anchored once to wall time.
//! The load writes the [`Tally`] with relaxed atomics: 1 to 2 ns a count, and no reader can slow a writer.
//! Never decides what a number means: that is `diagnose`.

mod clock;
mod ports;
mod tally;

pub use clock::{Anchor, Clock, Elapsed};
pub use ports::PortBook;
pub use tally::{Counts, End, Tally};
