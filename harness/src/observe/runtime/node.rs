//! Node: its inspector, opened by SIGUSR1 where it is not open yet, is asked for a collection and for `process.memoryUsage()`.
//!
//! Only a process whose program is Node *and* that catches SIGUSR1 is sent one: any other would die of it. The inspector listens on
//! loopback only; it stays open as long as the process runs, since Node has no signal to close it.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{
    Deadline, RuntimeError, RuntimeHeap, is_there, pause,
    websocket::{WebSocket, read_head},
};
use crate::target::{proc, tcp_table};

/// Put into the environment of a target that we start: an inspector that is woken chooses its port. On the usual one, a second
/// process finds it taken.
pub const NODE_OPTIONS: (&str, &str) = ("NODE_OPTIONS", "--inspect-port=127.0.0.1:0");

/// An inspector that was woken listens within this, or does not at all.
const WAKES_WITHIN: Duration = Duration::from_secs(3);
/// On a server without clients, one in three collections meets a compiler at work: after eight, one in some thousands is misled.
const MOST_COLLECTIONS: u32 = 8;
/// No further collection is begun after this: on a large heap each takes long, and 256 KB matter less.
const ENOUGH: Duration = Duration::from_millis(400);
/// A target list is some 700 bytes.
const LONGEST_LIST: u64 = 64 << 10;
/// What lies outside V8's heap counts too: buffers, and what they point to.
const USAGE: &str = "(({ heapUsed, external }) => ({ heapUsed, external }))(process.memoryUsage())";

/// Open inspectors, by process.
#[derive(Debug)]
pub(super) struct NodeLines {
    lines: BTreeMap<u32, Inspector>,
    /// The port under test: asking there would be load.
    served: u16,
}

#[derive(Debug)]
struct Inspector {
    socket: WebSocket,
    asked: u64,
}

impl NodeLines {
    pub(super) const fn beside(served: u16) -> Self {
        Self {
            lines: BTreeMap::new(),
            served,
        }
    }

    /// Asks every one of these processes.
    pub(super) fn settle(
        &mut self,
        pids: &[u32],
        deadline: Deadline<'_>,
    ) -> Result<RuntimeHeap, RuntimeError> {
        self.lines.retain(|pid, _| pids.contains(pid));
        let mut sum = RuntimeHeap::default();
        for &pid in pids {
            let begun = deadline.clock.now();
            let asked = self.ask(pid, deadline);
            let live_bytes = match asked {
                Ok(bytes) => bytes,
                Err(_) if !is_there(pid) => continue,
                Err(error) => {
                    self.lines.remove(&pid); // a late answer must not be taken for the next one
                    let why = error.to_string();
                    return Err(RuntimeError::Inspector { pid, why });
                }
            };
            sum.live_bytes += live_bytes;
            sum.processes += 1;
            sum.took = sum.took.max(deadline.clock.now().since(begun));
        }
        Ok(sum)
    }

    fn ask(&mut self, pid: u32, deadline: Deadline<'_>) -> io::Result<u64> {
        let inspector = match self.lines.entry(pid) {
            std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(Inspector::open(pid, self.served, deadline)?)
            }
        };
        inspector.settled_bytes(deadline)
    }
}

impl Inspector {
    fn open(pid: u32, served: u16, deadline: Deadline<'_>) -> io::Result<Self> {
        let (addr, path) = match listening(pid, served, deadline) {
            Some(open) => open,
            None => wake(pid, served, deadline)?,
        };
        Ok(Self {
            socket: WebSocket::connect(addr, &path, deadline.left())?,
            asked: 0,
        })
    }

    /// The least of several collections: what finalisers let go of is gone after the second, and the page (256 KB) that a compiler
    /// thread has just taken counts as used, until it gives it back.
    fn settled_bytes(&mut self, deadline: Deadline<'_>) -> io::Result<u64> {
        let patience = deadline.clock.now() + ENOUGH;
        let mut least = self.collected_bytes(deadline)?;
        for number in 1..MOST_COLLECTIONS {
            if number > 1 && deadline.clock.now() >= patience {
                break;
            }
            least = least.min(self.collected_bytes(deadline)?);
        }
        Ok(least)
    }

