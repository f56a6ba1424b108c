//! Every way in which a run ends before its time: nothing is lost, nothing is left behind, and the report says what happened.

use rustix::process::{Signal, kill_process};

use crate::bench::{Bench, expect_gone, json, rows, target_pid, wait_for_samples};

#[test]
fn ctrl_c_ends_in_good_order_with_a_report_of_what_is_known() {
    let bench = Bench::new();
    let profile = bench.profile(&[]);
    let running = bench.start(&["run", profile.to_str().unwrap()]);
    let run = bench.run_directory();
    wait_for_samples(&run, 10);
    let target = target_pid(&run);
    running.signal(Signal::INT);
    let ended = running.wait();
    ended.expect_code(12);
    assert!(
        ended.stdout.contains("the run was interrupted"),
        "{}",
        ended.stdout
    );
    assert_eq!(
        json(&run, "manifest.json")["ended"]["reason"],
        "interrupted"
    );
    assert_eq!(json(&run, "findings.json")["exit_code"], 12);
    expect_gone(target);
}

#[test]
fn a_second_ctrl_c_stops_at_once_and_leaves_no_process_behind() {
    let bench = Bench::new();
    // A target that takes its time to go: only the second Ctrl-C gets rid of it.
    let profile = bench.profile(&[(
        "\"--log-level=warn\",",
        "\"--log-level=warn\", \"--drain-timeout=60s\",",
    )]);
    let running = bench.start(&["run", profile.to_str().unwrap()]);
    let run = bench.run_directory();
    wait_for_samples(&run, 10);
    let target = target_pid(&run);
    running.signal(Signal::INT);
    running.signal(Signal::TERM);
    let ended = running.wait();
    assert!(matches!(ended.code(), Some(12 | 130)), "{:?}", ended.status);
    expect_gone(target);
}

#[test]
fn a_killed_harness_leaves_a_readable_recording_and_no_target() {
    let bench = Bench::new();
    let profile = bench.profile(&[]);
    let running = bench.start(&["run", profile.to_str().unwrap()]);
    let run = bench.run_directory();
    wait_for_samples(&run, 20);
    let target = target_pid(&run);
    running.signal(Signal::KILL);
    running.wait();
    expect_gone(target);
    assert!(rows(&run, "samples.csv") >= 20);
    let judged = bench.run(&["diagnose", run.to_str().unwrap()]);
    judged.expect_code(12);
    assert!(judged.stdout.contains("cut short"), "{}", judged.stdout);
}

#[test]
fn a_target_that_dies_is_the_verdict() {
    let bench = Bench::new();
    let profile = bench.profile(&[]);
    let running = bench.start(&["run", profile.to_str().unwrap()]);
    let run = bench.run_directory();
    wait_for_samples(&run, 10);
    kill_process(target_pid(&run), Signal::KILL).unwrap();
    let ended = running.wait();
    ended.expect_code(20);
    assert!(
        ended.stdout.contains("killed by signal 9"),
        "{}",
        ended.stdout
    );
    assert_eq!(json(&run, "findings.json")["verdict"], "target-died");
}

#[test]
fn a_target_that_exits_in_warm_up_shows_its_last_words() {
    let bench = Bench::new();
    let profile = bench.profile(&[("\"--log-level=warn\",", "\"--log-level=loud\",")]);
    bench
        .run(&["run", profile.to_str().unwrap()])
        .expect_code(20)
        .expect_complaint(&["exited with status 2", "`loud`"]);
    assert_eq!(
        json(&bench.run_directory(), "manifest.json")["ended"]["reason"],
        "failed"
    );
}

#[test]
fn a_full_disk_ends_the_run_with_one_sentence_and_keeps_what_was_written() {
    let bench = Bench::new();
    let profile = bench.profile(&[]);
    let small = bench.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let Some(_mounted) = Tmpfs::mount(&small) else {
        println!("skipped: mounting a small tmpfs needs privileges");
        return;
    };
    let ended = bench.run(&[
        "run",
        profile.to_str().unwrap(),
        "--out",
        small.to_str().unwrap(),
    ]);
    ended
        .expect_code(1)
        .expect_complaint(&["cannot write", "No space left on device"]);
    let run = std::fs::read_dir(&small)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    bench.run(&["diagnose", run.to_str().unwrap()]);
    assert!(rows(&run, "samples.csv") > 0);
}

/// A file system of 64 KiB, unmounted when dropped.
struct Tmpfs(std::path::PathBuf);

impl Tmpfs {
    fn mount(at: &std::path::Path) -> Option<Self> {
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(at)
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then(|| Self(at.into()))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status()
            .ok();
    }
}
