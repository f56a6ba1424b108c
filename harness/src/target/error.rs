//! Why there is no target to look at.

use std::{io, path::PathBuf};

use super::{life::Life, proc::ProcError};
use crate::units::ByteSize;

/// What can go wrong between "this is the server" and "it serves".
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Nothing to start.
    #[error("the target's command is empty")]
    EmptyCommand,
    /// The program does not start.
    #[error("cannot start the target `{program}`")]
    Spawn {
        /// The first word of the command.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Its log cannot be written.
    #[error("cannot keep the target's output in {path}", path = path.display())]
    Log {
        /// The log file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A system call that should not fail did.
    #[error("cannot {what}")]
    System {
        /// What we were about to do.
        what: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no such process.
    #[error("there is no process {pid}")]
    NoSuchProcess {
        /// The process that was asked for.
        pid: u32,
    },
    /// Its memory may not be read.
    #[error(
        "process {pid} belongs to user {owner}: run sse-soak as that user, or as root, to read its memory"
    )]
    NotOurs {
        /// The process that was asked for.
        pid: u32,
        /// Its effective user.
        owner: u32,
    },
    /// The process exists and serves something else.
    #[error("neither process {pid} nor a descendant of it listens on port {port}")]
    NotListening {
        /// The process that was asked for.
        pid: u32,
        /// The target's port.
        port: u16,
    },
    /// More than one server answers.
    #[error("several servers listen on port {port} (processes {pids:?}): say which one with --pid")]
    Ambiguous {
        /// The target's port.
        port: u16,
        /// The heads of the process trees that listen.
        pids: Vec<u32>,
    },
    /// Somebody else answers on the target's port.
    #[error(
        "port {port} is answered by another process than the target that was started: stop it, or choose another port"
    )]
    PortTaken {
        /// The target's port.
        port: u16,
    },
    /// The target ended before it served.
    #[error("the target {life} before it was ready; its last lines:\n{last_lines}")]
    Ended {
        /// How it ended.
        life: Life,
        /// The end of its output.
        last_lines: String,
    },
    /// The target runs and does not serve.
    #[error("the target was not ready after {waited}: {missing}; its last lines:\n{last_lines}")]
    NotReady {
        /// How long was waited.
        waited: humantime::FormattedDuration,
        /// What was missing.
        missing: String,
        /// The end of its output.
        last_lines: String,
    },
    /// A file of the target is larger than such a file can be.
    #[error("{path} is larger than {limit}: not a ready file", path = path.display())]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// What is read at most.
        limit: ByteSize,
    },
    /// A file of the kernel about the process cannot be read.
    #[error(transparent)]
    Process(#[from] ProcError),
}
