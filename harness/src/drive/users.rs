//! Users: clients whose conversations are timed as a whole, and who may begin again when one has ended. Pure; the clock is an argument.
//!
//! A closed loop: a target that gets slower gets less load, as from real people who wait for an answer. The time of an answer counts
//! from when the conversation was due, so a late driver makes it longer, never shorter.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use crate::{plan::Again, timeline::Elapsed};

use super::pacer::Opening;

/// A user's conversations have numbers this far apart: every connection of a run has its own, whichever worker plays it.
const ROUND: u64 = 1 << 32;

/// Whose conversation failed waits so long at least: a closed loop over refusals would be a flood.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Everyone who is in a conversation, and everyone who thinks before the next.
#[derive(Debug, Default)]
pub(super) struct Users {
    talking: HashMap<u64, Talk>,
    thinking: BTreeMap<(Elapsed, u64), Talk>,
}

#[derive(Clone, Copy, Debug)]
struct Talk {
    opening: Opening,
    again: Option<Again>,
    /// When the user's first conversation was due.
    first: Elapsed,
}

impl Users {
    /// A conversation begins. A user who thought is known already.
    pub(super) fn begins(&mut self, opening: &Opening) {
        let Some(user) = opening.manners.user else {
            return;
        };
        let talk = Talk {
            opening: *opening,
            again: user.again,
            first: opening.due,
        };
        self.talking.entry(opening.number).or_insert(talk);
    }

    /// A conversation has ended: when it had been due, and whether its user will begin again. `None`: it was no user's.
    pub(super) fn ended(
        &mut self,
        number: u64,
        failed: bool,
        now: Elapsed,
    ) -> Option<(Elapsed, bool)> {
        let talk = self.talking.remove(&number)?;
        let goes_on = self.think(talk, failed, now);
        Some((talk.opening.due, goes_on))
    }

    fn think(&mut self, mut talk: Talk, failed: bool, now: Elapsed) -> bool {
        let Some(again) = talk.again else {
            return false;
        };
        let pause = if failed {
            again.think.max(AFTER_FAILURE)
        } else {
            again.think
        };
        let due = now + pause;
        if due > talk.first + again.until {
            return false;
        }
        talk.opening.due = due;
        talk.opening.number += ROUND;
        self.thinking.insert((due, talk.opening.number), talk);
        true
    }

    pub(super) fn first_due(&self) -> Option<Elapsed> {
        self.thinking.first_key_value().map(|((due, _), _)| *due)
    }

    /// Takes out one who is due; his conversation begins.
    pub(super) fn next(&mut self, now: Elapsed) -> Option<Opening> {
        self.first_due().filter(|due| *due <= now)?;
        let ((_, number), talk) = self.thinking.pop_first()?;
        self.talking.insert(number, talk);
        Some(talk.opening)
    }

    /// How many think.
    pub(super) fn thinking(&self) -> u64 {
        self.thinking.len() as u64
    }

    /// Nobody begins again. What is under way is no user's any more: it will be cut, and that is no answer.
    pub(super) fn forget(&mut self) {
        self.talking.clear();
        self.thinking.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        drive::pacer::Stays,
        plan::{Leave, Manners, User},
    };

    const fn at(millis: u64) -> Elapsed {
        Elapsed(Duration::from_millis(millis))
    }

    fn opening(number: u64, due: Elapsed) -> Opening {
        let again = Again {
            think: Duration::from_millis(50),
            until: Duration::from_secs(1),
        };
        Opening {
            script: 0,
            leave: Leave::Complete,
            stays: Stays::ToTheEnd,
            number,
            due,
            manners: Manners {
                user: Some(User { again: Some(again) }),
                ..Manners::default()
            },
        }
    }

    #[test]
    fn a_user_thinks_and_begins_again_until_the_step_is_over() {
        let mut users = Users::default();
        users.begins(&opening(3, at(10)));
        assert_eq!(users.ended(3, false, at(400)), Some((at(10), true)));
        assert_eq!(
            (users.next(at(449)).is_some(), users.thinking()),
            (false, 1)
        );
        let again = users.next(at(460)).unwrap();
        assert_eq!((again.due, again.number), (at(450), 3 + ROUND));
        users.begins(&again);
        assert_eq!(
            users.ended(again.number, true, at(500)),
            Some((at(450), true))
        );
        assert_eq!(users.first_due(), Some(at(600)), "a failure is no flood");
        let last = users.next(at(600)).unwrap();
        assert_eq!(
            users.ended(last.number, false, at(961)),
            Some((at(600), false))
        );
        assert_eq!(users.first_due(), None);
    }

    #[test]
    fn who_is_no_user_is_not_timed_and_who_is_forgotten_does_not_begin_again() {
        let mut users = Users::default();
        users.begins(&Opening {
            manners: Manners::default(),
            ..opening(1, at(0))
        });
        assert_eq!(users.ended(1, false, at(5)), None);
        users.begins(&opening(2, at(0)));
        users.forget();
        assert_eq!(users.ended(2, false, at(5)), None);
    }
}
