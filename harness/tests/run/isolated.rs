//! A run in a private network: it works like any other, and the recording says where it was.

use rustix::process::Signal;

use crate::bench::{Bench, expect_gone, json, target_pid, wait_for_samples};

#[test]
fn an_isolated_run_says_so_in_its_events_its_manifest_and_its_report() {
    let bench = Bench::new();
    for (profile, flag) in [
        (bench.profile(&[]), Some("--isolate")),
        (
            bench.profile(&[("[target]", "[target]\nisolate = true")]),
            None,
        ),
    ] {
        let arguments = [Some("run"), profile.to_str(), Some("--out=results"), flag];
        let arguments: Vec<&str> = arguments.into_iter().flatten().collect();
        let mut running = bench.start(&arguments);
        if running.has_ended_saying("needs a network namespace") {
            println!("skipped: no network namespaces here");
            return;
        }
        let run = bench.run_directory();
        wait_for_samples(&run, 10);
        let target = target_pid(&run);
        running.signal(Signal::INT);
        let ended = running.wait();
        ended.expect_code(12);
        let manifest = json(&run, "manifest.json");
        assert_eq!(manifest["host"]["tcp_wmem"], "4096 16384 65536");
        let isolated = manifest["host"]["isolated"].as_str().unwrap();
        assert!(
            isolated.starts_with("private network namespace"),
            "{isolated}"
        );
        let events = std::fs::read_to_string(run.join("events.csv")).unwrap();
        assert!(events.contains(",note,"), "{events}");
        for said in ["private network namespace", "4096 16384 65536"] {
            assert!(events.contains(said), "{events}");
            assert!(ended.stdout.contains(said), "{}", ended.stdout);
        }
        expect_gone(target);
        std::fs::remove_dir_all(bench.path().join("results")).unwrap();
    }
}

#[test]
fn a_target_that_runs_already_cannot_be_isolated() {
    let bench = Bench::new();
    let profile = bench.profile(&[]);
    let ended = bench.run(&[
        "run",
        profile.to_str().unwrap(),
        "--isolate",
        "--url=http://127.0.0.1:1",
    ]);
    ended.expect_code(2);
    ended.expect_complaint(&["--isolate needs a target that we start"]);
}
