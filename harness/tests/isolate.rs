//! `--isolate`: how soon a server feels a reader who stalls, inside and outside, with privileges and without; and that nothing outside
//! is touched. The server is raw: this program again, playing a part.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says aloud what it skips"
)]

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use serde_json::Value;

const PORT: &str = "SSE_SOAK_TEST_PORT";
const FOUND: &str = "SSE_SOAK_TEST_FOUND";
const TCP_WMEM: &str = "/proc/sys/net/ipv4/tcp_wmem";
const HEAD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
/// Somebody without any privilege.
const NOBODY: u32 = 65_534;

/// What the server found.
#[derive(Debug)]
struct Found {
    /// What its kernel took before the first short write, bytes.
    taken: usize,
    /// Its network.
    network: String,
    /// The send buffers there.
    send_buffer: String,
    /// Who it is.
    user: u32,
    /// What `sse-soak` reported.
    report: Value,
}

/// The raw server: writes events to whoever comes, until the kernel takes no more, and writes down what it found.
#[test]
#[ignore = "a part that the other tests have played in a process of its own"]
fn server() {
    let port: u16 = env::var(PORT).unwrap().parse().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        if !has_asked(&mut stream) {
            continue; // somebody looked whether we listen
        }
        stream.write_all(HEAD.as_bytes()).unwrap();
        let found = format!(
            "{}\n{}\n{}\n{}\n",
            fill(&mut stream),
            own_network(),
            fs::read_to_string(TCP_WMEM).unwrap().trim(),
            rustix::process::getuid().as_raw()
        );
        fs::write(env::var(FOUND).unwrap(), found).unwrap();
        // Stays until the client goes, whose queue is looked at.
        stream.read_exact(&mut [0]).ok();
    }
}

/// Reads a request; false if nobody asked.
fn has_asked(stream: &mut TcpStream) -> bool {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => request.push(byte[0]),
            _ => return false,
        }
    }
    true
}

/// Events of 4,000 B until one is not taken in a while; how many bytes were.
fn fill(stream: &mut TcpStream) -> usize {
    let event = format!("data: {}\n\n", "x".repeat(3992));
    stream
        .set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let mut taken = HEAD.len();
    loop {
        match stream.write(event.as_bytes()) {
            Ok(length) => taken += length,
            Err(_) => return taken,
        }
    }
}

fn own_network() -> String {
    let link = fs::read_link("/proc/self/ns/net").unwrap();
    link.to_string_lossy().into_owned()
}

/// A port that no outgoing connection can take.
fn free_port() -> u16 {
    let first = 20_500 + u16::try_from(std::process::id() % 500).unwrap() * 20;
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    (first..32_000).find(is_free).unwrap()
}

/// The program and this one, in a folder that everyone may use.
struct Bench {
    folder: tempfile::TempDir,
    program: PathBuf,
    server: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let copy = |from: &Path, name: &str| {
            let to = folder.path().join(name);
            fs::copy(from, &to).unwrap();
            to
        };
        Self {
            program: copy(Path::new(env!("CARGO_BIN_EXE_sse-soak")), "sse-soak"),
            server: copy(&env::current_exe().unwrap(), "server"),
            folder,
        }
    }

    /// One reader who stalls; what his server found.
    fn stall(&self, more: &[&str], user: Option<u32>) -> Result<Found, String> {
        self.abandon("--how=stall", more, user)
    }

    /// One client who leaves so; what his server found.
    fn abandon(&self, how: &str, more: &[&str], user: Option<u32>) -> Result<Found, String> {
        let port = free_port();
        let file = self.folder.path().join(format!("found-{}", more.len()));
        let url = format!("http://127.0.0.1:{port}/events");
        let mut command = Command::new(&self.program);
        command
            .args(["abandon", how, "--connections=1", "--ramp=1ms"])
            .args(["--for=3s", "--quiet", "--format=json", "--url", &url])
            .args(more)
            .arg("--")
            .arg(&self.server)
            .args(["--exact", "server", "--ignored"])
            .env(PORT, port.to_string())
            .env(FOUND, &file)
            .current_dir(self.folder.path());
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        let ended = command.output().unwrap();
        if !ended.status.success() {
            return Err(complaint(&ended));
        }
        let text = fs::read_to_string(file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        Ok(Found {
            taken: lines[0].parse().unwrap(),
            network: lines[1].into(),
            send_buffer: lines[2].split_whitespace().collect::<Vec<_>>().join(" "),
            user: lines[3].parse().unwrap(),
            report: serde_json::from_slice(&ended.stdout).unwrap(),
        })
    }
}

