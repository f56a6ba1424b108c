//! speedscope's file format: <https://www.speedscope.app/file-format-schema.json>. One profile a window.

use serde_json::{Value, json};

use super::seen;
use crate::{diagnose::allocations::counted, record::Stacks};

pub(super) fn write(stacks: &Stacks) -> String {
    let frames: Vec<Value> = stacks
        .frames
        .iter()
        .map(|frame| {
            let mut json = json!({ "name": frame.function });
            if let Some(file) = &frame.file {
                json["file"] = json!(file);
            }
            if let Some(line) = frame.line {
                json["line"] = json!(line);
            }
            json
        })
        .collect();
    let profiles: Vec<Value> = stacks
        .windows
        .iter()
        .map(|window| {
            let mut samples: Vec<Vec<u32>> = Vec::new();
            let mut weights: Vec<u64> = Vec::new();
            for stack in seen(stacks, window).filter(|stack| stack.bytes > 0) {
                samples.push(stack.frames.iter().rev().map(|(id, _)| *id).collect());
                weights.push(stack.bytes);
            }
            json!({
                "type": "sampled",
                "name": format!("kept by {}", counted(window.of.0, window.given.of(window.of.0))),
                "unit": "bytes",
                "startValue": 0,
                "endValue": weights.iter().sum::<u64>(),
                "samples": samples,
                "weights": weights,
            })
        })
        .collect();
    let file = json!({
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "name": "memory kept after everybody left",
        "exporter": concat!("sse-soak ", env!("CARGO_PKG_VERSION")),
        "activeProfileIndex": 0,
        "shared": { "frames": frames },
        "profiles": profiles,
    });
    file.to_string()
}
