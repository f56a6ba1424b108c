//! `sse-soak worker`: a process of a fleet. Not for people.

use std::io;

use super::Exit;
use crate::fleet;

pub(super) fn worker() -> anyhow::Result<Exit> {
    fleet::serve(io::stdin(), io::stdout())?;
    Ok(Exit::NoLeak)
}
