//! Profile: what a person asked for. TOML in; typed values, or a precise complaint, out.
//!
//! In: the text of one file in `soak-profiles/`. Out: [`Profile`]. Start there; [`script`] is what a client says.
//! Durations and sizes carry their unit in the text. What would be wrong does not fit the types; what types cannot
//! say (a script that is named but not written, a dose without its script) is checked once, here, with line and column.
//! Never decides when anything happens: that is [`plan`](crate::plan).

mod alarm;
mod allocations;
mod assay;
mod cleanup;
mod complaint;
mod forecast;
mod manners;
mod script;
mod soak;
mod steps;
mod target;
mod workers;

use std::{
    collections::BTreeMap,
    fs,
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use toml::Spanned;

pub use self::{
    alarm::{Alarm, Then, When},
    allocations::{Allocations, Instrument},
    assay::{
        Assay, ClosedDose, ControlDose, Doses, EventDose, Probe, Rests, SessionDose, Standing,
        TurnDose,
    },
    cleanup::Cleanup,
    complaint::ProfileError,
    forecast::{Account, Forecast, Limit, Unit},
    manners::{NetworkSpec, ReconnectSpec},
    script::{CaptureSpec, ScriptSpec, StepSpec},
    soak::{ClosedRate, Population, Rate, Rates, Soak},
    steps::{OwnLimit, Pace, Steps, StopSpec},
    target::{AdminSpec, H2Spec, MetricsSpec, RuntimeSpec, TargetSpec, TlsSpec, Tolerances},
    workers::{NoWorkers, Workers},
};
use crate::units::Period;

/// What a person asks for: one file in `soak-profiles/`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Profile {
    /// The file's name without `.toml`; not a key.
    #[serde(skip)]
    pub name: String,
    /// The folder that the file lies in: `{profile}`; not a key.
    #[serde(skip)]
    pub folder: PathBuf,
    /// The file's text, for the manifest and its hash; not a key.
    #[serde(skip)]
    pub text: String,
    /// One sentence: what the profile is for.
    #[serde(default)]
    pub about: Option<String>,
    /// Fixes every random choice: same profile, same seed, same connections opened, held and dropped.
    pub seed: u64,
    /// How often the target is sampled: `"1s"`; [`Period`] refuses `"0s"` while parsing.
    #[serde(default = "one_second")]
    pub sample_every: Period,
    /// How many processes play the load: `workers = 3` or `"auto"`. Without it, one thread of the run's own process does.
    #[serde(default)]
    pub workers: Option<Spanned<Workers>>,
    /// The server under test.
    pub target: TargetSpec,
    /// What clients say, by name.
    pub scripts: BTreeMap<String, ScriptSpec>,
    /// Which kind of run, as a key: `[run.assay]`.
    pub run: Kind,
    /// What may stay without being a leak.
    #[serde(default)]
    pub tolerances: Tolerances,
    /// Which lines keep what: `[allocations]`, or `--profile` of the command line.
    #[serde(default)]
    pub allocations: Allocations,
    /// Where production stands: when would it reach its limit?
    #[serde(default)]
    pub forecast: Option<Forecast>,
    /// What must not last, and who is told: `[[alarm]]`.
    #[serde(default)]
    pub alarm: Vec<Alarm>,
}

/// The kinds of run.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Kind {
    /// Randomised doses in short cycles: minutes, and the sharpest answer.
    Assay(Box<Assay>),
    /// Leave in every way, wait, count what lingers.
    Cleanup(Box<Cleanup>),
    /// Hours of realistic load in blocks, judged as they pass.
    Soak(Box<Soak>),
    /// More and more users, up to the last step or a stop condition.
    Steps(Box<Steps>),
}

