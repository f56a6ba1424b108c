//! Readers who stall, before a server whose queues have no limit, and before one whose queues have.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::bench::{Bench, json};

fn profile(bench: &Bench) -> PathBuf {
    let path = bench.path().join("backlog.toml");
    fs::write(&path, include_str!("backlog.toml")).unwrap();
    path
}

fn with_verdict(findings: &Value, verdict: &str) -> Vec<Value> {
    let all = findings["findings"].as_array().unwrap().iter();
    all.filter(|f| f["verdict"] == verdict).cloned().collect()
}

#[test]
fn an_unbounded_queue_behind_stalled_readers_is_a_backlog_of_the_bytes_that_the_server_states() {
    let bench = Bench::new();
    let profile = profile(&bench);
    let ended = bench.run(&[
        "run",
        profile.to_str().unwrap(),
        "--defect",
        "unbounded-queue",
    ]);
    ended.expect_code(10);
    assert!(ended.stdout.starts_with("BACKLOG"), "{}", ended.stdout);
    let run = bench.run_directory();
    let (findings, manifest) = (json(&run, "findings.json"), json(&run, "manifest.json"));
    assert_eq!(
        with_verdict(&findings, "leak"),
        Vec::<Value>::new(),
        "it is no leak"
    );
    let found = with_verdict(&findings, "backlog");
    assert_eq!(found.len(), 1, "{findings:#}");
    let found = &found[0];
    assert_eq!(
        (&found["factor"], &found["signal"]),
        (&"stall".into(), &"allocated".into())
    );
    let number = |value: &Value| value.as_f64().unwrap();
    let per_event = number(&manifest["target"]["status_at_end"]["defects"][0]["bytes_per_unit"]);
    let stated = 50.0 * per_event; // an event every 20 ms
    let (low, high) = (number(&found["low"]), number(&found["high"]));
    // A busy machine makes the server's own clock late: then there are fewer events than 50 a second, never more.
    assert!(
        high >= 0.9 * stated && low <= 1.02 * stated,
        "{low} … {high} where {stated} is stated"
    );
    let text = found["text"].as_str().unwrap();
    assert!(text.contains("fell back when they left"), "{text}");
    assert!(
        found["reached"]["in_s"].as_f64().is_some(),
        "the limit is known: {found:#}"
    );
}

#[test]
fn a_server_that_lets_go_of_readers_who_do_not_keep_up_is_acquitted() {
    let bench = Bench::new();
    let profile = profile(&bench);
    let ended = bench.run(&["run", profile.to_str().unwrap()]);
    assert!(matches!(ended.code(), Some(0 | 12)), "{}", ended.stdout);
    let findings = json(&bench.run_directory(), "findings.json");
    assert_eq!(with_verdict(&findings, "backlog"), Vec::<Value>::new());
    assert_eq!(
        with_verdict(&findings, "no-backlog").len(),
        1,
        "{findings:#}"
    );
}
