//! Finding a server that somebody else started.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, UdpSocket},
};

use super::{
    error::TargetError,
    family::Family,
    proc::{self, ProcError, ProcessId, Stat},
    tcp_table::{self, LISTEN},
};

/// The process tree below `pid`, if its memory is ours to read and it serves `addr`.
pub(super) fn family_serving(pid: u32, addr: SocketAddr) -> Result<Family, TargetError> {
    let family = Family::of(pid).map_err(|_| TargetError::NoSuchProcess { pid })?;
    if !family.root_is_alive() {
        return Err(TargetError::NoSuchProcess { pid });
    }
    if let Err(ProcError::Denied { .. }) = proc::read(pid, "smaps_rollup") {
        let owner = proc::owner(pid)?;
        return Err(TargetError::NotOurs { pid, owner });
    }
    match listens(&family, addr.port()) {
        Some(false) => Err(TargetError::NotListening {
            pid,
            port: addr.port(),
        }),
        Some(true) | None => Ok(family),
    }
}

/// Whether somebody of the family listens on the port. `None` if descriptors may not be read.
pub(super) fn listens(family: &Family, port: u16) -> Option<bool> {
    let inodes = listeners(family.root().pid, port)?;
    let answers: Vec<Option<bool>> = family
        .alive()
        .map(|id| proc::holds_socket(id.pid, &inodes))
        .collect();
    if answers.contains(&Some(true)) {
        return Some(true);
    }
    (!answers.contains(&None)).then_some(false)
}

/// Inodes of the sockets that listen on a port, in the network that a process lives in.
fn listeners(pid: u32, port: u16) -> Option<Vec<u64>> {
    let rows = tcp_table::read(pid).ok()?;
    let listening = |row: &&tcp_table::TcpRow| row.local_port == port && row.state == LISTEN;
    Some(rows.iter().filter(listening).map(|row| row.inode).collect())
}

/// The process that serves an address on this machine; the head of the tree if several share the socket. `None` if the address is
/// not local, or nobody whose descriptors we may read listens there.
pub(super) fn find_server(addr: SocketAddr) -> Result<Option<ProcessId>, TargetError> {
    if !is_local(addr) {
        return Ok(None);
    }
    let inodes = listeners(std::process::id(), addr.port()).unwrap_or_default();
    if inodes.is_empty() {
        return Ok(None);
    }
    let holders: BTreeMap<u32, Stat> = proc::pids()
        .into_iter()
        .filter(|pid| proc::holds_socket(*pid, &inodes) == Some(true))
        .filter_map(|pid| Some((pid, Stat::read(pid).ok()?)))
        .collect();
    match heads(&holders).as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        several => supervisor(&holders, several)
            .map(Some)
            .ok_or_else(|| TargetError::Ambiguous {
                port: addr.port(),
                pids: several.iter().map(|id| id.pid).collect(),
            }),
    }
}

/// Whether an address is one of this machine's: only then can a socket be bound to it.
pub(crate) fn is_local(addr: SocketAddr) -> bool {
    UdpSocket::bind((addr.ip(), 0)).is_ok()
}

/// Those of the holders whose parent does not hold the socket too.
fn heads(holders: &BTreeMap<u32, Stat>) -> Vec<ProcessId> {
    let is_head = |stat: &&Stat| !holders.contains_key(&stat.parent);
    holders
        .values()
        .filter(is_head)
        .map(|stat| stat.id)
        .collect()
}

/// Workers that each opened the port themselves (`SO_REUSEPORT`) have a supervisor: one parent, running the same program.
fn supervisor(holders: &BTreeMap<u32, Stat>, heads: &[ProcessId]) -> Option<ProcessId> {
    let mut parents = heads
        .iter()
        .filter_map(|id| Some(holders.get(&id.pid)?.parent));
    let parent = parents.next()?;
    let program = std::fs::read_link(format!("/proc/{parent}/exe")).ok()?;
    let same_program = |id: &ProcessId| {
        std::fs::read_link(format!("/proc/{}/exe", id.pid)).is_ok_and(|exe| exe == program)
    };
    let one_family = parents.all(|other| other == parent) && heads.iter().all(same_program);
    one_family.then(|| ProcessId::of(parent).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machines_addresses_are_local() {
        for (addr, local) in [
            ("127.0.0.1:80", true),
            ("127.0.0.9:80", true),
            ("0.0.0.0:80", true),
            ("192.0.2.1:80", false),
        ] {
            assert_eq!(is_local(addr.parse().unwrap()), local, "{addr}");
        }
    }

    #[test]
    fn the_head_is_the_one_whose_parent_does_not_listen() {
        let stat = |pid, parent| {
            let line = format!("{pid} (x) S {parent} 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5");
            (pid, Stat::parse(&line).unwrap())
        };
        let holders = BTreeMap::from([stat(10, 1), stat(11, 10), stat(12, 10)]);
        assert_eq!(heads(&holders).len(), 1);
        assert_eq!(heads(&holders)[0].pid, 10);
    }
}
