//! How far an assay goes that is laid out as it goes: what the pilot measured, what the time can show, and when to stop.
//!
//! In: the [`Recording`] so far, and the [`AdaptiveFacts`] that led there. Out: the facts to be, and the [`Next`] stretch. Start at
//! [`onward`]. [`pilot`] measures, [`planner`] lays the tolerance beside the time (the method, §3.4), and looks are taken after 10, 20,
//! 40, … cycles and at the end (§8), each at its own part of alpha. Nothing here knows a clock: how late it is stands in the recording,
//! so the same recording gives the same course.
//! Never lays out cycles: that is [`plan`](crate::plan).

pub mod pilot;
pub mod planner;

use self::planner::{Ask, Prospect};
use super::{
    finding::sentence::{amount, duration, quantity},
    outlook::Outlook,
    recording::{evidence, tolerance},
    verdict::{self, Judgement, Rules, Verdict},
};
use crate::{
    plan::{FIRST_LOOK, PILOT},
    profile::Assay,
    record::{AdaptiveFacts, Recording},
};

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Judged cycles from one number up to another, with so many times the profile's doses.
    Stretch {
        /// The first.
        from: u32,
        /// One more than the last.
        to: u32,
        /// How many times the doses.
        doses: u32,
    },
    /// The last rest; nothing after it.
    Last {
        /// Judged cycles in all.
        cycles: u32,
    },
}

/// Decides, when every step so far is recorded.
pub fn onward(
    mut recording: Recording,
    assay: &Assay,
    mut facts: AdaptiveFacts,
) -> (AdaptiveFacts, Next) {
    let done = cycles(&recording);
    if facts.pilot.is_none() {
        let Some(measured) = pilot::measure(&recording, assay) else {
            let text = "the pilot could not read any memory of the target: nothing more is tried";
            facts.said.push(text.into());
            return (finished(facts, done), Next::Last { cycles: done });
        };
        let ask = Ask::of(assay, &measured, facts.within_s, tolerance(&recording));
        let prospect = planner::plan(&measured, &ask);
        facts.said.extend(prospect.said(&measured, &ask));
        (facts.doses, facts.planned_cycles) = (prospect.doses, prospect.planned);
        facts.pilot = Some(measured);
        return match next_look(done, prospect.planned) {
            Some(to) => (facts, stretch(done, to, prospect.doses)),
            None => (finished(facts, done), Next::Last { cycles: done }),
        };
    }
    facts.looks.push(done);
    recording.manifest.plan.adaptive = Some(facts.clone());
    let rules = Rules {
        tolerance: tolerance(&recording),
        ..Rules::default()
    };
    let judgement = verdict::judge(&evidence(&recording), &rules);
    let most = facts.pilot.as_ref().map_or(done, |pilot| {
        done + planner::cycles_in(
            facts.within_s - seconds(&recording) - planner::rest_at_the_end(assay),
            pilot.cycle_s,
        )
    });
    let (to, text) = decide(&judgement, done, &facts, most);
    facts.said.push(format!(
        "after {done} cycles ({}): {}; {text}",
        told(seconds(&recording)),
        stand(&judgement)
    ));
    let doses = facts.doses;
    let next = to.map_or(Next::Last { cycles: done }, |to| stretch(done, to, doses));
    (facts, next)
}

fn stretch(from: u32, to: u32, doses: u32) -> Next {
    // The pilot goes on with the profile's doses: what was measured was measured with them.
    Next::Stretch { from, to, doses }
}

fn finished(mut facts: AdaptiveFacts, done: u32) -> AdaptiveFacts {
    if facts.looks.last() != Some(&done) {
        facts.looks.push(done);
    }
    facts
}

/// Up to which cycle it goes on, and why.
fn decide(
    judgement: &Judgement,
    done: u32,
    facts: &AdaptiveFacts,
    most: u32,
) -> (Option<u32>, String) {
    let is_leak = judgement.verdict == Verdict::Leak;
    let goal = facts.planned_cycles.min(most);
    if is_leak && facts.stop_early {
        return (None, "that is enough, as was asked".into());
    }
    if let Some(to) = next_look(done, goal) {
        return (Some(to), format!("on to {to} of {goal}"));
    }
    if is_leak || judgement.verdict == Verdict::Clean {
        return (None, "that is the answer".into());
    }
    if is_hopeless(judgement) {
        return (None, "no time would tell more on this signal".into());
    }
    match next_look(done, most) {
        Some(to) => (
            Some(to),
            format!("going on to {to}, of {most} that the time allows"),
        ),
        None => (None, "the time is up".into()),
    }
}

