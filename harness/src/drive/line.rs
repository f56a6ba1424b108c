//! What carries a client's bytes: a socket, or TLS over one. Everything above it speaks HTTP and knows no difference.
//!
//! In: bytes to send; where to put those that come. Out: the same, decrypted. Start at [`Line`]; [`tls`](super::tls) is the other end.
//! Cost: a plain line is its descriptor. Every way of leaving is decided above; how it looks on this line is decided here.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
};

use mio::{event::Source, net::TcpStream};

use super::{
    leave,
    tls::{TlsClient, TlsLine},
};

/// One TCP connection of ours.
#[derive(Debug)]
pub(super) enum Line {
    Plain(TcpStream),
    Tls(Box<TlsLine>),
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Got {
    /// Bytes for whoever is above; may be none although the wire brought some.
    pub(super) bytes: usize,
    pub(super) more: More,
}

/// Whether another read would bring more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum More {
    /// As much came as was asked for.
    Likely,
    /// Less came than was asked for: the socket is empty, and the poll tells when that changes.
    Unlikely,
    /// The socket is empty.
    NotNow,
    /// The server has closed its side.
    Never,
}

impl Line {
    /// A line over a socket that is connecting or connected.
    pub(super) fn over(socket: TcpStream, tls: Option<&TlsClient>) -> io::Result<Self> {
        Ok(match tls {
            None => Self::Plain(socket),
            Some(tls) => Self::Tls(Box::new(tls.over(socket)?)),
        })
    }

    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(line) => &line.socket,
        }
    }

    /// What the poll watches.
    pub(super) fn source(&mut self) -> &mut impl Source {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(line) => &mut line.socket,
        }
    }

    /// The bare socket, without a word.
    pub(super) fn into_socket(self) -> TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(line) => line.socket,
        }
    }

    /// Sends as much as goes.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: nothing goes now; also while the handshake of TLS is under way, which this goes on with.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(line) => line.write(bytes),
        }
    }

    /// Whether all that was written is with the kernel.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: not yet.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(line) => line.flush(),
        }
    }

    /// Reads once, at most so many bytes of the wire. `scratch` is where what is encrypted comes first.
    pub(super) fn read(
        &mut self,
        most: usize,
        buffer: &mut [u8],
        scratch: &mut [u8],
    ) -> io::Result<Got> {
        let socket = match self {
            Self::Plain(socket) => socket,
            Self::Tls(line) => return line.read(most, buffer, scratch),
        };
        let most = most.min(buffer.len());
        let bytes = socket.read(&mut buffer[..most])?;
        let more = match bytes {
            0 => More::Never,
            _ if bytes < most => More::Unlikely,
            _ => More::Likely,
        };
        Ok(Got { bytes, more })
    }

    /// Says that nothing more comes from us: a FIN, after a `close_notify` where there is TLS. The answer may go on.
    pub(super) fn half_close(&mut self) {
        self.say_goodbye();
        // Fails only when the peer is gone: the next read tells.
        self.socket().shutdown(Shutdown::Write).ok();
    }

    /// What comes before a FIN: `close_notify`, where there is TLS.
    pub(super) fn say_goodbye(&mut self) {
        if let Self::Tls(line) = self {
            line.say_goodbye();
        }
    }

    /// Makes the close an RST, without a word before it.
    pub(super) fn abort_on_close(&self) {
        // Fails only on a socket that is already broken.
        leave::abort_on_close(self.socket()).ok();
    }
}
