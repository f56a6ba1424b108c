//! For code review: Markdown for a pull request, and annotations of GitHub's log format.

use std::fmt::Write as _;

use super::{
    allocations::{lines, range},
    sarif::{level, rows, sentence},
};
use crate::{
    diagnose::{
        allocations::{Change, Changed, Review, Row, word},
        finding::{Findings, sentence::amount},
    },
    profile::Unit,
    record::Place,
};

/// Stacks that a reviewer is shown with their source.
const SHOWN: usize = 3;

/// Lines around the one that keeps most.
const AROUND: usize = 2;

/// Text of a file of the repository; `None` if it is not at hand.
pub type Source<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A comment on a pull request: the verdict, the worst stacks with their source, before → after if there is a baseline.
pub(super) fn pull_request(
    findings: &Findings,
    review: Option<&Review>,
    source: Source<'_>,
) -> String {
    let mut out = String::from("<!-- sse-soak -->\n");
    push(
        &mut out,
        format_args!(
            "### Memory kept of clients that left\n\n**{}**\n\n",
            plain(&findings.text)
        ),
    );
    let shown: Vec<Changed> = match review {
        Some(review) => {
            changes(&mut out, review);
            let worth = review.rows.iter().filter(|row| row.after.is_some());
            worth.take(SHOWN).cloned().collect()
        }
        None => rows(findings)
            .take(SHOWN)
            .map(|(of, row)| unreviewed(of, row))
            .collect(),
    };
    if shown.is_empty() {
        out.push_str(&bounds(findings));
    }
    for changed in &shown {
        stack(&mut out, changed, source);
    }
    out
}

fn unreviewed(of: Unit, row: &Row) -> Changed {
    Changed {
        of,
        change: Change::NotCompared,
        before: None,
        after: Some(row.clone()),
        on_changed_lines: None,
    }
}

fn bounds(findings: &Findings) -> String {
    let tables = findings.allocations.iter().flat_map(|all| &all.windows);
    let said: Vec<String> = tables
        .map(|table| format!("{} B per {}", amount(table.bound_bytes), table.of.0))
        .collect();
    if said.is_empty() {
        return "No allocation profile was taken.\n".into();
    }
    format!("No line keeps anything above {} (95 %).\n", said.join(", "))
}

fn changes(out: &mut String, review: &Review) {
    if review.rows.is_empty() {
        return;
    }
    out.push_str(
        "| | per | before | after | where | changed here |\n|---|---|---:|---:|---|---|\n",
    );
    let bytes = |row: &Option<Row>| {
        row.as_ref()
            .map_or_else(|| "–".into(), |row| format!("{} B", amount(row.kept.bytes)))
    };
    for changed in &review.rows {
        let here = match changed.on_changed_lines {
            Some(true) => "yes",
            Some(false) => "no",
            None => "",
        };
        push(
            out,
            format_args!(
                "| {} | {} | {} | {} | `{}` {} | {here} |\n",
                changed.change.name(),
                word(changed.of.0),
                bytes(&changed.before),
                bytes(&changed.after),
                plain(&changed.row().function),
                lines(changed.row()),
            ),
        );
    }
    out.push('\n');
}

fn stack(out: &mut String, changed: &Changed, source: Source<'_>) {
    let row = changed.row();
    let before = match (&changed.before, changed.change) {
        (Some(before), _) => format!(" (before: {} B)", amount(before.kept.bytes)),
        (None, Change::New) => " (new)".into(),
        _ => String::new(),
    };
    push(
        out,
        format_args!(
            "**{} B per {}**{before}, {}, {} blocks: `{}` in {}\n\n",
            amount(row.kept.bytes),
            word(changed.of.0),
            range(&row.kept),
            amount((row.kept.blocks * 100.0).round() / 100.0),
            plain(&row.function),
            lines(row)
        ),
    );
    if let Some(text) = row
        .file
        .as_deref()
        .and_then(source)
        .zip(row.line)
        .map(|(text, line)| around(&text, line))
    {
        push(out, format_args!("```\n{text}```\n\n"));
    }
    let own = row.frames.iter().filter(|frame| frame.place == Place::Own);
    let called: Vec<String> = own
        .map(|frame| {
            format!(
                "{}:{}",
                frame.file.as_deref().unwrap_or("?"),
                frame.line.unwrap_or(0)
            )
        })
        .collect();
    if called.len() > 1 {
        push(
            out,
            format_args!(
                "<details><summary>reached by</summary>\n\n{}\n\n</details>\n\n",
                called.join(" ← ")
            ),
        );
    }
}

