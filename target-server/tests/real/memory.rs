//! The calibration: an honest server's memory comes back, and what is kept on purpose is seen to the byte.

use serde_json::json;

use crate::{client::Client, target::Target};

const HONEST: &[&str] = &[
    "--log-level",
    "warn",
    "--chunk-interval",
    "0s",
    "--session-ttl",
    "10ms",
    "--sweep-every",
    "10ms",
];

/// One kept admin connection: what it holds is the same at every reading.
struct Scale<'a> {
    target: &'a Target,
    admin: Client,
}

impl<'a> Scale<'a> {
    fn new(target: &'a Target) -> Self {
        Self {
            target,
            admin: Client::connect(target.admin),
        }
    }

    fn read(&mut self) -> i64 {
        let answer =
            self.target
                .ask_admin_on(&mut self.admin, "POST", "/v1/heap/settle", &json!({}));
        answer.json()["allocated_bytes"].as_i64().expect("bytes")
    }
}

/// Two hundred clients: chats that end, feeds left with FIN, with RST, and before their answer; all at once, then all gone.
fn churn(target: &Target) {
    let clients: Vec<Client> = (0..200)
        .map(|n| {
            let mut client = target.client();
            match n % 4 {
                0 => client.start(
                    "POST",
                    "/chat",
                    "content-type: application/x-www-form-urlencoded\r\n",
                    b"message=hello",
                ),
                _ => client.start("GET", "/events?interval_ms=5&bytes=200", "", b""),
            }
            client
        })
        .collect();
    for (n, mut client) in clients.into_iter().enumerate() {
        match n % 4 {
            0 => drop(client.answer()),
            1 => {
                client.read_until("id: 2\n");
                client.fin();
            }
            2 => {
                client.read_until("id: 2\n");
                client.rst();
            }
            _ => client.rst(),
        }
    }
    target.wait_until_quiet();
    target.wait_until("sessions swept", |status| {
        status["sessions"]["live"].as_u64() == Some(0)
    });
}

#[test]
fn an_idle_server_reads_the_same_again_and_again() {
    let target = Target::start(HONEST);
    let mut scale = Scale::new(&target);
    scale.read(); // the first one fills what the admin connection keeps
    let readings: Vec<_> = (0..10).map(|_| scale.read()).collect();
    assert!(
        readings.iter().all(|bytes| *bytes == readings[0]),
        "{readings:?}"
    );
}

/// The first rounds raise what tokio keeps at its high-water mark (2 KiB for 200 tasks runnable at once), and how far depends on
/// how busy the machine is. Then the line is flat; one byte per connection would keep it from ever resting.
#[test]
fn after_churn_the_memory_of_an_honest_server_comes_to_rest() {
    const AT_REST: usize = 5;
    let target = Target::start(HONEST);
    let mut scale = Scale::new(&target);
    let mut readings = Vec::new();
    while readings.len() < 20 {
        churn(&target);
        readings.push(scale.read());
        let last = &readings[readings.len().saturating_sub(AT_REST)..];
        let (low, high) = (last.iter().min(), last.iter().max());
        if last.len() == AT_REST && high.zip(low).is_some_and(|(high, low)| high - low <= 512) {
            return;
        }
    }
    panic!("allocated after rounds of 200 connections: {readings:?}");
}

#[test]
fn what_is_retained_is_seen_to_the_byte() {
    let target = Target::start(HONEST);
    let mut scale = Scale::new(&target);
    let retain = |scale: &mut Scale<'_>, bytes: u64, count: u64| {
        let answer = target.ask_admin_on(
            &mut scale.admin,
            "POST",
            "/v1/retain",
            &json!({ "bytes": bytes, "count": count }),
        );
        answer.json()["bytes"].as_i64().expect("bytes")
    };
    for _ in 0..2 {
        retain(&mut scale, 1, 1);
        target.ask_admin_on(&mut scale.admin, "POST", "/v1/release", &json!({}));
        scale.read();
    }
    let mut before = scale.read();
    let start = before;
    for (bytes, count) in [(256, 1000), (1, 1), (700, 333), (5000, 7), (100_000, 3)] {
        let stated = retain(&mut scale, bytes, count);
        let after = scale.read();
        assert_eq!(after - before, stated, "{count} blocks of {bytes} bytes");
        before = after;
    }
    let status = target.status();
    assert_eq!(
        (
            status["retained"]["blocks"].as_u64(),
            status["retained"]["bytes"].as_i64()
        ),
        (Some(1344), Some(before - start))
    );
    target.ask_admin_on(&mut scale.admin, "POST", "/v1/release", &json!({}));
    let after = scale.read();
    assert!((after - start).abs() <= 512, "released: {start} -> {after}");
}
