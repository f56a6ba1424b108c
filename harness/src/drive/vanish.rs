//! Gone without a goodbye: no FIN and no RST reaches the server, and nothing answers what it sends.
//!
//! The kernel drops every segment that comes for the socket before TCP sees it (a socket filter that keeps no byte), so the server's
//! data is neither acknowledged nor refused; and we send nothing. That is what a pulled cable looks like from the other end: the
//! connection stays ESTABLISHED, its send queue grows, its kernel sends again and again, and gives up after a quarter of an hour.
//! Touches nothing but this socket, so it needs no namespace and works against any server. Whether it takes `CAP_NET_ADMIN` is the kernel's
//! to say: long ago everyone could attach a filter, 6.18 wants it for TCP; `--isolate` gives it to everyone, within the private network.
//!
//! Cost: the descriptor stays open, with its socket in our kernel; a close would be a FIN. When the room is needed, and at the end,
//! the first ones are let go as quietly as this machine allows: see [`Farewell`].

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, AsRawFd as _},
    sync::OnceLock,
};

use mio::net::TcpStream;
use socket2::{Domain, SockFilter, SockRef, Socket, Type};

use super::leave::abort_on_close;

/// Those who vanished, the first one first.
#[derive(Debug, Default)]
pub(super) struct Vanished(VecDeque<TcpStream>);

/// What the server hears of a vanished client when its socket is closed at last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// Nothing (`TCP_REPAIR`, which takes `CAP_NET_ADMIN`). But there is no socket any more, so the server's next segment is answered.
    Quiet,
    /// RST.
    Reset,
}

impl Farewell {
    /// Which of them this machine allows.
    pub fn here() -> Self {
        static HERE: OnceLock<Farewell> = OnceLock::new();
        *HERE.get_or_init(|| {
            match Socket::new(Domain::IPV4, Type::STREAM, None).and_then(|socket| repair(&socket)) {
                Ok(()) => Self::Quiet,
                Err(_) => Self::Reset,
            }
        })
    }

    /// What happens, as a sentence goes on.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Quiet => {
                "closed without FIN and RST (TCP_REPAIR), but the server's next segment is answered with RST"
            }
            Self::Reset => "closed with RST (TCP_REPAIR takes CAP_NET_ADMIN)",
        }
    }
}

/// Whether clients can vanish here.
///
/// # Errors
/// The kernel takes no socket filter of ours: there is no way to be silent without one.
pub fn can_vanish() -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    deafen(&SockRef::from(&socket))
}

impl Vanished {
    /// Makes a client vanish, and keeps what is left of it.
    pub(super) fn take_in(&mut self, socket: TcpStream) -> io::Result<()> {
        deafen(&SockRef::from(&socket))?;
        self.0.push_back(socket);
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Lets the first one go; `None` when there is nobody.
    pub(super) fn let_one_go(&mut self) -> Option<Farewell> {
        self.0.pop_front().map(|socket| {
            if repair(&socket).is_ok() {
                return Farewell::Quiet;
            }
            // A FIN would be sent again and again, since nobody hears its acknowledgement.
            abort_on_close(&socket).ok(); // fails only on a socket that is already broken
            Farewell::Reset
        })
    }
}

impl Drop for Vanished {
    fn drop(&mut self) {
        while self.let_one_go().is_some() {}
    }
}

/// Nothing that comes for this socket is heard any more.
fn deafen(socket: &SockRef<'_>) -> io::Result<()> {
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const NO_BYTE: u32 = 0;
    socket.attach_filter(&[SockFilter::new(RETURN, 0, 0, NO_BYTE)])
}

/// Makes the close of this socket send nothing.
fn repair(socket: &impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).expect("four bytes");
    #[expect(
        unsafe_code,
        reason = "no crate of ours has a safe call for TCP_REPAIR"
    )]
    // SAFETY: the descriptor is borrowed, hence open; the value is an int that outlives the call, and its size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_REPAIR,
            (&raw const on).cast(),
            length,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
