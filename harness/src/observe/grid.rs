//! When to look: on the grid of the run's clock, and never twice for one point.

use std::time::Duration;

use crate::timeline::Elapsed;

/// The first grid point after `now`. Points that were missed are gone: bunched samples would say nothing new, and cost.
pub(super) fn next_point(now: Elapsed, every: Duration) -> Elapsed {
    let every = every.as_nanos().max(1);
    let next = (now.0.as_nanos() / every + 1) * every;
    Elapsed(Duration::from_nanos(
        u64::try_from(next).unwrap_or(u64::MAX),
    ))
}

/// What there is to say between two samples: how many were due in between, and a sentence if it was long.
pub(super) fn missed(last: Elapsed, at: Elapsed, every: Duration) -> (u64, Option<String>) {
    const LONG: Duration = Duration::from_secs(1);
    let pause = at.since(last);
    let points = pause.as_nanos() / every.as_nanos().max(1);
    let missed = u64::try_from(points).unwrap_or(u64::MAX).saturating_sub(1);
    let is_long = missed > 1 && pause >= LONG;
    let said = is_long.then(|| {
        format!(
            "no sample for {:.1} s, in which {missed} were due: the harness stood still, or a look took so long",
            pause.as_secs_f64()
        )
    });
    (missed, said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_due_and_never_taken_is_counted_and_a_long_pause_is_said() {
        let at = |ms| Elapsed(Duration::from_millis(ms));
        for (every_ms, last_ms, now_ms, count, is_said) in [
            (250, 250, 500, 0, false),
            (250, 260, 500, 0, false), // on the grid, a little early
            (250, 250, 770, 1, false), // one late look
            (250, 250, 5_250, 19, true),
            (1_000, 1_000, 3_000, 1, false),
            (1_000, 1_000, 4_000, 2, true),
            (1_000, 1_000, 3_601_000, 3_599, true), // stopped for an hour
        ] {
            let (missed, said) = missed(at(last_ms), at(now_ms), Duration::from_millis(every_ms));
            assert_eq!((missed, said.is_some()), (count, is_said), "{said:?}");
        }
    }

    #[test]
    fn a_late_look_skips_what_it_missed() {
        let every = Duration::from_millis(250);
        for (now_ms, next_ms) in [
            (0, 250),
            (1, 250),
            (249, 250),
            (250, 500),
            (1999, 2000),
            (7_300, 7_500),
        ] {
            let next = next_point(Elapsed(Duration::from_millis(now_ms)), every);
            assert_eq!(
                next,
                Elapsed(Duration::from_millis(next_ms)),
                "at {now_ms} ms"
            );
        }
    }
}
