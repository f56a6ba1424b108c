//! What a profile has made before its target is started: `prepare = ["…"]`.

use std::{
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};

use super::say;
use crate::{profile::Profile, timeline::Clock};

/// Runs it and waits. What it says goes to standard error, since it may take minutes the first time. Only if we start the target.
///
/// Before any private network is entered: it may need the outside.
///
/// # Errors
/// It does not start, fails, or takes longer than the profile gives it.
pub(super) fn prepare(profile: &Profile) -> anyhow::Result<()> {
    let target = &profile.target;
    let (Some(prepare), Some(_)) = (&target.prepare, &target.command) else {
        return Ok(());
    };
    let words = prepare.get_ref().iter();
    let words: Vec<String> = words
        .map(|word| word.replace("{profile}", &profile.folder.to_string_lossy()))
        .collect();
    let Some((program, arguments)) = words.split_first() else {
        return Ok(()); // refused while parsing
    };
    let shown = words.join(" ");
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .spawn()
        .with_context(|| {
            format!("cannot start `{shown}`, which the profile's `prepare` asks for")
        })?;
    let clock = Clock::start();
    let within = target.prepare_within.get();
    let status = loop {
        if let Some(status) = child.try_wait().context("cannot wait for `prepare`")? {
            break status;
        }
        if clock.now().0 >= within {
            child.kill().ok(); // it has just ended by itself: as well
            child.wait().ok();
            bail!(
                "`{shown}` did not end within {}: see `prepare-within`",
                humantime::format_duration(within)
            );
        }
        pause(Duration::from_millis(50));
    };
    if !status.success() {
        bail!("`{shown}`, which the profile's `prepare` asks for, ended with {status}");
    }
    check_the_program(profile);
    Ok(())
}

/// What `prepare` was to make and did not is said here, by name: later it is only a program that does not start.
fn check_the_program(profile: &Profile) {
    let command = profile.target.command.as_ref();
    let program = command.and_then(|command| command.get_ref().first());
    let Some(program) = program.filter(|program| program.starts_with("{profile}")) else {
        return;
    };
    let path = program.replace("{profile}", &profile.folder.to_string_lossy());
    if !Path::new(&path).exists() {
        say(&format!("`prepare` went well, and {path} is still missing"));
    }
}

/// The edge that polls a process; a deadline is around it.
#[expect(clippy::disallowed_methods, reason = "the edge that polls a process")]
fn pause(length: Duration) {
    thread::sleep(length);
}
