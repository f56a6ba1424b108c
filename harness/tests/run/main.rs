//! The program as a person runs it: real processes, real sockets, the real reference server.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod adaptive;
mod alarms;
mod backlog;
mod bench;
mod cleanup;
mod day;
mod endings;
mod forecast;
mod init;
mod isolated;
mod refusals;
mod see;
mod soak;
mod steps;
mod verdicts;
