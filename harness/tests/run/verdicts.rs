//! The main job on the real server: the honest one is acquitted, the guilty one accused of what it did, and of nothing else.

use crate::bench::{Bench, json};

#[test]
fn the_honest_server_is_acquitted_and_the_positive_control_is_found() {
    let bench = Bench::new();
    let ended = bench.run(&["run", bench.profile(&[]).to_str().unwrap()]);
    ended.expect_code(0);
    assert!(
        ended.stdout.starts_with("NO LEAK above"),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stdout.contains("positive control was found"),
        "{}",
        ended.stdout
    );
}

#[test]
fn sessions_that_never_expire_are_a_leak_per_session_of_the_size_that_the_server_states() {
    let bench = Bench::new();
    let profile = bench.profile(&[]);
    bench
        .run(&[
            "run",
            profile.to_str().unwrap(),
            "--defect",
            "session-never-expires",
        ])
        .expect_code(10);
    let run = bench.run_directory();
    let (findings, manifest) = (json(&run, "findings.json"), json(&run, "manifest.json"));
    let leaks: Vec<_> = findings["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["verdict"] == "leak" && finding["signal"] == "allocated")
        .collect();
    assert_eq!(leaks.len(), 1, "{findings:#}");
    assert_eq!(leaks[0]["factor"], "session");
    let stated = manifest["target"]["status_at_end"]["defects"][0]["bytes_per_unit"]
        .as_f64()
        .unwrap();
    let (low, high) = (
        leaks[0]["low"].as_f64().unwrap(),
        leaks[0]["high"].as_f64().unwrap(),
    );
    assert!(
        (low..=high).contains(&stated),
        "{stated} is not within {low} … {high}"
    );
    assert!(
        findings["findings"]
            .as_array()
            .unwrap()
            .iter()
            .any(|finding| finding["verdict"] == "not-cleaned-up"),
        "{findings:#}"
    );
}

#[test]
fn a_leak_on_rst_is_not_blamed_on_fin() {
    let bench = Bench::new();
    let profile = bench.profile(&[]);
    bench
        .run(&["run", profile.to_str().unwrap(), "--defect", "leak-on-rst"])
        .expect_code(10);
    let findings = json(&bench.run_directory(), "findings.json");
    let accused: Vec<_> = findings["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["verdict"] == "leak")
        .filter(|finding| finding["signal"] == "allocated")
        .map(|finding| finding["factor"].as_str().unwrap())
        .collect();
    assert_eq!(accused, ["rst"], "{findings:#}");
}

#[test]
fn a_recording_judged_again_gives_the_same_bytes() {
    let bench = Bench::new();
    let profile = bench.profile(&[("cycles = 12", "cycles = 6")]);
    bench.run(&["run", profile.to_str().unwrap()]);
    let run = bench.run_directory();
    let first = std::fs::read(run.join("findings.json")).unwrap();
    bench.run(&["diagnose", run.to_str().unwrap()]);
    assert_eq!(std::fs::read(run.join("findings.json")).unwrap(), first);
}
