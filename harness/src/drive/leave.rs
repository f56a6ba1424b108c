//! How each way of leaving is made real on the wire, and when a client is far enough to take it.
//!
//! | mode | far enough | what the server's kernel sees |
//! |---|---|---|
//! | `complete` | never by itself | the answer is read to its end, then FIN |
//! | `fin`, `orphan` | an event came | everything is read, then FIN |
//! | `rst` | an event came | RST (`SO_LINGER` 0) |
//! | `early`, odd numbers | the request is sent | FIN, before anything was read |
//! | `early`, even numbers | the head came | FIN, before any event was looked at |
//! | `stall` | the request is sent | nothing, and a window that closes; at the end RST, since unread bytes are thrown away |
//! | `slow` | an event came | a window that opens at R B/s, then FIN |
//! | `half-close` | an event came | FIN at the first event; we read on until the stay ends |
//! | `vanish` | an event came | nothing, ever: what it sends is not even acknowledged (see [`vanish`](super::vanish)) |
//!
//! Over TLS the same, with a `close_notify` before every FIN; `rst`, the RST of `stall`, and `vanish` go without one.
//!
//! Over HTTP/2 a client is a stream, and its TCP connection ends with the last client on it (all of one mode):
//!
//! | mode | what the server sees of the stream | what its kernel sees at the end |
//! |---|---|---|
//! | `complete` | the answer is read to its end | `GOAWAY`, FIN |
//! | `fin`, `orphan`, `early` | `RST_STREAM` (`CANCEL`): there is no other way to leave an answer before its end, and browsers go so | `GOAWAY`, FIN |
//! | `rst` | `RST_STREAM` (`INTERNAL_ERROR`); of the last one only the RST | RST |
//! | `stall` | a window of at most `SO_RCVBUF` that is never given back; at the end `RST_STREAM` (`CANCEL`) | `GOAWAY`, FIN |
//! | `slow` | a window that opens at R B/s; at the end `RST_STREAM` (`CANCEL`) | `GOAWAY`, FIN |
//! | `half-close` | `END_STREAM` at the first event instead of with the request (where it has no body); then as `fin` | `GOAWAY`, FIN |
//! | `vanish` | nothing: a stream that stays open, and a window that is never given back | nothing, ever |

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use mio::net::TcpStream;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::plan::Leave;

use super::{
    connection::Connection,
    line::{Got, Line, More},
    world::World,
};

/// At most so many reads before a close: a server that never pauses must not hold us.
const MOST_DRAINS: usize = 128;

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    AsItComes,
    /// As a slow line lets it through.
    Shaped,
    /// By the clock.
    Paced,
    Never,
}

/// Whether a client is far enough to leave as planned.
pub(super) fn is_ripe(leave: Leave, connection: &Connection, world: &World) -> bool {
    connection.is_in_last(world)
        && match leave {
            Leave::Complete => false,
            Leave::Early if leaves_before_reading(connection.number) => connection.has_asked(),
            Leave::Early => connection.has_answer(),
            Leave::Stall => connection.has_asked(),
            Leave::Fin
            | Leave::Rst
            | Leave::Slow
            | Leave::HalfClose
            | Leave::Vanish
            | Leave::Orphan => connection.has_event(),
        }
}

/// How a client reads at this point of its way.
pub(super) fn reading(leave: Leave, connection: &Connection, world: &World) -> Reading {
    let answering = connection.is_in_last(world) && connection.has_asked();
    match leave {
        Leave::Stall if answering => Reading::Never,
        Leave::Slow if answering => Reading::Paced,
        Leave::Early if is_ripe(leave, connection, world) => Reading::Never,
        _ => Reading::AsItComes,
    }
}

/// `early` alternates: odd clients leave before the headers, even ones after them.
pub(super) const fn leaves_before_reading(number: u64) -> bool {
    number % 2 == 1
}

/// Starts a connect, from this address if one is given; also tells whether it is already done (on loopback it mostly is).
pub(super) fn connect(
    addr: SocketAddr,
    source: Option<IpAddr>,
    receive_buffer: Option<u32>,
) -> io::Result<(TcpStream, bool)> {
    let socket = Socket::new(
        Domain::for_address(addr),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    if let Some(size) = receive_buffer {
        // Before the connect: the window that is offered in the handshake follows from it.
        socket.set_recv_buffer_size(usize::try_from(size).unwrap_or(usize::MAX))?;
    }
    if let Some(source) = source {
        socket.bind(&SocketAddr::from((source, 0)).into())?;
    }
    let done = match socket.connect(&addr.into()) {
        Ok(()) => true,
        Err(error) if is_under_way(&error) => false,
        Err(error) => return Err(error),
    };
    Ok((TcpStream::from_std(socket.into()), done))
}

fn is_under_way(error: &io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::INPROGRESS)
}

/// No descriptor, port or memory left: a limit of this machine, not a failure of the target.
pub(super) fn is_out_of_room(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::MFILE
                | Errno::NFILE
                | Errno::ADDRNOTAVAIL
                | Errno::ADDRINUSE
                | Errno::NOBUFS
                | Errno::NOMEM
        )
    )
}

/// Makes the close of this socket an RST.
pub(super) fn abort_on_close(socket: &TcpStream) -> io::Result<()> {
    SockRef::from(socket).set_linger(Some(Duration::ZERO))
}

/// Reads what is there, so that a close is a FIN: closing over unread bytes would be an RST.
pub(super) fn drain(
    line: &mut Line,
    buffer: &mut [u8],
    scratch: &mut [u8],
    mut seen: impl FnMut(&[u8]),
) {
    for _ in 0..MOST_DRAINS {
        match line.read(buffer.len(), buffer, scratch) {
            Ok(Got { bytes, more }) => {
                if bytes > 0 {
                    seen(&buffer[..bytes]);
                }
                if more == More::Never {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return, // nothing there, or the peer is gone: the close says the rest
        }
    }
}
