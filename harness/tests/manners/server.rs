//! A driver, and a test that is its server: it accepts, answers, and looks what arrives.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process,
    sync::Arc,
    thread,
    time::Duration,
};

use socket2::{Domain, Socket, Type};
use sse_soak::{
    drive::{DriveConfig, Driver, Limits, Transport},
    plan::{
        Batch, Exchange, Expect, Leave, Manners, Request, Script, Segment, SessionUse, Stay, Unit,
    },
    timeline::{Clock, Counts, End, PortBook, Tally},
};

/// Far beyond anything these tests wait for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const STREAM: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
pub(crate) const END: &str = "0\r\n\r\n";

/// A listener below the range that the kernel gives to clients, so that no client of ours ever takes its port.
pub(crate) fn listen() -> TcpListener {
    (0..2000_u16)
        .find_map(|i| {
            let start = u16::try_from(process::id() % 6000).unwrap();
            listen_on(([127, 0, 0, 1], 20_000 + (start + 7 * i) % 12_000).into()).ok()
        })
        .expect("a free port")
}

/// With room for everyone who comes while the test is busy.
pub(crate) fn listen_on(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

/// One chunk.
pub(crate) fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

/// The load of one script, one request.
pub(crate) struct Load {
    pub(crate) driver: Driver,
    pub(crate) clock: Clock,
    pub(crate) tally: Arc<Tally>,
}

impl Load {
    pub(crate) fn new(addr: SocketAddr, target: &str) -> Self {
        let config = DriveConfig {
            addr,
            host: "test".into(),
            scripts: vec![script(target)],
            pools: 0,
            seed: 1,
            limits: Limits::default(),
            stall_receive_buffer: Some(4096),
            slow_bytes_per_second: 400,
            transport: Transport::default(),
            segment: Segment::WHOLE,
            sources: vec![],
        };
        let (clock, tally) = (Clock::start(), Arc::new(Tally::default()));
        let ports = Arc::new(PortBook::default());
        let driver = Driver::start(config, clock, Arc::clone(&tally), ports).unwrap();
        Self {
            driver,
            clock,
            tally,
        }
    }

    pub(crate) fn play(&self, count: u32, over: Duration, stay: Stay, manners: Manners) {
        let batch = Batch {
            script: 0,
            leave: Leave::Fin,
            count,
            after: Duration::ZERO,
            over,
            stay,
            manners,
        };
        self.driver.play(self.clock.now(), vec![batch]);
    }

    pub(crate) fn counts(&self) -> Counts {
        self.tally.counts()
    }

    pub(crate) fn ended(&self, end: End) -> u64 {
        self.counts().ended[end as usize]
    }

    /// Waits for a condition; says so if it does not come.
    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = self.clock.now() + PATIENCE;
        while !holds() {
            assert!(
                self.clock.now() < deadline,
                "waited in vain for {what}: {:?} {:?}",
                self.counts(),
                self.driver.problems()
            );
            thread::park_timeout(Duration::from_millis(1));
        }
    }
}

fn script(target: &str) -> Script {
    Script {
        name: "test".into(),
        exchanges: vec![Exchange {
            think: std::time::Duration::ZERO,
            request: Request {
                method: "GET".into(),
                target: target.into(),
                headers: vec![],
                body: String::new(),
            },
            expect: Expect::Stream,
            session: SessionUse::None,
            counts: Unit::Nothing,
        }],
    }
}

/// Accepts one client and reads its request.
pub(crate) fn accept(listener: &TcpListener) -> (TcpStream, String) {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let request = read_head(&mut stream);
    (stream, request)
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut bytes = vec![];
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).unwrap()
}

pub(crate) fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
}
