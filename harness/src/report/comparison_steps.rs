//! A comparison of two step loads.

use std::fmt::Write as _;

use super::{comparison::word, facts::whole, stairs::short};
use crate::{
    diagnose::{
        compare_steps::{StepChange, StepsComparison},
        finding::sentence::amount,
    },
    units::bytes,
};

pub(super) fn text(comparison: &StepsComparison) -> String {
    let mut out = format!(
        "{}  {}\n\n",
        word(comparison.change).to_uppercase(),
        comparison.text
    );
    let mut line = |cells: [String; 6]| {
        let [users, means, difference, rates, memory, change] = cells;
        let text =
            format!("  {users:>5} {means:>13} {difference:30}{rates:>11} {memory:>12}  {change}");
        writeln!(out, "{}", text.trim_end()).expect("a string takes everything");
    };
    line(
        [
            "users",
            "mean, s",
            "difference (95 %)",
            "per s",
            "memory, MiB",
            "",
        ]
        .map(String::from),
    );
    for step in &comparison.steps {
        line(cells(step));
    }
    out
}

pub(super) fn markdown(comparison: &StepsComparison) -> String {
    let mut out = format!(
        "# {}\n\n{}\n\n| users | mean, s | difference (95 %) | per second | memory, MiB | |\n|---:|---:|---|---:|---:|---|\n",
        word(comparison.change),
        comparison.text
    );
    for step in &comparison.steps {
        writeln!(out, "| {} |", cells(step).join(" | ")).expect("a string takes everything");
    }
    for assumption in &comparison.assumptions {
        writeln!(out, "\n- {assumption}").expect("a string takes everything");
    }
    out
}

/// A line a step, for other programs. Sizes in bytes, times in seconds; what is not known is empty.
pub(super) fn csv(comparison: &StepsComparison) -> String {
    let mut out = String::from(
        "users,mean_before_s,mean_after_s,difference_s,low_s,high_s,memory_before_bytes,memory_after_bytes,change\n",
    );
    let cell = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    for step in &comparison.steps {
        let [was, is] = step.target_memory_bytes;
        let numbers = [
            step.mean_before_s,
            step.mean_after_s,
            step.difference_s,
            step.low_s,
            step.high_s,
            was,
            is,
        ];
        let cells: Vec<String> = numbers.into_iter().map(cell).collect();
        writeln!(
            out,
            "{},{},{}",
            step.users,
            cells.join(","),
            word(step.change)
        )
        .expect("a string takes everything");
    }
    out
}

fn cells(step: &StepChange) -> [String; 6] {
    let pair = |of: [Option<f64>; 2], tell: fn(f64) -> String| {
        let [was, is] = of.map(|value| value.map_or_else(|| "?".into(), tell));
        format!("{was} → {is}")
    };
    [
        whole(f64::from(step.users)),
        pair([step.mean_before_s, step.mean_after_s], short),
        step.difference(),
        pair(step.throughput_per_s.map(Some), amount),
        pair(step.target_memory_bytes, mebibytes),
        word(step.change).into(),
    ]
}

fn mebibytes(size: f64) -> String {
    let text = bytes(size);
    text.strip_suffix(" MiB").map_or(text.clone(), String::from)
}
