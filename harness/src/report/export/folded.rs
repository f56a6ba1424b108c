//! Folded stacks: one line a stack, the outermost frame first, bytes at the end.

use std::{collections::BTreeMap, fmt::Write as _};

use super::seen;
use crate::record::Stacks;

/// The root of each stack is the unit of its window. Equal stacks are summed.
pub(super) fn write(stacks: &Stacks) -> String {
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    for window in &stacks.windows {
        for stack in seen(stacks, window) {
            let mut line = format!("per {}", window.of.0.name());
            for (_, frame) in stack.frames.iter().rev() {
                line.push(';');
                line.push_str(&frame.function.replace([';', '\n'], ","));
            }
            *lines.entry(line).or_default() += stack.bytes;
        }
    }
    let mut out = String::new();
    for (line, bytes) in lines {
        writeln!(out, "{line} {bytes}").expect("a string takes everything");
    }
    out
}
