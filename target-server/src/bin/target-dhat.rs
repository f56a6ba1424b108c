//! The reference server under dhat: exact windows, 9 to 20 times slower while one is open.

use std::process::ExitCode;

use target_server::{Allocator, main_with};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn main() -> ExitCode {
    main_with(Allocator::Dhat)
}
