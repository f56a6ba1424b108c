//! A profile written for a server that nobody described runs at once: the reference server, a small one in Python, and one in Node.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::bench::{Bench, Ended, beside, json, wait_for};

/// A port that nobody listens on, below those that clients get.
fn port() -> u16 {
    let first = 20_000 + (std::process::id() % 10_000) as u16;
    (first..first + 200)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

/// Writes a profile and runs it as it is. The server may leak or not: it must run, without an error, and say something.
fn init_and_run(bench: &Bench, url: &str, command: &[&str]) -> (String, Ended) {
    let file = bench.path().join("mine.toml");
    let file = file.to_str().unwrap();
    let mut arguments = vec!["init", "--url", url, "--output", file, "--length", "30s"];
    arguments.extend(["--ttl-wait", "3s"]);
    if !command.is_empty() {
        arguments.push("--");
        arguments.extend(command);
    }
    bench.run(&arguments).expect_code(0);
    let text = fs::read_to_string(file).unwrap();
    let ended = bench.run(&["run", file]);
    assert!(
        matches!(ended.code(), Some(0 | 10 | 12)),
        "{text}\n{}\n{}",
        ended.stdout,
        ended.stderr
    );
    let run = bench.run_directory();
    assert_eq!(json(&run, "manifest.json")["ended"]["reason"], "finished");
    let load = ended.stdout.lines().find(|line| line.starts_with("  load"));
    assert!(
        load.is_some_and(|load| load.ends_with(" 0 errors")),
        "{text}\n{}",
        ended.stdout
    );
    (text, ended)
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok(); // it may be gone already
        self.0.wait().ok();
    }
}

/// The reference server, running by itself, and where it listens.
fn reference(folder: &Path) -> (Server, String) {
    let ready = folder.join("ready.json");
    let child = Command::new(beside("target-jemalloc"))
        .args(["--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"])
        .args(["--log-level=off", "--chunks=3", "--chunk-interval=60ms"])
        .args(["--session-ttl=600ms", "--sweep-every=50ms"])
        .arg(format!("--token-file={}", folder.join("token").display()))
        .arg(format!("--ready-file={}", ready.display()))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server(child);
    let url = wait_for("the reference server", || {
        let text = fs::read_to_string(&ready).ok()?;
        let said: serde_json::Value = serde_json::from_str(&text).ok()?;
        Some(format!("http://{}", said["public"].as_str()?))
    });
    (server, url)
}

#[test]
fn a_server_that_runs_already_is_described_and_its_ttl_is_seen() {
    let bench = Bench::new();
    let (_server, url) = reference(bench.path());
    let (text, _) = init_and_run(&bench, &url, &[]);
    for part in [
        "get = \"/events\"",
        "post = \"/chat\", form =",
        "event = \"connected\", pointer = \"/conversation_id\"",
        "# Seen: native, jemalloc.",
        "It shows metrics at /metrics.",
        "its sessions were gone after",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
}

const PYTHON: &str = r#"
import http.server, json, sys, time, uuid

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    def log_message(self, *args): pass
    def begin(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
    def say(self, text):
        self.wfile.write(text.encode())
        self.wfile.flush()
    def do_GET(self):
        if self.path != "/stream":
            return self.send_error(404)
        self.begin()
        try:
            for number in range(100000):
                self.say(f"data: {number}\n\n")
                time.sleep(0.05)
        except OSError:
            pass
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            json.loads(body)["message"]
        except (ValueError, KeyError):
            return self.send_error(422)
        self.begin()
        try:
            said = json.dumps({"conversation_id": str(uuid.uuid4())})
            self.say(f"data: event='connected' data='{said}'\n\n")
            for number in range(4):
                time.sleep(0.05)
                self.say(f"data: event='message' data='{number}'\n\n")
        except OSError:
            pass

class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True
    def handle_error(self, *args): pass

Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

const NODE: &str = r#"
const http = require('http');
http.createServer((request, response) => {
  if (request.url !== '/sse') { response.writeHead(404); return response.end('no'); }
  response.writeHead(200, { 'Content-Type': 'text/event-stream' });
  let number = 0;
  const timer = setInterval(() => response.write(`event: tick\ndata: ${number++}\n\n`), 50);
  response.on('close', () => clearInterval(timer));
}).listen(Number(process.argv[2]), '127.0.0.1', 512);
"#;

/// The program that plays a script, and where the script is; `None` if it is missing here, which is said.
fn script(bench: &Bench, program: &str, name: &str, text: &str) -> Option<PathBuf> {
    let has = Command::new(program).arg("--version").output();
    if !has.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: `{program}` is not installed here");
        return None;
    }
    let file = bench.path().join(name);
    fs::write(&file, text).unwrap();
    Some(file)
}

#[test]
fn a_python_server_that_wraps_its_json_is_described() {
    let bench = Bench::new();
    let Some(file) = script(&bench, "python3", "server.py", PYTHON) else {
        return;
    };
    let port = port();
    let url = format!("http://127.0.0.1:{port}");
    let command = ["python3", file.to_str().unwrap(), &port.to_string()];
    // The chat is found where chats usually are only by its path: here every POST is one.
    let (text, _) = init_and_run(&bench, &url, &command);
    for part in [
        "get = \"/stream\"",
        "json = { message = ",
        "event = \"message\", regex = ",
        "# Seen: Python, glibc malloc.",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
}

#[test]
fn a_node_server_is_described_by_the_path_of_its_stream() {
    let bench = Bench::new();
    let Some(file) = script(&bench, "node", "server.js", NODE) else {
        return;
    };
    let port = port();
    let url = format!("http://127.0.0.1:{port}/sse");
    let command = ["node", file.to_str().unwrap(), &port.to_string()];
    let (text, _) = init_and_run(&bench, &url, &command);
    assert!(text.contains("get = \"/sse\""), "{text}");
    assert!(text.contains("# Seen: Node.js, glibc malloc."), "{text}");
}

#[test]
fn what_is_no_stream_is_said_question_by_question_and_nothing_is_written() {
    let bench = Bench::new();
    let file = bench.path().join("mine.toml");
    let file = file.to_str().unwrap();
    let silent = bench.run(&["init", "--url", "http://127.0.0.1:1", "--output", file]);
    silent
        .expect_code(2)
        .expect_complaint(&["127.0.0.1:1 does not answer"]);
    let (_server, url) = reference(bench.path());
    let wrong = format!("{url}/health");
    bench
        .run(&["init", "--url", &wrong, "--output", file])
        .expect_code(2)
        .expect_complaint(&["no event stream was found", "GET /health answered 200 with"]);
    assert!(!Path::new(file).exists());
    fs::write(file, "mine").unwrap();
    bench
        .run(&["init", "--url", &url, "--output", file])
        .expect_code(2)
        .expect_complaint(&["exists", "--force"]);
}
