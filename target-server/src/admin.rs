//! The second listener: numbers, heap profiles and the positive control, for the harness.
//!
//! In: JSON requests with a bearer token. Out: JSON, heap_v2 text, DHAT JSON. Start at [`answer`], the table.
//! It lives on its own thread with its own runtime: asking must not touch the path being measured. Counts are atomics; only
//! `settle` sends the data thread a word. Behind it is this process ([`Own`]) or, with `--workers`, the sum of several
//! ([`Workers`]).

use std::{
    cell::RefCell,
    convert::Infallible,
    io,
    net::TcpListener,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, timeout},
};

use crate::{
    Allocator,
    config::Config,
    defects::Defects,
    instruments::{Counters, Heap, InstrumentError, Settle, Windows, retain::Retained},
    supervisor::Workers,
};

/// Admin connections at once: a harness needs one or two.
const CONNECTIONS: usize = 64;
/// Bytes of a request body: all of them are a few numbers.
const MAX_BODY: usize = 4096;
/// The data thread answers within a few polls, or something is very wrong.
const SETTLE_PATIENCE: Duration = Duration::from_secs(5);
/// The most `retain` keeps at once.
const MAX_RETAIN_BYTES: u64 = 4 << 30;

/// The admin thread. It ends with the process, or by [`Admin::stop`].
pub(crate) struct Admin {
    stop: Arc<Notify>,
    thread: JoinHandle<()>,
}

impl Admin {
    /// Starts the thread; `backend` is made there.
    pub(crate) fn start(
        listener: TcpListener,
        token: String,
        backend: impl FnOnce() -> Backend + Send + 'static,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let runtime = || crate::local_runtime();
        let stop = Arc::<Notify>::default();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("admin".into())
            .spawn(move || {
                let served = runtime().and_then(|runtime| {
                    runtime.block_on(async {
                        let listener = tokio::net::TcpListener::from_std(listener)?;
                        tokio::select! {
                            () = stopped.notified() => Ok(()),
                            never = listen(listener, token, Rc::new(backend())) => match never {},
                        }
                    })
                });
                if let Err::<(), io::Error>(error) = served {
                    tracing::error!(%error, "the admin listener is gone");
                }
            })?;
        Ok(Self { stop, thread })
    }

    /// Stops answering and waits for the thread.
    pub(crate) fn stop(self) {
        self.stop.notify_one();
        if self.thread.join().is_err() {
            tracing::error!("the admin thread panicked");
        }
    }
}

/// Serves admin connections for ever, on the caller's runtime.
pub(crate) async fn listen(
    listener: tokio::net::TcpListener,
    token: String,
    backend: Rc<Backend>,
) -> Infallible {
    let token: Rc<str> = token.into();
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let slot = Arc::clone(&slots)
            .acquire_owned()
            .await
            .expect("never closed");
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "the admin listener cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (token, backend) = (Rc::clone(&token), Rc::clone(&backend));
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| reply(&token, &backend, request));
            if let Err(error) = http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service)
                .await
            {
                tracing::debug!(%error, "admin connection");
            }
            drop(slot);
        });
    }
}

/// What the admin listener speaks for.
pub(crate) enum Backend {
    /// This process.
    Own(Own),
    /// The sum of the workers.
    Workers(Workers),
}

/// Why an admin request was not answered with numbers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error("give the token: authorization: Bearer …")]
    Unauthorized,
    #[error("nothing lives at this path")]
    NotFound,
    #[error("this path takes {0}")]
    Method(&'static str),
    #[error("{0}")]
    Unprocessable(String),
    #[error(transparent)]
    Instrument(#[from] InstrumentError),
    #[error("the data thread did not answer within {} s", SETTLE_PATIENCE.as_secs())]
    Busy,
    #[error("worker {index} did not answer: {source}")]
    Worker {
        index: usize,
        #[source]
        source: reqwest::Error,
    },
    #[error(
        "ask the workers one by one: GET /v1/workers has their admin addresses, the token is the same"
    )]
    OneByOne,
}

impl AdminError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unprocessable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Instrument(InstrumentError::NotHere(_)) | Self::OneByOne => StatusCode::CONFLICT,
            Self::Instrument(_) | Self::Busy | Self::Worker { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }
}

/// What `POST /v1/retain` asks for.
#[derive(Clone, Copy, Debug, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retain {
    /// Bytes of one block.
    pub(crate) bytes: u64,
    /// How many blocks.
    pub(crate) count: u64,
}

/// What `POST /v1/heap/profile/start` asks for.
#[derive(Clone, Copy, Debug, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProfileStart {
    /// One sample in 2^this bytes.
    pub(crate) lg_sample: u8,
}

