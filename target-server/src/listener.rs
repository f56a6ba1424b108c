//! The public listener: accept, permit, one task per connection, drain.
//!
//! In: a bound socket. Out: requests for [`routes`], and a [`Peer`] for everybody who serves one connection.
//! At the connection limit a newcomer is answered 503 by a short task; when even accepting fails, the loop backs off.
//! A connection ends when its peer leaves, when its peer takes nothing for the write timeout, when it is cut, or by the drain.

use std::{
    cell::Cell,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::{Sleep, sleep, timeout},
};

use crate::{Server, instruments::ConnectionState, routes, signal::Signal};

/// Newcomers being told 503 at once; beyond, the socket is closed without a word.
const REFUSING_AT_ONCE: u32 = 64;
/// How long a refused newcomer may take to say its request, so that our answer is not lost to a reset.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(1);
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 66\r\n\r\n{\"error\":\"overloaded\",\"message\":\"the connection limit is reached\"}";

/// How the other side went away, as its socket told us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerLeft {
    /// It did not, as far as we know.
    No,
    /// FIN: it closed, or shut its write side.
    Fin,
    /// RST, or another error of the socket.
    Reset,
}

impl PeerLeft {
    /// The word used in logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Fin => "fin",
            Self::Reset => "reset",
        }
    }
}

/// One connection, as those see it who serve it.
pub(crate) struct Peer {
    server: Rc<Server>,
    state: Cell<ConnectionState>,
    left: Cell<PeerLeft>,
    timed_out: Cell<bool>,
    /// Raised to close the connection at once, whatever is still queued for it.
    pub(crate) cut: Signal,
}

impl Peer {
    fn new(server: Rc<Server>) -> Self {
        server.counters.connections.open();
        server.counters.enter(ConnectionState::Waiting);
        Self {
            server,
            state: Cell::new(ConnectionState::Waiting),
            left: Cell::new(PeerLeft::No),
            timed_out: Cell::new(false),
            cut: Signal::default(),
        }
    }

    /// Moves the connection to another state.
    pub(crate) fn become_state(&self, state: ConnectionState) {
        self.server.counters.leave(self.state.replace(state));
        self.server.counters.enter(state);
    }

    /// What it is doing.
    pub(crate) fn state(&self) -> ConnectionState {
        self.state.get()
    }

    /// How the client went away, if it did.
    pub(crate) fn left(&self) -> PeerLeft {
        self.left.get()
    }

    /// Whether the write timeout ended it.
    pub(crate) fn timed_out(&self) -> bool {
        self.timed_out.get()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.server.counters.leave(self.state.get());
        self.server.counters.connections.end(0);
    }
}

/// How many of something are open, and a way to wait until none is.
#[derive(Default)]
struct Slots {
    taken: Cell<u32>,
    freed: Notify,
}

struct Slot(Rc<Slots>);

impl Slots {
    fn take(self: &Rc<Self>, limit: u32) -> Option<Slot> {
        (self.taken.get() < limit).then(|| {
            self.taken.set(self.taken.get() + 1);
            Slot(Rc::clone(self))
        })
    }

    async fn empty(&self) {
        while self.taken.get() > 0 {
            self.freed.notified().await;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.taken.set(self.0.taken.get() - 1);
        self.0.freed.notify_one();
    }
}

/// Serves until `shutdown`, then drains: no new connection, streams end with a last event, and after the drain timeout
/// whatever is left is cut. Dropping the future leaves the connection tasks to the runtime.
pub(crate) async fn run(
    listener: TcpListener,
    server: &Rc<Server>,
    shutdown: impl Future<Output = ()>,
) {
    let (open, refusing) = (Rc::<Slots>::default(), Rc::<Slots>::default());
    tokio::select! {
        () = shutdown => {}
        never = accept(&listener, server, &open, &refusing) => match never {},
    }
    drop(listener);
    tracing::info!(connections = open.taken.get(), "draining");
    server.drain.raise();
    if timeout(server.config.drain_timeout.get(), open.empty())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = open.taken.get(),
            "the drain timeout has passed: cutting"
        );
        server.cut.raise();
        open.empty().await;
    }
}

async fn accept(
    listener: &TcpListener,
    server: &Rc<Server>,
    open: &Rc<Slots>,
    refusing: &Rc<Slots>,
) -> std::convert::Infallible {
    let mut failures = 0;
    loop {
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                server.counters.accept_errors.add(1);
                failures += 1;
                if let Some(pause) = back_off(&error, failures) {
                    tracing::warn!(%error, pause_ms = pause.as_millis(), "cannot accept");
                    sleep(pause).await;
                }
                continue;
            }
        };
        failures = 0;
        let peer = Rc::new(Peer::new(Rc::clone(server)));
        server.leaks.connection_opened();
        if let Some(slot) = open.take(server.config.max_connections) {
            tokio::task::spawn_local(serve_connection(socket, peer, slot, server.task()));
        } else {
            server.counters.refused.add(1);
            if let Some(slot) = refusing.take(REFUSING_AT_ONCE) {
                tokio::task::spawn_local(refuse(socket, peer, slot, server.task()));
            }
        }
    }
}

