//! Leave in every way, wait, count: the honest server forgets everybody, and each planted failure is named with its way of leaving.

use std::{fs, path::PathBuf};

use crate::bench::{Bench, json};

fn profile(bench: &Bench) -> PathBuf {
    let path = bench.path().join("cleanup.toml");
    fs::write(&path, include_str!("cleanup.toml")).unwrap();
    path
}

/// The factors of the findings of one kind.
fn told(bench: &Bench, verdict: &str) -> Vec<String> {
    let findings = json(&bench.run_directory(), "findings.json");
    let all = findings["findings"].as_array().unwrap().iter();
    all.filter(|finding| finding["verdict"] == verdict)
        .filter_map(|finding| finding["factor"].as_str().map(String::from))
        .collect()
}

#[test]
fn an_honest_server_forgets_everybody_however_they_leave() {
    let bench = Bench::new();
    let ended = bench.run(&["run", profile(&bench).to_str().unwrap()]);
    ended.expect_code(0);
    assert!(
        ended
            .stdout
            .starts_with("CLEANED UP  120 clients, 120 sessions"),
        "{}",
        ended.stdout
    );
    assert_eq!(told(&bench, "cleaned-up"), ["fin", "rst", "half-close"]);
    assert!(
        ended.stdout.contains("shown and not judged"),
        "{}",
        ended.stdout
    );
}

#[test]
fn a_socket_that_is_never_closed_is_named_by_the_kernels_count_whatever_the_server_says() {
    let bench = Bench::new();
    let ended = bench.run(&[
        "run",
        profile(&bench).to_str().unwrap(),
        "--defect",
        "half-close",
    ]);
    ended.expect_code(11);
    let left = told(&bench, "not-cleaned-up");
    assert!(
        left.contains(&"half-close".into()),
        "{left:?}\n{}",
        ended.stdout
    );
    assert!(!left.contains(&"rst".into()), "{left:?}\n{}", ended.stdout);
    assert!(
        ended.stdout.contains("the server counts 0 of 40"),
        "{}",
        ended.stdout
    );
}

#[test]
fn sessions_that_never_expire_are_not_cleaned_up_in_any_way_of_leaving() {
    let bench = Bench::new();
    let defect = "session-never-expires";
    let ended = bench.run(&["run", profile(&bench).to_str().unwrap(), "--defect", defect]);
    ended.expect_code(11);
    assert_eq!(told(&bench, "not-cleaned-up"), ["fin", "rst", "half-close"]);
    assert!(
        ended.stdout.contains("it keeps 40 of 40 sessions"),
        "{}",
        ended.stdout
    );
}
