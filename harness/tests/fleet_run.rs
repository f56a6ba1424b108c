//! A whole run whose load is played by worker processes: against the real reference server.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sse_soak::timeline::Clock;

const PATIENCE: Duration = Duration::from_secs(180);

fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let clock = Clock::start();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(clock.now().0 < PATIENCE, "waited in vain for {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// Starts the short profile with so many workers.
fn start(folder: &Path, workers: &str) -> Child {
    let server = Path::new(env!("CARGO_BIN_EXE_sse-soak")).with_file_name("target-jemalloc");
    assert!(server.is_file(), "run `cargo build --workspace` first");
    let profile = folder.join("short.toml");
    let text = format!("workers = {workers}\n{}", include_str!("run/short.toml"));
    fs::write(&profile, text).unwrap();
    Command::new(env!("CARGO_BIN_EXE_sse-soak"))
        .args(["run", "-q"])
        .arg(profile)
        .current_dir(folder)
        .stdout(fs::File::create(folder.join("stdout")).unwrap())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

fn run_directory(folder: &Path) -> PathBuf {
    until("a run directory", || {
        let runs = fs::read_dir(folder.join("results")).ok()?;
        let mut runs = runs.map(|run| run.unwrap().path());
        runs.find(|run| run.join("samples.csv").exists())
    })
}

fn manifest(run: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(run.join("manifest.json")).unwrap()).unwrap()
}

/// The column's cells, from the first row to the last.
fn column(run: &Path, file: &str, name: &str) -> Vec<f64> {
    let text = fs::read_to_string(run.join(file)).unwrap();
    let mut rows = text.lines().map(|row| row.split(',').collect::<Vec<_>>());
    let names = rows.next().unwrap();
    let place = names.iter().position(|known| *known == name).unwrap();
    rows.filter_map(|row| row.get(place)?.parse().ok())
        .collect()
}

fn finish(mut child: Child, run: &Path, folder: &Path) -> String {
    let status = until("the run to end", || child.try_wait().unwrap());
    let said = fs::read_to_string(folder.join("stdout")).unwrap();
    let reason = manifest(run)["ended"]["reason"].clone();
    assert_eq!(reason, "finished", "{status}: {said}");
    said
}

#[test]
fn a_run_with_workers_doses_and_counts_like_one_without() {
    let folder = tempfile::tempdir().unwrap();
    let child = start(folder.path(), "3");
    let run = run_directory(folder.path());
    let said = finish(child, &run, folder.path());
    assert_eq!(
        manifest(&run)["host"]["workers"].as_array().unwrap().len(),
        3
    );
    assert_eq!(
        column(&run, "samples.csv", "ended_lost_total").pop(),
        Some(0.0)
    );
    // A reading is taken when nobody is there: exact counts balance, and every dose is whole.
    let at_the_end = |name| column(&run, "readings.csv", name);
    for name in ["closed_fin_total", "closed_rst_total"] {
        let doses = at_the_end(name);
        assert!(doses.last().unwrap() > &0.0, "{said}");
    }
    for (opened, connected) in at_the_end("opened_total")
        .iter()
        .zip(at_the_end("connected_total"))
    {
        assert!((opened - connected).abs() < 0.5, "{opened} {connected}");
    }
    let sessions = at_the_end("sessions_created_total");
    let by_the_target = column(&run, "samples.csv", "target_sessions_created_total");
    assert_eq!(sessions.last(), by_the_target.last(), "{said}");
}

#[test]
fn a_run_goes_on_without_a_worker_that_was_killed_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let child = start(folder.path(), "2");
    let run = run_directory(folder.path());
    until("some samples", || {
        (column(&run, "samples.csv", "events_total").last()? > &0.0).then_some(())
    });
    let worker = manifest(&run)["host"]["workers"][1]["pid"]
        .as_i64()
        .unwrap();
    let worker = Pid::from_raw(worker.try_into().unwrap()).unwrap();
    kill_process(worker, Signal::KILL).unwrap();
    finish(child, &run, folder.path());
    let events = fs::read_to_string(run.join("events.csv")).unwrap();
    let loss = events.lines().find(|row| row.contains("loss")).unwrap();
    assert!(
        loss.contains("worker 2 of 2") && loss.contains("killed by signal 9"),
        "{loss}"
    );
    for name in [
        "opened_total",
        "closed_fin_total",
        "events_total",
        "not_opened_total",
    ] {
        let series = column(&run, "samples.csv", name);
        assert!(series.is_sorted(), "{name} fell: {series:?}");
        assert!(series.last() > series.first(), "{name} never rose");
    }
}
