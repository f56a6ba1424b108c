//! What the server was asked to be: flags over environment over one TOML file, resolved once at start.
//!
//! In: the command line, `TARGET_…` variables, a file. Out: one [`Config`], every value typed and in its unit.
//! Start at the table in `settings!`: one line per key gives the flag, the variable, the TOML key, the default and the help.
//! A file with an unknown key is refused with its line and the allowed keys. Nothing here opens a socket.

use std::{
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use bytesize::ByteSize;
use clap::Parser;
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::defects::{self, Defects};

/// Why a configuration was refused. Every message is one sentence for the person who wrote it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration file {}", path.display())]
    Unreadable {
        /// The file as given.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is not what we expect; the source says line, column and allowed keys.
    #[error("the configuration file {} is not valid", path.display())]
    Malformed {
        /// The file as given.
        path: PathBuf,
        /// Position, key and what is allowed there.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Both listeners would want one address.
    #[error("the public and the admin listener both want {0}: give --admin-listen another port")]
    SameAddress(SocketAddr),
    /// The admin listener would be reachable from outside.
    #[error(
        "--admin-listen {0} is not a loopback address: the instruments stay on this machine unless --admin-allow-remote is given"
    )]
    RemoteAdmin(SocketAddr),
    /// A value is outside what the server can do.
    #[error("{0}")]
    OutOfRange(&'static str),
    /// A defect nobody knows.
    #[error(transparent)]
    Defect(#[from] defects::UnknownDefect),
}

/// A stretch of time that is not zero: `"30s"`, `"1h 30m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(Duration);

/// A stretch of time that may be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pause(Duration);

impl Period {
    /// The same stretch in the standard library's type.
    pub fn get(self) -> Duration {
        self.0
    }
}

impl Pause {
    /// The same stretch in the standard library's type.
    pub fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match humantime::parse_duration(text) {
            Ok(Duration::ZERO) => Err("a period of zero".into()),
            Ok(length) => Ok(Self(length)),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl FromStr for Pause {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|error| error.to_string())
    }
}

/// What to do with an event that finds its stream's queue full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowClient {
    /// End the stream. The client reconnects and catches up by `Last-Event-ID`: nothing is lost unseen.
    Disconnect,
    /// Keep the stream, lose the newest event, count it.
    DropNewest,
}

impl FromStr for SlowClient {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "disconnect" => Ok(Self::Disconnect),
            "drop-newest" => Ok(Self::DropNewest),
            other => Err(format!("`{other}` is not one of disconnect, drop-newest")),
        }
    }
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("`{other}` is not one of text, json")),
        }
    }
}

/// From which level on a log line is written: `off`, `error`, `warn`, `info`, `debug`, `trace`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLevel(pub tracing::level_filters::LevelFilter);

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse()
            .map(Self)
            .map_err(|_| format!("`{text}` is not one of off, error, warn, info, debug, trace"))
    }
}

/// One `NAME[=every:N][+bytes:N]` as written; [`Defects`] is what they mean together.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct DefectSpec(pub String);

impl FromStr for DefectSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
}

/// TOML values that are written as text and understood by their `FromStr`.
macro_rules! from_text {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}
from_text!(Period, Pause, SlowClient, LogFormat, LogLevel);

/// One key of the table, for `--print-config` and for tests.
struct Key {
    name: &'static str,
    env: &'static str,
    default: Option<&'static str>,
    help: &'static str,
}

