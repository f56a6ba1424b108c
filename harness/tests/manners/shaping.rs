//! A slow line on our side, as the server sees it; and a server that stalls, as the load sees it.

use std::{
    io::{self, Write},
    thread,
    time::Duration,
};

use socket2::SockRef;
use sse_soak::{
    plan::{Manners, Network, Stay},
    timeline::Clock,
};

use super::server::{Load, PATIENCE, STREAM, accept, chunk, listen, send};

const LONG: Stay = Stay::For(PATIENCE);
const NOW: Stay = Stay::For(Duration::ZERO);

fn by(network: Network) -> Manners {
    Manners {
        network: Some(network),
        ..Manners::default()
    }
}

#[test]
fn latency_delays_the_request_and_every_event_but_not_the_time_between_them() {
    let latency = Duration::from_millis(200);
    let listener = listen();
    let load = Load::new(listener.local_addr().unwrap(), "/events");
    let began = load.clock.now();
    load.play(
        1,
        Duration::ZERO,
        LONG,
        by(Network {
            latency,
            ..Network::default()
        }),
    );
    let (mut stream, _) = accept(&listener);
    assert!(
        load.clock.now().since(began) >= latency,
        "the request came too early"
    );
    let answered = load.clock.now();
    send(&mut stream, STREAM);
    // Twice as fast as the line is late: events must not bunch up.
    for _ in 0..10 {
        let due = load.clock.now() + latency / 2;
        send(&mut stream, &chunk("data: x\n\n"));
        load.until("the pause", || load.clock.now() >= due);
    }
    load.until("the events", || load.counts().events == 10);
    let heard = load.driver.take_latency();
    assert!(
        heard.first_event.min() >= 2 * 200_000 - 2000,
        "{} µs",
        heard.first_event.min()
    );
    assert!(load.clock.now().since(answered) >= 9 * latency / 2 + latency);
    let gap = heard.gap.value_at_quantile(0.5);
    assert!(
        (60_000..160_000).contains(&gap),
        "events 100 ms apart came {gap} µs apart"
    );
}

#[test]
fn bandwidth_is_felt_by_the_server_as_a_closed_window() {
    let listener = listen();
    let load = Load::new(listener.local_addr().unwrap(), "/events");
    let bandwidth = Some("8000 B/s".parse().unwrap());
    load.play(
        1,
        Duration::ZERO,
        LONG,
        by(Network {
            bandwidth,
            ..Network::default()
        }),
    );
    let (mut stream, _) = accept(&listener);
    SockRef::from(&stream).set_send_buffer_size(4096).unwrap();
    send(&mut stream, STREAM);
    stream.set_nonblocking(true).unwrap();
    let began = load.clock.now();
    let event = chunk("data: x\n\n").repeat(100);
    let mut was_blocked = false;
    load.until("12 kB", || {
        match stream.write(event.as_bytes()) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => was_blocked = true,
            Err(error) => panic!("{error}"),
        }
        load.counts().bytes >= 12_000
    });
    let took = load.clock.now().since(began);
    assert!(was_blocked, "the server never had to wait");
    // What was read first, 2 kB, takes its time afterwards.
    assert!(
        took >= Duration::from_millis(1200),
        "12 kB at 8 kB/s in {took:?}"
    );
}

#[test]
fn nothing_is_read_in_a_tunnel_and_everything_after_it() {
    let listener = listen();
    let load = Load::new(listener.local_addr().unwrap(), "/events");
    let tunnel = Some("500ms every 1s".parse().unwrap());
    load.play(
        1,
        Duration::ZERO,
        LONG,
        by(Network {
            tunnel,
            ..Network::default()
        }),
    );
    let (mut stream, _) = accept(&listener);
    send(&mut stream, STREAM);
    let ends = load.clock.now() + Duration::from_millis(2200);
    let (mut sent, mut last, mut longest) = (0, load.clock.now(), Duration::ZERO);
    let mut seen = 0;
    while load.clock.now() < ends {
        send(&mut stream, &chunk("data: x\n\n"));
        sent += 1;
        thread::park_timeout(Duration::from_millis(10));
        let events = load.counts().events;
        if events > seen {
            longest = longest.max(load.clock.now().since(last));
            (seen, last) = (events, load.clock.now());
        }
    }
    assert!(
        longest >= Duration::from_millis(400),
        "never silent for longer than {longest:?}"
    );
    load.until("everything", || load.counts().events == sent);
    assert_eq!(load.counts().errors(), 0);
}

/// Serves one client after the other, and does nothing at all for a while in between.
fn serve(clock: Clock, count: u32, listener: &std::net::TcpListener, from: Duration, to: Duration) {
    let began = clock.now();
    for _ in 0..count {
        if clock.now().since(began) >= from {
            while clock.now().since(began) < to {
                thread::park_timeout(Duration::from_millis(5));
            }
        }
        let (mut stream, _) = accept(listener);
        send(&mut stream, STREAM);
        send(&mut stream, &chunk("data: x\n\n"));
    }
}

/// Coordinated omission: a server that stalls for two seconds. A load that waits for its answers would have sent nothing
/// meanwhile, and have recorded one slow answer; ours opens on time, and every client that was due in the stall has waited.
#[test]
fn a_server_that_stalls_for_two_seconds_is_loaded_all_the_same_and_all_who_waited_are_seen() {
    const CLIENTS: u32 = 300;
    let listener = listen();
    let load = Load::new(listener.local_addr().unwrap(), "/events");
    let (clock, millis) = (load.clock, Duration::from_millis);
    let server = thread::spawn(move || serve(clock, CLIENTS, &listener, millis(500), millis(2500)));
    let began = load.clock.now();
    load.play(CLIENTS, millis(3000), NOW, Manners::default()); // one every 10 ms
    load.until("all openings", || {
        load.counts().opened == u64::from(CLIENTS)
    });
    let took = load.clock.now().since(began);
    assert!(took < millis(3500), "opening took {took:?}");
    load.until("all to be gone", || {
        load.counts().live() == 0 && load.counts().pending == 0
    });
    server.join().unwrap();
    let latency = load.driver.take_latency();
    assert_eq!(latency.first_event.len(), u64::from(CLIENTS));
    let late = latency.late.value_at_quantile(0.9);
    assert!(late < 100_000, "our own lateness: {late} µs");
    // Due between 0.5 and 1.5 s: 100 clients, who waited for more than a second each; the first of them for two.
    let waited = latency.first_event.count_between(980_000, u64::MAX);
    assert!((95..=160).contains(&waited), "{waited} waited for a second");
    assert!(
        latency.first_event.max() >= 1_900_000,
        "{} µs",
        latency.first_event.max()
    );
}
