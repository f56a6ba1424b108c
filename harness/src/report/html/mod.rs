//! The report as a page: one file that needs nothing, made of the recording and its findings alone.
//!
//! Start at [`render`]: the verdict and its evidence first, then everything that can be looked at, then what had to be taken for
//! granted and how to run it again. Every picture has its numbers in a table; without a script only the plots over time are missing.
//! [`series`] chooses what is plotted over time; [`figure`] draws the rest as SVG.

mod compared;
mod figure;
mod sections;
mod series;

use serde::Serialize;

pub(super) use self::compared::comparison;

use super::facts::Facts;
use crate::{
    diagnose::{finding::Findings, response},
    page::{self, Document, escaped},
    record::Recording,
};

/// What `report.js` reads.
#[derive(Serialize)]
struct Data {
    /// How long the run is.
    seconds: f64,
    /// `[from, to, kind, cycle]`.
    phases: Vec<(f64, f64, String, i64)>,
    /// `[at, kind, text]`: what is marked in the plots.
    marks: Vec<(f64, String, String)>,
    panels: Vec<series::Panel>,
    series: Vec<page::Packed>,
}

/// The page.
pub(super) fn render(recording: &Recording, findings: &Findings) -> String {
    let facts = Facts::of(recording);
    let (panels, packed, summaries) = series::panels(recording);
    let responses = response::responses(recording, findings);
    let events = series::events(recording);
    let data = Data {
        seconds: series::seconds(recording),
        phases: series::phases(recording),
        marks: events
            .iter()
            .filter(|event| series::is_marked(&event.1))
            .take(series::MOST_MARKS)
            .cloned()
            .collect(),
        panels,
        series: packed,
    };
    let sections = [
        sections::head(recording, findings, &facts),
        sections::evidence(findings),
        sections::plots(&data.phases, &summaries),
        responses
            .as_ref()
            .map_or_else(String::new, sections::responses),
        sections::cleanup(recording, &facts),
        sections::list("In the target's kernel", "kernel", &facts.kernel),
        sections::harness(recording, &facts),
        sections::events(&events),
        sections::assumptions(recording, findings, &facts),
        sections::again(recording),
    ];
    let body = format!(
        "<main id=\"main\">\n{}</main>\n{}",
        sections.concat(),
        sections::foot(recording)
    );
    Document {
        title: &format!("{}: {}", recording.manifest.profile, findings.text),
        body: &body,
        data: &page::json(&data),
        script: page::REPORT_SCRIPT,
        talks: false,
    }
    .html()
}

/// The findings alone, of a trace that something else recorded.
pub(super) fn findings(findings: &Findings) -> String {
    let body = format!(
        "<main id=\"main\">\n<div class=\"top\"><span class=\"soft\">sse-soak</span><span id=\"theme\"></span></div>\n{}{}</main>\n",
        sections::verdict(findings, ""),
        sections::evidence(findings)
    );
    let nothing = Data {
        seconds: 0.0,
        phases: Vec::new(),
        marks: Vec::new(),
        panels: Vec::new(),
        series: Vec::new(),
    };
    Document {
        title: &findings.text,
        body: &body,
        data: &page::json(&nothing),
        script: page::REPORT_SCRIPT,
        talks: false,
    }
    .html()
}

/// A table: a caption for those who do not see where it stands, a head, and rows of finished cells. Columns named in `numbers`
/// are set to the right; a column of words becomes a line of its own where there is little room.
fn table(caption: &str, head: &[&str], numbers: &[usize], rows: &[Vec<String>]) -> String {
    let class = |place: usize| match head.get(place) {
        _ if numbers.contains(&place) => " class=\"n\"",
        Some(&("in words" | "what")) => " class=\"words\"",
        _ => "",
    };
    let names: String = head
        .iter()
        .enumerate()
        .map(|(place, name)| format!("<th scope=\"col\"{}>{}</th>", class(place), escaped(name)))
        .collect();
    let row = |cells: &Vec<String>| {
        let cells: String = cells
            .iter()
            .enumerate()
            .map(|(place, cell)| format!("<td{}>{cell}</td>", class(place)))
            .collect();
        format!("<tr>{cells}</tr>\n")
    };
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\"><table><caption>{caption}</caption>\n<thead><tr>{names}</tr></thead>\n<tbody>\n{}</tbody></table></div>\n",
        rows.iter().map(row).collect::<String>(),
        caption = escaped(caption),
    )
}

/// Something that is there for those who ask for it.
fn folded(summary: &str, content: &str) -> String {
    format!(
        "<details><summary>{}</summary>\n{content}</details>\n",
        escaped(summary)
    )
}
