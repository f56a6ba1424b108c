//! A comparison of two runs, for a terminal, a pull request, or a program.

use std::fmt::Write as _;

use super::{Format, csv, junit};
use crate::diagnose::{
    compare::{Change, Changed, Comparison},
    finding::sentence::amount,
};

pub(super) fn render(format: Format, comparison: &Comparison) -> String {
    match format {
        Format::Text => text(comparison),
        Format::Markdown => markdown(comparison),
        Format::Json | Format::Html => {
            serde_json::to_string_pretty(comparison).expect("a comparison is JSON") + "\n"
        }
        Format::Junit => junit::comparison(comparison),
        Format::Csv => csv::comparison(comparison),
    }
}

pub(super) const fn word(change: Change) -> &'static str {
    match change {
        Change::Worse => "worse",
        Change::Better => "better",
        Change::Fixed => "fixed",
        Change::Same => "same",
        Change::CannotTell => "cannot tell",
    }
}

fn cells(changed: &Changed) -> [String; 5] {
    [
        changed.factor.into(),
        format!("{} B", amount(changed.before)),
        format!("{} B", amount(changed.after)),
        format!(
            "{} B ({} … {})",
            amount(changed.difference),
            amount(changed.low),
            amount(changed.high)
        ),
        word(changed.change).into(),
    ]
}

const HEAD: [&str; 5] = ["per", "before", "after", "difference (95 %)", ""];

fn text(comparison: &Comparison) -> String {
    let mut out = format!("{}\n\n", word(comparison.change).to_uppercase());
    let mut line = |[factor, before, after, difference, change]: [&str; 5]| {
        writeln!(
            out,
            "  {factor:12}{before:>12}{after:>12}   {difference:28}{change}"
        )
        .expect("a string takes everything");
    };
    line(HEAD);
    for changed in &comparison.factors {
        let cells = cells(changed);
        line(cells.each_ref().map(String::as_str));
    }
    alone(&mut out, comparison);
    out
}

fn markdown(comparison: &Comparison) -> String {
    let mut out = format!(
        "# {}\n\n| {} |\n|---|---|---|---|---|\n",
        word(comparison.change),
        HEAD.join(" | ")
    );
    for changed in &comparison.factors {
        writeln!(out, "| {} |", cells(changed).join(" | ")).expect("a string takes everything");
    }
    out.push('\n');
    alone(&mut out, comparison);
    out
}

fn alone(out: &mut String, comparison: &Comparison) {
    if !comparison.only_one.is_empty() {
        writeln!(
            out,
            "  judged in one of the runs only: {}",
            comparison.only_one.join(", ")
        )
        .expect("a string takes everything");
    }
}
