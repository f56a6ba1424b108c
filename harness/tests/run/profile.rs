//! Allocation profiles of the real server: the planted lines are named, by samples and exactly, and reviews tell runs apart.

use crate::bench::{Bench, json};

const WINDOWS: &str = "\n[allocations]\nconnections = 2000\nwithin = \"30s\"\nof = [\"session\"]\n";

/// The short profile with windows of sessions; runs it, and returns its findings.
fn profiled(bench: &Bench, profiler: &str, defects: &[&str]) -> serde_json::Value {
    let profile = bench.profile(&[]);
    let text = std::fs::read_to_string(&profile).unwrap() + WINDOWS;
    std::fs::write(&profile, text).unwrap();
    let mut arguments = vec![
        "run",
        profile.to_str().unwrap(),
        "--quiet",
        "--profile",
        profiler,
    ];
    for defect in defects {
        arguments.extend(["--defect", defect]);
    }
    bench.run(&arguments);
    json(&bench.run_directory(), "findings.json")
}

fn table(findings: &serde_json::Value) -> &serde_json::Value {
    let table = &findings["allocations"]["windows"][0];
    assert_eq!(table["of"], "session", "{findings:#}");
    table
}

#[test]
fn samples_name_the_line_that_keeps_sessions_and_hold_its_size() {
    let bench = Bench::new();
    let findings = profiled(&bench, "jemalloc", &["session-never-expires"]);
    let table = table(&findings);
    let row = &table["rows"][0];
    assert!(
        row["function"].as_str().unwrap().contains("sessions"),
        "{table:#}"
    );
    assert_eq!(row["file"], "target-server/src/sessions.rs");
    let manifest = json(&bench.run_directory(), "manifest.json");
    let stated = manifest["target"]["status_at_end"]["defects"][0]["bytes_per_unit"]
        .as_f64()
        .unwrap();
    let bytes = table["total"]["bytes"].as_f64().unwrap();
    assert!((bytes / stated - 1.0).abs() < 0.25, "{bytes} for {stated}");
    let run = bench.run_directory();
    for file in [
        "heap/profile.pb.gz",
        "heap/flamegraph.svg",
        "findings.sarif",
        "pull-request.md",
    ] {
        assert!(run.join(file).metadata().unwrap().len() > 200, "{file}");
    }
    let sarif = json(&run, "findings.sarif");
    let place = &sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
    assert_eq!(
        place["artifactLocation"]["uri"],
        "target-server/src/sessions.rs"
    );
}

#[test]
fn dhat_counts_exactly_and_an_honest_server_keeps_nothing() {
    let bench = Bench::new();
    let findings = profiled(&bench, "dhat", &["session-never-expires"]);
    let table = table(&findings);
    let row = &table["rows"][0];
    assert_eq!(row["low"], row["high"], "{row:#}");
    assert_eq!(table["units"], 2000);

    let honest = Bench::new();
    let findings = profiled(&honest, "jemalloc", &[]);
    let table = self::table(&findings);
    assert_eq!(table["rows"].as_array().unwrap().len(), 0, "{table:#}");
    assert!(table["bound_bytes"].as_f64().unwrap() <= 24.0, "{table:#}");
}

#[test]
fn a_profiler_that_the_target_does_not_have_is_refused_at_once() {
    let bench = Bench::new();
    let profile = bench.profile(&[("target-jemalloc", "target-dhat")]);
    let ended = bench.run(&["run", profile.to_str().unwrap(), "--profile", "jemalloc"]);
    ended.expect_code(2);
    assert!(
        ended.stderr.contains("the target's allocator is dhat"),
        "{}",
        ended.stderr
    );
}
