//! Recordings that no run of ours would write: damaged in every way, and as long as a day.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path, time::Duration};

use proptest::prelude::*;
use sse_soak::{
    diagnose,
    observe::{Own, Sample, Tree},
    plan::{Leave, Phase},
    record::{Manifest, ReadingKind, ReadingRow, Recording, RunDir, SampleRow, files},
    report::{self, Format},
    timeline::{Clock, Counts, Elapsed},
};

const FORMATS: [Format; 3] = [Format::Text, Format::Markdown, Format::Json];

/// A run to be written: its kind, how many cycles it has, and how many samples there are in each.
struct Run {
    kind: &'static str,
    cycles: i32,
    samples: u32,
    /// Seconds between two samples.
    every: f64,
    /// Bytes kept of every RST.
    leak: u64,
}

impl Run {
    fn manifest(&self) -> Manifest {
        let soak = (self.kind == "soak")
            .then(|| serde_json::json!({ "drained": false, "cache_units": 1000 }));
        serde_json::from_value(serde_json::json!({
            "layout": 1, "version": "0", "command": [], "profile": "made", "profile_sha256": "", "kind": self.kind, "seed": 1,
            "started": "2026-11-23T00:00:00.000Z",
            "plan": {
                "factors": ["fin", "rst", "session", "event"], "priming": 2, "cycles": self.cycles - 2, "standing": 0,
                "drain_within_s": 1.0, "control_bytes": null, "tolerances": {}, "longest_s": 60.0, "soak": soak,
            },
            "host": {}, "target": { "argv": [], "pid": 7, "url": "http://127.0.0.1:1", "status": null, "status_at_end": null },
            "ended": { "t_s": 60.0, "reason": "finished", "text": "every step was done" },
        }))
        .unwrap()
    }

    /// Writes it with the writer of real runs.
    fn write(&self, path: &Path) {
        let mut dir = RunDir::create(path).unwrap();
        dir.manifest(&self.manifest()).unwrap();
        dir.text(files::PROFILE, "").unwrap();
        let mut random = 1_u32;
        let mut next = move || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random >> 16
        };
        let mut counts = Counts::default();
        let mut number = 0_u32;
        for cycle in 0..self.cycles {
            let [fin, rst, session] = [next() % 2, next() % 2, next() % 2];
            let mut looks = Vec::new();
            for part in 0..self.samples {
                number += 1;
                counts.closed[Leave::Fin.index()] += u64::from(2 * fin);
                counts.closed[Leave::Rst.index()] += u64::from(2 * rst);
                counts.sessions_created += u64::from(2 * session);
                counts.events += u64::from(10 + next() % 4);
                counts.opened = counts.closed_total() + 50;
                counts.ended[0] = counts.closed_total();
                let leaked = self.leak * counts.closed[Leave::Rst.index()];
                let at = Elapsed(Duration::from_secs_f64(f64::from(number) * self.every));
                let sample = sample(at, 40_000_000 + leaked + 4096 * u64::from(next() % 4));
                if part + 13 >= self.samples {
                    looks.push(sample.clone());
                }
                let phase = if part * 5 < self.samples {
                    Phase::Read
                } else {
                    Phase::Load
                };
                let row = SampleRow {
                    phase,
                    cycle: cycle - 2,
                    counts,
                    sample,
                    lost: 0,
                };
                dir.sample(&row).unwrap();
            }
            let row = ReadingRow {
                kind: ReadingKind::Cycle,
                cycle: cycle - 2,
                looks,
                counts,
                exposure: counts
                    .closed
                    .map(|closed| closed as f64 * f64::from(number)),
                retained_blocks: 0,
                retained_bytes: 0,
                probe: None,
                probe_live: None,
            };
            dir.reading(&row).unwrap();
        }
    }
}

fn sample(at: Elapsed, bytes: u64) -> Sample {
    Sample {
        at,
        generation: Some(0),
        tree: Some(Tree {
            processes: 3,
            processes_seen_total: 3,
            rss_bytes: Some(bytes + 10_000_000),
            pss_bytes: Some(bytes),
            pss_anon_bytes: Some(bytes),
            anon_bytes: Some(bytes),
            cpu_seconds: Some(at.seconds() / 10.0),
            fds: Some(70),
            threads: Some(9),
            ..Tree::default()
        }),
        own: Own {
            rss_bytes: Some(6_000_000),
            cpu_seconds: Some(at.seconds() / 50.0),
        },
        ..Sample::default()
    }
}

/// Judges and reports; a folder that is no run is refused, and nothing panics.
fn judged(path: &Path) -> Option<(Recording, String)> {
    let recording = Recording::read(path).ok()?;
    let findings = diagnose::judge(&recording);
    let [text, ..] = FORMATS.map(|format| report::render(format, &recording, &findings, path));
    Some((recording, text))
}

/// The most resident memory of this process since it was reset, bytes; `None` where the kernel does not tell.
fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[test]
fn a_day_is_judged_and_reported_in_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("day");
    let day = Run {
        kind: "soak",
        cycles: 287,
        samples: 301,
        every: 1.0,
        leak: 300,
    };
    day.write(&path);
    fs::write("/proc/self/clear_refs", "5").ok(); // forget what building it took; a sandbox may refuse
    let clock = Clock::start();
    let (recording, text) = judged(&path).unwrap();
    let took = clock.now();
    let peak = peak();
    assert_eq!(
        (recording.samples.rows(), recording.readings.rows()),
        (86_387, 287)
    );
    assert!(text.starts_with("LEAK"), "{text}");
    assert!(text.contains("per connection"), "{text}");
    println!(
        "86,387 samples and 287 readings judged and reported in {took} s, at most {} MiB",
        peak.map_or_else(|| "?".into(), |peak| (peak >> 20).to_string())
    );
    if let Some(peak) = peak {
        assert!(peak < 256 << 20, "{} MiB", peak >> 20);
    }
}

