//! Tables of small profiles whose truth is known.

use super::*;
use crate::record::{Given, HEAP_VERSION};

fn frame(function: &str, file: &str, line: u32, place: Place) -> Frame {
    Frame {
        function: function.into(),
        file: Some(file.into()),
        line: Some(line),
        place,
    }
}

/// Frames: 0 allocator, 1 standard, 2 enter:41, 3 enter:42, 4 answer, 5 a library's.
fn profile(lg_sample: Option<u8>, stacks: Vec<(Vec<u32>, u64, u64)>) -> Stacks {
    let stacks = stacks
        .into_iter()
        .map(|(frames, blocks, bytes)| Stack {
            frames,
            blocks,
            bytes,
        })
        .collect();
    Stacks {
        version: HEAP_VERSION,
        instrument: "jemalloc".into(),
        windows: vec![StacksWindow {
            of: Unit(Factor::Session),
            lg_sample,
            length_s: 10.0,
            quiet: true,
            given: Given {
                sessions: 20_000,
                ..Given::default()
            },
            stacks,
        }],
        frames: vec![
            frame("malloc", "jemalloc.c", 1, Place::Allocator),
            frame("alloc::vec::Vec::push", "vec.rs", 1, Place::Standard),
            frame("server::enter", "src/sessions.rs", 41, Place::Own),
            frame("server::enter", "src/sessions.rs", 42, Place::Own),
            frame("server::answer", "src/routes.rs", 7, Place::Own),
            frame("hyper::serve", "hyper.rs", 1, Place::Library),
        ],
        ..Stacks::default()
    }
}

fn none() -> Findings {
    Findings::new(vec![])
}

fn leaking(bytes: f64, se: f64) -> Findings {
    let mut finding = Finding::plain(Statement::Leak, "a leak");
    finding.factor = Some(Factor::Session);
    finding.signal = Some(Signal::Allocated);
    finding.bytes_per_unit = Some(bytes);
    finding.low = Some(bytes - 2.0 * se);
    finding.high = Some(bytes + 2.0 * se);
    Findings::new(vec![finding])
}

#[test]
fn stacks_through_the_same_functions_are_one_row_at_the_heaviest_line() {
    let stacks = profile(
        None,
        vec![
            (vec![0, 1, 2, 4, 5], 20_000, 6_400_000),
            (vec![0, 3, 4, 5], 40_000, 1_280_000),
            (vec![0, 1, 5], 1, 65_536),
        ],
    );
    let (allocations, said) = judge(&stacks, &none());
    let table = &allocations.windows[0];
    assert!(said.is_empty());
    assert_eq!(table.rows.len(), 1, "{table:#?}");
    let row = &table.rows[0];
    assert_eq!(
        (row.function.as_str(), row.line),
        ("server::enter", Some(41))
    );
    assert!((row.kept.bytes - 384.0).abs() < 1e-9 && (row.kept.blocks - 3.0).abs() < 1e-9);
    assert_eq!(row.lines.len(), 2);
    assert_eq!(row.frames.first().unwrap().function, "server::enter");
    assert!(
        (table.rest.bytes - 3.2768).abs() < 1e-9,
        "what grew once is no row"
    );
}

#[test]
fn a_fingerprint_stays_when_lines_move_and_goes_with_the_functions() {
    let one = judge(
        &profile(None, vec![(vec![0, 2, 4], 20_000, 640_000)]),
        &none(),
    )
    .0;
    let moved = judge(
        &profile(None, vec![(vec![0, 1, 3, 4], 20_000, 640_000)]),
        &none(),
    )
    .0;
    let other = judge(&profile(None, vec![(vec![0, 4], 20_000, 640_000)]), &none()).0;
    let print = |all: &Allocations| all.windows[0].rows[0].fingerprint.clone();
    assert_eq!(print(&one), print(&moved));
    assert_ne!(print(&one), print(&other));
}

#[test]
fn nothing_kept_is_an_empty_table_and_a_bound() {
    let (allocations, _) = judge(
        &profile(Some(16), vec![(vec![0, 1, 5], 1, 12_288)]),
        &none(),
    );
    let table = &allocations.windows[0];
    assert!(table.rows.is_empty());
    assert!(table.bound_bytes < 16.0, "{}", table.bound_bytes);
}

#[test]
fn a_profile_that_explains_what_was_measured_agrees_and_one_that_does_not_is_a_finding() {
    // 1,500 samples of 320 B at a mean of 8 KiB: 619 B a session or so.
    let stacks = profile(Some(13), vec![(vec![0, 2, 4], 1500, 480_000)]);
    let (allocations, said) = judge(&stacks, &leaking(620.0, 4.0));
    let measured = allocations.windows[0].measured.unwrap();
    assert!(said.is_empty(), "{said:?}");
    assert!((measured.explained - 1.0).abs() < 0.05, "{measured:?}");
    let (_, said) = judge(&stacks, &leaking(2000.0, 4.0));
    assert_eq!(said[0].verdict, Statement::Contradiction);
}

#[test]
fn a_review_tells_new_gone_grown_and_unchanged_rows_apart() {
    let all = |stacks: Vec<(Vec<u32>, u64, u64)>| judge(&profile(None, stacks), &none()).0;
    let before = all(vec![
        (vec![2, 4], 20_000, 640_000),
        (vec![4], 20_000, 640_000),
        (vec![5], 20_000, 640_000),
    ]);
    let after = all(vec![
        (vec![2, 4], 20_000, 1_280_000),
        (vec![4], 20_000, 640_000),
        (vec![1, 2], 20_000, 640_000),
    ]);
    let review = compare(&before, &after);
    let told: Vec<_> = review
        .rows
        .iter()
        .map(|row| (row.change, row.row().function.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (Change::New, "server::enter"),
            (Change::Grew, "server::enter"),
            (Change::Gone, "hyper::serve"),
            (Change::Unchanged, "server::answer"),
        ]
    );
}
