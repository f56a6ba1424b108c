//! Python: a small module on the target's path opens a line to us from every process; through it we ask for a collection and for sizes.
//!
//! The door is a socket in a folder that only we may enter. The kernel tells who came (`SO_PEERCRED`), so a process cannot speak for another.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{
        fs::DirBuilderExt as _,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use rustix::net::sockopt::socket_peercred;
use serde::Deserialize;

use super::{Deadline, RuntimeError, RuntimeHeap, attach, is_python, is_there, pause};
use crate::target::proc;

/// What the target's interpreters import when they start.
const MODULE: &str = include_str!("sitecustomize.py");
const MODULE_FILE: &str = "sitecustomize.py";
const DOOR_FILE: &str = "door";
/// Tells the module where the door is.
const DOOR_NAME: &str = "SSE_SOAK_DOOR";
const PATH_NAME: &str = "PYTHONPATH";
/// An answer is some 150 bytes; more than this is not ours.
const LONGEST_ANSWER: u64 = 64 << 10;
/// More processes than this are no server that we know.
const MOST_LINES: usize = 4096;

/// Where the Python processes of a target that we start come to. The folder goes when it is dropped.
#[derive(Debug)]
pub struct PythonDoor {
    listener: UnixListener,
    folder: Folder,
}

/// A folder that only we may enter, removed when dropped.
#[derive(Debug)]
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok(); // a folder that stays is in the system's temporary place
    }
}

impl PythonDoor {
    /// Opens a door, and lays the module beside it.
    ///
    /// # Errors
    /// The system's temporary folder cannot be written to, or its path is too long for a socket.
    pub fn open() -> io::Result<Self> {
        let folder = Folder(private_folder(&std::env::temp_dir())?);
        fs::write(folder.0.join(MODULE_FILE), MODULE)?;
        let listener = UnixListener::bind(folder.0.join(DOOR_FILE))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, folder })
    }

    /// Lets processes of another user in: a target that we did not start.
    fn admit(&self, uid: u32) -> io::Result<()> {
        for name in ["", MODULE_FILE, DOOR_FILE] {
            std::os::unix::fs::chown(self.folder.0.join(name), Some(uid), None)?;
        }
        Ok(())
    }

    /// Has the module run by an interpreter that runs already.
    fn bring_to(&self, pid: u32, within: Duration) -> Result<(), RuntimeError> {
        let uid = proc::owner(pid).unwrap_or_default();
        if uid != rustix::process::getuid().as_raw() {
            self.admit(uid)
                .map_err(|error| no_answer(pid, &error.to_string()))?;
        }
        attach::run_module(
            pid,
            &self.folder.0,
            &self.folder.0.join(MODULE_FILE),
            &self.folder.0.join(DOOR_FILE),
            within,
        )
    }

    /// What the target's environment needs, given the `PYTHONPATH` that it would have had.
    pub fn environment(&self, path: Option<&str>) -> [(String, String); 2] {
        let own = self.folder.0.to_string_lossy();
        let path = match path.filter(|path| !path.is_empty()) {
            Some(path) => format!("{own}:{path}"),
            None => own.into_owned(),
        };
        let door = self.folder.0.join(DOOR_FILE);
        [
            (PATH_NAME.into(), path),
            (DOOR_NAME.into(), door.to_string_lossy().into_owned()),
        ]
    }
}

fn private_folder(parent: &Path) -> io::Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    const TRIES: u32 = 100;
    let mut result = Err(io::ErrorKind::AlreadyExists.into());
    for _ in 0..TRIES {
        let number = COUNT.fetch_add(1, Relaxed);
        let folder = parent.join(format!("sse-soak-{}-{number}", std::process::id()));
        result = DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map(|()| folder);
        let taken = |error: &io::Error| error.kind() == io::ErrorKind::AlreadyExists;
        if !result.as_ref().is_err_and(taken) {
            break;
        }
    }
    result
}

