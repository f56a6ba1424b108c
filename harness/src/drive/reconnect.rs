//! Coming back: what a client remembers of its stream, when it comes back, and what it missed or got twice. Pure.
//!
//! In: pieces of the stream, ends of connections, the time. Out: when to open again ([`Comebacks`]), the `Last-Event-ID` to name,
//! and counts of ids. Start at [`Resume`]. Cost: nothing for clients that do not come back; for the others one block and two short
//! buffers that are used again and again, so an event allocates nothing.
//!
//! A comeback follows when the stream broke or ended before its time, the connect failed, or nothing came in time. As in a browser,
//! an answer that is no event stream, or has another status than 200, is final: it counts as an error, once.

use std::{collections::BTreeMap, time::Duration};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use crate::{
    plan::Reconnect,
    timeline::{Elapsed, Tally},
};

use super::{
    pacer::{Opening, Stays},
    sse::{Field, Piece},
    trouble::Trouble,
};

/// A longer id is void: no server takes a header of any length back.
const LONGEST_ID: usize = 1024;
/// A server that asks for another pause gets the nearest of these: `retry: 0` must not make a client a flood.
const SHORTEST_RETRY: Duration = Duration::from_millis(10);
const LONGEST_RETRY: Duration = Duration::from_secs(24 * 3600);

/// Whether a browser would come back after this.
pub(super) const fn is_worth_a_comeback(trouble: &Trouble) -> bool {
    matches!(
        trouble,
        Trouble::Connect { .. }
            | Trouble::Closed(_)
            | Trouble::Reset
            | Trouble::StreamReset(_)
            | Trouble::Socket(_)
            | Trouble::TimedOut { .. }
    )
}

/// What one client keeps from connection to connection.
#[derive(Debug)]
pub(super) struct Resume {
    policy: Reconnect,
    seed: u64,
    /// How it was opened the first time; due and stay change.
    pub(super) opening: Opening,
    /// The session that its stream names.
    pub(super) session: Option<Box<str>>,
    /// What the stream told by `retry:`.
    retry: Option<Duration>,
    /// The line of it under way.
    reading_retry: Digits,
    ids: Ids,
    /// Tries since the last event.
    tries: u32,
    /// All tries: each has its own jitter.
    comebacks: u64,
    /// When the last stream that brought an event ended.
    down_since: Option<Elapsed>,
}

impl Resume {
    pub(super) fn new(opening: &Opening, policy: Reconnect, seed: u64) -> Self {
        Self {
            policy,
            seed,
            opening: *opening,
            session: None,
            retry: None,
            reading_retry: Digits::default(),
            ids: Ids::default(),
            tries: 0,
            comebacks: 0,
            down_since: None,
        }
    }

    /// The id to ask on from; `None` while there is none.
    pub(super) fn last_id(&self) -> Option<&[u8]> {
        (!self.ids.last.is_empty()).then_some(&*self.ids.last)
    }

    /// Whether it was connected before.
    pub(super) const fn is_comeback(&self) -> bool {
        self.comebacks > 0
    }

