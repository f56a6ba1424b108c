//! Whole recordings made of synthetic rows, for tests: what a run directory would hold, restarts of the target included.

use proptest::prelude::*;

use super::{
    finding::{Findings, Statement},
    observations::Observations,
    recording::judge,
    synthetic::{RST, Synthetic, quick},
};
use crate::{
    record::{Manifest, Recording, Table},
    units::Factor,
};

/// Priming cycles, as the shipped profile has them.
const PRIMING: usize = 3;

/// A recording to be: rows, and where the target was replaced.
pub(super) struct Recorded {
    rows: Observations,
    leak: Option<(Factor, f64)>,
    restarts: Vec<usize>,
    warm_up: f64,
}

/// A recording of the shipped profile that leaks so many bytes per unit, or nothing.
pub(super) fn recorded(synthetic: Synthetic, leak: Option<(Factor, f64)>) -> Recorded {
    let leaking = match leak {
        Some((factor, bytes)) => synthetic.leaks(factor, bytes),
        None => synthetic,
    };
    Recorded {
        rows: leaking.observe(),
        leak,
        restarts: Vec::new(),
        warm_up: 0.0,
    }
}

impl Recorded {
    /// In these cycles the target is replaced: what had leaked is gone, and it warms up anew.
    pub(super) fn replaced_in(mut self, cycles: impl IntoIterator<Item = usize>) -> Self {
        self.restarts = cycles.into_iter().collect();
        self
    }

    /// A new target gains so many bytes in its first cycles.
    pub(super) fn warms_up(mut self, bytes: f64) -> Self {
        self.warm_up = bytes;
        self
    }

    /// What a run directory would say.
    pub(super) fn recording(&self) -> Recording {
        Recording {
            manifest: manifest(&self.rows),
            readings: self.readings(),
            samples: Table::default(),
            cleanup: Table::default(),
            events: self.events(),
            latency: Table::default(),
            steps: Table::default(),
            stacks: None,
            complaints: Vec::new(),
        }
    }

    fn generation(&self, row: usize) -> usize {
        self.restarts.iter().filter(|cycle| row > **cycle).count()
    }

    /// Memory at a row: the level of a fresh process, and what leaked since it came.
    fn memory(&self, row: usize) -> f64 {
        let came = self.restarts.iter().rev().find(|cycle| row > **cycle);
        let Some(&came) = came else {
            return self.rows.readings[row];
        };
        let dose = |(factor, bytes): (Factor, f64)| {
            let dose = self.rows.doses.iter().find(|dose| dose.factor == factor);
            bytes * dose.map_or(0.0, |dose| dose.total[came])
        };
        let age = (row - came) as f64;
        let warm = self.warm_up * (1.0 - (-2.0 * age).exp());
        self.rows.readings[row] - self.leak.map_or(0.0, dose) + warm
    }

    fn readings(&self) -> Table {
        let name = |factor: &Factor| match factor {
            Factor::Closed(leave) => {
                format!("closed_{}_total", leave.name().replace('-', "_"))
            }
            Factor::Session => "sessions_created_total".into(),
            Factor::Turn => "turns_total".into(),
            _ => "events_total".into(),
        };
        let names: Vec<String> = self.rows.doses.iter().map(|d| name(&d.factor)).collect();
        let mut text = format!(
            "t_s,kind,cycle,settled,target_generation,heap_allocated_bytes,retained_blocks_total,retained_bytes_total,{}\n",
            names.join(",")
        );
        for early in 1..PRIMING {
            let nothing = vec!["0"; names.len()].join(",");
            let cycle = early as i64 - 1 - PRIMING as i64;
            text += &format!("{early},cycle,{cycle},1,0,39000000,0,0,{nothing}\n");
        }
        for row in 0..self.rows.rows() {
            let given: Vec<String> = self
                .rows
                .doses
                .iter()
                .map(|dose| format!("{}", 180.0 + dose.total[row]))
                .collect();
            let control = self.rows.control.as_ref();
            let (blocks, each) = control.map_or((0.0, 0.0), |c| (c.blocks[row], c.bytes_each));
            text += &format!(
                "{:.3},cycle,{},1,{},{:.0},{blocks},{},{}\n",
                10.0 + self.rows.seconds[row],
                row as i64 - 1,
                self.generation(row),
                self.memory(row),
                blocks * each,
                given.join(",")
            );
        }
        Table::read(text.as_bytes(), &["kind"]).unwrap().0
    }

