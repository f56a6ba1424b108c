//! What looking costs: processor time of one look at a server with 1,000 connections.
//!
//! On a quiet 2-core machine (Linux 6.18, dev profile) a polling look costs 1.3 ms and a full one 1.5 ms, nearly all of it the kernel's
//! walk over its table of 262,144 socket buckets; with 42,000 sockets of others in TIME_WAIT, 5 to 10 ms.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc::sync_channel},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use sse_soak::{
    observe::{ObserveConfig, Observer, RuntimeConfig, Sample},
    timeline::Clock,
};

const CONNECTIONS: usize = 1000;

const SERVER: &str = "
import socket
s = socket.create_server(('127.0.0.1', 0), backlog=1024)
print(s.getsockname()[1])
held = []
while True:
    held.append(s.accept()[0])
    if len(held) == 1000: print('all')
";

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Processor time of this process; while the observer looks, nothing else of it runs.
fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        spent.tv_sec.unsigned_abs(),
        u32::try_from(spent.tv_nsec).unwrap(),
    )
}

fn cost_of(looks: u32, look: impl Fn() -> Sample) -> Duration {
    look();
    let before = cpu();
    for _ in 0..looks {
        let sample = look();
        assert!(sample.sockets.unwrap().established >= CONNECTIONS as u64);
    }
    (cpu() - before) / looks
}

/// To notice a change of order (reading `/proc/net/tcp`, listing descriptors), not a machine with many sockets.
const BOUNDS: [(&str, Duration); 2] = [
    ("polling look", Duration::from_millis(40)),
    ("full look", Duration::from_millis(60)),
];

#[test]
fn a_look_at_a_thousand_connections_is_cheap() {
    let child = Command::new("python3")
        .args(["-uc", SERVER])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut server = Server(child);
    let mut lines = BufReader::new(server.0.stdout.take().unwrap()).lines();
    let port = lines.next().unwrap().unwrap().parse().unwrap();
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    let _clients: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|_| TcpStream::connect(addr).unwrap())
        .collect();
    assert_eq!(lines.next().unwrap().unwrap(), "all");

    let config = ObserveConfig {
        runtime: RuntimeConfig::None,
        metrics: None,
        pid: Some(server.0.id()),
        addr,
        admin: None,
        every: Duration::from_secs(3600),
    };
    let (sender, _samples) = sync_channel(1);
    let observer = Observer::start(config, Clock::start(), Arc::default(), sender).unwrap();
    let costs = [
        cost_of(50, || observer.look()),
        cost_of(50, || observer.settled_look()),
    ];
    for ((name, bound), cost) in BOUNDS.into_iter().zip(costs) {
        println!("{name}: {} µs", cost.as_micros());
        assert!(cost < bound, "one {name} costs {cost:?}");
    }
}