    /// Takes in what the stream says.
    pub(super) fn hear(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Part(Field::Id, part) => self.ids.read(part),
            Piece::EndOfLine(Field::Id) => self.ids.end_of_line(),
            Piece::Part(Field::Retry, part) => self.reading_retry.read(part),
            Piece::EndOfLine(Field::Retry) => {
                let told = std::mem::take(&mut self.reading_retry).number();
                self.retry = told.map(Duration::from_millis).or(self.retry);
            }
            Piece::Void => self.ids.blank_line(),
            Piece::Event => {
                self.ids.blank_line();
                self.ids.event();
                self.tries = 0;
                self.down_since = None;
            }
            Piece::Part(..) | Piece::EndOfLine(_) => {}
        }
    }

    /// Counts what was missed and repeated since the last call.
    pub(super) fn settle(&mut self, tally: &Tally) {
        let Gaps {
            lost,
            repeated,
            unknown,
        } = std::mem::take(&mut self.ids.gaps);
        let counts = [
            (&tally.ids_lost, lost),
            (&tally.ids_repeated, repeated),
            (&tally.ids_unknown, unknown),
        ];
        for (counter, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            Tally::add(counter, count);
        }
    }

    /// The connection ended now: when to come back, or `None` if it is time to give up.
    pub(super) fn lost(&mut self, now: Elapsed) -> Option<Elapsed> {
        self.ids.interrupted();
        self.reading_retry = Digits::default();
        let down_since = *self.down_since.get_or_insert(now);
        let due = now + self.wait();
        self.tries += 1;
        self.comebacks += 1;
        self.opening.due = due;
        (due.since(down_since) <= self.policy.give_up_after).then_some(due)
    }

    /// Whether there is still something to come back for by then.
    pub(super) fn is_wanted_at(&self, due: Elapsed) -> bool {
        !matches!(self.opening.stays, Stays::Until(end) if end <= due)
    }

    fn wait(&self) -> Duration {
        let first = self.retry.unwrap_or(self.policy.after);
        let first = first.clamp(SHORTEST_RETRY, LONGEST_RETRY);
        let grown = first.saturating_mul(1 << self.tries.min(20));
        let wait = grown.min(self.policy.at_most).max(first);
        wait + wait.mul_f64(f64::from(self.policy.jitter_percent) / 100.0 * self.chance())
    }

    /// Between 0 and 1, always the same for the same seed, client and try.
    fn chance(&self) -> f64 {
        let mut generator = ChaCha8Rng::seed_from_u64(self.seed);
        generator.set_stream(self.opening.number);
        generator.set_word_pos(u128::from(self.comebacks));
        f64::from(generator.next_u32()) / f64::from(u32::MAX)
    }
}

/// A line that is a number if it is nothing but digits.
#[derive(Clone, Copy, Debug, Default)]
enum Digits {
    #[default]
    Nothing,
    Number(u64),
    Void,
}

impl Digits {
    fn read(&mut self, part: &[u8]) {
        let so_far = match self {
            Self::Nothing => Some(0),
            Self::Number(number) => Some(*number),
            Self::Void => None,
        };
        let number = so_far.and_then(|so_far| append(so_far, part));
        *self = number.map_or(Self::Void, Self::Number);
    }

    fn number(self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(number),
            Self::Nothing | Self::Void => None,
        }
    }
}

