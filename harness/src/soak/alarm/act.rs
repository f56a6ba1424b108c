//! Does what an alarm asks for: starts a command, posts to a webhook. Never waits for either.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{profile::Then, timeline::Elapsed};

/// Commands that may run at the same time.
const MOST_COMMANDS: usize = 8;

/// Alarms that may wait to be posted.
const MOST_POSTS: usize = 16;

/// How long one post may take.
const POST_WITHIN: Duration = Duration::from_secs(5);

/// How often a command that still runs at the end is looked at, before it is ended.
const LAST_LOOKS: u32 = 100;

/// Starts commands and posts to webhooks; ends what still runs of them when it is dropped.
#[derive(Debug, Default)]
pub(in crate::soak) struct Actor {
    run: PathBuf,
    commands: Vec<Child>,
    post: Option<Post>,
}

/// A thread that posts.
#[derive(Debug)]
struct Post {
    queue: SyncSender<(String, Value)>,
    failures: Receiver<String>,
    thread: JoinHandle<()>,
}

impl Actor {
    pub(in crate::soak) fn new(run: &Path) -> Self {
        Self {
            run: run.into(),
            commands: Vec::new(),
            post: None,
        }
    }

    /// Does what is asked for; returns what could not be done, a sentence each.
    pub(in crate::soak) fn act(&mut self, then: &Then, at: Elapsed, text: &str) -> Vec<String> {
        let mut lost = Vec::new();
        if let Some(command) = &then.command {
            let started = self.start(command.get_ref(), text);
            lost.extend(
                started
                    .err()
                    .map(|why| format!("an alarm's command was not started: {why}")),
            );
        }
        if let Some(url) = &then.webhook {
            let run = self.run.to_string_lossy();
            let body = json!({ "alarm": text, "t_s": at.seconds(), "run": run });
            lost.extend(self.post(url.get_ref(), body).err());
        }
        lost
    }

    /// What went wrong since the last call with what was begun: a sentence each.
    pub(in crate::soak) fn failures(&mut self) -> Vec<String> {
        self.commands
            .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        let posts = self.post.iter().flat_map(|post| post.failures.try_iter());
        posts.collect()
    }

    fn start(&mut self, command: &[String], text: &str) -> io::Result<()> {
        self.commands
            .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        if self.commands.len() >= MOST_COMMANDS {
            return Err(io::Error::other(format!(
                "{MOST_COMMANDS} of them still run"
            )));
        }
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let child = Command::new(program)
            .args(arguments)
            .env("SSE_SOAK_ALARM", text)
            .env("SSE_SOAK_RUN", &self.run)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        self.commands.push(child);
        Ok(())
    }

    fn post(&mut self, url: &str, body: Value) -> Result<(), String> {
        if self.post.is_none() {
            self.post =
                Some(Post::start().map_err(|why| format!("no thread for webhooks: {why}"))?);
        }
        let sent = self
            .post
            .as_ref()
            .map(|post| post.queue.try_send((url.into(), body)));
        match sent {
            None | Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(_))) => Err(format!(
                "an alarm was not posted: {MOST_POSTS} of them wait already"
            )),
            Some(Err(TrySendError::Disconnected(_))) => {
                Err("an alarm was not posted: its thread is gone".into())
            }
        }
    }

    /// Lets what was begun come to its end, as long as posts may take; then ends it. Returns what failed.
    pub(in crate::soak) fn finish(mut self) -> Vec<String> {
        let mut failed = self.failures();
        for _ in 0..LAST_LOOKS {
            if self.commands.is_empty() {
                break;
            }
            pause(POST_WITHIN / LAST_LOOKS);
            failed.extend(self.failures());
        }
        if let Some(Post {
            queue,
            failures,
            thread,
        }) = self.post.take()
        {
            drop(queue); // the thread ends with what is queued; posts that fail are bounded in number and in time
            failed.extend(failures.iter());
            thread.join().ok();
        }
        failed
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge that waits for a command at the end of a run"
)]
fn pause(length: Duration) {
    thread::sleep(length);
}

impl Drop for Actor {
    fn drop(&mut self) {
        for child in &mut self.commands {
            // It may have ended by itself; whoever raises alarms for long is no child of ours for ever.
            if matches!(child.try_wait(), Ok(None)) {
                child.kill().ok();
                child.wait().ok();
            }
        }
    }
}

impl Post {
    fn start() -> io::Result<Self> {
        let (queue, posts) = sync_channel::<(String, Value)>(MOST_POSTS);
        let (failed, failures) = sync_channel(MOST_POSTS);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let work = move || {
            for (url, body) in posts {
                if let Some(why) = runtime.block_on(post(&url, &body)).err() {
                    // Nobody can be told of more failures than the queue holds; the first ones say it all.
                    failed
                        .try_send(format!("an alarm was not posted to {url}: {why}"))
                        .ok();
                }
            }
        };
        let thread = thread::Builder::new().name("webhook".into()).spawn(work)?;
        Ok(Self {
            queue,
            failures,
            thread,
        })
    }
}

async fn post(url: &str, body: &Value) -> Result<(), String> {
    let client = reqwest::Client::builder()
        .timeout(POST_WITHIN)
        .no_proxy()
        .build();
    let client = client.map_err(|why| why.to_string())?;
    let answer = client.post(url).json(body).send().await;
    let answer = answer.and_then(reqwest::Response::error_for_status);
    answer.map(drop).map_err(|why| {
        let cause =
            std::error::Error::source(&why).map_or_else(String::new, |cause| format!(": {cause}"));
        format!("{why}{cause}")
    })
}
