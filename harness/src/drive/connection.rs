//! One client's conversation: requests out, answers in. A state machine without sockets and without a clock.
//!
//! In: bytes as they come, cut anywhere, and the time. Out: counts, latencies, captured sessions, or a [`Trouble`].
//! Holds bytes only while it must: a head that is cut, an event that is searched for a session, a request not yet sent.

use std::time::Duration;

use crate::{
    plan::{CaptureFrom, Expect, Unit},
    timeline::{Elapsed, Tally},
};

use super::{
    capture::{Gathering, MOST_KEPT, PreparedCapture},
    h2::hpack::Field,
    http::{Framing, Head, HeadError, Media, Parsed},
    latency::record,
    pacer::Opening,
    reconnect::Resume,
    request::{PreparedExchange, PreparedUse},
    sse::{Decoder, Piece},
    trouble::{LONGEST_QUOTE, Trouble, Where},
    world::{Limits, World},
};

/// So long we wait for the words of an error.
const QUOTE_WAIT: Duration = Duration::from_secs(1);

/// The state of one conversation.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) number: u64,
    script: u16,
    exchange: u16,
    phase: Phase,
    /// The answer's connection can take another request.
    keeps_alive: bool,
    /// A session's id is still looked for in this answer.
    searching: bool,
    session: Option<Box<str>>,
    /// From when the wait for the next event counts: the opening as planned, the request, the last event.
    waits_from: Moment,
    /// When the present phase began.
    since: Moment,
    /// When the last bytes came.
    heard: Moment,
    /// This answer has brought an event.
    has_event: bool,
    held: Option<Box<Held>>,
    /// What it keeps for coming back, if it does.
    resume: Option<Box<Resume>>,
}

/// An [`Elapsed`] in eight bytes instead of sixteen: nanoseconds, which last for 584 years. Thousands of streams have three each.
#[derive(Clone, Copy, Debug)]
struct Moment(u64);

impl From<Elapsed> for Moment {
    fn from(at: Elapsed) -> Self {
        Self(at.0.as_nanos().try_into().unwrap_or(u64::MAX))
    }
}

impl From<Moment> for Elapsed {
    fn from(moment: Moment) -> Self {
        Self(Duration::from_nanos(moment.0))
    }
}

/// Where a conversation stands.
#[derive(Debug)]
enum Phase {
    Connecting,
    Sending,
    Head,
    Stream(Framing, Decoder),
    Plain(Framing),
    /// An answer of this status that was not expected: its first words are read, to be quoted.
    Refused(Framing, u16),
    /// The whole answer is read.
    Over,
}

/// What is held while it is partial.
#[derive(Debug, Default)]
struct Held {
    /// The head so far, the body that is searched, the error that is quoted, or what is left of the request.
    bytes: Vec<u8>,
    gathering: Gathering,
}

/// Until when something must have happened.
pub(super) struct Patience {
    pub(super) until: Elapsed,
    what: &'static str,
    within: Duration,
}

impl Connection {
    pub(super) fn new(opening: &Opening, script: u16, now: Elapsed) -> Self {
        Self {
            number: opening.number,
            script,
            exchange: 0,
            phase: Phase::Connecting,
            keeps_alive: true,
            searching: false,
            session: None,
            waits_from: opening.due.into(),
            since: now.into(),
            heard: now.into(),
            has_event: false,
            held: None,
            resume: None,
        }
    }

    /// Comes back from here on if its stream is lost. After a comeback it asks for its stream only, with the session it had.
    pub(super) fn remember(&mut self, mut resume: Box<Resume>, world: &World) {
        if resume.is_comeback() {
            self.exchange = world.last(self.script);
            self.session = resume.session.take();
        }
        self.resume = Some(resume);
    }

    /// What it has kept for coming back: once it had got as far as its stream.
    pub(super) fn take_resume(&mut self, world: &World) -> Option<Box<Resume>> {
        let mut resume = self.resume.take().filter(|_| self.is_in_last(world))?;
        resume.session = self.session.take();
        Some(resume)
    }