/// Appends decimal digits; `None` if there are others, or too many.
fn append(number: u64, digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(number, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// What happened to ids between two connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Gaps {
    lost: u64,
    repeated: u64,
    unknown: u64,
}

/// The ids of a stream: the last one, byte by byte, and the highest one where ids are numbers.
#[derive(Debug, Default)]
struct Ids {
    /// Of the last event; what is named when coming back.
    last: Vec<u8>,
    /// Of the event under way, once its line is complete.
    next: Vec<u8>,
    has_next: bool,
    /// Of the line under way.
    reading: Vec<u8>,
    /// The line under way is void.
    is_void: bool,
    /// The event that just ended had an id of its own.
    has_own: bool,
    has_events: bool,
    highest: Option<u64>,
    /// Ids do not only rise: nothing can be said about them.
    is_unordered: bool,
    /// No id beyond the highest has come since the last comeback.
    is_catching_up: bool,
    gaps: Gaps,
}

impl Ids {
    fn read(&mut self, part: &[u8]) {
        self.is_void |= part.contains(&0) || self.reading.len() + part.len() > LONGEST_ID;
        if !self.is_void {
            self.reading.extend_from_slice(part);
        }
    }

    /// A line without a value resets the id; a void one changes nothing.
    fn end_of_line(&mut self) {
        if !std::mem::take(&mut self.is_void) {
            std::mem::swap(&mut self.next, &mut self.reading);
            self.has_next = true;
        }
        self.reading.clear();
    }

    fn blank_line(&mut self) {
        self.has_own = std::mem::take(&mut self.has_next);
        if self.has_own {
            std::mem::swap(&mut self.last, &mut self.next);
        }
    }

    /// An event came. Only ids that it has itself are compared: an inherited one says nothing about what was missed.
    fn event(&mut self) {
        let number = self.has_own.then(|| number(&self.last)).flatten();
        let is_first = !std::mem::replace(&mut self.has_events, true);
        match (number, self.highest) {
            (Some(number), Some(highest)) if !self.is_unordered => self.compare(number, highest),
            (None, Some(_)) if !self.has_own => {}
            _ => {
                let comes_back = std::mem::take(&mut self.is_catching_up);
                self.gaps.unknown += u64::from(comes_back && !is_first);
            }
        }
        self.highest = self.highest.max(number);
    }

    fn compare(&mut self, number: u64, highest: u64) {
        if number <= highest && self.is_catching_up {
            self.gaps.repeated += 1;
        } else if number <= highest {
            self.is_unordered = true;
        } else if std::mem::take(&mut self.is_catching_up) {
            self.gaps.lost += number - highest - 1;
        }
    }

    /// The connection ended: half an event is no event.
    fn interrupted(&mut self) {
        self.reading.clear();
        (self.has_next, self.is_void) = (false, false);
        self.is_catching_up = true;
    }
}

fn number(id: &[u8]) -> Option<u64> {
    let mut digits = Digits::default();
    digits.read(id);
    digits.number().filter(|_| !id.is_empty())
}

/// Who comes back when.
#[derive(Debug, Default)]
pub(super) struct Comebacks(BTreeMap<(Elapsed, u64), Box<Resume>>);

impl Comebacks {
    pub(super) fn add(&mut self, resume: Box<Resume>) {
        let Opening { due, number, .. } = resume.opening;
        self.0.insert((due, number), resume);
    }

    pub(super) fn first_due(&self) -> Option<Elapsed> {
        self.0.first_key_value().map(|((due, _), _)| *due)
    }

    /// Takes out one who is due.
    pub(super) fn next(&mut self, now: Elapsed) -> Option<Box<Resume>> {
        let due = self.first_due().filter(|due| *due <= now);
        due.and_then(|_| self.0.pop_first())
            .map(|(_, resume)| resume)
    }

    /// How many wait.
    pub(super) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// Takes out those of these stays: they stay away.
    pub(super) fn forget(&mut self, forgotten: impl Fn(Stays) -> bool) {
        self.0.retain(|_, resume| !forgotten(resume.opening.stays));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        drive::sse::Decoder,
        plan::{Leave, Manners},
        timeline::Counts,
    };

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    const fn at(when: u64) -> Elapsed {
        Elapsed(millis(when))
    }

    fn client(policy: Reconnect) -> Resume {
        let opening = Opening {
            script: 0,
            leave: Leave::Fin,
            stays: Stays::Standing,
            number: 3,
            due: Elapsed::default(),
            manners: Manners::default(),
        };
        Resume::new(&opening, policy, 1)
    }

    fn steady() -> Reconnect {
        Reconnect {
            after: millis(1000),
            at_most: millis(5000),
            jitter_percent: 0,
            give_up_after: millis(20_000),
        }
    }

    /// Hears these bytes in cuts of this size.
    fn hear(resume: &mut Resume, text: &str, size: usize) {
        let mut decoder = Decoder::new(1 << 20);
        for mut cut in text.as_bytes().chunks(size) {
            while let Some(piece) = decoder.next(&mut cut).unwrap() {
                resume.hear(piece);
            }
        }
    }

    fn event(id: u64) -> String {
        format!("id: {id}\ndata: x\n\n")
    }

    fn counted(resume: &mut Resume) -> (u64, u64, u64) {
        let tally = Tally::default();
        resume.settle(&tally);
        let Counts {
            ids_lost,
            ids_repeated,
            ids_unknown,
            ..
        } = tally.counts();
        (ids_lost, ids_repeated, ids_unknown)
    }

    #[test]
    fn waits_double_up_to_their_limit_and_an_event_starts_anew() {
        let mut resume = client(steady());
        let mut now = 0;
        for (wait, due) in [(1000, 1000), (2000, 3000), (4000, 7000), (5000, 12_000)] {
            assert_eq!(resume.lost(at(now)), Some(at(due)), "a wait of {wait}");
            now = due;
        }
        hear(&mut resume, &event(1), 4);
        assert_eq!(resume.lost(at(now)), Some(at(now + 1000)));
    }

    #[test]
    fn the_stream_says_how_long_to_wait() {
        for (told, wait) in [
            ("retry: 50\n", 50),
            ("retry: 50\nretry: later\n", 50),
            ("retry: 50\nretry:\n", 50),
            ("retry: 50\nretry: -1\n", 50),
            ("retry: 7000\n", 7000), // longer than our own limit: the server's word counts
            ("retry: 0\n", 10),
            ("retry: 99999999999999999999\n", 1000), // no number that can be held
            ("retry: 5", 1000),                      // half a line is none
            ("", 1000),
        ] {
            for size in [1, 3, 99] {
                let mut resume = client(steady());
                hear(&mut resume, told, size);
                assert_eq!(resume.lost(at(0)), Some(at(wait)), "{told:?}");
            }
        }
    }

    #[test]
    fn jitter_only_adds_and_differs_from_try_to_try_but_not_from_run_to_run() {
        let policy = Reconnect {
            at_most: millis(1000),
            jitter_percent: 50,
            ..steady()
        };
        let waits = || {
            let mut resume = client(policy);
            [(); 5].map(|()| resume.lost(at(0)).unwrap())
        };
        assert_eq!(waits(), waits());
        for (i, wait) in waits().into_iter().enumerate() {
            assert!((at(1000)..=at(1500)).contains(&wait), "{wait}");
            assert!(!waits()[..i].contains(&wait), "{wait} twice");
        }
    }

    #[test]
    fn it_gives_up_after_the_time_that_is_stated() {
        let mut resume = client(Reconnect {
            give_up_after: millis(3500),
            ..steady()
        });
        assert_eq!(resume.lost(at(100)), Some(at(1100)));
        assert_eq!(resume.lost(at(1100)), Some(at(3100)));
        assert_eq!(resume.lost(at(3100)), None);
    }

    #[test]
    fn nobody_comes_back_when_its_stay_is_over() {
        let mut resume = client(steady());
        resume.opening.stays = Stays::Until(at(1000));
        assert!(resume.is_wanted_at(at(999)));
        assert!(!resume.is_wanted_at(at(1000)));
    }

    #[test]
    fn the_last_id_is_that_of_the_last_whole_event() {
        let long = format!("id: {}\ndata: x\n\n", "9".repeat(LONGEST_ID + 1));
        for (text, last) in [
            ("id: 7\ndata: x\n\nid: 8\ndata: x\n", Some("7")),
            ("id: 7\ndata: x\n\ndata: y\n\n", Some("7")),
            ("id: 7\n\n", Some("7")), // a blank line commits an id, with or without data
            ("id: 7\ndata: x\n\nid\ndata: x\n\n", None),
            ("id: 7\nid: \0\ndata: x\n\n", Some("7")),
            ("id: 7\nid: abc\ndata: x\n\n", Some("abc")),
            (&format!("id: 7\ndata: x\n\n{long}"), Some("7")),
            ("data: x\n\n", None),
        ] {
            for size in [1, 5, 4096] {
                let mut resume = client(steady());
                hear(&mut resume, text, size);
                let id = resume.last_id().map(String::from_utf8_lossy);
                assert_eq!(id.as_deref(), last, "{text:.40}");
            }
        }
    }

    #[test]
    fn what_was_missed_and_what_came_twice_is_counted_after_a_comeback_only() {
        for (before, after, counts) in [
            (&[1, 2, 3][..], &[4, 5][..], (0, 0, 0)),
            (&[1, 2, 3], &[7, 9], (3, 0, 0)), // the gap after the first new one is the server's business
            (&[1, 5], &[6], (0, 0, 0)),
            (&[1, 2, 3], &[2, 3, 4], (0, 2, 0)),
            (&[1, 2, 3], &[2, 3, 6], (2, 2, 0)), // repeated, and lost all the same
            (&[5, 4], &[6], (0, 0, 1)),          // ids that fall say nothing
            (&[], &[6], (0, 0, 0)),              // nothing was seen, so nothing can be missing
        ] {
            let mut resume = client(steady());
            let text = |ids: &[u64]| ids.iter().copied().map(event).collect::<String>();
            hear(&mut resume, &text(before), 7);
            assert_eq!(counted(&mut resume), (0, 0, 0));
            resume.lost(at(0));
            hear(&mut resume, &text(after), 7);
            let found = counted(&mut resume);
            assert_eq!(found, counts, "{before:?} then {after:?}");
        }
    }

    #[test]
    fn ids_that_are_no_numbers_say_nothing() {
        for (before, after) in [("a", "b"), ("1", "b"), ("a", "1"), ("1", "")] {
            let mut resume = client(steady());
            let text = |id: &str| format!("id: {id}\ndata: x\n\n");
            hear(&mut resume, &text(before), 99);
            resume.lost(at(0));
            hear(&mut resume, &text(after), 99);
            assert_eq!(counted(&mut resume), (0, 0, 1), "{before:?} then {after:?}");
            hear(&mut resume, &text(after), 99);
            assert_eq!(counted(&mut resume), (0, 0, 0), "once a comeback");
        }
    }

    #[test]
    fn an_event_without_an_id_of_its_own_does_not_end_the_comparison() {
        let mut resume = client(steady());
        hear(&mut resume, &event(3), 99);
        resume.lost(at(0));
        hear(
            &mut resume,
            &format!("event: connected\ndata: x\n\n{}", event(6)),
            99,
        );
        assert_eq!(counted(&mut resume), (2, 0, 0));
    }

    #[test]
    fn who_is_due_first_comes_back_first() {
        let mut comebacks = Comebacks::default();
        for (number, due) in [(1, 30), (2, 10), (3, 10)] {
            let mut resume = client(steady());
            (resume.opening.number, resume.opening.due) = (number, at(due));
            comebacks.add(Box::new(resume));
        }
        assert_eq!((comebacks.len(), comebacks.first_due()), (3, Some(at(10))));
        let mut next = |now| comebacks.next(at(now)).map(|resume| resume.opening.number);
        assert_eq!(
            [next(9), next(10), next(10), next(29)],
            [None, Some(2), Some(3), None]
        );
        comebacks.forget(|stays| stays == Stays::Standing);
        assert_eq!(comebacks.len(), 0);
    }

    proptest! {
        /// Whatever a server loses and repeats, the counts are exact.
        #[test]
        fn planted_losses_and_repeats_are_counted_to_the_id(
            visits in prop::collection::vec((1_u64..20, 0_u64..9, 0_u64..9), 1..12),
            size in 1_usize..40,
        ) {
            let mut resume = client(steady());
            let (mut highest, mut planted) = (0, (0, 0, 0));
            for (index, (events, lost, repeated)) in visits.into_iter().enumerate() {
                let (lost, repeated) = if index == 0 { (0, 0) } else { (lost, repeated.min(highest)) };
                let again = highest - repeated + 1..=highest;
                let new = highest + lost + 1..=highest + lost + events;
                highest += lost + events;
                planted = (planted.0 + lost, planted.1 + repeated, 0);
                let text: String = again.chain(new).map(event).collect();
                hear(&mut resume, &text, size);
                resume.lost(at(0));
            }
            prop_assert_eq!(counted(&mut resume), planted);
        }
    }
}
