//! jemalloc.
fn main() {}
