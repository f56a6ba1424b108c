//! Which local port left in which way: what lets the kernel's list of the server's sockets be read by leave mode.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::units::Leave;

/// The last leave mode of every local port. 64 KiB, for ever: a soak of days must not need more.
///
/// A socket of the server names our port as its peer; looked up here, it says how that client left. Exact as long as the load
/// uses one source address; a port that was used again belongs to its last user.
#[derive(Debug)]
pub struct PortBook(Box<[AtomicU8]>);

impl Default for PortBook {
    fn default() -> Self {
        Self(
            (0..=usize::from(u16::MAX))
                .map(|_| AtomicU8::new(0))
                .collect(),
        )
    }
}

impl PortBook {
    /// Notes that the client on `port` is to leave in this way. Called when it connects.
    pub fn note(&self, port: u16, leave: Leave) {
        let code = u8::try_from(leave.index()).map_or(0, |index| index + 1);
        self.0[usize::from(port)].store(code, Relaxed);
    }

    /// How the last client on `port` left or will leave; `None` for a port that was not ours.
    pub fn leave(&self, port: u16) -> Option<Leave> {
        let code = self.0[usize::from(port)].load(Relaxed);
        code.checked_sub(1)
            .and_then(|index| Leave::ALL.get(usize::from(index)))
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_remembers_its_last_user_only() {
        let book = PortBook::default();
        assert_eq!(book.leave(40_000), None);
        book.note(40_000, Leave::Rst);
        book.note(40_000, Leave::Complete);
        assert_eq!(book.leave(40_000), Some(Leave::Complete));
        assert_eq!(book.leave(40_001), None);
    }
}
