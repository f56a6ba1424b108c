//! What every test here needs: a short profile, the program, and a deadline for everything.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, SystemTime},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Longer than anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// A folder for one test's runs, gone when the test is.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let server = beside("target-jemalloc");
        assert!(
            server.is_file(),
            "{} is missing: run `cargo build --workspace` with the same profile first",
            server.display()
        );
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A profile: the short one, with some of its text replaced.
    pub(crate) fn profile(&self, changes: &[(&str, &str)]) -> PathBuf {
        let mut text = include_str!("short.toml").to_owned();
        for (from, to) in changes {
            assert!(text.contains(from), "the short profile has no `{from}`");
            text = text.replace(from, to);
        }
        let path = self.path().join("short.toml");
        fs::write(&path, text).unwrap();
        path
    }

    /// Starts the program; its output goes to files in the folder.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let file = |name: &str| fs::File::create(self.path().join(name)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_sse-soak"))
            .args(arguments)
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap();
        Running {
            child,
            folder: self.path().into(),
        }
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).wait()
    }

    /// The only run directory, once there is one.
    pub(crate) fn run_directory(&self) -> PathBuf {
        let found = || {
            let runs = fs::read_dir(self.path().join("results")).ok()?;
            runs.map(|run| run.unwrap().path())
                .find(|run| run.join("manifest.json").exists())
        };
        wait_for("a run directory", found)
    }
}

/// The program under way.
pub(crate) struct Running {
    child: Child,
    folder: PathBuf,
}

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Whether it could not begin, for a reason that holds these words; false once it records.
    pub(crate) fn has_ended_saying(&mut self, words: &str) -> bool {
        wait_for("a beginning or an end", || {
            let said = fs::read_to_string(self.folder.join("stderr")).unwrap();
            match self.child.try_wait().unwrap() {
                Some(_) => Some(said.contains(words)),
                None => said.contains("recording to").then_some(false),
            }
        })
    }

    pub(crate) fn wait(mut self) -> Ended {
        let status = wait_for("the program to end", || self.child.try_wait().unwrap());
        let text = |name: &str| fs::read_to_string(self.folder.join(name)).unwrap();
        Ended {
            status,
            stdout: text("stdout"),
            stderr: text("stderr"),
        }
    }
}

/// How the program ended, and what it said.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Fails with everything that was said unless the exit code is this one.
    pub(crate) fn expect_code(&self, code: i32) -> &Self {
        assert_eq!(
            self.code(),
            Some(code),
            "\n{}\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Fails unless the complaint contains all of these.
    pub(crate) fn expect_complaint(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(
                self.stderr.contains(part),
                "no `{part}` in:\n{}",
                self.stderr
            );
        }
        self
    }
}

/// A JSON file of a run directory.
pub(crate) fn json(run: &Path, name: &str) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(run.join(name)).unwrap()).unwrap()
}

/// The target's pid, once the manifest tells it.
pub(crate) fn target_pid(run: &Path) -> Pid {
    let told = || {
        Pid::from_raw(i32::try_from(json(run, "manifest.json")["target"]["pid"].as_i64()?).ok()?)
    };
    wait_for("the target's pid", told)
}

/// Waits until a process is gone.
pub(crate) fn expect_gone(pid: Pid) {
    wait_for("the target to be gone", || {
        (test_kill_process(pid).is_err() || is_zombie(pid)).then_some(())
    });
}

fn is_zombie(pid: Pid) -> bool {
    let stat =
        fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

/// Rows of a CSV file of the run, header not counted.
pub(crate) fn rows(run: &Path, name: &str) -> usize {
    fs::read_to_string(run.join(name)).map_or(0, |text| text.lines().count().saturating_sub(1))
}

/// Waits until a run has recorded so many samples.
pub(crate) fn wait_for_samples(run: &Path, count: usize) {
    wait_for("samples", || {
        (rows(run, "samples.csv") >= count).then_some(())
    });
}

/// Asks again and again until there is an answer; fails at a deadline.
pub(crate) fn wait_for<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let begun = SystemTime::now();
    loop {
        if let Some(found) = answer() {
            return found;
        }
        assert!(
            begun.elapsed().unwrap_or_default() < DEADLINE,
            "waited {DEADLINE:?} for {what}"
        );
        pause();
    }
}

/// A moment between two questions.
fn pause() {
    let (_sender, never) = std::sync::mpsc::channel::<()>();
    assert!(never.recv_timeout(Duration::from_millis(20)).is_err());
}

/// A program beside ours.
pub(crate) fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_sse-soak")).with_file_name(name)
}
