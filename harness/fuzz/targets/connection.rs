//! The whole way of an answer through a conversation: however it is cut it means the same.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use oracles::cuts;
use sse_soak::drive::rehearsal::{Scene, Stage};

thread_local! {
    static STAGES: RefCell<[Stage; Scene::ALL.len()]> = RefCell::new(Scene::ALL.map(Stage::new));
}

fuzz_target!(|input: &[u8]| {
    let Some((&key, wire)) = input.split_first() else {
        return;
    };
    STAGES.with_borrow_mut(|stages| {
        let stage = &mut stages[usize::from(key >> 3) % Scene::ALL.len()];
        let whole = stage.play([wire]);
        assert_eq!(stage.play(cuts(key, wire)), whole);
        assert_eq!(stage.play(wire.chunks(1)), whole);
    });
});
