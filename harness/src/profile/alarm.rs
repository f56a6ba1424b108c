//! An alarm, as a profile writes it: what must not last, and who is told.

use std::{fmt, ops::Range};

use serde::Deserialize;
use toml::Spanned;

use crate::units::{ByteSize, Period, Share, bytes};

/// One alarm: `when = { target-memory-above = "256 MiB" }`, `for = "5s"`, `then = { stop = true }`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Alarm {
    /// What must not be.
    pub when: When,
    /// How long it must last; if not given, one sample is enough.
    #[serde(default, rename = "for")]
    pub lasts: Option<Period>,
    /// Who is told, beside events.csv and the terminal.
    #[serde(default)]
    pub then: Then,
}

/// What must not be.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum When {
    /// Resident memory of the target's process tree. Never the machine's.
    TargetMemoryAbove(ByteSize),
    /// Descriptors of the target's process tree.
    FdsAbove(u32),
    /// Sessions, by the target's own count.
    SessionsAbove(u32),
    /// Of the connections that ended in the last ten seconds (or in `for`, if that is longer), the share that did not end as planned.
    ErrorShareAbove(Share),
    /// 99 % of the first events of a sample's interval came sooner than this.
    FirstEventP99Above(Period),
    /// Memory that the machine has left.
    HostAvailableBelow(ByteSize),
    /// Memory of the target's control group, as a share of its limit.
    CgroupShareAbove(Share),
}

/// Who is told.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Then {
    /// `events.csv` and the terminal; they are told in any case.
    pub log: bool,
    /// A command with its arguments. It finds `SSE_SOAK_ALARM` and `SSE_SOAK_RUN` in its environment.
    pub command: Option<Spanned<Vec<String>>>,
    /// A URL to which the alarm is posted as JSON.
    pub webhook: Option<Spanned<String>>,
    /// The run ends: exit code 13.
    pub stop: bool,
}

impl When {
    /// The value that must not be reached, and whether it is a ceiling (or a floor).
    pub fn threshold(self) -> (f64, bool) {
        match self {
            Self::TargetMemoryAbove(size) => (size.0 as f64, true),
            Self::FdsAbove(count) | Self::SessionsAbove(count) => (f64::from(count), true),
            Self::ErrorShareAbove(share) | Self::CgroupShareAbove(share) => (share.get(), true),
            Self::FirstEventP99Above(time) => (time.get().as_secs_f64(), true),
            Self::HostAvailableBelow(size) => (size.0 as f64, false),
        }
    }

    /// A value of what is watched, for a person.
    pub fn value(self, value: f64) -> String {
        match self {
            Self::TargetMemoryAbove(_) | Self::HostAvailableBelow(_) => bytes(value),
            Self::FdsAbove(_) | Self::SessionsAbove(_) => format!("{value:.0}"),
            Self::ErrorShareAbove(_) | Self::CgroupShareAbove(_) => {
                format!("{:.1} %", 100.0 * value)
            }
            Self::FirstEventP99Above(_) => format!("{value:.3} s"),
        }
    }
}

impl fmt::Display for When {
    /// What is watched.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::TargetMemoryAbove(_) => "the target's resident memory",
            Self::FdsAbove(_) => "the target's descriptors",
            Self::SessionsAbove(_) => "the target's sessions",
            Self::ErrorShareAbove(_) => "the share of connections that failed",
            Self::FirstEventP99Above(_) => "the time to the first event (p99)",
            Self::HostAvailableBelow(_) => "the machine's available memory",
            Self::CgroupShareAbove(_) => "the control group's share of its limit",
        })
    }
}

impl Alarm {
    pub(super) fn contradiction(&self) -> Option<(Range<usize>, String)> {
        if let Some(command) = self
            .then
            .command
            .as_ref()
            .filter(|c| c.get_ref().is_empty())
        {
            let message = "`command` is empty: write the program and its arguments";
            return Some((command.span(), message.into()));
        }
        let webhook = self.then.webhook.as_ref()?;
        let url = webhook.get_ref();
        (!url.starts_with("http://")).then(|| {
            let message = format!("`{url}` is not a URL that this version can post to: write \"http://HOST:PORT/PATH\"");
            (webhook.span(), message)
        })
    }
}
