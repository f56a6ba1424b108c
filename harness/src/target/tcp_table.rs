//! `/proc/PID/net/tcp` and `tcp6`: every TCP socket of the network that a process lives in.
//!
//! Slow (325 ms for 36,000 rows) but readable where netlink is refused, and it shows the *process's* network, whatever ours is.

use super::proc::{self, Malformed, ProcError, shortened};

/// One socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpRow {
    /// The port on the process's side.
    pub local_port: u16,
    /// The port of its peer.
    pub peer_port: u16,
    /// The kernel's number of the state: 1 is ESTABLISHED, 10 is LISTEN.
    pub state: u8,
    /// Bytes written and not yet acknowledged.
    pub send_queue: u32,
    /// Bytes not yet read; for a listener, connections not yet accepted.
    pub receive_queue: u32,
    /// The socket's inode, which `/proc/PID/fd` names; 0 if no process holds it.
    pub inode: u64,
}

/// The kernel's number of LISTEN.
pub const LISTEN: u8 = 10;

/// Both tables of the network that a process lives in.
///
/// # Errors
/// See [`ProcError`]. A machine without IPv6 has no second table, which is no error.
pub fn read(pid: u32) -> Result<Vec<TcpRow>, ProcError> {
    let mut rows = Vec::new();
    for file in ["net/tcp", "net/tcp6"] {
        match proc::read(pid, file) {
            Ok(text) => parse(file, &text, &mut rows)
                .map_err(|malformed| ProcError::Malformed { pid, malformed })?,
            Err(error) if error.is_gone() && file == "net/tcp6" => {}
            Err(error) => return Err(error),
        }
    }
    Ok(rows)
}

/// Adds the rows of one table's text.
///
/// # Errors
/// Names the line that is no socket.
pub fn parse(file: &'static str, text: &str, rows: &mut Vec<TcpRow>) -> Result<(), Malformed> {
    for (index, line) in text.lines().enumerate().skip(1) {
        let row = parse_row(line).ok_or_else(|| Malformed {
            file,
            line: index + 1,
            expected: "a socket",
            found: shortened(line),
        })?;
        rows.push(row);
    }
    Ok(())
}

fn parse_row(line: &str) -> Option<TcpRow> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local_port = port(fields.next()?)?;
    let peer_port = port(fields.next()?)?;
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    let (send, receive) = fields.next()?.split_once(':')?;
    Some(TcpRow {
        local_port,
        peer_port,
        state,
        send_queue: u32::from_str_radix(send, 16).ok()?,
        receive_queue: u32::from_str_radix(receive, 16).ok()?,
        inode: fields.nth(4)?.parse().ok()?,
    })
}

/// `0100007F:1F90` → 8080.
fn port(address: &str) -> Option<u16> {
    u16::from_str_radix(address.rsplit_once(':')?.1, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const TEXT: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:07E8 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 1234 1 000000000245c973 100 0 0 10 0
   1: 0100007F:1F90 0100007F:C350 08 0000000A:00000000 02:00000000 00000000     0        0 99 2 0000000000000000 20 4 0 10 -1
";

    #[test]
    fn a_row_gives_ports_state_queues_and_inode() {
        let mut rows = Vec::new();
        parse("net/tcp", TEXT, &mut rows).unwrap();
        assert_eq!(
            rows,
            [
                TcpRow {
                    local_port: 2024,
                    peer_port: 0,
                    state: LISTEN,
                    send_queue: 0,
                    receive_queue: 3,
                    inode: 1234
                },
                TcpRow {
                    local_port: 8080,
                    peer_port: 50_000,
                    state: 8,
                    send_queue: 10,
                    receive_queue: 0,
                    inode: 99
                },
            ]
        );
    }

    #[test]
    fn a_broken_row_is_named_with_its_line() {
        let error = parse("net/tcp6", "head\nrubbish", &mut Vec::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "net/tcp6, line 2: expected a socket, found `rubbish`"
        );
    }

    #[test]
    fn our_own_listener_is_in_the_table() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let rows = read(std::process::id()).unwrap();
        let ours: Vec<u64> = rows
            .iter()
            .filter(|row| row.local_port == port && row.state == LISTEN)
            .map(|row| row.inode)
            .collect();
        assert_eq!(ours.len(), 1);
        assert_eq!(proc::holds_socket(std::process::id(), &ours), Some(true));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*") {
            drop(parse("net/tcp", &format!("head\n{text}"), &mut Vec::new()));
        }
    }
}
