//! The machine: read from files below a root folder, so that every kernel can be a test.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::process::{Resource, getrlimit};

use super::Check;
use crate::{
    fleet::Room,
    units::{bytes, grouped},
};

/// Where facts about the machine are read.
pub(super) struct Machine {
    root: PathBuf,
    cores: usize,
    is_root: bool,
}

impl Machine {
    pub(super) fn here() -> Self {
        Self {
            root: "/".into(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            is_root: rustix::process::geteuid().is_root(),
        }
    }

    fn read(&self, file: &str) -> Option<String> {
        let text = fs::read_to_string(self.root.join(file)).ok()?;
        Some(text.trim().to_owned())
    }

    fn number(&self, file: &str) -> Option<f64> {
        self.read(file)?.split_whitespace().next()?.parse().ok()
    }

    fn exists(&self, file: &str) -> bool {
        Path::new(&self.root).join(file).exists()
    }
}

pub(super) fn checks(machine: &Machine) -> Vec<Check> {
    vec![
        quiet(machine),
        descriptors(),
        ports(machine),
        ptrace(machine),
        profiling(machine),
        cgroups(machine),
        huge_pages(machine),
        overcommit(machine),
        swap(machine),
        buffers(machine),
    ]
}

/// What else runs: noise in every reading of memory and time.
fn quiet(machine: &Machine) -> Check {
    let what = "quiet";
    let Some(load) = machine.number("proc/loadavg") else {
        return Check::unknown(what, "no load average");
    };
    let found = format!("load average {load:.1} on {} cores", machine.cores);
    if load < 0.5 * machine.cores as f64 {
        return Check::fine(what, found);
    }
    Check::limits(
        what,
        found,
        "times are longer and bounds wider than on a quiet machine; a step load may find the machine's knee instead of the target's",
        "stop what else runs, or run the load elsewhere",
    )
}

fn descriptors() -> Check {
    let limit = getrlimit(Resource::Nofile);
    let number = |limit: Option<u64>| {
        limit.map_or_else(
            || "no limit".into(),
            |limit| grouped(i64::try_from(limit).unwrap_or(i64::MAX)),
        )
    };
    let room = Room::now();
    let found = format!(
        "{} here, up to {}: {} streams in one process, {} in a worker",
        number(limit.current),
        number(limit.maximum),
        number(Some(room.here)),
        number(Some(room.worker)),
    );
    if room.worker >= 10_000 {
        return Check::fine("descriptors", found);
    }
    Check::limits(
        "descriptors",
        found,
        "more streams need more worker processes, and the target inherits the limit when we start it",
        "workers = \"auto\" in the profile; ulimit -n 65536, or LimitNOFILE= of the unit",
    )
}

fn ports(machine: &Machine) -> Check {
    let text = machine.read("proc/sys/net/ipv4/ip_local_port_range");
    let bounds: Vec<u64> = text
        .iter()
        .flat_map(|text| text.split_whitespace())
        .flat_map(str::parse)
        .collect();
    let [first, last] = bounds[..] else {
        return Check::unknown("ports", "no range of local ports");
    };
    let count = last.saturating_sub(first) + 1;
    let found = format!(
        "{} from one address to one target, {first} to {last}",
        grouped(i64::try_from(count).unwrap_or(i64::MAX))
    );
    if count >= 20_000 {
        return Check::fine("ports", found);
    }
    Check::limits(
        "ports",
        found,
        "fewer streams than that at a time; closed ones block their port for a minute",
        "sysctl net.ipv4.ip_local_port_range=\"15000 64999\"; workers use several loopback addresses by themselves",
    )
}

fn ptrace(machine: &Machine) -> Check {
    let scope = machine.number("proc/sys/kernel/yama/ptrace_scope");
    let found = scope.map_or_else(
        || "no Yama: any process of the same user".into(),
        |scope| format!("ptrace_scope {scope:.0}"),
    );
    let is_free = match scope {
        None => true,
        Some(scope) if machine.is_root => scope < 3.0,
        Some(scope) => scope < 1.0,
    };
    if is_free {
        return Check::fine("ptrace", found);
    }
    Check::limits(
        "ptrace",
        found,
        "a debugger cannot ask a target that runs already to tidy up (malloc_trim); targets that we start are not affected",
        "sysctl kernel.yama.ptrace_scope=0, or be root",
    )
}

fn profiling(machine: &Machine) -> Check {
    let Some(level) = machine.number("proc/sys/kernel/perf_event_paranoid") else {
        return Check::unknown("perf", "no perf events in this kernel");
    };
    let found = format!("perf_event_paranoid {level:.0}");
    if machine.is_root || level < 2.0 {
        return Check::fine("perf", found);
    }
    Check::limits(
        "perf",
        found,
        "perf sees only what runs in user space of your own processes; verdicts do not need it",
        "sysctl kernel.perf_event_paranoid=1, or be root",
    )
}

fn cgroups(machine: &Machine) -> Check {
    let what = "cgroups";
    let limit_of = |files: &[&str]| {
        let limits = files.iter().filter_map(|file| machine.number(file));
        limits.filter(|limit| *limit < 9e18).reduce(f64::min)
    };
    if machine.exists("sys/fs/cgroup/memory/memory.usage_in_bytes") {
        let own = limit_of(&["sys/fs/cgroup/memory/memory.limit_in_bytes"]);
        return Check::fine(what, format!("version 1, {}", limited(own)));
    }
    if machine.exists("sys/fs/cgroup/cgroup.controllers") {
        let memory = machine
            .read("sys/fs/cgroup/cgroup.controllers")
            .is_some_and(|names| names.split_whitespace().any(|name| name == "memory"));
        let own = limit_of(&["sys/fs/cgroup/memory.max"]);
        let found = format!("version 2, {}", limited(own));
        if memory {
            return Check::fine(what, found);
        }
        return Check::limits(
            what,
            format!("{found}, without the memory controller"),
            "the target's control group has no memory account: limits must be written in the profile",
            "boot with cgroup_enable=memory, or delegate the controller (systemd: Delegate=yes)",
        );
    }
    Check::limits(
        what,
        "none mounted at /sys/fs/cgroup",
        "no limit of the target's own is known, no kernel and socket share, no count of kills",
        "mount them, or write `limit` in the profile",
    )
}

fn limited(limit: Option<f64>) -> String {
    limit.map_or_else(
        || "no limit at the top of what we see".into(),
        |limit| format!("limit {}", bytes(limit)),
    )
}

fn huge_pages(machine: &Machine) -> Check {
    let what = "huge pages";
    let Some(text) = machine.read("sys/kernel/mm/transparent_hugepage/enabled") else {
        return Check::fine(what, "none in this kernel");
    };
    let chosen = text.split(['[', ']']).nth(1).unwrap_or("?").to_owned();
    if chosen != "always" {
        return Check::fine(what, chosen);
    }
    Check::limits(
        what,
        chosen,
        "a target that runs already grows in steps of 2 MiB and hides everything below some 8 KiB per connection; targets that we start have them off",
        "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled, or let us start the target",
    )
}

fn overcommit(machine: &Machine) -> Check {
    let what = "overcommit";
    match machine.number("proc/sys/vm/overcommit_memory") {
        None => Check::unknown(what, "not known"),
        Some(mode) if mode < 2.0 => Check::fine(what, format!("mode {mode:.0}")),
        Some(mode) => Check::limits(
            what,
            format!("mode {mode:.0} (strict)"),
            "allocations fail before memory is full; jemalloc gives pages back differently",
            "sysctl vm.overcommit_memory=0",
        ),
    }
}

fn swap(machine: &Machine) -> Check {
    let used = machine.read("proc/swaps").map_or(0.0, |text| {
        let rows = text.lines().skip(1);
        rows.filter_map(|row| row.split_whitespace().nth(3)?.parse::<f64>().ok())
            .sum()
    });
    if used < 1.0 {
        return Check::fine("swap", "nothing is swapped out");
    }
    Check::limits(
        "swap",
        format!("{} are in use", bytes(used * 1024.0)),
        "resident memory falls when pages are swapped out, which looks like a target that gives memory back",
        "swapoff -a for the length of the run, or judge by the allocator's account",
    )
}

/// How much the kernel takes from a stream that nobody reads.
fn buffers(machine: &Machine) -> Check {
    let text = machine.read("proc/sys/net/ipv4/tcp_wmem");
    let most = text.and_then(|text| text.split_whitespace().nth(2)?.parse::<f64>().ok());
    let Some(most) = most else {
        return Check::unknown("send buffers", "not known");
    };
    let found = format!("up to {} a stream", bytes(most));
    if most <= 262_144.0 {
        return Check::fine("send buffers", found);
    }
    Check::limits(
        "send buffers",
        found,
        "a reader who stalls is invisible to the target until they are full",
        "--isolate, or isolate = true in [target]",
    )
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    /// A machine with these files.
    fn machine(files: &[(&str, &str)], is_root: bool) -> (tempfile::TempDir, Machine) {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let machine = Machine {
            root: folder.path().into(),
            cores: 2,
            is_root,
        };
        (folder, machine)
    }

    /// A check, the file that it reads, what the file holds, and how it comes out.
    type Row = (fn(&Machine) -> Check, &'static str, &'static str, State);

    #[test]
    fn every_limit_is_seen_and_what_is_fine_is_not_complained_about() {
        const THP: &str = "sys/kernel/mm/transparent_hugepage/enabled";
        const PORTS: &str = "proc/sys/net/ipv4/ip_local_port_range";
        let rows: [Row; 16] = [
            (quiet, "proc/loadavg", "0.10 0.2 0.3 1/100 7\n", State::Fine),
            (
                quiet,
                "proc/loadavg",
                "3.90 0.2 0.3 1/100 7\n",
                State::Limits,
            ),
            (quiet, "proc/other", "", State::Unknown),
            (ports, PORTS, "32768\t60999\n", State::Fine),
            (ports, PORTS, "50000 50100", State::Limits),
            (ports, PORTS, "many", State::Unknown),
            (ptrace, "proc/none", "", State::Fine),
            (
                ptrace,
                "proc/sys/kernel/yama/ptrace_scope",
                "1\n",
                State::Limits,
            ),
            (
                profiling,
                "proc/sys/kernel/perf_event_paranoid",
                "4\n",
                State::Limits,
            ),
            (huge_pages, THP, "[always] madvise never\n", State::Limits),
            (huge_pages, THP, "always [madvise] never\n", State::Fine),
            (
                overcommit,
                "proc/sys/vm/overcommit_memory",
                "2",
                State::Limits,
            ),
            (
                swap,
                "proc/swaps",
                "Filename Type Size Used Priority\n/s file 100 7 -2\n",
                State::Limits,
            ),
            (
                swap,
                "proc/swaps",
                "Filename Type Size Used Priority\n",
                State::Fine,
            ),
            (
                buffers,
                "proc/sys/net/ipv4/tcp_wmem",
                "4096 16384 4194304",
                State::Limits,
            ),
            (
                buffers,
                "proc/sys/net/ipv4/tcp_wmem",
                "4096 16384 65536",
                State::Fine,
            ),
        ];
        for (check, file, text, state) in rows {
            let (_folder, machine) = machine(&[(file, text)], false);
            let found = check(&machine);
            assert_eq!(found.state, state, "{file} = {text:?}: {found:?}");
            assert_eq!(found.lift.is_empty(), state != State::Limits, "{found:?}");
        }
    }

    #[test]
    fn both_versions_of_control_groups_are_known_with_their_limit() {
        type Files<'a> = &'a [(&'a str, &'a str)];
        let rows: [(Files<'_>, State, &str); 4] = [
            (
                &[
                    ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1"),
                    (
                        "sys/fs/cgroup/memory/memory.limit_in_bytes",
                        "9223372036854771712",
                    ),
                ],
                State::Fine,
                "version 1, no limit",
            ),
            (
                &[
                    ("sys/fs/cgroup/cgroup.controllers", "cpu memory"),
                    ("sys/fs/cgroup/memory.max", "536870912"),
                ],
                State::Fine,
                "version 2, limit 512 MiB",
            ),
            (
                &[("sys/fs/cgroup/cgroup.controllers", "cpu")],
                State::Limits,
                "without the memory controller",
            ),
            (&[], State::Limits, "none mounted"),
        ];
        for (files, state, words) in rows {
            let (_folder, machine) = machine(files, false);
            let found = cgroups(&machine);
            assert_eq!(found.state, state, "{found:?}");
            assert!(found.found.contains(words), "{found:?}");
        }
    }

    #[test]
    fn root_may_trace_and_profile() {
        let files = [
            ("proc/sys/kernel/yama/ptrace_scope", "1"),
            ("proc/sys/kernel/perf_event_paranoid", "4"),
        ];
        let (_folder, machine) = machine(&files, true);
        for check in [ptrace(&machine), profiling(&machine)] {
            assert_eq!(check.state, State::Fine, "{check:?}");
        }
    }
}
