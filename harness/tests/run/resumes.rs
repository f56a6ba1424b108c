//! A run that was cut short goes on: nothing is played twice, nothing that was recorded is lost, and the break is said.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;

use crate::bench::{Bench, expect_gone, json, rows, target_pid, wait_for, wait_for_samples};

fn wait_for_readings(run: &Path, count: usize) {
    wait_for("readings", || {
        (rows(run, "readings.csv") >= count).then_some(())
    });
}

/// Starts a run and kills the harness after so many readings.
fn killed(bench: &Bench, profile: &Path, defects: &[&str], readings: usize) -> PathBuf {
    let running = bench.start(&[&["run", profile.to_str().unwrap()], defects].concat());
    let run = bench.run_directory();
    wait_for_readings(&run, readings);
    let target = target_pid(&run);
    running.signal(Signal::KILL);
    running.wait();
    expect_gone(target);
    run
}

/// Columns of a CSV file by name.
fn table(run: &Path, file: &str, names: &[&str]) -> Vec<Vec<String>> {
    let text = fs::read_to_string(run.join(file)).unwrap();
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let place = |name: &&str| header.iter().position(|one| one == name).unwrap();
    let places: Vec<usize> = names.iter().map(place).collect();
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            assert_eq!(cells.len(), header.len(), "{file}: {line}");
            places.iter().map(|at| cells[*at].to_owned()).collect()
        })
        .collect()
}

fn numbers(run: &Path, file: &str, name: &str) -> Vec<f64> {
    let cells = table(run, file, &[name]).into_iter().flatten();
    cells.filter_map(|cell| cell.parse().ok()).collect()
}

