//! Stop conditions of a step load, as values: what was seen of a step, and what of it must not be. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::profile::StopSpec;

/// What must not be reached; `None`: anything may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stops {
    /// Share of the answers that failed.
    pub error_share_above: Option<f64>,
    /// The target's memory as a share of its own limit.
    pub target_memory_above: Option<f64>,
    /// Share of the machine's cores that is idle.
    pub cpu_idle_below: Option<f64>,
    /// Response time (p95) as a multiple of the first step's.
    pub response_time_above: Option<f64>,
}

/// What was seen of one step; what was not is `None`, and decides nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    /// Share of the answers that failed.
    pub error_share: Option<f64>,
    /// The target's memory as a share of its own limit, at its highest.
    pub memory_share: Option<f64>,
    /// Share of the machine's cores that was idle.
    pub cpu_idle_share: Option<f64>,
    /// Response time (p95), seconds.
    pub response_s: Option<f64>,
}

/// One of the conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// The target's memory, of its own limit.
    TargetMemory,
    /// Failed answers.
    ErrorShare,
    /// Response time.
    ResponseTime,
    /// Idle cores of the machine.
    CpuIdle,
}

/// A condition that was met.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Met {
    /// Which.
    pub condition: Condition,
    /// What was seen.
    pub value: f64,
    /// What must not be reached.
    pub threshold: f64,
}

impl From<&StopSpec> for Stops {
    fn from(spec: &StopSpec) -> Self {
        Self {
            error_share_above: spec.error_share_above.map(|share| share.get()),
            target_memory_above: spec.target_memory_above.map(|share| share.get()),
            cpu_idle_below: spec.cpu_idle_below.map(|share| share.get()),
            response_time_above: spec.response_time_above,
        }
    }
}

impl Stops {
    /// What was met in a step: what names the target first, the machine last. `first` is the first step, which is compared with.
    pub fn met(&self, first: Option<&Seen>, now: &Seen) -> Vec<Met> {
        let before = first.and_then(|first| first.response_s);
        let times = now.response_s.zip(before.filter(|before| *before > 0.0));
        let rows = [
            (
                Condition::TargetMemory,
                now.memory_share,
                self.target_memory_above,
            ),
            (
                Condition::ErrorShare,
                now.error_share,
                self.error_share_above,
            ),
            (
                Condition::ResponseTime,
                times.map(|(now, before)| now / before),
                self.response_time_above,
            ),
            (Condition::CpuIdle, now.cpu_idle_share, self.cpu_idle_below),
        ];
        let met = |(condition, value, threshold): (Condition, Option<f64>, Option<f64>)| {
            let (value, threshold) = (value?, threshold?);
            let is_met = if condition == Condition::CpuIdle {
                value < threshold
            } else {
                value > threshold
            };
            is_met.then_some(Met {
                condition,
                value,
                threshold,
            })
        };
        rows.into_iter().filter_map(met).collect()
    }
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [value, threshold] = [self.value, self.threshold].map(|share| 100.0 * share);
        match self.condition {
            Condition::TargetMemory => write!(
                f,
                "the target's memory was {value:.1} % of its own limit, above {threshold:.1} %"
            ),
            Condition::ErrorShare => write!(
                f,
                "{value:.1} % of the answers failed, above {threshold:.1} %"
            ),
            Condition::ResponseTime => write!(
                f,
                "the response time (p95) was {:.1} times that of the first step, above {}",
                self.value, self.threshold
            ),
            Condition::CpuIdle => write!(
                f,
                "the machine's CPU was {value:.1} % idle, below {threshold:.1} %"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(memory: f64, errors: f64, response: f64, idle: f64) -> Seen {
        Seen {
            memory_share: Some(memory),
            error_share: Some(errors),
            response_s: Some(response),
            cpu_idle_share: Some(idle),
        }
    }

    #[test]
    fn what_is_met_is_named_and_what_was_not_seen_decides_nothing() {
        let stops = Stops::from(&StopSpec::default());
        let first = seen(0.2, 0.0, 1.0, 0.9);
        let met = |now: Seen| -> Vec<String> {
            let met = stops.met(Some(&first), &now);
            met.iter().map(ToString::to_string).collect()
        };
        assert_eq!(met(seen(0.9, 0.05, 2.0, 0.3)), Vec::<String>::new());
        assert_eq!(
            met(seen(0.93, 0.164, 2.5, 0.12)),
            [
                "the target's memory was 93.0 % of its own limit, above 90.0 %",
                "16.4 % of the answers failed, above 5.0 %",
                "the response time (p95) was 2.5 times that of the first step, above 2",
                "the machine's CPU was 12.0 % idle, below 30.0 %",
            ]
        );
        assert_eq!(met(Seen::default()), Vec::<String>::new());
        assert_eq!(stops.met(None, &seen(0.1, 0.0, 99.0, 0.9)), []);
    }
}
