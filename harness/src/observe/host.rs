//! The machine, the target's control group, and the harness itself. None of it is the target's own memory.

use std::{path::Path, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use sysinfo::System;

use super::{
    error::sentence,
    look::Purpose,
    memory::Status,
    sample::{Host, Own},
};
use crate::target::{
    cgroup::{Cgroup, MOUNT},
    proc::{ProcError, Stat, Ticks},
};

/// Looks at the machine again and again.
#[derive(Debug)]
pub(super) struct HostWatch {
    /// `None` where `sysinfo` does not work; said once.
    system: Option<System>,
    cgroup: Option<Cgroup>,
    /// What could not be set up, for the first sample.
    first_gaps: Vec<String>,
    cpu_seen: bool,
}

impl HostWatch {
    pub(super) fn of(target: Option<u32>) -> Self {
        let mut first_gaps = Vec::new();
        let system = System::new()
            .inspect_err(|error| first_gaps.push(format!("no facts about the machine: {error}")));
        let cgroup = target
            .map(|pid| Cgroup::of(pid, Path::new(MOUNT)))
            .and_then(|found| {
                found
                    .inspect_err(|error| first_gaps.push(sentence(error)))
                    .ok()
            });
        Self {
            system: system.ok(),
            cgroup,
            first_gaps,
            cpu_seen: false,
        }
    }

    /// Memory and control group. A sample also closes one stretch of idle time and begins the next, and is the place for what is said
    /// once.
    pub(super) fn look(&mut self, purpose: Purpose, gaps: &mut Vec<String>) -> Host {
        let is_sample = purpose == Purpose::Sample;
        if is_sample {
            gaps.append(&mut self.first_gaps);
        }
        let mut host = Host::default();
        if let Some(system) = &mut self.system {
            system.refresh_memory();
            host.memory_total_bytes = Some(system.total_memory());
            host.memory_available_bytes = Some(system.available_memory());
            if is_sample {
                system.refresh_cpu_usage();
                let idle = 1.0 - f64::from(system.global_cpu_usage()) / 100.0;
                host.cpu_idle_share = self.cpu_seen.then_some(idle.clamp(0.0, 1.0));
                self.cpu_seen = true; // the first reading has nothing to be compared with
            }
        }
        if let Some(cgroup) = &self.cgroup {
            match cgroup.charged() {
                Ok(charged) => {
                    host.cgroup_bytes = charged.bytes;
                    host.cgroup_limit_bytes = charged.limit_bytes;
                    host.cgroup_socket_bytes = charged.socket_bytes;
                    host.cgroup_oom_kills_total = charged.oom_kills;
                }
                Err(error) => gaps.push(sentence(&error)),
            }
        }
        host
    }
}

/// The harness itself, all threads.
pub(super) fn own(gaps: &mut Vec<String>) -> Own {
    process(std::process::id(), gaps)
}

/// A process of the harness, all threads, and its children that have ended.
pub(super) fn process(pid: u32, gaps: &mut Vec<String>) -> Own {
    let mut noted = |error: &ProcError| gaps.push(sentence(error));
    Own {
        rss_bytes: Status::read(pid)
            .inspect_err(&mut noted)
            .ok()
            .map(|status| status.rss_bytes),
        cpu_seconds: Stat::read(pid)
            .inspect_err(&mut noted)
            .ok()
            .map(|stat| Ticks(stat.own_time.0 + stat.reaped_time.0).seconds()),
    }
}

/// Notices that the machine slept: the run's clock stands still then, and nothing else would tell.
#[derive(Debug)]
pub(super) struct SuspendWatch {
    asleep: Duration,
}

impl SuspendWatch {
    pub(super) fn start() -> Self {
        Self {
            asleep: asleep_since_boot(),
        }
    }

    /// What happened since the last look, if anything.
    pub(super) fn look(&mut self, gaps: &mut Vec<String>) {
        let asleep = asleep_since_boot();
        gaps.extend(slept(self.asleep, asleep));
        self.asleep = asleep;
    }
}

fn slept(before: Duration, now: Duration) -> Option<String> {
    const NOISE: Duration = Duration::from_millis(500); // the two clocks are read one after the other
    let length = now.saturating_sub(before);
    let whole = Duration::from_secs(length.as_secs().max(1));
    (length > NOISE).then(|| {
        format!(
            "the machine was suspended for {} before this look",
            humantime::format_duration(whole)
        )
    })
}

/// `CLOCK_BOOTTIME` runs on while the machine sleeps, `CLOCK_MONOTONIC` does not.
fn asleep_since_boot() -> Duration {
    let monotonic = clock_gettime(ClockId::Monotonic);
    let boot = clock_gettime(ClockId::Boottime);
    let duration = |spec: rustix::time::Timespec| {
        Duration::new(
            u64::try_from(spec.tv_sec).unwrap_or(0),
            u32::try_from(spec.tv_nsec).unwrap_or(0),
        )
    };
    duration(boot).saturating_sub(duration(monotonic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspend_is_said_and_the_reading_of_two_clocks_is_not() {
        let second = Duration::from_secs(1);
        assert_eq!(slept(second, second + Duration::from_millis(3)), None);
        assert_eq!(
            slept(second, second * 7201).as_deref(),
            Some("the machine was suspended for 2h before this look")
        );
    }

    #[test]
    fn the_machine_and_we_ourselves_are_seen() {
        let mut gaps = Vec::new();
        let mut watch = HostWatch::of(Some(std::process::id()));
        let first = watch.look(Purpose::Sample, &mut gaps);
        assert_eq!(first.cpu_idle_share, None, "nothing to compare with yet");
        let host = watch.look(Purpose::Poll, &mut gaps);
        assert!(host.memory_available_bytes <= host.memory_total_bytes);
        let own = own(&mut gaps);
        assert!(
            own.rss_bytes.is_some_and(|bytes| bytes > 1 << 20),
            "{own:?}"
        );
        assert!(own.rss_bytes < host.memory_total_bytes);
    }
}
