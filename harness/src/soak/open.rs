//! Opening a run: the folder, the target, the observer and the load, in the order in which each can find the last.

use std::{
    collections::BTreeMap,
    env, fs,
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::{Duration, SystemTime},
};

use sha2::{Digest as _, Sha256};

use super::{
    Setup, SoakError, Stages, Stop, WorkerReport,
    crew::{Crew, Need},
    url::{Carriage, Url},
};
use crate::{
    drive::{DriveConfig, Limits, Transport},
    isolate::{self, Isolated},
    observe::{
        Admin, Count, MetricsConfig, NODE_OPTIONS, ObserveConfig, Observer, PythonDoor,
        RuntimeConfig,
    },
    plan::{Segment, SessionUse},
    profile::{Kind, MetricsSpec, OwnLimit, Pace, Profile, RuntimeSpec, TargetSpec},
    record::{Manifest, PlanFacts, SoakFacts, StepsFacts, TargetFacts, files},
    target::{Launch, Readiness, Ready, Target, TargetError},
    timeline::{Clock, PortBook, Tally},
};

/// Samples that may wait for the conductor. It looks up every 20 ms; more than this means that the disk stands still.
const QUEUE: usize = 256;

/// `SO_RCVBUF` of clients that do not read, bytes: a stalled reader should reach the server after tens of kB, not after 4 MB.
const STALLED_BUFFER: u32 = 4096;

/// Bytes a second that a slow client reads.
const SLOW: u32 = 1024;

/// Starts everything.
pub(super) fn stages(
    setup: &Setup,
    stop: &Stop,
    clock: &Clock,
    manifest: &mut Manifest,
) -> Result<Stages, SoakError> {
    let spec = &setup.profile.target;
    let out = setup.out.canonicalize();
    let run = Placeholder {
        run: out.unwrap_or_else(|_| setup.out.clone()),
        profile: setup.profile.folder.clone(),
    };
    let written = spec
        .url
        .as_ref()
        .map(|url| Url::parse(url.get_ref()))
        .transpose()?;
    let known = written.as_ref().map(Url::address).transpose()?;
    let door = door(spec)?;
    let (target, ready) = reach(spec, &run, door.as_ref(), known, stop, clock)?;
    let addr = known.or(ready.addr).ok_or_else(nowhere)?;
    let url = written.unwrap_or_else(|| Url {
        secure: spec.tls.is_some(),
        authority: addr.to_string(),
        path: "/".into(),
    });
    let transport = url.transport(&carriage(spec, &run));
    let steps = setup.plan.steps.iter();
    transport
        .plays(steps.flat_map(|step| &step.batches))
        .map_err(SoakError::Transport)?;
    manifest.target.url = format!("{}://{addr}", transport.scheme());
    manifest.target.notes = transport.notes();
    manifest.target.notes.extend(target.confinement());
    manifest.target.pid = target.pid();
    let ports = Arc::new(PortBook::default());
    let tally = Arc::new(Tally::default());
    let (sender, samples) = mpsc::sync_channel(QUEUE);
    let observe = ObserveConfig {
        pid: target.pid(),
        addr,
        admin: admin(spec, &run, &ready)?,
        metrics: spec
            .metrics
            .as_ref()
            .map(|metrics| metrics_config(metrics.get_ref(), addr)),
        runtime: runtime(spec, door),
        every: setup.profile.sample_every.get(),
    };
    let observer = Observer::start(observe, *clock, Arc::clone(&ports), sender)?;
    let crew = Crew::start(
        need(setup),
        drive(setup, addr, &url, transport),
        *clock,
        Arc::clone(&tally),
        ports,
    )?;
    manifest.host["workers"] = crew
        .workers()
        .iter()
        .map(|worker| serde_json::json!(WorkerReport::from(worker)))
        .collect();
    Ok(Stages {
        target,
        observer,
        crew,
        tally,
        samples,
    })
}

