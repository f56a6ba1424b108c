//! The allocation profile in the page, when there is one: which lines keep what, per unit, and the flame graph.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::table;
use crate::{
    diagnose::{
        allocations::{Allocations, Row, Table, word},
        finding::sentence::amount,
    },
    page::escaped,
    record::Recording,
    report::{Export, allocations as told, export, facts::whole},
};

/// A flame graph larger than this stays beside the page.
const MOST_BYTES: usize = 400_000;

/// Which lines keep what; nothing without a profile.
pub(super) fn section(recording: &Recording, allocations: Option<&Allocations>) -> String {
    let Some(allocations) = allocations else {
        return String::new();
    };
    let windows: String = allocations.windows.iter().map(window).collect();
    let said = allocations.cost.iter().map(told::price);
    let notes: String = said
        .chain(allocations.notes.iter().cloned())
        .map(|note| format!("<li>{}</li>\n", escaped(&note)))
        .collect();
    format!(
        "<h2 id=\"allocations\">Which lines keep what</h2>\n{windows}<ul>\n{notes}</ul>\n{}",
        flames(recording)
    )
}

fn window(window: &Table) -> String {
    let unit = word(window.of.0);
    let bound = amount(window.bound_bytes);
    let how = escaped(&told::how(window));
    if window.rows.is_empty() {
        return format!(
            "<h3>Per {unit}</h3>\n<p>{how}: nothing is kept, not more than {bound} B each (95 %).</p>\n"
        );
    }
    let row = |row: &Row| {
        vec![
            format!("{} B", amount(row.kept.bytes)),
            escaped(&told::range(&row.kept)),
            amount(row.kept.blocks),
            whole(row.kept.samples),
            told::percent(row.share),
            format!("<code>{}</code>", escaped(&row.function)),
            escaped(&told::lines(row)),
        ]
    };
    let rows: Vec<Vec<String>> = window.rows.iter().map(row).collect();
    let head = [
        "bytes",
        "95 % interval",
        "blocks",
        "samples",
        "share",
        "function",
        "line",
    ];
    format!(
        "<h3>Per {unit}</h3>\n{}<p>{how}. Everything: {} B ({}). Beside these rows not more than {bound} B (95 %).</p>\n",
        table(
            &format!("What one {unit} leaves behind, by who allocated it"),
            &head,
            &[0, 1, 2, 3, 4],
            &rows
        ),
        amount(window.total.bytes),
        escaped(&told::range(&window.total)),
    )
}

/// As an image: what is in it cannot run here. The file beside the page can be clicked and searched.
fn flames(recording: &Recording) -> String {
    let Some(stacks) = &recording.stacks else {
        return String::new();
    };
    let name = Export::Flamegraph.file();
    let svg = export(Export::Flamegraph, stacks);
    if svg.len() > MOST_BYTES {
        return format!(
            "<p>The flame graph is <a href=\"heap/{name}\">heap/{name}</a>, beside this page.</p>\n"
        );
    }
    format!(
        "<figure><div class=\"scroll\"><img alt=\"Flame graph of what is kept; the tables above hold the numbers\" src=\"data:image/svg+xml;base64,{}\"></div>\
         <figcaption>What is kept, by who called whom; <a href=\"heap/{name}\">heap/{name}</a> beside this page can be clicked and searched.</figcaption></figure>\n",
        STANDARD.encode(svg)
    )
}
