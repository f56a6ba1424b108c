//! A flame graph as one SVG file: click to zoom, type to search, nothing loaded from anywhere.

use std::{collections::BTreeMap, fmt::Write as _};

use super::seen;
use crate::{
    record::{Place, Stacks},
    units::bytes,
};

/// Pixels.
const WIDTH: f64 = 1200.0;
const ROW: f64 = 17.0;
const TOP: f64 = 56.0;

/// Boxes narrower than this at full width are left out: nobody can see them.
const NARROWEST: f64 = 0.1;

/// Frames beyond this depth are left out.
const DEEPEST: usize = 200;

/// A frame with what is below it.
#[derive(Default)]
struct Node {
    bytes: u64,
    place: Place,
    children: BTreeMap<String, Node>,
}

pub(super) fn write(stacks: &Stacks) -> String {
    let mut root = Node::default();
    for window in &stacks.windows {
        for stack in seen(stacks, window) {
            root.bytes += stack.bytes;
            let unit = root
                .children
                .entry(format!("per {}", window.of.0.name()))
                .or_default();
            unit.bytes += stack.bytes;
            let mut node = unit;
            for (_, frame) in stack.frames.iter().rev().take(DEEPEST) {
                node = node.children.entry(frame.function.clone()).or_default();
                node.bytes += stack.bytes;
                node.place = frame.place;
            }
        }
    }
    let depth = depth(&root);
    let height = TOP + ROW * depth as f64 + 12.0;
    let mut out = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" version="1.1" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" font-family="monospace" font-size="11">
<style>rect{{stroke:#fff;stroke-width:.5}} g.f:hover rect{{stroke:#000}} text{{pointer-events:none}} .found rect{{fill:#e0f}} input{{font:12px monospace}}</style>
<rect width="100%" height="100%" fill="#fcfcfc"/>
<text x="8" y="18" font-size="14">memory kept after everybody left: {}</text>
<text x="8" y="36" id="said" fill="#555">click a box to zoom, the bottom one to come back; search:</text>
<foreignObject x="420" y="22" width="300" height="24"><input xmlns="http://www.w3.org/1999/xhtml" id="search" size="30"/></foreignObject>
"##,
        bytes(root.bytes as f64)
    );
    let total = root.bytes.max(1) as f64;
    draw(&mut out, "everything", &root, 0.0, 0, total, depth);
    out.push_str(SCRIPT);
    out.push_str("</svg>\n");
    out
}

fn depth(node: &Node) -> usize {
    1 + node.children.values().map(depth).max().unwrap_or(0)
}

fn draw(out: &mut String, name: &str, node: &Node, x: f64, level: usize, total: f64, depth: usize) {
    let width = WIDTH * node.bytes as f64 / total;
    if width < NARROWEST {
        return;
    }
    let y = TOP + ROW * (depth - 1 - level) as f64;
    let name = escaped(name);
    let share = node.bytes as f64 / total * 100.0;
    let written = writeln!(
        out,
        r#"<g class="f" data-x="{x:.3}" data-w="{width:.3}" data-n="{name}"><title>{name} ({}, {share:.1} %)</title><rect x="{x:.3}" y="{y}" width="{width:.3}" height="{}" fill="{}"/><text x="{:.3}" y="{}"></text></g>"#,
        bytes(node.bytes as f64),
        ROW - 1.0,
        colour(node.place, level),
        x + 3.0,
        y + 12.0
    );
    written.expect("a string takes everything");
    let mut x = x;
    for (name, child) in &node.children {
        draw(out, name, child, x, level + 1, total, depth);
        x += WIDTH * child.bytes as f64 / total;
    }
}

/// The reviewers' own code stands out.
fn colour(place: Place, level: usize) -> &'static str {
    match (place, level) {
        (_, 0 | 1) => "#c8c8c8",
        (Place::Own, _) => "#e8743b",
        (Place::Library, _) => "#b7cbe0",
        (Place::Standard, _) => "#d5dfcc",
        (Place::Allocator | Place::Unknown, _) => "#dddddd",
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Zooming is a linear map of every box; a label is cut to what fits.
const SCRIPT: &str = r#"<script><![CDATA[
const boxes = [...document.querySelectorAll('g.f')], WIDTH = 1200;
function show(from, width) {
  for (const g of boxes) {
    const x = (g.dataset.x - from) / width * WIDTH, w = g.dataset.w / width * WIDTH;
    const left = Math.max(x, 0), right = Math.min(x + w, WIDTH), seen = right - left;
    g.style.display = seen > 0.3 ? '' : 'none';
    const [rect, text] = [g.querySelector('rect'), g.querySelector('text')];
    rect.setAttribute('x', left); rect.setAttribute('width', Math.max(seen, 0));
    text.setAttribute('x', left + 3);
    const fits = Math.floor((seen - 6) / 6.6), name = g.dataset.n;
    text.textContent = fits < 3 ? '' : name.length <= fits ? name : name.slice(0, fits - 2) + '..';
  }
}
for (const g of boxes) g.addEventListener('click', () => show(+g.dataset.x, +g.dataset.w));
document.getElementById('search').addEventListener('input', event => {
  const wanted = event.target.value;
  for (const g of boxes) g.classList.toggle('found', wanted !== '' && g.dataset.n.includes(wanted));
});
show(0, WIDTH);
]]></script>
"#;
