//! What a well-behaved, and a not so well-behaved, client gets.

use crate::{client::events, target::Target};

const FAST: &[&str] = &["--chunk-interval", "1ms", "--log-level", "warn"];
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

#[test]
fn a_chat_answer_is_connected_then_messages_then_completed() {
    let target = Target::start(&["--chunk-interval", "1ms", "--chunks", "3"]);
    let answer = target.chat("message=hello+there");
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("text/event-stream"))
    );
    let events = answer.events();
    assert_eq!(
        events.iter().map(|event| &*event.name).collect::<Vec<_>>(),
        ["connected", "message", "message", "message", "completed"]
    );
    let said: String = events[1..4]
        .iter()
        .map(|event| event.json()["content"].as_str().expect("text").to_owned())
        .collect();
    let completed = events[4].json();
    assert_eq!(
        (
            completed["chunks"].as_u64(),
            completed["characters"].as_u64()
        ),
        (Some(3), Some(said.len() as u64))
    );
    assert_eq!(
        completed["conversation_id"],
        events[0].json()["conversation_id"]
    );
    let status = target.wait_until_quiet();
    assert_eq!(
        (
            status["turns_total"].as_u64(),
            status["streams"]["ended_total"]["done"].as_u64()
        ),
        (Some(1), Some(1))
    );
}

#[test]
fn the_same_seed_gives_the_same_text_and_another_seed_another() {
    let text = |seed| {
        let target = Target::start(&["--chunk-interval", "0s", "--seed", seed]);
        target.chat("message=hello").events()[1].data.clone()
    };
    assert_eq!(text("7"), text("7"));
    assert_ne!(text("7"), text("8"));
}

