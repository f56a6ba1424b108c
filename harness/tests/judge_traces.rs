//! The judge against the method's reference implementation: simulated servers whose truth is known, one per-second trace each.
//!
//! `traces/NAME.csv` is the recording, `NAME.expected.json` every number that the reference (numpy) found in it, `NAME.truth.json`
//! what the simulated server did. Every number must agree to a millionth, every decision exactly.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its fixtures has failed"
)]

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::Value;
use sse_soak::diagnose::{
    counters::Counted,
    interval::Interval,
    observations::Kind,
    signal::Signal,
    trace,
    verdict::{self, Effect, Evidence, Judgement, Rules, Verdict},
};

/// Relative; where the reference has (nearly) zero, absolute: a millionth of a byte.
const AGREE: f64 = 1e-6;

fn traces() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/traces")
}

fn json(name: &str, kind: &str) -> Value {
    let file = traces().join(format!("{name}.{kind}.json"));
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// Compares one trace with what the reference said of it.
struct Comparison {
    name: &'static str,
    wrong: Vec<String>,
}

impl Comparison {
    fn number(&mut self, what: &str, found: f64, expected: &Value) {
        let Some(wanted) = expected.as_f64() else {
            self.wrong.push(format!(
                "{}: {what}: {found}, reference has none",
                self.name
            ));
            return;
        };
        let agrees = (found - wanted).abs() <= AGREE * wanted.abs().max(1e-6);
        if !agrees {
            self.wrong.push(format!(
                "{}: {what}: {found}, reference {wanted}",
                self.name
            ));
        }
    }

    fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, found: T, wanted: T) {
        if found != wanted {
            self.wrong.push(format!(
                "{}: {what}: {found:?}, reference {wanted:?}",
                self.name
            ));
        }
    }

    fn interval(&mut self, what: &str, found: &Interval, expected: &Value) {
        let e = found.estimate;
        for (part, value) in [
            ("bytes_per_unit", e.slope),
            ("se", e.se),
            ("dof", e.dof),
            ("low", found.low()),
            ("high", found.high()),
            ("upper_95", found.upper()),
        ] {
            self.number(&format!("{what}.{part}"), value, &expected[part]);
        }
    }

    fn intervals(&mut self, what: &str, found: &[(String, Interval)], expected: &Value) {
        let names: BTreeSet<&str> = found.iter().map(|f| f.0.as_str()).collect();
        self.same(what, names, keys(expected));
        for (name, interval) in found {
            self.interval(&format!("{what}.{name}"), interval, &expected[name]);
        }
    }

    fn counter(&mut self, found: &Counted, expected: &Value) {
        let name = short(found.signal);
        let rows = expected["rows"].as_array().unwrap();
        for (i, row) in rows.iter().enumerate() {
            let rounded = (found.rows[i] * 1e4).round() / 1e4;
            self.number(&format!("{name} row {i}"), rounded, row);
        }
        let left = found
            .left_leak()
            .map(|l| ("closed".to_owned(), l.per_closed, l.low, l.high));
        let leaks = found
            .leaks
            .iter()
            .map(|(f, i)| (f.to_string(), i.estimate.slope, i.low(), i.high()));
        let all: Vec<_> = leaks.chain(left).collect();
        self.same(
            name,
            all.iter().map(|l| l.0.as_str()).collect(),
            keys(&expected["leaks"]),
        );
        for (factor, slope, low, high) in &all {
            let wanted = &expected["leaks"][factor];
            self.number(&format!("{name} {factor}"), *slope, &wanted["per_unit"]);
            self.number(&format!("{name} {factor} low"), *low, &wanted["low"]);
            self.number(&format!("{name} {factor} high"), *high, &wanted["high"]);
        }
    }

    fn serialised(
        &mut self,
        what: &str,
        found: &impl serde::Serialize,
        expected: &Value,
        skip: &[&str],
    ) {
        let found = serde_json::to_value(found).unwrap();
        for (key, wanted) in expected.as_object().into_iter().flatten() {
            let key = if key == "fds" { "descriptors" } else { key };
            match &found[key] {
                _ if skip.contains(&key) => {}
                Value::Number(n) => {
                    self.number(&format!("{what}.{key}"), n.as_f64().unwrap(), wanted)
                }
                other => self.same(&format!("{what}.{key}"), other, wanted),
            }
        }
        self.same(what, found.is_null(), expected.is_null());
    }
}

fn keys(object: &Value) -> BTreeSet<&str> {
    object
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, _)| k.as_str())
        .collect()
}

fn effect_name(effect: &Effect) -> String {
    match effect {
        Effect::Per(factor) => factor.to_string(),
        Effect::PerSecond(factor) => format!("z{factor}"),
    }
}

fn short(signal: Signal) -> &'static str {
    match signal {
        Signal::Descriptors => "fds",
        other => other.name(),
    }
}

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Leak => "LEAK",
        Verdict::UnexplainedGrowth => "UNEXPLAINED GROWTH",
        Verdict::Saturating => "SATURATING",
        Verdict::Clean => "CLEAN",
        Verdict::Inconclusive => "INCONCLUSIVE",
    }
}