impl Kind {
    /// The name used in profiles and in the manifest.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Assay(_) => "assay",
            Self::Cleanup(_) => "cleanup",
            Self::Soak(_) => "soak",
            Self::Steps(_) => "steps",
        }
    }

    /// How long the target may take to forget who left.
    pub fn drain_within(&self) -> Duration {
        match self {
            Self::Assay(assay) => assay.drain_within.get(),
            Self::Cleanup(cleanup) => cleanup.session_ttl.get() + cleanup.grace.get(),
            Self::Soak(soak) => soak.drain_within.get(),
            Self::Steps(steps) => steps.rest.get(),
        }
    }

    /// How many standing sessions turns borrow from; `None`: there are no turns.
    fn lends_sessions_of(&self) -> Option<u32> {
        let (standing, turns) = match self {
            Self::Assay(assay) => (&assay.standing, assay.doses.turn.is_some()),
            Self::Soak(soak) => (&soak.standing, soak.rates.turn.is_some()),
            Self::Cleanup(_) | Self::Steps(_) => return None,
        };
        Some(standing.as_ref().filter(|_| turns)?.connections)
    }

    /// Every script that is named.
    fn scripts(&self) -> Vec<&Spanned<String>> {
        match self {
            Self::Assay(assay) => assay.scripts().collect(),
            Self::Cleanup(cleanup) => cleanup.scripts().collect(),
            Self::Soak(soak) => soak.scripts().collect(),
            Self::Steps(steps) => steps.scripts().collect(),
        }
    }

    fn contradiction(&self, target: &TargetSpec) -> Option<(Range<usize>, String)> {
        match self {
            Self::Assay(assay) => assay.contradiction(),
            Self::Cleanup(cleanup) => cleanup.contradiction(),
            Self::Soak(soak) => soak.contradiction(target),
            Self::Steps(steps) => steps.contradiction(),
        }
    }
}

fn one_second() -> Period {
    Period::new(Duration::from_secs(1)).expect("one second is not zero")
}

impl Profile {
    /// Reads a profile from a file.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, has an unknown key or a wrong value, or contradicts itself; the message
    /// names the file, the line and what is allowed.
    pub fn read(path: &Path) -> Result<Self, ProfileError> {
        let file = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|source| ProfileError::Unreadable {
            file: file.clone(),
            source,
        })?;
        let name = path.file_stem().map_or_else(
            || "profile".into(),
            |stem| stem.to_string_lossy().into_owned(),
        );
        let folder = path.canonicalize().ok();
        let folder = folder.and_then(|path| Some(path.parent()?.to_owned()));
        Ok(Self {
            folder: folder.unwrap_or_default(),
            ..Self::parse(&name, &file, text)?
        })
    }

    /// Reads a profile from text; `file` is only for messages.
    ///
    /// # Errors
    /// See [`Profile::read`].
    pub fn parse(name: &str, file: &str, text: String) -> Result<Self, ProfileError> {
        let mut profile: Self =
            toml::from_str(&text).map_err(|source| ProfileError::Malformed {
                file: file.into(),
                source: Box::new(source),
            })?;
        let complaint = profile.contradiction();
        if let Some((span, message)) = complaint {
            return Err(ProfileError::at(file, &text, span.start, message));
        }
        profile.name = name.into();
        profile.text = text;
        Ok(profile)
    }

    /// The first thing that types could not refuse, with its place in the text.
    fn contradiction(&self) -> Option<(Range<usize>, String)> {
        let scripts = self.scripts.values().find_map(ScriptSpec::contradiction);
        let named = || self.run.scripts().into_iter();
        scripts
            .or_else(|| self.target.contradiction())
            .or_else(|| self.run.contradiction(&self.target))
            .or_else(|| self.too_many_workers())
            .or_else(|| self.alarm.iter().find_map(Alarm::contradiction))
            .or_else(|| named().find_map(|name| self.unknown_script(name)))
    }

    /// A worker lends the sessions of its own standing streams only.
    fn too_many_workers(&self) -> Option<(Range<usize>, String)> {
        let workers = self.workers.as_ref()?;
        let Workers::Count(count) = workers.get_ref() else {
            return None;
        };
        let standing = self.run.lends_sessions_of()?;
        (count.get() > standing).then(|| {
            let message = format!(
                "turns borrow from the standing sessions of their own worker, and {count} workers have only {standing} of them: \
                 write at most `workers = {standing}`"
            );
            (workers.span(), message)
        })
    }

    fn unknown_script(&self, name: &Spanned<String>) -> Option<(Range<usize>, String)> {
        if self.scripts.contains_key(name.get_ref()) {
            return None;
        }
        let known: Vec<_> = self.scripts.keys().map(|key| format!("`{key}`")).collect();
        Some((
            name.span(),
            format!(
                "no script is named `{}`; `[scripts.…]` has {}",
                name.get_ref(),
                known.join(", ")
            ),
        ))
    }
}

#[cfg(test)]
mod tests;
