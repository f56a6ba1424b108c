//! Two runs as a page: what changed, with intervals, and both over each other, aligned where their judged cycles begin.

use super::{Data, figure, series, table};
use crate::{
    diagnose::{
        compare::{Change, Changed, Comparison},
        finding::sentence::amount,
    },
    page::{self, Document, escaped, foreign},
    record::Recording,
    report::comparison::word,
};

/// The page; the run from before the change comes first.
pub(in crate::report) fn comparison(comparison: &Comparison, runs: [&Recording; 2]) -> String {
    let data = series::over_each_other(runs);
    let body = format!(
        "<main id=\"main\">\n{}{}{}</main>\n<footer>Made by sse-soak {} from two recordings alone.</footer>",
        head(comparison, runs),
        changes(comparison),
        plots(&data),
        escaped(env!("CARGO_PKG_VERSION")),
    );
    Document {
        title: &format!(
            "{}: {} and {}",
            word(comparison.change),
            runs[0].manifest.profile,
            runs[1].manifest.profile
        ),
        body: &body,
        data: &page::json(&data),
        script: page::REPORT_SCRIPT,
        talks: false,
    }
    .html()
}

fn head(comparison: &Comparison, runs: [&Recording; 2]) -> String {
    let one = |name: &str, run: &Recording| {
        vec![
            name.to_owned(),
            foreign(&run.manifest.profile),
            run.manifest.seed.to_string(),
            escaped(&run.manifest.started),
            escaped(&run.manifest.version),
            foreign(&run.manifest.target.argv.join(" ")),
        ]
    };
    format!(
        "<div class=\"top\"><span class=\"soft\">sse-soak: what changed</span><span id=\"theme\"></span></div>\n\
         <div class=\"verdict {}\"><h1>{}</h1><p class=\"soft\">after minus before, 95 % intervals</p></div>\n{}",
        class(comparison.change),
        escaped(&word(comparison.change).to_uppercase()),
        table(
            "The two runs",
            &["", "profile", "seed", "started", "sse-soak", "target"],
            &[2],
            &[one("before", runs[0]), one("after", runs[1])]
        ),
    )
}

const fn class(change: Change) -> &'static str {
    match change {
        Change::Worse => "bad",
        Change::Better | Change::CannotTell => "unsure",
        Change::Fixed | Change::Same => "good",
    }
}

fn changes(comparison: &Comparison) -> String {
    let row = |changed: &Changed| {
        vec![
            changed.factor.to_owned(),
            format!(
                "<span class=\"tag {}\">{}</span>",
                class(changed.change),
                word(changed.change)
            ),
            format!("{} B", amount(changed.before)),
            format!("{} B", amount(changed.after)),
            format!("{} B", amount(changed.difference)),
            format!("{} … {}", amount(changed.low), amount(changed.high)),
            escaped(changed.signal.map_or("", |signal| signal.name())),
        ]
    };
    let rows: Vec<Vec<String>> = comparison.factors.iter().map(row).collect();
    let interval = |changed: &Changed| figure::Interval {
        name: changed.factor.into(),
        low: changed.low,
        estimate: changed.difference,
        high: changed.high,
        class: class(changed.change),
        told: format!("{} … {} B", amount(changed.low), amount(changed.high)),
    };
    let intervals: Vec<figure::Interval> = comparison.factors.iter().map(interval).collect();
    let alone = if comparison.only_one.is_empty() {
        String::new()
    } else {
        format!(
            "<p>Judged in one of the runs only: {}.</p>\n",
            escaped(&comparison.only_one.join(", "))
        )
    };
    format!(
        "<h2 id=\"changes\">Per factor</h2>\n{}{alone}<figure><figcaption>After minus before, bytes per unit, on an axis of square roots.</figcaption>\n<div class=\"scroll\">{}</div></figure>\n",
        table(
            "What changed, factor by factor",
            &[
                "per",
                "",
                "before",
                "after",
                "difference",
                "95 % interval",
                "signal"
            ],
            &[2, 3, 4, 5],
            &rows
        ),
        figure::intervals(&intervals),
    )
}

fn plots(data: &Data) -> String {
    if data.panels.is_empty() {
        return String::new();
    }
    "<h2 id=\"plots-title\">Over each other</h2>\n<p>Both runs count from the start of their first judged cycle; the shades are the phases of the run from before. \
     Memory is what was added since then.</p>\n<div id=\"plots\"><p>The plots over time need a script.</p></div>\n"
        .into()
}
