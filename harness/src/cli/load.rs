//! `sse-soak hold`, `churn`, `abandon`: load without judgement.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use clap::{Args, ValueEnum};

use super::{
    Exit,
    carriage::{CarriageArguments, warn},
    exit::Usage,
    isolate, print, refuse_remote, say, signals,
};
use crate::{
    plan::{
        Batch, Exchange, Expect, Manners, Network, Reconnect, Request, Script, SessionUse, Stay,
        Unit,
    },
    profile::Workers,
    soak::{self, Comebacks, LoadReport, LoadSetup, Stop, Url},
    units::{ByteRate, Leave, Period, Tunnel, bytes, grouped},
};

/// Where to, what is said, for how long: the same for all three.
#[derive(Debug, Args)]
pub(super) struct LoadArguments {
    /// What is asked for: http://HOST:PORT/PATH, or https://…
    #[arg(long)]
    url: String,
    #[command(flatten)]
    carriage: CarriageArguments,
    /// How long.
    #[arg(long = "for", value_name = "TIME", default_value = "60s")]
    length: Period,
    /// A header, NAME: VALUE; may be given several times.
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// The method.
    #[arg(long, default_value = "GET")]
    method: String,
    /// The body.
    #[arg(long, default_value = "")]
    body: String,
    /// Fixes every random choice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Worker processes that share the load: a number, or `auto` (by the limit on descriptors).
    #[arg(long, value_name = "N")]
    workers: Option<Workers>,
    /// Load a target that is not on this machine. Only for servers that are yours.
    #[arg(long)]
    allow_remote: bool,
    /// COMMAND and load in a private network with small send buffers: a reader who stalls is felt by the server after tens of KB
    /// instead of 4 MB. The server reaches nothing outside then.
    #[arg(long)]
    isolate: bool,
    /// No live line.
    #[arg(long, short)]
    quiet: bool,
    /// How the summary is printed.
    #[arg(long, value_enum, default_value_t = Summary::Text)]
    format: Summary,
    /// How to start the server; without it the server runs already.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Open streams and hold them.
#[derive(Debug, Args)]
pub(super) struct HoldArguments {
    #[command(flatten)]
    load: LoadArguments,
    /// How many streams.
    #[arg(long, short = 'n')]
    connections: u32,
    /// Over how long they are opened.
    #[arg(long, default_value = "5s")]
    ramp: Period,
    /// Come back like a browser when the server ends a stream: after its `retry:`, with Last-Event-ID, more slowly every time; for
    /// TIME at most
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "5m")]
    reconnect: Option<Period>,
    #[command(flatten)]
    network: NetworkArguments,
}

/// The line that clients are connected by: made by when they send and read, so the server feels back-pressure.
#[derive(Debug, Args)]
struct NetworkArguments {
    /// Latency added each way: 40ms
    #[arg(long, value_name = "TIME")]
    latency: Option<Period>,
    /// Read no faster than this: "16 KiB/s"
    #[arg(long, value_name = "RATE")]
    bandwidth: Option<ByteRate>,
    /// Nothing is sent or read for a while, again and again: "10s every 60s"
    #[arg(long, value_name = "TUNNEL")]
    tunnel: Option<Tunnel>,
}

impl NetworkArguments {
    fn network(&self) -> Option<Network> {
        let is_shaped = self.latency.is_some() || self.bandwidth.is_some() || self.tunnel.is_some();
        is_shaped.then(|| Network {
            latency: self.latency.map_or(Duration::ZERO, Period::get),
            bandwidth: self.bandwidth,
            tunnel: self.tunnel,
        })
    }
}

/// Open streams at a rate; each leaves after its first event.
#[derive(Debug, Args)]
pub(super) struct ChurnArguments {
    #[command(flatten)]
    load: LoadArguments,
    /// How many a second.
    #[arg(long)]
    rate: u32,
    /// How each one leaves.
    #[arg(long, value_enum, default_value_t = How::Fin)]
    how: How,
}

/// Open streams and leave them in some way, all together at the end of the time.
#[derive(Debug, Args)]
pub(super) struct AbandonArguments {
    #[command(flatten)]
    load: LoadArguments,
    /// How many streams.
    #[arg(long, short = 'n')]
    connections: u32,
    /// Over how long they are opened.
    #[arg(long, default_value = "5s")]
    ramp: Period,
    /// How each one leaves.
    #[arg(long, value_enum)]
    how: How,
    /// Bytes a second that a slow client reads.
    #[arg(long, default_value_t = 1024)]
    slow_rate: u32,
    /// SO_RCVBUF of clients that do not read, or read slowly (also by --bandwidth and --tunnel), bytes.
    #[arg(long)]
    receive_buffer: Option<u32>,
    #[command(flatten)]
    network: NetworkArguments,
}

