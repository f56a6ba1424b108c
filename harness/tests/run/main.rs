//! The program as a person runs it: real processes, real sockets, the real reference server.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alarms;
mod bench;
mod cleanup;
mod endings;
mod forecast;
mod isolated;
mod refusals;
mod soak;
mod steps;
mod verdicts;
