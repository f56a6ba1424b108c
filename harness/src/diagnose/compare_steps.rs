//! Two step loads laid side by side: where each had its knee, and what became of every step that both climbed.
//!
//! In: two [`Recording`]s of kind `steps`. Out: a [`StepsComparison`]. Start at [`compare_steps`]. Means of response times have an interval:
//! conversations are taken as independent of one another, as their standard errors are; memory and throughput are single numbers and have none.

use serde::Serialize;

use super::{
    compare::{Change, Incomparable},
    staircase::{KIND, Stair, Times, duration, stairs},
};
use crate::record::Recording;

/// A mean that moved by less than this share of what it was is the same.
const SAME: f64 = 0.1;
/// Standard errors in half a 95 % interval.
const REACH: f64 = 1.96;

/// One number of users in both runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepChange {
    /// Users.
    pub users: u32,
    /// Mean response time before, seconds.
    pub mean_before_s: Option<f64>,
    /// The same after.
    pub mean_after_s: Option<f64>,
    /// After minus before.
    pub difference_s: Option<f64>,
    /// Lower end of its 95 % interval.
    pub low_s: Option<f64>,
    /// Upper end of it.
    pub high_s: Option<f64>,
    /// Share that did not fail, before and after.
    pub success_share: [Option<f64>; 2],
    /// Conversations a second, before and after.
    pub throughput_per_s: [f64; 2],
    /// The target's memory at its highest, before and after, bytes.
    pub target_memory_bytes: [Option<f64>; 2],
    /// Whether a stop condition was met, before and after.
    pub met: [bool; 2],
    /// What that means.
    pub change: Change,
}

/// Two step loads, compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepsComparison {
    /// Version of this format.
    pub version: u32,
    /// The sum: the knee decides; where it stayed, the heaviest change of a step.
    pub change: Change,
    /// The most users served within every limit, before and after; `None`: not even the first step was.
    pub served: [Option<u32>; 2],
    /// Whether a stop condition was met at all, before and after.
    pub stopped: [bool; 2],
    /// Step by step, those that both runs climbed.
    pub steps: Vec<StepChange>,
    /// What had to be taken for granted.
    pub assumptions: Vec<String>,
    /// In a line.
    pub text: String,
}

/// Whether both are step loads.
pub fn are_steps(before: &Recording, after: &Recording) -> bool {
    [before, after].iter().all(|run| run.manifest.kind == KIND)
}

/// Compares two step loads.
///
/// # Errors
/// They have no number of users in common.
pub fn compare_steps(
    before: &Recording,
    after: &Recording,
) -> Result<StepsComparison, Incomparable> {
    compare_stairs(&stairs(before), &stairs(after))
}

fn compare_stairs(before: &[Stair], after: &[Stair]) -> Result<StepsComparison, Incomparable> {
    let pairs = before.iter().filter_map(|was| {
        let is = after.iter().find(|is| is.users == was.users)?;
        Some(step(was, is))
    });
    let steps: Vec<StepChange> = pairs.collect();
    if steps.is_empty() {
        return Err(Incomparable::NothingInCommon {
            before: users(before),
            after: users(after),
        });
    }
    let served = [before, after].map(served);
    let stopped = [before, after].map(|stairs| stairs.iter().any(|stair| !stair.met.is_empty()));
    let change = sum(served, stopped, &steps);
    Ok(StepsComparison {
        version: 1,
        text: sentence(served, stopped),
        change,
        served,
        stopped,
        steps,
        assumptions: vec![
            "intervals take conversations as independent of one another; memory and throughput are single numbers without one".into(),
        ],
    })
}

/// The most users served before any condition was met.
fn served(stairs: &[Stair]) -> Option<u32> {
    let within = stairs.iter().take_while(|stair| stair.met.is_empty());
    within.last().map(|stair| stair.users)
}

/// A knee that moved decides. A run that met nothing may have served more than it was asked to.
fn sum(served: [Option<u32>; 2], stopped: [bool; 2], steps: &[StepChange]) -> Change {
    let heaviest = || {
        let changes = steps.iter().map(|step| step.change);
        changes.min().unwrap_or(Change::CannotTell)
    };
    match stopped {
        [true, false] => Change::Fixed,
        [false, true] if served[1] < served[0] => Change::Worse,
        [true, true] if served[1] < served[0] => Change::Worse,
        [true, true] if served[1] > served[0] => Change::Better,
        [true, true] => heaviest().min(Change::Same),
        _ => heaviest(),
    }
}

