//! A target whose processes are replaced while it is measured: said, split, and never taken for a leak or its absence.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::bench::{Bench, json, rows, target_pid, wait_for, wait_for_samples};

/// The children of a process.
fn children(pid: Pid) -> Vec<Pid> {
    let pid = pid.as_raw_nonzero();
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let child = |word: &str| Pid::from_raw(word.parse().unwrap()).unwrap();
    text.split_whitespace().map(child).collect()
}

/// Waits until so many cycles were read.
fn wait_for_readings(run: &Path, count: usize) {
    wait_for("readings", || {
        (rows(run, "readings.csv") >= count).then_some(())
    });
}

/// A column of a CSV file of the run.
fn column(run: &Path, file: &str, name: &str) -> Vec<String> {
    let text = fs::read_to_string(run.join(file)).unwrap();
    let mut lines = text.lines();
    let place = lines.next().unwrap().split(',').position(|one| one == name);
    let place = place.unwrap();
    lines
        .map(|line| line.split(',').nth(place).unwrap().to_owned())
        .collect()
}

/// Distinct values in the order in which they come.
fn distinct(mut values: Vec<String>) -> Vec<String> {
    values.dedup();
    values
}

fn events(run: &Path) -> String {
    fs::read_to_string(run.join("events.csv")).unwrap()
}

#[test]
fn a_worker_that_is_killed_and_replaced_splits_the_run_and_accuses_nobody() {
    let bench = Bench::new();
    let profile = bench.profile(&[
        (
            "\"--log-level=warn\",",
            "\"--log-level=warn\", \"--workers=2\",",
        ),
        ("cycles = 12", "cycles = 16"),
    ]);
    let running = bench.start(&["run", profile.to_str().unwrap()]);
    let run = bench.run_directory();
    wait_for_readings(&run, 10);
    let workers = children(target_pid(&run));
    assert_eq!(workers.len(), 2);
    kill_process(workers[0], Signal::KILL).unwrap();
    let ended = running.wait();
    assert!(matches!(ended.code(), Some(0 | 12)), "{}", ended.stdout);
    let killed = format!("process {} (target-jemall", workers[0].as_raw_nonzero());
    assert!(events(&run).contains(&killed), "{}", events(&run));
    for file in ["readings.csv", "samples.csv"] {
        let seen = distinct(column(&run, file, "target_generation"));
        assert!(seen.len() > 1 && seen.is_sorted(), "{file}: {seen:?}");
    }
    assert!(
        ended.stdout.contains("replaced between readings"),
        "{}",
        ended.stdout
    );
}

#[test]
fn a_target_that_dies_with_its_workers_still_ends_the_run() {
    let bench = Bench::new();
    let profile = bench.profile(&[(
        "\"--log-level=warn\",",
        "\"--log-level=warn\", \"--workers=2\",",
    )]);
    let running = bench.start(&["run", profile.to_str().unwrap()]);
    let run = bench.run_directory();
    wait_for_samples(&run, 10);
    kill_process(target_pid(&run), Signal::KILL).unwrap();
    running.wait().expect_code(20);
}

/// The pre-forking server, stopped with its workers when dropped.
struct Prefork(Child);

impl Prefork {
    /// `None` without Python, aloud.
    fn start(bench: &Bench, port: u16) -> Option<Self> {
        let script = bench.path().join("prefork.py");
        fs::write(&script, include_str!("prefork.py")).unwrap();
        let started = Command::new("python3")
            .arg(script)
            .arg(port.to_string())
            .spawn();
        let Ok(child) = started else {
            eprintln!("skipped: there is no python3 to run a pre-forking server");
            return None;
        };
        wait_for("the server", || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Some(Self(child))
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    fn worker(&self) -> Pid {
        wait_for("a worker", || children(self.pid()).first().copied())
    }

    /// Ends parent and worker, the parent first: it would make another.
    fn kill(&mut self) {
        let worker = self.worker();
        kill_process(self.pid(), Signal::KILL).unwrap();
        self.0.wait().unwrap();
        kill_process(worker, Signal::KILL).unwrap();
    }
}

impl Drop for Prefork {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}

fn feed(bench: &Bench, port: u16) -> PathBuf {
    let path = bench.path().join("feed.toml");
    let text = include_str!("feed.toml").replace("127.0.0.1:1\"", &format!("127.0.0.1:{port}\""));
    fs::write(&path, text).unwrap();
    path
}

/// A port that was free just now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|free| free.local_addr())
        .unwrap()
        .port()
}

#[test]
fn a_worker_of_a_running_pre_forking_server_that_is_recycled_is_noticed_with_what_it_held() {
    let bench = Bench::new();
    let port = free_port();
    let Some(server) = Prefork::start(&bench, port) else {
        return;
    };
    let running = bench.start(&["run", feed(&bench, port).to_str().unwrap()]);
    let run = bench.run_directory();
    wait_for_readings(&run, 10);
    let worker = server.worker();
    kill_process(worker, Signal::TERM).unwrap();
    let ended = running.wait();
    assert!(matches!(ended.code(), Some(0 | 12)), "{}", ended.stdout);
    let said = format!(
        "process {} (python3) of the target",
        worker.as_raw_nonzero()
    );
    let events = events(&run);
    let line = events.lines().find(|line| line.contains(&said));
    let line = line.unwrap_or_else(|| panic!("no `{said}` in:\n{events}"));
    assert!(
        line.contains("MiB of resident memory went with it"),
        "{line}"
    );
}

#[test]
fn a_server_found_by_its_address_is_found_again_when_another_takes_its_place() {
    let bench = Bench::new();
    let port = free_port();
    let Some(mut server) = Prefork::start(&bench, port) else {
        return;
    };
    let running = bench.start(&["run", feed(&bench, port).to_str().unwrap()]);
    let run = bench.run_directory();
    wait_for_readings(&run, 10);
    let first = target_pid(&run);
    assert_eq!(first, server.pid());
    server.kill();
    let successor = Prefork::start(&bench, port).unwrap();
    let ended = running.wait();
    assert!(matches!(ended.code(), Some(0 | 12)), "{}", ended.stdout);
    assert_eq!(target_pid(&run), successor.pid(), "{}", events(&run));
    assert!(events(&run).contains("listens in its place"));
    assert_eq!(json(&run, "manifest.json")["ended"]["reason"], "finished");
    assert_eq!(
        distinct(column(&run, "readings.csv", "target_generation")).last(),
        Some(&"1".to_owned())
    );
}

#[test]
fn a_server_that_nobody_follows_is_dead_after_the_time_that_the_profile_gives() {
    let bench = Bench::new();
    let port = free_port();
    let Some(mut server) = Prefork::start(&bench, port) else {
        return;
    };
    let profile = feed(&bench, port);
    let text = fs::read_to_string(&profile).unwrap();
    fs::write(
        &profile,
        text.replace("\n[scripts", "ready-within = \"1s\"\n\n[scripts"),
    )
    .unwrap();
    let running = bench.start(&["run", profile.to_str().unwrap()]);
    let run = bench.run_directory();
    wait_for_readings(&run, 4);
    server.kill();
    let ended = running.wait();
    ended.expect_code(20);
    assert!(
        ended.stdout.contains("nobody listened at"),
        "{}",
        ended.stdout
    );
}