/// How a summary is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Summary {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// The ways of leaving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum How {
    Complete,
    Fin,
    Rst,
    Early,
    Stall,
    Slow,
    HalfClose,
    Vanish,
    Orphan,
}

impl From<How> for Leave {
    fn from(how: How) -> Self {
        match how {
            How::Complete => Self::Complete,
            How::Fin => Self::Fin,
            How::Rst => Self::Rst,
            How::Early => Self::Early,
            How::Stall => Self::Stall,
            How::Slow => Self::Slow,
            How::HalfClose => Self::HalfClose,
            How::Vanish => Self::Vanish,
            How::Orphan => Self::Orphan,
        }
    }
}

pub(super) fn hold(arguments: &HoldArguments) -> anyhow::Result<Exit> {
    let length = arguments.load.length.get();
    let batch = Batch {
        script: 0,
        leave: Leave::Fin,
        count: arguments.connections,
        after: Duration::ZERO,
        over: arguments.ramp.get(),
        stay: Stay::Until(length),
        manners: Manners {
            reconnect: arguments.reconnect.map(|give_up_after| Reconnect {
                give_up_after: give_up_after.get(),
                ..Reconnect::default()
            }),
            network: arguments.network.network(),
            user: None,
        },
    };
    play(&arguments.load, vec![batch], None, 1024)
}

pub(super) fn churn(arguments: &ChurnArguments) -> anyhow::Result<Exit> {
    let length = arguments.load.length.get();
    let count = u32::try_from(
        u64::from(arguments.rate) * length.as_millis().try_into().unwrap_or(u64::MAX) / 1000,
    )
    .map_err(|_| Usage("that is more than 4 billion connections: lower --rate or --for".into()))?;
    let leave = Leave::from(arguments.how);
    let stay = if leave == Leave::Complete {
        Stay::ToTheEnd
    } else {
        Stay::For(Duration::ZERO)
    };
    let batch = Batch {
        script: 0,
        leave,
        count,
        after: Duration::ZERO,
        over: length,
        stay,
        manners: Manners::default(),
    };
    play(&arguments.load, vec![batch], None, 1024)
}

pub(super) fn abandon(arguments: &AbandonArguments) -> anyhow::Result<Exit> {
    let leave = Leave::from(arguments.how);
    let stay = match leave {
        Leave::Complete => Stay::ToTheEnd,
        // Who has vanished is kept silent until the end.
        Leave::Early | Leave::Vanish => Stay::For(Duration::ZERO),
        _ => Stay::Until(arguments.load.length.get()),
    };
    let batch = Batch {
        script: 0,
        leave,
        count: arguments.connections,
        after: Duration::ZERO,
        over: arguments.ramp.get(),
        stay,
        manners: Manners {
            network: arguments.network.network(),
            ..Manners::default()
        },
    };
    play(
        &arguments.load,
        vec![batch],
        arguments.receive_buffer,
        arguments.slow_rate,
    )
}

fn play(
    arguments: &LoadArguments,
    batches: Vec<Batch>,
    receive_buffer: Option<u32>,
    slow: u32,
) -> anyhow::Result<Exit> {
    refuse_remote(&arguments.url, arguments.allow_remote)?;
    let url = Url::parse(&arguments.url)?;
    let carriage = arguments.carriage.alone();
    warn(carriage.insecure);
    let isolated = isolate(arguments.isolate, !arguments.command.is_empty())?;
    let setup = LoadSetup {
        addr: url.address()?,
        transport: url.transport(&carriage),
        host: url.authority,
        script: script(arguments, url.path)?,
        most_open: most_open(&batches),
        workers: arguments.workers,
        batches,
        length: arguments.length.get(),
        seed: arguments.seed,
        receive_buffer,
        slow_bytes_per_second: slow,
        command: arguments.command.clone(),
        isolated,
    };
    let stop = Stop::default();
    signals::listen(stop.clone())?;
    let report = soak::load(&setup, &stop, &mut |report| live(report, arguments.quiet))?;
    if !arguments.quiet && io::stderr().is_terminal() {
        write!(io::stderr().lock(), "\r\x1b[2K").ok();
    }
    match arguments.format {
        Summary::Text => print(&summary(&report))?,
        Summary::Json => print(&(serde_json::to_string_pretty(&report)? + "\n"))?,
    }
    Ok(if report.connected == 0 {
        Exit::Other
    } else {
        Exit::NoLeak
    })
}

/// The most connections that may be open at a time. One that leaves after its first event is gone within a second, or something is
/// wrong.
fn most_open(batches: &[Batch]) -> u64 {
    let open = |batch: &Batch| {
        let seconds = match batch.stay {
            Stay::For(_) => batch.over.as_secs().max(1),
            _ => 1,
        };
        u64::from(batch.count).div_ceil(seconds)
    };
    batches.iter().map(open).sum()
}

