//! The report in Markdown: for a page, an issue, a pull request.

use std::fmt::Write as _;

use super::{
    facts::{Facts, times, whole},
    stairs,
};
use crate::{
    diagnose::finding::{Finding, Findings},
    record::Recording,
};

pub(super) fn render(recording: &Recording, findings: &Findings) -> String {
    let manifest = &recording.manifest;
    let facts = Facts::of(recording);
    let mut out = String::new();
    push(&mut out, format_args!("# {}\n\n", escaped(&findings.text)));
    push(
        &mut out,
        format_args!(
            "Profile `{}`, seed {}, sse-soak {}, {}; {} connections, {} sessions, {} events in {:.0} s, {} errors.\n\n",
            escaped(&manifest.profile),
            manifest.seed,
            manifest.version,
            manifest.started,
            facts.connections,
            facts.sessions,
            facts.events,
            facts.seconds,
            whole(facts.errors),
        ),
    );
    stairs::markdown(&mut out, &findings.steps);
    table(&mut out, findings);
    if let Some(allocations) = &findings.allocations {
        out.push_str(&super::allocations::markdown(allocations));
    }
    cleanup(&mut out, &facts);
    list(&mut out, "In the target's kernel", &facts.kernel);
    list(&mut out, "How it was done here", &facts.notes);
    assumptions(&mut out, findings);
    push(
        &mut out,
        format_args!(
            "## The harness\n\nOwn memory {}; {} samples lost, {} gaps.\n\n",
            facts.own,
            whole(facts.lost),
            facts.gaps
        ),
    );
    push(
        &mut out,
        format_args!("Run it again: `{}`\n", escaped(&manifest.command.join(" "))),
    );
    out
}

/// The findings alone.
pub(super) fn findings(findings: &Findings) -> String {
    let mut out = format!("# {}\n\n", escaped(&findings.text));
    table(&mut out, findings);
    assumptions(&mut out, findings);
    out
}

fn table(out: &mut String, findings: &Findings) {
    out.push_str("## Findings\n\n| verdict | factor | signal | per unit | 95 % interval | units | in words |\n|---|---|---|---|---|---|---|\n");
    for finding in &findings.findings {
        row(out, finding);
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes everything");
}

fn row(out: &mut String, finding: &Finding) {
    let number = |value: Option<f64>| value.map_or_else(String::new, short);
    let interval = match (finding.low, finding.high) {
        (Some(low), Some(high)) => format!("{} … {}", short(low), short(high)),
        _ => String::new(),
    };
    let verdict = serde_json::to_value(finding.verdict)
        .ok()
        .and_then(|name| name.as_str().map(String::from))
        .unwrap_or_default();
    let cells = [
        verdict,
        finding.factor.map_or("", |factor| factor.name()).into(),
        finding.signal.map_or("", |signal| signal.name()).into(),
        finding.bytes_per_unit.map_or_else(String::new, |value| {
            format!("{} {}", short(value), finding.unit)
        }),
        interval,
        number(finding.units),
        escaped(&finding.text),
    ];
    push(out, format_args!("| {} |\n", cells.join(" | ")));
}

fn short(value: f64) -> String {
    if value.abs() >= 100.0 {
        whole(value)
    } else {
        format!("{value:.3}")
            .trim_end_matches('0')
            .trim_end_matches('.')
            .into()
    }
}

fn cleanup(out: &mut String, facts: &Facts) {
    if facts.cleanup.is_empty() {
        return;
    }
    out.push_str("\n## Cleanup\n\nLeave modes by the kernel's count, `connections` and `sessions` by the target's own.\n\n");
    out.push_str("| of | left | lingering | gone after: p50, p99, max |\n|---|---|---|---|\n");
    for count in &facts.cleanup {
        let lingering = count.lingering.map_or_else(|| "?".into(), whole);
        push(
            out,
            format_args!(
                "| {} | {} | {lingering} | {} |\n",
                count.of,
                whole(count.left),
                times(count)
            ),
        );
    }
}

fn list(out: &mut String, title: &str, sentences: &[String]) {
    if sentences.is_empty() {
        return;
    }
    push(out, format_args!("\n## {title}\n\n"));
    for sentence in sentences {
        push(out, format_args!("- {}\n", escaped(sentence)));
    }
}

fn assumptions(out: &mut String, findings: &Findings) {
    let mut told: Vec<&str> = Vec::new();
    for assumption in findings
        .findings
        .iter()
        .flat_map(|finding| &finding.assumptions)
    {
        if !told.contains(&assumption.as_str()) {
            told.push(assumption);
        }
    }
    if told.is_empty() {
        return;
    }
    out.push_str("\n## What had to be taken for granted\n\n");
    for assumption in told {
        push(out, format_args!("- {}\n", escaped(assumption)));
    }
    out.push('\n');
}

/// Text of others (a profile's name, a server's answer) must not become markup.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '|' => out.push_str("\\|"),
            '<' => out.push_str("&lt;"),
            '\n' | '\r' => out.push(' '),
            other => out.push(other),
        }
    }
    out
}
