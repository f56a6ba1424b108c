//! Running a small tool to its end, and hearing what it said.

use std::{
    io,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use super::pause;
use crate::timeline::Clock;

/// Tools print a few kilobytes; a histogram of a large Java heap a few hundred.
const LONGEST: u64 = 8 << 20;

/// What a command said on both of its outputs, as `Err` if it failed. One that takes longer is killed.
pub(super) fn said(command: &mut Command, within: Duration) -> io::Result<Result<String, String>> {
    let (mut reader, writer) = io::pipe()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()?;
    command.stdout(Stdio::null()).stderr(Stdio::null()); // our copies of the pipe's writing end: while one is open, it never ends
    let listener = thread::spawn(move || {
        let mut said = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(&mut reader, LONGEST), &mut said).map(|_| said)
    });
    let clock = Clock::start();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if clock.now().0 >= within {
            child.kill()?;
            child.wait()?;
            return Err(io::ErrorKind::TimedOut.into());
        }
        pause(Duration::from_millis(10));
    };
    let said = listener
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("nobody listened")))?;
    let said = String::from_utf8_lossy(&said).into_owned();
    Ok(if status.success() {
        Ok(said)
    } else {
        Err(said)
    })
}

/// The last line that is not empty, short enough for a sentence.
pub(super) fn last_line(said: &str) -> String {
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    crate::target::proc::shortened(last.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, within: Duration) -> io::Result<Result<String, String>> {
        said(Command::new("sh").args(["-c", script]), within)
    }

    #[test]
    fn both_outputs_are_heard_however_long_and_a_failure_is_told_from_success() {
        let within = Duration::from_secs(20);
        let both = sh("echo a; echo b >&2", within).unwrap().unwrap();
        assert_eq!(both, "a\nb\n");
        assert_eq!(sh("echo no; exit 3", within).unwrap(), Err("no\n".into()));
        let long = sh("head -c 300000 /dev/zero", within).unwrap().unwrap();
        assert_eq!(long.len(), 300_000, "more than a pipe holds");
    }

    #[test]
    fn who_does_not_end_is_ended() {
        let error = sh("exec sleep 60", Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
