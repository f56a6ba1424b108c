//! However a client goes away, what it had goes with it, at once.

use rustix::process::Signal;

use crate::{client::Deadline, target::Target};

const QUIET: &[&str] = &["--log-level", "info", "--chunk-interval", "60s"];

fn ended(status: &serde_json::Value, how: &str) -> u64 {
    status["streams"]["ended_total"][how]
        .as_u64()
        .expect("a count")
}

#[test]
fn a_client_that_leaves_ends_its_stream_at_once_even_when_no_event_is_due() {
    for leave in [
        crate::client::Client::fin as fn(_),
        crate::client::Client::rst,
    ] {
        let target = Target::start(QUIET);
        let mut feed = target.client();
        feed.start("GET", "/events?interval_ms=60000", "", b"");
        feed.read_until("id: 1\n");
        assert_eq!(
            target.status()["tasks_live"].as_u64(),
            Some(2),
            "a connection and its generator"
        );
        leave(feed);
        assert_eq!(ended(&target.wait_until_quiet(), "cancelled"), 1);
    }
}

#[test]
fn the_log_says_how_a_stream_ended_and_whether_the_peer_sent_fin_or_rst() {
    let target = Target::start(QUIET);
    for leave in [
        crate::client::Client::fin as fn(_),
        crate::client::Client::rst,
    ] {
        let mut feed = target.client();
        feed.start("GET", "/events?interval_ms=60000", "", b"");
        feed.read_until("id: 1\n");
        leave(feed);
        target.wait_until_quiet();
    }
    let log = target.log();
    for words in [
        "ended=\"cancelled\" peer_left=\"fin\"",
        "ended=\"cancelled\" peer_left=\"reset\"",
        "duration_ms=",
        "events=1",
    ] {
        assert!(log.contains(words), "{words} in {log}");
    }
}

#[test]
fn a_chat_left_in_the_middle_keeps_its_session_and_ends_its_work() {
    let target = Target::start(QUIET);
    let mut chat = target.client();
    chat.start(
        "POST",
        "/chat",
        "content-type: application/x-www-form-urlencoded\r\n",
        b"message=hello",
    );
    chat.read_until("event: connected\n");
    assert_eq!(
        target.status()["sessions"]["by_state"]["streaming"].as_u64(),
        Some(1)
    );
    chat.rst();
    let status = target.wait_until_quiet();
    assert_eq!(
        (
            ended(&status, "cancelled"),
            status["sessions"]["live"].as_u64()
        ),
        (1, Some(1))
    );
}

#[test]
fn leaving_before_the_answer_leaves_nothing() {
    let target = Target::start(QUIET);
    for _ in 0..200 {
        let mut client = target.client();
        client.start("GET", "/events?interval_ms=60000", "", b"");
        client.rst();
        let mut client = target.client();
        client.send(b"POST /chat HTTP/1.1\r\nhost: test\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 99\r\n\r\nmess");
        client.fin();
    }
    target.wait_until_quiet();
}

#[test]
fn a_client_that_shuts_its_write_side_has_left() {
    let target = Target::start(QUIET);
    let mut feed = target.client();
    feed.start("GET", "/events?interval_ms=60000", "", b"");
    feed.read_until("id: 1\n");
    feed.socket
        .shutdown(std::net::Shutdown::Write)
        .expect("an open socket");
    target.wait_until_quiet();
    feed.read_to_end();
}

#[test]
fn thousands_of_connect_and_hang_ups_leave_nothing() {
    let target = Target::start(QUIET);
    for n in 0..3000 {
        let client = target.client();
        if n % 2 == 0 {
            client.fin()
        } else {
            client.rst()
        }
    }
    // An RST before accept may make the kernel forget the connection, so not every one need have been seen.
    target.wait_until("most were seen", |status| {
        status["connections"]["opened_total"].as_u64() >= Some(1500)
    });
    assert_eq!(
        target.wait_until_quiet()["streams"]["opened_total"].as_u64(),
        Some(0)
    );
    assert_eq!(target.get("/health").status, 200);
}

#[test]
fn a_drain_says_goodbye_on_every_stream_and_ends_the_process() {
    let mut target = Target::start(QUIET);
    let mut feed = target.client();
    feed.start("GET", "/events?interval_ms=60000", "", b"");
    feed.read_until("id: 1\n");
    let mut idle = target.client();
    assert_eq!(idle.ask("GET", "/health", "", b"").status, 200);
    target.signal(Signal::TERM);
    feed.read_until("event: error\ndata: {\"error\":\"drained\"");
    feed.read_to_end();
    assert_eq!(idle.read_to_end(), "", "a kept-alive connection is closed");
    assert!(target.wait_for_exit().success());
    assert!(
        target.log().contains("ended=\"drained\""),
        "{}",
        target.log()
    );
    assert!(
        !target.folder().join("token").exists(),
        "the token goes with the server"
    );
}

#[test]
fn a_drain_cuts_whoever_does_not_take_its_goodbye() {
    let mut target = Target::start(&[
        "--drain-timeout",
        "100ms",
        "--sndbuf",
        "4KiB",
        "--write-timeout",
        "1h",
        "--slow-client",
        "drop-newest",
    ]);
    let mut stalled = target.client();
    stalled.start("GET", "/events?interval_ms=1&bytes=65536", "", b"");
    target.wait_until("a full queue", |status| {
        status["dropped_events_total"].as_u64() > Some(0)
    });
    target.signal(Signal::TERM);
    let deadline = Deadline::new();
    assert!(target.wait_for_exit().success());
    deadline.check("the drain");
    drop(stalled);
}
