//! One process that is to be measured.

use std::path::Path;

use super::{
    Check,
    allocator::{self, Allocator, Runtime},
};
use crate::{
    target::{
        Family,
        cgroup::{Cgroup, MOUNT},
        proc,
    },
    units::{bytes, grouped},
};

pub(super) fn checks(pid: u32) -> Vec<Check> {
    let Ok(family) = Family::of(pid) else {
        return vec![Check::limits(
            "target",
            format!("there is no process {pid}"),
            "nothing can be measured",
            "give the pid of the server (or of its supervisor) as this machine sees it",
        )];
    };
    let processes = family.alive().count();
    let mut checks = vec![
        readable(pid, processes),
        heap(pid),
        descriptors(pid),
        huge_pages(pid),
        network(pid),
        limit(pid),
    ];
    checks.extend(runtime(pid));
    checks
}

fn readable(pid: u32, processes: usize) -> Check {
    match proc::read(pid, "smaps_rollup") {
        Ok(_) => Check::fine(
            "target",
            format!("process {pid} and what it started, {processes} in all, can be read"),
        ),
        Err(error) => Check::limits(
            "target",
            error.to_string(),
            "only what is public is known of it: no proportional sizes, no descriptors",
            "run sse-soak as the same user, or as root",
        ),
    }
}

fn heap(pid: u32) -> Check {
    let what = "allocator";
    let heap = match allocator::of(pid) {
        Ok(heap) => heap,
        Err(error) => return Check::unknown(what, error.to_string()),
    };
    let found = heap.allocator.to_string();
    match heap.allocator {
        Allocator::Glibc => Check::limits(
            what,
            found,
            "gives little back after many closes: resident memory rises to a high-water mark and stays, which is retention and no leak; longer runs are needed to tell",
            "MALLOC_ARENA_MAX=2 MALLOC_TRIM_THRESHOLD_=131072, or LD_PRELOAD=libjemalloc.so.2, in the target's environment",
        ),
        Allocator::Musl => Check::limits(
            what,
            found,
            "no statistics: resident memory is all there is",
            "LD_PRELOAD a jemalloc built for musl, or judge longer",
        ),
        Allocator::Mimalloc | Allocator::Tcmalloc => Check::limits(
            what,
            found,
            "keeps freed pages for a while: give readings time to settle",
            "MIMALLOC_PURGE_DELAY=0 or TCMALLOC_RELEASE_RATE=10 in the target's environment",
        ),
        Allocator::Jemalloc => Check::fine(
            what,
            format!(
                "{found}; with the admin contract (GET /v1/status, POST /v1/heap/settle) it is judged to a few bytes"
            ),
        ),
        Allocator::Unknown => Check::unknown(what, found),
    }
}

/// What the runtime does to readings; nothing, if it is none.
fn runtime(pid: u32) -> Option<Check> {
    let runtime = allocator::of(pid).ok()?.runtime;
    let what = "runtime";
    let found = runtime.to_string();
    let (limits, lift) = match runtime {
        Runtime::Native => return None,
        Runtime::Python => (
            "cycles wait for the collector, and arenas keep pages",
            "readings after gc.collect(); longer cycles",
        ),
        Runtime::Node => (
            "the heap grows until V8 collects: clean servers look like 60 KB per connection at first",
            "start it with --expose-gc or --inspect so that it can be asked to collect; prime it longer",
        ),
        Runtime::Go => (
            "freed pages go back late; the heap doubles before it is collected",
            "import net/http/pprof; GODEBUG=madvdontneed=1, GOGC=50",
        ),
        Runtime::Java => (
            "resident memory is the heap's size, not what lives in it",
            "jcmd PID GC.run before a reading; -Xmx near the working set",
        ),
    };
    Some(Check::limits(what, found, limits, lift))
}

fn descriptors(pid: u32) -> Check {
    let what = "its descriptors";
    let text = proc::read(pid, "limits").unwrap_or_default();
    let row = text.lines().find(|line| line.starts_with("Max open files"));
    let limit = row.and_then(|row| row.split_whitespace().nth(3)?.parse::<i64>().ok());
    match limit {
        None => Check::unknown(what, "no limit was read"),
        Some(limit) if limit >= 10_000 => Check::fine(what, grouped(limit)),
        Some(limit) => Check::limits(
            what,
            grouped(limit),
            "the target refuses connections beyond that: errors of its limit, not of its code",
            "ulimit -n 65536 before it starts, or LimitNOFILE= of its unit",
        ),
    }
}

fn huge_pages(pid: u32) -> Check {
    let what = "its huge pages";
    let status = proc::read(pid, "status").unwrap_or_default();
    let row = status
        .lines()
        .find_map(|line| line.strip_prefix("THP_enabled:"));
    let rollup = proc::read(pid, "smaps_rollup").unwrap_or_default();
    let used = rollup.lines().find_map(|line| {
        let kib = line
            .strip_prefix("AnonHugePages:")?
            .split_whitespace()
            .next()?;
        kib.parse::<f64>().ok()
    });
    match (row.map(str::trim), used) {
        (_, Some(used)) if used > 0.0 => Check::limits(
            what,
            format!("{} of its memory", bytes(used * 1024.0)),
            "memory grows in steps of 2 MiB: small leaks per connection hide",
            "let us start the target, or prctl(PR_SET_THP_DISABLE) before it starts",
        ),
        (Some("0"), _) => Check::fine(what, "switched off for it"),
        (_, Some(_)) => Check::fine(what, "none in use"),
        (_, None) => Check::unknown(what, "not readable"),
    }
}

fn network(pid: u32) -> Check {
    let what = "its network";
    let link = |who: &str| std::fs::read_link(Path::new("/proc").join(who).join("ns/net"));
    match (link(&pid.to_string()), link("self")) {
        (Ok(its), Ok(ours)) if its == ours => Check::fine(what, "the same as ours"),
        (Ok(_), Ok(_)) => Check::limits(
            what,
            "another network namespace (a container?)",
            "its sockets cannot be told apart by how their clients left",
            "run sse-soak in it: nsenter --net --target PID, or in the same pod",
        ),
        _ => Check::unknown(what, "not readable"),
    }
}

fn limit(pid: u32) -> Check {
    let what = "its memory limit";
    let charged = Cgroup::of(pid, Path::new(MOUNT)).and_then(|group| group.charged());
    match charged {
        Err(error) => Check::unknown(what, error.to_string()),
        Ok(charged) => match charged.limit_bytes {
            Some(limit) => Check::fine(what, bytes(limit as f64)),
            None => Check::limits(
                what,
                "none: its control group has no limit",
                "a step load cannot stop for the target's memory, and forecasts aim at the machine's",
                "limit = \"512 MiB\" in [run.steps] or [forecast], or run it in a group with a limit",
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn a_process_that_is_not_there_is_said_and_nothing_else() {
        let checks = checks(999_999_999);
        assert_eq!(checks.len(), 1);
        assert!(checks[0].found.contains("no process 999999999"));
    }

    #[test]
    fn our_own_process_is_readable_and_every_limit_has_a_way_to_lift_it() {
        let checks = checks(std::process::id());
        assert_eq!(checks[0].state, State::Fine, "{:?}", checks[0]);
        for check in checks {
            let has_cost = !check.limits.is_empty() && !check.lift.is_empty();
            assert_eq!(has_cost, check.state == State::Limits, "{check:?}");
        }
    }
}