fn judged(name: &str) -> (Evidence, Judgement) {
    let csv = fs::read_to_string(traces().join(format!("{name}.csv"))).unwrap();
    let trace = trace::read(&csv).unwrap();
    let judgement = verdict::judge(&trace.evidence, &Rules::default());
    (trace.evidence, judgement)
}

fn compare(name: &'static str) -> Vec<String> {
    let (evidence, judgement) = judged(name);
    let expected = json(name, "expected");
    let mut c = Comparison {
        name,
        wrong: Vec::new(),
    };
    let named = |(e, i): &(Effect, Interval)| (effect_name(e), *i);
    let leaks: Vec<_> = judgement
        .leaks
        .iter()
        .map(|l| named(&(l.effect, l.interval)))
        .collect();
    let intervals: Vec<_> = judgement.intervals.iter().map(named).collect();
    c.intervals("leaks", &leaks, &expected["leaks"]);
    c.intervals("intervals", &intervals, &expected["intervals"]);
    c.same(
        "verdict",
        verdict_name(judgement.verdict),
        expected["verdict"].as_str().unwrap(),
    );
    c.same(
        "series",
        judgement.signal.unwrap().name(),
        expected["series"].as_str().unwrap(),
    );
    let saturating = judgement
        .saturating
        .iter()
        .map(|f| f.name().to_owned())
        .collect();
    c.same(
        "saturating",
        serde_json::to_value::<Vec<String>>(saturating).unwrap(),
        expected["saturating"].clone(),
    );
    precision(&mut c, &evidence, &expected);
    if evidence.memory[0].rows.kind == Kind::Assay {
        beside_memory(&mut c, &judgement, &expected);
    }
    let mut accused: BTreeSet<String> = leaks.iter().map(|l| l.0.clone()).collect();
    for counter in &judgement.counters {
        let left = counter.left_leak().map(|_| "closed".to_owned());
        let factors = counter.leaks.iter().map(|l| l.0.to_string()).chain(left);
        accused.extend(factors.map(|f| format!("{}:{f}", short(counter.signal))));
    }
    c.same(
        "factors",
        serde_json::to_value(&accused).unwrap(),
        expected["factors"].clone(),
    );
    for (factor, bound) in expected["clean_up_to"].as_object().into_iter().flatten() {
        let found = intervals.iter().find(|i| i.0 == *factor).unwrap();
        c.number(&format!("clean up to {factor}"), found.1.upper(), bound);
    }
    c.wrong
}

fn precision(c: &mut Comparison, evidence: &Evidence, expected: &Value) {
    let best = &evidence.memory[0];
    let resident = &evidence.memory.last().unwrap().rows.precision;
    c.number(
        "footprint",
        resident.footprint,
        &expected["footprint_bytes"],
    );
    c.number(
        "retained",
        best.rows.precision.retained,
        &expected["retained_share"],
    );
    if best.signal == Signal::Rss {
        // A collected heap has no pages; the reference prints its smallest step and does not use it.
        c.number(
            "granularity",
            best.rows.precision.granularity,
            &expected["granularity_bytes"],
        );
    }
}

fn beside_memory(c: &mut Comparison, judgement: &Judgement, expected: &Value) {
    c.same(
        "counters",
        judgement.counters.len(),
        keys(&expected["counters"]).len(),
    );
    for counter in &judgement.counters {
        c.counter(counter, &expected["counters"][short(counter.signal)]);
        c.serialised(
            "left",
            &counter.left,
            &expected["left_in_rests"][short(counter.signal)],
            &[],
        );
    }
    c.serialised("growth", &judgement.growth, &expected["growth"], &[]);
    c.serialised("residue", &judgement.residue, &expected["residue"], &[]);
    let rests = expected["rests"].as_array().unwrap();
    c.same("rests", judgement.rests.len(), rests.len());
    for (i, rest) in rests.iter().enumerate() {
        // In the first rest the reference measures from the value before its first collection; we measure from the collection.
        let skip: &[&str] = if i == 0 { &["heap_growth"] } else { &[] };
        c.serialised(&format!("rest {i}"), &judgement.rests[i], rest, skip);
    }
    if let Some(wanted) = expected.get("rss_leaks") {
        let (_, look) = judgement
            .others
            .iter()
            .find(|o| o.0 == Signal::Rss)
            .unwrap();
        let found: Vec<_> = look
            .leaks
            .iter()
            .map(|f| (f.to_string(), look.interval(*f).unwrap()))
            .collect();
        c.intervals("rss_leaks", &found, wanted);
    }
}

#[test]
fn every_number_of_an_assay_equals_the_reference() {
    let wrong: Vec<String> = [
        "assay-L_event-1024-0",
        "assay-L_fin-1024-0",
        "assay-L_rst_sess-1024-0",
        "assay-L_session-1024-0",
        "assay-Z_all_gc-1000-0",
        "assay-Z_fin-300-0",
        "assay-arena_hw-0-0",
        "assay-autocat_gc-0-0",
        "assay-cache_hard-0-0",
        "assay-flat-0-0",
        "assay-gc_grow-0-0",
        "assay-warmup-0-0",
    ]
    .into_iter()
    .flat_map(compare)
    .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_number_of_a_soak_equals_the_reference() {
    let wrong = compare("soak-L_rst-1024-0");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
