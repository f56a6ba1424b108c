//! A running server and its admin listener.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Answer, Client, Deadline};

pub(crate) const JEMALLOC: &str = env!("CARGO_BIN_EXE_target-jemalloc");
pub(crate) const DHAT: &str = env!("CARGO_BIN_EXE_target-dhat");

/// One server process; killed when dropped.
pub(crate) struct Target {
    child: Child,
    folder: TempDir,
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) token: String,
}

impl Target {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_binary(JEMALLOC, args)
    }

    pub(crate) fn start_binary(binary: &str, args: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (ready, token) = (
            folder.path().join("ready.json"),
            folder.path().join("token"),
        );
        let log = std::fs::File::create(folder.path().join("log")).expect("a log file");
        let mut child = Command::new(binary)
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .arg("--ready-file")
            .arg(&ready)
            .arg("--token-file")
            .arg(&token)
            .args(args)
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .expect("the server starts");
        let deadline = Deadline::new();
        let ready: Value = loop {
            if let Ok(text) = std::fs::read(&ready) {
                break serde_json::from_slice(&text).expect("the ready file is whole");
            }
            let log = || std::fs::read_to_string(folder.path().join("log"));
            assert!(
                child.try_wait().expect("our child").is_none(),
                "the server stopped: {:?}",
                log()
            );
            deadline.check("ready file");
        };
        let address = |key: &str| {
            ready[key]
                .as_str()
                .expect("an address")
                .parse()
                .expect("an address")
        };
        let token = std::fs::read_to_string(token).expect("a token file");
        Self {
            public: address("public"),
            admin: address("admin"),
            token,
            child,
            folder,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("a log file")
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.public)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.client().ask("GET", path, "", b"")
    }

    pub(crate) fn chat(&self, form: &str) -> Answer {
        self.client().ask(
            "POST",
            "/chat",
            "content-type: application/x-www-form-urlencoded\r\n",
            form.as_bytes(),
        )
    }

    /// A new session; answers its id.
    pub(crate) fn session(&self) -> String {
        let answer = self.chat("message=hello");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.events()[0].json()["conversation_id"]
            .as_str()
            .expect("an id")
            .to_owned()
    }

    /// One request on an admin connection of its own.
    pub(crate) fn ask_admin(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.ask_admin_on(&mut Client::connect(self.admin), method, path, body)
    }

    /// One request on a kept admin connection.
    pub(crate) fn ask_admin_on(
        &self,
        client: &mut Client,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Answer {
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        client.ask(
            method,
            path,
            &format!("authorization: Bearer {}\r\n", self.token),
            &body,
        )
    }

    pub(crate) fn status(&self) -> Value {
        self.ask_admin("GET", "/v1/status", &Value::Null).json()
    }

    pub(crate) fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.ask_admin("POST", path, &body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    pub(crate) fn settle(&self) -> u64 {
        self.post("/v1/heap/settle", json!({}))["allocated_bytes"]
            .as_u64()
            .expect("bytes")
    }

    /// Waits until the status satisfies `good`.
    pub(crate) fn wait_until(&self, what: &str, good: impl Fn(&Value) -> bool) -> Value {
        let deadline = Deadline::new();
        loop {
            let status = self.status();
            if good(&status) {
                return status;
            }
            deadline.check(&format!("{what}: {status}"));
        }
    }

    /// Waits until nobody is connected and nothing runs for anybody.
    pub(crate) fn wait_until_quiet(&self) -> Value {
        self.wait_until("quiet", |status| {
            let zero = |path: &str| status.pointer(path).and_then(Value::as_u64) == Some(0);
            zero("/connections/live")
                && zero("/streams/live")
                && zero("/tasks_live")
                && zero("/sessions/by_state/streaming")
        })
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal)
            .expect("our child");
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait_for_exit(&mut self) -> ExitStatus {
        let deadline = Deadline::new();
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status;
            }
            deadline.check("exit");
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.signal_if_alive();
        self.child.wait().expect("our child");
    }
}

impl Target {
    /// TERM first: a supervisor takes its workers along. The drain of a test is short or its streams are gone.
    fn signal_if_alive(&mut self) {
        if self.child.try_wait().expect("our child").is_some() {
            return;
        }
        self.signal(rustix::process::Signal::TERM);
        let deadline = Deadline::after(Duration::from_secs(2));
        while self.child.try_wait().expect("our child").is_none() {
            if deadline.passed() {
                self.child.kill().expect("our child");
                return;
            }
            std::thread::yield_now();
        }
    }
}