type Reply = Response<Full<Bytes>>;

async fn reply(
    token: &str,
    backend: &Backend,
    request: Request<Incoming>,
) -> Result<Reply, Infallible> {
    Ok(answer(token, backend, request)
        .await
        .unwrap_or_else(|error| {
            let mut reply = json_reply(&json!({ "error": error.to_string() }));
            *reply.status_mut() = error.status();
            match error {
                AdminError::Method(allowed) => {
                    _ = reply
                        .headers_mut()
                        .insert(header::ALLOW, HeaderValue::from_static(allowed))
                }
                AdminError::Unauthorized => {
                    _ = reply
                        .headers_mut()
                        .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
                }
                _ => {}
            }
            reply
        }))
}

async fn answer(
    token: &str,
    backend: &Backend,
    request: Request<Incoming>,
) -> Result<Reply, AdminError> {
    if !authorized(token, &request) {
        return Err(AdminError::Unauthorized);
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let allowed = match &*path {
        "/v1/status" | "/v1/heap/profile" | "/v1/workers" => "GET",
        "/v1/heap/settle"
        | "/v1/retain"
        | "/v1/release"
        | "/v1/heap/profile/start"
        | "/v1/heap/profile/reset"
        | "/v1/dhat/start"
        | "/v1/dhat/stop" => "POST",
        _ => return Err(AdminError::NotFound),
    };
    if method != allowed.parse::<Method>().expect("our own table") {
        return Err(AdminError::Method(allowed));
    }
    let body = read_body(request).await?;
    match &*path {
        "/v1/status" => backend.status().await.map(|status| json_reply(&status)),
        "/v1/workers" => backend.workers().await.map(|workers| json_reply(&workers)),
        "/v1/heap/settle" => {
            drop((method, path, body)); // what this request holds is not part of the reading
            backend.settle().await.map(|heap| json_reply(&heap))
        }
        "/v1/retain" => backend
            .retain(parse(&body)?)
            .await
            .map(|kept| json_reply(&kept)),
        "/v1/release" => backend.release().await.map(|kept| json_reply(&kept)),
        "/v1/heap/profile/start" => backend
            .start_profile(parse(&body)?)
            .await
            .map(|()| json_reply(&json!({ "active": true }))),
        "/v1/heap/profile/reset" => backend
            .reset_profile()
            .await
            .map(|()| json_reply(&json!({ "active": true }))),
        "/v1/heap/profile" => backend
            .own()?
            .allocator
            .dump_profile()
            .map(|text| typed("text/plain", text))
            .map_err(Into::into),
        "/v1/dhat/start" => backend
            .start_dhat()
            .map(|()| json_reply(&json!({ "active": true }))),
        "/v1/dhat/stop" => backend
            .stop_dhat()
            .map(|text| typed("application/json", text)),
        _ => Err(AdminError::NotFound),
    }
}

/// Compares in time that does not depend on where the first difference is.
fn authorized(token: &str, request: &Request<Incoming>) -> bool {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
        .unwrap_or_default();
    given.len() == token.len()
        && given
            .iter()
            .zip(token.as_bytes())
            .fold(0, |seen, (a, b)| seen | (a ^ b))
            == 0
}

async fn read_body(request: Request<Incoming>) -> Result<Bytes, AdminError> {
    let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
    body.map(|body| body.to_bytes()).map_err(|_| {
        AdminError::Unprocessable(format!(
            "the body broke off or is larger than {MAX_BODY} bytes"
        ))
    })
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, AdminError> {
    serde_json::from_slice(body).map_err(|error| AdminError::Unprocessable(error.to_string()))
}

fn json_reply(value: &Value) -> Reply {
    typed("application/json", value.to_string().into_bytes())
}

fn typed(media_type: &'static str, body: Vec<u8>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    reply
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    reply
}

impl Backend {
    async fn status(&self) -> Result<Value, AdminError> {
        match self {
            Self::Own(own) => Ok(own.status()),
            Self::Workers(workers) => workers.status().await,
        }
    }

    async fn workers(&self) -> Result<Value, AdminError> {
        match self {
            Self::Own(own) => Ok(
                json!([{ "index": 0, "pid": std::process::id(), "restarts": 0, "status": own.status() }]),
            ),
            Self::Workers(workers) => Ok(workers.list().await),
        }
    }

    async fn settle(&self) -> Result<Value, AdminError> {
        match self {
            Self::Own(own) => own
                .settle()
                .await
                .map(|heap| heap.map_or(Value::Null, |heap| json!(heap))),
            Self::Workers(workers) => workers.sum("/v1/heap/settle", &json!({})).await,
        }
    }

    async fn retain(&self, ask: Retain) -> Result<Value, AdminError> {
        match self {
            Self::Own(own) => own.retain(ask),
            Self::Workers(workers) => workers.sum("/v1/retain", &json!(ask)).await,
        }
    }

    async fn release(&self) -> Result<Value, AdminError> {
        match self {
            Self::Own(own) => Ok(own.release()),
            Self::Workers(workers) => workers.sum("/v1/release", &json!({})).await,
        }
    }

    async fn start_profile(&self, ask: ProfileStart) -> Result<(), AdminError> {
        match self {
            Self::Own(own) => own.start_profile(ask.lg_sample.min(40)).await,
            Self::Workers(workers) => workers
                .sum("/v1/heap/profile/start", &json!(ask))
                .await
                .map(drop),
        }
    }

    async fn reset_profile(&self) -> Result<(), AdminError> {
        match self {
            Self::Own(own) => Ok(own.allocator.reset_profile()?),
            Self::Workers(workers) => workers
                .sum("/v1/heap/profile/reset", &json!({}))
                .await
                .map(drop),
        }
    }

    fn start_dhat(&self) -> Result<(), AdminError> {
        let own = self.own()?;
        Ok(own.windows.start(own.allocator)?)
    }

    fn stop_dhat(&self) -> Result<Vec<u8>, AdminError> {
        let own = self.own()?;
        Ok(own.windows.stop(own.allocator)?)
    }

    /// This process, for what cannot be added up.
    fn own(&self) -> Result<&Own, AdminError> {
        match self {
            Self::Own(own) => Ok(own),
            Self::Workers(_) => Err(AdminError::OneByOne),
        }
    }
}

/// The instruments of this process.
pub(crate) struct Own {
    allocator: Allocator,
    counters: Arc<Counters>,
    settle: Arc<Settle>,
    defects: Defects,
    windows: Windows,
    retained: RefCell<Retained>,
    started: Instant,
}

impl Own {
    pub(crate) fn new(
        allocator: Allocator,
        config: &Config,
        counters: Arc<Counters>,
        settle: Arc<Settle>,
    ) -> Self {
        Self {
            allocator,
            counters,
            settle,
            defects: config.defects.clone(),
            windows: Windows::default(),
            retained: RefCell::default(),
            started: Instant::now(),
        }
    }

    fn status(&self) -> Value {
        let mut status = json!({
            "version": 1,
            "pid": std::process::id(),
            "workers": 1,
            "uptime_s": self.started.elapsed().as_secs_f64(),
            "allocator": self.allocator,
            "defects": self.defects.report(),
            "heap": self.allocator.read(&self.windows),
        });
        if let (Some(status), Value::Object(counts)) =
            (status.as_object_mut(), self.counters.to_json())
        {
            status.extend(counts);
        }
        status
    }

    /// Starts sampling at a new rate, on both threads at once.
    async fn start_profile(&self, lg_sample: u8) -> Result<(), AdminError> {
        self.allocator.start_profile(lg_sample)?;
        self.allocator.resample_thread();
        timeout(SETTLE_PATIENCE, self.settle.ask_to_resample())
            .await
            .map_err(|_| AdminError::Busy)
    }

    /// Brings the numbers to rest and reads them: both threads' caches are given back, unused pages too.
    async fn settle(&self) -> Result<Option<Heap>, AdminError> {
        timeout(SETTLE_PATIENCE, self.settle.ask())
            .await
            .map_err(|_| AdminError::Busy)?;
        self.allocator.flush_thread();
        self.allocator.purge();
        Ok(self.allocator.read(&self.windows))
    }

    fn retain(&self, ask: Retain) -> Result<Value, AdminError> {
        let block = usize::try_from(ask.bytes)
            .ok()
            .filter(|_| ask.bytes.saturating_mul(ask.count) <= MAX_RETAIN_BYTES);
        let Some(block) = block else {
            return Err(AdminError::Unprocessable(format!(
                "at most {MAX_RETAIN_BYTES} bytes at once"
            )));
        };
        for _ in 0..ask.count {
            self.retained.borrow_mut().keep(block);
        }
        let usable = self.allocator.usable(Retained::block_bytes(block)) as u64;
        self.counters.retained_blocks.fetch_add(ask.count, Relaxed);
        self.counters
            .retained_bytes
            .fetch_add(ask.count * usable, Relaxed);
        Ok(json!({ "blocks": ask.count, "bytes": ask.count * usable }))
    }

    fn release(&self) -> Value {
        self.retained.borrow_mut().release();
        let (blocks, bytes) = (
            self.counters.retained_blocks.swap(0, Relaxed),
            self.counters.retained_bytes.swap(0, Relaxed),
        );
        json!({ "blocks": blocks, "bytes": bytes })
    }
}
