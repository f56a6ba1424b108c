//! The table of an allocation profile, for a terminal and for a page.

use std::fmt::Write as _;

use super::facts::whole;
use crate::{
    diagnose::{
        allocations::{Allocations, CostPerClient, PerUnit, Row, Table, counted, word},
        finding::sentence::amount,
    },
    record::{Frame, Place},
    units::bytes,
};

/// Rows of one table on a terminal.
const MOST_ROWS: usize = 8;

/// Lines of one function.
const MOST_LINES: usize = 4;

pub(super) fn text(allocations: &Allocations) -> String {
    let mut out = String::new();
    for table in &allocations.windows {
        push(
            &mut out,
            format_args!(
                "\n  kept per {}, by line: {}\n",
                word(table.of.0),
                how(table)
            ),
        );
        if table.rows.is_empty() {
            push(
                &mut out,
                format_args!(
                    "    nothing; not more than {} B each (95 %)\n",
                    amount(table.bound_bytes)
                ),
            );
            continue;
        }
        for row in table.rows.iter().take(MOST_ROWS) {
            push(
                &mut out,
                format_args!(
                    "  {:>8} B  {:14}{:>6}  {}\n",
                    amount(row.kept.bytes),
                    range(&row.kept),
                    percent(row.share),
                    called(row)
                ),
            );
            push(
                &mut out,
                format_args!("            {:20}  {}\n", blocks(&row.kept), lines(row)),
            );
        }
        push(
            &mut out,
            format_args!(
                "  {:>8} B  everything{}\n",
                amount(table.total.bytes),
                explained(table)
            ),
        );
        let hidden = table.rows.len().saturating_sub(MOST_ROWS);
        if hidden > 0 {
            push(
                &mut out,
                format_args!("            {hidden} more rows: see findings.json\n"),
            );
        }
        push(
            &mut out,
            format_args!(
                "            beside these rows not more than {} B (95 %)\n",
                amount(table.bound_bytes)
            ),
        );
    }
    for cost in &allocations.cost {
        push(&mut out, format_args!("  profiler  {}\n", price(cost)));
    }
    for note in &allocations.notes {
        push(&mut out, format_args!("  profiler  {note}\n"));
    }
    out
}

pub(super) fn markdown(allocations: &Allocations) -> String {
    let mut out = String::from("\n## Which lines keep what\n\n");
    for table in &allocations.windows {
        push(
            &mut out,
            format_args!(
                "### Per {}\n\n{}.\n\n",
                word(table.of.0),
                sentence_case(&how(table))
            ),
        );
        if table.rows.is_empty() {
            push(
                &mut out,
                format_args!(
                    "Nothing is kept: not more than {} B each (95 %).\n\n",
                    amount(table.bound_bytes)
                ),
            );
            continue;
        }
        out.push_str("| bytes | 95 % interval | blocks | samples | share | function | line |\n|---:|---|---:|---:|---:|---|---|\n");
        for row in &table.rows {
            push(
                &mut out,
                format_args!(
                    "| {} B | {} | {} | {} | {} | `{}` | {} |\n",
                    amount(row.kept.bytes),
                    range(&row.kept),
                    amount(row.kept.blocks),
                    whole(row.kept.samples),
                    percent(row.share),
                    row.function.replace('`', "'").replace('|', "\\|"),
                    lines(row),
                ),
            );
        }
        push(
            &mut out,
            format_args!(
                "\nEverything: {} B ({}){}. Beside these rows not more than {} B (95 %).\n\n",
                amount(table.total.bytes),
                range(&table.total),
                explained(table),
                amount(table.bound_bytes)
            ),
        );
    }
    for line in allocations
        .cost
        .iter()
        .map(price)
        .chain(allocations.notes.iter().cloned())
    {
        push(&mut out, format_args!("- {line}\n"));
    }
    out
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes everything");
}

/// `20,000 sessions in 14 s, 1 sample in 8.0 KiB, 1,451 samples`.
fn how(table: &Table) -> String {
    let sampling = match table.lg_sample {
        Some(lg) => format!(
            "1 sample in {}, {} samples",
            bytes(2_f64.powi(i32::from(lg))),
            whole(table.total.samples)
        ),
        None => "every allocation".into(),
    };
    let quiet = if table.quiet {
        ""
    } else {
        ", not all of them forgotten by the target"
    };
    format!(
        "{} in {:.0} s, {sampling}{quiet}",
        counted(table.of.0, table.units),
        table.length_s
    )
}

/// `590 … 651`, or `exact`.
pub(super) fn range(kept: &PerUnit) -> String {
    if kept.high - kept.low < 1e-9 {
        return "exact".into();
    }
    format!("{} … {}", amount(kept.low), amount(kept.high))
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn blocks(kept: &PerUnit) -> String {
    let blocks = amount((kept.blocks * 100.0).round() / 100.0);
    if kept.high - kept.low < 1e-9 {
        format!("{blocks} blocks")
    } else {
        format!("{blocks} blocks, k {}", whole(kept.samples))
    }
}

/// `target-server/src/sessions.rs:112, 118`.
pub(super) fn lines(row: &Row) -> String {
    let Some(file) = &row.file else {
        return "?".into();
    };
    let here = row
        .lines
        .iter()
        .filter(|line| line.file.as_ref() == Some(file));
    let numbers: Vec<String> = here
        .filter_map(|line| line.line)
        .take(MOST_LINES)
        .map(|line| line.to_string())
        .collect();
    format!("{file}:{}", numbers.join(", "))
}

/// `src/sessions.rs:112`, where it is known.
pub(super) fn place(frame: &Frame) -> String {
    match (&frame.file, frame.line) {
        (Some(file), Some(line)) => format!("{file}:{line}"),
        (Some(file), None) => file.clone(),
        (None, _) => String::new(),
    }
}

/// The function, and the one that called it.
fn called(row: &Row) -> String {
    let own = row.frames.iter().filter(|frame| frame.place == Place::Own);
    let caller = own
        .map(|frame| &frame.function)
        .find(|function| **function != row.function);
    match caller {
        Some(caller) => format!("{} ← {caller}", row.function),
        None => row.function.clone(),
    }
}

fn explained(table: &Table) -> String {
    let Some(measured) = table.measured.filter(|measured| measured.bytes > 0.0) else {
        return String::new();
    };
    format!(
        "; the rows are {} of the {} B that were measured without the profiler",
        percent(measured.explained),
        amount(measured.bytes)
    )
}

/// `1 sample in 512 KiB: 142 µs of CPU per client, 147 µs without (+3 %)`.
fn price(cost: &CostPerClient) -> String {
    let rate = match cost.lg_sample {
        Some(lg) => format!("1 sample in {}", bytes(2_f64.powi(i32::from(lg)))),
        None => "every allocation".into(),
    };
    format!(
        "{rate}: {} µs of CPU per client, {} µs without ({:+.0} %)",
        whole(cost.on_us),
        whole(cost.off_us),
        cost.more * 100.0
    )
}

fn sentence_case(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}
