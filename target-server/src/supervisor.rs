//! `--workers N`: one process per worker on one shared port, a parent that watches them and adds up their numbers.
//!
//! In: the same command line. Out: worker processes, and an admin listener that answers for all of them ([`Workers`]).
//! A worker that dies is logged and replaced after a growing pause; its counts die with it. Sessions live in one worker each:
//! the kernel spreads connections, so a client that needs its session keeps its connection, or is adopted anew.

use std::{
    cell::RefCell, io, net::SocketAddr, path::PathBuf, process::ExitStatus, rc::Rc, time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::{
    process::{Child, Command},
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    Allocator,
    admin::{AdminError, Backend, listen},
    config::Config,
    process::{Ready, StartError, Token, announce, bind, listen_alone, terminated},
};

/// How long a worker may take until both its listeners accept.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// How often we look whether it does.
const START_POLL: Duration = Duration::from_millis(10);
/// After the drain timeout, how much longer until a worker is killed.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// How long an aggregated request waits for one worker.
const ASK_PATIENCE: Duration = Duration::from_secs(10);

/// One worker as the supervisor knows it.
#[derive(Clone, Debug, Default)]
struct Worker {
    ready: Option<Ready>,
    restarts: u32,
}

type Table = Rc<RefCell<Vec<Worker>>>;

/// What every worker is started with.
struct Plan {
    public: SocketAddr,
    folder: PathBuf,
    token: String,
    drain_timeout: Duration,
}

/// Runs the workers until a signal, then drains them.
pub(crate) fn run(config: &Config, allocator: Allocator, token: &Token) -> Result<(), StartError> {
    let reserved = bind(config.listen, true).map_err(|source| StartError::Listen {
        address: config.listen,
        source,
    })?;
    let public = reserved
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::other("not an IP socket"))?;
    let admin = listen_alone(config.admin_listen)?;
    admin.set_nonblocking(true)?;
    let folder = crate::instruments::private_folder()?;
    let plan = Rc::new(Plan {
        public,
        folder: folder.clone(),
        token: token.text.clone(),
        drain_timeout: config.drain_timeout.get(),
    });
    let served = crate::local_runtime()?.block_on(supervise(config, allocator, token, admin, plan));
    std::fs::remove_dir_all(folder)?;
    drop(reserved);
    served
}

async fn supervise(
    config: &Config,
    allocator: Allocator,
    token: &Token,
    admin: std::net::TcpListener,
    plan: Rc<Plan>,
) -> Result<(), StartError> {
    let table: Table = Rc::new(RefCell::new(vec![Worker::default(); config.workers.into()]));
    let (stop, stopping) = watch::channel(false);
    let keepers: Vec<_> = (0..usize::from(config.workers))
        .map(|index| {
            tokio::task::spawn_local(keep(
                index,
                Rc::clone(&plan),
                Rc::clone(&table),
                stopping.clone(),
            ))
        })
        .collect();
    let ready = Ready {
        pid: std::process::id(),
        public: plan.public,
        admin: admin.local_addr()?,
        token_file: token.file.clone(),
        certificate: None,
    };
    let workers = Workers::new(Rc::clone(&table), token.text.clone(), allocator)?;
    let admin = tokio::net::TcpListener::from_std(admin)?;
    let lead = async {
        while table.borrow().iter().any(|worker| worker.ready.is_none()) {
            sleep(START_POLL).await;
        }
        announce(config, &ready)?;
        terminated().await;
        Ok(())
    };
    let early = tokio::select! {
        led = lead => led,
        () = terminated() => Ok(()),
        never = listen(admin, token.text.clone(), Rc::new(Backend::Workers(workers))) => match never {},
    };
    stop.send_replace(true);
    for keeper in keepers {
        if let Err(error) = keeper.await {
            tracing::error!(%error, "a worker's keeper died");
        }
    }
    early
}

