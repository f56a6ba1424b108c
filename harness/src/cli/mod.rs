//! The command line: parse, dispatch, exit code; one file per command. The only place that knows clap.
//!
//! In: arguments. Out: text on standard output (the verdict), progress and complaints on standard error, an [`Exit`].
//! Start at [`main`]. Every error of a stage is printed once, as a chain, here.

mod adaptive;
mod carriage;
mod compare;
mod diagnose;
mod doctor;
mod exit;
mod init;
mod load;
mod look;
mod paint;
mod plan;
mod prepare;
mod progress;
mod report;
mod run;
mod signals;
mod so_far;
mod tui;
mod worker;

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

pub use exit::Exit;

use crate::{
    isolate::{self, Isolated},
    soak,
};

/// Tells whether a long-lived SSE server leaks memory: per what, how many bytes, and when it will run out.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100, after_help = exit::HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a profile against its target, record it, and judge the recording.
    Run(run::RunArguments),
    /// Open streams and hold them: load only, no judgement.
    Hold(load::HoldArguments),
    /// Open streams at a rate, each leaving after its first event: load only, no judgement.
    Churn(load::ChurnArguments),
    /// Open streams and leave them in some way: load only, no judgement.
    Abandon(load::AbandonArguments),
    /// Print the whole schedule of a profile without running it.
    Plan(plan::PlanArguments),
    /// Judge a recording again: also one cut short, or one of an older version.
    Diagnose(diagnose::DiagnoseArguments),
    /// What changed from one run to another, per factor, with intervals.
    Compare(compare::CompareArguments),
    /// Write a profile for your server: asks it a few questions, and guesses the rest.
    Init(init::InitArguments),
    /// What this machine, and a target on it, allow; what each limit costs a measurement, and how to lift it.
    Doctor(doctor::DoctorArguments),
    /// Make a report of a recording again.
    Report(report::ReportArguments),
    /// Play a part of a load, as told on standard input: what a run starts of itself.
    #[command(hide = true)]
    Worker,
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let exit = if error.use_stderr() {
                Exit::BadUsage
            } else {
                Exit::NoLeak
            };
            // A closed pipe is nobody's fault and nothing is lost: the exit code says it all.
            error.print().ok();
            return exit.into();
        }
    };
    let done = match arguments.command {
        Command::Run(arguments) => {
            let exit = run::run(&arguments).unwrap_or_else(|error| complain(&error));
            Ok(if arguments.bisect {
                exit.for_bisect()
            } else {
                exit
            })
        }
        Command::Hold(arguments) => load::hold(&arguments),
        Command::Churn(arguments) => load::churn(&arguments),
        Command::Abandon(arguments) => load::abandon(&arguments),
        Command::Plan(arguments) => plan::plan(&arguments),
        Command::Diagnose(arguments) => diagnose::diagnose(&arguments),
        Command::Compare(arguments) => compare::compare(&arguments),
        Command::Doctor(arguments) => doctor::doctor(&arguments),
        Command::Init(arguments) => init::init(&arguments),
        Command::Report(arguments) => report::report(&arguments),
        Command::Worker => worker::worker(),
    };
    done.unwrap_or_else(|error| complain(&error)).into()
}

/// Prints the chain of causes once, and finds the exit code that fits.
fn complain(error: &anyhow::Error) -> Exit {
    let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
    say(&format!("sse-soak: {}", without_repeats(&chain).join(": ")));
    exit::of(error)
}

/// A transparent error says what its cause says; once is enough.
fn without_repeats(chain: &[String]) -> Vec<&str> {
    let mut told: Vec<&str> = Vec::new();
    for part in chain {
        if !told.iter().any(|before| before.contains(part.as_str())) {
            told.push(part);
        }
    }
    told
}

/// A line on standard error. That nobody reads it is no reason to stop.
fn say(line: &str) {
    writeln!(io::stderr().lock(), "{line}").ok();
}

/// Text on standard output. A closed pipe (`| head`) ends the output, not the program.
fn print(text: &str) -> io::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// A load generator pointed at somebody else's server by mistake is an attack.
fn refuse_remote(url: &str, allowed: bool) -> anyhow::Result<()> {
    if !soak::address(url)?.ip().is_loopback() && !allowed {
        let message = format!(
            "{url} is not on this machine: load it only if it is yours, with --allow-remote"
        );
        return Err(exit::Usage(message).into());
    }
    Ok(())
}

/// Enters a private network, if that is wanted. Must come before anything that starts a thread.
fn isolate(wanted: bool, starts_its_target: bool) -> anyhow::Result<Option<Isolated>> {
    if !wanted {
        return Ok(None);
    }
    if !starts_its_target {
        let message = "--isolate needs a target that we start (a command): one that runs already is in another network";
        return Err(exit::Usage(message.into()).into());
    }
    Ok(Some(isolate::enter()?))
}

/// A profile by path, or by the name of one in `soak-profiles/`.
fn profile_path(name: &Path) -> PathBuf {
    let shipped = Path::new("soak-profiles").join(name).with_extension("toml");
    if !name.exists() && shipped.exists() {
        shipped
    } else {
        name.into()
    }
}