/// How long to wait after a failed accept. A client that was gone already costs nothing; without descriptors or memory
/// every attempt fails until somebody leaves, and spinning would keep them from leaving.
fn back_off(error: &io::Error, failures: u32) -> Option<Duration> {
    match error.kind() {
        io::ErrorKind::ConnectionAborted
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::Interrupted => None,
        _ => Some(Duration::from_millis(10 << failures.min(6))),
    }
}

async fn serve_connection(
    socket: TcpStream,
    peer: Rc<Peer>,
    slot: Slot,
    counted: crate::TaskCount,
) {
    let server = Rc::clone(&peer.server);
    tune(&socket, &server);
    let io = Io {
        socket,
        peer: Rc::clone(&peer),
        held: false,
        patience: server.config.write_timeout.get(),
        stalled: None,
    };
    let service = service_fn(|request| routes::answer(&server, &peer, request));
    let connection = http1::Builder::new()
        .half_close(false)
        .timer(TokioTimer::new())
        .header_read_timeout(server.config.header_timeout.get())
        .max_buf_size(usize::try_from(server.config.max_header_bytes.0).unwrap_or(usize::MAX))
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        biased;
        () = peer.cut.raised() => Ok(()),
        () = server.cut.raised() => Ok(()),
        ended = connection.as_mut() => ended,
        () = server.drain.raised() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                () = peer.cut.raised() => Ok(()),
                () = server.cut.raised() => Ok(()),
                ended = connection.as_mut() => ended,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, peer_left = peer.left().name(), "connection");
    }
    server.leaks.connection_ended(peer.state(), peer.left());
    drop((slot, counted));
}

fn tune(socket: &TcpStream, server: &Server) {
    let bytes = server
        .config
        .sndbuf
        .map(|bytes| usize::try_from(bytes.0).unwrap_or(usize::MAX));
    let set = socket.set_nodelay(true).and_then(|()| {
        bytes.map_or(Ok(()), |bytes| {
            socket2::SockRef::from(socket).set_send_buffer_size(bytes)
        })
    });
    if let Err(error) = set {
        tracing::debug!(%error, "socket options"); // the peer is gone already: serving will find out
    }
}

async fn refuse(mut socket: TcpStream, peer: Rc<Peer>, slot: Slot, counted: crate::TaskCount) {
    let talk = async {
        let mut head = [0; 1024];
        let mut end = [0; 4];
        while &end != b"\r\n\r\n" {
            match socket.read(&mut head).await? {
                0 => break,
                n => head[..n].iter().for_each(|byte| {
                    end.rotate_left(1);
                    end[3] = *byte;
                }),
            }
        }
        socket.write_all(REFUSAL).await?;
        socket.shutdown().await
    };
    if let Ok(Err(error)) = timeout(REFUSAL_PATIENCE, talk).await {
        tracing::debug!(%error, "refused");
    }
    drop((peer, slot, counted));
}

/// The socket, watched: how the peer left, and whether it still takes what we write.
struct Io {
    socket: TcpStream,
    peer: Rc<Peer>,
    /// Somebody else holds the socket too, and wants it as it is.
    held: bool,
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Io {
    fn note(&self, left: PeerLeft) {
        if self.peer.left.get() == PeerLeft::No {
            self.peer.left.set(left);
        }
    }

    fn hear_fin(&mut self) {
        if self.peer.left.get() == PeerLeft::No {
            self.held = self.peer.server.leaks.client_closed(&self.socket);
        }
        self.note(PeerLeft::Fin);
    }

    /// Watches a write: progress forgets the stall, none starts its clock.
    fn watch(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(result) => {
                self.stalled = None;
                if result.is_err() {
                    self.note(PeerLeft::Reset);
                }
                Poll::Ready(result)
            }
            Poll::Pending => {
                let patience = self.patience;
                let stalled = self
                    .stalled
                    .get_or_insert_with(|| Box::pin(sleep(patience)));
                std::task::ready!(stalled.as_mut().poll(cx));
                self.peer.timed_out.set(true);
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = std::task::ready!(Pin::new(&mut self.socket).poll_read(cx, buf));
        match &read {
            Ok(()) if buf.filled().len() == before => self.hear_fin(),
            Ok(()) => {}
            Err(_) => self.note(PeerLeft::Reset),
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bytes);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.held {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_descriptors_the_loop_waits_longer_and_longer_up_to_a_limit() {
        let out_of_files = io::Error::from_raw_os_error(libc::EMFILE);
        let pauses = [1, 2, 6, 7, 1000].map(|failures| {
            back_off(&out_of_files, failures)
                .expect("a pause")
                .as_millis()
        });
        assert_eq!(pauses, [20, 40, 640, 640, 640]);
    }

    #[test]
    fn a_client_that_was_gone_before_we_accepted_costs_no_pause() {
        assert_eq!(
            back_off(&io::Error::from_raw_os_error(libc::ECONNABORTED), 9),
            None
        );
    }

    #[test]
    fn the_refusal_says_its_own_length() {
        let text = std::str::from_utf8(REFUSAL).expect("ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        assert!(
            head.ends_with(&format!("content-length: {}", body.len())),
            "{}",
            body.len()
        );
    }
}
