#![doc = include_str!("../ARCHITECTURE.md")]

mod admin;
pub mod config;
pub mod defects;
mod instruments;
mod listener;
mod process;
mod routes;
mod secure;
mod sessions;
mod signal;
mod stream;
mod supervisor;

use std::{cell::Cell, io, net::TcpListener, rc::Rc, sync::Arc};

use tokio_rustls::TlsAcceptor;

use tokio::{
    runtime::{Builder, LocalOptions, LocalRuntime},
    time::{Instant, interval},
};

pub use instruments::Allocator;
pub use process::main_with;
pub use secure::Secure;

use admin::Admin;
use config::Config;
use defects::Leaks;
use instruments::{Counters, Settle, metrics::Metrics};
use sessions::{Limits, Sessions};
use signal::Signal;

/// The two sockets a server is given, both bound and listening, and what the public one speaks.
pub struct Listeners {
    /// For everybody: chat, feeds, history.
    pub public: TcpListener,
    /// For the harness: the instruments.
    pub admin: TcpListener,
    /// TLS on the public one.
    pub secure: Option<Secure>,
}

/// Serves until `shutdown`, then drains. The data path is this thread and nothing else; the instruments answer on a thread of their own.
///
/// # Errors
/// A runtime or thread could not be set up. What goes wrong later concerns one connection and is logged.
pub fn serve(
    listeners: Listeners,
    config: Config,
    allocator: Allocator,
    token: String,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let (counters, settle) = (Arc::<Counters>::default(), Arc::<Settle>::default());
    let own = admin::Own::new(
        allocator,
        &config,
        Arc::clone(&counters),
        Arc::clone(&settle),
    );
    let admin = Admin::start(listeners.admin, token, move || admin::Backend::Own(own))?;
    listeners.public.set_nonblocking(true)?;
    local_runtime()?.block_on(async {
        let server = Rc::new(Server::new(config, listeners.secure, counters, allocator));
        tokio::task::spawn_local(async move { settle.answer(allocator).await });
        tokio::task::spawn_local(sweep(Rc::clone(&server), allocator));
        let public = tokio::net::TcpListener::from_std(listeners.public)?;
        listener::run(public, &server, shutdown).await;
        Ok::<_, io::Error>(())
    })?;
    admin.stop();
    Ok(())
}

/// What every connection of the data thread shares.
pub(crate) struct Server {
    pub(crate) config: Config,
    /// What answers the handshakes of TLS; plain without it.
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) metrics: Metrics,
    pub(crate) sessions: Sessions,
    /// Nothing, unless somebody asked for it.
    pub(crate) leaks: Rc<Leaks>,
    /// No new work: streams say goodbye and end.
    pub(crate) drain: Signal,
    /// The drain took too long: everything ends now.
    pub(crate) cut: Signal,
    /// Above the memory watermark: new streams are refused.
    pub(crate) short_of_memory: Cell<bool>,
}

impl Server {
    fn new(
        config: Config,
        secure: Option<Secure>,
        counters: Arc<Counters>,
        allocator: Allocator,
    ) -> Self {
        let leaks = Rc::new(Leaks::plant(&config.defects, allocator));
        let bytes = |size: bytesize::ByteSize| usize::try_from(size.0).unwrap_or(usize::MAX);
        let limits = Limits {
            sessions: config.max_sessions as usize,
            ttl: config.session_ttl.get(),
            entries: config.history_entries as usize,
            history_bytes: bytes(config.history_bytes),
            replay_window: config.replay_window as usize,
            budget: bytes(config.session_budget),
        };
        Self {
            metrics: Metrics::new(Arc::clone(&counters), leaks.collectors()),
            sessions: Sessions::new(limits, Arc::clone(&counters), Rc::clone(&leaks)),
            leaks,
            config,
            tls: secure.map(|secure| secure.config.into()),
            counters,
            drain: Signal::default(),
            cut: Signal::default(),
            short_of_memory: Cell::new(false),
        }
    }

    /// Counts a task for as long as the answer lives.
    pub(crate) fn task(&self) -> TaskCount {
        self.counters.tasks.open();
        TaskCount(Arc::clone(&self.counters))
    }
}

/// One live task of a connection or a stream.
pub(crate) struct TaskCount(Arc<Counters>);

impl Drop for TaskCount {
    fn drop(&mut self) {
        self.0.tasks.end(0);
    }
}

/// The sweeper: forgets expired sessions, and watches memory.
async fn sweep(server: Rc<Server>, allocator: Allocator) {
    let mut tick = interval(server.config.sweep_every.get());
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        server.sessions.sweep(Instant::now());
        if let Some(watermark) = server.config.memory_watermark {
            watch_memory(&server, allocator, watermark.0);
        }
    }
}

/// Closes admission above the watermark, and gives back what can be given back: degrade, don't die.
fn watch_memory(server: &Server, allocator: Allocator, watermark: u64) {
    let resident = match process::resident_bytes() {
        Ok(bytes) => bytes,
        Err(error) => {
            return tracing::warn!(%error, "cannot read our own memory: admission stays as it is");
        }
    };
    let short = resident > watermark;
    if server.short_of_memory.replace(short) != short {
        tracing::warn!(resident, watermark, closed = short, "admission");
    }
    if short {
        server.sessions.evict(Instant::now());
        allocator.flush_thread();
        allocator.purge();
    }
}

fn local_runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
}