/// A few lines of a file with their numbers; the one that matters is marked.
fn around(text: &str, line: u32) -> String {
    let line = line as usize;
    let numbered = (1..).zip(text.lines());
    let near = numbered.filter(|(number, _): &(usize, _)| number.abs_diff(line) <= AROUND);
    let mut out = String::new();
    for (number, text) in near {
        let mark = if number == line { '>' } else { ' ' };
        push(
            &mut out,
            format_args!("{mark} {number:>5}  {}\n", text.replace("```", "'''")),
        );
    }
    out
}

/// `::warning file=src/a.rs,line=41,title=…::…`: GitHub shows it beside the line.
pub(super) fn annotations(findings: &Findings, review: Option<&Review>) -> String {
    let level = level(findings).replace("note", "notice");
    let mut out = String::new();
    let mut say = |of: Unit, row: &Row, title: &str| {
        let Some(file) = row
            .file
            .as_deref()
            .filter(|_| row.frames.iter().any(|frame| frame.place == Place::Own))
        else {
            return;
        };
        push(
            &mut out,
            format_args!(
                "::{level} file={},line={},title={}::{}\n",
                property(file),
                row.line.unwrap_or(1),
                property(title),
                message(&sentence(of, row))
            ),
        );
    };
    match review {
        Some(review) => {
            let worse = review
                .rows
                .iter()
                .filter(|changed| changed.change.is_worse());
            worse.for_each(|changed| {
                say(
                    changed.of,
                    changed.row(),
                    &format!("Memory kept: {}", changed.change.name()),
                )
            });
        }
        None => rows(findings).for_each(|(of, row)| say(of, row, "Memory kept")),
    }
    out
}

/// What a message must not contain as it is.
fn message(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// What a property must not contain as it is.
fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

/// Text of others must not become markup.
fn plain(text: &str) -> String {
    text.replace('|', "\\|")
        .replace('<', "&lt;")
        .replace('`', "'")
        .replace(['\n', '\r'], " ")
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes everything");
}

/// A review for a terminal.
pub(super) fn text(findings: &Findings, review: &Review) -> String {
    let mut out = format!("{}\n\n", findings.text);
    if review.rows.is_empty() {
        out.push_str("  no line keeps anything, neither before nor after\n");
    }
    let bytes = |row: &Option<Row>| {
        row.as_ref()
            .map_or_else(|| "–".into(), |row| amount(row.kept.bytes))
    };
    for changed in &review.rows {
        let row = changed.row();
        let here = match changed.on_changed_lines {
            Some(true) => "  (on changed lines)",
            _ => "",
        };
        push(
            &mut out,
            format_args!(
                "  {:12} {:>8} → {:>8} B per {:10}  {}{here}\n{:15}{}\n",
                changed.change.name(),
                bytes(&changed.before),
                bytes(&changed.after),
                changed.of.0,
                row.function,
                "",
                lines(row)
            ),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_an_annotation_early_is_written_otherwise() {
        assert_eq!(property("a,b:c\n50 %"), "a%2Cb%3Ac%0A50 %25");
        assert_eq!(message("a,b:c\n"), "a,b:c%0A");
    }

    #[test]
    fn the_line_that_matters_is_marked_among_its_neighbours() {
        let shown = around("a\nb\nc\nd\ne\nf\n", 2);
        assert_eq!(shown, "      1  a\n>     2  b\n      3  c\n      4  d\n");
        assert_eq!(around("a\n", 99), "");
    }
}
