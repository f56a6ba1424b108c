//! Every limit: what is refused, what is cut, and that the door opens again.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use crate::{
    client::{Client, Deadline},
    target::Target,
};

fn ended(status: &serde_json::Value, how: &str) -> Option<u64> {
    status["streams"]["ended_total"][how].as_u64()
}

#[test]
fn beyond_the_connection_limit_a_newcomer_is_answered_503_with_retry_after() {
    let target = Target::start(&["--max-connections", "2"]);
    let mut held: Vec<Client> = (0..2).map(|_| target.client()).collect();
    for client in &mut held {
        assert_eq!(client.ask("GET", "/health", "", b"").status, 200);
    }
    let refused = target.get("/health");
    assert_eq!(
        (
            refused.status,
            refused.header("retry-after"),
            refused.json()["error"].as_str()
        ),
        (503, Some("1"), Some("overloaded"))
    );
    held.clear();
    target.wait_until_quiet();
    assert_eq!(target.get("/health").status, 200, "open again");
}

#[test]
fn many_refused_newcomers_who_say_nothing_do_not_pile_up() {
    let target = Target::start(&["--max-connections", "1"]);
    let mut held = target.client();
    assert_eq!(held.ask("GET", "/health", "", b"").status, 200);
    let mut silent: Vec<Client> = (0..300).map(|_| target.client()).collect();
    let status = target.wait_until("refused", |status| {
        status["connections"]["refused_total"].as_u64() == Some(300)
    });
    assert!(status["tasks_live"].as_u64() <= Some(65), "{status}");
    for client in &mut silent {
        client.read_to_end();
    }
    drop(held);
    target.wait_until_quiet();
}

#[test]
fn beyond_the_session_limit_only_known_conversations_are_served() {
    let target = Target::start(&["--max-sessions", "1", "--chunk-interval", "0s"]);
    let id = target.session();
    let refused = target.chat("message=hello");
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(
        target
            .chat(&format!("message=hello&conversation_id={id}"))
            .status,
        200
    );
    assert_eq!(
        target
            .client()
            .ask("DELETE", &format!("/conversations/{id}"), "", b"")
            .status,
        204
    );
    assert_eq!(target.chat("message=hello").status, 200, "open again");
}

#[test]
fn an_unused_session_is_swept_after_its_ttl_and_one_with_a_stream_is_not() {
    let target = Target::start(&[
        "--session-ttl",
        "50ms",
        "--sweep-every",
        "10ms",
        "--chunk-interval",
        "0s",
    ]);
    let id = target.session();
    let mut feed = target.client();
    feed.start(
        "GET",
        &format!("/events?session={id}&interval_ms=60000"),
        "",
        b"",
    );
    feed.read_until("id: 1\n");
    target.session();
    let status = target.wait_until("one swept", |status| {
        status["sessions"]["removed_total"]["expired"].as_u64() == Some(1)
    });
    assert_eq!(
        status["sessions"]["by_state"]["streaming"].as_u64(),
        Some(1)
    );
    drop(feed);
    target.wait_until("both swept", |status| {
        status["sessions"]["live"].as_u64() == Some(0)
    });
}

#[test]
fn a_stalled_reader_is_disconnected_when_its_queue_is_full() {
    let target = Target::start(&["--sndbuf", "4KiB", "--queue-events", "4"]);
    let mut stalled = target.client();
    stalled.start("GET", "/events?interval_ms=1&bytes=65536", "", b"");
    target.wait_until("disconnected", |status| ended(status, "slow") == Some(1));
    target.wait_until_quiet();
    drop(stalled);
}

#[test]
fn a_stalled_reader_loses_the_newest_events_when_so_configured_and_every_loss_is_counted() {
    let target = Target::start(&[
        "--sndbuf",
        "4KiB",
        "--queue-events",
        "4",
        "--slow-client",
        "drop-newest",
    ]);
    let mut stalled = target.client();
    stalled.start("GET", "/events?interval_ms=1&bytes=65536", "", b"");
    let status = target.wait_until("losses", |status| {
        status["dropped_events_total"].as_u64() > Some(20)
    });
    assert_eq!(status["streams"]["live"].as_u64(), Some(1));
    drop(stalled);
    target.wait_until_quiet();
}

