//! dhat.
fn main() {}
