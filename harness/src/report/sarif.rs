//! SARIF 2.1.0: what code review tools show beside the line. One result for each row that lies in the repository.

use serde_json::{Value, json};

use super::allocations::range;
use crate::{
    diagnose::{
        allocations::{Change, Review, Row, counted, word},
        finding::{Findings, Statement, sentence::amount},
    },
    profile::Unit,
    record::{Frame, Place},
};

/// The rule that every row is a case of.
const RULE: &str = "kept-after-leaving";

/// With a review, results say whether they are new, and those that are gone are among them.
pub(super) fn write(findings: &Findings, review: Option<&Review>) -> String {
    let level = level(findings);
    let results: Vec<Value> = match review {
        Some(review) => review
            .rows
            .iter()
            .filter_map(|changed| {
                let mut result = result(changed.of, changed.row(), level)?;
                if let Some(state) = state(changed.change) {
                    result["baselineState"] = json!(state);
                }
                Some(result)
            })
            .collect(),
        None => rows(findings)
            .filter_map(|(of, row)| result(of, row, level))
            .collect(),
    };
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "sse-soak",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": [{
                    "id": RULE,
                    "name": "KeptAfterLeaving",
                    "shortDescription": { "text": "Memory is kept of clients that are gone" },
                    "fullDescription": { "text": "What is allocated here for a client is still there after the client left, its session's time is over, and the allocator tidied up." },
                    "defaultConfiguration": { "level": "warning" },
                }],
            } },
            "originalUriBaseIds": { "REPOSITORY": { "description": { "text": "the root of the repository" } } },
            "columnKind": "unicodeCodePoints",
            "results": results,
            "properties": { "verdict": findings.verdict, "text": findings.text },
        }],
    });
    serde_json::to_string_pretty(&log).expect("plain data is JSON") + "\n"
}

/// The rows of every table that a reviewer of this repository can do something about.
pub(super) fn rows(findings: &Findings) -> impl Iterator<Item = (Unit, &Row)> {
    let tables = findings.allocations.iter().flat_map(|all| &all.windows);
    tables.flat_map(|table| table.rows.iter().map(|row| (table.of, row)))
}

/// An error only if the run says that it leaks: a profile alone does not.
pub(super) fn level(findings: &Findings) -> &'static str {
    match findings.verdict {
        Statement::Leak => "error",
        Statement::NoLeak | Statement::CleanedUp => "note",
        _ => "warning",
    }
}

/// `320 B (95 %: 310 … 330) and 1 block of each session are kept`.
pub(super) fn sentence(of: Unit, row: &Row) -> String {
    let interval = match range(&row.kept).as_str() {
        "exact" => "exactly".into(),
        range => format!("95 %: {range}"),
    };
    format!(
        "{} B ({interval}) in {} blocks are kept per {}, {:.0} % of all that is kept: {}",
        amount(row.kept.bytes),
        amount((row.kept.blocks * 100.0).round() / 100.0),
        word(of.0),
        row.share * 100.0,
        row.function
    )
}

fn result(of: Unit, row: &Row, level: &str) -> Option<Value> {
    let own = row.frames.iter().find(|frame| frame.place == Place::Own)?;
    let stack: Vec<Value> = row
        .frames
        .iter()
        .map(|frame| json!({ "location": location(frame, None)}))
        .collect();
    let place = Frame {
        file: row.file.clone(),
        line: row.line,
        ..own.clone()
    };
    Some(json!({
        "ruleId": RULE,
        "ruleIndex": 0,
        "level": level,
        "message": { "text": sentence(of, row) },
        "locations": [location(&place, Some(&row.function))],
        "partialFingerprints": { "sseSoakStack/v1": format!("{}/{}", of.0.name(), row.fingerprint) },
        "stacks": [{ "message": { "text": "who allocated it" }, "frames": stack }],
        "properties": {
            "bytesPerUnit": row.kept.bytes,
            "low": row.kept.low,
            "high": row.kept.high,
            "blocksPerUnit": row.kept.blocks,
            "samples": row.kept.samples,
            "unit": counted(of.0, 1).split_once(' ').map(|(_, unit)| unit),
        },
    }))
}

fn location(frame: &Frame, function: Option<&str>) -> Value {
    let mut location = json!({
        "logicalLocations": [{ "fullyQualifiedName": function.unwrap_or(&frame.function), "kind": "function" }],
    });
    if let (Some(file), Place::Own) = (&frame.file, frame.place) {
        let relative = !file.starts_with('/');
        let mut artifact = json!({ "uri": uri(file) });
        if relative {
            artifact["uriBaseId"] = json!("REPOSITORY");
        }
        location["physicalLocation"] = json!({
            "artifactLocation": artifact,
            "region": { "startLine": frame.line.unwrap_or(1) },
        });
    }
    location
}

/// A path as a URI reference: what is not plain is written in hexadecimal.
fn uri(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/+@=".contains(&byte);
    path.bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

fn state(change: Change) -> Option<&'static str> {
    match change {
        Change::New => Some("new"),
        Change::Grew | Change::Shrank => Some("updated"),
        Change::Unchanged => Some("unchanged"),
        Change::Gone => Some("absent"),
        Change::NotCompared => None,
    }
}
