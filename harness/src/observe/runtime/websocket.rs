//! Just enough of a WebSocket client (RFC 6455) to speak with an inspector on this machine: text out, text in, whole messages.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// A message of the inspector is a few hundred bytes; more than this is not for us.
const LONGEST_MESSAGE: usize = 4 << 20;
const LONGEST_HEAD: usize = 16 << 10;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// An open WebSocket.
#[derive(Debug)]
pub(super) struct WebSocket {
    stream: TcpStream,
}

impl WebSocket {
    /// Connects and asks for the upgrade. The answer's key is not checked: it guards against caches, and there is none on loopback.
    pub(super) fn connect(addr: SocketAddr, path: &str, within: Duration) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&addr, within)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(within))?;
        stream.set_write_timeout(Some(within))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: c3NlLXNvYWsgYXNrcyBub2Rl\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )?;
        let head = read_head(&mut stream)?;
        if head.starts_with("HTTP/1.1 101") {
            Ok(Self { stream })
        } else {
            let said = head.lines().next().unwrap_or_default();
            Err(io::Error::other(format!("no WebSocket there: `{said}`")))
        }
    }

    /// How long the next reads and writes may take.
    pub(super) fn set_patience(&self, within: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(within))?;
        self.stream.set_write_timeout(Some(within))
    }

    pub(super) fn send(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(&frame(TEXT, text.as_bytes()))
    }

    /// The next whole text message; pings are answered on the way.
    pub(super) fn receive(&mut self) -> io::Result<String> {
        let mut message = Vec::new();
        loop {
            let Frame {
                is_last,
                opcode,
                payload,
            } = Frame::read(&mut self.stream)?;
            match opcode {
                PING => self.stream.write_all(&frame(PONG, &payload))?,
                PONG => {}
                CLOSE => return Err(io::ErrorKind::ConnectionAborted.into()),
                _ => {
                    if message.len() + payload.len() > LONGEST_MESSAGE {
                        return Err(too_long());
                    }
                    message.extend_from_slice(&payload);
                    if is_last {
                        return String::from_utf8(message).map_err(io::Error::other);
                    }
                }
            }
        }
    }
}

/// The head of an answer; never a byte of what follows it.
pub(super) fn read_head(stream: &mut impl Read) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == LONGEST_HEAD {
            return Err(too_long());
        }
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn too_long() -> io::Error {
    io::Error::other("it sent more than such an answer can be")
}

struct Frame {
    is_last: bool,
    opcode: u8,
    payload: Vec<u8>,
}

impl Frame {
    /// A server's frames are not masked.
    fn read(stream: &mut impl Read) -> io::Result<Self> {
        let mut head = [0; 2];
        stream.read_exact(&mut head)?;
        let length = match head[1] & 0x7F {
            126 => {
                let mut long = [0; 2];
                stream.read_exact(&mut long)?;
                u64::from(u16::from_be_bytes(long))
            }
            127 => {
                let mut long = [0; 8];
                stream.read_exact(&mut long)?;
                u64::from_be_bytes(long)
            }
            short => u64::from(short),
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > LONGEST_MESSAGE || head[1] & 0x80 != 0 {
            return Err(too_long());
        }
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload)?;
        Ok(Self {
            is_last: head[0] & 0x80 != 0,
            opcode: head[0] & 0x0F,
            payload,
        })
    }
}

/// A client's frame must be masked; with zeros, since nobody listens in on loopback.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | u8::try_from(short).unwrap_or(125)),
        long => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_whatever_its_length_field() {
        for length in [0_usize, 1, 125, 126, 65_535, 65_536] {
            let mut wire = vec![0x81];
            match length {
                0..=125 => wire.push(u8::try_from(length).unwrap()),
                126..=65_535 => {
                    wire.push(126);
                    wire.extend(u16::try_from(length).unwrap().to_be_bytes());
                }
                _ => {
                    wire.push(127);
                    wire.extend((length as u64).to_be_bytes());
                }
            }
            wire.extend(vec![b'x'; length]);
            let frame = Frame::read(&mut &wire[..]).unwrap();
            assert_eq!((frame.payload.len(), frame.opcode), (length, TEXT));
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_before_it_is_stored() {
        let mut wire = vec![0x81, 127];
        wire.extend(u64::MAX.to_be_bytes());
        assert!(Frame::read(&mut &wire[..]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_a_reader_panic(wire in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            drop(Frame::read(&mut &wire[..]));
            drop(read_head(&mut &wire[..]));
        }
    }
}
