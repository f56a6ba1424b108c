//! `sse-soak run`: run a profile, record it, judge the recording.

use std::{
    cell::RefCell,
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use toml::Spanned;

use super::{
    Exit,
    adaptive::{self, AdaptiveArguments, Course},
    carriage::{CarriageArguments, warn},
    exit::Usage,
    isolate, look, paint,
    prepare::prepare,
    print, profile_path,
    progress::{ProgressLine, Show},
    refuse_remote,
    report::Format,
    say, signals,
};
use crate::{
    diagnose, plan,
    profile::{Instrument, Profile, RuntimeSpec},
    record::{Recording, files},
    report,
    soak::{self, EndReason, Setup, SoakError, Stop},
};

/// Programs of the reference server, which take `--defect`.
const REFERENCE: [&str; 2] = ["target-jemalloc", "target-dhat"];

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// A profile: a path, or the name of one in soak-profiles/.
    #[arg(value_name = "PROFILE")]
    plan: PathBuf,
    /// Where the target listens, instead of the profile's: http://HOST:PORT, or https://…
    #[arg(long)]
    url: Option<String>,
    #[command(flatten)]
    carriage: CarriageArguments,
    /// A process that runs already, instead of the profile's command. Needs the URL.
    #[arg(long, conflicts_with = "command")]
    pid: Option<u32>,
    /// The folder in which the run directory is made.
    #[arg(long, default_value = "results", value_name = "DIR")]
    out: PathBuf,
    /// How the target's runtime is asked to tidy up before a reading, instead of the profile's way.
    #[arg(long, value_enum)]
    runtime: Option<Runtime>,
    /// Another seed than the profile's.
    #[arg(long)]
    seed: Option<u64>,
    /// A planted leak for the reference server, NAME, NAME=every:N (one unit in N), for some NAME=bytes:N; may be given several times.
    #[arg(long, value_name = "NAME")]
    defect: Vec<String>,
    #[command(flatten)]
    adaptive: AdaptiveArguments,
    /// Load a target that is not on this machine. Only for servers that are yours.
    #[arg(long)]
    allow_remote: bool,
    /// Exit codes for `git bisect run`: 0 good, 1 leak, 125 cannot be judged, 128 the command is wrong.
    #[arg(long)]
    pub(super) bisect: bool,
    /// Target and load in a private network with small send buffers: a reader who stalls is felt by the target after tens of KB
    /// instead of 4 MB. The target reaches nothing outside then.
    #[arg(long)]
    isolate: bool,
    /// Which lines keep what: windows of the target's own allocation profiler after the judged part of the run. Takes a target with
    /// that profiler behind its admin listener.
    #[arg(long, value_enum, value_name = "INSTRUMENT")]
    profile: Option<Profiler>,
    /// The repository that stacks are shown in; if not given, the one that the target was built from.
    #[arg(long, value_name = "DIR")]
    repo: Option<PathBuf>,
    #[command(flatten)]
    look: look::LookArguments,
    /// No progress, but for alarms.
    #[arg(long, short)]
    quiet: bool,
    /// A full screen while it runs: memory and streams over time, what is known of every factor so far.
    #[arg(long, conflicts_with = "quiet")]
    tui: bool,
    /// How the verdict is printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// How to start the target, instead of the profile's command.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// The runtimes that can be asked.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Runtime {
    /// Python that we start, Node, and Java.
    Auto,
    /// Python; if it runs already, by a debugger (gdb).
    Python,
    /// Node, by its inspector (SIGUSR1).
    Node,
    /// The JVM, by `jcmd`.
    Java,
    /// Leave it alone.
    None,
}

impl From<Runtime> for RuntimeSpec {
    fn from(runtime: Runtime) -> Self {
        match runtime {
            Runtime::Auto => Self::Auto,
            Runtime::Python => Self::Python,
            Runtime::Node => Self::Node,
            Runtime::Java => Self::Java,
            Runtime::None => Self::None,
        }
    }
}

pub(super) fn run(arguments: &RunArguments) -> anyhow::Result<Exit> {
    let door = arguments.look.open()?; // before a private network is entered: viewers stay outside
    let setup = setup(arguments)?;
    if let Some(url) = &setup.profile.target.url {
        refuse_remote(url.get_ref(), arguments.allow_remote)?;
    }
    let tls = setup.profile.target.tls.as_ref();
    warn(tls.is_some_and(|tls| tls.get_ref().insecure));
    let stop = Stop::default();
    signals::listen(stop.clone()).context("cannot listen for signals")?;
    if !arguments.quiet {
        say(&format!(
            "recording to {}, at most {} s",
            setup.out.display(),
            setup.longest().as_secs()
        ));
    }
    let show = match (arguments.quiet, arguments.tui) {
        (true, _) => Show::Quiet,
        (false, true) => Show::Screen,
        (false, false) => Show::Line,
    };
    let mut line = ProgressLine::new(show, &setup.out);
    let dashboard = arguments.look.start(door, &setup, &stop)?;
    let ended = play(&setup, &stop, &mut line, arguments.quiet);
    let ended = ended.inspect_err(|_| say_what_is_kept(&setup.out))?;
    let judged = judge(&setup.out, arguments.format)?;
    look::close(dashboard, &setup.out);
    Ok(match ended {
        EndReason::TargetDied => Exit::TargetDied,
        EndReason::Alarm | EndReason::Stopped => Exit::Alarm,
        EndReason::Interrupted => Exit::Inconclusive,
        EndReason::Finished | EndReason::Failed => judged,
    })
}

