//! An assay that measures first and plans for a tolerance and a time, on the real server.

use std::{fs, path::Path};

use serde_json::Value;

use crate::bench::{Bench, json};

fn looks(manifest: &Value) -> Vec<u64> {
    let looks = manifest["plan"]["adaptive"]["looks"].as_array().unwrap();
    looks.iter().map(|look| look.as_u64().unwrap()).collect()
}

fn findings(run: &Path) -> String {
    fs::read_to_string(run.join("findings.json")).unwrap()
}

#[test]
fn an_honest_server_is_bounded_below_the_tolerance_that_was_asked_and_judged_alike_from_disk() {
    let bench = Bench::new();
    let profile = bench.profile(&[]);
    let ended = bench.run(&[
        "run",
        profile.to_str().unwrap(),
        "--tolerance=64 B",
        "--within=100s",
    ]);
    ended.expect_code(0);
    assert!(
        ended.stdout.starts_with("NO LEAK above"),
        "{}",
        ended.stdout
    );
    let run = bench.run_directory();
    let manifest = json(&run, "manifest.json");
    let looks = looks(&manifest);
    assert_eq!(looks[0], 10, "{looks:?}");
    assert_eq!(manifest["plan"]["cycles"].as_u64(), looks.last().copied());
    assert!(manifest["plan"]["adaptive"]["pilot"]["noise_bytes"].is_f64());
    for finding in json(&run, "findings.json")["findings"].as_array().unwrap() {
        if finding["verdict"] == "no-leak" {
            assert!(finding["upper_95"].as_f64().unwrap() <= 64.0, "{finding:#}");
        }
    }
    let events = fs::read_to_string(run.join("events.csv")).unwrap();
    for said in [
        "pilot of 6 cycles",
        "there is time for",
        "64 B per session needs",
    ] {
        assert!(events.contains(said), "{events}");
    }
    let judged = findings(&run);
    bench
        .run(&["diagnose", run.to_str().unwrap()])
        .expect_code(0);
    assert_eq!(judged, findings(&run));
}

#[test]
fn a_leak_of_64_bytes_is_found_at_a_look_and_ends_the_run_if_that_was_asked() {
    let bench = Bench::new();
    let profile = bench.profile(&[]);
    let ended = bench.run(&[
        "run",
        profile.to_str().unwrap(),
        "--defect=leak-on-rst=bytes:64",
        "--tolerance=connection=32 B",
        "--within=110s",
        "--stop-early",
    ]);
    ended.expect_code(10);
    let run = bench.run_directory();
    let manifest = json(&run, "manifest.json");
    let cycles = looks(&manifest).pop().unwrap();
    assert!(
        cycles < 80,
        "{cycles} cycles, of which there was time for far more: {manifest:#}"
    );
    let judged = json(&run, "findings.json");
    let leaks = judged["findings"].as_array().unwrap().iter();
    let leaks: Vec<_> = leaks
        .filter(|f| f["verdict"] == "leak" && f["signal"] == "allocated")
        .collect();
    assert_eq!(leaks.len(), 1, "{judged:#}");
    assert_eq!(leaks[0]["factor"], "rst");
    let (low, high) = (
        leaks[0]["low"].as_f64().unwrap(),
        leaks[0]["high"].as_f64().unwrap(),
    );
    assert!((low..=high).contains(&64.0), "{low} … {high}");
    let before = findings(&run);
    bench
        .run(&["diagnose", run.to_str().unwrap()])
        .expect_code(10);
    assert_eq!(before, findings(&run), "the same looks, judged from disk");
}

#[test]
fn what_cannot_be_asked_is_refused_in_a_sentence() {
    let bench = Bench::new();
    let assay = bench.profile(&[]);
    let soak = bench.path().join("soak.toml");
    fs::write(&soak, include_str!("soak.toml")).unwrap();
    for (profile, asked, said) in [
        (&assay, "--tolerance=64", "has no unit"),
        (
            &assay,
            "--tolerance=apple=64 B",
            "connection, session or event",
        ),
        (
            &assay,
            "--stop-early",
            "--stop-early needs --within or --tolerance",
        ),
        (&assay, "--within=10", "is not a duration"),
        (&soak, "--within=1m", "are for an assay"),
    ] {
        let ended = bench.run(&["run", profile.to_str().unwrap(), asked]);
        ended.expect_code(2);
        ended.expect_complaint(&[said]);
    }
}

#[test]
fn a_recording_is_judged_again_as_if_only_its_pages_had_been_read() {
    let bench = Bench::new();
    let profile = bench.profile(&[("cycles = 12", "cycles = 8")]);
    bench.run(&["run", profile.to_str().unwrap()]);
    let run = bench.run_directory();
    let own = findings(&run);
    let ended = bench.run(&[
        "diagnose",
        run.to_str().unwrap(),
        "--signal=rss",
        "--format=json",
    ]);
    let judged: Value = serde_json::from_str(&ended.stdout).unwrap();
    let signals = judged["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|f| f["signal"].as_str());
    let memory: Vec<&str> = signals
        .filter(|s| ["allocated", "pss-anon", "rss-anon", "rss"].contains(s))
        .collect();
    assert!(
        !memory.is_empty() && memory.iter().all(|s| *s == "rss"),
        "{memory:?}"
    );
    assert_eq!(own, findings(&run), "the run's own verdict stays");
    let ended = bench.run(&["diagnose", run.to_str().unwrap(), "--signal=heap"]);
    ended.expect_code(2);
    ended.expect_complaint(&["a recording has allocated, pss-anon, rss-anon, rss"]);
}
