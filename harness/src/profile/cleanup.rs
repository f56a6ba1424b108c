//! A cleanup run, as a profile writes it: one way of leaving a round, and what lingers after the time that the server is given.

use std::{collections::BTreeMap, ops::Range};

use serde::Deserialize;
use toml::Spanned;

use super::{ClosedDose, Standing};
use crate::units::{Leave, Period};

/// Clients leave in one way, all together; then the counts are watched until the last of them is forgotten, or the time is over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Cleanup {
    /// How often each way of leaving is played; their order is drawn anew in every round.
    #[serde(default = "three")]
    pub rounds: Spanned<u32>,
    /// How long clients stay: they come in the first part of it and leave together at its end.
    pub dose: Period,
    /// How long the server keeps a session that nobody uses.
    pub session_ttl: Period,
    /// How much later than that everything must be gone.
    pub grace: Period,
    /// Length of the reading after each round; memory is shown, not judged.
    #[serde(default = "a_moment")]
    pub read: Period,
    /// Streams and sessions held during the whole run.
    #[serde(default)]
    pub standing: Option<Standing>,
    /// The ways of leaving: `fin = { script = "feed", connections = 60 }`. With `stay`, each client leaves so long after its first
    /// event instead of with the others.
    pub leave: BTreeMap<Leave, ClosedDose>,
}

fn three() -> Spanned<u32> {
    Spanned::new(0..0, 3)
}

fn a_moment() -> Period {
    Period::new(std::time::Duration::from_millis(60)).expect("it is not zero")
}

impl Cleanup {
    /// Every script that is named.
    pub(super) fn scripts(&self) -> impl Iterator<Item = &Spanned<String>> {
        let standing = self.standing.iter().map(|standing| &standing.script);
        standing.chain(self.leave.values().map(|dose| &dose.script))
    }

    pub(super) fn contradiction(&self) -> Option<(Range<usize>, String)> {
        if !(1..=1000).contains(self.rounds.get_ref()) {
            let message = "a cleanup run has 1 to 1,000 rounds; 3 tell a slow moment from a rule";
            return Some((self.rounds.span(), message.into()));
        }
        if self.leave.is_empty() {
            let message =
                "`[run.cleanup.leave]` is empty: name at least one way of leaving, such as `fin`";
            return Some((0..0, message.into()));
        }
        None
    }
}
