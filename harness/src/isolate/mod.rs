//! Isolate: a private network for target and load, so that a reader who stalls is felt by the server after tens of KB, not after 4 MB.
//!
//! In: a process that is still one thread. Out: the same process in a network namespace of its own, with loopback up and small send
//! buffers; or one sentence why not. Start at [`enter`]. Whatever is started afterwards (target, load, observer, admin) lives in there,
//! and the namespace goes with the last of them. Nothing outside is changed: the one setting that is written belongs to the namespace.
//! Price: nobody in there reaches anything outside, and nobody outside reaches them; only files and unix sockets by path stay shared.

mod loopback;

use std::{fmt, fs, io};

use rustix::{
    process::{getgid, getuid},
    thread::{UnshareFlags, unshare_unsafe},
};

/// Smallest, first and largest send buffer, bytes: the kernel of an unchanged server takes at most 64 KiB that nobody reads.
pub const SEND_BUFFER: &str = "4096 16384 65536";

/// Where the kernel keeps them; every network namespace has its own.
const TCP_WMEM: &str = "/proc/sys/net/ipv4/tcp_wmem";

/// Why there is no private network.
#[derive(Debug, thiserror::Error)]
pub enum IsolateError {
    /// The kernel, or whoever fences us in, allows neither of the two ways.
    #[error(
        "--isolate needs a network namespace: run it as root, or where users may make namespaces of their own \
         (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)"
    )]
    Refused(#[source] io::Error),
    /// A thread that stays outside would load or look at the wrong network.
    #[error(
        "a private network must be entered before the first thread is started, not with {0} of them"
    )]
    TooLate(usize),
    /// It was made, but cannot be used.
    #[error("cannot set up the private network: {what}")]
    Unusable {
        /// What did not work.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The private network that we are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isolated {
    way: Way,
}

/// What allowed us to make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// We may make namespaces.
    Privilege,
    /// Everyone may, in a user namespace of their own.
    OwnUsers,
}

impl fmt::Display for Isolated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.way {
            Way::Privilege => "made with privileges",
            Way::OwnUsers => "made rootless, in a user namespace",
        };
        write!(
            f,
            "private network namespace ({way}), tcp_wmem {SEND_BUFFER}"
        )
    }
}

/// Moves this process into a private network.
///
/// # Errors
/// See [`IsolateError`]. A process that failed half-way is fit for nothing but to say so.
pub fn enter() -> Result<Isolated, IsolateError> {
    // Only the thread that asks is moved; those that it starts later are born in there.
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads != 1 {
        return Err(IsolateError::TooLate(threads));
    }
    let way = leave_the_network()?;
    loopback::bring_up().map_err(|source| IsolateError::Unusable {
        what: "the loopback device does not come up".into(),
        source,
    })?;
    shrink_send_buffers()?;
    Ok(Isolated { way })
}

/// The send buffers of the network that we are in, as the kernel states them.
pub fn send_buffer() -> Option<String> {
    let text = fs::read_to_string(TCP_WMEM).ok()?;
    Some(text.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
}

fn leave_the_network() -> Result<Way, IsolateError> {
    if unshare(UnshareFlags::NEWNET).is_ok() {
        return Ok(Way::Privilege);
    }
    let (user, group) = (getuid().as_raw(), getgid().as_raw());
    unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET).map_err(IsolateError::Refused)?;
    // The target must see itself as who it is: some servers refuse to run as root. A group may only be mapped by who gave up setgroups.
    let write = |file: &str, text: String| {
        let path = format!("/proc/self/{file}");
        fs::write(&path, text).map_err(|source| IsolateError::Unusable {
            what: format!("cannot write {path}"),
            source,
        })
    };
    write("setgroups", "deny".into())?;
    write("uid_map", format!("{user} {user} 1"))?;
    write("gid_map", format!("{group} {group} 1"))?;
    Ok(Way::OwnUsers)
}

fn unshare(flags: UnshareFlags) -> io::Result<()> {
    debug_assert!(!flags.contains(UnshareFlags::FILES));
    #[expect(
        unsafe_code,
        reason = "the safe call is deprecated for flags that we do not use"
    )]
    // SAFETY: unsafe only because of FILES, which would tear the table of descriptors apart; it is not among the flags.
    unsafe { unshare_unsafe(flags) }?;
    Ok(())
}

/// Reads back what it wrote: under some fences a write is swallowed.
fn shrink_send_buffers() -> Result<(), IsolateError> {
    let unusable = |source| IsolateError::Unusable {
        what: format!("cannot write {TCP_WMEM}"),
        source,
    };
    fs::write(TCP_WMEM, SEND_BUFFER).map_err(unusable)?;
    match send_buffer() {
        Some(now) if now == SEND_BUFFER => Ok(()),
        now => Err(unusable(io::Error::other(format!(
            "it says {}",
            now.as_deref().unwrap_or("nothing")
        )))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_not_torn_apart() {
        let before = fs::read_link("/proc/self/ns/net").unwrap();
        let error = enter().unwrap_err(); // a test has its own thread
        assert!(
            matches!(error, IsolateError::TooLate(threads) if threads > 1),
            "{error}"
        );
        assert_eq!(fs::read_link("/proc/self/ns/net").unwrap(), before);
    }
}
