//! Clients that are more than a script: who come back, and who are connected by a slow line.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod reconnect;
mod server;
mod shaping;