/// A turn borrows a session of its own worker, so every worker needs a standing stream.
fn need(setup: &Setup) -> Need {
    let plan = &setup.plan;
    let mut exchanges = plan.scripts.iter().flat_map(|script| &script.exchanges);
    let borrows =
        exchanges.any(|exchange| matches!(exchange.session, SessionUse::Uses { pool: Some(_) }));
    Need {
        workers: setup
            .profile
            .workers
            .as_ref()
            .map(|workers| *workers.get_ref()),
        most_open: plan.most_open(),
        at_most: NonZeroU32::new(plan.standing).filter(|_| borrows),
    }
}

fn nowhere() -> SoakError {
    SoakError::Address("nothing says where the target listens: give --url, `url` in `[target]`, or a `ready-file` that the target writes".into())
}

/// What the profile says of TLS and HTTP/2.
fn carriage(spec: &TargetSpec, run: &Placeholder) -> Carriage {
    let tls = spec.tls.as_ref().map(|tls| tls.get_ref());
    Carriage {
        ca: tls
            .and_then(|tls| tls.ca.as_ref())
            .map(|file| run.fill(file).into()),
        insecure: tls.is_some_and(|tls| tls.insecure),
        streams_per_connection: spec.h2.map(|h2| h2.streams_per_connection),
    }
}

fn drive(setup: &Setup, addr: SocketAddr, url: &Url, transport: Transport) -> DriveConfig {
    DriveConfig {
        addr,
        host: url.authority.clone(),
        scripts: setup.plan.scripts.clone(),
        pools: setup.plan.pools,
        seed: setup.plan.seed,
        limits: Limits::default(),
        stall_receive_buffer: Some(STALLED_BUFFER),
        slow_bytes_per_second: SLOW,
        transport,
        segment: Segment::WHOLE,
        sources: vec![],
    }
}

/// `{run}` and `{profile}` in a profile's strings.
struct Placeholder {
    run: PathBuf,
    profile: PathBuf,
}

impl Placeholder {
    fn fill(&self, text: &str) -> String {
        text.replace("{run}", &self.run.to_string_lossy())
            .replace("{profile}", &self.profile.to_string_lossy())
    }
}

/// Where Python processes of the target come to. Whether a target that we start is Python is seen when they come: to others it is nothing.
fn door(spec: &TargetSpec) -> Result<Option<PythonDoor>, SoakError> {
    let wanted = match spec.runtime {
        RuntimeSpec::Auto => spec.command.is_some(),
        RuntimeSpec::Python => true,
        RuntimeSpec::Node | RuntimeSpec::Java | RuntimeSpec::None => false,
    };
    if !wanted {
        return Ok(None);
    }
    PythonDoor::open().map(Some).map_err(SoakError::Door)
}

fn metrics_config(spec: &MetricsSpec, addr: SocketAddr) -> MetricsConfig {
    let url = match spec.url.strip_prefix('/') {
        Some(path) => format!("http://{addr}/{path}"),
        None => spec.url.clone(),
    };
    let wanted = [
        (Count::Connections, &spec.connections),
        (Count::ConnectionsOpened, &spec.connections_opened),
        (Count::Streams, &spec.streams),
        (Count::Sessions, &spec.sessions),
        (Count::SessionsCreated, &spec.sessions_created),
        (Count::SessionsRemoved, &spec.sessions_removed),
        (Count::Events, &spec.events),
        (Count::Tasks, &spec.tasks),
    ];
    let wanted = wanted
        .into_iter()
        .filter_map(|(count, selector)| Some((count, selector.clone()?)))
        .collect();
    MetricsConfig { url, wanted }
}

fn runtime(spec: &TargetSpec, door: Option<PythonDoor>) -> RuntimeConfig {
    match (spec.runtime, door) {
        (RuntimeSpec::Python, Some(door)) => RuntimeConfig::Python {
            door,
            attaches: spec.command.is_none(),
        },
        (RuntimeSpec::Auto, door) => RuntimeConfig::Auto(door),
        (RuntimeSpec::Node, _) => RuntimeConfig::Node,
        (RuntimeSpec::Java, _) => RuntimeConfig::Java,
        (RuntimeSpec::None | RuntimeSpec::Python, _) => RuntimeConfig::None,
    }
}

