//! Real handshakes of the program with the reference server, and what a person is told when the two do not speak the same.
//! Needs `target-jemalloc` beside the tests (`cargo build -p target-server`); says so and does nothing without it.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says aloud what it skips"
)]

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;
use sse_soak::timeline::Clock;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

struct Target {
    child: Child,
    folder: TempDir,
    addr: String,
}

impl Target {
    /// `None`: the server was not built.
    fn start(args: &[&str]) -> Option<Self> {
        let server = Path::new(env!("CARGO_BIN_EXE_sse-soak")).with_file_name("target-jemalloc");
        if !server.exists() {
            println!("skipped: {} is not built", server.display());
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let ready = folder.path().join("ready.json");
        let child = Command::new(server)
            .args([
                "--listen=127.0.0.1:0",
                "--admin-listen=127.0.0.1:0",
                "--log-level=warn",
            ])
            .arg("--ready-file")
            .arg(&ready)
            .arg("--token-file")
            .arg(folder.path().join("token"))
            .args(args)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut target = Self {
            child,
            folder,
            addr: String::new(),
        };
        let clock = Clock::start();
        let deadline = clock.now() + PATIENCE;
        while !ready.exists() {
            assert!(clock.now() < deadline, "no ready file");
            thread::park_timeout(Duration::from_millis(5));
        }
        let said: Value = serde_json::from_slice(&std::fs::read(&ready).unwrap()).unwrap();
        target.addr = said["public"].as_str().unwrap().into();
        Some(target)
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("ready.pem")
    }

    /// A few streams that leave after their first event; the report, and what was said on stderr.
    fn churn(&self, scheme: &str, args: &[&str]) -> (Value, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_sse-soak"))
            .args(["churn", "--rate=5", "--for=2s", "--format=json", "--quiet"])
            .arg(format!(
                "--url={scheme}://{}/events?interval_ms=20",
                self.addr
            ))
            .args(args)
            .output()
            .unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (report, words)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn assert_all_well((report, words): (Value, String)) {
    assert_eq!(report["ended"]["as_planned"], 10, "{report} {words}");
    assert_eq!(report["problems"], Value::Array(vec![]));
}

#[test]
fn the_generated_certificate_is_believed_when_named_and_only_then() {
    let Some(target) = Target::start(&["--tls-self-signed"]) else {
        return;
    };
    let ca = format!("--ca={}", target.certificate().display());
    assert_all_well(target.churn("https", &[&ca]));
    for how in ["--how=rst", "--how=early"] {
        assert_all_well(target.churn("https", &[&ca, how]));
    }
    let (report, words) = target.churn("https", &["--insecure"]);
    assert!(words.contains("any certificate is believed"), "{words}");
    let notes = report["notes"].to_string();
    assert!(notes.contains("--insecure"), "{notes}");
    assert_all_well((report, words));
    let (report, words) = target.churn("https", &[]);
    assert_eq!(report["ended"]["connect_failed"], 10, "{report} {words}");
    let problem = report["problems"][0].as_str().unwrap();
    assert!(
        problem.contains("nobody we trust") || problem.contains("no trusted certificates"),
        "{problem}"
    );
}

#[test]
fn a_certificate_in_files_is_as_good() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let flag = |name: &str, file: &Path| format!("--{name}={}", file.display());
    let flags = [flag("tls-cert", &certificate), flag("tls-key", &key)];
    let Some(target) = Target::start(&flags.each_ref().map(String::as_str)) else {
        return;
    };
    assert_all_well(target.churn("https", &[&flag("ca", &certificate)]));
}

#[test]
fn whoever_speaks_plainly_to_tls_or_tls_to_plain_is_told_so() {
    let Some(secure) = Target::start(&["--tls-self-signed"]) else {
        return;
    };
    let (report, _) = secure.churn("http", &[]);
    assert_eq!(report["ended"]["http_status"], 10, "{report}");
    let problem = report["problems"][0].as_str().unwrap();
    assert!(problem.contains("begins with https://"), "{problem}");

    let Some(plain) = Target::start(&[]) else {
        return;
    };
    let (report, _) = plain.churn("https", &["--insecure"]);
    assert_eq!(report["ended"]["connect_failed"], 10, "{report}");
    let problem = report["problems"][0].as_str().unwrap();
    assert!(
        problem.contains("is not TLS") && problem.contains("http://"),
        "{problem}"
    );
    assert_all_well(plain.churn("http", &[]));
}
