//! The server under test, as a profile describes it.

use std::{collections::BTreeMap, num::NonZeroU16, ops::Range};

use serde::Deserialize;
use toml::Spanned;

use crate::units::{ByteRate, ByteSize, Period, Selector};

/// The server under test.
///
/// `{run}` in `command`, `env`, `ready-file`, `token-file` and `ca` stands for the run directory; `{profile}` in `prepare`, `command`,
/// `dir` and `env` for the folder that the profile lies in.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TargetSpec {
    /// Where it listens: `"http://127.0.0.1:8080"`, or `"https://…"`. May be left out when `ready-file` tells it.
    #[serde(default)]
    pub url: Option<Spanned<String>>,
    /// What is special about its TLS: `tls = { ca = "{run}/ready.pem" }`. Without `url` it also says that there is TLS.
    #[serde(default)]
    pub tls: Option<Spanned<TlsSpec>>,
    /// HTTP/2 instead of HTTP/1.1: `h2 = { streams-per-connection = 100 }`.
    #[serde(default)]
    pub h2: Option<H2Spec>,
    /// How to start it; a name without `/` is looked for beside our own binary first. Without it the target runs already.
    #[serde(default)]
    pub command: Option<Spanned<Vec<String>>>,
    /// Run before it is started, and must succeed: makes what `command` needs (`prepare = ["{profile}/../scripts/targets/prepare", "x"]`).
    #[serde(default)]
    pub prepare: Option<Spanned<Vec<String>>>,
    /// How long `prepare` may take.
    #[serde(default = "ten_minutes")]
    pub prepare_within: Period,
    /// The folder to start it in; ours if not given.
    #[serde(default)]
    pub dir: Option<String>,
    /// How its runtime is asked to tidy up before a reading: `"auto"`, `"python"`, `"node"`, `"java"`, or `"none"` to leave it alone.
    #[serde(default)]
    pub runtime: RuntimeSpec,
    /// More environment for it.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// A process that runs already: watched, never stopped.
    #[serde(default)]
    pub pid: Option<u32>,
    /// A file that the target writes when it listens: JSON with `public` and perhaps `admin` and `token_file`.
    #[serde(default)]
    pub ready_file: Option<String>,
    /// Start it, and load it, in a private network with small send buffers: a reader who stalls is felt after tens of KB instead of
    /// 4 MB. It reaches nothing outside then.
    #[serde(default)]
    pub isolate: bool,
    /// How long it may take to listen.
    #[serde(default = "ten_seconds")]
    pub ready_within: Period,
    /// How long it may take to stop after SIGTERM.
    #[serde(default = "ten_seconds")]
    pub stop_within: Period,
    /// Its admin listener, where it has one with our contract.
    #[serde(default)]
    pub admin: Option<AdminSpec>,
    /// Its metrics endpoint, and which of its numbers is which.
    #[serde(default)]
    pub metrics: Option<Spanned<MetricsSpec>>,
    /// How much memory a target that we start may use, all its processes together: `"256 MiB"`. How it ends then is a finding.
    #[serde(default)]
    pub memory_limit: Option<ByteSize>,
    /// Leave transparent huge pages on. They hide everything below 8 KiB per connection, so they are off by default.
    #[serde(default)]
    pub huge_pages: bool,
    /// How much of its output is kept.
    #[serde(default = "sixteen_mebibytes")]
    pub log_limit: ByteSize,
}

/// How the target's runtime is asked to tidy up before a reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuntimeSpec {
    /// Python that we start, Node, and Java.
    #[default]
    Auto,
    /// Python: a small module on its path if we start it; if it runs already, a debugger (gdb) brings the module to it.
    Python,
    /// Node: its inspector.
    Node,
    /// The JVM: `jcmd`.
    Java,
    /// It is left alone.
    None,
}

/// Which certificate is believed.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TlsSpec {
    /// A PEM file with the authorities, or the target's own certificate, to trust instead of the system's.
    #[serde(default)]
    pub ca: Option<String>,
    /// Believe any certificate.
    #[serde(default)]
    pub insecure: bool,
}

