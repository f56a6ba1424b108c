//! What the load weighs: allocations per event, and bytes per held stream. One test, since the counter counts the process.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use sse_soak::{
    drive::{DriveConfig, Driver, Limits, Transport},
    plan::{
        Batch, Exchange, Expect, Leave, Manners, Request, Script, Segment, SessionUse, Stay, Unit,
    },
    timeline::{Clock, PortBook, Tally},
};

/// Counts what is allocated by all threads.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn grow(by: usize) {
    LIVE_BYTES.fetch_add(by.try_into().unwrap_or(i64::MAX), Relaxed);
}

fn shrink(by: usize) {
    LIVE_BYTES.fetch_sub(by.try_into().unwrap_or(i64::MAX), Relaxed);
}

#[expect(unsafe_code, reason = "counting allocations takes an allocator")]
// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        grow(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        shrink(layout.size());
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        shrink(layout.size());
        grow(size);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(memory, layout, size) }
    }
}

const PATIENCE: Duration = Duration::from_secs(60);
const STREAMS: u32 = 4000;
const EVENTS_EACH: u64 = 50;
const STREAM: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// An event whose chunk arrives in two parts, cut in the middle of its data.
const EVENT: [&[u8]; 2] = [b"26\r\nid: 17\nevent: token\ndata: some", b" words\n\n\r\n"];

fn until(clock: Clock, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = clock.now() + PATIENCE;
    while !holds() {
        assert!(clock.now() < deadline, "waited in vain for {what}");
        thread::park_timeout(Duration::from_millis(1));
    }
}

fn script() -> Script {
    Script {
        name: "feed".into(),
        exchanges: vec![Exchange {
            think: std::time::Duration::ZERO,
            request: Request {
                method: "GET".into(),
                target: "/events?n={n}&{uuid}".into(),
                headers: vec![],
                body: String::new(),
            },
            expect: Expect::Stream,
            session: SessionUse::None,
            counts: Unit::Nothing,
        }],
    }
}

/// Accepts so many, and answers each with the head of a stream.
fn accept(listener: &TcpListener, streams: &mut Vec<TcpStream>, count: u32) {
    for _ in 0..count {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 512];
        let mut length = 0;
        while !request[..length].ends_with(b"\r\n\r\n") {
            length += stream.read(&mut request[length..]).unwrap();
        }
        stream.write_all(STREAM).unwrap();
        streams.push(stream);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one measurement, step by step")]
fn an_event_allocates_nothing_and_a_held_stream_weighs_its_state_only() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let clock = Clock::start();
    let tally = Arc::new(Tally::default());
    let config = DriveConfig {
        addr: listener.local_addr().unwrap(),
        host: "test".into(),
        scripts: vec![script()],
        pools: 0,
        seed: 1,
        limits: Limits::default(),
        stall_receive_buffer: None,
        slow_bytes_per_second: 100,
        transport: Transport::default(),
        segment: Segment::WHOLE,
        sources: vec![],
    };
    let ports = Arc::new(PortBook::default());
    let driver = Driver::start(config, clock, Arc::clone(&tally), ports).unwrap();
    let play = |count, stay| {
        let batch = Batch {
            script: 0,
            leave: Leave::Fin,
            count,
            after: Duration::ZERO,
            over: Duration::from_millis(u64::from(count) / 4),
            stay,
            manners: Manners::default(),
        };
        driver.play(clock.now(), vec![batch]);
    };
    let mut streams = Vec::with_capacity(2 * usize::try_from(STREAMS).unwrap());
    let events = || tally.counts().events;

    // The first half warms up whatever is made once; the second half is weighed. Half of it has a timer, half has none.
    play(STREAMS / 2, Stay::Standing);
    accept(&listener, &mut streams, STREAMS / 2);
    until(clock, "the first half", || {
        driver.standing() == u64::from(STREAMS / 2)
    });
    let before = LIVE_BYTES.load(Relaxed);
    play(STREAMS / 4, Stay::Standing);
    accept(&listener, &mut streams, STREAMS / 4);
    play(STREAMS / 4, Stay::For(Duration::from_secs(3600)));
    accept(&listener, &mut streams, STREAMS / 4);
    until(clock, "the heads", || {
        tally.counts().bytes == u64::from(STREAMS) * STREAM.len() as u64
    });

    let send = |streams: &mut Vec<TcpStream>| {
        for stream in streams {
            for part in EVENT {
                stream.write_all(part).unwrap();
            }
        }
    };
    send(&mut streams);
    until(clock, "an event each", || events() == u64::from(STREAMS));
    let weight = LIVE_BYTES.load(Relaxed) - before;
    let each = weight / i64::from(STREAMS / 2);
    println!("a held stream weighs {each} B");
    assert!(each <= 256, "a held stream weighs {each} B");

    let before = ALLOCATIONS.load(Relaxed);
    for round in 2..=EVENTS_EACH {
        send(&mut streams);
        until(clock, "the events", || {
            events() == round * u64::from(STREAMS)
        });
    }
    let allocations = ALLOCATIONS.load(Relaxed) - before;
    assert_eq!(
        allocations,
        0,
        "in {} events",
        (EVENTS_EACH - 1) * u64::from(STREAMS)
    );
    assert_eq!(driver.problems(), []);
}