    pub(super) fn plan<'a>(&self, world: &'a World) -> &'a PreparedExchange {
        world.exchange(self.script, self.exchange)
    }

    pub(super) fn is_connected(&self) -> bool {
        !matches!(self.phase, Phase::Connecting)
    }

    /// Whether the last exchange is under way.
    pub(super) fn is_in_last(&self, world: &World) -> bool {
        world.is_last(self.script, self.exchange)
    }

    /// Whether the request under way has been sent.
    pub(super) fn has_asked(&self) -> bool {
        !matches!(self.phase, Phase::Connecting | Phase::Sending)
    }

    /// Whether the answer under way has begun as expected.
    pub(super) fn has_answer(&self) -> bool {
        matches!(
            self.phase,
            Phase::Stream(..) | Phase::Plain(_) | Phase::Over
        )
    }

    pub(super) fn has_event(&self) -> bool {
        self.has_event
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// When the last bytes came, or were last looked for.
    pub(super) fn heard(&self) -> Elapsed {
        self.heard.into()
    }

    /// The session that it has captured or borrowed.
    #[cfg(any(test, fuzzing))]
    pub(super) fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// Somebody looks for bytes now.
    pub(super) fn listen(&mut self, now: Elapsed) {
        self.heard = now.into();
    }

    /// How long it took to connect, from when the plan opened it.
    pub(super) fn connected(&self, now: Elapsed, world: &mut World) {
        Tally::add(&world.tally.connected, 1);
        record(
            &mut world.latency.connect,
            now.since(self.waits_from.into()),
        );
    }

    /// Renders the request of this exchange into the world's buffer.
    pub(super) fn ask(&mut self, now: Elapsed, world: &mut World) -> Result<(), Trouble> {
        if let (None, PreparedUse::Uses { pool: Some(pool) }) =
            (&self.session, &self.plan(world).session)
        {
            let pool = *pool;
            self.session = world.pools[pool].borrow();
        }
        let plan = self.plan(world);
        if self.session.is_none() && plan.needs_session() {
            Tally::add(&world.tally.captures_failed, 1);
            return Err(Trouble::NoSession);
        }
        self.enter(Phase::Sending, now);
        self.has_event = false;
        if self.exchange > 0 {
            self.waits_from = now.into();
        }
        let resume = self.resume.as_deref();
        world.render(
            self.script,
            self.exchange,
            self.number,
            self.session.as_deref(),
            resume.and_then(Resume::last_id),
        );
        Ok(())
    }

    /// Keeps what is left of the request until the socket takes more.
    pub(super) fn keep_unsent(&mut self, rest: &[u8]) {
        self.held().bytes = rest.to_vec();
    }

    pub(super) fn take_unsent(&mut self) -> Vec<u8> {
        self.held.take().map(|held| held.bytes).unwrap_or_default()
    }

    /// The request is on its way.
    pub(super) fn sent(&mut self, now: Elapsed, world: &World) {
        self.enter(Phase::Head, now);
        let still_needed = matches!(self.plan(world).session, PreparedUse::Deletes);
        if self.is_in_last(world) && !still_needed && self.resume.is_none() {
            // Nobody will name it again: a stream that is held for hours need not hold its id.
            self.session = None;
        }
    }

    /// Goes on to the next exchange, after an answer that is over.
    pub(super) fn go_on(&mut self) -> Result<(), Trouble> {
        if !self.keeps_alive {
            return Err(Trouble::Closed(Where::BetweenExchanges));
        }
        self.exchange += 1;
        Ok(())
    }

    /// How long it thinks before the exchange after this one.
    pub(super) fn think(&self, world: &World) -> Duration {
        if self.is_in_last(world) {
            return Duration::ZERO;
        }
        world.exchange(self.script, self.exchange + 1).think
    }

    /// Takes in bytes of an answer.
    pub(super) fn receive(
        &mut self,
        mut input: &[u8],
        now: Elapsed,
        world: &mut World,
    ) -> Result<(), Trouble> {
        self.heard = now.into();
        while !input.is_empty() {
            match self.phase {
                Phase::Connecting | Phase::Sending | Phase::Over => return Err(Trouble::Surplus),
                Phase::Head => self.head(&mut input, now, world)?,
                Phase::Stream(..) => self.stream(&mut input, now, world)?,
                Phase::Plain(_) => self.plain(&mut input, world)?,
                Phase::Refused(..) => self.refused(&mut input, world)?,
            }
        }
        Ok(())
    }

    /// The server has closed its side.
    pub(super) fn end_of_input(&mut self, world: &mut World) -> Result<(), Trouble> {
        self.keeps_alive = false;
        match &self.phase {
            Phase::Stream(Framing::UntilClose, _) | Phase::Plain(Framing::UntilClose) => {
                self.finish(world);
                Ok(())
            }
            Phase::Over => Ok(()),
            Phase::Refused(_, status) => Err(self.status_trouble(*status, world)),
            Phase::Connecting | Phase::Sending | Phase::Head => {
                Err(Trouble::Closed(Where::BeforeTheHead))
            }
            Phase::Stream(..) | Phase::Plain(_) => Err(Trouble::Closed(Where::MidAnswer)),
        }
    }

    /// Takes in the head of an answer over HTTP/2.
    pub(super) fn receive_head(
        &mut self,
        fields: &[Field],
        now: Elapsed,
        world: &mut World,
    ) -> Result<(), Trouble> {
        self.heard = now.into();
        if !matches!(self.phase, Phase::Head | Phase::Sending) {
            return Err(Trouble::Surplus);
        }
        self.held = None; // what is left of the request: it was answered all the same
        let head = Head::of_fields(fields, self.plan(world).captured_header())?;
        self.answer(head, now, world)
    }

    /// The server has ended this answer, and its connection goes on.
    pub(super) fn end_of_answer(&mut self, world: &mut World) -> Result<(), Trouble> {
        let ended = self.end_of_input(world);
        self.keeps_alive = true;
        ended
    }

    /// The connection broke off, and with it whatever was not complete.
    pub(super) fn broken_off(&self, world: &World) -> Trouble {
        match &self.phase {
            Phase::Refused(_, status) => self.status_trouble(*status, world),
            Phase::Connecting | Phase::Sending | Phase::Head => {
                Trouble::Closed(Where::BeforeTheHead)
            }
            Phase::Stream(..) | Phase::Plain(_) => Trouble::Closed(Where::MidAnswer),
            Phase::Over => Trouble::Closed(Where::BetweenExchanges),
        }
    }

    /// Until when the present phase must have come to its end; `None` when it may last.
    pub(super) fn patience(&self, limits: &Limits, must_end: bool) -> Option<Patience> {
        let (from, what, within) = match &self.phase {
            Phase::Connecting => (self.since, "connection", limits.connect),
            Phase::Sending => (self.since, "chance to send its request", limits.head),
            Phase::Head => (self.since, "answer", limits.head),
            Phase::Stream(..) if !self.has_event => (self.since, "first event", limits.first_event),
            Phase::Stream(..) | Phase::Plain(_) if must_end => {
                (self.heard, "byte of an unfinished answer", limits.silence)
            }
            Phase::Refused(..) => (self.since, "explanation", QUOTE_WAIT),
            Phase::Stream(..) | Phase::Plain(_) | Phase::Over => return None,
        };
        Some(Patience {
            until: Elapsed::from(from) + within,
            what,
            within,
        })
    }

    /// What it means that patience ran out.
    pub(super) fn lost_patience(&self, patience: &Patience, world: &World) -> Trouble {
        match self.phase {
            Phase::Refused(_, status) => self.status_trouble(status, world),
            _ => Trouble::TimedOut {
                what: patience.what,
                within: patience.within,
            },
        }
    }

    fn enter(&mut self, phase: Phase, now: Elapsed) {
        self.phase = phase;
        self.since = now.into();
        self.heard = now.into();
    }

    fn held(&mut self) -> &mut Held {
        self.held.get_or_insert_default()
    }

    fn head(&mut self, input: &mut &[u8], now: Elapsed, world: &mut World) -> Result<(), Trouble> {
        let mut held = self.held.take().map(|held| held.bytes).unwrap_or_default();
        let before = held.len();
        let limit = world.limits.head_bytes;
        if before > 0 {
            let room = limit.saturating_sub(before).saturating_add(1);
            held.extend_from_slice(&input[..input.len().min(room)]);
        }
        let bytes = if before > 0 { &held } else { *input };
        let plan = self.plan(world);
        let (used, head) = match Head::parse(bytes, &plan.method, plan.captured_header())? {
            Parsed::Partial if bytes.len() > limit => Err(HeadError::TooLong { limit })?,
            Parsed::Partial => {
                if before == 0 {
                    held = input.to_vec();
                }
                *input = &[];
                self.held().bytes = held;
                return Ok(());
            }
            // However it was cut: whoever got all of it at once is not more patient.
            Parsed::Interim(used) | Parsed::Final(used, _) if used > limit => {
                Err(HeadError::TooLong { limit })?
            }
            Parsed::Interim(used) => (used, None),
            Parsed::Final(used, head) => (used, Some(head)),
        };
        // What was held before was no whole head, so at least one byte of it came with `input`.
        *input = &input[used.saturating_sub(before)..];
        match head {
            Some(head) => self.answer(head, now, world),
            None => Ok(()),
        }
    }

    /// Judges the head of an answer.
    fn answer(&mut self, head: Head, now: Elapsed, world: &mut World) -> Result<(), Trouble> {
        let plan = self.plan(world);
        let as_expected = match plan.expect {
            Expect::Stream => head.status == 200,
            Expect::Success => (200..300).contains(&head.status),
        };
        self.keeps_alive = head.keeps_alive;
        if !as_expected {
            self.enter(Phase::Refused(head.framing, head.status), now);
            return self.quote(&[], world);
        }
        if plan.expect == Expect::Stream && head.media != Media::EventStream {
            return Err(Trouble::NotAStream(head.media));
        }
        match plan.counts {
            Unit::Nothing => {}
            Unit::Session => Tally::add(&world.tally.sessions_created, 1),
            Unit::Turn => Tally::add(&world.tally.turns, 1),
        }
        self.searching = matches!(plan.session, PreparedUse::Creates { .. });
        if let PreparedUse::Creates { capture, pool } = &plan.session
            && matches!(capture.from, CaptureFrom::Header(_))
        {
            let (found, pool) = (head.found.and_then(|value| capture.find(&value)), *pool);
            self.captured(found, pool, world);
        }
        let is_done = head.framing.is_done();
        let phase = if head.media == Media::EventStream {
            Phase::Stream(head.framing, Decoder::new(world.limits.line_bytes))
        } else {
            Phase::Plain(head.framing)
        };
        self.enter(phase, now);
        if is_done {
            self.finish(world);
        }
        Ok(())
    }

    fn stream(
        &mut self,
        input: &mut &[u8],
        now: Elapsed,
        world: &mut World,
    ) -> Result<(), Trouble> {
        let mut search = self
            .searching
            .then(|| Search::new(self.held.take(), self.plan(world)));
        let Phase::Stream(framing, decoder) = &mut self.phase else {
            return Ok(());
        };
        let mut events = 0;
        let mut resume = self.resume.as_deref_mut();
        let read = each_piece(framing, decoder, input, |piece| {
            events += u32::from(piece == Piece::Event);
            if let Some(resume) = &mut resume {
                resume.hear(piece);
            }
            if let Some(search) = &mut search {
                search.add(piece);
            }
        });
        let is_done = framing.is_done();
        if let Some(resume) = resume {
            resume.settle(&world.tally);
        }
        let searched = search.map(Search::outcome);
        // What came before an error came all the same.
        self.note_events(events, now, world);
        match searched {
            None => {}
            Some(Searched::Done { found, pool }) => self.captured(found, pool, world),
            Some(Searched::GoesOn(held)) => self.held = Some(held),
        }
        if is_done {
            self.finish(world);
        }
        read
    }

    fn note_events(&mut self, events: u32, now: Elapsed, world: &mut World) {
        if events == 0 {
            return;
        }
        Tally::add(&world.tally.events, u64::from(events));
        let waited = now.since(std::mem::replace(&mut self.waits_from, now.into()).into());
        if std::mem::replace(&mut self.has_event, true) {
            record(&mut world.latency.gap, waited);
        } else {
            record(&mut world.latency.first_event, waited);
        }
        world.latency.gap.saturating_record_n(0, events - 1);
    }

    fn plain(&mut self, input: &mut &[u8], world: &mut World) -> Result<(), Trouble> {
        let searching = self.searching;
        let mut held = self.held.take();
        let Phase::Plain(framing) = &mut self.phase else {
            return Ok(());
        };
        while let Some(data) = framing.next(input)? {
            if searching {
                let kept = &mut held.get_or_insert_default().bytes;
                let room = MOST_KEPT - kept.len();
                kept.extend_from_slice(&data[..data.len().min(room)]);
            }
        }
        self.held = held;
        if framing.is_done() {
            self.finish(world);
        }
        Ok(())
    }

    fn refused(&mut self, input: &mut &[u8], world: &World) -> Result<(), Trouble> {
        let Phase::Refused(framing, _) = &mut self.phase else {
            return Ok(());
        };
        let data = framing.next(input)?.unwrap_or_default();
        self.quote(data, world)
    }

    /// Adds to the words of an error, until they are all there.
    fn quote(&mut self, data: &[u8], world: &World) -> Result<(), Trouble> {
        let kept = &mut self.held().bytes;
        let room = LONGEST_QUOTE - kept.len();
        kept.extend_from_slice(&data[..data.len().min(room)]);
        let is_full = kept.len() == LONGEST_QUOTE;
        match &self.phase {
            Phase::Refused(framing, status) if is_full || framing.is_done() => {
                Err(self.status_trouble(*status, world))
            }
            _ => Ok(()),
        }
    }

    fn status_trouble(&self, status: u16, world: &World) -> Trouble {
        Trouble::Status {
            status,
            expected: match self.plan(world).expect {
                Expect::Stream => "200",
                Expect::Success => "2xx",
            },
            quote: self
                .held
                .as_ref()
                .map(|held| held.bytes.clone())
                .unwrap_or_default(),
        }
    }

    /// The whole answer is read.
    fn finish(&mut self, world: &mut World) {
        let held = self.held.take();
        self.phase = Phase::Over;
        match &self.plan(world).session {
            PreparedUse::Creates { capture, pool } if self.searching => {
                let pool = *pool;
                let body = held.map(|held| held.bytes).unwrap_or_default();
                let found = match capture.from {
                    CaptureFrom::Body => capture.find(&body),
                    CaptureFrom::Event(_) | CaptureFrom::Header(_) => None,
                };
                self.captured(found, pool, world);
            }
            PreparedUse::Deletes => {
                Tally::add(&world.tally.sessions_deleted, 1);
                if let Some(id) = self.session.take() {
                    world.pools.iter_mut().for_each(|pool| pool.forget(&id));
                }
            }
            _ => {}
        }
    }

    /// The search for a session is over.
    fn captured(&mut self, found: Option<Box<str>>, pool: Option<usize>, world: &mut World) {
        self.searching = false;
        match found {
            Some(id) => {
                if let Some(pool) = pool {
                    world.pools[pool].put(id.clone());
                }
                self.session = Some(id);
            }
            None => Tally::add(&world.tally.captures_failed, 1),
        }
    }
}