    fn events(&self) -> Table {
        let mut text = "t_s,kind,text\n".to_owned();
        for cycle in &self.restarts {
            text += &format!(
                "{},restart,process 7 of the target was replaced by 8\n",
                10 + cycle
            );
        }
        Table::read(text.as_bytes(), &["kind", "text"]).unwrap().0
    }
}

/// The manifest of an assay that ended well.
fn manifest(rows: &Observations) -> Manifest {
    let factors: Vec<&str> = rows.doses.iter().map(|dose| dose.factor.name()).collect();
    serde_json::from_value(serde_json::json!({
        "layout": 1, "version": "0", "command": [], "profile": "quick", "profile_sha256": "", "kind": "assay", "seed": 1,
        "started": "2026-11-23T00:00:00.000Z",
        "plan": {
            "factors": factors, "priming": PRIMING, "cycles": rows.rows() - 1, "standing": 0, "drain_within_s": 1.0,
            "control_bytes": 256, "tolerances": { "connection": "1 KiB", "session": "1 KiB", "event": "64 B" }, "longest_s": 60.0,
        },
        "host": {}, "target": { "argv": [], "pid": 7, "url": "http://127.0.0.1:1", "status": null, "status_at_end": null },
        "ended": { "t_s": 60.0, "reason": "finished", "text": "every step was done" },
    }))
    .unwrap()
}

/// What leaks by the findings, with the ends of the interval.
fn leaks(findings: &Findings) -> Vec<(Factor, f64, f64)> {
    let leaks = findings.findings.iter();
    leaks
        .filter(|finding| finding.verdict == Statement::Leak)
        .map(|leak| (leak.factor.unwrap(), leak.low.unwrap(), leak.high.unwrap()))
        .collect()
}

fn says(findings: &Findings, words: &str) -> bool {
    findings.findings.iter().any(|one| one.text.contains(words))
}

#[test]
fn a_leak_is_found_with_its_size_though_the_target_was_replaced_twice() {
    for seed in 0..6 {
        let run = recorded(quick(seed).noise(700.0), Some((RST, 256.0)));
        let found = judge(&run.replaced_in([8, 16]).warms_up(3e6).recording());
        let [(factor, low, high)] = leaks(&found)[..] else {
            panic!("seed {seed}: {found:#?}");
        };
        assert_eq!(factor, RST);
        assert!(low <= 256.0 && 256.0 <= high, "seed {seed}: {low} … {high}");
        assert!(
            says(&found, "replaced between readings twice"),
            "{found:#?}"
        );
    }
}

#[test]
fn an_innocent_server_whose_worker_was_replaced_is_acquitted() {
    for seed in 0..6 {
        let run = recorded(quick(seed).noise(700.0), None);
        let found = judge(&run.replaced_in([7]).warms_up(3e6).recording());
        assert_eq!(found.exit_code, 0, "seed {seed}: {found:#?}");
        assert!(says(&found, "22 of 25 readings are judged"), "{found:#?}");
    }
}

#[test]
fn workers_that_are_recycled_every_cycle_leave_the_question_open_and_it_is_said_what_to_do() {
    for leak in [None, Some((RST, 4096.0))] {
        for every in [1, 2, 3, 4] {
            let run = recorded(quick(1).noise(700.0), leak);
            let found = judge(&run.replaced_in((0..24).step_by(every)).recording());
            assert_eq!(found.exit_code, 12, "every {every}: {found:#?}");
            assert!(says(&found, "gunicorn --max-requests 0"), "{found:#?}");
        }
    }
}

#[test]
fn one_replaced_in_priming_costs_its_warm_up_and_nothing_else() {
    let mut run = recorded(quick(2).noise(700.0), None)
        .warms_up(3e6)
        .recording();
    assert_eq!(judge(&run).exit_code, 0);
    let text = "t_s,kind,text\n1,restart,x\n";
    run.events = Table::read(text.as_bytes(), &["kind", "text"]).unwrap().0;
    assert_eq!(judge(&run).exit_code, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn wherever_the_target_is_replaced_nobody_innocent_is_accused(
        seed in 0u64..50,
        restarts in prop::collection::btree_set(0usize..24, 0..5),
        warm_up in 0.0..2e7f64,
    ) {
        let run = recorded(quick(seed).noise(900.0), None);
        let found = judge(&run.replaced_in(restarts.clone()).warms_up(warm_up).recording());
        prop_assert!(found.exit_code == 0 || found.exit_code == 12, "{restarts:?}: {found:#?}");
    }
}