/// The table of keys becomes [`Settings`] (all optional: one layer) and [`Config`] (resolved).
macro_rules! settings {
    (
        required { $($name:ident: $type:ty = $default:literal, $env:literal, $help:literal;)* }
        optional { $($opt:ident: $opt_type:ty, $opt_env:literal, $opt_help:literal;)* }
        switches { $($switch:ident, $switch_env:literal, $switch_help:literal;)* }
    ) => {
        /// One layer of configuration: what a command line, with its environment, or a file says.
        #[derive(Clone, Debug, Default, clap::Args, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub struct Settings {
            $(
                #[doc = $help]
                #[arg(long, env = $env, help = concat!($help, " [default: ", $default, "]"))]
                pub $name: Option<$type>,
            )*
            $(
                #[doc = $opt_help]
                #[arg(long, env = $opt_env, help = $opt_help)]
                pub $opt: Option<$opt_type>,
            )*
            $(
                #[doc = $switch_help]
                #[arg(long, env = $switch_env, help = $switch_help, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
                pub $switch: Option<bool>,
            )*
            /// A planted leak, `NAME` or `NAME=every:N` (one in N), for some also `NAME=bytes:N` or both joined by `+`; repeatable, several at once.
            #[arg(long, env = "TARGET_DEFECT", value_delimiter = ',', value_name = "NAME[=every:N][+bytes:N]")]
            #[serde(default)]
            pub defect: Vec<DefectSpec>,
        }

        /// The server's whole configuration, resolved.
        #[derive(Clone, Debug)]
        pub struct Config {
            $(#[doc = $help] pub $name: $type,)*
            $(#[doc = $opt_help] pub $opt: Option<$opt_type>,)*
            $(#[doc = $switch_help] pub $switch: bool,)*
            /// The planted leaks; all honest by default.
            pub defects: Defects,
        }

        impl Settings {
            /// This layer where it speaks, the other where it is silent.
            fn or(self, below: Self) -> Self {
                Self {
                    $($name: self.$name.or(below.$name),)*
                    $($opt: self.$opt.or(below.$opt),)*
                    $($switch: self.$switch.or(below.$switch),)*
                    defect: if self.defect.is_empty() { below.defect } else { self.defect },
                }
            }

            fn resolve(self) -> Result<Config, ConfigError> {
                Ok(Config {
                    $($name: self.$name.unwrap_or_else(|| $default.parse().expect("a test parses every default")),)*
                    $($opt: self.$opt,)*
                    $($switch: self.$switch.unwrap_or(false),)*
                    defects: Defects::parse(&self.defect)?,
                })
            }
        }

        const KEYS: &[Key] = &[
            $(Key { name: stringify!($name), env: $env, default: Some($default), help: $help },)*
            $(Key { name: stringify!($opt), env: $opt_env, default: None, help: $opt_help },)*
            $(Key { name: stringify!($switch), env: $switch_env, default: Some("false"), help: $switch_help },)*
        ];
    };
}

settings! {
    required {
    listen: SocketAddr = "127.0.0.1:8080", "TARGET_LISTEN", "Public address; port 0 picks a free one";
    admin_listen: SocketAddr = "127.0.0.1:8081", "TARGET_ADMIN_LISTEN", "Address of the instruments; port 0 picks a free one";
    workers: u16 = "1", "TARGET_WORKERS", "Processes that share the public port, each with one thread for its streams";
    max_connections: u32 = "10000", "TARGET_MAX_CONNECTIONS", "Open connections per worker; more are answered 503";
    max_sessions: u32 = "100000", "TARGET_MAX_SESSIONS", "Sessions per worker; a new one beyond is answered 503";
    session_ttl: Period = "30m", "TARGET_SESSION_TTL", "A session without a stream is forgotten this long after its last activity";
    sweep_every: Period = "1s", "TARGET_SWEEP_EVERY", "How often forgotten sessions and the memory watermark are looked at";
    history_entries: u32 = "100", "TARGET_HISTORY_ENTRIES", "Messages kept per session, both sides counted";
    history_bytes: ByteSize = "64KiB", "TARGET_HISTORY_BYTES", "Bytes of messages kept per session";
    replay_window: u32 = "64", "TARGET_REPLAY_WINDOW", "Events of a session's feed kept for Last-Event-ID";
    session_budget: ByteSize = "256KiB", "TARGET_SESSION_BUDGET", "Bytes of history and replay window together, per session; the oldest go first";
    queue_events: u32 = "32", "TARGET_QUEUE_EVENTS", "Events that may wait for a slow client, per stream";
    slow_client: SlowClient = "disconnect", "TARGET_SLOW_CLIENT", "When that queue is full: disconnect, or drop-newest";
    write_timeout: Period = "30s", "TARGET_WRITE_TIMEOUT", "A connection whose peer takes no byte for this long is closed";
    heartbeat: Period = "15s", "TARGET_HEARTBEAT", "A stream that was quiet for this long gets a comment";
    retry: Period = "2s", "TARGET_RETRY", "Reconnect delay told to feed clients (SSE retry:)";
    header_timeout: Period = "10s", "TARGET_HEADER_TIMEOUT", "A request's head must be complete, and a kept-alive connection used, within this time";
    request_timeout: Period = "10s", "TARGET_REQUEST_TIMEOUT", "A request's body must be complete within this time";
    max_header_bytes: ByteSize = "16KiB", "TARGET_MAX_HEADER_BYTES", "Bytes of a request's head, at least 8 KiB; more are answered 431";
    max_body: ByteSize = "8KiB", "TARGET_MAX_BODY", "Bytes of a request's body; more are answered 413";
    max_event_bytes: ByteSize = "64KiB", "TARGET_MAX_EVENT_BYTES", "Largest payload GET /events may ask for";
    chunks: u32 = "5", "TARGET_CHUNKS", "Message events per chat answer";
    chunk_interval: Pause = "500ms", "TARGET_CHUNK_INTERVAL", "Time before each of them; 0s is as fast as the client reads";
    drain_timeout: Period = "10s", "TARGET_DRAIN_TIMEOUT", "After SIGTERM, connections still open this much later are cut";
    metrics: bool = "true", "TARGET_METRICS", "Whether GET /metrics answers";
    admin_allow_remote: bool = "false", "TARGET_ADMIN_ALLOW_REMOTE", "Whether --admin-listen may be reachable from other machines";
    seed: u64 = "1", "TARGET_SEED", "Fixes the text of every answer and event";
    log_level: LogLevel = "info", "TARGET_LOG_LEVEL", "off, error, warn, info (a line per stream), debug or trace, on stderr";
    log_format: LogFormat = "text", "TARGET_LOG_FORMAT", "text or json";
    }
    optional {
        memory_watermark: ByteSize, "TARGET_MEMORY_WATERMARK", "Above this resident size new streams are answered 503 and idle sessions are evicted, oldest first";
        sndbuf: ByteSize, "TARGET_SNDBUF", "SO_SNDBUF of accepted sockets; small values make slow readers visible early";
        admin_token: String, "TARGET_ADMIN_TOKEN", "Bearer token of the admin listener; generated when not given";
        token_file: PathBuf, "TARGET_TOKEN_FILE", "Where a generated token is written (mode 0600); a file in the temporary folder when not given";
        ready_file: PathBuf, "TARGET_READY_FILE", "Gets {pid, public, admin, token_file} as JSON once both listeners accept";
    tls_cert: PathBuf, "TARGET_TLS_CERT", "PEM file with the certificate chain: the public listener speaks TLS, and HTTP/2 to those who ask for it by ALPN";
    tls_key: PathBuf, "TARGET_TLS_KEY", "PEM file with its private key";
    }
    switches {
    tls_self_signed, "TARGET_TLS_SELF_SIGNED", "TLS with a certificate made for this run, for localhost; it is written beside the ready file, as .pem";
    h2c, "TARGET_H2C", "Plain HTTP/2 to those who begin with it (prior knowledge); HTTP/1.1 to everyone else";
    }
}

/// The reference SSE server: a chat and a feed over Server-Sent Events that behave, with instruments and optional planted leaks.
#[derive(Debug, Parser)]
#[command(
    version,
    args_override_self = true,
    after_help = "Flags win over TARGET_… variables, those over the file."
)]
pub struct Cli {
    /// TOML file with the same keys, in kebab-case.
    #[arg(long, env = "TARGET_CONFIG")]
    pub config: Option<PathBuf>,
    /// Prints a commented TOML file with every key at its default, and exits.
    #[arg(long)]
    pub print_config: bool,
    /// Given by the supervisor to its workers: share the port, and die with this parent.
    #[arg(long, hide = true)]
    pub worker_of: Option<u32>,
    /// Everything else.
    #[command(flatten)]
    pub settings: Settings,
}

