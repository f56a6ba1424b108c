//! The readers of what the kernel says, for `harness/fuzz`. Built only there.

use super::{
    memory::{Rollup, Status},
    sock_diag,
};

/// The resident bytes that a `smaps_rollup` of this text tells.
pub fn rollup(text: &str) -> Option<u64> {
    Some(Rollup::parse(text).ok()??.rss_bytes)
}

/// The resident bytes that a `status` of this text tells.
pub fn status(text: &str) -> Option<u64> {
    Some(Status::parse(text).ok()??.rss_bytes)
}

/// Reads an answer about sockets; all that matters is that it can be any bytes.
pub fn sockets(answer: &[u8]) {
    drop(sock_diag::read_messages(answer, 0, &mut |row| {
        drop(format!("{row:?}"));
    }));
}
