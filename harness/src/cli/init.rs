//! `sse-soak init`: writes a profile for a server that nobody has described.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;

use super::{Exit, exit::Usage, print, refuse_remote, say};
use crate::{
    doctor::allocator,
    init::{self, Server},
    profile::Profile,
    soak::Url,
    target::{Launch, Readiness, Target},
    timeline::Clock,
    units::{ByteSize, Period},
};

/// How long a command may take to listen.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long it may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct InitArguments {
    /// Where the server listens, with the path of its stream if you know it: http://127.0.0.1:8000/events
    #[arg(long)]
    url: String,
    /// Its process, if it runs already. Without it, whoever listens at the URL is found.
    #[arg(long, conflicts_with = "command")]
    pid: Option<u32>,
    /// The profile to write; `-` is standard output.
    #[arg(long, short, default_value = "my-server.toml", value_name = "FILE")]
    output: PathBuf,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
    /// About how long a run of the profile should take.
    #[arg(long, default_value = "3m", value_name = "TIME")]
    length: Period,
    /// How long to watch whether a session expires, if the server counts them where we can see it.
    #[arg(long, default_value = "10s", value_name = "TIME")]
    ttl_wait: Period,
    /// Ask a server that is not on this machine. Only servers that are yours.
    #[arg(long)]
    allow_remote: bool,
    /// How to start the server, if it does not run.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(super) fn init(arguments: &InitArguments) -> anyhow::Result<Exit> {
    refuse_remote(&arguments.url, arguments.allow_remote)?;
    let url = Url::parse(&arguments.url)?;
    if url.secure {
        let message = "init asks over http:// only: give the server's plain port, then write https:// into the profile";
        return Err(Usage(message.into()).into());
    }
    refuse_to_replace(arguments)?;
    let server = Server {
        addr: url.address()?,
        host: url.authority,
        path: url.path,
    };
    let target = reach(arguments, &server)?;
    let pid = target.as_ref().and_then(Target::pid);
    let heap = pid.and_then(|pid| allocator::of(pid).ok());
    let looked = init::look(&server, heap, arguments.ttl_wait.get(), &mut |line| {
        say(line);
    });
    // The URL leads to the process by itself unless it was given because it does not.
    let is_found = || Target::attach_by_addr(server.addr).is_ok_and(|found| found.is_some());
    let pid = arguments.pid.filter(|_| !is_found());
    if let Some(target) = target.filter(Target::is_ours) {
        target.stop(STOP_WITHIN);
    }
    let portrait = looked.map_err(|error| Usage(chain(&error)))?;
    let length = arguments.length.get();
    let text = init::write(&server, &portrait, &arguments.command, pid, length);
    let file = arguments.output.display().to_string();
    Profile::parse("init", &file, text.clone())
        .context("this is our mistake: the profile that was written does not parse")?;
    if arguments.output == Path::new("-") {
        print(&text)?;
    } else {
        fs::write(&arguments.output, text).with_context(|| format!("cannot write {file}"))?;
        say(&format!("wrote {file}; run it: sse-soak run {file}"));
    }
    Ok(Exit::NoLeak)
}

fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

fn refuse_to_replace(arguments: &InitArguments) -> Result<(), Usage> {
    let file = &arguments.output;
    if arguments.force || !file.exists() {
        return Ok(());
    }
    Err(Usage(format!(
        "{} exists: give another --output, or --force to replace it",
        file.display()
    )))
}

/// Starts the server, or finds the one that runs; `None`: its process is not to be seen.
fn reach(arguments: &InitArguments, server: &Server) -> anyhow::Result<Option<Target>> {
    if arguments.command.is_empty() {
        return Ok(match arguments.pid {
            Some(pid) => Some(Target::attach(pid, server.addr)?),
            None => Target::attach_by_addr(server.addr).unwrap_or_default(),
        });
    }
    let mut target = Target::launch(&Launch {
        command: arguments.command.clone(),
        env: vec![],
        dir: None,
        log: "/dev/null".into(),
        log_limit: ByteSize(0),
        memory_limit: None,
        huge_pages: false,
    })?;
    let readiness = Readiness {
        addr: Some(server.addr),
        ready_file: None,
    };
    target.wait_ready(&readiness, READY_WITHIN, &Clock::start())?;
    Ok(Some(target))
}
