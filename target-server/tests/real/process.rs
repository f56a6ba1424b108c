//! The process: refusals at start, the ready file, the configuration's layers.

use std::process::{Command, Output};

use crate::target::{JEMALLOC, Target};

fn run(args: &[&str]) -> Output {
    Command::new(JEMALLOC)
        .args(args)
        .output()
        .expect("the server runs")
}

#[test]
fn one_address_for_both_listeners_is_one_clear_sentence_and_exit_2() {
    let output = run(&[
        "--listen",
        "127.0.0.1:7001",
        "--admin-listen",
        "127.0.0.1:7001",
    ]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said.contains("both want 127.0.0.1:7001") && said.lines().count() == 1,
        "{said}"
    );
}

#[test]
fn a_port_in_use_is_one_clear_sentence_and_exit_2() {
    let target = Target::start(&[]);
    let output = run(&[
        "--listen",
        &target.public.to_string(),
        "--admin-listen",
        "127.0.0.1:0",
        "--log-level",
        "off",
    ]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said.contains(&target.public.to_string()) && said.contains("in use"),
        "{said}"
    );
}

#[test]
fn an_unknown_defect_is_refused_with_the_list() {
    let output = run(&["--defect", "no-such-leak=every:3"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said.contains("no-such-leak") && said.contains("the defects are"),
        "{said}"
    );
}

#[test]
fn the_ready_file_says_where_and_who() {
    let target = Target::start(&[]);
    let text = std::fs::read(target.folder().join("ready.json")).expect("a ready file");
    let ready: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(ready["pid"].as_u64(), Some(target.pid().into()));
    assert_eq!(
        ready["token_file"].as_str(),
        target.folder().join("token").to_str()
    );
}

#[test]
fn a_variable_wins_over_the_file_and_a_flag_over_both() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), "workers = 1\nchunks = 1\nmetrics = false\n").expect("writable");
    let config = ["--config", file.path().to_str().expect("UTF-8")];
    let refused = |flags: &[&str]| {
        let mut command = Command::new(JEMALLOC);
        let command = command.env("TARGET_WORKERS", "0").args(config).args(flags);
        String::from_utf8(command.output().expect("the server runs").stderr).expect("UTF-8")
    };
    assert!(
        refused(&[]).contains("--workers must be"),
        "the variable, not the file"
    );
    let flags = ["--workers", "1", "--queue-events", "0"];
    assert!(
        refused(&flags).contains("--queue-events must be"),
        "the flag, not the variable"
    );
    let target =
        Target::start(&[&config[..], &["--chunks", "2", "--chunk-interval", "0s"]].concat());
    assert_eq!(
        target.chat("message=hello").events().len(),
        4,
        "the flag, not the file"
    );
    assert_eq!(
        target.get("/metrics").status,
        404,
        "the file, not the default"
    );
}

#[test]
fn the_help_names_every_variable_and_default() {
    let help = String::from_utf8(run(&["--help"]).stdout).expect("UTF-8");
    for part in [
        "TARGET_CHUNKS",
        "[default: 30m]",
        "TARGET_READY_FILE",
        "TARGET_DEFECT",
    ] {
        assert!(help.contains(part), "{part} in {help}");
    }
}

#[test]
fn the_printed_configuration_can_be_used_as_it_is() {
    let output = run(&["--print-config"]);
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), output.stdout).expect("writable");
    let target = Target::start(&["--config", file.path().to_str().expect("UTF-8")]);
    assert_eq!(target.get("/health").status, 200);
}

#[test]
fn json_logs_are_one_object_a_line() {
    let target = Target::start(&["--log-format", "json"]);
    target.get("/events?limit=1");
    target.wait_until_quiet();
    for line in target.log().lines() {
        assert!(
            serde_json::from_str::<serde_json::Value>(line)
                .is_ok_and(|line| line["level"].is_string()),
            "{line}"
        );
    }
}
