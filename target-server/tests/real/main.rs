//! The real server, as a process, on real sockets of 127.0.0.1. Nothing sleeps: a test waits for a condition, with a deadline.

mod admin;
mod api;
mod client;
mod defects;
mod leaving;
mod limits;
mod memory;
mod process;
mod target;
mod workers;
