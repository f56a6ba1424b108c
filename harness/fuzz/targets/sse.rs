//! The event-stream decoder: as the standard says, however the bytes are cut, with and without a limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oracles::{by_the_standard, cuts, decoded};

fuzz_target!(|input: &[u8]| {
    let Some((&key, stream)) = input.split_first() else {
        return;
    };
    let whole = decoded([stream], u32::MAX);
    assert_eq!(whole, by_the_standard(stream));
    assert_eq!(decoded(cuts(key, stream), u32::MAX), whole);
    let limit = u32::from(key);
    assert_eq!(decoded(cuts(key, stream), limit), decoded([stream], limit));
});
