//! The steps of a step load: so many users, a pause, more users.

use std::time::Duration;

use super::{
    Again, Batch, Leave, Length, Manners, Phase, Plan, Stay, Step, User,
    parts::{self, bare, trial},
};
use crate::{
    profile::{Pace, Profile, Steps},
    units::Period,
};

/// The part of a step over which its users come: all at once they would stay in step with one another.
const ARRIVALS: u32 = 20;

pub(super) fn plan(profile: &Profile, spec: &Steps, seed: u64) -> Plan {
    let script = parts::index(profile, spec.script.get_ref());
    let users = spec.users.get_ref();
    let batches: Vec<Batch> = users
        .iter()
        .map(|users| batch(spec, script, *users))
        .collect();
    let mut steps = vec![trial(batches.iter(), -1)];
    for (cycle, batch) in (0..).zip(batches) {
        steps.push(Step {
            batches: vec![batch],
            ..bare(Phase::Hold, cycle, Length::For(spec.hold.get()))
        });
        steps.push(bare(Phase::Pause, cycle, Length::For(spec.rest.get())));
    }
    Plan {
        seed,
        scripts: parts::scripts(profile, None),
        pools: 1,
        standing: 0,
        factors: vec![],
        control_bytes: None,
        steps,
        priming: 0,
        cycles: u32::try_from(users.len()).unwrap_or(u32::MAX),
    }
}

fn batch(spec: &Steps, script: usize, users: u32) -> Batch {
    let (leave, stay) = match spec.stay {
        Some(stay) => (Leave::Fin, Stay::For(stay.get())),
        None => (Leave::Complete, Stay::ToTheEnd),
    };
    let hold = spec.hold.get();
    let arrivals = hold / ARRIVALS;
    let (count, over, again) = match spec.pace {
        Pace::Closed { think } => {
            let again = Again {
                think: think.map_or(Duration::ZERO, Period::get),
                until: hold - arrivals,
            };
            (users, arrivals, Some(again))
        }
        Pace::Open { every } => (beginnings(users, hold, every.get()), hold, None),
    };
    Batch {
        script,
        leave,
        count,
        after: Duration::ZERO,
        over,
        stay,
        manners: Manners {
            user: Some(User { again }),
            ..Manners::default()
        },
    }
}

/// How many conversations that many users begin by the clock.
fn beginnings(users: u32, hold: Duration, every: Duration) -> u32 {
    let beginnings = u128::from(users) * hold.as_nanos() / every.as_nanos();
    u32::try_from(beginnings).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_of(pace: &str) -> Plan {
        let text = format!(
            "seed = 1\n[target]\nurl = \"http://127.0.0.1:1\"\n[scripts.chat]\nsteps = [{{ post = \"/chat\" }}]\n\
             [run.steps]\nusers = [10, 20]\nscript = \"chat\"\nhold = \"20s\"\nrest = \"10s\"\n{pace}"
        );
        Plan::new(&Profile::parse("steps", "steps.toml", text).unwrap(), 1)
    }

    #[test]
    fn a_closed_loop_has_as_many_users_as_written_and_an_open_one_as_many_beginnings() {
        let secs = Duration::from_secs;
        for (pace, counts, over) in [
            ("", [10, 20], secs(1)),
            (
                "pace = { open = { every = \"2s\" } }\n",
                [100, 200],
                secs(20),
            ),
        ] {
            let plan = plan_of(pace);
            let batches: Vec<&Batch> = plan
                .steps
                .iter()
                .flat_map(|step| &step.batches)
                .skip(1)
                .collect();
            let found = [0, 1].map(|step: usize| batches[step].count);
            assert_eq!((found, batches[0].over), (counts, over), "{pace}");
        }
        assert_eq!(plan_of("").longest(), secs(30 + 2 * 30));
    }
}
