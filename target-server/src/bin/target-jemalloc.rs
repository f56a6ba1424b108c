//! The reference server under jemalloc: statistics, purge, sampled heap profiles.

use std::process::ExitCode;

use target_server::{Allocator, main_with};

#[global_allocator]
static ALLOCATOR: jemallocator::Jemalloc = jemallocator::Jemalloc;

/// One arena, so that what the data thread frees is where it allocates; a background thread, so that an idle server gives pages
/// back as a good server does. Raw sample counts (`prof_unbias:false`): the reader un-biases.
///
/// Chosen by measuring `settle` after each of 10 rounds of 200 connections (chats, feeds left by FIN, RST and early): from the
/// second round on `allocated` is the same to the byte, 195,208 B, with or without the background thread, and with four
/// arenas too. `tcache:false` settles one round earlier, at 138,376 B, but slows every allocation; flushing does as well.
#[expect(
    unsafe_code,
    reason = "jemalloc reads its start-up options from this symbol"
)]
// SAFETY: the symbol is a pointer-sized reference to bytes ending in zero, as jemalloc declares it; nothing else defines it.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static OPTIONS: &std::ffi::c_char = {
    const TEXT: &[u8] = b"narenas:1,background_thread:true,prof:true,prof_active:false,prof_unbias:false,lg_prof_sample:19\0";
    // SAFETY: a byte and a C character have the same layout; jemalloc reads on to the zero.
    unsafe { &*TEXT.as_ptr().cast::<std::ffi::c_char>() }
};

fn main() -> ExitCode {
    main_with(Allocator::Jemalloc)
}
