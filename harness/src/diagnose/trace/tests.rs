//! Whatever is done to a file, the judge says what is wrong with it and judges the rest.

use proptest::prelude::*;

use super::*;
use crate::{
    diagnose::verdict::{Rules, Verdict, judge},
    units::{Factor, Leave},
};

const LEAKING: &str = include_str!("../../../tests/traces/assay-L_fin-1024-0.csv");
const EATING: &str = include_str!("../../../tests/traces/assay-Z_fin-300-0.csv");

fn lines(csv: &str) -> Vec<String> {
    csv.lines().map(Into::into).collect()
}

fn joined(lines: &[String]) -> String {
    lines.join("\n") + "\n"
}

/// The file with one cell replaced; `line` as an editor counts.
fn with_cell(csv: &str, line: usize, column: &str, cell: &str) -> String {
    let mut lines = lines(csv);
    let at = lines[0].split(',').position(|name| name == column).unwrap();
    let mut cells: Vec<&str> = lines[line - 1].split(',').collect();
    cells[at] = cell;
    lines[line - 1] = cells.join(",");
    joined(&lines)
}

fn complaints(csv: &str) -> Vec<String> {
    let trace = read(csv).unwrap();
    let bad = trace.problems.iter().filter(|p| p.what != What::Missing);
    bad.map(ToString::to_string).collect()
}

fn leaks(csv: &str) -> Vec<String> {
    let judgement = judge(&read(csv).unwrap().evidence, &Rules::default());
    judgement
        .leaks
        .iter()
        .map(|l| format!("{:?}", l.effect))
        .collect()
}

#[test]
fn a_good_file_has_no_complaints() {
    assert_eq!(complaints(LEAKING), [] as [&str; 0]);
    assert_eq!(complaints(EATING), [] as [&str; 0]);
}

#[test]
fn bad_cells_are_named_by_line_and_column_and_cost_one_row() {
    for (line, column, cell, complaint) in [
        (
            100,
            "rss_bytes",
            "NaN",
            "line 100: rss_bytes: `NaN` cannot be used; row left out",
        ),
        (
            100,
            "rss_bytes",
            "",
            "line 100: rss_bytes: `` cannot be used; row left out",
        ),
        (
            100,
            "rss_bytes",
            "-4096",
            "line 100: rss_bytes: `-4096` cannot be used; row left out",
        ),
        (
            100,
            "phase",
            "lunch",
            "line 100: phase: `lunch` cannot be used; row left out",
        ),
        (
            100,
            "cycle",
            "1.5",
            "line 100: cycle: `1.5` cannot be used; row left out",
        ),
        (
            100,
            "closed_fin_total",
            "7",
            "line 100: closed_fin_total: a total fell; value before it repeated",
        ),
        (
            100,
            "live_connections",
            "many",
            "line 100: live_connections: `many` cannot be used; value before it repeated",
        ),
        (
            100,
            "t_s",
            "97",
            "line 100: second row for this time; left out",
        ),
        (
            100,
            "cycle",
            "-3",
            "line 100: cycle number fell; row left out",
        ),
    ] {
        let broken = with_cell(LEAKING, line, column, cell);
        assert_eq!(complaints(&broken), [complaint]);
        assert_eq!(leaks(&broken), ["Per(Closed(Fin))"], "{complaint}");
    }
}

#[test]
fn a_total_that_falls_for_a_second_changes_nothing_while_it_stood_still() {
    let reads = lines(LEAKING)
        .iter()
        .rposition(|l| l.contains(",read,"))
        .unwrap();
    let fallen = with_cell(LEAKING, reads, "closed_fin_total", "7");
    let doses = |csv: &str| read(csv).unwrap().evidence.memory[0].rows.doses.clone();
    assert_eq!(doses(&fallen), doses(LEAKING));
    assert_eq!(complaints(&fallen).len(), 1);
}

#[test]
fn rows_in_any_order_are_judged_in_order_of_time() {
    let mut shuffled = lines(LEAKING);
    shuffled[40..60].reverse();
    assert_eq!(complaints(&joined(&shuffled)).len(), 19);
    assert_eq!(leaks(&joined(&shuffled)), ["Per(Closed(Fin))"]);
}

#[test]
fn a_row_written_twice_counts_once() {
    let mut doubled = lines(LEAKING);
    doubled.insert(120, doubled[119].clone());
    assert_eq!(
        complaints(&joined(&doubled)),
        ["line 121: second row for this time; left out"]
    );
}

#[test]
fn a_file_cut_in_the_middle_of_a_number_loses_that_row() {
    let cut = &LEAKING[..LEAKING.len() - 4]; // 63434752 would read as 63434
    assert_eq!(complaints(cut), ["line 300: row ends too early; left out"]);
    let half = &LEAKING[..LEAKING.len() / 2 + 7];
    assert!(!complaints(half).is_empty());
    assert!(
        judge(&read(half).unwrap().evidence, &Rules::default())
            .look
            .is_some()
    );
}

#[test]
fn a_missing_column_narrows_what_is_judged() {
    let without = |csv: &str, column: &str| {
        let renamed = csv.replacen(column, "unused", 1);
        read(&renamed)
    };
    assert!(matches!(
        without(LEAKING, "rss_bytes"),
        Err(TraceError::MissingColumn("rss_bytes"))
    ));
    let trace = without(LEAKING, "closed_fin_total").unwrap();
    let judgement = judge(&trace.evidence, &Rules::default());
    assert!(
        judgement
            .intervals
            .iter()
            .all(|(e, _)| *e != verdict_effect(Leave::Fin))
    );
    let blind = without(EATING, "heap_used_bytes").unwrap();
    assert!(
        blind
            .problems
            .iter()
            .any(|p| p.column.as_deref() == Some("heap_used_bytes"))
    );
    assert_eq!(
        judge(&blind.evidence, &Rules::default()).verdict,
        Verdict::Leak
    ); // the CPU still says so
}

fn verdict_effect(leave: Leave) -> crate::diagnose::verdict::Effect {
    crate::diagnose::verdict::Effect::Per(Factor::Closed(leave))
}

#[test]
fn what_is_no_trace_is_refused_with_a_reason() {
    for (csv, reason) in [
        ("", "column `t_s` is missing"),
        ("t_s,phase\n1,read\n", "column `cycle` is missing"),
        (
            "t_s,phase,cycle,rss_bytes\n",
            "not one cycle with a reading",
        ),
        (
            "t_s,phase,cycle,rss_bytes\n0,dose,0,4096\n",
            "not one cycle with a reading",
        ),
    ] {
        assert_eq!(read(csv).unwrap_err().to_string(), reason);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_damage_to_a_file_makes_the_judge_panic(
        cuts in prop::collection::vec((0usize..28_000, 0usize..40, "[-0-9,.\\n a-zNx]{0,12}"), 1..12)
    ) {
        let mut text = EATING.as_bytes().to_vec();
        for (at, length, insert) in cuts {
            let at = at.min(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, insert.into_bytes());
        }
        if let Ok(trace) = read(&String::from_utf8_lossy(&text)) {
            judge(&trace.evidence, &Rules::default());
        }
    }
}
