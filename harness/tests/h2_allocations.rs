//! What a stream of HTTP/2 weighs, and that an event on it allocates nothing. One test, since the counter counts the process.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    num::NonZeroU16,
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

#[expect(unsafe_code, reason = "counting allocations takes an allocator")]
// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        LIVE_BYTES.fetch_add(layout.size().try_into().unwrap_or(i64::MAX), Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size().try_into().unwrap_or(i64::MAX), Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}

const PATIENCE: Duration = Duration::from_secs(60);
const STREAMS: u32 = 1000;
const EACH: u16 = 100;
const EVENTS_EACH: u64 = 50;
const PREFACE: usize = 24;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_HEADERS: u8 = 4;
const EVENT: &[u8] = b"id: 17\nevent: token\ndata: some words\n\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The same frame on every stream of a connection.
fn on_all(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let streams = (1..).step_by(2).take(EACH.into());
    streams
        .flat_map(|stream| frame(kind, flags, stream, payload))
        .collect()
}

/// Accepts one connection, and answers all that is asked on it with the head of a stream.
fn accept(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
    stream.read_exact(&mut [0; PREFACE]).unwrap();
    let mut asked = 0;
    while asked < EACH {
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        let [a, b, c, kind, ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).unwrap();
        asked += u16::from(kind == HEADERS);
    }
    let head = b"\x88\x0f\x10\x11text/event-stream";
    stream
        .write_all(&on_all(HEADERS, END_HEADERS, head))
        .unwrap();
    stream
}

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
            request: Request {
                method: "GET".into(),
                target: "/events?n={n}&{uuid}".into(),
                headers: vec![],
                body: String::new(),
            },
            expect: Expect::Stream,
            session: SessionUse::None,
            counts: Unit::Nothing,
            think: std::time::Duration::ZERO,
        }],
    }
}

#[test]
fn an_event_over_http_2_allocates_nothing_and_a_held_stream_weighs_its_state_only() {
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
        transport: Transport {
            tls: None,
            streams_per_connection: NonZeroU16::new(EACH),
        },
        segment: Segment::WHOLE,
        sources: vec![],
    };
    let ports = Arc::new(PortBook::default());
    let driver = Driver::start(config, clock, Arc::clone(&tally), ports).unwrap();
    let events = || tally.counts().events;
    let event = on_all(DATA, 0, EVENT);
    let send = |streams: &mut Vec<TcpStream>| {
        for stream in streams {
            stream.write_all(&event).unwrap();
        }
    };
    let mut streams = Vec::with_capacity(2 * STREAMS as usize);
    // The first half warms up whatever is made once; the second half is weighed.
    let hold = |streams: &mut Vec<TcpStream>| {
        let batch = Batch {
            script: 0,
            leave: Leave::Fin,
            count: STREAMS / 2,
            after: Duration::ZERO,
            over: Duration::ZERO,
            stay: Stay::Standing,
            manners: Manners::default(),
        };
        driver.play(clock.now(), vec![batch]);
        let more = STREAMS / 2 / u32::from(EACH);
        streams.extend((0..more).map(|_| accept(&listener)));
        let standing = streams.len() as u64 * u64::from(EACH);
        until(clock, "the heads", || driver.standing() == standing);
    };
    hold(&mut streams);
    let before = LIVE_BYTES.load(Relaxed);
    hold(&mut streams);
    send(&mut streams);
    until(clock, "an event each", || events() == u64::from(STREAMS));
    let weight = LIVE_BYTES.load(Relaxed) - before;
    let each = weight / i64::from(STREAMS / 2);
    println!("a held stream weighs {each} B");
    assert!(each <= 384, "a held stream weighs {each} B");

    let before = ALLOCATIONS.load(Relaxed);
    for round in 2..=EVENTS_EACH {
        send(&mut streams);
        until(clock, "the events", || {
            events() == round * u64::from(STREAMS)
        });
    }
    let allocations = ALLOCATIONS.load(Relaxed) - before;
    // A list that grows once, of those whose turn was too short, is no event's.
    assert!(allocations <= 8, "{allocations} in 49,000 events");
    assert_eq!(driver.problems(), []);
}
