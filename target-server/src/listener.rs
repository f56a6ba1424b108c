//! The public listener: accept, permit, one task per connection, drain.
//!
//! In: a bound socket. Out: requests for [`routes`], and a [`Peer`] for everybody who serves one connection.
//! At the connection limit a newcomer is answered 503 by a short task; when even accepting fails, the loop backs off.
//! With TLS or `h2c`, what a peer speaks is found out first; the plain path is the same as without them.
//! A connection ends when its peer leaves, when its peer takes nothing for the write timeout, when it is cut, or by the drain.

use std::{
    cell::Cell,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::{Sleep, sleep, timeout},
};

use tokio_rustls::TlsAcceptor;

use crate::{Server, instruments::ConnectionState, routes, signal::Signal};

/// Newcomers being told 503 at once; beyond, the socket is closed without a word.
const REFUSING_AT_ONCE: u32 = 64;
/// How long a refused newcomer may take to say its request, so that our answer is not lost to a reset.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(1);
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 66\r\n\r\n{\"error\":\"overloaded\",\"message\":\"the connection limit is reached\"}";

/// What whoever speaks plainly on a TLS port is told.
const SPEAKS_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: 78\r\n\r\n{\"error\":\"tls\",\"message\":\"this port speaks TLS: the URL begins with https://\"}";
/// The first byte of a TLS handshake.
const TLS_HANDSHAKE: &[u8] = &[0x16];
/// How a client begins that knows that we speak HTTP/2: no method of HTTP/1.1 does.
const HTTP2_PREFACE: &[u8] = b"PRI ";
/// Streams of HTTP/2 on one connection.
const STREAMS_AT_ONCE: u32 = 1000;

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
    /// The connection that carries it: then it is one stream of HTTP/2 among others, and no connection of its own.
    carrier: Option<Rc<Peer>>,
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
            carrier: None,
            cut: Signal::default(),
        }
    }

    /// One stream of HTTP/2. The connection is counted once, and its socket tells how everybody on it left.
    fn on(carrier: &Rc<Self>) -> Self {
        Self {
            server: Rc::clone(&carrier.server),
            state: Cell::new(ConnectionState::Waiting),
            left: Cell::new(PeerLeft::No),
            timed_out: Cell::new(false),
            carrier: Some(Rc::clone(carrier)),
            cut: Signal::default(),
        }
    }

    /// Moves the connection to another state.
    pub(crate) fn become_state(&self, state: ConnectionState) {
        let before = self.state.replace(state);
        if self.carrier.is_none() {
            self.server.counters.leave(before);
            self.server.counters.enter(state);
        }
    }

    /// What it is doing.
    pub(crate) fn state(&self) -> ConnectionState {
        self.state.get()
    }

    /// How the client went away, if it did.
    pub(crate) fn left(&self) -> PeerLeft {
        self.carrier
            .as_ref()
            .map_or(self.left.get(), |carrier| carrier.left())
    }

    /// Whether the write timeout ended it.
    pub(crate) fn timed_out(&self) -> bool {
        self.carrier
            .as_ref()
            .map_or(self.timed_out.get(), |carrier| carrier.timed_out())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if self.carrier.is_some() {
            return;
        }
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
    let ended = speak(io, &server, &peer).await;
    if let Err(error) = ended {
        tracing::debug!(%error, peer_left = peer.left().name(), "connection");
    }
    server.leaks.connection_ended(peer.state(), peer.left());
    drop((slot, counted));
}

/// Why a connection ended otherwise than by agreement.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("plain text where TLS is spoken")]
    NotTls,
    #[error("no handshake in time")]
    NoHandshake,
    #[error("the handshake failed: {0}")]
    Handshake(io::Error),
}

/// Answers in what the peer speaks. What is not the plain path is boxed: a plain connection must not weigh more for it.
async fn speak(io: Io, server: &Rc<Server>, peer: &Rc<Peer>) -> Result<(), Broken> {
    match &server.tls {
        Some(tls) => Box::pin(speak_securely(tls, io, server, peer)).await,
        None if server.config.h2c => Box::pin(speak_either(io, server, peer)).await,
        None => http1(io, server, peer).await,
    }
}

async fn speak_either(io: Io, server: &Rc<Server>, peer: &Rc<Peer>) -> Result<(), Broken> {
    if begins_with(&io.socket, server, HTTP2_PREFACE).await {
        http2(io, server, peer).await
    } else {
        http1(io, server, peer).await
    }
}