fn stand(judgement: &Judgement) -> &'static str {
    match judgement.verdict {
        Verdict::Leak => "a leak was found",
        Verdict::Clean => "no leak, and every bound is below its tolerance",
        Verdict::UnexplainedGrowth => "something grows that no factor explains",
        Verdict::Saturating => "something grew and slowed down",
        Verdict::Inconclusive => "no leak, but not every bound is below its tolerance",
    }
}

/// Whether what is still open would stay open for ever.
fn is_hopeless(judgement: &Judgement) -> bool {
    let for_ever = |outlook: &Outlook| matches!(outlook, Outlook::Hidden | Outlook::TooCoarse);
    judgement.verdict == Verdict::Inconclusive
        && !judgement.outlook.is_empty()
        && judgement
            .outlook
            .iter()
            .all(|(_, outlook)| for_ever(outlook))
}

/// The next cycle after which to look: 10, 20, 40, … but not beyond the goal; `None` if that is reached.
fn next_look(done: u32, goal: u32) -> Option<u32> {
    let doubling = std::iter::successors(Some(FIRST_LOOK), |n| n.checked_mul(2));
    let next = doubling.take(24).find(|n| *n > done)?;
    (goal > done).then(|| next.min(goal))
}

/// Judged cycles that were recorded.
fn cycles(recording: &Recording) -> u32 {
    let readings = &recording.readings;
    let judged = (0..readings.rows()).filter(|row| {
        readings.text("kind", *row) == Some("cycle")
            && readings
                .number("cycle", *row)
                .is_some_and(|cycle| cycle >= 0.0)
    });
    u32::try_from(judged.count()).unwrap_or(u32::MAX)
}

/// When the last reading was taken.
fn seconds(recording: &Recording) -> f64 {
    let times = recording.readings.numbers("t_s").unwrap_or_default();
    times
        .iter()
        .copied()
        .filter(|t| t.is_finite())
        .fold(0.0, f64::max)
}

fn told(seconds: f64) -> String {
    std::time::Duration::try_from_secs_f64(seconds).map_or_else(|_| "?".into(), duration)
}

impl Prospect {
    /// What the pilot saw, and what the time can and cannot show.
    fn said(&self, pilot: &crate::record::PilotFacts, ask: &Ask) -> Vec<String> {
        let signal = planner::signal(pilot);
        let cpu = pilot.cpu_share.map_or_else(String::new, |share| {
            format!(
                ", the target busy with {} % of a core",
                amount((100.0 * share).round())
            )
        });
        let mut said = vec![format!(
            "pilot of {PILOT} cycles, {} s each: readings ({}) differ by {} from cycle to cycle, {} per closed connection stayed; {} connections/s{cpu}",
            amount(pilot.cycle_s),
            signal.name(),
            quantity(signal, pilot.noise_bytes.round()),
            quantity(signal, pilot.kept_bytes_per_connection.max(0.0)),
            amount(pilot.connections_per_s),
        )];
        let most = ask.most_cycles;
        let shown: Vec<String> = self
            .shown
            .iter()
            .map(|shown| format!("{} B per {}", amount(shown.in_time), shown.unit))
            .collect();
        said.push(format!(
            "in {} there is time for {most} cycles: {}",
            told(ask.within_s),
            shown.join(", ")
        ));
        for shown in &self.shown {
            let asked = format!("{} B per {}", amount(shown.tolerance), shown.unit);
            let time = |cycles: u32| told(ask.seconds_for(cycles));
            said.push(match shown.needed {
                Some(cycles) if cycles <= most => {
                    format!("{asked} needs {cycles} cycles, {} in all", time(cycles))
                }
                Some(cycles) => format!(
                    "{asked} needs {cycles} cycles, {}: more than there is",
                    time(cycles)
                ),
                None => {
                    format!("{asked} cannot be shown on this signal with these doses, in any time")
                }
            });
        }
        let doses = if self.doses == 1 {
            String::new()
        } else {
            format!(", with {} times the profile's doses", self.doses)
        };
        said.push(format!("planned: {} cycles{doses}", self.planned));
        said
    }
}

#[cfg(test)]
mod tests;
