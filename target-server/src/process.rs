//! The process around the server: arguments in, exit code out; sockets, token and ready file; signals and logs.
//!
//! Exit codes: 0 after a drain, 2 for what a person can correct (configuration, a port in use), 1 for anything else.

use std::{
    error::Error,
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use crate::{
    Allocator, Listeners,
    config::{self, Cli, Config, ConfigError, LogFormat},
    secure::{Secure, SecureError},
    supervisor,
};

/// Connections the kernel queues before we accept them.
const BACKLOG: i32 = 4096;

/// Why the process could not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("cannot write {}", path.display())]
    Unwritable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Secure(#[from] SecureError),
    #[error("the server stopped")]
    Serve(#[from] io::Error),
}

/// What `--ready-file` gets, and what a supervisor learns of a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) pid: u32,
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) token_file: Option<PathBuf>,
    /// The certificate that was made for this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<PathBuf>,
}

/// The whole program, under the allocator the binary chose.
pub fn main_with(allocator: Allocator) -> ExitCode {
    let cli = Cli::parse();
    if cli.print_config {
        return print_example();
    }
    match start(cli, allocator) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut cause: Option<&dyn Error> = error.source();
            while let Some(deeper) = cause {
                text = format!("{text}: {deeper}");
                cause = deeper.source();
            }
            eprintln!("target-server: {text}");
            ExitCode::from(
                if matches!(
                    error,
                    StartError::Config(_) | StartError::Listen { .. } | StartError::Secure(_)
                ) {
                    2
                } else {
                    1
                },
            )
        }
    }
}

fn print_example() -> ExitCode {
    match write!(io::stdout(), "{}", config::example()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn start(cli: Cli, allocator: Allocator) -> Result<(), StartError> {
    let parent = cli.worker_of;
    let config = cli.resolve()?;
    log_to_stderr(&config);
    if let Some(parent) = parent {
        die_with(parent)?;
    }
    let token = Token::for_run(&config)?;
    if config.workers > 1 {
        return supervisor::run(&config, allocator, &token);
    }
    let listeners = Listeners {
        public: listen(config.listen, parent.is_some())?,
        admin: listen(config.admin_listen, false)?,
        secure: Secure::of(&config)?,
    };
    let ready = Ready {
        pid: std::process::id(),
        public: listeners.public.local_addr()?,
        admin: listeners.admin.local_addr()?,
        token_file: token.file.clone(),
        certificate: listeners
            .secure
            .as_ref()
            .and_then(|secure| secure.certificate.clone()),
    };
    // The kernel accepts for us from here on; a request sent now is answered once the runtime runs.
    announce(&config, &ready)?;
    crate::serve(
        listeners,
        config,
        allocator,
        token.text.clone(),
        terminated(),
    )?;
    Ok(())
}

/// Tells where we listen: one log line, and the ready file, which appears whole or not at all.
pub(crate) fn announce(config: &Config, ready: &Ready) -> Result<(), StartError> {
    tracing::info!(pid = ready.pid, public = %ready.public, admin = %ready.admin, "listening");
    let Some(path) = &config.ready_file else {
        return Ok(());
    };
    let mut unfinished = path.clone().into_os_string();
    unfinished.push(".unfinished");
    let text = serde_json::to_vec(ready).expect("plain structs serialise");
    std::fs::write(&unfinished, text)
        .and_then(|()| std::fs::rename(&unfinished, path))
        .map_err(|source| StartError::Unwritable {
            path: path.clone(),
            source,
        })
}

/// The admin token of this run; a generated one lives in a file only its owner can read, gone when we are.
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) file: Option<PathBuf>,
}

impl Token {
    fn for_run(config: &Config) -> Result<Self, StartError> {
        if let Some(text) = &config.admin_token {
            return Ok(Self {
                text: text.clone(),
                file: None,
            });
        }
        let text = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let path = config.token_file.clone().unwrap_or_else(|| {
            std::env::temp_dir().join(format!("target-server-{}.token", std::process::id()))
        });
        write_private(&path, &text).map_err(|source| StartError::Unwritable {
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            text,
            file: Some(path),
        })
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.file.as_ref().map(std::fs::remove_file) {
            tracing::debug!(%error, "the token file was gone already");
        }
    }
}

/// A new file, never an old one of somebody else: whatever is in the way is removed first.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?
        .write_all(text.as_bytes())
}

/// A listening socket. Workers `share` their port; everybody may take over a port in TIME_WAIT.
fn listen(address: SocketAddr, share: bool) -> Result<TcpListener, StartError> {
    bind(address, share)
        .and_then(|socket| socket.listen(BACKLOG).map(|()| socket.into()))
        .map_err(|source| StartError::Listen { address, source })
}

/// A bound socket that does not listen yet: with `share` it keeps the port for workers without taking a connection.
pub(crate) fn bind(address: SocketAddr, share: bool) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM.cloexec(),
        None,
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A listening socket for the supervisor's admin.
pub(crate) fn listen_alone(address: SocketAddr) -> Result<TcpListener, StartError> {
    listen(address, false)
}

/// Returns when somebody asks us to stop: SIGTERM or SIGINT.
pub(crate) async fn terminated() {
    let (mut term, mut int) = match (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) {
        (Ok(term), Ok(int)) => (term, int),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "cannot listen for signals: only SIGKILL will stop us");
            return std::future::pending().await;
        }
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// A worker without its supervisor would hold the port unseen.
fn die_with(parent: u32) -> Result<(), StartError> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
        .map_err(io::Error::from)?;
    if std::os::unix::process::parent_id() == parent {
        Ok(())
    } else {
        Err(io::Error::other("the supervisor was gone before its worker started").into())
    }
}

/// Physical memory of this process.
pub(crate) fn resident_bytes() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kib: Option<u64> = status.lines().find_map(|line| {
        line.strip_prefix("VmRSS:")?
            .trim()
            .strip_suffix(" kB")?
            .parse()
            .ok()
    });
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| io::Error::other("/proc/self/status has no VmRSS in kB"))
}

/// Lines, no spans: a span would be kept in a registry that grows with the most that were ever open.
fn log_to_stderr(config: &Config) {
    let lines = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_max_level(config.log_level.0)
        .with_ansi(false);
    match config.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}
