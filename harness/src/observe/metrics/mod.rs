//! The target's own counts from any metrics endpoint: Prometheus and OpenMetrics text, or JSON, by the names that the profile gives.
//!
//! In: [`MetricsConfig`]. Out: a [`TargetReport`]. Start at [`MetricsWatch`]. A name that is gone is a gap with a sentence, never a zero;
//! at the beginning it is refused. Cost: one request a look, on one kept connection.

mod exposition;

use std::time::Duration;

use reqwest::Client;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::{
    backoff::Backoff,
    error::{ObserveError, sentence},
    sample::TargetReport,
};
use crate::{
    timeline::Clock,
    units::{ByteSize, Selector, SeriesSelector},
};

/// Where the target shows its numbers, and which is which.
#[derive(Clone, Debug)]
pub struct MetricsConfig {
    /// `http://127.0.0.1:9090/metrics`.
    pub url: String,
    /// What is read, and where it stands.
    pub wanted: Vec<(Count, Selector)>,
}

/// A count that the target may tell. The names are the profile's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Connections that it serves now.
    Connections,
    /// Connections ever accepted.
    ConnectionsOpened,
    /// Streams that it serves now.
    Streams,
    /// Sessions that it holds now.
    Sessions,
    /// Sessions ever created.
    SessionsCreated,
    /// Sessions ever removed.
    SessionsRemoved,
    /// Events ever sent.
    Events,
    /// Tasks alive in its runtime.
    Tasks,
}

impl Count {
    /// The key in a profile.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsOpened => "connections-opened",
            Self::Streams => "streams",
            Self::Sessions => "sessions",
            Self::SessionsCreated => "sessions-created",
            Self::SessionsRemoved => "sessions-removed",
            Self::Events => "events",
            Self::Tasks => "tasks",
        }
    }

    fn place(self, report: &mut TargetReport) -> &mut Option<u64> {
        match self {
            Self::Connections => &mut report.connections_live,
            Self::ConnectionsOpened => &mut report.connections_opened_total,
            Self::Streams => &mut report.streams_live,
            Self::Sessions => &mut report.sessions_live,
            Self::SessionsCreated => &mut report.sessions_created_total,
            Self::SessionsRemoved => &mut report.sessions_removed_total,
            Self::Events => &mut report.events_total,
            Self::Tasks => &mut report.tasks_live,
        }
    }
}

/// Why the target's metrics cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The address makes no sense.
    #[error("`{url}` is no metrics endpoint: write http://HOST:PORT/PATH")]
    BadUrl {
        /// What was given.
        url: String,
    },
    /// The HTTP client does not start, or the exchange broke.
    #[error("the metrics at {url} cannot be read")]
    Exchange {
        /// Where.
        url: String,
        /// What went wrong.
        #[source]
        source: reqwest::Error,
    },
    /// It took too long.
    #[error("the metrics at {url} did not come within {} ms", WITHIN.as_millis())]
    TimedOut {
        /// Where.
        url: String,
    },
    /// It refused.
    #[error("the metrics at {url} were answered with {status}")]
    Status {
        /// Where.
        url: String,
        /// The answer.
        status: reqwest::StatusCode,
    },
    /// It sent more than we read.
    #[error("the metrics at {url} are larger than {LARGEST}")]
    TooLarge {
        /// Where.
        url: String,
    },
    /// It sent something else.
    #[error("the metrics at {url} are not what the profile takes them for: {why}")]
    Shape {
        /// Where.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// A number is not there.
    #[error("`{name}` is not among the metrics at {url}: {why}")]
    Gone {
        /// The profile's key.
        name: &'static str,
        /// Where.
        url: String,
        /// What is missing.
        why: String,
    },
}

/// A counter is worth waiting this long; a target that hangs costs one sample.
const WITHIN: Duration = Duration::from_millis(800);
/// An exposition of 40,000 series.
const LARGEST: ByteSize = ByteSize(4 << 20);

/// An open line to a metrics endpoint.
#[derive(Debug)]
pub(super) struct MetricsWatch {
    config: MetricsConfig,
    client: Client,
    runtime: Runtime,
    backoff: Backoff,
}

/// What was found of each that is wanted.
type Numbers = Vec<Result<u64, MetricsError>>;