fn complaint(ended: &Output) -> String {
    String::from_utf8_lossy(&ended.stderr).into_owned()
}

/// No namespaces in this environment: nothing to test, and it is said.
fn skipped(found: Result<Found, String>) -> Option<Found> {
    match found {
        Ok(found) => Some(found),
        Err(why) if why.contains("needs a network namespace") => {
            println!("skipped: {why}");
            None
        }
        Err(why) => panic!("{why}"),
    }
}

/// What must be true of a server in isolation.
fn assert_isolated(found: &Found) {
    assert_ne!(found.network, own_network());
    assert_eq!(found.send_buffer, "4096 16384 65536");
    let note = found.report["notes"][0].as_str().unwrap();
    assert!(note.contains("private network namespace"), "{note}");
    let held = &found.report["held_by_kernel"]["stall"];
    assert_eq!(held["streams"], 1, "{held}");
    let queued = held["send_queue_bytes"].as_u64().unwrap();
    let memory = held["memory_bytes"].as_u64().unwrap();
    assert!(queued > 0 && queued <= found.taken as u64, "{found:?}");
    assert!(memory < 1 << 20, "{found:?}");
}

#[test]
fn a_reader_who_stalls_is_felt_after_tens_of_kilobytes_instead_of_megabytes() {
    let bench = Bench::new();
    let before = fs::read_to_string(TCP_WMEM).unwrap();
    let Some(inside) = skipped(bench.stall(&["--isolate", "--receive-buffer=4096"], None)) else {
        return;
    };
    let larger_window = bench.stall(&["--isolate"], None).unwrap();
    let outside = bench.stall(&[], None).unwrap();
    for (what, found) in [
        ("isolated, small window", &inside),
        ("isolated", &larger_window),
        ("not isolated", &outside),
    ] {
        println!("{what}: the first short write after {} B", found.taken);
        println!("  {}", found.report["held_by_kernel"]);
    }
    assert_isolated(&inside);
    assert_isolated(&larger_window);
    assert!(inside.taken <= 64 << 10, "{inside:?}");
    assert!(larger_window.taken <= 256 << 10, "{larger_window:?}");
    assert_eq!(outside.network, own_network());
    assert!(outside.taken >= 8 * larger_window.taken, "{outside:?}");
    let after = fs::read_to_string(TCP_WMEM).unwrap();
    assert_eq!(after, before, "a setting outside was changed");
}

#[test]
fn it_takes_no_privilege_and_the_server_stays_who_it_is() {
    let is_root = rustix::process::geteuid().is_root();
    let user = is_root.then_some(NOBODY);
    let bench = Bench::new();
    let arguments = ["--isolate", "--receive-buffer=4096"];
    let Some(found) = skipped(bench.stall(&arguments, user)) else {
        return;
    };
    assert_isolated(&found);
    let note = found.report["notes"][0].as_str().unwrap();
    assert!(note.contains("rootless"), "{note}");
    let own = rustix::process::getuid().as_raw();
    assert_eq!(found.user, user.unwrap_or(own));
    assert!(found.taken <= 64 << 10, "{found:?}");
}

#[test]
fn everyone_may_vanish_in_isolation() {
    let user = rustix::process::geteuid().is_root().then_some(NOBODY);
    let bench = Bench::new();
    let Some(found) = skipped(bench.abandon("--how=vanish", &["--isolate"], user)) else {
        return;
    };
    assert_eq!(found.report["problems"], serde_json::json!([]));
    assert_eq!(found.report["closed"]["vanish"], 1);
    // Three seconds later the server still has it, with all that was not acknowledged.
    let held = &found.report["held_by_kernel"]["vanish"];
    assert_eq!(held["streams"], 1, "{held}");
    let queued = held["send_queue_bytes"].as_u64().unwrap();
    assert!(queued > 4096 && queued <= found.taken as u64, "{found:?}");
    let note = found.report["notes"][1].as_str().unwrap();
    assert!(note.contains("TCP_REPAIR"), "{note}");
}

#[test]
fn a_server_that_runs_already_cannot_be_isolated() {
    for arguments in [
        vec!["hold", "-n", "1", "--url", "http://127.0.0.1:1/"],
        vec!["churn", "--rate", "1", "--url", "http://127.0.0.1:1/"],
    ] {
        let program = env!("CARGO_BIN_EXE_sse-soak");
        let mut command = Command::new(program);
        let ended = command.args(arguments).arg("--isolate").output().unwrap();
        assert_eq!(ended.status.code(), Some(2));
        let said = complaint(&ended);
        assert!(
            said.contains("--isolate needs a target that we start"),
            "{said}"
        );
    }
}