async fn speak_securely(
    tls: &TlsAcceptor,
    io: Io,
    server: &Rc<Server>,
    peer: &Rc<Peer>,
) -> Result<(), Broken> {
    if !begins_with(&io.socket, server, TLS_HANDSHAKE).await {
        decline(io.socket, SPEAKS_TLS).await;
        return Err(Broken::NotTls);
    }
    let handshake = timeout(server.config.header_timeout.get(), tls.accept(io));
    let stream = tokio::select! {
        biased;
        () = server.cut.raised() => return Ok(()),
        done = handshake => done.map_err(|_| Broken::NoHandshake)?.map_err(Broken::Handshake)?,
    };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        Box::pin(http2(stream, server, peer)).await // a handshake's state is not kept for it
    } else {
        Box::pin(http1(stream, server, peer)).await
    }
}

/// Looks at the first bytes without taking them. A peer that says nothing in time is nobody we can talk to: whoever is asked next says so.
async fn begins_with(socket: &TcpStream, server: &Server, expected: &[u8]) -> bool {
    let mut seen = [0; 4];
    let look = async {
        loop {
            let length = socket.peek(&mut seen[..expected.len()]).await?;
            if length == expected.len() || length == 0 || seen[..length] != expected[..length] {
                return Ok::<_, io::Error>(&seen[..length] == expected);
            }
            // The rest is under way; an edge tells of it, and there is no other to wait for.
            tokio::task::yield_now().await;
        }
    };
    matches!(
        timeout(server.config.header_timeout.get(), look).await,
        Ok(Ok(true))
    )
}

async fn http1(
    io: impl AsyncRead + AsyncWrite + Unpin,
    server: &Rc<Server>,
    peer: &Rc<Peer>,
) -> Result<(), Broken> {
    let service = service_fn(|request| routes::answer(server, peer, request));
    let connection = http1::Builder::new()
        .half_close(false)
        .timer(TokioTimer::new())
        .header_read_timeout(server.config.header_timeout.get())
        .max_buf_size(usize::try_from(server.config.max_header_bytes.0).unwrap_or(usize::MAX))
        .serve_connection(TokioIo::new(io), service);
    let connection = pin!(connection);
    until_its_end(connection, server, peer, |it| it.graceful_shutdown()).await
}

async fn http2(
    io: impl AsyncRead + AsyncWrite + Unpin + 'static,
    server: &Rc<Server>,
    peer: &Rc<Peer>,
) -> Result<(), Broken> {
    peer.become_state(ConnectionState::Streaming);
    let service = service_fn(|request| {
        let stream = Rc::new(Peer::on(peer));
        let server = Rc::clone(server);
        async move { routes::answer(&server, &stream, request).await }
    });
    let connection = http2::Builder::new(OnThisThread)
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_AT_ONCE)
        // Clients that ask and leave at once are what we are for, not an attack.
        .max_pending_accept_reset_streams(STREAMS_AT_ONCE as usize)
        .max_header_list_size(u32::try_from(server.config.max_header_bytes.0).unwrap_or(u32::MAX))
        .serve_connection(TokioIo::new(io), service);
    let connection = pin!(connection);
    until_its_end(connection, server, peer, |it| it.graceful_shutdown()).await
}

/// Streams of HTTP/2 are tasks of the data thread, like everything else.
#[derive(Clone, Copy)]
struct OnThisThread;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for OnThisThread {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

/// Serves until the peer leaves, it is cut, or the drain is over.
async fn until_its_end<C: Future<Output = hyper::Result<()>>>(
    mut connection: Pin<&mut C>,
    server: &Server,
    peer: &Peer,
    shut_down: impl FnOnce(Pin<&mut C>),
) -> Result<(), Broken> {
    let ended = tokio::select! {
        biased;
        () = peer.cut.raised() => Ok(()),
        () = server.cut.raised() => Ok(()),
        ended = connection.as_mut() => ended,
        () = server.drain.raised() => {
            shut_down(connection.as_mut());
            tokio::select! {
                biased;
                () = peer.cut.raised() => Ok(()),
                () = server.cut.raised() => Ok(()),
                ended = connection.as_mut() => ended,
            }
        }
    };
    Ok(ended?)
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

async fn refuse(socket: TcpStream, peer: Rc<Peer>, slot: Slot, counted: crate::TaskCount) {
    decline(socket, REFUSAL).await;
    drop((peer, slot, counted));
}

/// Hears a request to its end, and says this instead of an answer.
async fn decline(mut socket: TcpStream, words: &[u8]) {
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
        socket.write_all(words).await?;
        socket.shutdown().await
    };
    if let Ok(Err(error)) = timeout(REFUSAL_PATIENCE, talk).await {
        tracing::debug!(%error, "refused");
    }
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
        for words in [REFUSAL, SPEAKS_TLS] {
            let text = std::str::from_utf8(words).expect("ASCII");
            let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
            let length = format!("content-length: {}", body.len());
            assert!(head.ends_with(&length), "{length}");
        }
    }
}