    fn collected_bytes(&mut self, deadline: Deadline<'_>) -> io::Result<u64> {
        self.call("HeapProfiler.collectGarbage", json!({}), deadline)?;
        let asked = json!({ "expression": USAGE, "returnByValue": true, "silent": true });
        let answer = self.call("Runtime.evaluate", asked, deadline)?;
        let size = |name: &str| answer.pointer(&format!("/result/value/{name}"))?.as_u64();
        size("heapUsed")
            .zip(size("external"))
            .map(|(used, external)| used + external)
            .ok_or_else(|| io::Error::other("it told no sizes"))
    }

    /// Asks, and skips what the inspector tells unasked.
    fn call(&mut self, method: &str, params: Value, deadline: Deadline<'_>) -> io::Result<Value> {
        self.asked += 1;
        let id = self.asked;
        self.socket.set_patience(deadline.left())?;
        let asked = json!({ "id": id, "method": method, "params": params });
        self.socket.send(&asked.to_string())?;
        while !deadline.is_over() {
            let message = self.socket.receive()?;
            let mut message: Value = serde_json::from_str(&message).map_err(io::Error::other)?;
            if message["id"].as_u64() != Some(id) {
                continue;
            }
            if let Some(refused) = message.pointer("/error/message") {
                return Err(io::Error::other(format!("{method}: {refused}")));
            }
            return Ok(message["result"].take());
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

/// Asks a Node process to open its inspector, and waits for it.
fn wake(pid: u32, served: u16, deadline: Deadline<'_>) -> io::Result<(SocketAddr, String)> {
    if !catches_usr1(pid) {
        return Err(io::Error::other(
            "it does not catch SIGUSR1 (start it with --inspect=127.0.0.1:0)",
        ));
    }
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let raw = raw.ok_or(io::ErrorKind::InvalidInput)?;
    kill_process(raw, Signal::USR1)?;
    let until = deadline.clock.now() + WAKES_WITHIN;
    while deadline.clock.now() < until {
        if let Some(open) = listening(pid, served, deadline) {
            return Ok(open);
        }
        pause(Duration::from_millis(20));
    }
    Err(io::Error::other(
        "it did not open after SIGUSR1 (is another process's inspector on its port?)",
    ))
}

/// Whether the process has a handler for SIGUSR1, by the kernel's word.
fn catches_usr1(pid: u32) -> bool {
    const USR1: u64 = 1 << (10 - 1);
    let caught = |status: &str| {
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    };
    let status = proc::read(pid, "status").unwrap_or_default();
    caught(&status).is_some_and(|mask| mask & USR1 != 0)
}

/// Address and path of the inspector that this process has open.
fn listening(pid: u32, served: u16, deadline: Deadline<'_>) -> Option<(SocketAddr, String)> {
    let rows = tcp_table::read(pid).ok()?;
    let own = |row: &&tcp_table::TcpRow| {
        row.state == tcp_table::LISTEN
            && row.local_port != served
            && proc::holds_socket(pid, &[row.inode]) == Some(true)
    };
    let mut ports = rows.iter().filter(own).map(|row| row.local_port);
    ports.find_map(|port| {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Some((addr, inspector_at(addr, deadline)?))
    })
}

/// The path of the inspector there, if there is one. Another port of the target may be asked: it answers something that is no list.
fn inspector_at(addr: SocketAddr, deadline: Deadline<'_>) -> Option<String> {
    let within = deadline.left().min(Duration::from_millis(500));
    let list = ask_for_the_list(addr, within).ok()?;
    let list: Value = serde_json::from_str(&list).ok()?;
    let url = list.pointer("/0/webSocketDebuggerUrl")?.as_str()?;
    let path = url.strip_prefix("ws://")?.split_once('/')?.1;
    Some(format!("/{path}"))
}

fn ask_for_the_list(addr: SocketAddr, within: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&addr, within)?;
    stream.set_read_timeout(Some(within))?;
    write!(
        stream,
        "GET /json/list HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n"
    )?;
    let head = read_head(&mut stream)?.to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|length| length.trim().parse().ok())
        .unwrap_or(LONGEST_LIST);
    let mut list = String::new();
    stream
        .take(length.min(LONGEST_LIST))
        .read_to_string(&mut list)?;
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_would_die_of_the_signal_is_not_sent_it() {
        assert!(!catches_usr1(std::process::id()));
        assert!(!catches_usr1(u32::MAX), "nobody has this number");
    }
}