/// The lines that Python processes have opened.
#[derive(Debug)]
pub(super) struct PythonLines {
    door: PythonDoor,
    lines: Vec<Line>,
    /// A debugger may bring the module into processes that we did not start.
    attaches: bool,
    /// Processes that it was brought to: each once.
    brought: BTreeSet<u32>,
    /// Processes that were given time to open their line: each once.
    waited_for: BTreeSet<u32>,
}

/// A process that was brought the module runs it when it next wakes.
const COMES_WITHIN: Duration = Duration::from_secs(5);
/// A worker that was forked a moment ago has not opened its line yet.
const OPENS_WITHIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Line {
    pid: u32,
    stream: BufReader<UnixStream>,
}

/// What a process says when it has tidied up.
#[derive(Debug, Deserialize)]
struct Told {
    pymalloc_bytes: Option<u64>,
    malloc_bytes: Option<u64>,
    took_us: Option<u64>,
}

impl PythonLines {
    pub(super) const fn new(door: PythonDoor, attaches: bool) -> Self {
        Self {
            door,
            lines: Vec::new(),
            attaches,
            brought: BTreeSet::new(),
            waited_for: BTreeSet::new(),
        }
    }

    /// The first Python process among these that has no line.
    fn without_line(&self, pids: &[u32]) -> Option<u32> {
        let has_line = |pid: u32| self.lines.iter().any(|line| line.pid == pid);
        let silent = |pid: &u32| !has_line(*pid) && is_python(*pid);
        pids.iter().copied().find(silent)
    }

    /// Brings the module to processes that have no line, and waits until they come.
    fn attach(&mut self, pids: &[u32], deadline: Deadline<'_>) -> Result<(), RuntimeError> {
        for &pid in pids {
            if is_python(pid) && self.brought.insert(pid) {
                self.door.bring_to(pid, deadline.left())?;
            }
        }
        self.wait(pids, COMES_WITHIN, deadline);
        Ok(())
    }

    /// Lets in who comes, until all have a line.
    fn wait(&mut self, pids: &[u32], within: Duration, deadline: Deadline<'_>) {
        let until = deadline.clock.now() + within.min(deadline.left());
        while self.without_line(pids).is_some() && deadline.clock.now() < until {
            pause(Duration::from_millis(20));
            self.take_in();
        }
    }

    /// Asks every Python process among these. `None` if there is none.
    pub(super) fn settle(
        &mut self,
        pids: &[u32],
        deadline: Deadline<'_>,
    ) -> Result<Option<RuntimeHeap>, RuntimeError> {
        self.take_in();
        let is_new = |pid: u32| !self.brought.contains(&pid);
        if self.attaches && self.without_line(pids).is_some_and(is_new) {
            self.attach(pids, deadline)?;
        }
        if self
            .without_line(pids)
            .is_some_and(|pid| self.waited_for.insert(pid))
        {
            self.wait(pids, OPENS_WITHIN, deadline);
        }
        if let Some(pid) = self.without_line(pids) {
            return Err(RuntimeError::NoLine { pid });
        }
        // All at once, so that they collect side by side; who is gone is noticed when his answer is read.
        for line in &mut self.lines {
            line.stream.get_mut().write_all(b"settle\n").ok();
        }
        let mut sum = RuntimeHeap::default();
        let mut failed = None;
        self.lines.retain_mut(|line| match line.told(deadline) {
            Ok(Some(told)) => {
                add(&mut sum, told);
                true
            }
            Ok(None) => false,
            Err(error) => {
                failed.get_or_insert(error);
                false // a late answer must not be taken for the next one
            }
        });
        match failed {
            Some(error) => Err(error),
            None => Ok((sum.processes > 0).then_some(sum)),
        }
    }

    /// Lets in who has come since the last time.
    fn take_in(&mut self) {
        while self.lines.len() < MOST_LINES {
            let Ok((stream, _)) = self.door.listener.accept() else {
                return; // nobody waits
            };
            if let Some(line) = Line::of(stream) {
                self.lines.retain(|known| known.pid != line.pid); // it ran another program since
                self.lines.push(line);
            }
        }
    }
}