impl Cli {
    /// Lays the command line over the file and resolves both.
    ///
    /// # Errors
    /// Says which file, line, key or value is wrong, and what is allowed there.
    pub fn resolve(self) -> Result<Config, ConfigError> {
        let below = match &self.config {
            Some(path) => read(path)?,
            None => Settings::default(),
        };
        let config = self.settings.or(below).resolve()?;
        config.check()?;
        Ok(config)
    }
}

fn read(path: &Path) -> Result<Settings, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.into(),
        source,
    })?;
    toml::from_str(&text).map_err(|source| ConfigError::Malformed {
        path: path.into(),
        source: Box::new(source),
    })
}

impl Config {
    /// The configuration without any file, flag or variable.
    ///
    /// # Panics
    /// Never: a test parses every default.
    pub fn defaults() -> Self {
        Settings::default()
            .resolve()
            .expect("defaults name no defect")
    }

    fn check(&self) -> Result<(), ConfigError> {
        let overlap = self.listen.port() != 0
            && self.listen.port() == self.admin_listen.port()
            && (self.listen.ip() == self.admin_listen.ip()
                || self.listen.ip().is_unspecified()
                || self.admin_listen.ip().is_unspecified());
        if overlap {
            return Err(ConfigError::SameAddress(self.listen));
        }
        if !self.admin_listen.ip().is_loopback() && !self.admin_allow_remote {
            return Err(ConfigError::RemoteAdmin(self.admin_listen));
        }
        for (wrong, sentence) in [
            (self.workers == 0, "--workers must be at least 1"),
            (self.queue_events == 0, "--queue-events must be at least 1"),
            (
                self.max_connections == 0,
                "--max-connections must be at least 1",
            ),
            (
                self.tls_cert.is_some() != self.tls_key.is_some(),
                "--tls-cert and --tls-key come together",
            ),
            (
                self.tls_self_signed && self.tls_cert.is_some(),
                "either --tls-self-signed, or --tls-cert and --tls-key",
            ),
            (
                self.tls_self_signed && self.workers > 1,
                "--tls-self-signed is for one worker: give several of them --tls-cert and --tls-key",
            ),
            (
                self.h2c && (self.tls_self_signed || self.tls_cert.is_some()),
                "--h2c is HTTP/2 without TLS; with TLS clients ask for HTTP/2 by ALPN",
            ),
            (
                self.max_header_bytes < ByteSize::kib(8),
                "--max-header-bytes must be at least 8KiB",
            ),
            (
                self.max_event_bytes > ByteSize::mib(16),
                "--max-event-bytes must be at most 16MiB",
            ),
        ] {
            if wrong {
                return Err(ConfigError::OutOfRange(sentence));
            }
        }
        Ok(())
    }
}