impl MetricsWatch {
    /// Opens the line, and finds every number once.
    ///
    /// # Errors
    /// The endpoint does not answer, or one of the numbers is not there: better now than after a night.
    pub(super) fn open(config: MetricsConfig) -> Result<Self, ObserveError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ObserveError::Thread)?;
        if !config.url.starts_with("http://") {
            return Err(MetricsError::BadUrl { url: config.url }.into());
        }
        let client = {
            let _inside = runtime.enter();
            Client::builder()
                .no_proxy() // a proxy of the environment has no business between us and the target
                .redirect(reqwest::redirect::Policy::none())
                .pool_max_idle_per_host(1)
                .tcp_nodelay(true)
                .build()
        };
        let client = client.map_err(|source| MetricsError::Exchange {
            url: config.url.clone(),
            source,
        })?;
        let watch = Self {
            config,
            client,
            runtime,
            backoff: Backoff::default(),
        };
        for number in watch.numbers()? {
            number?;
        }
        Ok(watch)
    }

    /// What can be read now goes into the report; what cannot is said.
    pub(super) fn look(&mut self, clock: &Clock, gaps: &mut Vec<String>) -> Option<TargetReport> {
        if self.backoff.waits(clock) {
            gaps.push("the target's metrics hung and are left alone for a while".into());
            return None;
        }
        let numbers = self.numbers();
        let hung = matches!(numbers, Err(MetricsError::TimedOut { .. }));
        self.backoff.note(hung, clock);
        let numbers = numbers
            .inspect_err(|error| gaps.push(sentence(error)))
            .ok()?;
        let mut report = TargetReport::default();
        for ((count, _), number) in self.config.wanted.iter().zip(numbers) {
            match number {
                Ok(number) => *count.place(&mut report) = Some(number),
                Err(error) => gaps.push(sentence(&error)),
            }
        }
        Some(report)
    }

    fn numbers(&self) -> Result<Numbers, MetricsError> {
        let patience = async { tokio::time::timeout(WITHIN, self.text()).await };
        let text = self.runtime.block_on(patience);
        let text = text.unwrap_or_else(|_| {
            Err(MetricsError::TimedOut {
                url: self.config.url.clone(),
            })
        })?;
        numbers(&self.config, &text)
    }

    async fn text(&self) -> Result<String, MetricsError> {
        let url = &self.config.url;
        let broke = |source: reqwest::Error| MetricsError::Exchange {
            url: url.clone(),
            source: source.without_url(),
        };
        let asked = self.client.get(url).header(
            "Accept",
            "application/openmetrics-text;q=0.9, text/plain;q=0.8, application/json;q=0.7, */*;q=0.1",
        );
        let mut response = asked.send().await.map_err(broke)?;
        let status = response.status();
        if !status.is_success() {
            let url = url.clone();
            return Err(MetricsError::Status { url, status });
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broke)? {
            if (bytes.len() + chunk.len()) as u64 > LARGEST.0 {
                return Err(MetricsError::TooLarge { url: url.clone() });
            }
            bytes.extend_from_slice(&chunk);
        }
        String::from_utf8(bytes).map_err(|_| MetricsError::Shape {
            url: url.clone(),
            why: "they are no text".into(),
        })
    }
}

/// What is wanted, found in the text that came: JSON if pointers are asked for, an exposition if series are.
fn numbers(config: &MetricsConfig, text: &str) -> Result<Numbers, MetricsError> {
    let shape = |why: String| MetricsError::Shape {
        url: config.url.clone(),
        why,
    };
    let selectors: Vec<&SeriesSelector> = config
        .wanted
        .iter()
        .filter_map(|(_, selector)| match selector {
            Selector::Series(series) => Some(series),
            Selector::Pointer(_) => None,
        })
        .collect();
    let has_pointers = selectors.len() < config.wanted.len();
    let json: Value = if has_pointers {
        serde_json::from_str(text).map_err(|error| shape(format!("no JSON ({error})")))?
    } else {
        Value::Null
    };
    let mut series = if selectors.is_empty() {
        Vec::new()
    } else {
        exposition::select(text, &selectors).map_err(|error| shape(error.to_string()))?
    }
    .into_iter();
    let number = |(count, selector): &(Count, Selector)| {
        let found = match selector {
            Selector::Pointer(pointer) => pointed(&json, pointer),
            Selector::Series(_) => match series.next() {
                Some(found) => found.map_err(|missing| missing.to_string()),
                None => Err("it was not looked for".into()), // as many as selectors of series
            },
        };
        found.and_then(whole).map_err(|why| MetricsError::Gone {
            name: count.name(),
            url: config.url.clone(),
            why,
        })
    };
    Ok(config.wanted.iter().map(number).collect())
}

fn pointed(json: &Value, pointer: &str) -> Result<f64, String> {
    let value = json
        .pointer(pointer)
        .ok_or_else(|| format!("nothing is at `{pointer}`"))?;
    value.as_f64().ok_or_else(|| {
        let found = crate::target::proc::shortened(&value.to_string());
        format!("at `{pointer}` is no number but `{found}`")
    })
}

/// Counts are whole and not negative; what is neither is no count.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and 2^53, checked"
)]
fn whole(value: f64) -> Result<u64, String> {
    const LARGEST: f64 = 9_007_199_254_740_992.0;
    if (0.0..=LARGEST).contains(&value) {
        Ok(value.round() as u64)
    } else {
        Err(format!("{value} is no count"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, selector: &str) -> Result<u64, String> {
        let config = MetricsConfig {
            url: "http://here/metrics".into(),
            wanted: vec![(Count::Sessions, Selector::parse(selector).unwrap())],
        };
        let mut numbers = numbers(&config, text).map_err(|error| error.to_string())?;
        numbers.remove(0).map_err(|error| error.to_string())
    }

    #[test]
    fn a_count_is_read_from_json_or_from_text() {
        assert_eq!(
            told(r#"{"sessions": {"live": 7}}"#, "/sessions/live"),
            Ok(7)
        );
        assert_eq!(told("chat_sessions 7.0\n", "chat_sessions"), Ok(7));
    }

    #[test]
    fn what_is_gone_or_has_changed_its_shape_is_said_in_one_sentence() {
        for (text, selector, complaint) in [
            (
                r#"{"sessions": 7}"#,
                "/sessions/live",
                "`sessions` is not among the metrics at http://here/metrics: nothing is at `/sessions/live`",
            ),
            (
                r#"{"sessions": "many"}"#,
                "/sessions",
                "`sessions` is not among the metrics at http://here/metrics: at `/sessions` is no number but `\"many\"`",
            ),
            (
                "x -3\n",
                "x",
                "`sessions` is not among the metrics at http://here/metrics: -3 is no count",
            ),
            (
                "<html>",
                "x",
                "the metrics at http://here/metrics are not what the profile takes them for: line 1 is no metric: `<html>`",
            ),
        ] {
            assert_eq!(told(text, selector), Err(complaint.into()));
        }
        let json = told("<html>", "/x").unwrap_err();
        assert!(json.contains("no JSON"), "{json}");
    }
}
