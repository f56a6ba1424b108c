//! The thread that follows the recording and answers viewers: hyper on a runtime of its own.

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{Either, Full, StreamBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Frame, Incoming},
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::sync::{Notify, Semaphore, broadcast, oneshot};

use super::{
    metrics,
    so_far::so_far,
    state::{About, State},
    view,
};
use crate::record::{Follow, Recording, files};

/// How often the recording is looked at: twice a sample at the usual rate.
const EVERY: Duration = Duration::from_millis(500);
/// Frames that wait for a viewer; whoever is further behind gets the whole picture again.
const FRAMES: usize = 16;
/// Connections at once: many viewers, and a bound.
const CONNECTIONS: usize = 256;
/// What the kernel may hold for a viewer who takes nothing: without this, megabytes each.
const SEND_BUFFER: usize = 64 * 1024;
/// How long viewers may take to get the last frame.
const GOODBYE: Duration = Duration::from_secs(1);

/// Why there is no dashboard.
#[derive(Debug, thiserror::Error)]
pub enum DashboardError {
    /// Others could look, and nobody said that they may.
    #[error(
        "{0} can be reached from other machines: a dashboard listens on loopback, such as 127.0.0.1:9300, unless --allow-remote-viewers is given"
    )]
    NotLoopback(SocketAddr),
    /// The address cannot be had.
    #[error("the dashboard cannot listen on {address}; is another run shown there?")]
    CannotListen {
        /// Which one.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The thread could not be started.
    #[error("the dashboard cannot be started")]
    Thread(#[source] io::Error),
}

/// A bound address: made before a private network is entered, so that viewers stay outside with everybody else.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    remote: bool,
}

impl Door {
    /// Listens. `remote`: whether viewers from other machines are wanted.
    ///
    /// # Errors
    /// The address is taken, or reaches further than was allowed.
    pub fn open(address: SocketAddr, remote: bool) -> Result<Self, DashboardError> {
        if !remote && !address.ip().is_loopback() {
            return Err(DashboardError::NotLoopback(address));
        }
        let listener = TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        match listener {
            Ok(listener) => Ok(Self { listener, remote }),
            Err(source) => Err(DashboardError::CannotListen { address, source }),
        }
    }

    /// Where viewers find it.
    ///
    /// # Errors
    /// The system does not know.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// What a viewer with the token may do.
pub struct Controls {
    /// Who knows it may.
    pub token: String,
    /// Ends the run in good order.
    pub stop: Box<dyn Fn() + Send>,
    /// Holds the run before its next step, or lets it go on.
    pub pause: Box<dyn Fn(bool) + Send>,
}

/// The thread. It ends with the process, or by [`close`](Self::close).
pub struct Dashboard {
    last: oneshot::Sender<String>,
    thread: JoinHandle<()>,
}

impl Dashboard {
    /// Follows the recording in `folder`, which need not be there yet, and answers viewers.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        door: Door,
        folder: PathBuf,
        title: String,
        controls: Option<Controls>,
    ) -> Result<Self, DashboardError> {
        let (last, ends) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("dashboard".into())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build_local(tokio::runtime::LocalOptions::default());
                // A dashboard that cannot go on is no reason to end a run: viewers see that the connection is gone.
                if let Ok(runtime) = runtime {
                    runtime.block_on(async move {
                        serve(door, folder, title, controls, ends).await.ok()
                    });
                }
            })
            .map_err(DashboardError::Thread)?;
        Ok(Self { last, thread })
    }

    /// Shows the verdict to whoever looks, and ends.
    pub fn close(self, verdict: String) {
        if self.last.send(verdict).is_ok() {
            self.thread.join().ok(); // a panic there was said there
        }
    }
}

/// What all answers share.
struct Hall {
    state: RefCell<State>,
    frames: broadcast::Sender<Bytes>,
    viewers: Cell<usize>,
    lost: Cell<u64>,
    title: String,
    remote: bool,
    ip: IpAddr,
    controls: Option<Controls>,
}

async fn serve(
    door: Door,
    folder: PathBuf,
    title: String,
    controls: Option<Controls>,
    ends: oneshot::Receiver<String>,
) -> io::Result<()> {
    let hall = Rc::new(Hall {
        state: RefCell::new(State::new(About::default())),
        frames: broadcast::Sender::new(FRAMES),
        viewers: Cell::new(0),
        lost: Cell::new(0),
        title,
        remote: door.remote,
        ip: door.address()?.ip(),
        controls,
    });
    let over = Arc::<Notify>::default();
    let listener = tokio::net::TcpListener::from_std(door.listener)?;
    tokio::task::spawn_local(listen(listener, Rc::clone(&hall)));
    let following = tokio::task::spawn_local(follow(folder, Rc::clone(&hall), Arc::clone(&over)));
    let verdict = ends.await.unwrap_or_else(|_| "the run is over".into());
    over.notify_one();
    following.await.ok(); // its last look is taken, or it panicked and said so
    hall.state.borrow_mut().ended(verdict);
    publish(&hall);
    tokio::time::sleep(if hall.viewers.get() > 0 {
        GOODBYE
    } else {
        Duration::ZERO
    })
    .await;
    Ok(())
}

