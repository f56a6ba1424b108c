//! Alarms: what must not last, decided from samples alone. Pure; the time is an argument, and [`act`] does what was decided.
//!
//! A condition must hold for its whole time before it is an alarm, and must be clearly gone (5 % on the other side) for as long before
//! it can be one again: a value that trembles around its threshold is one alarm, not hundreds. A missing reading decides nothing.

mod act;
mod conduct;

use std::{collections::VecDeque, time::Duration};

pub(super) use act::Actor;

use crate::{
    observe::Sample,
    profile::{Alarm, When},
    timeline::{Counts, Elapsed},
};

/// How far on the good side of its threshold a value must be to end an alarm.
const CLEARLY: f64 = 0.05;

/// The shortest window over which a share of errors is taken.
const WINDOW: Duration = Duration::from_secs(10);

/// Samples that a window may hold; one of more is thinned by forgetting its beginning.
const MOST_SAMPLES: usize = 4096;

/// What one sample has to say to alarms. What was not read is `None`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    at: Elapsed,
    memory: Option<u64>,
    fds: Option<u64>,
    sessions: Option<u64>,
    errors: u64,
    ended: u64,
    first_event_p99: Option<Duration>,
    host_available: Option<u64>,
    cgroup_share: Option<f64>,
}

impl Seen {
    pub(super) fn of(sample: &Sample, counts: &Counts, first_event_p99: Option<Duration>) -> Self {
        let tree = sample.tree.as_ref();
        let host = &sample.host;
        let limit = host.cgroup_limit_bytes.filter(|limit| *limit > 0);
        Self {
            at: sample.at,
            memory: tree.and_then(|tree| tree.rss_bytes),
            fds: tree.and_then(|tree| tree.fds),
            sessions: sample
                .target
                .as_ref()
                .and_then(|target| target.sessions_live),
            errors: counts.errors(),
            ended: counts.ended.iter().sum(),
            first_event_p99,
            host_available: host.memory_available_bytes,
            cgroup_share: host
                .cgroup_bytes
                .zip(limit)
                .map(|(used, limit)| used as f64 / limit as f64),
        }
    }
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Change {
    /// Which alarm, by its place in the profile.
    pub(super) alarm: usize,
    /// Whether it began or ended.
    pub(super) raised: bool,
    /// The value at that moment.
    pub(super) value: f64,
}

impl Change {
    /// In words.
    pub(super) fn text(&self, when: When, lasts: Duration) -> String {
        let (threshold, ceiling) = when.threshold();
        let (value, threshold) = (when.value(self.value), when.value(threshold));
        let side = if ceiling { "above" } else { "below" };
        let again = if self.raised { "" } else { "no longer " };
        let mut text = format!("{when}: {value}, {again}{side} {threshold}");
        if self.raised && !lasts.is_zero() {
            let lasts = humantime::format_duration(lasts);
            text = format!("{text} for {lasts}");
        }
        text
    }
}

/// Watches every alarm of a profile.
#[derive(Clone, Debug)]
pub(super) struct Watchdog {
    alarms: Vec<Watched>,
    /// When, errors and ends by then: for shares of the last seconds.
    past: VecDeque<(Elapsed, u64, u64)>,
    window: Duration,
}

#[derive(Clone, Debug)]
struct Watched {
    when: When,
    lasts: Duration,
    raised: bool,
    /// Since when everything seen speaks for a change.
    since: Option<Elapsed>,
}

impl Watchdog {
    pub(super) fn new(alarms: &[Alarm]) -> Self {
        let watched = |alarm: &Alarm| Watched {
            when: alarm.when,
            lasts: lasts(alarm),
            raised: false,
            since: None,
        };
        let longest = alarms.iter().map(lasts).max().unwrap_or_default();
        Self {
            alarms: alarms.iter().map(watched).collect(),
            past: VecDeque::new(),
            window: longest.max(WINDOW),
        }
    }

    /// Whether nobody asked for an alarm.
    pub(super) fn is_idle(&self) -> bool {
        self.alarms.is_empty()
    }

