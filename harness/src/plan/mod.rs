//! Plan: `(profile, seed)` becomes the whole schedule as a value. No clock, no I/O.

mod factor;

pub use factor::{Factor, Leave, UnknownFactor};
