//! Several processes on one port, one admin listener for all.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::target::Target;

fn pids(target: &Target) -> Vec<Option<u64>> {
    let list = target.ask_admin("GET", "/v1/workers", &Value::Null).json();
    list.as_array()
        .expect("a list")
        .iter()
        .map(|worker| worker["pid"].as_u64())
        .collect()
}

#[test]
fn workers_share_the_port_and_their_counts_add_up() {
    let target = Target::start(&["--workers", "2"]);
    for _ in 0..40 {
        assert_eq!(
            target.get("/events?interval_ms=1&limit=1").events().len(),
            1
        );
    }
    let status = target.wait_until_quiet();
    assert_eq!(
        (
            status["workers"].as_u64(),
            status["streams"]["opened_total"].as_u64()
        ),
        (Some(2), Some(40))
    );
    assert_eq!(
        (status["version"].as_u64(), status["pid"].as_u64()),
        (Some(1), Some(target.pid().into()))
    );
    let list = target.ask_admin("GET", "/v1/workers", &Value::Null).json();
    let opened: Vec<_> = (0..2)
        .map(|n| {
            list[n]["status"]["streams"]["opened_total"]
                .as_u64()
                .expect("a count")
        })
        .collect();
    assert!(
        opened.iter().sum::<u64>() == 40 && opened.iter().all(|count| *count > 0),
        "the kernel spreads: {opened:?}"
    );
}

#[test]
fn retaining_fans_out_and_is_seen_to_the_byte_in_the_sum() {
    let target = Target::start(&["--workers", "2"]);
    for _ in 0..3 {
        target.post("/v1/retain", json!({ "bytes": 16, "count": 1 }));
        target.post("/v1/release", json!({}));
        target.settle();
    }
    let before = target.settle();
    let kept = target.post("/v1/retain", json!({ "bytes": 256, "count": 1000 }));
    assert_eq!(
        (kept["blocks"].as_u64(), kept["bytes"].as_u64()),
        (Some(2000), Some(512_000))
    );
    assert_eq!(target.settle() - before, 512_000);
}

#[test]
fn what_cannot_be_added_up_says_where_to_ask() {
    let target = Target::start(&["--workers", "2"]);
    let answer = target.ask_admin("GET", "/v1/heap/profile", &Value::Null);
    assert_eq!(answer.status, 409);
    assert!(answer.text().contains("/v1/workers"));
}

#[test]
fn a_worker_that_dies_is_logged_and_replaced() {
    let target = Target::start(&["--workers", "2"]);
    let before = pids(&target);
    let victim = before[0]
        .and_then(|pid| Pid::from_raw(i32::try_from(pid).expect("a pid")))
        .expect("a pid");
    kill_process(victim, Signal::KILL).expect("its child");
    let deadline = crate::client::Deadline::new();
    loop {
        let now = pids(&target);
        if now[0].is_some() && now[0] != before[0] {
            break;
        }
        deadline.check("a new worker");
    }
    assert!(target.log().contains("worker died"), "{}", target.log());
    assert_eq!(target.get("/health").status, 200);
}

#[test]
fn a_drain_takes_the_workers_along() {
    let mut target = Target::start(&["--workers", "2"]);
    let workers = pids(&target);
    target.signal(Signal::TERM);
    assert!(target.wait_for_exit().success(), "{}", target.log());
    for pid in workers.into_iter().flatten() {
        let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
        assert!(
            rustix::process::test_kill_process(pid).is_err(),
            "gone with its supervisor"
        );
    }
}
