//! The target as real processes: started, watched, stopped, with nothing left behind.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use sse_soak::{
    target::{
        Launch, Life, OutOfMemory, Readiness, Target, TargetError,
        proc::{self, ProcessId},
    },
    timeline::Clock,
    units::ByteSize,
};

const LONG: Duration = Duration::from_secs(20);

/// A target with its log in a directory of its own.
struct Stage {
    dir: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn launch(&self, command: &[&str]) -> Launch {
        Launch {
            command: command.iter().map(|&word| word.to_owned()).collect(),
            env: vec![(
                "STAGE".into(),
                self.dir.path().to_string_lossy().into_owned(),
            )],
            dir: None,
            log: self.file("target.log"),
            log_limit: ByteSize(1 << 20),
            memory_limit: None,
            huge_pages: false,
        }
    }

    fn sh(&self, script: &str) -> Target {
        Target::launch(&self.launch(&["sh", "-c", script])).unwrap()
    }

    /// A pid that the target writes into a file.
    fn pid(&self, name: &str) -> ProcessId {
        let mut found = None;
        eventually(name, || {
            let text = fs::read_to_string(self.file(name)).unwrap_or_default();
            found = text
                .trim()
                .parse()
                .ok()
                .and_then(|pid| ProcessId::of(pid).ok());
            found.is_some()
        });
        found.unwrap()
    }
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let clock = Clock::start();
    while !condition() {
        assert!(clock.now().0 < LONG, "waited in vain for: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

fn runs(id: ProcessId) -> bool {
    proc::Stat::read(id.pid).is_ok_and(|stat| stat.id == id && stat.is_alive())
}

fn exists(id: ProcessId) -> bool {
    proc::Stat::read(id.pid).is_ok_and(|stat| stat.id == id)
}

const SERVER: &str = "
import os, socket, json, signal, sys
s = socket.create_server(('127.0.0.1', 0))
addr = '127.0.0.1:%d' % s.getsockname()[1]
stage = os.environ['STAGE']
with open(stage + '/ready.json', 'w') as f:
    json.dump({'pid': os.getpid(), 'public': 'http://' + addr, 'admin': 'x', 'token_file': '/t'}, f)
print('serving', flush=True)
while True:
    s.accept()
";

#[test]
fn it_starts_says_when_it_is_ready_and_stops() {
    let stage = Stage::new();
    let mut target = Target::launch(&stage.launch(&["python3", "-c", SERVER])).unwrap();
    let probe = Readiness {
        addr: None,
        ready_file: Some(stage.file("ready.json")),
    };
    let ready = target.wait_ready(&probe, LONG, &Clock::start()).unwrap();
    assert_eq!(ready.pid, target.pid());
    assert_eq!(ready.token_file.as_deref(), Some(Path::new("/t")));
    assert_eq!(target.alive(), Life::Running);
    let id = ProcessId::of(target.pid().unwrap()).unwrap();
    let stopped = target.stop(LONG);
    assert_eq!(
        stopped.life,
        Life::Killed {
            signal: 15,
            out_of_memory: OutOfMemory::NoSign
        }
    );
    assert!(stopped.killed.is_empty(), "{stopped:?}");
    assert!(!exists(id));
    assert_eq!(
        fs::read_to_string(stage.file("target.log")).unwrap(),
        "serving\n"
    );
}

#[test]
fn one_that_ends_in_warm_up_says_how_and_its_last_words() {
    let stage = Stage::new();
    let mut target = stage.sh("echo starting; echo cannot bind: address in use >&2; exit 3");
    let error = target
        .wait_ready(
            &Readiness {
                addr: Some("127.0.0.1:1".parse().unwrap()),
                ready_file: None,
            },
            LONG,
            &Clock::start(),
        )
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the target exited with status 3 before it was ready; its last lines:\nstarting\ncannot bind: address in use"
    );
}

#[test]
fn one_that_never_serves_says_what_is_missing() {
    let stage = Stage::new();
    let mut target = stage.sh("sleep 600");
    let probe = Readiness {
        addr: None,
        ready_file: Some(stage.file("never.json")),
    };
    let error = target
        .wait_ready(&probe, Duration::from_millis(50), &Clock::start())
        .unwrap_err();
    assert!(
        matches!(&error, TargetError::NotReady { missing, .. } if missing.ends_with("never.json does not exist yet")),
        "{error}"
    );
}

#[test]
fn a_strangers_server_on_the_port_is_not_taken_for_the_target() {
    let stage = Stage::new();
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut target = stage.sh("sleep 600");
    let probe = Readiness {
        addr: Some(stranger.local_addr().unwrap()),
        ready_file: None,
    };
    let error = target
        .wait_ready(&probe, LONG, &Clock::start())
        .unwrap_err();
    assert!(matches!(error, TargetError::PortTaken { .. }), "{error}");
}

#[test]
fn what_cannot_be_started_is_said() {
    let stage = Stage::new();
    assert!(matches!(
        Target::launch(&stage.launch(&[])),
        Err(TargetError::EmptyCommand)
    ));
    let error = Target::launch(&stage.launch(&["/no/such/program"])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot start the target `/no/such/program`"
    );
    let mut nowhere = stage.launch(&["true"]);
    nowhere.log = "/no/such/dir/target.log".into();
    assert!(matches!(
        Target::launch(&nowhere),
        Err(TargetError::Log { .. })
    ));
}

#[test]
fn nothing_of_it_stays_behind_whatever_it_forked() {
    let stage = Stage::new();
    let target = stage.sh(
        r#"
        sleep 600 & echo $! > "$STAGE/child"
        (setsid sh -c 'echo $$ > "$STAGE/daemon"; exec sleep 600' &)
        (setsid setsid sh -c 'trap "" TERM; echo $$ > "$STAGE/stubborn"; while :; do sleep 1; done' &)
        wait"#,
    );
    let family = ["child", "daemon", "stubborn"].map(|name| stage.pid(name));
    let stubborn = family[2];
    let stopped = target.stop(Duration::from_millis(300));
    assert!(stopped.killed.contains(&stubborn.pid), "{stopped:?}");
    for id in family {
        assert!(!exists(id), "{id} stayed behind");
    }
}

#[test]
fn a_daemon_that_outlives_its_parent_is_stopped_too() {
    let stage = Stage::new();
    let mut target =
        stage.sh(r#"(setsid sh -c 'echo $$ > "$STAGE/daemon"; exec sleep 600' &); exit 0"#);
    let daemon = stage.pid("daemon");
    eventually("the root ends", || target.alive() == Life::Exited(0));
    assert!(runs(daemon));
    target.stop(LONG);
    assert!(!exists(daemon));
}

#[test]
fn dropping_it_kills_it() {
    let stage = Stage::new();
    let target = stage.sh(r#"trap "" TERM; sleep 600 & echo $! > "$STAGE/child"; wait; wait"#);
    let child = stage.pid("child");
    let root = ProcessId::of(target.pid().unwrap()).unwrap();
    drop(target);
    assert!(!exists(root) && !exists(child));
}

#[test]
fn orphans_that_ended_are_buried_while_the_target_runs() {
    let stage = Stage::new();
    let fifo = stage.file("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let mut target = stage
        .sh(r#"(sh -c 'echo $$ > "$STAGE/orphan"; read x < "$STAGE/fifo"' &); exec sleep 600"#);
    let orphan = stage.pid("orphan");
    eventually("it is ours", || {
        proc::Stat::read(orphan.pid).is_ok_and(|stat| stat.parent == std::process::id())
    });
    target.alive();
    fs::write(&fifo, "go\n").unwrap();
    eventually("it is buried", || {
        target.alive();
        !exists(orphan)
    });
}

#[test]
fn huge_pages_are_off_for_the_target_only_and_unless_wished() {
    let stage = Stage::new();
    let enabled = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        status
            .lines()
            .find_map(|line| line.strip_prefix("THP_enabled:"))
            .map(|value| value.trim() == "1")
    };
    let Some(ours) = enabled(std::process::id()) else {
        return;
    };
    let without = stage.sh("sleep 600");
    assert_eq!(enabled(without.pid().unwrap()), Some(false));
    let with = Target::launch(&Launch {
        huge_pages: true,
        ..stage.launch(&["sleep", "600"])
    })
    .unwrap();
    assert_eq!(enabled(with.pid().unwrap()), Some(ours));
    assert_eq!(enabled(std::process::id()), Some(ours));
}

#[test]
fn a_flood_of_output_neither_blocks_the_target_nor_fills_the_disk() {
    let stage = Stage::new();
    let mut target = stage.sh("head -c 20000000 /dev/zero | tr '\\0' x; echo; echo done; exit 0");
    eventually("it ends", || target.alive().has_ended());
    let stopped = target.stop(LONG);
    assert_eq!(stopped.log.kept_bytes, 1 << 20);
    assert!(stopped.log.lost_bytes > 18_000_000);
    let log = fs::metadata(stage.file("target.log")).unwrap().len();
    assert!(log < (1 << 20) + (20 << 10), "{log}");
}

#[test]
fn a_running_server_is_found_by_its_pid_or_its_port() {
    let stage = Stage::new();
    let mut server = Target::launch(&stage.launch(&["python3", "-c", SERVER])).unwrap();
    let probe = Readiness {
        addr: None,
        ready_file: Some(stage.file("ready.json")),
    };
    let addr = server
        .wait_ready(&probe, LONG, &Clock::start())
        .unwrap()
        .addr
        .unwrap();
    let pid = server.pid().unwrap();

    let mut attached = Target::attach(pid, addr).unwrap();
    assert_eq!(
        (attached.pid(), attached.alive()),
        (Some(pid), Life::Running)
    );
    let found = Target::attach_by_addr(addr).unwrap().unwrap();
    assert_eq!(found.pid(), Some(pid));
    let other = SocketAddr::from(([127, 0, 0, 1], 9));
    let error = Target::attach(pid, other).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("neither process {pid} nor a descendant of it listens on port 9")
    );

    assert_eq!(
        found.stop(Duration::ZERO).life,
        Life::Running,
        "not ours to stop"
    );
    assert_eq!(server.alive(), Life::Running);
    server.stop(LONG);
    assert_eq!(attached.alive(), Life::Gone);
    assert_eq!(
        Target::attach(pid, addr).unwrap_err().to_string(),
        format!("there is no process {pid}")
    );
    assert!(Target::attach_by_addr(addr).unwrap().is_none());
    assert!(
        Target::attach_by_addr("192.0.2.1:80".parse().unwrap())
            .unwrap()
            .is_none()
    );
}

#[test]
fn of_workers_that_share_a_socket_the_head_is_found() {
    const FORKING: &str = "
import os, socket, signal
s = socket.create_server(('127.0.0.1', 0))
for _ in range(2):
    if os.fork() == 0:
        signal.pause()
with open(os.environ['STAGE'] + '/port', 'w') as f:
    f.write('%d\\n' % s.getsockname()[1])
signal.pause()
";
    let stage = Stage::new();
    let target = Target::launch(&stage.launch(&["python3", "-c", FORKING])).unwrap();
    let mut port = None;
    eventually("a port", || {
        let text = fs::read_to_string(stage.file("port")).unwrap_or_default();
        port = text.strip_suffix('\n').and_then(|text| text.parse().ok());
        port.is_some()
    });
    let addr = SocketAddr::from(([127, 0, 0, 1], port.unwrap()));
    let found = Target::attach_by_addr(addr).unwrap().unwrap();
    assert_eq!(found.pid(), target.pid());
}

#[test]
fn another_users_process_is_refused_in_one_sentence() {
    // Only root may run something as somebody else, and only root's own right to read everything stands in the way of the refusal.
    let target = Target::attach(1, SocketAddr::from(([127, 0, 0, 1], 9)));
    let error = target.unwrap_err().to_string();
    assert!(
        error.starts_with("process 1 belongs to user 0: run sse-soak as that user")
            || error == "neither process 1 nor a descendant of it listens on port 9",
        "{error}"
    );
}

/// Not a test: the harness that [`a_killed_harness_takes_the_target_with_it`] kills.
#[test]
#[ignore = "run by another test as a process of its own"]
fn a_harness_to_be_killed() {
    let Ok(dir) = std::env::var("TO_BE_KILLED") else {
        return;
    };
    let dir = PathBuf::from(dir);
    let launch = Launch {
        memory_limit: None,
        command: ["sh", "-c", "sleep 600 & echo $! > \"$STAGE/child\"; wait"]
            .map(String::from)
            .into(),
        env: vec![("STAGE".into(), dir.to_string_lossy().into_owned())],
        dir: None,
        log: dir.join("target.log"),
        log_limit: ByteSize(1 << 20),
        huge_pages: false,
    };
    let _target = Target::launch(&launch).unwrap();
    fs::write(dir.join("launched"), std::process::id().to_string()).unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn a_killed_harness_takes_the_target_with_it() {
    let stage = Stage::new();
    let mut harness = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "a_harness_to_be_killed"])
        .env("TO_BE_KILLED", stage.dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    stage.pid("launched");
    let child = stage.pid("child");
    harness.kill().unwrap();
    harness.wait().unwrap();
    eventually("the guard's work", || !runs(child));
}

/// The memory control group of this machine, with a small group of its own in it; removed afterwards.
struct SmallGroup(PathBuf);

impl SmallGroup {
    fn make() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = text.lines().find_map(|line| line.split_once(":memory:"))?.1;
        let group = Path::new("/sys/fs/cgroup/memory")
            .join(path.trim_start_matches('/'))
            .join(format!("sse-soak-test-{}", std::process::id()));
        fs::create_dir(&group).ok()?;
        let group = Self(group);
        fs::write(group.0.join("memory.limit_in_bytes"), "33554432").ok()?;
        Some(group)
    }
}

impl Drop for SmallGroup {
    fn drop(&mut self) {
        eventually("the group is empty", || fs::remove_dir(&self.0).is_ok());
    }
}

#[test]
fn running_out_of_memory_is_told_from_being_killed() {
    let Some(group) = SmallGroup::make() else {
        return;
    }; // needs root and version 1
    let stage = Stage::new();
    let group_file = group.0.join("cgroup.procs");
    let script = format!(
        r#"echo $$ > {}; exec python3 -c 'x = bytearray(1 << 30); print("survived")'"#,
        group_file.display()
    );
    let mut target = stage.sh(&script);
    eventually("it dies", || target.alive().has_ended());
    let life = target.alive();
    let log = fs::read_to_string(stage.file("target.log")).unwrap();
    assert!(
        matches!(
            life,
            Life::Killed {
                signal: 9,
                out_of_memory: OutOfMemory::Certain
            }
        ),
        "{life}: {log}"
    );
}

#[test]
fn a_kill_by_somebody_else_is_no_sign_of_memory() {
    let stage = Stage::new();
    let mut target = stage.sh("kill -KILL $$");
    eventually("it dies", || target.alive().has_ended());
    assert!(
        matches!(target.alive(), Life::Killed { signal: 9, .. }),
        "{}",
        target.alive()
    );
}