#[test]
fn a_conversation_goes_on_over_requests_and_its_history_has_both_sides() {
    let target = Target::start(FAST);
    let id = target.session();
    let second = target
        .chat(&format!("message=more%21&conversation_id={id}"))
        .events();
    assert_eq!(
        (
            second[0].json()["conversation_id"].as_str(),
            second[0].json()["message_id"].as_u64()
        ),
        (Some(&*id), Some(2))
    );
    let history = target.get(&format!("/conversations/{id}/history")).json();
    let roles: Vec<_> = history["messages"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| entry["role"].as_str().expect("a role"))
        .collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant"]);
    assert_eq!(history["messages"][2]["content"], "more!");
    let last = target
        .get(&format!("/conversations/{id}/history?limit=1"))
        .json();
    assert_eq!(last["messages"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_deleted_conversation_is_gone_and_its_streams_end_with_an_error_event() {
    let target = Target::start(FAST);
    let id = target.session();
    let mut feed = target.client();
    feed.start(
        "GET",
        &format!("/events?session={id}&interval_ms=60000"),
        "",
        b"",
    );
    feed.read_until("id: 1\n");
    let path = format!("/conversations/{id}");
    let ask = |method: &str, path: &str| target.client().ask(method, path, "", b"").status;
    assert_eq!(ask("DELETE", &path), 204);
    assert_eq!(ask("DELETE", &path), 404);
    assert_eq!(ask("GET", &format!("{path}/history")), 404);
    assert_eq!(ask("GET", &format!("/events?session={id}")), 404);
    feed.read_until("event: error\n");
    feed.read_until("\r\n0\r\n\r\n");
    drop(feed);
    let status = target.wait_until_quiet();
    assert_eq!(
        (
            status["sessions"]["live"].as_u64(),
            status["sessions"]["removed_total"]["deleted"].as_u64()
        ),
        (Some(0), Some(1))
    );
    assert_eq!(status["streams"]["ended_total"]["error"].as_u64(), Some(1));
}

#[test]
fn an_unknown_conversation_id_is_adopted_by_chat() {
    let target = Target::start(FAST);
    let answer = target.chat(&format!("message=hello&conversation_id={NOBODY}"));
    assert_eq!(answer.events()[0].json()["conversation_id"], NOBODY);
    assert_eq!(
        target
            .get(&format!("/conversations/{NOBODY}/history"))
            .status,
        200
    );
}

#[test]
fn a_feed_tells_its_retry_then_numbers_its_events_of_the_asked_size_and_ends_at_its_limit() {
    let target = Target::start(FAST);
    let answer = target.get("/events?interval_ms=1&bytes=100&limit=3");
    assert_eq!(answer.text().matches("retry: 2000\n\n").count(), 1);
    let events = answer.events();
    assert_eq!(
        events.iter().map(|event| &*event.id).collect::<Vec<_>>(),
        ["1", "2", "3"]
    );
    assert!(events.iter().all(|event| event.data.len() == 100));
}

#[test]
fn the_first_event_comes_at_once_and_a_quiet_feed_has_heartbeats() {
    let target = Target::start(&["--heartbeat", "20ms"]);
    let mut feed = target.client();
    feed.start("GET", "/events?interval_ms=60000", "", b"");
    feed.read_until("id: 1\n");
    feed.read_until(": heartbeat\n\n");
    feed.read_until(": heartbeat\n\n");
    assert_eq!(
        target.status()["events_total"].as_u64(),
        Some(1),
        "comments are not events"
    );
}

#[test]
fn a_returning_subscriber_gets_what_it_missed_and_is_told_what_is_beyond_the_window() {
    let target = Target::start(&["--replay-window", "3", "--chunk-interval", "0s"]);
    let id = target.session();
    let sent = target
        .get(&format!("/events?session={id}&interval_ms=1&limit=5"))
        .events();
    let resume = |last: &str, limit: u32| {
        let path = format!("/events?session={id}&interval_ms=60000&limit={limit}");
        target
            .client()
            .ask("GET", &path, &format!("last-event-id: {last}\r\n"), b"")
    };
    assert_eq!(
        resume("3", 2).events(),
        sent[3..],
        "exactly the missed ones, byte for byte"
    );
    let beyond = resume("0", 3);
    assert_eq!(beyond.events(), sent[2..]);
    assert!(
        beyond
            .text()
            .contains(": 2 events are beyond the replay window\n"),
        "{}",
        beyond.text()
    );
    assert_eq!(
        resume("5", 1).events()[0].id,
        "6",
        "nothing missed: the next one"
    );
    assert_eq!(
        resume("not-a-number", 1).events()[0].id,
        "7",
        "as if it had not been sent"
    );
}

#[test]
fn a_feed_without_a_session_goes_on_after_the_last_event_id() {
    let target = Target::start(FAST);
    let all = target.get("/events?interval_ms=1&limit=5").events();
    let rest = target
        .client()
        .ask(
            "GET",
            "/events?interval_ms=1&limit=2",
            "last-event-id: 3\r\n",
            b"",
        )
        .events();
    assert_eq!(rest, all[3..]);
}

/// Sends each request on a connection of its own; anything but 200 must explain itself in JSON.
fn statuses_are(target: &Target, requests: &[(&str, &str, &str, &str, u16)]) {
    for (method, path, headers, body, status) in requests {
        let answer = target.client().ask(method, path, headers, body.as_bytes());
        assert_eq!(
            answer.status,
            *status,
            "{method} {path} {body:.40}: {}",
            answer.text()
        );
        if *status != 200 {
            let body = answer.json();
            assert!(
                body["error"].is_string() && body["message"].is_string(),
                "{method} {path}: {body}"
            );
        }
    }
}

#[test]
fn a_wrong_path_method_or_query_has_a_clear_status_and_a_json_body() {
    let target = Target::start(FAST);
    let conversation = format!("/conversations/{NOBODY}");
    let history = format!("{conversation}/history");
    #[rustfmt::skip]
    statuses_are(&target, &[
        ("GET", "/nowhere", "", "", 404),
        ("GET", "/chat", "", "", 405),
        ("POST", "/events", "", "", 405),
        ("GET", "/conversations/7/history", "", "", 422),
        ("GET", &history, "", "", 404),
        ("GET", &format!("{history}?limit=0"), "", "", 422),
        ("DELETE", &conversation, "", "", 404),
        ("GET", &format!("/events?session={NOBODY}"), "", "", 404),
        ("GET", "/events?session=7", "", "", 422),
        ("GET", "/events?interval_ms=0", "", "", 422),
        ("GET", "/events?interval_ms=fast", "", "", 422),
        ("GET", "/events?bytes=65537", "", "", 422),
        ("GET", "/events?bytes=-1", "", "", 422),
        ("GET", "/events?limit=0", "", "", 422),
        ("GET", "/events?interval=5", "", "", 422),
    ]);
    assert_eq!(
        target
            .client()
            .ask("PUT", "/events", "", b"")
            .header("allow"),
        Some("GET")
    );
    assert_eq!(
        target.client().ask("PUT", "/chat", "", b"").header("allow"),
        Some("POST")
    );
    target.wait_until_quiet();
}

#[test]
fn a_wrong_form_has_a_clear_status_and_leaves_no_session() {
    let target = Target::start(FAST);
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let charset = "content-type: application/x-www-form-urlencoded; charset=utf-8\r\n";
    let json = "content-type: application/json\r\n";
    let long = format!("message={}", "x".repeat(1001));
    let longest = format!("message={}", "%C3%A9".repeat(1000)); // 1000 characters, 6000 bytes on the wire
    let huge = format!("message={}", "x".repeat(9000));
    #[rustfmt::skip]
    statuses_are(&target, &[
        ("POST", "/chat", form, "", 422),
        ("POST", "/chat", form, "message=", 422),
        ("POST", "/chat", form, "massage=hello", 422),
        ("POST", "/chat", form, "=&&&%%%", 422),
        ("POST", "/chat", form, &long, 422),
        ("POST", "/chat", form, &longest, 200),
        ("POST", "/chat", form, "message=hello&conversation_id=7", 422),
        ("POST", "/chat", form, &huge, 413),
        ("POST", "/chat", json, "{\"message\":\"hello\"}", 415),
        ("POST", "/chat", "", "message=hello", 415),
        ("POST", "/chat", charset, "message=hello", 200),
    ]);
    let answer = target
        .client()
        .ask("POST", "/chat", form, b"message=\xff\xfe");
    assert_eq!(answer.status, 400, "{}", answer.text());
    let sessions = &target.wait_until_quiet()["sessions"];
    assert_eq!(
        sessions["live"].as_u64(),
        Some(2),
        "only what was served left one"
    );
}

#[test]
fn a_body_of_unknown_length_is_limited_too() {
    let target = Target::start(FAST);
    let mut client = target.client();
    client.send(b"POST /chat HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\ncontent-type: application/x-www-form-urlencoded\r\n\r\n");
    client.send(format!("2400\r\n{}\r\n", "x".repeat(0x2400)).as_bytes());
    assert_eq!(client.answer().status, 413);
    drop(client);
    target.wait_until_quiet();
}

#[test]
fn the_page_the_health_and_the_metrics_answer() {
    let target = Target::start(FAST);
    target.session();
    let page = target.get("/");
    assert!(
        page.text().contains("<title>") && !page.text().contains("http"),
        "no external resource"
    );
    assert_eq!(target.get("/health").json()["status"], "ok");
    let metrics = target.get("/metrics");
    assert_eq!(
        metrics.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    for line in [
        "target_sessions_created_total 1",
        "target_streams_ended_total{outcome=\"done\"} 1",
        "# EOF",
    ] {
        assert!(
            metrics.text().contains(line),
            "{line} in {}",
            metrics.text()
        );
    }
}

#[test]
fn metrics_can_be_switched_off() {
    assert_eq!(
        Target::start(&["--metrics", "false"])
            .get("/metrics")
            .status,
        404
    );
}

#[test]
fn a_connection_can_be_used_again_after_a_stream_has_ended() {
    let target = Target::start(FAST);
    let mut client = target.client();
    for n in 1..=3 {
        assert_eq!(
            client
                .ask("GET", "/events?interval_ms=1&limit=1", "", b"")
                .events()
                .len(),
            1
        );
        let status = target.status();
        assert_eq!(
            (
                status["connections"]["opened_total"].as_u64(),
                status["streams"]["opened_total"].as_u64()
            ),
            (Some(1), Some(n))
        );
    }
    let status = target.wait_until("waiting", |status| {
        status["connections"]["by_state"]["waiting"].as_u64() == Some(1)
    });
    assert_eq!(status["streams"]["live"].as_u64(), Some(0));
}

#[test]
fn events_reads_like_a_browser_would() {
    let parsed = events("retry: 1\n\nid: 4\nevent: x\ndata: y\n\n: c\n\n");
    assert_eq!(
        (
            parsed.len(),
            &*parsed[0].id,
            &*parsed[0].name,
            &*parsed[0].data
        ),
        (1, "4", "x", "y")
    );
}