fn step(was: &Stair, is: &Stair) -> StepChange {
    let both = was.response.zip(is.response);
    let difference = both.map(|(was, is)| difference(&was, &is));
    let met = [was, is].map(|stair| !stair.met.is_empty());
    let change = match (met, both, difference) {
        ([true, false], ..) => Change::Fixed,
        ([false, true], ..) => Change::Worse,
        (_, Some((was, _)), Some([_, low, high])) => {
            let slack = SAME * was.mean_s;
            match () {
                () if low > slack => Change::Worse,
                () if high < -slack => Change::Better,
                () if low >= -slack && high <= slack => Change::Same,
                () => Change::CannotTell,
            }
        }
        _ => Change::CannotTell,
    };
    StepChange {
        users: was.users,
        mean_before_s: was.response.map(|times| times.mean_s),
        mean_after_s: is.response.map(|times| times.mean_s),
        difference_s: difference.map(|[mean, ..]| mean),
        low_s: difference.map(|[_, low, _]| low),
        high_s: difference.map(|[.., high]| high),
        success_share: [was, is].map(|stair| stair.success_share),
        throughput_per_s: [was, is].map(|stair| stair.throughput_per_s),
        target_memory_bytes: [was, is].map(|stair| stair.target_memory_bytes),
        met,
        change,
    }
}

/// The difference of two means, and its 95 % interval.
fn difference(was: &Times, is: &Times) -> [f64; 3] {
    let variance = |times: &Times| times.sd_s.powi(2) / times.count.max(1.0);
    let mean = is.mean_s - was.mean_s;
    let half = REACH * (variance(was) + variance(is)).sqrt();
    [mean, mean - half, mean + half]
}

fn sentence(served: [Option<u32>; 2], stopped: [bool; 2]) -> String {
    let one = |index: usize| match (served[index], stopped[index]) {
        (None, _) => "not even the first step".to_owned(),
        (Some(users), true) => format!("{users} users"),
        (Some(users), false) => format!("{users} users and no knee found"),
    };
    format!(
        "served within every limit: {} before, {} after",
        one(0),
        one(1)
    )
}

fn users(stairs: &[Stair]) -> String {
    let users: Vec<String> = stairs.iter().map(|stair| stair.users.to_string()).collect();
    format!("{} users", users.join(", "))
}

impl StepChange {
    /// `+120 ms (110 … 130 ms)`, or why there is none.
    pub fn difference(&self) -> String {
        let parts = (self.difference_s, self.low_s, self.high_s);
        let (Some(mean), Some(low), Some(high)) = parts else {
            return "?".into();
        };
        let signed = |seconds: f64| {
            let sign = if seconds < 0.0 { "-" } else { "+" };
            format!("{sign}{}", duration(seconds.abs()))
        };
        format!("{} ({} … {})", signed(mean), signed(low), signed(high))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Condition, Met};

    fn stair(users: u32, mean_s: f64, is_met: bool) -> Stair {
        let times = Times {
            count: 400.0,
            mean_s,
            sd_s: 0.02,
            min_s: mean_s,
            max_s: mean_s,
            p50_s: mean_s,
            p95_s: mean_s,
            p99_s: mean_s,
        };
        let met = Met {
            condition: Condition::TargetMemory,
            value: 0.95,
            threshold: 0.9,
        };
        Stair {
            users,
            held_s: 20.0,
            requests: 400.0,
            failed: 0.0,
            cut: 0.0,
            success_share: Some(1.0),
            response: Some(times),
            first_event: None,
            throughput_per_s: 20.0,
            events_per_s: 100.0,
            target_cores: None,
            target_memory_bytes: Some(1e6),
            target_rested_bytes: None,
            target_limit_bytes: None,
            host_idle_share: None,
            host_cores: None,
            host_available_bytes: None,
            host_memory_bytes: None,
            own_cores: None,
            met: is_met.then_some(met).into_iter().collect(),
        }
    }

    #[test]
    fn a_knee_that_moved_decides_and_means_are_told_with_an_interval() {
        let run = |steps: &[(u32, f64, bool)]| -> Vec<Stair> {
            let stairs = steps.iter();
            stairs
                .map(|(users, mean, met)| stair(*users, *mean, *met))
                .collect()
        };
        let rows: [(&[_], &[_], Change); 5] = [
            (
                &[(10, 0.2, false), (20, 0.2, true)],
                &[(10, 0.2, false), (20, 0.2, false)],
                Change::Fixed,
            ),
            (
                &[(10, 0.2, false), (20, 0.2, false)],
                &[(10, 0.2, false), (20, 0.2, true)],
                Change::Worse,
            ),
            (
                &[(10, 0.2, false), (20, 0.2, false)],
                &[(10, 0.3, false), (20, 0.2, false)],
                Change::Worse,
            ),
            (
                &[(10, 0.2, false), (20, 0.2, true)],
                &[(10, 0.2, false), (20, 0.2, true)],
                Change::Same,
            ),
            (&[(10, 0.2, false)], &[(10, 0.21, false)], Change::Same),
        ];
        for (before, after, change) in rows {
            let found = compare_stairs(&run(before), &run(after)).unwrap();
            assert_eq!(found.change, change, "{before:?} {after:?}");
        }
        let found = compare_stairs(&[stair(10, 0.2, false)], &[stair(10, 0.32, false)]).unwrap();
        assert_eq!(found.steps[0].difference(), "+120 ms (+117 ms … +123 ms)");
    }

    #[test]
    fn runs_without_a_step_in_common_are_not_compared() {
        let error = compare_stairs(&[stair(10, 0.2, false)], &[stair(20, 0.2, false)]).unwrap_err();
        assert!(
            error.to_string().contains("10 users and 20 users"),
            "{error}"
        );
    }
}