/// Sends what is new to everybody who looks; nobody is waited for.
fn publish(hall: &Hall) {
    let news = hall.state.borrow_mut().news();
    if let Some(news) = news.filter(|_| hall.frames.receiver_count() > 0) {
        hall.frames.send(view::frame(&news, false).into()).ok(); // the last viewer may just have gone
    }
}

async fn follow(folder: PathBuf, hall: Rc<Hall>, over: Arc<Notify>) {
    let mut files = Files::new(&folder);
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let is_over = tokio::select! {
            _ = tick.tick() => false,
            () = over.notified() => true,
        };
        // What cannot be read now may be readable in half a second; the run itself says what is wrong with its folder.
        while files
            .look(&folder, &mut hall.state.borrow_mut())
            .unwrap_or(false)
        {}
        publish(&hall);
        if is_over {
            return;
        }
    }
}

/// The files of a run, and how far each was read.
struct Files {
    samples: Follow,
    events: Follow,
    readings: Follow,
    latency: Follow,
    known: bool,
}

impl Files {
    fn new(folder: &Path) -> Self {
        let follow = |name| Follow::new(folder, name);
        Self {
            samples: follow(files::SAMPLES),
            events: follow(files::EVENTS),
            readings: follow(files::READINGS),
            latency: follow(files::LATENCY),
            known: false,
        }
    }

    /// Takes what is new; whether there may be more at once.
    fn look(&mut self, folder: &Path, state: &mut State) -> io::Result<bool> {
        if !self.known
            && let Ok(recording) = Recording::so_far(folder)
        {
            let manifest = &recording.manifest;
            state.about(manifest.plan.longest_s, manifest.plan.cycles);
            self.known = true;
        }
        self.events.rows(&mut |row| {
            let text = |name| row.text(name).unwrap_or_default();
            if let Some(at) = row.number("t_s") {
                state.event(at, text("kind"), text("text"));
            }
        })?;
        self.latency.rows(&mut |row| {
            if let (Some(of), Some(p50), Some(p99)) =
                (row.text("of"), row.number("p50_us"), row.number("p99_us"))
            {
                state.latency(of, p50, p99);
            }
        })?;
        let more = self.samples.rows(&mut |row| {
            #[expect(clippy::cast_possible_truncation, reason = "a cycle is a small number")]
            let cycle = row.number("cycle").unwrap_or(0.0) as i64;
            let numbers = row
                .numbers()
                .map(|(name, value)| (name.to_owned(), value))
                .collect();
            state.sample(row.text("phase").unwrap_or_default(), cycle, numbers);
        })?;
        let mut read = false;
        self.readings
            .rows(&mut |row| read |= row.text("kind") == Some("cycle"))?;
        if read && let Ok(recording) = Recording::so_far(folder) {
            state.judged(so_far(&recording));
        }
        Ok(more)
    }
}

async fn listen(listener: tokio::net::TcpListener, hall: Rc<Hall>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(EVERY).await; // out of descriptors, say: the run needs them more
            continue;
        };
        SockRef::from(&socket)
            .set_send_buffer_size(SEND_BUFFER)
            .ok(); // only a bound that is worse
        let hall = Rc::clone(&hall);
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| {
                let hall = Rc::clone(&hall);
                async move { Ok::<_, Infallible>(answer(&hall, &request)) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(30))
                .max_buf_size(16 * 1024)
                .serve_connection(TokioIo::new(socket), service);
            connection.await.ok(); // a viewer who went away
            drop(slot);
        });
    }
}

/// Frames for as long as somebody takes them.
type Frames = Pin<Box<dyn Body<Data = Bytes, Error = Infallible>>>;
type Answer = Response<Either<Full<Bytes>, Frames>>;

