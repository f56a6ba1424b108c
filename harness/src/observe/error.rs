//! Why the observer cannot start or answer.

use std::{error::Error, io};

use super::{admin::AdminError, metrics::MetricsError};

/// What can go wrong before there is anything to see. What goes wrong later is a gap in a sample, not an error.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The process to observe is not there.
    #[error("cannot observe the target")]
    Target(#[source] crate::target::proc::ProcError),
    /// Its thread does not start.
    #[error("cannot start the observer's thread")]
    Thread(#[source] io::Error),
    /// The admin listener cannot be asked, or its answer makes no sense.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The target's metrics are not what the profile says.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// There is nothing to ask.
    #[error("the target has no admin listener")]
    NoAdmin,
    /// The observer hangs or has ended.
    #[error("the observer did not answer")]
    NoAnswer,
}

/// An error and its causes in one sentence, for a gap.
pub(super) fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
