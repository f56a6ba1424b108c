//! Step load against the real reference server: the knee, for the right reason, and never the machine's.

use std::{fs, path::PathBuf};

use crate::bench::{Bench, beside, json, rows};

fn profile(bench: &Bench, changes: &[(&str, &str)]) -> PathBuf {
    let mut text = include_str!("steps.toml").to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "the profile has no `{from}`");
        text = text.replace(from, to);
    }
    let path = bench.path().join("steps.toml");
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn memory_near_the_targets_own_limit_ends_the_climb_and_is_named() {
    let bench = Bench::new();
    let profile = profile(&bench, &[("stop = {", "limit = \"24 MiB\"\nstop = {")]);
    let ended = bench.run(&["run", profile.to_str().unwrap()]);
    ended.expect_code(13);
    assert!(
        ended.stdout.starts_with("ALARM  knee at "),
        "{}",
        ended.stdout
    );
    let run = bench.run_directory();
    let findings = json(&run, "findings.json");
    let steps = findings["steps"].as_array().unwrap();
    let met = &steps.last().unwrap()["met"];
    assert_eq!(met[0]["condition"], "target-memory", "{met}");
    assert_eq!(met.as_array().unwrap().len(), 1, "{met}");
    assert!(steps[0]["met"].as_array().unwrap().is_empty());
    assert!(steps[0]["requests"].as_f64().unwrap() > 2.0, "{}", steps[0]);
    assert_eq!(json(&run, "manifest.json")["ended"]["reason"], "stopped");
    assert!(
        ended
            .stdout
            .lines()
            .all(|line| line.chars().count() <= 80 || line.contains("recording")),
        "{}",
        ended.stdout
    );
    let junit = fs::read_to_string(run.join("junit.xml")).unwrap();
    assert!(
        junit.contains("<failure type=\"stop-condition\""),
        "{junit}"
    );
}

#[test]
fn without_a_limit_of_its_own_a_target_is_held_and_the_blindness_is_said() {
    let bench = Bench::new();
    let short = [
        ("[2, 4, 8, 16, 32, 64, 128]", "[2, 4]"),
        (
            "target-memory-above = 0.9",
            "target-memory-above = 0.9, response-time-above = 50.0",
        ),
    ];
    let profile = profile(&bench, &short);
    let ended = bench.run(&["run", profile.to_str().unwrap()]);
    ended.expect_code(0);
    assert!(
        ended.stdout.starts_with("HELD  4 users"),
        "{}",
        ended.stdout
    );
    let run = bench.run_directory();
    assert_eq!(rows(&run, "steps.csv"), 2);
    let steps = json(&run, "findings.json")["steps"].clone();
    if steps[0]["target_limit_bytes"].is_null() {
        assert!(
            ended.stdout.contains("no limit of the target's own"),
            "{}",
            ended.stdout
        );
    }
    // A run is not worse than itself, though so short a one may be too short to say that it is the same.
    let folder = run.to_str().unwrap();
    let same = bench.run(&["compare", folder, folder]);
    assert!(matches!(same.code(), Some(0 | 12)), "{}", same.stdout);
    let knees = "served within every limit: 4 users and no knee found before, 4 users";
    assert!(same.stdout.contains(knees), "{}", same.stdout);
}

#[test]
fn an_open_loop_begins_by_the_clock_however_slow_the_answers_are() {
    let bench = Bench::new();
    let profile = profile(
        &bench,
        &[
            ("[2, 4, 8, 16, 32, 64, 128]", "[10]"),
            (
                "{ closed = { think = \"500ms\" } }",
                "{ open = { every = \"500ms\" } }",
            ),
            ("script = \"visit\"\n", "script = \"slow\"\n"),
            (
                "[run.steps]",
                "[scripts.slow]\nsteps = [{ get = \"/events?interval_ms=300&bytes=10&limit=2\" }]\n\n[run.steps]",
            ),
        ],
    );
    let ended = bench.run(&["run", profile.to_str().unwrap()]);
    ended.expect_code(0);
    let step = json(&bench.run_directory(), "findings.json")["steps"][0].clone();
    let number = |name: &str| step[name].as_f64().unwrap();
    let begun = number("requests") + number("cut");
    assert!(
        (begun - 30.0).abs() < 0.5,
        "10 users, every 500 ms, for 1.5 s: {step}"
    );
}

/// A memory control group with this limit, if we may make one; its folder, removed with the guard.
struct Group(PathBuf);

impl Group {
    fn new(limit: &str) -> Option<Self> {
        let name = format!("sse-soak-steps-{}", std::process::id());
        let (one, two) = ("/sys/fs/cgroup/memory", "/sys/fs/cgroup");
        let is_one = PathBuf::from(one).join("memory.limit_in_bytes").exists();
        let (root, file) = if is_one {
            (one, "memory.limit_in_bytes")
        } else {
            (two, "memory.max")
        };
        let group = Self(PathBuf::from(root).join(name));
        fs::create_dir(&group.0).ok()?;
        fs::write(group.0.join(file), limit).ok()?;
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        fs::remove_dir(&self.0).ok(); // empty by now: the run stops its target
    }
}

#[test]
fn the_limit_of_a_real_control_group_is_the_targets_and_the_machines_is_not() {
    let Some(group) = Group::new("41943040") else {
        println!("SKIPPED: no memory control group can be made here (it takes root)");
        return;
    };
    let bench = Bench::new();
    let server = beside("target-jemalloc");
    let enter = format!(
        "\"sh\", \"-c\", \"echo $$ > {}/cgroup.procs && exec {} \\\"$@\\\"\", \"sh\",",
        group.0.display(),
        server.display()
    );
    let profile = profile(&bench, &[("\"target-jemalloc\",", &enter)]);
    let ended = bench.run(&["run", profile.to_str().unwrap()]);
    ended.expect_code(13);
    let findings = json(&bench.run_directory(), "findings.json");
    let last = findings["steps"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone();
    assert_eq!(last["target_limit_bytes"], 41_943_040.0, "{last}");
    assert_eq!(last["met"][0]["condition"], "target-memory", "{last}");
    let text = findings["text"].as_str().unwrap();
    assert!(text.contains("of 40.0 MiB"), "{text}");
}
