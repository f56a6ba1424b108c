//! What the kernel's files say: no text makes a reader panic, and what one of them takes for a number stands in the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sse_soak::{
    observe::fuzzing::{rollup, sockets, status},
    target::{proc::Stat, tcp_table},
};

fuzz_target!(|input: &[u8]| {
    sockets(input);
    let text = String::from_utf8_lossy(input.get(1..).unwrap_or_default());
    for bytes in [rollup(&text), status(&text)].into_iter().flatten() {
        assert!(
            bytes % 1024 == 0 && text.contains(&(bytes / 1024).to_string()),
            "{bytes}"
        );
    }
    if let Ok(stat) = Stat::parse(&text) {
        assert!(text.contains(&stat.id.started.to_string()));
        assert!(text.contains(stat.state));
    }
    let mut rows = vec![];
    let read = tcp_table::parse("net/tcp", &text, &mut rows);
    let lines = text.lines().count().saturating_sub(1);
    assert!(rows.len() <= lines && (read.is_err() || rows.len() == lines));
});
