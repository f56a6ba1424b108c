//! A day of seconds, made up: what a report of it weighs, takes and survives.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use sse_soak::{
    observe::{Heap, Host, Own, Presence, Sample, Sockets, TargetReport, Tree},
    plan::{Leave, Phase},
    record::{
        CleanupRow, Ended, EventKind, EventRow, LatencyRow, Manifest, ReadingKind, ReadingRow,
        RunDir, SampleRow,
    },
    timeline::{Counts, Elapsed},
};

/// Seconds of a day, and of one of its blocks.
const DAY: u64 = 86_400;
const BLOCK: u64 = 300;

/// What a person may call things.
pub(crate) const HOSTILE: &str =
    "</script><img src=x onerror=alert(1)> \"it's\" \u{202e}gnorw\u{202c} שלום";

/// Numbers that look like noise and are the same every time.
fn noise(seed: u64) -> u64 {
    let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn at(second: u64) -> Elapsed {
    Elapsed(Duration::from_millis(second * 1000 + noise(second) % 7))
}

fn counts(second: u64) -> Counts {
    let mut counts = Counts {
        opened: 5 * second,
        connected: 5 * second,
        sessions_created: 2 * second,
        events: 900 * second,
        ..Counts::default()
    };
    counts.closed[Leave::Fin.index()] = (2 * second).saturating_sub(40);
    counts.closed[Leave::Complete.index()] = 2 * second + second / BLOCK % 2;
    counts
}

/// A server whose memory moves by pages and whose heap moves by bytes, both all the time.
fn sample(second: u64) -> Sample {
    let wave = second % 700 * 3000 + noise(second) % 200_000;
    Sample {
        at: at(second),
        settled: second % BLOCK > 290,
        presence: Presence::Alive,
        generation: Some(0),
        restarts: Vec::new(),
        runtime: None,
        tree: Some(Tree {
            processes: 1,
            processes_seen_total: 1,
            rss_bytes: Some((40_000_000 + wave) / 4096 * 4096),
            pss_bytes: Some((39_000_000 + wave) / 1024 * 1024),
            pss_anon_bytes: Some((30_000_000 + wave) / 1024 * 1024),
            anon_bytes: Some((30_000_000 + wave) / 4096 * 4096),
            cpu_seconds: Some((second * 7 + noise(second) % 5) as f64 / 100.0),
            fds: Some(300 + noise(second + 1) % 40),
            threads: Some(3),
            ..Tree::default()
        }),
        sockets: Some(Sockets {
            established: 300 + noise(second + 2) % 40,
            send_queue_bytes: noise(second + 3) % 9000,
            kernel_bytes: 1_400_000 + noise(second + 4) % 100_000 / 768 * 768,
            ..Sockets::default()
        }),
        target: Some(TargetReport {
            connections_live: Some(300 + noise(second + 2) % 40),
            sessions_live: Some(60 + noise(second + 5) % 20),
            tasks_live: Some(360 + noise(second + 6) % 40),
            heap: Some(Heap {
                allocated_bytes: 20_000_000 + wave,
                resident_bytes: Some((33_000_000 + wave) / 4096 * 4096),
                ..Heap::default()
            }),
            ..TargetReport::default()
        }),
        host: Host {
            memory_total_bytes: Some(25_000_000_000),
            memory_available_bytes: Some(
                24_000_000_000 + noise(second + 7) % 90_000_000 / 4096 * 4096,
            ),
            cpu_idle_share: Some(0.9),
            cgroup_bytes: Some((60_000_000 + wave) / 4096 * 4096),
            ..Host::default()
        },
        own: Own {
            rss_bytes: Some(11_000_000 / 4096 * 4096),
            cpu_seconds: Some((second * 2) as f64 / 100.0),
        },
        ..Sample::default()
    }
}

fn manifest(seconds: u64) -> Manifest {
    let text = serde_json::json!({
        "layout": 1, "version": "0.1.0", "command": ["sse-soak", "run", HOSTILE], "profile": HOSTILE, "profile_sha256": "0", "kind": "soak", "seed": 1,
        "started": "2026-11-23T00:00:00Z",
        "plan": {
            "factors": ["fin", "complete", "session", "event"], "priming": 2, "cycles": seconds / BLOCK, "standing": 8, "drain_within_s": 15.0, "control_bytes": null,
            "tolerances": {"connection": "1024 B", "session": "1024 B", "event": "64 B"}, "longest_s": 86_400.0, "soak": {"drained": true, "cache_units": 2000}
        },
        "host": {"cores": 2}, "target": {"argv": [HOSTILE], "pid": 1, "url": "http://127.0.0.1:1", "status": null, "status_at_end": null}, "ended": null
    });
    let mut manifest: Manifest = serde_json::from_value(text).unwrap();
    manifest.ended = Some(Ended {
        t_s: seconds as f64,
        reason: "finished".into(),
        text: "every step was done".into(),
    });
    manifest
}

/// A run directory of so many seconds, as the program itself writes one.
pub(crate) fn recorded(folder: &Path, seconds: u64) -> PathBuf {
    let path = folder.join("day");
    let mut dir = RunDir::create(&path).unwrap();
    dir.manifest(&manifest(seconds)).unwrap();
    for second in 1..=seconds {
        let cycle = i32::try_from(second / BLOCK).unwrap() - 2;
        let phase = if second % BLOCK > 280 {
            Phase::Read
        } else {
            Phase::Dose
        };
        dir.sample(&SampleRow {
            phase,
            cycle,
            counts: counts(second),
            sample: sample(second),
            lost: 0,
        })
        .unwrap();
        if second % BLOCK == 0 {
            block_ends(&mut dir, second, cycle);
        }
    }
    dir.event(&EventRow {
        at: at(seconds / 2),
        kind: EventKind::Alarm,
        text: format!("an alarm named {HOSTILE}"),
    })
    .unwrap();
    path
}

fn block_ends(dir: &mut RunDir, second: u64, cycle: i32) {
    let event = |second, text: &str| EventRow {
        at: at(second),
        kind: EventKind::Phase,
        text: format!("{text} of cycle {cycle}"),
    };
    dir.event(&event(second + 1 - BLOCK, "dose")).unwrap();
    dir.event(&event(second - 19, "read")).unwrap();
    let mut look = sample(second);
    look.settled = true;
    dir.reading(&ReadingRow {
        kind: ReadingKind::Cycle,
        cycle,
        looks: vec![look],
        counts: counts(second),
        exposure: [0.0; Leave::ALL.len()],
        retained_blocks: 0,
        retained_bytes: 0,
        probe: None,
        probe_live: None,
    })
    .unwrap();
    dir.cleanup(&CleanupRow {
        at: at(second),
        cycle,
        of: "fin",
        left: 600,
        lingering: Some(0),
        clean_s: Some(0.25),
        half_clean_s: Some(0.1),
        clean_99_s: Some(0.2),
    })
    .unwrap();
    dir.latency(&LatencyRow {
        at: at(second),
        of: "first-event",
        count: 1000,
        percentiles_us: [900, 2000, 9000, 20_000 + noise(second) % 1000],
    })
    .unwrap();
}

fn report(run: &Path, limit: Option<u64>) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sse-soak"));
    command.arg("report").arg(run).args(["--format", "html"]);
    if let Some(bytes) = limit {
        command = limited(command, bytes);
    }
    let done = command.output().unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).unwrap()
}