/// Hands on what is found in these bytes of a stream.
fn each_piece(
    framing: &mut Framing,
    decoder: &mut Decoder,
    input: &mut &[u8],
    mut found: impl FnMut(Piece<'_>),
) -> Result<(), Trouble> {
    while let Some(mut data) = framing.next(input)? {
        while let Some(piece) = decoder.next(&mut data)? {
            found(piece);
        }
    }
    Ok(())
}

/// Looking for a session in the events of one read.
struct Search<'a> {
    held: Box<Held>,
    wanted: Option<(&'a PreparedCapture, &'a str)>,
    pool: Option<usize>,
    /// What the first event of the name gave.
    found: Option<Option<Box<str>>>,
}

impl<'a> Search<'a> {
    fn new(held: Option<Box<Held>>, plan: &'a PreparedExchange) -> Self {
        let (wanted, pool) = match &plan.session {
            PreparedUse::Creates { capture, pool } => match &capture.from {
                CaptureFrom::Event(name) => (Some((capture, &**name)), *pool),
                CaptureFrom::Header(_) | CaptureFrom::Body => (None, *pool),
            },
            _ => (None, None),
        };
        Self {
            held: held.unwrap_or_default(),
            wanted,
            pool,
            found: None,
        }
    }

    fn add(&mut self, piece: Piece<'_>) {
        if let (Some((capture, name)), None) = (self.wanted, &self.found)
            && let Some(data) = self.held.gathering.add(piece, name)
        {
            self.found = Some(capture.find(&data));
        }
    }

