//! DHAT's JSON, version 2, for dh_view and the Firefox Profiler. Without lifetimes: only what is kept is known.

use serde_json::{Value, json};

use super::{super::allocations::place, seen};
use crate::record::Stacks;

pub(super) fn write(stacks: &Stacks) -> String {
    let root = vec!["[root]".to_owned()];
    let units = stacks
        .windows
        .iter()
        .map(|window| format!("[per {}]", window.of.0.name()));
    let frames = stacks.frames.iter().zip(0..).map(|(frame, id): (_, u32)| {
        format!("{:#x}: {} ({})", id + 1, frame.function, place(frame))
    });
    let table: Vec<String> = root.into_iter().chain(units).chain(frames).collect();
    // What dh_view shows per million instructions is then per million clients.
    let clients: u64 = stacks
        .windows
        .iter()
        .map(|window| window.given.of(window.of.0))
        .sum();
    let first = stacks.windows.len() + 1;
    let points: Vec<Value> = stacks
        .windows
        .iter()
        .zip(1..)
        .flat_map(|(window, unit): (_, usize)| {
            seen(stacks, window).map(move |stack| {
                let frames = stack.frames.iter().map(|(id, _)| first + *id as usize);
                let frames: Vec<usize> = frames.chain([unit]).collect();
                json!({ "tb": stack.bytes, "tbk": stack.blocks, "fs": frames })
            })
        })
        .collect();
    let file = json!({
        "dhatFileVersion": 2,
        "mode": "sse-soak",
        "verb": "Retained",
        "bklt": false,
        "bkacc": false,
        "bu": "byte",
        "bsu": "bytes",
        "bksu": "blocks",
        "tu": "clients",
        "Mtu": "Mclients",
        "tuth": 0,
        "cmd": "the target of an sse-soak run",
        "pid": 0,
        "te": clients.max(1),
        "pps": points,
        "ftbl": table,
    });
    file.to_string()
}
