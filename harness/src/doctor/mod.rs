//! Doctor: what this machine, and a target that runs on it, allow; what each limit costs a measurement, and how to lift it.
//!
//! In: files of the kernel below a root folder (`/`, but for tests), and perhaps a pid. Out: [`Check`]s. Start at [`examine`]; [`allocator`]
//! tells whose malloc a process runs. Nothing is changed and nothing is loaded, but for one thing: whether a private network can be made is
//! only known by making one, so [`private_network`] comes last and leaves the process in it.
//! Never decides about a leak.

pub mod allocator;
mod machine;
mod target;

use serde::Serialize;

use crate::{drive, isolate};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nothing stands in the way.
    Fine,
    /// It costs something: the check says what.
    Limits,
    /// It could not be found out.
    Unknown,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub what: &'static str,
    /// How it came out.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What that costs; empty if nothing.
    pub limits: String,
    /// How to lift it; empty if it need not be.
    pub lift: String,
}

impl Check {
    fn fine(what: &'static str, found: impl Into<String>) -> Self {
        Self {
            what,
            state: State::Fine,
            found: found.into(),
            limits: String::new(),
            lift: String::new(),
        }
    }

    fn limits(
        what: &'static str,
        found: impl Into<String>,
        limits: impl Into<String>,
        lift: impl Into<String>,
    ) -> Self {
        Self {
            state: State::Limits,
            limits: limits.into(),
            lift: lift.into(),
            ..Self::fine(what, found)
        }
    }

    fn unknown(what: &'static str, why: impl Into<String>) -> Self {
        Self {
            state: State::Unknown,
            ..Self::fine(what, why)
        }
    }
}

/// Looks at the machine and, if a pid is given, at that process.
pub fn examine(pid: Option<u32>) -> Vec<Check> {
    let mut checks = machine::checks(&machine::Machine::here());
    checks.push(vanishing());
    if let Some(pid) = pid {
        checks.extend(target::checks(pid));
    }
    checks
}

fn vanishing() -> Check {
    match drive::can_vanish() {
        Ok(()) => Check::fine("vanish", "clients can vanish without FIN or RST"),
        Err(error) => Check::limits(
            "vanish",
            format!("refused ({error})"),
            "the leave mode `vanish` cannot be played here",
            "be root (CAP_NET_ADMIN), or use --isolate",
        ),
    }
}

/// Whether a private network can be made: by making one. The process is in it from then on.
pub fn private_network() -> Check {
    match isolate::enter() {
        Ok(isolated) => Check::fine("namespaces", format!("--isolate works: {isolated}")),
        Err(error) => Check::limits(
            "namespaces",
            format!("--isolate does not work: {error}"),
            "a reader who stalls stays invisible behind 4 MB of kernel buffers",
            "be root, or allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0, user.max_user_namespaces=10000)",
        ),
    }
}
