//! The observer and the reference server: what one says of the other must be true to the byte.
//!
//! Needs `target-jemalloc` beside the tests (`cargo build -p target-server`); says so and does nothing without it.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc::sync_channel},
    time::Duration,
};

use sse_soak::{
    observe::{Admin, ObserveConfig, Observer, Presence, RuntimeConfig},
    target::{Launch, Life, Readiness, Target},
    timeline::Clock,
    units::ByteSize,
};

const LONG: Duration = Duration::from_secs(20);

/// `target/debug/deps/observe_reference-…` → `target/debug/target-jemalloc`.
fn server() -> Option<PathBuf> {
    let tests = std::env::current_exe().ok()?;
    let server = tests.parent()?.parent()?.join("target-jemalloc");
    if !server.exists() {
        eprintln!("skipped: {} is not built", server.display());
        return None;
    }
    Some(server)
}

fn launch(server: &Path, dir: &Path) -> Launch {
    let ready = dir.join("ready.json").to_string_lossy().into_owned();
    let token = dir.join("token").to_string_lossy().into_owned();
    Launch {
        command: vec![server.to_string_lossy().into_owned()],
        env: [
            ("TARGET_LISTEN", "127.0.0.1:0"),
            ("TARGET_ADMIN_LISTEN", "127.0.0.1:0"),
            ("TARGET_READY_FILE", &ready),
            ("TARGET_TOKEN_FILE", &token),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        dir: None,
        log: dir.join("target.log"),
        log_limit: ByteSize(1 << 20),
        memory_limit: None,
        huge_pages: false,
    }
}

#[test]
fn what_the_reference_server_is_made_to_keep_is_seen_to_the_byte() {
    let Some(server) = server() else { return };
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::start();
    let mut target = Target::launch(&launch(&server, dir.path())).unwrap();
    let probe = Readiness {
        addr: None,
        ready_file: Some(dir.path().join("ready.json")),
    };
    let ready = target.wait_ready(&probe, LONG, &clock).unwrap();
    let token = std::fs::read_to_string(ready.token_file.unwrap()).unwrap();
    let config = ObserveConfig {
        runtime: RuntimeConfig::None,
        metrics: None,
        pid: target.pid(),
        addr: ready.addr.unwrap(),
        admin: Some(Admin {
            url: ready.admin.unwrap(),
            token: token.trim().into(),
        }),
        every: Duration::from_secs(3600),
    };
    let (sender, _samples) = sync_channel(1);
    let observer = Observer::start(config, clock, Arc::default(), sender).unwrap();
    assert_eq!(observer.status_json().unwrap()["allocator"], "jemalloc");

    // The first answers allocate what later ones use again.
    let settled = || {
        let look = observer.settled_look();
        assert!(look.settled && look.gaps.is_empty(), "{look:?}");
        assert_eq!(look.presence, Presence::Alive);
        look.target.unwrap().heap.unwrap().allocated_bytes
    };
    for _ in 0..3 {
        settled();
    }
    let before = settled();
    let kept = observer.retain(256, 10_000).unwrap();
    assert_eq!((kept.blocks, kept.bytes), (10_000, 2_560_000));
    let after = settled();
    let grown = after - before;
    println!("allocated grew by {grown} B for {} B kept", kept.bytes);
    assert!(grown.abs_diff(kept.bytes) < 128 << 10, "{grown} B");
    observer.release().unwrap();
    assert!(settled().abs_diff(before) < 64 << 10);

    observer.stop();
    let stopped = target.stop(LONG);
    assert_eq!((stopped.life, stopped.killed), (Life::Exited(0), vec![]));
}