#[test]
fn a_killed_run_goes_on_where_it_was_and_still_names_the_leak() {
    let bench = Bench::new();
    let profile = bench.profile(&[("cycles = 12", "cycles = 20")]);
    let run = killed(&bench, &profile, &["--defect", "session-never-expires"], 14);
    let before = table(&run, "readings.csv", &["kind", "cycle"]);
    let mut samples = fs::OpenOptions::new()
        .append(true)
        .open(run.join("samples.csv"))
        .unwrap();
    samples.write_all(b"99.1,dose,7,1").unwrap(); // what a power cut may leave
    drop(samples);
    let ended = bench.run(&["run", "--resume", run.to_str().unwrap()]);
    ended.expect_code(10);
    let after = table(&run, "readings.csv", &["kind", "cycle"]);
    assert_eq!(after[..before.len()], before[..]);
    let cycles: Vec<&Vec<String>> = after.iter().filter(|row| row[0] == "cycle").collect();
    let distinct: BTreeSet<_> = cycles.iter().collect();
    assert_eq!((cycles.len(), distinct.len()), (23, 23), "{cycles:?}");
    for (file, name) in [
        ("samples.csv", "t_s"),
        ("samples.csv", "opened_total"),
        ("readings.csv", "sessions_created_total"),
        ("readings.csv", "closed_rst_total"),
        ("readings.csv", "exposure_fin_connection_s"),
        ("readings.csv", "target_generation"),
    ] {
        let values = numbers(&run, file, name);
        assert!(values.is_sorted(), "{file}: {name} falls: {values:?}");
    }
    assert_eq!(
        numbers(&run, "readings.csv", "target_generation").last(),
        Some(&1.0)
    );
    let events = fs::read_to_string(run.join("events.csv")).unwrap();
    for part in [
        ",resume,",
        "an unfinished last row of samples.csv (13 bytes)",
    ] {
        assert!(events.contains(part), "no `{part}` in:\n{events}");
    }
    assert!(run.join("target.1.log").exists() && run.join("target.log").exists());
    let findings = json(&run, "findings.json");
    let leaks: Vec<_> = findings["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["verdict"] == "leak" && one["signal"] == "allocated")
        .collect();
    assert_eq!(leaks.len(), 1, "{findings:#}");
    assert_eq!(leaks[0]["factor"], "session");
    let stated =
        &json(&run, "manifest.json")["target"]["status_at_end"]["defects"][0]["bytes_per_unit"];
    let [low, stated, high] =
        [&leaks[0]["low"], stated, &leaks[0]["high"]].map(|n| n.as_f64().unwrap());
    assert!(low <= stated && stated <= high, "{low} … {stated} … {high}");
    assert!(
        ended.stdout.contains("cut short and resumed once"),
        "{}",
        ended.stdout
    );
}

#[test]
fn a_run_that_was_interrupted_in_its_opening_goes_on_from_the_first_step() {
    let bench = Bench::new();
    let profile = bench.profile(&[]);
    let running = bench.start(&["run", profile.to_str().unwrap()]);
    let run = bench.run_directory();
    wait_for_samples(&run, 1);
    running.signal(Signal::INT);
    running.wait();
    let ended = bench.run(&["run", "--resume", run.to_str().unwrap()]);
    assert!(matches!(ended.code(), Some(0 | 12)), "{}", ended.stdout);
    assert_eq!(json(&run, "manifest.json")["ended"]["reason"], "finished");
    assert_eq!(rows(&run, "readings.csv"), 15 + 8);
}

#[test]
fn what_cannot_be_resumed_is_refused_in_one_sentence() {
    let bench = Bench::new();
    let profile = bench.profile(&[("cycles = 12", "cycles = 6")]);
    let running = bench.start(&["run", profile.to_str().unwrap()]);
    let run = bench.run_directory();
    wait_for_samples(&run, 5);
    let resume = ["run", "--resume", run.to_str().unwrap()];
    let second = Command::new(env!("CARGO_BIN_EXE_sse-soak"))
        .args(resume)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(
        said.contains("another sse-soak still writes into"),
        "{said}"
    );
    assert_eq!(second.status.code(), Some(2));
    running.wait();
    bench
        .run(&resume)
        .expect_code(2)
        .expect_complaint(&["cannot be resumed: it has ended: every step was done"]);
    let manifest = fs::read_to_string(run.join("manifest.json")).unwrap();
    for (from, to, complaint) in [
        ("\"layout\": 1", "\"layout\": 0", "it has layout 0"),
        (
            "\"layout\": 1",
            "\"layout\": 9",
            "layout 9; this version reads",
        ),
        (
            "\"finished\"",
            "\"interrupted\"",
            "every step of it was done",
        ),
    ] {
        fs::write(run.join("manifest.json"), manifest.replace(from, to)).unwrap();
        bench.run(&resume).expect_complaint(&[complaint]);
    }
    bench
        .run(&["run", "--resume", bench.path().to_str().unwrap()])
        .expect_complaint(&["is this a run directory?"]);
}

#[test]
fn a_harness_that_stood_still_has_a_gap_and_no_invented_samples() {
    let bench = Bench::new();
    let profile = bench.profile(&[]);
    let running = bench.start(&["run", profile.to_str().unwrap()]);
    let run = bench.run_directory();
    wait_for_samples(&run, 15);
    running.signal(Signal::STOP);
    let before = rows(&run, "samples.csv");
    let begun = std::time::SystemTime::now();
    wait_for("three seconds", || {
        (begun.elapsed().unwrap_or_default().as_secs() >= 3).then_some(())
    });
    assert!(rows(&run, "samples.csv") <= before + 1);
    running.signal(Signal::CONT);
    let ended = running.wait();
    assert!(matches!(ended.code(), Some(0 | 12)), "{}", ended.stdout);
    let events = fs::read_to_string(run.join("events.csv")).unwrap();
    assert!(events.contains(",gap,\"no sample for 3."), "{events}");
    let at = numbers(&run, "samples.csv", "t_s");
    let longest = at.windows(2).map(|pair| pair[1] - pair[0]);
    let longest = longest.fold(0.0, f64::max);
    assert!((2.9..6.0).contains(&longest), "{longest}");
    let lost = numbers(&run, "samples.csv", "samples_lost_total");
    assert!(*lost.last().unwrap() >= 28.0, "{lost:?}");
}
