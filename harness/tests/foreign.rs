//! Servers in other languages, as a person runs them: the shipped profiles, with fewer cycles. What a machine lacks is said aloud.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "what is skipped is said aloud")]

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The top of the repository.
fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .into()
}

/// A shipped profile with 8 cycles, on a port of its own.
fn short(name: &str, shipped_port: &str, folder: &Path) -> PathBuf {
    let text = fs::read_to_string(top().join(format!("soak-profiles/{name}.toml"))).unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    let text: Vec<String> = text
        .replace("{profile}/..", top().to_str().unwrap())
        .replace(shipped_port, &port)
        .lines()
        .map(|line| match line.split(" = ").next() {
            Some("cycles") => "cycles = 8".into(),
            Some("dose") => "dose = \"1500ms\"".into(),
            Some("rests") => {
                "rests = { first = \"1s\", primed = \"1s\", middle = \"1s\", last = \"2s\" }".into()
            }
            _ => line.to_owned(),
        })
        .collect();
    let path = folder.join(format!("{name}.toml"));
    fs::write(&path, text.join("\n")).unwrap();
    path
}

/// Whether what the profile prepares can be made here: tools, and the packages of its requirements.
fn can_prepare(name: &str) -> bool {
    let made = Command::new(top().join("scripts/targets/prepare"))
        .arg(name)
        .output()
        .unwrap();
    if !made.status.success() {
        let said = String::from_utf8_lossy(&made.stderr);
        eprintln!("SKIPPED: {name} cannot be made here: {said}");
    }
    made.status.success()
}

fn run(profile: &Path, switch: (&str, &str)) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sse-soak"))
        .args(["run", "--quiet", "--seed", "5"])
        .arg(profile)
        .env(switch.0, switch.1)
        .current_dir(profile.parent().unwrap())
        .output()
        .unwrap()
}

/// What was said, if it exited with this code.
fn said(output: &Output, code: i32) -> String {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

#[test]
fn a_fastapi_server_behind_gunicorn_that_keeps_its_conversations_leaks_per_session() {
    if !can_prepare("fastapi-chatbot") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let profile = short("fastapi-chatbot", "18201", folder.path());
    let text = said(&run(&profile, ("CHATBOT_CLEANUP", "never")), 10);
    assert!(text.contains("the live heap grows by"), "{text}");
    assert!(
        text.lines().next().unwrap().contains("B per session"),
        "{text}"
    );
}

#[test]
fn a_node_server_that_keeps_its_sessions_leaks_per_session_and_its_own_count_says_so_too() {
    if !can_prepare("node-sse") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let profile = short("node", "18202", folder.path());
    let text = said(&run(&profile, ("SESSIONS_CLEANUP", "never")), 10);
    assert!(text.contains("the live heap grows by"), "{text}");
    assert!(text.contains("0 removed in the time"), "{text}");
}

#[test]
fn a_number_that_the_target_does_not_tell_is_refused_at_the_start() {
    if !can_prepare("node-sse") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let profile = short("node", "18202", folder.path());
    let text = fs::read_to_string(&profile).unwrap();
    fs::write(&profile, text.replace("/sessions/live", "/sessions/alive")).unwrap();
    let output = run(&profile, ("SESSIONS_CLEANUP", "ttl"));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(text.contains("nothing is at `/sessions/alive`"), "{text}");
}

#[test]
fn a_profile_whose_preparation_fails_says_which_command_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let profile = short("node", "18202", folder.path());
    let text = fs::read_to_string(&profile).unwrap();
    fs::write(
        &profile,
        text.replace("\"node-sse\"]", "\"no-such-target\"]"),
    )
    .unwrap();
    let output = run(&profile, ("SESSIONS_CLEANUP", "ttl"));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("no-such-target`, which the profile's `prepare` asks for"),
        "{text}"
    );
}
