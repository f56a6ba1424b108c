//! A batch: so many clients that do the same thing and leave in the same way.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Leave, Manners};

/// So many clients that play the same script and leave in the same way, opened evenly over a time: an open loop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Index into the plan's scripts.
    pub script: usize,
    /// How each of them leaves.
    pub leave: Leave,
    /// How many.
    pub count: u32,
    /// When the first one opens, after the step began.
    pub after: Duration,
    /// Over how long the openings are spread: client `i` is due at `after + over · i / count`, however slow the target is.
    pub over: Duration,
    /// How long each one stays.
    pub stay: Stay,
    /// Whether each one comes back, and by what line it is connected.
    pub manners: Manners,
}

/// How long a client stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stay {
    /// Leaves so long after the first event of its last exchange (for `early` and `stall`: after its connection stood).
    For(Duration),
    /// Stays until this long after the step began, all of the batch together.
    Until(Duration),
    /// Stays until the server ends the stream.
    ToTheEnd,
    /// Stays until the run releases the standing population.
    Standing,
}

impl Batch {
    /// When client `i` is due, after the step began.
    pub fn due(&self, i: u32) -> Duration {
        self.after + self.over * i / self.count.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_opens_evenly() {
        let secs = Duration::from_secs;
        let batch = Batch {
            script: 0,
            leave: Leave::Fin,
            count: 4,
            after: secs(1),
            over: secs(8),
            stay: Stay::ToTheEnd,
            manners: Manners::default(),
        };
        let due: Vec<_> = (0..4).map(|i| batch.due(i)).collect();
        assert_eq!(due, [secs(1), secs(3), secs(5), secs(7)]);
    }
}
