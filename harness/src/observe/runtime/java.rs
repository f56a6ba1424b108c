//! The JVM: `jcmd PID GC.class_histogram` collects, and counts what is alive to the byte.
//!
//! Cost: a full collection and a walk over the heap, and a small JVM for `jcmd` itself (0.3 s). It must be the user of the target, or root.

use std::{path::PathBuf, process::Command};

use super::{Deadline, RuntimeError, RuntimeHeap, command, is_there};

/// Asks every one of these processes.
pub(super) fn settle(pids: &[u32], deadline: Deadline<'_>) -> Result<RuntimeHeap, RuntimeError> {
    let mut sum = RuntimeHeap::default();
    for &pid in pids {
        let begun = deadline.clock.now();
        let live_bytes = match histogram(pid, deadline) {
            Ok(bytes) => bytes,
            Err(_) if !is_there(pid) => continue,
            Err(why) => return Err(RuntimeError::Java { pid, why }),
        };
        sum.live_bytes += live_bytes;
        sum.processes += 1;
        sum.took = sum.took.max(deadline.clock.now().since(begun));
    }
    Ok(sum)
}

fn histogram(pid: u32, deadline: Deadline<'_>) -> Result<u64, String> {
    let mut jcmd = Command::new(jcmd_of(pid));
    jcmd.args([&pid.to_string(), "GC.class_histogram"]);
    match command::said(&mut jcmd, deadline.left()) {
        Ok(Ok(said)) => total(&said).ok_or_else(|| "jcmd told no total".into()),
        Ok(Err(said)) => Err(format!("jcmd said `{}`", command::last_line(&said))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err("there is no jcmd: it comes with the JDK".into())
        }
        Err(error) => Err(format!("jcmd: {error}")),
    }
}

/// The one beside the `java` that runs, since another version may not speak with it; else whichever is found.
fn jcmd_of(pid: u32) -> PathBuf {
    let java = std::fs::read_link(format!("/proc/{pid}/exe"));
    let beside = java.ok().and_then(|java| Some(java.parent()?.join("jcmd")));
    beside
        .filter(|path| path.is_file())
        .unwrap_or_else(|| "jcmd".into())
}

/// `Total         70366        3348488`: instances, bytes.
fn total(said: &str) -> Option<u64> {
    let line = said.lines().rev().find(|line| line.starts_with("Total"))?;
    line.split_ascii_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_the_last_number_of_its_line() {
        let said = "4711:\n num     #instances         #bytes  class name\n   1: 3 80 [B\nTotal         70366        3348488\n";
        assert_eq!(total(said), Some(3_348_488));
        assert_eq!(total("4711:\njava.io.IOException: no such process"), None);
    }
}