/// Starts the target, or finds the one that runs.
fn reach(
    spec: &TargetSpec,
    run: &Placeholder,
    door: Option<&PythonDoor>,
    known: Option<SocketAddr>,
    stop: &Stop,
    clock: &Clock,
) -> Result<(Target, Ready), SoakError> {
    if known.is_none() && spec.ready_file.is_none() {
        return Err(nowhere());
    }
    let mut target = match (&spec.command, spec.pid, known) {
        (Some(command), _, _) => Target::launch(&launch(spec, command.get_ref(), run, door))?,
        (None, Some(pid), Some(addr)) => Target::attach(pid, addr)?,
        (None, None, Some(addr)) => Target::attach_by_addr(addr)?.unwrap_or_else(Target::remote),
        (None, _, None) => {
            return Err(nowhere());
        }
    };
    let readiness = Readiness {
        addr: known,
        ready_file: spec.ready_file.as_ref().map(|file| run.fill(file).into()),
    };
    let ready = wait(
        &mut target,
        &readiness,
        spec.ready_within.get(),
        stop,
        clock,
    )?;
    Ok((target, ready))
}

/// Waits in slices, so that a request to stop is heeded in between.
fn wait(
    target: &mut Target,
    readiness: &Readiness,
    within: Duration,
    stop: &Stop,
    clock: &Clock,
) -> Result<Ready, SoakError> {
    let slice = Duration::from_millis(200).min(within);
    let end = clock.now() + within;
    loop {
        match target.wait_ready(readiness, slice, clock) {
            Err(TargetError::NotReady { .. }) if !stop.asked() && clock.now() < end => {}
            Err(TargetError::NotReady {
                missing,
                last_lines,
                ..
            }) => {
                return Err(TargetError::NotReady {
                    waited: humantime::format_duration(within),
                    missing,
                    last_lines,
                }
                .into());
            }
            other => return Ok(other?),
        }
    }
}

fn launch(
    spec: &TargetSpec,
    command: &[String],
    run: &Placeholder,
    door: Option<&PythonDoor>,
) -> Launch {
    let mut command: Vec<String> = command.iter().map(|word| run.fill(word)).collect();
    command[0] = beside_us(&command[0]);
    Launch {
        command,
        env: environment(spec, run, door),
        dir: spec.dir.as_ref().map(|dir| run.fill(dir).into()),
        log: run.run.join(files::TARGET_LOG),
        log_limit: spec.log_limit,
        memory_limit: spec.memory_limit,
        huge_pages: spec.huge_pages,
    }
}

/// What the profile adds to our own environment, and what the target's runtime needs to be asked.
fn environment(
    spec: &TargetSpec,
    run: &Placeholder,
    door: Option<&PythonDoor>,
) -> Vec<(String, String)> {
    let written = spec.env.iter();
    let mut all: BTreeMap<String, String> = written
        .map(|(name, value)| (name.clone(), run.fill(value)))
        .collect();
    let known = |all: &BTreeMap<String, String>, name: &str| {
        all.get(name).cloned().or_else(|| env::var(name).ok())
    };
    if let Some(door) = door {
        let path = known(&all, "PYTHONPATH");
        all.extend(door.environment(path.as_deref()));
    }
    if matches!(spec.runtime, RuntimeSpec::Auto | RuntimeSpec::Node) {
        let (name, option) = NODE_OPTIONS;
        let before = known(&all, name).unwrap_or_default();
        if !before.contains("--inspect") {
            all.insert(name.into(), format!("{before} {option}").trim().into());
        }
    }
    all.into_iter().collect()
}

/// A bare program name that lies beside our own binary: the reference server.
fn beside_us(program: &str) -> String {
    let beside = env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.join(program)));
    match beside.filter(|path| !program.contains('/') && path.is_file()) {
        Some(path) => path.to_string_lossy().into_owned(),
        None => program.into(),
    }
}

