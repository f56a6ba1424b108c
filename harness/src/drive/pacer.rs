//! Pacing: which client opens when. Pure; the clock is an argument.
//!
//! An open loop: what is due depends on the plan and the time only. A late driver catches up without pausing; if a slow
//! target could slow the plan down, its worst moments would be the ones with the least load.

use std::time::Duration;

use crate::{
    plan::{Batch, Leave, Manners, Segment, Stay},
    timeline::Elapsed,
};

/// How long a client stays, in the run's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stays {
    For(Duration),
    Until(Elapsed),
    ToTheEnd,
    Standing,
}

/// One client that is to be opened now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) script: usize,
    pub(super) leave: Leave,
    pub(super) stays: Stays,
    /// Its number in the run: by the order of batches, whatever happened to those before it.
    pub(super) number: u64,
    /// When the plan opens it.
    pub(super) due: Elapsed,
    pub(super) manners: Manners,
}

/// What the driver does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Open(Opening),
    /// Nothing is due before this.
    Wait(Elapsed),
    Idle,
}

/// The batches under way.
#[derive(Debug)]
pub(super) struct Pacer {
    segment: Segment,
    courses: Vec<Course>,
    next_number: u64,
    pending: u64,
}

#[derive(Debug)]
struct Course {
    batch: Batch,
    began: Elapsed,
    first_number: u64,
    /// The client that opens next: its place in the batch.
    next: u32,
}

impl Pacer {
    /// Paces this part of every batch.
    pub(super) fn new(segment: Segment) -> Self {
        Self {
            segment,
            courses: vec![],
            next_number: 0,
            pending: 0,
        }
    }

    /// Adds the batches of a step that began then. Numbers count the clients of all segments.
    pub(super) fn play(&mut self, began: Elapsed, batches: Vec<Batch>) {
        for batch in batches {
            let first_number = self.next_number;
            self.next_number += u64::from(batch.count);
            let share = self.segment.share(batch.count);
            if share > 0 {
                self.pending += u64::from(share);
                self.courses.push(Course {
                    batch,
                    began,
                    first_number,
                    next: self.segment.first(),
                });
            }
        }
    }

    /// How many clients of these batches are ours.
    pub(super) fn share(&self, batches: &[Batch]) -> u64 {
        let share = |batch: &Batch| u64::from(self.segment.share(batch.count));
        batches.iter().map(share).sum()
    }

    /// What is due; each call that says [`Next::Open`] takes that client off the plan.
    pub(super) fn next(&mut self, now: Elapsed) -> Next {
        let earliest = self
            .courses
            .iter_mut()
            .enumerate()
            .min_by_key(|(_, course)| course.due());
        let Some((index, course)) = earliest else {
            return Next::Idle;
        };
        let due = course.due();
        if due > now {
            return Next::Wait(due);
        }
        let opening = course.opening();
        course.next = self.segment.after(course.next);
        if course.next >= course.batch.count {
            self.courses.remove(index);
        }
        self.pending -= 1;
        Next::Open(opening)
    }

    /// When the next client opens.
    pub(super) fn first_due(&self) -> Option<Elapsed> {
        self.courses.iter().map(Course::due).min()
    }

    /// Openings still to come.
    pub(super) fn pending(&self) -> u64 {
        self.pending
    }

    /// Takes the openings of the standing population, or of everyone else, off the plan.
    pub(super) fn forget(&mut self, forgotten: impl Fn(Stay) -> bool) {
        self.courses.retain(|course| !forgotten(course.batch.stay));
        let left = |course: &Course| u64::from(self.segment.left(course.next, course.batch.count));
        self.pending = self.courses.iter().map(left).sum();
    }
}

impl Course {
    fn due(&self) -> Elapsed {
        self.began + self.batch.due(self.next)
    }

