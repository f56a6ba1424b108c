//! A whole soak in twenty seconds, its blocks a second long: hours differ only in the lengths that the profile gives.

use std::{fs, path::PathBuf};

use crate::bench::{Bench, json, rows};

fn profile(bench: &Bench, from: &str, to: &str) -> PathBuf {
    let text = include_str!("soak.toml");
    assert!(text.contains(from), "the soak has no `{from}`");
    let path = bench.path().join("soak.toml");
    fs::write(&path, text.replace(from, to)).unwrap();
    path
}

#[test]
fn a_drained_soak_accuses_sessions_of_the_size_that_the_server_states() {
    let bench = Bench::new();
    let profile = profile(&bench, "seed = 1", "seed = 2");
    let defect = "session-never-expires";
    bench
        .run(&["run", profile.to_str().unwrap(), "--defect", defect])
        .expect_code(10);
    let run = bench.run_directory();
    assert_eq!(rows(&run, "readings.csv"), 22, "a row a block");
    let (findings, manifest) = (json(&run, "findings.json"), json(&run, "manifest.json"));
    assert_eq!(manifest["plan"]["soak"]["drained"], true);
    let leaks: Vec<_> = findings["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["verdict"] == "leak" && finding["signal"] == "allocated")
        .collect();
    assert_eq!(leaks.len(), 1, "{findings:#}");
    assert_eq!(leaks[0]["factor"], "session");
    let stated = &manifest["target"]["status_at_end"]["defects"][0]["bytes_per_unit"];
    let [low, stated, high] =
        [&leaks[0]["low"], stated, &leaks[0]["high"]].map(|n| n.as_f64().unwrap());
    assert!(low <= stated && stated <= high, "{low} … {stated} … {high}");
}

#[test]
fn a_soak_read_under_load_lays_memory_beside_what_was_given_by_then_and_accuses_nobody_innocent() {
    let bench = Bench::new();
    let profile = profile(
        &bench,
        "drain-within",
        "drain-to-read = false\ndrain-within",
    );
    let ended = bench.run(&["run", profile.to_str().unwrap()]);
    assert!(matches!(ended.code(), Some(0 | 12)), "{}", ended.stdout);
    let run = bench.run_directory();
    assert_eq!(
        json(&run, "manifest.json")["plan"]["soak"]["drained"],
        false
    );
    let readings = fs::read_to_string(run.join("readings.csv")).unwrap();
    let names: Vec<_> = readings.lines().next().unwrap().split(',').collect();
    let place = names
        .iter()
        .position(|name| *name == "live_connections")
        .unwrap();
    for row in readings.lines().skip(1) {
        let live: u32 = row.split(',').nth(place).unwrap().parse().unwrap();
        assert!((10..60).contains(&live), "the load is on: {row}");
    }
}