/// A commented TOML file with every key: what `--print-config` shows.
pub fn example() -> impl fmt::Display {
    fmt::from_fn(|out| {
        writeln!(
            out,
            "# Every key of target-server. Flags (--session-ttl) win over variables (TARGET_SESSION_TTL), those over this file."
        )?;
        for key in KEYS {
            let name = key.name.replace('_', "-");
            writeln!(out, "\n# {}. {}", key.help, key.env)?;
            match key.default {
                Some(default)
                    if default.parse::<u64>().is_ok() || default.parse::<bool>().is_ok() =>
                {
                    writeln!(out, "{name} = {default}")?
                }
                Some(default) => writeln!(out, "{name} = \"{default}\"")?,
                None => writeln!(out, "# {name} = \"…\"")?,
            }
        }
        writeln!(
            out,
            "\n# Planted leaks, off by default: {}. TARGET_DEFECT",
            defects::allowed()
        )?;
        writeln!(out, "defect = []")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Config, ConfigError> {
        Cli::try_parse_from([&["target"], args].concat())
            .expect("valid flags")
            .resolve()
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("writable");
        file
    }

    #[test]
    fn every_default_parses_and_the_example_says_the_same() {
        let said: Settings = toml::from_str(&example().to_string()).expect("the example is valid");
        assert_eq!(
            format!("{:?}", said.resolve().expect("resolves")),
            format!("{:?}", Config::defaults())
        );
    }

    #[test]
    fn the_example_file_in_the_repository_is_the_one_we_print() {
        assert_eq!(
            include_str!("../target.example.toml"),
            example().to_string(),
            "run target-jemalloc --print-config"
        );
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file = file("session-ttl = \"7s\"\nchunks = 9\n");
        let config = parse(&[
            "--config",
            &file.path().display().to_string(),
            "--chunks",
            "2",
        ])
        .expect("valid");
        assert_eq!((config.chunks, config.session_ttl.get().as_secs()), (2, 7));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_allowed_keys() {
        let file = file("chunks = 9\nsession-tll = \"7s\"\n");
        let error = parse(&["--config", &file.path().display().to_string()]).expect_err("a typo");
        let ConfigError::Malformed { source, .. } = error else {
            panic!("{error}")
        };
        let text = source.to_string();
        assert!(
            text.contains("line 2") && text.contains("session-tll") && text.contains("session-ttl"),
            "{text}"
        );
    }

    #[test]
    fn what_cannot_work_is_refused_in_one_sentence() {
        for (args, part) in [
            (
                vec!["--listen", "127.0.0.1:9", "--admin-listen", "127.0.0.1:9"],
                "both want 127.0.0.1:9",
            ),
            (
                vec!["--admin-listen", "0.0.0.0:9"],
                "not a loopback address",
            ),
            (vec!["--workers", "0"], "at least 1"),
            (vec!["--max-header-bytes", "1KiB"], "at least 8KiB"),
            (vec!["--tls-cert", "c.pem"], "come together"),
            (vec!["--h2c", "--tls-self-signed"], "without TLS"),
            (vec!["--defect", "no-such-leak"], "no-such-leak"),
        ] {
            let text = parse(&args).expect_err("refused").to_string();
            assert!(text.contains(part), "{args:?}: {text}");
        }
    }

    #[test]
    fn a_period_of_zero_is_refused_and_a_pause_of_zero_is_not() {
        assert!("0s".parse::<Period>().is_err());
        assert_eq!("0s".parse::<Pause>(), Ok(Pause(Duration::ZERO)));
    }
}