/// Keeps one worker alive until told to stop; then drains it.
async fn keep(index: usize, plan: Rc<Plan>, table: Table, mut stopping: watch::Receiver<bool>) {
    loop {
        let outcome = life(index, &plan, &table, &mut stopping).await;
        let mut pause = Duration::ZERO;
        if let Some(worker) = table.borrow_mut().get_mut(index) {
            worker.ready = None;
            if !*stopping.borrow() {
                worker.restarts += 1;
                pause = Duration::from_millis(100 << worker.restarts.min(8));
            }
        }
        match outcome {
            Ok(status) if *stopping.borrow() => {
                return tracing::info!(index, %status, "worker drained");
            }
            Ok(status) => {
                tracing::error!(index, %status, pause_ms = pause.as_millis(), "worker died")
            }
            Err(error) => {
                tracing::error!(index, %error, pause_ms = pause.as_millis(), "worker failed")
            }
        }
        tokio::select! {
            () = sleep(pause) => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
    }
}

/// One life of a worker: started, ready, gone.
async fn life(
    index: usize,
    plan: &Plan,
    table: &Table,
    stopping: &mut watch::Receiver<bool>,
) -> io::Result<ExitStatus> {
    let ready_file = plan.folder.join(format!("{index}.ready"));
    if let Err(error) = std::fs::remove_file(&ready_file)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut child = start(plan, &ready_file)?;
    let until_ready = async {
        loop {
            if let Ok(text) = std::fs::read(&ready_file) {
                return serde_json::from_slice::<Ready>(&text).map_err(io::Error::from);
            }
            sleep(START_POLL).await;
        }
    };
    tokio::select! {
        status = child.wait() => return status,
        ready = timeout(START_PATIENCE, until_ready) => {
            let ready = ready.map_err(|_| io::Error::other("not ready in time"))??;
            if let Some(worker) = table.borrow_mut().get_mut(index) {
                worker.ready = Some(ready);
            }
        }
        _ = stopping.wait_for(|stop| *stop) => return stop(child, plan).await,
    }
    tokio::select! {
        status = child.wait() => status,
        _ = stopping.wait_for(|stop| *stop) => stop(child, plan).await,
    }
}

/// The same program and arguments; what differs comes last and wins.
fn start(plan: &Plan, ready_file: &std::path::Path) -> io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .args([
            "--workers",
            "1",
            "--admin-listen",
            "127.0.0.1:0",
            "--listen",
            &plan.public.to_string(),
        ])
        .args(["--worker-of", &std::process::id().to_string()])
        .arg("--ready-file")
        .arg(ready_file)
        .env("TARGET_ADMIN_TOKEN", &plan.token)
        .kill_on_drop(true)
        .spawn()
}

/// Asks for a drain; a worker that does not end by then is killed.
async fn stop(mut child: Child, plan: &Plan) -> io::Result<ExitStatus> {
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
        kill_process(pid, Signal::TERM)?;
    }
    match timeout(plan.drain_timeout + STOP_GRACE, child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            child.start_kill()?;
            child.wait().await
        }
    }
}

/// The admin backend of the parent: asks every worker and adds up.
pub(crate) struct Workers {
    table: Table,
    client: reqwest::Client,
    token: String,
    allocator: Allocator,
    started: tokio::time::Instant,
}