    fn opening(&self) -> Opening {
        Opening {
            script: self.batch.script,
            leave: self.batch.leave,
            stays: match self.batch.stay {
                Stay::For(length) => Stays::For(length),
                Stay::Until(after) => Stays::Until(self.began + after),
                Stay::ToTheEnd => Stays::ToTheEnd,
                Stay::Standing => Stays::Standing,
            },
            number: self.first_number + u64::from(self.next),
            due: self.due(),
            manners: self.batch.manners,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const fn at(seconds: u64) -> Elapsed {
        Elapsed(secs(seconds))
    }

    fn batch(count: u32, after: u64, over: u64, stay: Stay) -> Batch {
        Batch {
            script: 0,
            leave: Leave::Fin,
            count,
            after: secs(after),
            over: secs(over),
            stay,
            manners: Manners::default(),
        }
    }

    #[test]
    fn a_batch_opens_evenly_and_catches_up_when_late() {
        let mut pacer = Pacer::new(Segment::WHOLE);
        pacer.play(at(10), vec![batch(4, 0, 8, Stay::ToTheEnd)]); // one every 2 s
        for (now, expected) in [
            (9, Err(Some(10))),
            (10, Ok((0, 10))),
            (11, Err(Some(12))),
            (15, Ok((1, 12))),   // late: catch up at once,
            (15, Ok((2, 14))),   // and again, each with its own due time,
            (15, Err(Some(16))), // then back on the plan
            (16, Ok((3, 16))),
            (16, Err(None)),
        ] {
            let next = match pacer.next(at(now)) {
                Next::Open(opening) => Ok((opening.number, opening.due.0.as_secs())),
                Next::Wait(until) => Err(Some(until.0.as_secs())),
                Next::Idle => Err(None),
            };
            assert_eq!(next, expected, "at {now} s");
        }
    }

    #[test]
    fn numbers_follow_the_plan_however_batches_interleave() {
        let mut pacer = Pacer::new(Segment::WHOLE);
        pacer.play(
            at(0),
            vec![
                batch(2, 5, 0, Stay::Standing),
                batch(0, 0, 0, Stay::ToTheEnd),
                batch(2, 0, 2, Stay::Until(secs(9))),
            ],
        );
        assert_eq!(pacer.pending(), 4);
        let mut opened = vec![];
        while let Next::Open(opening) = pacer.next(at(60)) {
            opened.push((opening.number, opening.due, opening.stays));
        }
        assert_eq!(
            opened,
            [
                (2, at(0), Stays::Until(at(9))),
                (3, at(1), Stays::Until(at(9))),
                (0, at(5), Stays::Standing),
                (1, at(5), Stays::Standing),
            ]
        );
        assert_eq!(pacer.pending(), 0);
    }

    #[test]
    fn the_standing_population_outlives_a_recall() {
        let mut pacer = Pacer::new(Segment::WHOLE);
        let standing = batch(3, 1, 0, Stay::Standing);
        pacer.play(at(0), vec![standing, batch(5, 0, 9, Stay::ToTheEnd)]);
        assert!(matches!(pacer.next(at(0)), Next::Open(_)));
        pacer.forget(|stay| stay != Stay::Standing);
        assert_eq!(pacer.pending(), 3);
        assert_eq!(pacer.next(at(0)), Next::Wait(at(1)));
        pacer.forget(|_| true);
        assert_eq!((pacer.pending(), pacer.next(at(0))), (0, Next::Idle));
    }
    fn all(mut pacer: Pacer) -> Vec<Opening> {
        let mut found = vec![];
        while let Next::Open(opening) = pacer.next(Elapsed(Duration::MAX)) {
            found.push(opening);
        }
        assert_eq!(pacer.pending(), 0);
        found
    }

    prop_compose! {
        fn any_batch()(count in 0_u32..40, after in 0_u64..9_000_000_000, over in 0_u64..9_000_000_000) -> Batch {
            let nanos = Duration::from_nanos;
            Batch { after: nanos(after), over: nanos(over), ..batch(count, 0, 0, Stay::ToTheEnd) }
        }
    }

    proptest! {
        #[test]
        fn the_segments_of_a_plan_are_the_plan_in_times_and_numbers(
            steps in prop::collection::vec(prop::collection::vec(any_batch(), 0..4), 1..4),
            of in 1_u32..9,
        ) {
            let play = |segment| {
                let mut pacer = Pacer::new(segment);
                for (began, batches) in (10..).zip(&steps) {
                    let before = pacer.pending();
                    pacer.play(at(began), batches.clone());
                    assert_eq!(pacer.pending() - before, pacer.share(batches));
                }
                all(pacer)
            };
            let mut whole = play(Segment::WHOLE);
            let of = std::num::NonZeroU32::new(of).expect("it starts at 1");
            let mut parts: Vec<Opening> = Segment::all(of).flat_map(play).collect();
            whole.sort_by_key(|opening| opening.number);
            parts.sort_by_key(|opening| opening.number);
            prop_assert_eq!(whole, parts);
        }
    }
}