fn answer(hall: &Rc<Hall>, request: &Request<Incoming>) -> Answer {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    if !host.is_some_and(|host| is_ours(host, hall.ip, hall.remote)) {
        return text(
            StatusCode::MISDIRECTED_REQUEST,
            "text/plain",
            "ask for this dashboard by its address\n".into(),
        );
    }
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => text(
            StatusCode::OK,
            "text/html; charset=utf-8",
            view::page(&hall.title, hall.controls.is_some()),
        ),
        (&Method::GET, "/events") => events(hall),
        (&Method::GET, "/metrics") => text(
            StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            metrics::metrics(&hall.state.borrow(), hall.viewers.get(), hall.lost.get()),
        ),
        (&Method::POST, path @ ("/stop" | "/pause" | "/resume")) => control(hall, request, path),
        (&Method::GET, _) => text(
            StatusCode::NOT_FOUND,
            "text/plain",
            "there are /, /events and /metrics\n".into(),
        ),
        _ => text(
            StatusCode::METHOD_NOT_ALLOWED,
            "text/plain",
            "this dashboard is read-only\n".into(),
        ),
    }
}

fn text(status: StatusCode, kind: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(Bytes::from(text))));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    answer
}

/// Stops, holds or goes on, for who has the token.
fn control(hall: &Hall, request: &Request<Incoming>, path: &str) -> Answer {
    let Some(controls) = &hall.controls else {
        return text(
            StatusCode::METHOD_NOT_ALLOWED,
            "text/plain",
            "this dashboard is read-only\n".into(),
        );
    };
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    if !given.is_some_and(|given| is_same(given, controls.token.as_bytes())) {
        return text(
            StatusCode::UNAUTHORIZED,
            "text/plain",
            "the token is another one\n".into(),
        );
    }
    match path {
        "/stop" => (controls.stop)(),
        other => (controls.pause)(other == "/pause"),
    }
    text(StatusCode::OK, "text/plain", "done\n".into())
}

/// Compares in time that does not depend on where the first difference is.
fn is_same(given: &[u8], token: &[u8]) -> bool {
    given.len() == token.len()
        && given
            .iter()
            .zip(token)
            .fold(0, |seen, (a, b)| seen | (a ^ b))
            == 0
}

/// Whether a Host header names us by an address of ours. A page from elsewhere can make its own name point here, but then that
/// name is in the header.
fn is_ours(host: &str, ip: IpAddr, remote: bool) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(named) => named == ip || named.is_loopback() || remote,
        Err(_) => bare.eq_ignore_ascii_case("localhost"),
    }
}

/// A viewer who counts as one for as long as the stream lives.
struct Viewer {
    hall: Rc<Hall>,
    frames: broadcast::Receiver<Bytes>,
    /// Whether the next frame is everything: at the beginning, and after a loss.
    behind: bool,
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.hall.viewers.set(self.hall.viewers.get() - 1);
    }
}

impl Viewer {
    /// The next frame; `None` when the run is over and everything was said.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if std::mem::take(&mut self.behind) {
                return Some(view::frame(&self.hall.state.borrow().whole(), true).into());
            }
            match self.frames.recv().await {
                Ok(frame) => return Some(frame),
                Err(broadcast::error::RecvError::Lagged(frames)) => {
                    self.hall.lost.set(self.hall.lost.get() + frames);
                    self.frames = self.frames.resubscribe();
                    self.behind = true;
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

fn events(hall: &Rc<Hall>) -> Answer {
    publish(hall); // what is new goes to those before; the newcomer begins with everything
    hall.viewers.set(hall.viewers.get() + 1);
    let viewer = Viewer {
        hall: Rc::clone(hall),
        frames: hall.frames.subscribe(),
        behind: true,
    };
    let frames = stream::unfold(viewer, |mut viewer| async move {
        let frame = viewer.next().await?;
        Some((Ok::<_, Infallible>(Frame::data(frame)), viewer))
    });
    let mut answer = text(StatusCode::OK, "text/event-stream", String::new());
    *answer.body_mut() = Either::Right(Box::pin(StreamBody::new(frames)));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_of_ours_is_a_host() {
        let ip: IpAddr = "127.0.0.1".parse().unwrap();
        for (host, ours) in [
            ("127.0.0.1:9300", true),
            ("localhost:9300", true),
            ("LOCALHOST", true),
            ("[::1]:9300", true),
            ("evil.example:9300", false),
            ("127.0.0.1.evil.example", false),
            ("192.0.2.7:9300", false),
            ("", false),
        ] {
            assert_eq!(is_ours(host, ip, false), ours, "{host}");
        }
        assert!(is_ours("192.0.2.7:9300", ip, true));
        assert!(!is_ours("evil.example", ip, true));
    }

    #[test]
    fn a_dashboard_that_others_could_see_is_refused() {
        let open = |address: &str, remote| Door::open(address.parse().unwrap(), remote);
        assert!(matches!(
            open("0.0.0.0:0", false),
            Err(DashboardError::NotLoopback(_))
        ));
        let door = open("127.0.0.1:0", false).unwrap();
        let taken = open(&door.address().unwrap().to_string(), false);
        assert!(matches!(taken, Err(DashboardError::CannotListen { .. })));
    }
}