/// How HTTP/2 is spoken.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct H2Spec {
    /// Streams on every TCP connection; each of them counts as a connection.
    pub streams_per_connection: NonZeroU16,
}

/// Where the target shows its own numbers.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AdminSpec {
    /// `"http://127.0.0.1:9090"`.
    pub url: String,
    /// A file with the bearer token.
    pub token_file: String,
}

/// Where the target shows its counts, and under which names: `sessions = "sum(chat_sessions{state!='closed'})"` of Prometheus or
/// OpenMetrics text, `sessions = "/sessions/live"` of JSON.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MetricsSpec {
    /// `"http://127.0.0.1:9090/metrics"`, or only a path: then on the target's own address.
    pub url: String,
    /// Connections that it serves now.
    #[serde(default)]
    pub connections: Option<Selector>,
    /// Connections ever accepted.
    #[serde(default)]
    pub connections_opened: Option<Selector>,
    /// Streams that it serves now.
    #[serde(default)]
    pub streams: Option<Selector>,
    /// Sessions that it holds now.
    #[serde(default)]
    pub sessions: Option<Selector>,
    /// Sessions ever created.
    #[serde(default)]
    pub sessions_created: Option<Selector>,
    /// Sessions ever removed.
    #[serde(default)]
    pub sessions_removed: Option<Selector>,
    /// Events ever sent.
    #[serde(default)]
    pub events: Option<Selector>,
    /// Tasks alive in its runtime.
    #[serde(default)]
    pub tasks: Option<Selector>,
}

/// What may stay without being a leak: the bound to prove.
#[derive(Clone, Copy, Debug, Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Tolerances {
    /// Per closed connection.
    pub connection: ByteSize,
    /// Per session and per turn.
    pub session: ByteSize,
    /// Per event.
    pub event: ByteSize,
    /// Per second and stalled or slow reader while their number stays the same: `"64 B/s"`. Left out, that is tolerated too, but then
    /// a run that cannot tell is not held against the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog: Option<ByteRate>,
}

impl Default for Tolerances {
    /// The method, §7: 1,024 B per connection and session, 64 B per event.
    fn default() -> Self {
        Self {
            connection: ByteSize(1024),
            session: ByteSize(1024),
            event: ByteSize(64),
            backlog: None,
        }
    }
}

fn ten_seconds() -> Period {
    Period::new(std::time::Duration::from_secs(10)).expect("ten seconds are not zero")
}

fn ten_minutes() -> Period {
    Period::new(std::time::Duration::from_secs(600)).expect("ten minutes are not zero")
}

const fn sixteen_mebibytes() -> ByteSize {
    ByteSize(16 << 20)
}

impl TargetSpec {
    pub(super) fn contradiction(&self) -> Option<(Range<usize>, String)> {
        if let Some(metrics) = &self.metrics
            && !["/", "http://"]
                .iter()
                .any(|start| metrics.get_ref().url.starts_with(start))
        {
            return Some((
                metrics.span(),
                "the `url` of `metrics` begins with http://, or with / for a path on the target's own address"
                    .into(),
            ));
        }
        if let Some(prepare) = &self.prepare
            && prepare.get_ref().is_empty()
        {
            return Some((
                prepare.span(),
                "`prepare` is empty: write the program and its arguments".into(),
            ));
        }
        if let Some(command) = &self.command {
            if command.get_ref().is_empty() {
                return Some((
                    command.span(),
                    "`command` is empty: write the program and its arguments".into(),
                ));
            }
            if self.pid.is_some() {
                return Some((
                    command.span(),
                    "either `command` (we start it) or `pid` (it runs already), not both".into(),
                ));
            }
        }
        let url = self.url.as_ref()?;
        if let Some(tls) = &self.tls
            && url.get_ref().starts_with("http://")
        {
            return Some((
                tls.span(),
                "`tls` is for a URL that begins with https://".into(),
            ));
        }
        if !["http://", "https://"]
            .iter()
            .any(|scheme| url.get_ref().starts_with(scheme))
        {
            return Some((
                url.span(),
                format!(
                    "`{}` is not a URL that this version can load: write \"http://HOST:PORT\" or \"https://HOST:PORT\"",
                    url.get_ref()
                ),
            ));
        }
        None
    }
}
