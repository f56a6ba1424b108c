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

#[cfg(test)]
mod tests {
    use super::*;

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
