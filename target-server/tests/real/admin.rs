//! The instruments' contract.

use serde_json::{Value, json};

use crate::{
    client::Client,
    target::{DHAT, Target},
};

#[test]
fn without_the_token_nothing_is_told() {
    let target = Target::start(&[]);
    let wrong = format!("{}x", &target.token[1..]);
    for headers in [
        String::new(),
        format!("authorization: Bearer {wrong}\r\n"),
        format!("authorization: Basic {}\r\n", target.token),
    ] {
        for (method, path) in [
            ("GET", "/v1/status"),
            ("POST", "/v1/heap/settle"),
            ("GET", "/nowhere"),
        ] {
            let answer = Client::connect(target.admin).ask(method, path, &headers, b"");
            assert_eq!(
                (answer.status, answer.header("www-authenticate")),
                (401, Some("Bearer"))
            );
        }
    }
}

#[test]
fn the_token_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let target = Target::start(&[]);
    let mode = std::fs::metadata(target.folder().join("token"))
        .expect("a token file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_instruments_are_not_on_the_public_listener_nor_the_other_way_round() {
    let target = Target::start(&[]);
    assert_eq!(target.get("/v1/status").status, 404);
    assert_eq!(target.ask_admin("GET", "/health", &Value::Null).status, 404);
}

#[test]
fn what_a_harness_gets_wrong_has_a_clear_status() {
    let target = Target::start(&[]);
    for (method, path, body, status) in [
        ("POST", "/v1/status", Value::Null, 405),
        ("GET", "/v1/retain", Value::Null, 405),
        ("POST", "/v1/retain", Value::Null, 422),
        ("POST", "/v1/retain", json!({ "bytes": 16 }), 422),
        (
            "POST",
            "/v1/retain",
            json!({ "bytes": 16, "count": 1, "what": 1 }),
            422,
        ),
        (
            "POST",
            "/v1/retain",
            json!({ "bytes": 1u64 << 40, "count": 1 }),
            422,
        ),
        (
            "POST",
            "/v1/retain",
            json!({ "bytes": "x".repeat(5000), "count": 1 }),
            422,
        ),
        ("GET", "/v1/heap/profile", Value::Null, 409),
        ("POST", "/v1/heap/profile/reset", Value::Null, 409),
        ("POST", "/v1/dhat/start", Value::Null, 409),
        ("POST", "/v1/dhat/stop", Value::Null, 409),
    ] {
        let answer = target.ask_admin(method, path, &body);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        assert!(answer.json()["error"].is_string());
    }
}

#[test]
fn the_status_has_every_field_of_the_contract() {
    let status = Target::start(&[]).status();
    for path in [
        "/version",
        "/pid",
        "/workers",
        "/uptime_s",
        "/connections/live",
        "/connections/opened_total",
        "/connections/closed_total",
        "/connections/by_state/streaming",
        "/streams/live",
        "/streams/opened_total",
        "/streams/ended_total/done",
        "/streams/ended_total/error",
        "/streams/ended_total/cancelled",
        "/streams/ended_total/slow",
        "/streams/ended_total/timeout",
        "/streams/ended_total/drained",
        "/sessions/live",
        "/sessions/created_total",
        "/sessions/removed_total/deleted",
        "/sessions/removed_total/expired",
        "/sessions/removed_total/evicted",
        "/sessions/by_state/streaming",
        "/sessions/by_state/idle",
        "/turns_total",
        "/events_total",
        "/tasks_live",
        "/retained/blocks",
        "/retained/bytes",
        "/heap/allocated_bytes",
        "/heap/active_bytes",
        "/heap/resident_bytes",
        "/heap/mapped_bytes",
        "/heap/retained_bytes",
        "/heap/metadata_bytes",
    ] {
        assert!(
            status.pointer(path).is_some_and(Value::is_number),
            "{path} in {status}"
        );
    }
    assert_eq!(
        (
            status["allocator"].as_str(),
            status["defects"].as_array().map(Vec::len)
        ),
        (Some("jemalloc"), Some(0))
    );
}

#[test]
fn a_heap_profile_of_a_window_shows_what_it_left_behind() {
    let target = Target::start(&[]);
    target.post("/v1/heap/profile/start", json!({ "lg_sample": 12 }));
    target.post("/v1/retain", json!({ "bytes": 1024, "count": 1000 }));
    let dump = target.ask_admin("GET", "/v1/heap/profile", &Value::Null);
    let text = dump.text();
    assert!(
        text.starts_with("heap_v2/4096\n") && text.contains("MAPPED_LIBRARIES"),
        "{text:.200}"
    );
    let samples: u64 = text
        .lines()
        .find_map(|line| {
            line.trim()
                .strip_prefix("t*: ")?
                .split(':')
                .next()?
                .parse()
                .ok()
        })
        .expect("totals");
    assert!(
        (150..350).contains(&samples),
        "1000 blocks of 1 KiB at one sample in 4 KiB: {samples}"
    );
    target.post("/v1/heap/profile/reset", json!({}));
    let after = target
        .ask_admin("GET", "/v1/heap/profile", &Value::Null)
        .text();
    let samples: u64 = after
        .lines()
        .find_map(|line| {
            line.trim()
                .strip_prefix("t*: ")?
                .split(':')
                .next()?
                .parse()
                .ok()
        })
        .expect("totals");
    assert!(samples < 20, "forgotten: {samples}");
}

#[test]
fn a_dhat_window_counts_to_the_block() {
    let target = Target::start_binary(DHAT, &[]);
    assert!(target.status()["heap"].is_null(), "no window, no numbers");
    target.post("/v1/dhat/start", json!({}));
    target.post("/v1/retain", json!({ "bytes": 256, "count": 100 }));
    assert!(target.status()["heap"]["allocated_bytes"].as_u64() >= Some(25_600));
    let dump = target.post("/v1/dhat/stop", json!({}));
    let exact = dump["pps"]
        .as_array()
        .expect("program points")
        .iter()
        .any(|point| point["eb"] == 25_600 && point["ebk"] == 100);
    assert!(exact, "one stack holds 100 blocks of 256 bytes at the end");
    assert_eq!(
        target.ask_admin("POST", "/v1/dhat/stop", &json!({})).status,
        409
    );
    assert_eq!(
        target
            .ask_admin("GET", "/v1/heap/profile", &Value::Null)
            .status,
        409
    );
}
