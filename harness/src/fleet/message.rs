//! What the run and its workers say to each other. One binary speaks to itself, so there is one version, and no other is understood.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::{
    drive::{DriveConfig, Latency, Problem},
    plan::{Batch, Leave},
    timeline::{Anchor, Counts, Elapsed},
};

/// Raised with every change of a message.
pub(super) const PROTOCOL: u32 = 2;
/// Ports in one frame.
pub(super) const MOST_PORTS: usize = 4096;

/// The first frame of each side, and all that never changes: who speaks which protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Greeting {
    Hello {
        protocol: u32,
        version: String,
    },
    /// Why there is no greeting; written as [`Answer::Failed`] is.
    Failed(String),
}

impl Greeting {
    pub(super) fn ours() -> Self {
        Self::Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }

    /// In a sentence, why we cannot talk; `None` if we can.
    pub(super) fn mismatch(&self, who: &str) -> Option<String> {
        let (protocol, version) = match self {
            Self::Hello { protocol, version } => (protocol, version),
            Self::Failed(why) => return Some(why.clone()),
        };
        (*protocol != PROTOCOL).then(|| {
            format!(
                "{who} (sse-soak {version:.40}) speaks version {protocol} of the worker protocol, and we (sse-soak {}) speak version \
                 {PROTOCOL}: both must be the same program",
                env!("CARGO_PKG_VERSION")
            )
        })
    }
}

/// From the run to a worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Order {
    /// The first after the greeting.
    Start(Box<Start>),
    /// What time is it there?
    Time,
    Play(Elapsed, Vec<Batch>),
    ReleaseStanding,
    Recall,
    Stop,
    /// Report now, with everything, under this number.
    Report(u64),
}

/// What a worker needs to know.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) config: DriveConfig,
    /// See [`Clock::anchor`](crate::timeline::Clock::anchor).
    pub(super) anchor: Anchor,
}

/// From a worker to the run.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    Time(Elapsed),
    /// Which local ports leave how; at most [`MOST_PORTS`], and before the report that counts them.
    Ports(Vec<(u16, Leave)>),
    Report(Box<Report>),
    /// The last: why it ends.
    Failed(String),
}

/// What a worker has done so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) at: Elapsed,
    pub(super) counts: Counts,
    /// Openings of its segment that it was told of so far.
    pub(super) told: u64,
    pub(super) standing: u64,
    /// Clients so far, by how they are to leave.
    pub(super) noted: [u64; Leave::ALL.len()],
    /// Only if it was asked to report.
    pub(super) asked: Option<Asked>,
}

/// What takes a moment to gather.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Asked {
    /// The number it was asked under.
    pub(super) ticket: u64,
    /// Since it was last asked.
    pub(super) latency: Latencies,
    pub(super) problems: Vec<Met>,
}

/// See [`Problem`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Met {
    what: String,
    count: u64,
    quote: Option<String>,
}

impl From<Problem> for Met {
    fn from(problem: Problem) -> Self {
        let Problem { what, count, quote } = problem;
        Self { what, count, quote }
    }
}

impl From<Met> for Problem {
    fn from(met: Met) -> Self {
        let Met { what, count, quote } = met;
        Self { what, count, quote }
    }
}

/// Histograms as value and count, only what was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Latencies([Vec<(u64, u32)>; 5]);

impl From<&Latency> for Latencies {
    fn from(latency: &Latency) -> Self {
        let measured = |histogram: &Histogram<u32>| {
            let steps = histogram.iter_recorded();
            steps
                .map(|step| (step.value_iterated_to(), step.count_at_value()))
                .collect()
        };
        let of = [
            &latency.connect,
            &latency.first_event,
            &latency.gap,
            &latency.late,
            &latency.answer,
        ];
        Self(of.map(measured))
    }
}

impl Latencies {
    /// Adds them to what is known already.
    pub(super) fn add_to(&self, latency: &mut Latency) {
        let into = [
            &mut latency.connect,
            &mut latency.first_event,
            &mut latency.gap,
            &mut latency.late,
            &mut latency.answer,
        ];
        for (histogram, measured) in into.into_iter().zip(&self.0) {
            for (value, count) in measured {
                histogram.saturating_record_n(*value, *count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_come_back_as_they_were() {
        let mut latency = Latency::default();
        for value in [1, 7, 999, 123_456, 123_456, 3_600_000_000] {
            latency.connect.saturating_record(value);
            latency.late.saturating_record(value / 2 + 1);
        }
        let text = serde_json::to_string(&Latencies::from(&latency)).unwrap();
        let mut back = Latency::default();
        serde_json::from_str::<Latencies>(&text)
            .unwrap()
            .add_to(&mut back);
        assert_eq!(back.connect, latency.connect);
        assert_eq!(back.late, latency.late);
        assert_eq!(back.connect.max(), latency.connect.max());
        assert!(back.gap.is_empty());
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let hello: Greeting =
            serde_json::from_str(r#"{"hello":{"protocol":7,"version":"3.1.4","new":[]}}"#).unwrap();
        let sentence = hello.mismatch("the run").unwrap();
        assert!(
            sentence.starts_with("the run (sse-soak 3.1.4) speaks version 7"),
            "{sentence}"
        );
        assert_eq!(Greeting::ours().mismatch("the run"), None);
    }
}