/// A small run, its files in memory.
fn small(kind: &'static str) -> Vec<(&'static str, String)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let run = Run {
        kind,
        cycles: 26,
        samples: 14,
        every: 0.1,
        leak: 20_000,
    };
    run.write(&path);
    let names = [
        files::MANIFEST,
        files::SAMPLES,
        files::READINGS,
        files::CLEANUP,
        files::EVENTS,
        files::LATENCY,
    ];
    names
        .map(|name| (name, fs::read_to_string(path.join(name)).unwrap()))
        .into()
}

fn written(run: &[(&'static str, String)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in run {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// What the report says of a small assay, one of its files changed.
fn report_of(file: &str, change: impl Fn(&str) -> String) -> String {
    let mut run = small("assay");
    let text = run.iter_mut().find(|(name, _)| *name == file).unwrap();
    text.1 = change(&text.1);
    let text = judged(written(&run).path()).unwrap().1;
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// One cell replaced; rows as the report counts them, from 1 after the header.
fn with_cell(text: &str, row: usize, column: &str, cell: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(String::from).collect();
    let at = lines[0].split(',').position(|name| name == column).unwrap();
    let mut cells: Vec<&str> = lines[row].split(',').collect();
    cells[at] = cell;
    lines[row] = cells.join(",");
    lines.join("\n") + "\n"
}

#[test]
fn damage_is_said_with_its_file_row_and_column_and_the_rest_is_judged() {
    let whole = report_of(files::READINGS, str::to_owned);
    assert!(whole.starts_with("LEAK"), "{whole}");
    for (column, cell, said) in [
        (
            "rss_bytes",
            "NaN",
            "readings.csv, row 9, column rss_bytes: `NaN` is not a number; taken as missing",
        ),
        (
            "pss_anon_bytes",
            "-4096",
            "readings.csv, row 9, column pss_anon_bytes: below zero; taken as missing",
        ),
        (
            "closed_rst_total",
            "7e9",
            "readings.csv, row 9, column closed_rst_total: a total that falls",
        ),
        (
            "closed_rst_total",
            "0",
            "readings.csv, row 9, column closed_rst_total: a total that falls",
        ),
        (
            "t_s",
            "",
            "readings.csv, row 9, column t_s: no time; row left out",
        ),
        (
            "t_s",
            "0.1",
            "readings.csv, row 9, column t_s: not in order of time",
        ),
    ] {
        let text = report_of(files::READINGS, |text| with_cell(text, 9, column, cell));
        assert!(text.contains(said), "no `{said}` in {text}");
        assert!(text.starts_with("LEAK"), "{column} = {cell}: {text}");
    }
    let joined = report_of(files::SAMPLES, |text| format!("{text}{text}"));
    assert!(
        joined.contains("samples.csv, row 365: the header once more"),
        "{joined}"
    );
    assert!(joined.contains("more of such in the recording"), "{joined}");
    let torn = report_of(files::READINGS, |text| text[..text.len() - 1].into());
    assert!(torn.contains("row 26: was never finished"), "{torn}");
    let older = report_of(files::READINGS, |text| {
        text.replacen("target_generation", "of_another_version", 1)
    });
    assert!(older.starts_with("LEAK"), "{older}");
}

#[derive(Clone, Debug)]
enum Damage {
    Splice(usize, usize, String),
    Swap(usize, usize),
    Twice(usize),
    Cut(usize),
    Forget(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = || 0_usize..100_000;
    prop_oneof![
        4 => (place(), 0_usize..60, "[-0-9,.\\n a-zN\"x]{0,12}").prop_map(|(at, length, text)| Damage::Splice(at, length, text)),
        2 => (place(), place()).prop_map(|(one, other)| Damage::Swap(one, other)),
        1 => place().prop_map(Damage::Twice),
        1 => place().prop_map(Damage::Cut),
        1 => place().prop_map(Damage::Forget),
    ]
}

impl Damage {
    fn applied(&self, text: &str) -> String {
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        let count = lines.len().max(1);
        match self {
            Self::Splice(at, length, insert) => {
                let mut bytes = text.as_bytes().to_vec();
                let at = at % (bytes.len() + 1);
                let end = (at + length).min(bytes.len());
                bytes.splice(at..end, insert.bytes());
                return String::from_utf8_lossy(&bytes).into_owned();
            }
            Self::Swap(one, other) if !lines.is_empty() => lines.swap(one % count, other % count),
            Self::Twice(at) if !lines.is_empty() => lines.insert(at % count, lines[at % count]),
            Self::Cut(at) => return text.chars().take(at % (text.len() + 1)).collect(),
            Self::Forget(at) if lines.len() > 1 => drop(lines.remove(at % count)),
            _ => {}
        }
        lines.concat()
    }
}

thread_local! {
    static WHOLE: [Vec<(&'static str, String)>; 3] = ["assay", "soak", "cleanup"].map(small);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_to_a_run_directory_makes_judge_or_report_panic(
        kind in 0_usize..3,
        harm in prop::collection::vec((0_usize..8, damage()), 1..8),
    ) {
        let mut run = WHOLE.with(|whole| whole[kind].clone());
        for (file, harm) in harm {
            // Samples and readings three times as often as the rest.
            let at = [1, 2, 1, 2, 2, 3, 4, 0][file];
            run[at].1 = harm.applied(&run[at].1);
        }
        judged(written(&run).path());
    }
}