fn admin(spec: &TargetSpec, run: &Placeholder, ready: &Ready) -> Result<Option<Admin>, SoakError> {
    let said = ready.admin.clone().zip(ready.token_file.clone());
    let written = spec.admin.as_ref().map(|admin| {
        (
            admin.url.clone(),
            PathBuf::from(run.fill(&admin.token_file)),
        )
    });
    let Some((url, file)) = written.or(said) else {
        return Ok(None);
    };
    let token = fs::read_to_string(&file).map_err(|error| {
        SoakError::Address(format!(
            "cannot read the admin token in {}: {error}",
            file.display()
        ))
    })?;
    let url = if url.starts_with("http://") {
        url
    } else {
        format!("http://{url}")
    };
    Ok(Some(Admin {
        url,
        token: token.trim().into(),
    }))
}

pub(super) fn manifest(setup: &Setup, clock: &Clock) -> Manifest {
    let profile = &setup.profile;
    Manifest {
        layout: crate::record::LAYOUT,
        version: env!("CARGO_PKG_VERSION").into(),
        command: setup.command.clone(),
        profile: profile.name.clone(),
        profile_sha256: Sha256::digest(profile.text.as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        kind: profile.run.name().into(),
        seed: setup.plan.seed,
        started: rfc3339(clock.wall_start()),
        plan: PlanFacts {
            factors: setup
                .plan
                .factors
                .iter()
                .map(|factor| factor.name().into())
                .collect(),
            priming: setup.plan.priming,
            cycles: setup.plan.cycles,
            standing: setup.plan.standing,
            drain_within_s: profile.run.drain_within().as_secs_f64(),
            control_bytes: setup.plan.control_bytes,
            tolerances: profile.tolerances,
            longest_s: setup.longest().as_secs_f64(),
            soak: soak_facts(profile),
            steps: steps_facts(profile),
            forecast: profile.forecast.clone(),
            adaptive: setup.adaptive.clone(),
        },
        host: host(setup.isolated),
        target: TargetFacts {
            argv: profile
                .target
                .command
                .as_ref()
                .map(|command| command.get_ref().clone())
                .unwrap_or_default(),
            ..TargetFacts::default()
        },
        ended: None,
    }
}

fn soak_facts(profile: &Profile) -> Option<SoakFacts> {
    let Kind::Soak(soak) = &profile.run else {
        return None;
    };
    Some(SoakFacts {
        drained: soak.is_drained(&profile.target),
        cache_units: soak.cache_units,
    })
}

fn steps_facts(profile: &Profile) -> Option<StepsFacts> {
    let Kind::Steps(steps) = &profile.run else {
        return None;
    };
    let (think_s, every_s) = match steps.pace {
        Pace::Closed { think } => {
            let think = think.map_or(0.0, |think| think.get().as_secs_f64());
            (Some(think), None)
        }
        Pace::Open { every } => (None, Some(every.get().as_secs_f64())),
    };
    Some(StepsFacts {
        users: steps.users.get_ref().clone(),
        hold_s: steps.hold.get().as_secs_f64(),
        rest_s: steps.rest.get().as_secs_f64(),
        think_s,
        every_s,
        stops: (&steps.stop).into(),
        limit_bytes: match steps.limit {
            OwnLimit::Size(size) => Some(size.0),
            OwnLimit::Cgroup => None,
        },
    })
}

/// Wall time for a person and for other machines.
pub fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// The machine, as far as a reader needs it to compare two runs.
fn host(isolated: Option<Isolated>) -> serde_json::Value {
    let read = |path: &str| {
        fs::read_to_string(Path::new(path))
            .map(|text| text.trim().to_owned())
            .ok()
    };
    serde_json::json!({
        "kernel": read("/proc/sys/kernel/osrelease"),
        "huge_pages": read("/sys/kernel/mm/transparent_hugepage/enabled"),
        "cores": std::thread::available_parallelism().map(usize::from).ok(),
        "page_bytes": rustix::param::page_size(),
        "tcp_wmem": isolate::send_buffer(),
        "isolated": isolated.map(|isolated| isolated.to_string()),
    })
}
