//! How long the target took, as seen by clients that never wait for it.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Longer than this counts as this: one hour.
const LONGEST_US: u64 = 3_600_000_000;

/// Histograms in microseconds, two significant digits: 12 KiB each. With three they are 94, and several sets of them, which
/// come and go once a second, were most of what we weigh.
///
/// Connect and the first event of a connection count from when the plan said that it opens, not from when the driver got
/// round to it: a late driver makes them longer, never fewer (no coordinated omission).
#[derive(Clone, Debug)]
pub struct Latency {
    /// From due to connected.
    pub connect: Histogram<u32>,
    /// From due (of later exchanges: from the request) to the first event of the answer.
    pub first_event: Histogram<u32>,
    /// Between two events of one stream. Events that came in one read are 0 apart.
    pub gap: Histogram<u32>,
    /// From due to the start of the connect: the driver's own lateness.
    pub late: Histogram<u32>,
    /// Of users: from due to the planned end of the whole conversation.
    pub answer: Histogram<u32>,
}

impl Default for Latency {
    fn default() -> Self {
        let histogram =
            || Histogram::new_with_bounds(1, LONGEST_US, 2).expect("these bounds are valid");
        Self {
            connect: histogram(),
            first_event: histogram(),
            gap: histogram(),
            late: histogram(),
            answer: histogram(),
        }
    }
}

impl Latency {
    /// Adds what another one holds.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.connect, &other.connect),
            (&mut self.first_event, &other.first_event),
            (&mut self.gap, &other.gap),
            (&mut self.late, &other.late),
            (&mut self.answer, &other.answer),
        ];
        for (mine, theirs) in pairs {
            mine.add(theirs).expect("all have the same bounds");
        }
    }
}

/// Adds one duration, without allocating.
pub(super) fn record(histogram: &mut Histogram<u32>, length: Duration) {
    histogram.saturating_record(u64::try_from(length.as_micros()).unwrap_or(LONGEST_US));
}