/// The same command with no more address space than that: more than it will ever have resident.
fn limited(command: Command, bytes: u64) -> Command {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("ulimit -v {} && exec \"$@\"", bytes / 1024))
        .arg("limited");
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

#[test]
fn a_day_of_seconds_fits_into_a_page_in_two_seconds_and_256_mib() {
    let folder = tempfile::tempdir().unwrap();
    let run = recorded(folder.path(), DAY);
    let begun = SystemTime::now();
    let page = report(&run, Some(256 << 20));
    let took = begun.elapsed().unwrap();
    eprintln!("{} bytes in {took:?}", page.len());
    assert!(page.len() <= 2_500_000, "{} bytes", page.len());
    // Two seconds on a machine that has nothing else to do; here others build and test.
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(
        page,
        report(&run, None),
        "the same bytes for the same recording"
    );
    if let Ok(keep) = std::env::var("SEE_DAY") {
        fs::write(keep, page).unwrap();
    }
}

#[test]
fn names_of_others_stay_text_and_stay_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let page = report(&recorded(folder.path(), 1200), None);
    assert!(!page.contains("<img"), "markup got in");
    assert_eq!(page.matches("</script>").count(), 2, "ours and the data's");
    assert!(!page.contains('\u{202e}'), "would turn the text around it");
    assert!(page.contains("⟨U+202E⟩gnorw") && page.contains("שלום"));
}

#[test]
fn what_is_left_of_a_run_still_makes_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let run = recorded(folder.path(), 1200);
    let cut = |name: &str, keep: usize| {
        let text = fs::read(run.join(name)).unwrap();
        fs::write(run.join(name), &text[..text.len() * keep / 100]).unwrap();
    };
    cut("samples.csv", 70);
    assert!(
        report(&run, None).contains("cells instead of"),
        "a row cut short is said"
    );
    for name in [
        "readings.csv",
        "cleanup.csv",
        "events.csv",
        "latency.csv",
        "samples.csv",
    ] {
        let header = fs::read_to_string(run.join(name)).unwrap();
        fs::write(run.join(name), header.lines().next().unwrap()).unwrap();
    }
    assert!(report(&run, None).contains("Nothing was sampled"));
}