impl Workers {
    fn new(table: Table, token: String, allocator: Allocator) -> io::Result<Self> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(ASK_PATIENCE)
            .build()
            .map_err(io::Error::other)?;
        Ok(Self {
            table,
            client,
            token,
            allocator,
            started: tokio::time::Instant::now(),
        })
    }

    /// The workers' numbers added up, under the parent's name.
    pub(crate) async fn status(&self) -> Result<Value, AdminError> {
        let mut sum = Value::Null;
        for (index, worker) in self.live() {
            let status = self.ask(index, worker.admin, "/v1/status", None).await?;
            add(&mut sum, &status);
        }
        let workers = self.table.borrow().len();
        if let Some(sum) = sum.as_object_mut() {
            sum.insert("version".into(), 1.into());
            sum.insert("pid".into(), std::process::id().into());
            sum.insert("workers".into(), workers.into());
            sum.insert(
                "uptime_s".into(),
                self.started.elapsed().as_secs_f64().into(),
            );
            sum.insert("allocator".into(), json!(self.allocator));
        }
        Ok(sum)
    }

    /// Each worker with its own numbers; one that does not answer has `null`.
    pub(crate) async fn list(&self) -> Value {
        let table = self.table.borrow().clone();
        let mut list = Vec::with_capacity(table.len());
        for (index, worker) in table.into_iter().enumerate() {
            let status = match &worker.ready {
                Some(ready) => self
                    .ask(index, ready.admin, "/v1/status", None)
                    .await
                    .unwrap_or(Value::Null),
                None => Value::Null,
            };
            list.push(json!({
                "index": index,
                "pid": worker.ready.as_ref().map(|ready| ready.pid),
                "admin": worker.ready.as_ref().map(|ready| ready.admin),
                "restarts": worker.restarts,
                "status": status,
            }));
        }
        list.into()
    }

    /// Posts `body` to every worker and adds up their answers.
    pub(crate) async fn sum(&self, path: &str, body: &Value) -> Result<Value, AdminError> {
        let mut sum = Value::Null;
        for (index, worker) in self.live() {
            let answer = self.ask(index, worker.admin, path, Some(body)).await?;
            add(&mut sum, &answer);
        }
        Ok(sum)
    }

    fn live(&self) -> Vec<(usize, Ready)> {
        self.table
            .borrow()
            .iter()
            .enumerate()
            .filter_map(|(index, worker)| Some((index, worker.ready.clone()?)))
            .collect()
    }

    async fn ask(
        &self,
        index: usize,
        admin: SocketAddr,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, AdminError> {
        let url = format!("http://{admin}{path}");
        let request = match body {
            Some(body) => self.client.post(url).json(body),
            None => self.client.get(url),
        };
        let answer = async {
            request
                .bearer_auth(&self.token)
                .send()
                .await?
                .error_for_status()?
                .json()
                .await
        };
        answer
            .await
            .map_err(|source| AdminError::Worker { index, source })
    }
}

/// Adds numbers at the same place; what is not a number keeps its first value. Lists are added item by item: all workers
/// have the same ones in the same order.
fn add(sum: &mut Value, other: &Value) {
    match (sum, other) {
        (sum @ Value::Null, other) => *sum = other.clone(),
        (Value::Object(sum), Value::Object(other)) => {
            for (key, value) in other {
                if key.ends_with("_per_unit") {
                    let known = sum.entry(key).or_insert(Value::Null);
                    if known.is_null() {
                        *known = value.clone(); // a rate is the same everywhere, once it is known
                    }
                } else {
                    add(sum.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (Value::Array(sum), Value::Array(other)) => sum
            .iter_mut()
            .zip(other)
            .for_each(|(sum, other)| add(sum, other)),
        (Value::Number(sum), Value::Number(other)) => {
            if let (Some(a), Some(b)) = (sum.as_u64(), other.as_u64()) {
                *sum = (a + b).into();
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_add_up_at_every_depth_and_words_and_rates_stay() {
        let mut sum = Value::Null;
        for worker in [
            json!({ "allocator": "jemalloc", "streams": { "live": 2 }, "heap": null, "defects": [{ "bytes_per_unit": null, "units_total": 1 }] }),
            json!({ "allocator": "jemalloc", "streams": { "live": 3 }, "heap": null, "defects": [{ "bytes_per_unit": 9, "units_total": 4 }] }),
        ] {
            add(&mut sum, &worker);
        }
        assert_eq!(
            sum,
            json!({ "allocator": "jemalloc", "streams": { "live": 5 }, "heap": null, "defects": [{ "bytes_per_unit": 9, "units_total": 5 }] })
        );
    }
}
