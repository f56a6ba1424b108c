//! `sse-soak doctor`: what this machine and a target allow, what each limit costs, how to lift it.

use std::fmt::Write as _;

use clap::{Args, ValueEnum};

use super::{Exit, print};
use crate::{
    doctor::{self, Check, State},
    report::wrapped,
};

#[derive(Debug, Args)]
pub(super) struct DoctorArguments {
    /// A process that is to be measured: its allocator, runtime, limits and network.
    #[arg(long)]
    pid: Option<u32>,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// How checks are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Exits with 0 whatever it found: a limit is no error.
pub(super) fn doctor(arguments: &DoctorArguments) -> anyhow::Result<Exit> {
    let mut checks = doctor::examine(arguments.pid);
    checks.push(doctor::private_network()); // last: from here on we are in it
    match arguments.format {
        Format::Json => print(&(serde_json::to_string_pretty(&checks)? + "\n"))?,
        Format::Text => print(&text(&checks))?,
    }
    Ok(Exit::NoLeak)
}

fn text(checks: &[Check]) -> String {
    let mut out = String::new();
    for check in checks {
        let sign = match check.state {
            State::Fine => "ok",
            State::Limits => "!",
            State::Unknown => "?",
        };
        let first = format!("{sign:>3} {:17}", check.what);
        let other = " ".repeat(21);
        wrapped(&mut out, &first, &other, &check.found);
        if !check.limits.is_empty() {
            wrapped(&mut out, &other, &other, &check.limits);
        }
        if !check.lift.is_empty() {
            let lift = format!("{}lift: ", " ".repeat(21));
            wrapped(&mut out, &lift, &" ".repeat(27), &check.lift);
        }
    }
    let limits = checks.iter().filter(|check| check.state == State::Limits);
    writeln!(
        out,
        "\n{} of {} limit something",
        limits.count(),
        checks.len()
    )
    .expect("a string takes everything");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_fits_a_terminal_and_counts_what_limits() {
        let check = |state, limits: &str| Check {
            what: "descriptors",
            state,
            found: "1,024 here, up to 20,000: ".repeat(5),
            limits: limits.into(),
            lift: limits.into(),
        };
        let said = text(&[check(State::Fine, ""), check(State::Limits, "much")]);
        assert!(
            said.lines().all(|line| line.chars().count() <= 80),
            "{said}"
        );
        assert!(said.ends_with("\n1 of 2 limit something\n"), "{said}");
        assert!(said.contains("lift: much"), "{said}");
    }
}