    /// Whether anyone asks how soon first events come.
    pub(super) fn asks_for_latency(&self) -> bool {
        let asks = |watched: &Watched| matches!(watched.when, When::FirstEventP99Above(_));
        self.alarms.iter().any(asks)
    }

    /// Takes in one sample; says what began or ended with it.
    pub(super) fn see(&mut self, seen: &Seen) -> Vec<Change> {
        let errors = self.error_share(seen);
        let value = |when: When| match when {
            When::TargetMemoryAbove(_) => seen.memory.map(|bytes| bytes as f64),
            When::FdsAbove(_) => seen.fds.map(|count| count as f64),
            When::SessionsAbove(_) => seen.sessions.map(|count| count as f64),
            When::ErrorShareAbove(_) => errors,
            When::FirstEventP99Above(_) => seen.first_event_p99.map(|time| time.as_secs_f64()),
            When::HostAvailableBelow(_) => seen.host_available.map(|bytes| bytes as f64),
            When::CgroupShareAbove(_) => seen.cgroup_share,
        };
        let change = |(alarm, watched): (usize, &mut Watched)| {
            let value = value(watched.when)?;
            let raised = watched.see(seen.at, value)?;
            Some(Change {
                alarm,
                raised,
                value,
            })
        };
        self.alarms
            .iter_mut()
            .enumerate()
            .filter_map(change)
            .collect()
    }

