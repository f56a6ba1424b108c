//! Plan: `(profile, seed)` becomes the whole schedule as a value. No clock, no I/O.

mod batch;
mod factor;
mod script;

pub use batch::{Batch, Stay};
pub use factor::{Factor, Leave, UnknownFactor};
pub use script::{
    Capture, CaptureBy, CaptureFrom, Exchange, Expect, Request, Script, SessionUse, Unit,
};
