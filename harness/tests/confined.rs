//! A target under a memory limit: real processes, held by a control group or by the limit of each process, as this machine allows.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use sse_soak::{
    target::{Launch, Life, Target},
    timeline::Clock,
    units::ByteSize,
};

const LIMIT: ByteSize = ByteSize(64 << 20);

fn launch(folder: &tempfile::TempDir, takes_mebibytes: u32) -> Target {
    let code = format!(
        "import time\nx = bytearray({takes_mebibytes} << 20)\nfor i in range(0, len(x), 4096): x[i] = 1\ntime.sleep(600)"
    );
    let launch = Launch {
        command: vec!["python3".into(), "-c".into(), code],
        env: vec![],
        dir: None,
        log: folder.path().join("target.log"),
        log_limit: ByteSize(1 << 20),
        memory_limit: Some(LIMIT),
        huge_pages: false,
    };
    Target::launch(&launch).unwrap()
}

/// How it is, once it has ended or the time is over.
#[expect(
    clippy::disallowed_methods,
    reason = "waits for a process, with a deadline"
)]
fn ends_within(target: &mut Target, patience: Duration) -> Life {
    let clock = Clock::start();
    loop {
        let life = target.alive();
        if life.has_ended() || clock.now().0 > patience {
            return life;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_target_that_takes_more_than_its_limit_ends_and_one_that_does_not_lives() {
    let folder = tempfile::tempdir().unwrap();
    let mut modest = launch(&folder, 10);
    let words = modest.confinement().unwrap();
    assert!(words.contains("64.0 MiB"), "{words}");
    assert_eq!(
        ends_within(&mut modest, Duration::from_secs(3)),
        Life::Running,
        "{}",
        modest.last_lines()
    );
    modest.stop(Duration::from_secs(5));

    let folder = tempfile::tempdir().unwrap();
    let mut greedy = launch(&folder, 200);
    match ends_within(&mut greedy, Duration::from_secs(60)) {
        Life::Killed { signal: 9, .. } => {} // by the group's limit
        Life::Exited(1) => {
            let said = greedy.last_lines(); // by the limit of the process
            assert!(said.contains("MemoryError"), "{said}");
        }
        other => panic!("the greedy one {other} ({words})"),
    }
}

#[test]
fn the_group_goes_with_the_target() {
    let folder = tempfile::tempdir().unwrap();
    let target = launch(&folder, 1);
    let pid = target.pid().unwrap();
    let own = || std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let clock = Clock::start();
    let is_in = || {
        own()
            .lines()
            .find(|line| line.contains("sse-soak-"))
            .map(str::to_owned)
    };
    while is_in().is_none() && clock.now().0 < Duration::from_secs(5) {
        std::thread::yield_now();
    }
    let Some(line) = is_in() else {
        println!(
            "SKIPPED: no control group can be made here ({})",
            target.confinement().unwrap()
        );
        return;
    };
    let name = line.rsplit('/').next().unwrap().to_owned();
    target.stop(Duration::from_secs(5));
    let left = std::process::Command::new("find")
        .args(["/sys/fs/cgroup", "-maxdepth", "6", "-name", &name])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
}