    /// Of the connections that ended within the window, those that failed; `None` if none ended.
    fn error_share(&mut self, seen: &Seen) -> Option<f64> {
        self.past.push_back((seen.at, seen.errors, seen.ended));
        let is_old = |past: &VecDeque<(Elapsed, u64, u64)>| {
            past.get(1)
                .is_some_and(|(at, ..)| seen.at.since(*at) >= self.window)
        };
        while is_old(&self.past) || self.past.len() > MOST_SAMPLES {
            self.past.pop_front();
        }
        let (_, errors, ended) = self.past.front().copied()?;
        let ended = seen.ended.saturating_sub(ended);
        (ended > 0).then(|| seen.errors.saturating_sub(errors) as f64 / ended as f64)
    }
}

impl Watched {
    /// `Some(true)` if the alarm begins, `Some(false)` if it ends.
    fn see(&mut self, at: Elapsed, value: f64) -> Option<bool> {
        let (threshold, ceiling) = self.when.threshold();
        let speaks = match (self.raised, ceiling) {
            (false, true) => value > threshold,
            (false, false) => value < threshold,
            (true, true) => value <= threshold * (1.0 - CLEARLY),
            (true, false) => value >= threshold * (1.0 + CLEARLY),
        };
        if !speaks {
            self.since = None;
            return None;
        }
        let since = *self.since.get_or_insert(at);
        if at.since(since) < self.lasts {
            return None;
        }
        self.since = None;
        self.raised = !self.raised;
        Some(self.raised)
    }
}

/// How long an alarm's condition must last.
pub(super) fn lasts(alarm: &Alarm) -> Duration {
    alarm
        .lasts
        .map_or(Duration::ZERO, crate::units::Period::get)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn alarms(text: &str) -> Vec<Alarm> {
        #[derive(serde::Deserialize)]
        struct Only {
            alarm: Vec<Alarm>,
        }
        toml::from_str::<Only>(text).unwrap().alarm
    }

    fn at(seconds: u64) -> Elapsed {
        Elapsed(Duration::from_secs(seconds))
    }

    /// A second a value.
    fn memory(values: &[Option<u64>], alarm: &str) -> Vec<(u64, bool)> {
        let mut dog = Watchdog::new(&alarms(alarm));
        let mut found = Vec::new();
        for (second, memory) in (0..).zip(values) {
            let seen = Seen {
                at: at(second),
                memory: *memory,
                ..Seen::default()
            };
            found.extend(dog.see(&seen).iter().map(|change| (second, change.raised)));
        }
        found
    }

    const ABOVE_100: &str = "[[alarm]]\nwhen = { target-memory-above = \"100 B\" }\nfor = \"2s\"\n";

    #[test]
    fn what_lasts_is_an_alarm_once_and_what_trembles_or_is_not_read_is_none() {
        for (values, wanted) in [
            (
                &[Some(101), Some(101), Some(101), Some(102)][..],
                &[(2, true)][..],
            ),
            (&[Some(101), Some(101), Some(99), Some(101)], &[]),
            (&[Some(100), Some(100), Some(100), Some(100)], &[]), // not above
            (&[Some(101), None, None, Some(101)], &[(3, true)]), // a gap neither ends nor raises it
            (&[Some(101), None, None, None], &[]),
            // It ends when it is clearly below for as long, and may begin again.
            (
                &[101, 101, 101, 99, 96, 99, 90, 90, 90, 101, 101, 101].map(Some),
                &[(2, true), (8, false), (11, true)],
            ),
        ] {
            assert_eq!(memory(values, ABOVE_100), wanted, "{values:?}");
        }
    }

    #[test]
    fn every_condition_reads_its_own_number() {
        let high = Seen {
            at: at(20),
            memory: Some(300),
            fds: Some(300),
            sessions: Some(300),
            errors: 6,
            ended: 10,
            first_event_p99: Some(Duration::from_secs(3)),
            host_available: Some(50),
            cgroup_share: Some(0.95),
        };
        for (when, words) in [
            (
                "target-memory-above = \"200 B\"",
                "the target's resident memory: 300 B, above 200 B",
            ),
            (
                "fds-above = 200",
                "the target's descriptors: 300, above 200",
            ),
            (
                "sessions-above = 200",
                "the target's sessions: 300, above 200",
            ),
            (
                "error-share-above = 0.5",
                "the share of connections that failed: 60.0 %, above 50.0 %",
            ),
            (
                "first-event-p99-above = \"2s\"",
                "the time to the first event (p99): 3.000 s, above 2.000 s",
            ),
            (
                "host-available-below = \"64 B\"",
                "the machine's available memory: 50 B, below 64 B",
            ),
            (
                "cgroup-share-above = 0.9",
                "the control group's share of its limit: 95.0 %, above 90.0 %",
            ),
        ] {
            let alarms = alarms(&format!("[[alarm]]\nwhen = {{ {when} }}\n"));
            let mut dog = Watchdog::new(&alarms);
            assert_eq!(dog.see(&Seen::default()), [], "nothing was read: {when}");
            let changes = dog.see(&high);
            assert_eq!(changes.len(), 1, "{when}");
            assert_eq!(changes[0].text(alarms[0].when, Duration::ZERO), words);
        }
    }

    #[test]
    fn a_share_of_errors_is_that_of_the_last_seconds_and_not_of_the_whole_run() {
        let mut dog = Watchdog::new(&alarms("[[alarm]]\nwhen = { error-share-above = 0.5 }\n"));
        let mut found = Vec::new();
        for second in 0..100 {
            // A hundred good ends a second; from second 50 on only failures.
            let bad = 100 * u64::saturating_sub(second, 50);
            let seen = Seen {
                at: at(second),
                errors: bad,
                ended: 100 * second,
                ..Seen::default()
            };
            found.extend(dog.see(&seen).iter().map(|change| (second, change.raised)));
        }
        assert_eq!(found, [(56, true)]);
    }

    proptest! {
        #[test]
        fn beginnings_and_ends_take_turns_and_shifting_time_changes_nothing(
            values in prop::collection::vec(prop::option::of(80_u64..120), 0..80),
            shift in 0_u64..100_000,
        ) {
            let found = memory(&values, ABOVE_100);
            for (index, (_, raised)) in found.iter().enumerate() {
                prop_assert_eq!(*raised, index % 2 == 0);
            }
            let mut dog = Watchdog::new(&alarms(ABOVE_100));
            let mut later = Vec::new();
            for (second, memory) in (0..).zip(&values) {
                let seen = Seen { at: at(second + shift), memory: *memory, ..Seen::default() };
                later.extend(dog.see(&seen).iter().map(|change| (second, change.raised)));
            }
            prop_assert_eq!(found, later);
        }
    }
}
