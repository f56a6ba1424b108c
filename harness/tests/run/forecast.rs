//! A forecast is held against what then happened: a run is judged at its half, and the other half reaches the limit.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::bench::{Bench, json as read};

/// Some columns of the judged readings.
fn readings(run: &Path, names: [&str; 4]) -> Vec<[f64; 4]> {
    let text = fs::read_to_string(run.join("readings.csv")).unwrap();
    let mut lines = text.lines();
    let header: Vec<_> = lines.next().unwrap().split(',').collect();
    let places = names.map(|name| header.iter().position(|column| *column == name).unwrap());
    let row = |line: &str| {
        let cells: Vec<_> = line.split(',').collect();
        places.map(|place| cells[place].parse().unwrap())
    };
    lines
        .filter(|line| line.contains(",cycle,"))
        .map(row)
        .collect()
}

/// A copy of a run that ends before the reading at this time, with a forecast asked of it.
fn cut(run: &Path, to: &Path, at: f64, forecast: &Value) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(run).unwrap() {
        let from = entry.unwrap().path();
        let name = from.file_name().unwrap().to_string_lossy().into_owned();
        let mut text = fs::read_to_string(&from).unwrap();
        let is_table = name.strip_suffix(".csv").is_some();
        if is_table {
            let early = |line: &&str| {
                let time = line
                    .split(',')
                    .next()
                    .and_then(|cell| cell.parse::<f64>().ok());
                time.is_none_or(|time| time <= at)
            };
            text = text
                .lines()
                .filter(early)
                .map(|line| format!("{line}\n"))
                .collect();
        }
        if name == "manifest.json" {
            let mut manifest: Value = serde_json::from_str(&text).unwrap();
            manifest["plan"]["forecast"] = forecast.clone();
            text = manifest.to_string();
        }
        fs::write(to.join(name), text).unwrap();
    }
}

#[test]
fn a_leak_reaches_its_limit_when_the_forecast_at_half_time_said() {
    let bench = Bench::new();
    let profile = bench.profile(&[
        ("cycles = 12", "cycles = 26"),
        ("control = { bytes = \"256 B\", blocks = 50 }", ""),
    ]);
    let defect = "session-never-expires";
    bench
        .run(&["run", profile.to_str().unwrap(), "--defect", defect])
        .expect_code(10);
    let run = bench.run_directory();
    let names = [
        "t_s",
        "heap_allocated_bytes",
        "sessions_created_total",
        "cycle",
    ];
    let rows = readings(&run, names);
    let half = rows.iter().find(|row| row[3] >= 13.0).unwrap();
    // What really happened: the limit is what was live at a late reading, and production made sessions as fast as this run.
    let reached = rows.iter().rev().find(|row| row[3] <= 24.0).unwrap();
    let took = reached[0] - half[0];
    let forecast = json!({
        "limit": format!("{} B", reached[1]),
        "of": "live",
        "rates": { "session": (reached[2] - half[2]) / took },
        "connections": 0,
    });
    let copy = bench.path().join("half");
    cut(&run, &copy, half[0], &forecast);
    bench.run(&["diagnose", copy.to_str().unwrap()]);
    let findings = read(&copy, "findings.json");
    let all = findings["findings"].as_array().unwrap();
    let told = all.iter().find(|finding| finding["verdict"] == "forecast");
    let told = told.unwrap_or_else(|| panic!("{findings:#}"));
    let [early, at, late] =
        ["earliest_s", "in_s", "latest_s"].map(|name| told["reached"][name].as_f64().unwrap());
    assert!(
        (at / took - 1.0).abs() < 0.1,
        "{at} s foretold, {took} s taken: {told:#}"
    );
    assert!(
        early <= took && took <= late,
        "{took} s is not in {early} … {late}: {told:#}"
    );
    assert!(
        told["text"]
            .as_str()
            .unwrap()
            .contains("sessions/s the limit of"),
        "{told:#}"
    );
}
