//! Lets nothing of the target outlive the harness, even if the harness is killed.
//!
//! `PR_SET_PDEATHSIG` would need code between fork and exec, which is unsafe, and follows the *thread* that forked. Instead a small
//! shell waits on a pipe that only the harness holds: a line on it means "all is well", its end means that the harness is gone.

use std::{
    io::{self, PipeWriter, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
};

/// Asks first, kills two seconds later. It ignores what a terminal sends to everybody, since it is needed just then.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
if read -r word; then exit 0; fi
kill -s TERM -- "-$1"
sleep 2
kill -s KILL -- "-$1"
"#;

/// A watcher over one process group. A descendant that left the group (`setsid`) *and* outlives a killed harness is out of its reach.
#[derive(Debug)]
pub(super) struct Guard {
    shell: Child,
    line: PipeWriter,
}

impl Guard {
    /// Watches over a process group until [`disarm`](Self::disarm).
    pub(super) fn over(group: u32) -> io::Result<Self> {
        let (theirs, line) = io::pipe()?;
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "sse-soak-guard"])
            .arg(group.to_string())
            .current_dir("/")
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self { shell, line })
    }

    /// Ends the watch. Must come before the group's number can be given to somebody else.
    pub(super) fn disarm(mut self) {
        // If the shell is gone there is nothing to disarm; then writing fails and waiting does not block.
        if self.line.write_all(b"done\n").is_ok() {
            self.shell.wait().ok();
        } else {
            self.shell.try_wait().ok();
        }
    }
}
