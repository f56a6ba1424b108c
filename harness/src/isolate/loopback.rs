//! `ip link set lo up`, asked of the kernel by `NETLINK_ROUTE` (`man 7 rtnetlink`): the program `ip` may not be installed.

use std::{
    io::{self, Read as _},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

const HEADER: usize = 16;
const REQUEST_LENGTH: u32 = 32;
const REQUEST: usize = REQUEST_LENGTH as usize;

/// Brings the loopback device up; the kernel gives it its addresses.
pub(super) fn bring_up() -> io::Result<()> {
    const AF_NETLINK: i32 = 16;
    const NETLINK_ROUTE: i32 = 0;
    const PATIENCE: Duration = Duration::from_secs(5);
    let mut socket = Socket::new(
        Domain::from(AF_NETLINK),
        Type::DGRAM,
        Some(Protocol::from(NETLINK_ROUTE)),
    )?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(&request())?;
    let mut answer = [0; 128];
    let length = socket.read(&mut answer)?;
    acknowledged(&answer[..length])
}

/// `struct nlmsghdr` and `struct ifinfomsg` (`include/uapi/linux/rtnetlink.h`).
fn request() -> [u8; REQUEST] {
    const RTM_NEWLINK: u16 = 16;
    const REQUEST_AND_ACKNOWLEDGE: u16 = 0x1 | 0x4;
    const LOOPBACK: u32 = 1; // its number in every network
    const UP: u32 = 1;
    let mut bytes = [0; REQUEST];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &REQUEST_LENGTH.to_ne_bytes());
    put(4, &RTM_NEWLINK.to_ne_bytes());
    put(6, &REQUEST_AND_ACKNOWLEDGE.to_ne_bytes());
    put(HEADER + 4, &LOOPBACK.to_ne_bytes());
    put(HEADER + 8, &UP.to_ne_bytes()); // the flags …
    put(HEADER + 12, &UP.to_ne_bytes()); // … and which of them are meant
    bytes
}

/// The kernel acknowledges by an error message with error 0.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    const ERROR: u16 = 2;
    let kind = answer
        .get(4..6)
        .map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
    let error = answer
        .get(HEADER..HEADER + 4)
        .map(|bytes| i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    match (kind, error) {
        (Some(ERROR), Some(0)) => Ok(()),
        (Some(ERROR), Some(error)) => Err(io::Error::from_raw_os_error(error.wrapping_neg())),
        _ => Err(io::Error::other("the kernel's answer is not understood")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_is_told_from_a_refusal_and_from_rubbish() {
        let answer = |kind: u16, error: i32| {
            let mut bytes = [0; 20];
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes[16..20].copy_from_slice(&error.to_ne_bytes());
            bytes
        };
        assert!(acknowledged(&answer(2, 0)).is_ok());
        let refused = acknowledged(&answer(2, -1)).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(1));
        assert!(acknowledged(&answer(3, 0)).is_err());
        assert!(acknowledged(&[0; 5]).is_err());
    }
}
