//! Step load, as a profile writes it: more and more users, and what must not be reached.

use std::ops::Range;

use serde::{Deserialize, Deserializer, de};
use toml::Spanned;

use crate::units::{ByteSize, Period, Share};

/// Steps that a run may have: a table of more is read by nobody.
const MOST_STEPS: usize = 200;

/// Users of one step at most.
const MOST_USERS: u32 = 1_000_000;

/// So many users for so long, a rest, then more of them, until the last step or a stop condition.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Steps {
    /// Users of each step: `[10, 20, 30]`.
    pub users: Spanned<Vec<u32>>,
    /// What a user does; a connection each time.
    pub script: Spanned<String>,
    /// How long a step is held.
    #[serde(default = "twenty_seconds")]
    pub hold: Period,
    /// The pause after it, in which answers under way are read to their end.
    #[serde(default = "ten_seconds")]
    pub rest: Period,
    /// When a user begins the next time.
    #[serde(default)]
    pub pace: Pace,
    /// A user leaves so long after its first event; without it, the server ends the answer.
    #[serde(default)]
    pub stay: Option<Period>,
    /// The target's own limit on memory: a size, or its control group's (the default). Never the machine's.
    #[serde(default)]
    pub limit: OwnLimit,
    /// What ends the run. If given, only what is named in it does.
    #[serde(default)]
    pub stop: StopSpec,
}

/// When a user begins the next time.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Pace {
    /// When the last answer has ended, and it has thought: `{ closed = { think = "1s" } }`. A slow target gets less load.
    Closed {
        /// How long it thinks.
        #[serde(default)]
        think: Option<Period>,
    },
    /// By the clock, whether the last answer has ended or not: `{ open = { every = "2s" } }`. A slow target gets as much load as ever.
    Open {
        /// A user begins so often.
        every: Period,
    },
}

impl Default for Pace {
    fn default() -> Self {
        Self::Closed { think: None }
    }
}

/// The target's own limit on memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnLimit {
    /// That of its control group; none if that has none.
    #[default]
    Cgroup,
    /// So much resident memory.
    Size(ByteSize),
}

impl<'de> Deserialize<'de> for OwnLimit {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        match String::deserialize(input)?.as_str() {
            "cgroup" => Ok(Self::Cgroup),
            "host" => Err(de::Error::custom(
                "the machine's memory is not the target's limit: write a size such as \"512 MiB\", or \"cgroup\"",
            )),
            size => size
                .parse()
                .map(Self::Size)
                .map_err(|why: String| de::Error::custom(format!("{why}; or \"cgroup\""))),
        }
    }
}

/// What ends a run of steps.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StopSpec {
    /// Of the answers of a step, the share that failed.
    #[serde(default)]
    pub error_share_above: Option<Share>,
    /// The target's resident memory, as a share of its own limit.
    #[serde(default)]
    pub target_memory_above: Option<Share>,
    /// The share of the machine's cores that is idle, over a step.
    #[serde(default)]
    pub cpu_idle_below: Option<Share>,
    /// The response time (p95), as a multiple of the first step's.
    #[serde(default)]
    pub response_time_above: Option<f64>,
}

impl Default for StopSpec {
    /// Those of the report that this tool was made for: 5 % errors, 90 % of the limit, 30 % idle, twice the time.
    fn default() -> Self {
        Self {
            error_share_above: Share::new(0.05),
            target_memory_above: Share::new(0.9),
            cpu_idle_below: Share::new(0.3),
            response_time_above: Some(2.0),
        }
    }
}

fn twenty_seconds() -> Period {
    Period::new(std::time::Duration::from_secs(20)).expect("it is not zero")
}

fn ten_seconds() -> Period {
    Period::new(std::time::Duration::from_secs(10)).expect("it is not zero")
}

impl Steps {
    /// Every script that is named.
    pub(super) fn scripts(&self) -> impl Iterator<Item = &Spanned<String>> {
        std::iter::once(&self.script)
    }

    pub(super) fn contradiction(&self) -> Option<(Range<usize>, String)> {
        let users = self.users.get_ref();
        let rises = users.windows(2).all(|pair| pair[0] < pair[1]);
        let counts = users.iter().all(|count| (1..=MOST_USERS).contains(count));
        if users.is_empty() || users.len() > MOST_STEPS || !rises || !counts {
            let message = format!(
                "`users` needs 1 to {MOST_STEPS} rising numbers of at least 1, such as [10, 20, 50]"
            );
            return Some((self.users.span(), message));
        }
        let times = self.stop.response_time_above?;
        (times.is_nan() || times <= 1.0).then(|| {
            let message = "`response-time-above` is a multiple of the first step's: write more than 1, such as 2.0";
            (self.users.span(), message.into())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_word_the_stop_conditions_are_the_reports_and_with_one_only_those_named() {
        let steps: Steps = toml::from_str("users = [1]\nscript = \"chat\"\n").unwrap();
        assert_eq!(steps.stop.response_time_above, Some(2.0));
        assert!(steps.stop.cpu_idle_below.is_some());
        let text = "users = [1]\nscript = \"chat\"\nstop = { error-share-above = 0.1 }\n";
        let steps: Steps = toml::from_str(text).unwrap();
        assert_eq!(steps.stop.error_share_above, Share::new(0.1));
        assert_eq!(steps.stop.response_time_above, None);
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for (keys, part) in [
            ("users = []", "rising numbers"),
            ("users = [10, 10]", "rising numbers"),
            ("users = [0, 1]", "rising numbers"),
            (
                "users = [1]\nstop = { response-time-above = 0.5 }",
                "multiple of the first",
            ),
        ] {
            let steps: Steps = toml::from_str(&format!("script = \"chat\"\n{keys}\n")).unwrap();
            let (_, message) = steps.contradiction().unwrap();
            assert!(message.contains(part), "{keys}: {message}");
        }
        for (keys, part) in [
            ("limit = \"host\"", "not the target's limit"),
            ("limit = \"64\"", "no unit"),
            ("pace = { open = {} }", "every"),
            ("pace = { both = {} }", "closed"),
        ] {
            let text = format!("users = [1]\nscript = \"chat\"\n{keys}\n");
            let message = toml::from_str::<Steps>(&text).unwrap_err().to_string();
            assert!(message.contains(part), "{keys}: {message}");
        }
    }
}
