//! The target's TCP sockets, asked of the kernel by `NETLINK_SOCK_DIAG` (`man 7 sock_diag`).
//!
//! The kernel picks by local port, but walks its whole table to find them: 0.5 to 0.7 ms for each address family (262,144 buckets on
//! 24 GiB), 0.2 µs for every other socket there (our own clients in TIME_WAIT, too: a minute of churn)
//! and 0.8 µs for one that counts. Listeners have a table of their own (12 µs), so a family is only walked once somebody listened in
//! it. Parsing `/proc/net/tcp` is ten times dearer, and is what is left where netlink is refused.

use std::{
    io::{self, Read},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::sample::Sockets;
use crate::{
    target::tcp_table::{LISTEN, TcpRow},
    timeline::PortBook,
};

/// Why the kernel's answer could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum SockDiagError {
    #[error("cannot ask the kernel for sockets (netlink)")]
    Refused(#[source] io::Error),
    #[error("the kernel's answer about sockets is not understood: {0}")]
    Malformed(&'static str),
}

/// One open line to the kernel.
#[derive(Debug)]
pub(super) struct SockDiag {
    socket: Socket,
    buffer: Vec<u8>,
    asked: u32,
    families: [Family; 2],
}

/// IPv4 or IPv6, and whether the target was ever seen to use it. A socket outlives its listener, so once is for ever.
#[derive(Clone, Copy, Debug)]
struct Family {
    number: u8,
    used: bool,
}

impl SockDiag {
    pub(super) fn open() -> Result<Self, SockDiagError> {
        const AF_NETLINK: i32 = 16;
        const NETLINK_SOCK_DIAG: i32 = 4;
        const PATIENCE: Duration = Duration::from_secs(5);
        let open = || {
            let socket = Socket::new(
                Domain::from(AF_NETLINK),
                Type::DGRAM,
                Some(Protocol::from(NETLINK_SOCK_DIAG)),
            )?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        };
        Ok(Self {
            socket: open().map_err(SockDiagError::Refused)?,
            buffer: vec![0; 64 << 10], // the kernel never fills more than 32 KiB at once
            asked: 0,
            families: [AF_INET, AF_INET6].map(|number| Family {
                number,
                used: false,
            }),
        })
    }

    /// Counts the sockets whose local port is `port`.
    pub(super) fn census(&mut self, port: u16, ports: &PortBook) -> Result<Sockets, SockDiagError> {
        let mut sockets = Sockets::default();
        for index in 0..self.families.len() {
            let Family { number, mut used } = self.families[index];
            self.dump(number, port, LISTENING, |row| {
                used = true;
                count(&mut sockets, &row, ports);
            })?;
            self.families[index].used = used;
            if used {
                self.dump(number, port, !LISTENING, |row| {
                    count(&mut sockets, &row, ports)
                })?;
            }
        }
        Ok(sockets)
    }

    fn dump(
        &mut self,
        family: u8,
        port: u16,
        states: u32,
        mut each: impl FnMut(Row),
    ) -> Result<(), SockDiagError> {
        self.asked = self.asked.wrapping_add(1);
        let request = request(family, port, states, self.asked);
        self.socket.send(&request).map_err(SockDiagError::Refused)?;
        loop {
            let length = self.receive().map_err(SockDiagError::Refused)?;
            match read_messages(&self.buffer[..length], self.asked, &mut each)? {
                Dump::More => {}
                Dump::Done => return Ok(()),
            }
        }
    }

    fn receive(&mut self) -> io::Result<usize> {
        loop {
            match self.socket.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

/// One socket, whichever way it was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    state: u8,
    peer_port: u16,
    send_queue: u32,
    receive_queue: u32,
    has_process: bool,
    kernel_bytes: u64,
}

/// The census from `/proc/net/tcp`. Kernel memory is known only as far as it is queued data.
pub(super) fn census_of_table(rows: &[TcpRow], port: u16, ports: &PortBook) -> Sockets {
    let mut sockets = Sockets::default();
    for row in rows.iter().filter(|row| row.local_port == port) {
        let row = Row {
            state: row.state,
            peer_port: row.peer_port,
            send_queue: row.send_queue,
            receive_queue: row.receive_queue,
            has_process: row.inode != 0,
            kernel_bytes: u64::from(row.send_queue) + u64::from(row.receive_queue),
        };
        count(&mut sockets, &row, ports);
    }
    sockets
}

/// The kernel's numbers of TCP states (`include/net/tcp_states.h`).
mod state {
    pub(super) const ESTABLISHED: u8 = 1;
    pub(super) const SYN_RECV: u8 = 3;
    pub(super) const FIN_WAIT1: u8 = 4;
    pub(super) const FIN_WAIT2: u8 = 5;
    pub(super) const TIME_WAIT: u8 = 6;
    pub(super) const CLOSE_WAIT: u8 = 8;
    pub(super) const LAST_ACK: u8 = 9;
    pub(super) const CLOSING: u8 = 11;
    pub(super) const NEW_SYN_RECV: u8 = 12;
}

fn count(into: &mut Sockets, row: &Row, ports: &PortBook) {
    match row.state {
        LISTEN => {
            into.accept_queue += u64::from(row.receive_queue);
            return; // its queues are counts, not bytes
        }
        state::ESTABLISHED => into.established += 1,
        state::CLOSE_WAIT => into.close_wait += 1,
        state::TIME_WAIT => into.time_wait += 1,
        state::SYN_RECV | state::NEW_SYN_RECV => into.syn_recv += 1,
        state::FIN_WAIT1 | state::FIN_WAIT2 | state::LAST_ACK | state::CLOSING => into.closing += 1,
        _ => return, // SYN_SENT and CLOSE: not a connection that a client made
    }
    into.send_queue_bytes += u64::from(row.send_queue);
    into.receive_queue_bytes += u64::from(row.receive_queue);
    into.kernel_bytes += row.kernel_bytes;
    let closing = matches!(
        row.state,
        state::FIN_WAIT1 | state::FIN_WAIT2 | state::LAST_ACK | state::CLOSING
    );
    let orphaned = closing && !row.has_process;
    into.orphaned += u64::from(orphaned);
    let held = closing || matches!(row.state, state::ESTABLISHED | state::CLOSE_WAIT);
    if held && !orphaned {
        match ports.leave(row.peer_port) {
            Some(leave) => {
                into.held_by_leave[leave.index()] += 1;
                into.send_queue_by_leave[leave.index()] += u64::from(row.send_queue);
                into.kernel_bytes_by_leave[leave.index()] += row.kernel_bytes;
            }
            None => into.held_by_others += 1,
        }
    }
}

/// A set of states, as the kernel wants it: one bit each.
const LISTENING: u32 = 1 << LISTEN;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const HEADER: usize = 16;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST_LENGTH: u32 = 72;
const REQUEST: usize = REQUEST_LENGTH as usize;

/// `struct nlmsghdr` and `struct inet_diag_req_v2` (`include/uapi/linux/inet_diag.h`), in the machine's byte order but for ports.
fn request(family: u8, port: u16, states: u32, sequence: u32) -> [u8; REQUEST] {
    const REQUEST_AND_DUMP: u16 = 0x1 | 0x300;
    const IPPROTO_TCP: u8 = 6;
    const WITH_MEMORY: u8 = 1 << (SKMEMINFO - 1);
    const NO_COOKIE: [u8; 8] = [0xff; 8];
    let mut bytes = [0; REQUEST];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &REQUEST_LENGTH.to_ne_bytes());
    put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(6, &REQUEST_AND_DUMP.to_ne_bytes());
    put(8, &sequence.to_ne_bytes());
    put(HEADER, &[family, IPPROTO_TCP, WITH_MEMORY, 0]);
    put(HEADER + 4, &states.to_ne_bytes());
    put(HEADER + 8, &port.to_be_bytes()); // idiag_sport: the kernel filters by it
    put(HEADER + 48, &NO_COOKIE);
    bytes
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dump {
    More,
    Done,
}

const SKMEMINFO: u8 = 7;

/// One datagram of the answer: several messages, each a header and a socket.
pub(super) fn read_messages(
    mut bytes: &[u8],
    sequence: u32,
    each: &mut impl FnMut(Row),
) -> Result<Dump, SockDiagError> {
    const ERROR: u16 = 2;
    const DONE: u16 = 3;
    while !bytes.is_empty() {
        let length = u32_at(bytes, 0).map_or(0, |length| length as usize);
        if length < HEADER || length > bytes.len() {
            return Err(SockDiagError::Malformed("a message is cut short"));
        }
        let (message, rest) = bytes.split_at(length);
        bytes = rest
            .get(padding(length).min(rest.len())..)
            .unwrap_or_default();
        if u32_at(message, 8) != Some(sequence) {
            continue; // left over from a question that was given up
        }
        match u16_at(message, 4) {
            Some(DONE) => return finish(&message[HEADER..]),
            Some(ERROR) => return Err(SockDiagError::Refused(errno(&message[HEADER..]))),
            Some(SOCK_DIAG_BY_FAMILY) => each(read_row(&message[HEADER..])?),
            _ => {}
        }
    }
    Ok(Dump::More)
}

/// The last message carries an error if the dump was broken off.
fn finish(payload: &[u8]) -> Result<Dump, SockDiagError> {
    match u32_at(payload, 0) {
        None | Some(0) => Ok(Dump::Done),
        Some(_) => Err(SockDiagError::Refused(errno(payload))),
    }
}

fn errno(payload: &[u8]) -> io::Error {
    let code = u32_at(payload, 0).map_or(0, |code| code.cast_signed().wrapping_neg());
    io::Error::from_raw_os_error(code)
}

/// `struct inet_diag_msg` and its attributes.
fn read_row(message: &[u8]) -> Result<Row, SockDiagError> {
    const LENGTH: usize = 72;
    let cut = SockDiagError::Malformed("a socket is cut short");
    let field = |at| u32_at(message, at);
    let (Some(state), Some(peer), Some(receive_queue), Some(send_queue), Some(inode)) = (
        message.get(1),
        message.get(6..8),
        field(56),
        field(60),
        field(68),
    ) else {
        return Err(cut);
    };
    Ok(Row {
        state: *state,
        peer_port: u16::from_be_bytes([peer[0], peer[1]]),
        send_queue,
        receive_queue,
        has_process: inode != 0,
        kernel_bytes: attribute(&message[LENGTH..], SKMEMINFO).map_or(0, kernel_bytes),
    })
}

/// `SK_MEMINFO_*` (`include/uapi/linux/sock_diag.h`): what of it is memory, and not a limit.
fn kernel_bytes(info: &[u8]) -> u64 {
    const RMEM_ALLOC: usize = 0;
    const FWD_ALLOC: usize = 4;
    const WMEM_QUEUED: usize = 5;
    const OPTMEM: usize = 6;
    const BACKLOG: usize = 7;
    [RMEM_ALLOC, FWD_ALLOC, WMEM_QUEUED, OPTMEM, BACKLOG]
        .iter()
        .filter_map(|index| u32_at(info, index * 4))
        .map(|bytes| u64::from(bytes.cast_signed().max(0).unsigned_abs())) // forward memory may be in debt for a moment
        .sum()
}

/// The payload of one attribute (`struct rtattr`).
fn attribute(mut bytes: &[u8], wanted: u8) -> Option<&[u8]> {
    const HEAD: usize = 4;
    loop {
        let length = usize::from(u16_at(bytes, 0)?);
        let payload = bytes.get(HEAD..length)?;
        if u16_at(bytes, 2)? == u16::from(wanted) {
            return Some(payload);
        }
        bytes = bytes.get(length + padding(length)..)?;
    }
}

/// Netlink aligns everything to four bytes.
const fn padding(length: usize) -> usize {
    length.next_multiple_of(4) - length
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let found = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes([found[0], found[1], found[2], found[3]]))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let found = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes([found[0], found[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Leave;
    use std::{
        io::Write,
        net::{Shutdown, TcpListener, TcpStream},
    };

    fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
        let clock = crate::timeline::Clock::start();
        while !condition() {
            assert!(
                clock.now().0 < Duration::from_secs(10),
                "{what} did not come about"
            );
            std::thread::yield_now();
        }
    }

    #[test]
    fn real_sockets_are_counted_by_state_and_by_how_their_client_left() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                continue;
            };
            let here = listener.local_addr().unwrap();
            let ports = PortBook::default();
            let mut diag = SockDiag::open().unwrap();
            let client = |leave| {
                let client = TcpStream::connect(here).unwrap();
                ports.note(client.local_addr().unwrap().port(), leave);
                (client, listener.accept().unwrap().0)
            };
            let (stays, mut server) = client(Leave::Stall);
            server.write_all(&[7; 10_000]).unwrap();
            let (left, _server) = client(Leave::Fin);
            left.shutdown(Shutdown::Write).unwrap();
            let _stranger = TcpStream::connect(here).unwrap(); // never accepted
            let mut look = || diag.census(here.port(), &ports).unwrap();
            // Acknowledged too: a delayed acknowledgement between two looks would change the send queue.
            wait_for("quiet", || {
                let now = look();
                now.close_wait == 1 && now.send_queue_bytes == 0
            });
            let sockets = look();
            assert_eq!(
                (sockets.established, sockets.held(), sockets.accept_queue),
                (2, 3, 1),
                "{sockets:?}"
            );
            assert_eq!(sockets.held_by_leave[Leave::Stall.index()], 1);
            assert_eq!(sockets.held_by_leave[Leave::Fin.index()], 1);
            assert_eq!(sockets.held_by_others, 1);
            let table = crate::target::tcp_table::read(std::process::id()).unwrap();
            let from_table = census_of_table(&table, here.port(), &ports);
            assert_eq!(
                Sockets {
                    kernel_bytes: 0,
                    kernel_bytes_by_leave: Default::default(),
                    ..from_table
                },
                Sockets {
                    kernel_bytes: 0,
                    kernel_bytes_by_leave: Default::default(),
                    ..sockets
                },
            );
            drop(stays);
        }
    }

    #[test]
    fn what_a_process_closed_and_the_peer_did_not_confirm_is_nobodys() {
        let row = Row {
            state: state::FIN_WAIT2,
            peer_port: 1,
            send_queue: 0,
            receive_queue: 0,
            has_process: false,
            kernel_bytes: 5,
        };
        let mut sockets = Sockets::default();
        count(&mut sockets, &row, &PortBook::default());
        assert_eq!(
            (
                sockets.closing,
                sockets.orphaned,
                sockets.held(),
                sockets.held_by_others
            ),
            (1, 1, 0, 0)
        );
        count(
            &mut sockets,
            &Row {
                has_process: true,
                ..row
            },
            &PortBook::default(),
        );
        assert_eq!(
            (
                sockets.closing,
                sockets.orphaned,
                sockets.held(),
                sockets.held_by_others
            ),
            (2, 1, 1, 1)
        );
    }

    #[test]
    fn an_error_of_the_kernel_is_passed_on() {
        let mut bytes = Vec::new();
        bytes.extend(20_u32.to_ne_bytes());
        bytes.extend(2_u16.to_ne_bytes());
        bytes.extend(0_u16.to_ne_bytes());
        bytes.extend(9_u32.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend((-2_i32).to_ne_bytes());
        let error = read_messages(&bytes, 9, &mut |_| ()).unwrap_err();
        assert!(matches!(error, SockDiagError::Refused(ref why) if why.raw_os_error() == Some(2)));
        assert_eq!(
            read_messages(&bytes, 8, &mut |_| ()).unwrap(),
            Dump::More,
            "an old answer is skipped"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300), sequence in 0u32..3) {
            drop(read_messages(&bytes, sequence, &mut |_| ()));
            drop(read_row(&bytes));
            attribute(&bytes, SKMEMINFO);
        }
    }
}
