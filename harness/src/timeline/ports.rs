//! Which local port left in which way: what lets the kernel's list of the server's sockets be read by leave mode.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use crate::units::Leave;

/// The last leave mode of every local port. 64 KiB, for ever: a soak of days must not need more.
///
/// A socket of the server names our port as its peer; looked up here, it says how that client left. Exact as long as the load
/// uses one source address: with several, clients that share a port number are all taken for the last of them. A port that was
/// used again belongs to its last user.
#[derive(Debug)]
pub struct PortBook {
    codes: Box<[AtomicU8]>,
    noted: [AtomicU64; Leave::ALL.len()],
}

impl Default for PortBook {
    fn default() -> Self {
        Self {
            codes: (0..=usize::from(u16::MAX))
                .map(|_| AtomicU8::new(0))
                .collect(),
            noted: Default::default(),
        }
    }
}

impl PortBook {
    /// Notes that the client on `port` is to leave in this way. Called when it connects.
    pub fn note(&self, port: u16, leave: Leave) {
        let code = u8::try_from(leave.index()).map_or(0, |index| index + 1);
        self.codes[usize::from(port)].store(code, Relaxed);
        self.noted[leave.index()].fetch_add(1, Relaxed);
    }

    /// How the last client on `port` left or will leave; `None` for a port that was not ours.
    pub fn leave(&self, port: u16) -> Option<Leave> {
        leave(self.codes[usize::from(port)].load(Relaxed))
    }

    /// How many clients were noted so far, by how they are to leave.
    pub fn noted(&self) -> [u64; Leave::ALL.len()] {
        std::array::from_fn(|i| self.noted[i].load(Relaxed))
    }

    /// Takes out what was noted since the last call, for a book elsewhere. One look at 64 KiB, about 20 µs.
    pub fn drain(&self) -> impl Iterator<Item = (u16, Leave)> {
        (0..=u16::MAX).zip(&self.codes).filter_map(|(port, code)| {
            let is_new = code.load(Relaxed) != 0;
            Some((port, leave(is_new.then(|| code.swap(0, Relaxed))?)?))
        })
    }
}

fn leave(code: u8) -> Option<Leave> {
    let index = code.checked_sub(1)?;
    Leave::ALL.get(usize::from(index)).copied()
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

    #[test]
    fn what_was_noted_is_handed_on_once() {
        let book = PortBook::default();
        for (port, leave) in [(0, Leave::Fin), (u16::MAX, Leave::Orphan), (0, Leave::Rst)] {
            book.note(port, leave);
        }
        let drained: Vec<_> = book.drain().collect();
        assert_eq!(drained, [(0, Leave::Rst), (u16::MAX, Leave::Orphan)]);
        assert_eq!(book.drain().count(), 0);
        assert_eq!(book.noted().iter().sum::<u64>(), 3);
    }
}
