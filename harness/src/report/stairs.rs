//! The steps of a step load as tables: first what users felt, then what it cost the target and, apart from it, the machine.

use std::fmt::Write as _;

use super::facts::whole;
use crate::{
    diagnose::{finding::sentence::amount, staircase::Stair},
    units::bytes,
};

/// Tables for a terminal, 80 columns.
pub(super) fn text(out: &mut String, stairs: &[Stair]) {
    if stairs.is_empty() {
        return;
    }
    let mut line = |text: String| {
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(format!(
        "  {:>6}{:>9}{:>8}{:>8} {:>7}{:>7}{:>7}{:>7}{:>7}{:>7}",
        "users", "requests", "ok %", "per s", "mean", "min", "max", "p50", "p95", "p99"
    ));
    for stair in stairs {
        let [users, requests, ok, rate, mean, min, max, p50, p95, p99, _] = felt(stair);
        line(format!(
            "{} {users:>6}{requests:>9}{ok:>8}{rate:>8} {mean:>7}{min:>7}{max:>7}{p50:>7}{p95:>7}{p99:>7}",
            sign(stair)
        ));
    }
    line(String::new());
    line(format!(
        "  {:>6}{:>15} {:>7}{:>10}{:>10}{:>7} {:>7}{:>10}",
        "", "first event", "target", "", "after", "of", "host", "",
    ));
    line(format!(
        "  {:>6}{:>15} {:>7}{:>10}{:>10}{:>7} {:>7}{:>10}",
        "users", "p50 / p95", "cores", "memory", "rest", "limit", "idle", "available",
    ));
    for stair in stairs {
        let [
            users,
            first,
            cores,
            memory,
            rested,
            share,
            idle,
            available,
            _,
        ] = cost(stair);
        line(format!(
            "{} {users:>6}{first:>15} {cores:>7}{memory:>10}{rested:>10}{share:>7} {idle:>7}{available:>10}",
            sign(stair)
        ));
    }
    line("  times in seconds; ! met a stop condition; host memory is not the target's".into());
    line(String::new());
}

/// The same as Markdown.
pub(super) fn markdown(out: &mut String, stairs: &[Stair]) {
    if stairs.is_empty() {
        return;
    }
    out.push_str("## Steps\n\nTimes in seconds, of a whole answer, from when it was due.\n\n");
    table(
        out,
        "users | requests | success | per second | mean | min | max | p50 | p95 | p99 | met",
        stairs.iter().map(felt),
    );
    out.push_str(
        "\nWhat it cost: the target's own memory and limit, and beside it the machine, which is not the target.\n\n",
    );
    table(
        out,
        "users | first event p50 / p95 | target cores | target memory | after the rest | of its limit | host idle | host available | load generator cores",
        stairs.iter().map(cost),
    );
    out.push('\n');
}

fn table<const N: usize>(out: &mut String, head: &str, rows: impl Iterator<Item = [String; N]>) {
    writeln!(out, "| {head} |\n|{}", "---:|".repeat(N)).expect("a string takes everything");
    for row in rows {
        writeln!(out, "| {} |", row.join(" | ")).expect("a string takes everything");
    }
}

fn sign(stair: &Stair) -> char {
    if stair.met.is_empty() { ' ' } else { '!' }
}

/// Three digits that mean something: `0.087`, `1.24`, `12.4`.
pub(super) fn short(seconds: f64) -> String {
    let digits = match seconds {
        s if s < 1.0 => 3,
        s if s < 10.0 => 2,
        _ => 1,
    };
    format!("{seconds:.digits$}")
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(unknown, |share| format!("{:.1}", 100.0 * share))
}

fn unknown() -> String {
    "?".into()
}

/// What users felt.
fn felt(stair: &Stair) -> [String; 11] {
    let time = |of: fn(&crate::diagnose::staircase::Times) -> f64| {
        let times = stair.response.as_ref();
        times.map_or_else(unknown, |times| short(of(times)))
    };
    let met: Vec<String> = stair.met.iter().map(ToString::to_string).collect();
    [
        stair.users.to_string(),
        whole(stair.requests),
        percent(stair.success_share),
        amount(stair.throughput_per_s),
        time(|times| times.mean_s),
        time(|times| times.min_s),
        time(|times| times.max_s),
        time(|times| times.p50_s),
        time(|times| times.p95_s),
        time(|times| times.p99_s),
        met.join("; "),
    ]
}

/// What it cost.
fn cost(stair: &Stair) -> [String; 9] {
    let number = |value: Option<f64>| value.map_or_else(unknown, |value| format!("{value:.2}"));
    let size = |value: Option<f64>| value.map_or_else(unknown, bytes);
    let first = stair.first_event.map_or_else(unknown, |times| {
        format!("{} / {}", short(times.p50_s), short(times.p95_s))
    });
    let limit = stair.target_limit_bytes.filter(|limit| *limit > 0.0);
    let share = stair
        .target_memory_bytes
        .zip(limit)
        .map(|(used, limit)| used / limit);
    let whole_percent =
        |share: Option<f64>| share.map_or_else(unknown, |share| format!("{:.0} %", 100.0 * share));
    [
        stair.users.to_string(),
        first,
        number(stair.target_cores),
        size(stair.target_memory_bytes),
        size(stair.target_rested_bytes),
        share.map_or_else(|| "none".into(), |share| whole_percent(Some(share))),
        whole_percent(stair.host_idle_share),
        size(stair.host_available_bytes),
        number(stair.own_cores),
    ]
}