    fn outcome(self) -> Searched {
        match self.found {
            Some(found) => Searched::Done {
                found,
                pool: self.pool,
            },
            None => Searched::GoesOn(self.held),
        }
    }
}

/// What a search came to.
enum Searched {
    /// The event came; what was found in it, and the pool that gets it.
    Done {
        found: Option<Box<str>>,
        pool: Option<usize>,
    },
    /// It did not come yet; this much of what follows it is known.
    GoesOn(Box<Held>),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::drive::rehearsal::{Scene, Stage, Told};

    const START: &str = "event: connected\nid: 1\ndata: {\"id\":\"s-1\"}\n\n";

    /// What became of a conversation whose server sent these bytes in these cuts.
    fn talk<'a>(cuts: impl IntoIterator<Item = &'a [u8]>) -> Told {
        Stage::new(Scene::SessionInEvent).play(cuts)
    }

    fn answers() -> impl Strategy<Value = Vec<u8>> {
        let heads = [
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 60\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n",
            "HTTP/1.1 200 OK\r\n",
        ];
        let piece =
            prop::sample::select(vec![START, "data: x\n\n", ": c\r\r", "event: y\n", "\r\n"]);
        let body = prop::collection::vec((piece, prop::bool::weighted(0.9)), 0..8);
        (prop::sample::select(heads.to_vec()), body).prop_map(|(head, pieces)| {
            let is_chunked = head.contains("chunked");
            let mut wire = head.to_owned();
            for (piece, framed) in pieces {
                if is_chunked && framed {
                    wire += &format!("{:x}\r\n{piece}\r\n", piece.len());
                } else {
                    wire += piece;
                }
            }
            if is_chunked {
                wire += "0\r\n\r\n";
            }
            wire.into_bytes()
        })
    }

    proptest! {
        #[test]
        fn however_an_answer_is_cut_it_means_the_same(wire in answers(), size in 1_usize..40) {
            let whole = talk([&wire[..]]);
            prop_assert_eq!(&talk(wire.chunks(1)), &whole);
            prop_assert_eq!(&talk(wire.chunks(size)), &whole);
        }

        #[test]
        fn no_bytes_make_it_panic(wire in prop::collection::vec(any::<u8>(), 0..600), after_head in any::<bool>()) {
            let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
            let wire = if after_head { [&head[..], &wire].concat() } else { wire };
            talk(wire.chunks(7));
        }
    }

    /// Found by `scripts/fuzz connection`: a head beyond the limit was refused in two pieces, and taken in one.
    #[test]
    fn a_head_beyond_the_limit_is_refused_even_if_it_comes_at_once() {
        let filler = "x".repeat(400);
        let wire = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX: {filler}\r\n\r\ndata: x\n\n"
        );
        let told = talk([wire.as_bytes()]);
        assert!(
            told.words.contains("longer than 400 bytes"),
            "{}",
            told.words
        );
        assert_eq!(told, talk(wire.as_bytes().chunks(7)));
    }

    #[test]
    fn the_session_of_the_first_event_of_the_name_is_kept_and_shared() {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
        let wire = format!("{head}data: 1\n\n{START}{}", START.replace("s-1", "s-2"));
        let told = talk([wire.as_bytes()]);
        assert_eq!((told.counts.events, told.counts.sessions_created), (3, 1));
        assert_eq!(told.session.as_deref(), Some("s-1"));
        assert_eq!(told.words, "over");
    }
}
