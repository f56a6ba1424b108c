//! The `sse-soak` program: parses, dispatches, and ends with a documented exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    sse_soak::cli::main()
}
