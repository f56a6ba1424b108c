//! Why a run could not go on.

use std::io;

use crate::{observe::ObserveError, record::RecordError, target::TargetError};

/// Why a run could not go on.
#[derive(Debug, thiserror::Error)]
pub enum SoakError {
    /// The recording cannot be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The target cannot be started or reached.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The target cannot be observed.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// What Python processes of the target would come to cannot be made.
    #[error(
        "cannot open a door for the target's Python processes in the system's temporary folder (`runtime = \"none\"` does without)"
    )]
    Door(#[source] io::Error),
    /// The load cannot be started.
    #[error("cannot start the load")]
    Drive(#[source] io::Error),
    /// The load's thread ended by itself.
    #[error("{0}")]
    DriveDied(String),
    /// The first clients were not answered as the profile says.
    #[error(
        "the target does not answer as the profile says:\n{}",
        listed(problems)
    )]
    Trial {
        /// What each of them met, in words.
        problems: Vec<String>,
    },
    /// What the clients are to do cannot be done over this transport.
    #[error("{0}")]
    Transport(&'static str),
    /// How the run goes on could not be decided.
    #[error("cannot decide how the run goes on: {0}")]
    Onward(String),
    /// The URL is none that can be loaded.
    #[error("{0}")]
    Address(String),
}

impl SoakError {
    /// The whole chain of causes, in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

fn listed(problems: &[String]) -> String {
    if problems.is_empty() {
        return "  no answer came in time".into();
    }
    problems
        .iter()
        .map(|problem| format!("  {problem}"))
        .collect::<Vec<_>>()
        .join("\n")
}
