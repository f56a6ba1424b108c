//! Heap profiles of others: no bytes make a reader panic or remember more than they are, and what is read adds up.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sse_soak::heap::{dhat, names, v2};

fuzz_target!(|input: &[u8]| {
    let bytes = input.get(1..).unwrap_or_default();
    if let Ok(dump) = v2::Dump::read(bytes) {
        let words: usize = dump.traces.iter().map(|trace| trace.addresses.len()).sum();
        assert!(words <= bytes.len() && dump.sample_bytes > 0);
        for address in dump.traces.iter().flat_map(|trace| &trace.addresses) {
            if let Some(mapping) = v2::locate(&dump.mappings, *address) {
                assert!(mapping.start <= *address && *address < mapping.end);
                v2::base(&dump.mappings, &mapping.path);
            }
        }
    }
    if let Ok(profile) = dhat::read(bytes) {
        assert!(profile.stacks.iter().all(|stack| stack.blocks > 0));
    }
    let text = String::from_utf8_lossy(bytes);
    names::in_file(&text, Some("/a/b-1.0/src/c/mod.rs"));
});