/// Plays it, with the progress line between what is told of its course.
fn play(
    setup: &Setup,
    stop: &Stop,
    line: &mut ProgressLine,
    quiet: bool,
) -> Result<EndReason, SoakError> {
    let line = RefCell::new(line);
    let mut course = Course::of(setup);
    let mut tell = |text: &str| {
        line.borrow_mut().end();
        say(text);
    };
    let ended = soak::run(
        setup,
        stop,
        &mut |progress| line.borrow_mut().show(progress),
        &mut || course.onward(quiet, &mut tell),
    );
    line.borrow_mut().end();
    ended
}

/// A run that failed half-way still recorded something.
fn say_what_is_kept(out: &Path) {
    if out.join(files::MANIFEST).exists() {
        say(&format!(
            "what was recorded until then is in {}",
            out.display()
        ));
    }
}

/// Judges a run directory, writes its reports and prints one.
pub(super) fn judge(folder: &Path, format: Format) -> anyhow::Result<Exit> {
    let recording = Recording::read(folder)?;
    let findings = diagnose::judge(&recording);
    report::write_all(folder, &recording, &findings)
        .with_context(|| format!("cannot write the reports into {}", folder.display()))?;
    let exit = Exit::from_code(findings.exit_code);
    let text = report::render(format.into(), &recording, &findings, folder);
    let text = if format == Format::Text {
        paint::verdict(&text, exit)
    } else {
        text
    };
    print(&text)?;
    Ok(exit)
}

/// An allocation profiler, as the command line names it.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Profiler {
    /// None, whatever the profile says.
    None,
    /// Samples by jemalloc.
    Jemalloc,
    /// Every allocation by dhat: exact, and 9 to 20 times slower in a window.
    Dhat,
}

fn setup(arguments: &RunArguments) -> anyhow::Result<Setup> {
    let mut profile = Profile::read(&profile_path(&arguments.plan))?;
    overrule(&mut profile, arguments)?;
    prepare(&profile)?;
    let seed = arguments.seed.unwrap_or(profile.seed);
    let adaptive = arguments.adaptive.asked(&mut profile, seed)?;
    let plan = adaptive::first_plan(&profile, seed, adaptive.as_ref());
    let out = run_directory(&arguments.out, &profile.name);
    let isolated = isolate(
        arguments.isolate || profile.target.isolate,
        profile.target.command.is_some(),
    )?;
    let windows = if profile.allocations.instrument == Instrument::None {
        vec![]
    } else {
        plan::windows(&profile, &plan)
    };
    Ok(Setup {
        profile,
        plan,
        windows,
        out,
        isolated,
        adaptive,
        command: env::args().collect(),
    })
}

/// What the command line says beats what the profile says.
fn overrule(profile: &mut Profile, arguments: &RunArguments) -> Result<(), Usage> {
    let target = &mut profile.target;
    if let Some(runtime) = arguments.runtime {
        target.runtime = runtime.into();
    }
    arguments.carriage.overrule(target);
    let spanned = |url: &String| Spanned::new(0..0, url.clone());
    if let Some(url) = &arguments.url {
        target.url = Some(spanned(url));
        if arguments.command.is_empty() {
            target.command = None;
            target.ready_file = None;
        }
    }
    if let Some(pid) = arguments.pid {
        if target.url.is_none() {
            return Err(Usage(
                "--pid needs --url: the process alone does not say where it listens".into(),
            ));
        }
        target.pid = Some(pid);
        target.command = None;
        target.ready_file = None;
    }
    if let Some(profiler) = arguments.profile {
        profile.allocations.instrument = match profiler {
            Profiler::None => Instrument::None,
            Profiler::Jemalloc => Instrument::Jemalloc,
            Profiler::Dhat => Instrument::Dhat,
        };
    }
    if !arguments.command.is_empty() {
        target.command = Some(Spanned::new(0..0, arguments.command.clone()));
        target.ready_file = None;
    }
    exact_reference(profile);
    plant(profile, &arguments.defect)
}

/// The reference server is two programs, one for each profiler: the one that fits is started.
fn exact_reference(profile: &mut Profile) {
    if profile.allocations.instrument != Instrument::Dhat {
        return;
    }
    if let Some(command) = &mut profile.target.command
        && let Some(program) = command.get_mut().first_mut()
        && Path::new(program.as_str()).file_name() == Some(OsStr::new(REFERENCE[0]))
    {
        *program = program.replace(REFERENCE[0], REFERENCE[1]);
    }
}

fn plant(profile: &mut Profile, defects: &[String]) -> Result<(), Usage> {
    if defects.is_empty() {
        return Ok(());
    }
    let command = profile
        .target
        .command
        .take()
        .map(Spanned::into_inner)
        .unwrap_or_default();
    let name = command
        .first()
        .and_then(|program| Path::new(program).file_name())
        .map(|name| name.to_string_lossy().into_owned());
    if !name.is_some_and(|name| REFERENCE.contains(&name.as_str())) {
        return Err(Usage(format!(
            "--defect plants a leak in the reference server ({}); this profile starts another target",
            REFERENCE.join(", ")
        )));
    }
    let planted = command
        .into_iter()
        .chain(defects.iter().map(|defect| format!("--defect={defect}")))
        .collect();
    profile.target.command = Some(Spanned::new(0..0, planted));
    Ok(())
}

/// `results/20261123T024817Z-quick`; a number is added when there is one already.
fn run_directory(out: &Path, profile: &str) -> PathBuf {
    let now = humantime::format_rfc3339_seconds(SystemTime::now())
        .to_string()
        .replace(['-', ':'], "");
    let name = format!("{now}-{profile}");
    let taken = |name: &str| fs::symlink_metadata(out.join(name)).is_ok();
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let free = std::iter::once(name.clone())
        .chain(numbered)
        .find(|name| !taken(name));
    out.join(free.unwrap_or(name))
}
