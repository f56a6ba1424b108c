//! Alarms of a real run: written down, told to a command and a webhook, and heeded.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
};

use crate::bench::{Bench, json, wait_for};

/// Takes one POST on loopback; its body is the thread's result.
fn webhook() -> (String, thread::JoinHandle<serde_json::Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let take = move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        loop {
            let mut part = [0; 4096];
            let size = socket.read(&mut part).unwrap();
            request.extend(&part[..size]);
            let text = String::from_utf8_lossy(&request);
            let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            if let Ok(value) = serde_json::from_str(body) {
                socket
                    .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                    .unwrap();
                return value;
            }
            assert!(size > 0, "the request ended: {text}");
        }
    };
    (url, thread::spawn(take))
}

#[test]
fn an_alarm_is_written_down_told_and_ends_the_run() {
    let bench = Bench::new();
    let (url, hook) = webhook();
    let alarms = format!(
        r#"[[alarm]]
when = {{ first-event-p99-above = "1us" }}

[[alarm]]
when = {{ sessions-above = 60 }}
for = "200ms"
then = {{ stop = true, webhook = "{url}", command = ["sh", "-c", "echo $SSE_SOAK_ALARM > alarm.txt"] }}

[scripts.feed]"#
    );
    let profile = bench.profile(&[("[scripts.feed]", &alarms)]);
    let defect = "session-never-expires";
    let ended = bench.run(&["run", profile.to_str().unwrap(), "--defect", defect]);
    ended
        .expect_code(13)
        .expect_complaint(&["ALARM  at", "the target's sessions: "]);
    let run = bench.run_directory();
    assert_eq!(json(&run, "manifest.json")["ended"]["reason"], "alarm");
    let findings = json(&run, "findings.json");
    assert_eq!(
        (&findings["verdict"], &findings["exit_code"]),
        (&"alarm".into(), &13.into())
    );
    let events = fs::read_to_string(run.join("events.csv")).unwrap();
    for part in [
        ",alarm,\"the target's sessions: ",
        ",alarm,\"the time to the first event",
    ] {
        assert!(events.contains(part), "no `{part}` in:\n{events}");
    }
    assert!(!events.contains(",loss,"), "{events}");
    let posted = hook.join().unwrap();
    let text = posted["alarm"].as_str().unwrap();
    assert!(text.contains("above 60 for 200ms"), "{posted}");
    let told = wait_for("the command", || {
        fs::read_to_string(bench.path().join("alarm.txt")).ok()
    });
    assert_eq!(told.trim(), text);
}

#[test]
fn a_webhook_that_nobody_answers_is_a_loss_and_not_the_end() {
    let bench = Bench::new();
    let alarm = "[[alarm]]\nwhen = { fds-above = 1 }\nthen = { webhook = \"http://127.0.0.1:1/\" }\n\n[scripts.feed]";
    let profile = bench.profile(&[("[scripts.feed]", alarm), ("cycles = 12", "cycles = 6")]);
    let ended = bench.run(&["run", profile.to_str().unwrap()]);
    assert!(matches!(ended.code(), Some(0 | 12)), "{}", ended.stdout);
    let events = fs::read_to_string(bench.run_directory().join("events.csv")).unwrap();
    assert!(events.contains(",loss,an alarm was not posted"), "{events}");
}
