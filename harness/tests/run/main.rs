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
mod http2;
mod init;
mod isolated;
mod profile;
mod refusals;
mod restarts;
mod resumes;
mod see;
mod soak;
mod steps;
mod verdicts;