fn add(sum: &mut RuntimeHeap, told: RuntimeHeap) {
    sum.live_bytes += told.live_bytes;
    sum.processes += 1;
    sum.took = sum.took.max(told.took);
}

impl Line {
    fn of(stream: UnixStream) -> Option<Self> {
        stream.set_nonblocking(false).ok()?;
        let who = socket_peercred(&stream).ok()?;
        Some(Self {
            pid: who.pid.as_raw_nonzero().get().unsigned_abs(),
            stream: BufReader::new(stream),
        })
    }

    /// `None` if the process has ended: its bytes went with it.
    fn told(&mut self, deadline: Deadline<'_>) -> Result<Option<RuntimeHeap>, RuntimeError> {
        let pid = self.pid;
        let answer = self.answer(deadline);
        let answer = match answer {
            Ok(answer) if answer.ends_with('\n') => answer,
            _ if !is_there(pid) => return Ok(None),
            Ok(_) => return Err(no_answer(pid, "it closed its line")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(no_answer(pid, "not in time"));
            }
            Err(error) => return Err(no_answer(pid, &error.to_string())),
        };
        read(&answer).map(Some).ok_or_else(|| RuntimeError::Shape {
            pid,
            found: crate::target::proc::shortened(answer.trim_end()),
        })
    }

    fn answer(&mut self, deadline: Deadline<'_>) -> io::Result<String> {
        self.stream
            .get_ref()
            .set_read_timeout(Some(deadline.left()))?;
        let mut answer = String::new();
        (&mut self.stream)
            .take(LONGEST_ANSWER)
            .read_line(&mut answer)?;
        Ok(answer)
    }
}

fn no_answer(pid: u32, why: &str) -> RuntimeError {
    RuntimeError::NoAnswer {
        pid,
        why: why.into(),
    }
}

/// What one process holds: pymalloc's small blocks, and what the C library handed out. Either may be missing (a free-threaded
/// interpreter has no pymalloc, musl tells nothing), not both.
fn read(answer: &str) -> Option<RuntimeHeap> {
    let told: Told = serde_json::from_str(answer).ok()?;
    if told.pymalloc_bytes.is_none() && told.malloc_bytes.is_none() {
        return None;
    }
    Some(RuntimeHeap {
        live_bytes: told.pymalloc_bytes.unwrap_or(0) + told.malloc_bytes.unwrap_or(0),
        processes: 1,
        took: Duration::from_micros(told.took_us.unwrap_or(0)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_at_least_one_of_the_two_sizes() {
        let live = |answer| read(answer).map(|heap| heap.live_bytes);
        for (answer, bytes) in [
            (
                r#"{"pymalloc_bytes": 10, "malloc_bytes": 5, "took_us": 7}"#,
                Some(15),
            ),
            (
                r#"{"pymalloc_bytes": null, "malloc_bytes": 5, "blocks": 1}"#,
                Some(5),
            ),
            (r#"{"pymalloc_bytes": null, "malloc_bytes": null}"#, None),
            (r#"{"error": "MemoryError: "}"#, None),
            ("no JSON", None),
        ] {
            assert_eq!(live(answer), bytes, "{answer}");
        }
    }

    #[test]
    fn the_users_own_python_path_comes_after_ours() {
        let door = PythonDoor::open().unwrap();
        let folder = door.folder.0.clone();
        let own = folder.to_string_lossy().into_owned();
        let path = |given| door.environment(given)[0].1.clone();
        assert_eq!(path(None), own);
        assert_eq!(
            path(Some("")),
            own,
            "an empty entry would mean the folder it runs in"
        );
        assert_eq!(path(Some("/a:/b")), format!("{own}:/a:/b"));
        assert!(folder.join(MODULE_FILE).is_file());
        drop(door);
        assert!(!folder.exists());
    }
}