fn script(arguments: &LoadArguments, target: String) -> Result<Script, Usage> {
    let header = |line: &String| {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| Usage(format!("`{line}` is no header: write NAME: VALUE")))?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    let mut headers: Vec<(String, String)> = arguments
        .header
        .iter()
        .map(header)
        .collect::<Result<_, Usage>>()?;
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("accept"))
    {
        headers.push(("Accept".into(), "text/event-stream".into()));
    }
    let request = Request {
        method: arguments.method.clone(),
        target,
        headers,
        body: arguments.body.clone(),
    };
    let exchange = Exchange {
        think: std::time::Duration::ZERO,
        request,
        expect: Expect::Stream,
        session: SessionUse::None,
        counts: Unit::Nothing,
    };
    Ok(Script {
        name: "load".into(),
        exchanges: vec![exchange],
    })
}

fn count(number: u64) -> String {
    grouped(i64::try_from(number).unwrap_or(i64::MAX))
}

fn named(counts: &BTreeMap<&'static str, u64>) -> String {
    counts
        .iter()
        .map(|(name, number)| format!("{} {}", count(*number), name.replace('_', " ")))
        .collect::<Vec<_>>()
        .join(", ")
}

fn live(report: &LoadReport, quiet: bool) {
    if quiet {
        return;
    }
    let line = format!(
        "{:>4.0} s | {} open, {} opened{}, ended: {} | {:.0} events/s | first event p50 {} µs, p99 {} µs | gap p99 {} µs | own {}",
        report.seconds,
        count(report.open),
        count(report.opened),
        match report.comebacks.reconnects {
            0 => String::new(),
            reconnects => format!(" ({} again)", count(reconnects)),
        },
        if report.ended.is_empty() {
            "none".into()
        } else {
            named(&report.ended)
        },
        report.events_per_second,
        report.first_event_us.p50,
        report.first_event_us.p99,
        report.gap_us.p99,
        report
            .own_rss_bytes
            .map_or_else(|| "?".into(), |rss| bytes(rss as f64)),
    );
    if io::stderr().is_terminal() {
        write!(io::stderr().lock(), "\r\x1b[2K{line}").ok();
    } else {
        say(&line);
    }
}

fn comebacks(comebacks: &Comebacks) -> String {
    format!(
        "comebacks     {}, {} gave up; ids: {} lost, {} repeated, {} times nobody can tell\n",
        count(comebacks.reconnects),
        count(comebacks.gave_up),
        count(comebacks.ids_lost),
        count(comebacks.ids_repeated),
        count(comebacks.ids_unknown),
    )
}

fn summary(report: &LoadReport) -> String {
    let mut out = format!(
        "{:.1} s: {} opened, {} connected, {} not opened; ended: {}\nclosed: {}\n{} events ({:.0}/s), {}\n",
        report.seconds,
        count(report.opened),
        count(report.connected),
        count(report.not_opened),
        named(&report.ended),
        named(&report.closed),
        count(report.events),
        report.events_per_second,
        bytes(report.bytes as f64),
    );
    if report.carriers_opened > 0 {
        let carriers = count(report.carriers_opened);
        out.push_str(&format!("HTTP/2        on {carriers} TCP connections\n"));
    }
    let rows = [
        ("connect", report.connect_us),
        ("first event", report.first_event_us),
        ("gap", report.gap_us),
        ("own lateness", report.late_us),
    ];
    for (name, percentiles) in rows.iter().filter(|(_, percentiles)| percentiles.count > 0) {
        let soak::Percentiles {
            count: measured,
            p50,
            p90,
            p99,
            max,
        } = *percentiles;
        out.push_str(&format!(
            "{name:13} p50 {p50} µs, p90 {p90} µs, p99 {p99} µs, max {max} µs ({} measured)\n",
            count(measured)
        ));
    }
    let own = report
        .own_rss_bytes
        .map_or_else(|| "?".into(), |rss| bytes(rss as f64));
    out.push_str(&format!(
        "harness       {own}, {:.2} s of CPU\n",
        report.own_cpu_seconds.unwrap_or(0.0)
    ));
    if report.comebacks != Comebacks::default() {
        out.push_str(&comebacks(&report.comebacks));
    }
    for (leave, held) in &report.held_by_kernel {
        out.push_str(&format!(
            "kernel        {} {leave}: {} sent and not taken, {} of memory each\n",
            count(held.streams),
            bytes(held.send_queue_bytes as f64 / held.streams as f64),
            bytes(held.memory_bytes as f64 / held.streams as f64),
        ));
    }
    for worker in &report.workers {
        out.push_str(&format!("worker        {worker}\n"));
    }
    for note in &report.notes {
        out.push_str(&format!("note          {note}\n"));
    }
    for problem in &report.problems {
        out.push_str(&format!("problem       {problem}\n"));
    }
    out
}