#[test]
fn a_peer_that_takes_no_byte_for_the_write_timeout_is_closed() {
    let target = Target::start(&[
        "--sndbuf",
        "4KiB",
        "--write-timeout",
        "100ms",
        "--slow-client",
        "drop-newest",
    ]);
    let mut stalled = target.client();
    stalled.start("GET", "/events?interval_ms=1&bytes=65536", "", b"");
    target.wait_until("timed out", |status| ended(status, "timeout") == Some(1));
    target.wait_until_quiet();
    drop(stalled);
}

#[test]
fn a_request_head_that_does_not_end_is_closed_in_time() {
    let target = Target::start(&["--header-timeout", "100ms"]);
    let mut client = target.client();
    client.send(b"GET /health HTTP/1.1\r\nhost: te");
    client.read_to_end();
    drop(client);
    target.wait_until_quiet();
}

#[test]
fn a_request_body_that_does_not_end_is_answered_408() {
    let target = Target::start(&["--request-timeout", "100ms"]);
    let mut client = target.client();
    client.send(b"POST /chat HTTP/1.1\r\nhost: test\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 99\r\n\r\nmess");
    assert_eq!(client.answer().status, 408);
    drop(client);
    target.wait_until_quiet();
}

#[test]
fn a_flood_of_headers_is_answered_431() {
    let target = Target::start(&[]);
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("x-long: {}\r\n", "y".repeat(20_000));
    for flood in [many, long] {
        let mut client = target.client();
        // The server may answer and close while we are still sending.
        let _unsent = std::io::Write::write_all(
            &mut client.socket,
            format!("GET /health HTTP/1.1\r\nhost: test\r\n{flood}\r\n").as_bytes(),
        );
        let answer = client.read_to_end();
        assert!(
            answer.starts_with("HTTP/1.1 431 ") || answer.is_empty(),
            "{answer}"
        );
    }
    target.wait_until_quiet();
}

#[test]
fn what_is_not_http_is_answered_400_or_closed() {
    let target = Target::start(&[]);
    for noise in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut client = target.client();
        client.send(noise);
        client
            .socket
            .shutdown(std::net::Shutdown::Write)
            .expect("an open socket");
        let answer = client.read_to_end();
        assert!(
            answer.is_empty()
                || answer.starts_with("HTTP/1.1 4")
                || answer.starts_with("HTTP/1.1 505"),
            "{answer}"
        );
    }
    target.wait_until_quiet();
}

#[test]
fn above_the_memory_watermark_admission_closes_and_idle_sessions_go() {
    let target = Target::start(&[
        "--memory-watermark",
        "64MiB",
        "--sweep-every",
        "10ms",
        "--chunk-interval",
        "0s",
    ]);
    target.session();
    target.post(
        "/v1/retain",
        serde_json::json!({ "bytes": 65536, "count": 2048 }),
    );
    target.wait_until("evicted", |status| {
        status["sessions"]["removed_total"]["evicted"].as_u64() == Some(1)
    });
    for refused in [target.chat("message=hello"), target.get("/events")] {
        assert_eq!(
            (refused.status, refused.header("retry-after")),
            (503, Some("1"))
        );
    }
    assert_eq!(target.get("/health").json()["status"], "degraded");
    target.post("/v1/release", serde_json::json!({}));
    let deadline = Deadline::new();
    while target.get("/health").json()["status"] != "ok" {
        deadline.check("admission to open again");
    }
    assert_eq!(target.chat("message=hello").status, 200);
}

#[test]
fn without_file_descriptors_the_server_waits_and_recovers() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let target = Target::start(&[]);
    let pid = Pid::from_raw(target.pid().cast_signed());
    let few = Rlimit {
        current: Some(40),
        maximum: Some(40),
    };
    prlimit(pid, Resource::Nofile, few).expect("our child");
    let mut admin = Client::connect(target.admin); // its descriptor is taken before the flood
    let held: Vec<TcpStream> = (0..60)
        .map(|_| TcpStream::connect(target.public).expect("the backlog takes it"))
        .collect();
    let deadline = Deadline::new();
    while target
        .ask_admin_on(&mut admin, "GET", "/v1/status", &serde_json::Value::Null)
        .json()["connections"]["accept_errors_total"]
        .as_u64()
        < Some(2)
    {
        deadline.check("accept errors");
    }
    drop(held);
    // Who was accepted while descriptors were short may be let go of before it was heard.
    let answers = || -> std::io::Result<bool> {
        let mut socket = TcpStream::connect(target.public)?;
        socket.write_all(b"GET /health HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    let deadline = Deadline::new();
    while !answers().unwrap_or(false) {
        deadline.check("an answer");
    }
}
