//! `sse-soak run --tolerance … --within …`: an assay that is laid out as it goes. Here the recording is read between stretches, and what
//! is decided there becomes the plan of the next one.

use std::{path::Path, time::Duration};

use clap::Args;

use super::exit::Usage;
use crate::{
    diagnose::adaptive::{self, Next},
    plan::{Adaptive, Plan},
    profile::{Assay, Kind, Profile, Tolerances},
    record::{AdaptiveFacts, Recording},
    soak::{Onward, Setup},
    units::{ByteSize, Period},
};

#[derive(Debug, Args)]
pub(super) struct AdaptiveArguments {
    /// What must be shown, SIZE for every unit or UNIT=SIZE (connection, session, event), instead of the profile's tolerances; may be
    /// given several times. An assay then measures first, and plans its doses and cycles for it.
    #[arg(long, value_name = "SIZE")]
    tolerance: Vec<String>,
    /// The time there is for it, such as 10m, instead of the profile's number of cycles.
    #[arg(long, value_name = "TIME", value_parser = str::parse::<Period>)]
    within: Option<Period>,
    /// End with the first leak that is found, instead of measuring it on. Needs --tolerance or --within.
    #[arg(long)]
    stop_early: bool,
}

impl AdaptiveArguments {
    /// What was asked, with the profile's tolerances overruled; `None`: the profile's own cycles are played.
    pub(super) fn asked(
        &self,
        profile: &mut Profile,
        seed: u64,
    ) -> Result<Option<AdaptiveFacts>, Usage> {
        if self.tolerance.is_empty() && self.within.is_none() {
            return if self.stop_early {
                Err(Usage(
                    "--stop-early needs --within or --tolerance: without them the profile's own cycles are played".into(),
                ))
            } else {
                Ok(None)
            };
        }
        if !matches!(profile.run, Kind::Assay(_)) {
            return Err(Usage(format!(
                "--tolerance and --within are for an assay (`[run.assay]`); this profile is a {}",
                profile.run.name()
            )));
        }
        for text in &self.tolerance {
            overrule(&mut profile.tolerances, text)?;
        }
        let usual = || Plan::new(profile, seed).longest();
        Ok(Some(AdaptiveFacts {
            within_s: self.within.map_or_else(usual, Period::get).as_secs_f64(),
            stop_early: self.stop_early,
            doses: 1,
            ..AdaptiveFacts::default()
        }))
    }
}

fn overrule(tolerances: &mut Tolerances, text: &str) -> Result<(), Usage> {
    let (unit, size) = match text.split_once('=') {
        Some((unit, size)) => (Some(unit.trim()), size),
        None => (None, text),
    };
    let size: ByteSize = size
        .parse()
        .map_err(|why| Usage(format!("--tolerance {text}: {why}")))?;
    let Tolerances {
        connection,
        session,
        event,
        ..
    } = tolerances;
    let all = match unit {
        None => vec![connection, session, event],
        Some("connection") => vec![connection],
        Some("session") => vec![session],
        Some("event") => vec![event],
        Some(other) => {
            return Err(Usage(format!(
                "--tolerance {text}: `{other}` is no unit; write connection, session or event, or a size for all of them"
            )));
        }
    };
    for tolerance in all {
        *tolerance = size;
    }
    Ok(())
}

/// The plan to begin with: the pilot's, or the whole.
pub(super) fn first_plan(profile: &Profile, seed: u64, asked: Option<&AdaptiveFacts>) -> Plan {
    match (&profile.run, asked) {
        (Kind::Assay(assay), Some(_)) => Adaptive::new(profile, assay, seed).pilot(),
        _ => Plan::new(profile, seed),
    }
}

/// How a run goes on.
pub(super) struct Course<'s>(Option<Laid<'s>>);

struct Laid<'s> {
    assay: &'s Assay,
    layout: Adaptive<'s>,
    out: &'s Path,
    facts: AdaptiveFacts,
    is_over: bool,
}

impl<'s> Course<'s> {
    pub(super) fn of(setup: &'s Setup) -> Self {
        let (Kind::Assay(assay), Some(facts)) = (&setup.profile.run, &setup.adaptive) else {
            return Self(None);
        };
        Self(Some(Laid {
            assay,
            layout: Adaptive::new(&setup.profile, assay, setup.plan.seed),
            out: &setup.out,
            facts: facts.clone(),
            is_over: false,
        }))
    }

    /// Reads what was recorded, decides, and tells what is new, unless it is to be quiet.
    pub(super) fn onward(
        &mut self,
        quiet: bool,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Option<Onward>, String> {
        let Some(laid) = self.0.as_mut().filter(|laid| !laid.is_over) else {
            return Ok(None);
        };
        let recording = Recording::read(laid.out).map_err(|error| error.to_string())?;
        let said = laid.facts.said.len();
        let (facts, next) = adaptive::onward(recording, laid.assay, laid.facts.clone());
        if !quiet {
            facts.said[said..].iter().for_each(|text| tell(text));
        }
        laid.facts = facts.clone();
        let plan = match next {
            Next::Stretch { from, to, doses } => laid.layout.stretch(from, to, doses),
            Next::Last { cycles } => {
                laid.is_over = true;
                laid.layout.last(cycles)
            }
        };
        Ok(Some(Onward {
            facts,
            plan: Some(plan).filter(|plan| plan.longest() > Duration::ZERO),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tolerance_is_for_every_unit_or_for_one() {
        let mut tolerances = Tolerances::default();
        for text in ["64 B", "event=2 B"] {
            overrule(&mut tolerances, text).unwrap();
        }
        let Tolerances {
            connection,
            session,
            event,
            ..
        } = tolerances;
        assert_eq!([connection, session, event].map(|size| size.0), [64, 64, 2]);
        for (wrong, said) in [
            ("64", "has no unit"),
            ("apple=3 B", "connection, session or event"),
            ("event=", "has no unit"),
        ] {
            let complaint = overrule(&mut tolerances, wrong).unwrap_err().to_string();
            assert!(complaint.contains(said), "{complaint}");
        }
    }
}
