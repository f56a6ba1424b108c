//! The registry of sessions: who talks with us, what was said, and what a returning client may have missed.
//!
//! In: `enter` (create or join), `visit` (a stream attaches), `sweep` (time passes). Out: a [`Session`] while somebody holds it.
//! A [`Visit`] leaves on drop, however the client went away. Time is an argument, but for the end of a visit, which nobody announces.
//! A tree, not a hash table: a table doubles and never shrinks, which from outside looks like a leak. A tree of the sessions themselves,
//! not of names and sessions: how full its nodes are depends on who came and went, and pointers make that wobble three times smaller.

use std::{
    borrow::Borrow,
    cell::RefCell,
    cmp::Ordering,
    collections::{BTreeSet, VecDeque},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use serde::Serialize;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    defects::{Leaks, Slot},
    instruments::{Counters, Gone},
    signal::Signal,
};

/// What one session may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) sessions: usize,
    pub(crate) ttl: Duration,
    pub(crate) entries: usize,
    pub(crate) history_bytes: usize,
    pub(crate) replay_window: usize,
    pub(crate) budget: usize,
}

/// The registry refuses new sessions until others have gone.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many sessions")]
pub(crate) struct Full;

/// The block behind `Bytes` of which there are clones (bytes 1, `Shared`: buffer, capacity, count).
const SHARED_FRAME: usize = 3 * size_of::<usize>();

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    User,
    Assistant,
}

/// One message of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    pub(crate) role: Role,
    pub(crate) content: Box<str>,
}

/// Every session of this process.
pub(crate) struct Sessions {
    limits: Limits,
    counters: Arc<Counters>,
    leaks: Rc<Leaks>,
    by_id: RefCell<BTreeSet<ById>>,
}

/// One conversation or subscription.
pub(crate) struct Session {
    /// Its name in requests.
    pub(crate) id: Uuid,
    /// Raised when it left the registry: its streams end.
    pub(crate) gone: Signal,
    /// What planted leaks note on it.
    pub(crate) slot: Slot,
    leaks: Rc<Leaks>,
    limits: Limits,
    memory: RefCell<Memory>,
}

/// A session in the registry's order.
struct ById(Rc<Session>);

impl Borrow<Uuid> for ById {
    fn borrow(&self) -> &Uuid {
        &self.0.id
    }
}

impl Ord for ById {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.id.cmp(&other.0.id)
    }
}

impl PartialOrd for ById {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ById {}

struct Memory {
    last_active: Instant,
    live_streams: u32,
    turns: u64,
    history: VecDeque<Entry>,
    history_bytes: usize,
    last_event: u64,
    replay: VecDeque<(u64, Bytes)>,
    replay_bytes: usize,
}

impl Sessions {
    pub(crate) fn new(limits: Limits, counters: Arc<Counters>, leaks: Rc<Leaks>) -> Self {
        Self {
            limits,
            counters,
            leaks,
            by_id: RefCell::default(),
        }
    }

    /// Joins the session `id`, or creates it. An id nobody knows is adopted: it may have expired here, or live in another worker.
    pub(crate) fn enter(&self, id: Option<Uuid>, now: Instant) -> Result<Rc<Session>, Full> {
        let id = id.unwrap_or_else(Uuid::new_v4);
        if let Some(known) = self.find(id) {
            return Ok(known);
        }
        let mut by_id = self.by_id.borrow_mut();
        if by_id.len() >= self.limits.sessions {
            return Err(Full);
        }
        let session = Rc::new(Session::new(id, self.limits, Rc::clone(&self.leaks), now));
        by_id.insert(ById(Rc::clone(&session)));
        self.counters.sessions.open();
        Ok(session)
    }

    /// The session with this name, if there is one.
    pub(crate) fn find(&self, id: Uuid) -> Option<Rc<Session>> {
        self.by_id
            .borrow()
            .get(&id)
            .map(|known| Rc::clone(&known.0))
    }

    /// Forgets a session; its streams end. False if nobody knew it.
    pub(crate) fn delete(&self, id: Uuid) -> bool {
        let known = self.find(id);
        if let Some(session) = &known {
            self.remove(session, Gone::Deleted);
        }
        known.is_some()
    }

    /// Forgets every session that has no stream and was last active a TTL ago.
    pub(crate) fn sweep(&self, now: Instant) {
        let expired: Vec<_> = self
            .by_id
            .borrow()
            .iter()
            .map(|known| &known.0)
            .filter(|session| {
                session
                    .idle_for(now)
                    .is_some_and(|idle| idle >= self.limits.ttl)
            })
            .filter(|session| !self.leaks.session_due(session))
            .cloned()
            .collect();
        for session in expired {
            self.remove(&session, Gone::Expired);
        }
    }

    /// Forgets the tenth of the sessions that were idle longest: memory is short, and who is talking now matters more.
    pub(crate) fn evict(&self, now: Instant) {
        let mut idle: Vec<_> = self
            .by_id
            .borrow()
            .iter()
            .map(|known| &known.0)
            .filter_map(|session| session.idle_for(now).map(|idle| (idle, Rc::clone(session))))
            .collect();
        idle.sort_by_key(|(idle, _)| std::cmp::Reverse(*idle));
        idle.truncate(idle.len().div_ceil(10));
        for (_, session) in idle {
            self.remove(&session, Gone::Evicted);
        }
    }

    fn remove(&self, session: &Session, how: Gone) {
        let mut by_id = self.by_id.borrow_mut();
        by_id.remove(&session.id);
        if by_id.is_empty() {
            *by_id = BTreeSet::new(); // an emptied tree keeps its last node
        }
        self.counters.sessions.end(how as usize);
        session.gone.raise();
    }

    /// Attaches a stream to a session for as long as the [`Visit`] lives.
    pub(crate) fn visit(&self, session: Rc<Session>) -> Visit {
        let streams = &mut session.memory.borrow_mut().live_streams;
        *streams += 1;
        if *streams == 1 {
            self.counters.session_streams();
        }
        Visit {
            session: Rc::clone(&session),
            counters: Arc::clone(&self.counters),
        }
    }
}

impl Session {
    fn new(id: Uuid, limits: Limits, leaks: Rc<Leaks>, now: Instant) -> Self {
        let memory = Memory {
            last_active: now,
            live_streams: 0,
            turns: 0,
            history: VecDeque::new(),
            history_bytes: 0,
            last_event: 0,
            replay: VecDeque::new(),
            replay_bytes: 0,
        };
        Self {
            id,
            gone: Signal::default(),
            slot: Slot::default(),
            leaks,
            limits,
            memory: RefCell::new(memory),
        }
    }

    /// How long nobody has used it; `None` while a stream is attached.
    fn idle_for(&self, now: Instant) -> Option<Duration> {
        let memory = self.memory.borrow();
        (memory.live_streams == 0).then(|| now.saturating_duration_since(memory.last_active))
    }

    /// Somebody used it: its TTL starts again.
    pub(crate) fn touch(&self, now: Instant) {
        self.memory.borrow_mut().last_active = now;
    }

    /// Starts a turn; answers its number, from 1.
    pub(crate) fn next_turn(&self) -> u64 {
        let mut memory = self.memory.borrow_mut();
        memory.turns += 1;
        memory.turns
    }

    /// Adds to the history; the oldest goes when a limit is reached.
    pub(crate) fn remember(&self, role: Role, content: &str) {
        let mut memory = self.memory.borrow_mut();
        memory.history_bytes += content.len();
        memory.history.push_back(Entry {
            role,
            content: content.into(),
        });
        self.trim(&mut memory);
    }

    /// The last `limit` messages, oldest first.
    pub(crate) fn history(&self, limit: usize) -> Vec<Entry> {
        let memory = self.memory.borrow();
        let skip = memory.history.len().saturating_sub(limit);
        memory.history.iter().skip(skip).cloned().collect()
    }

    /// The next event of this session's feed, made by `write` from its id and kept in the replay window.
    pub(crate) fn next_event(&self, write: impl FnOnce(u64) -> Bytes) -> Bytes {
        let mut memory = self.memory.borrow_mut();
        memory.last_event += 1;
        let id = memory.last_event;
        let frame = write(id);
        memory.replay_bytes += frame.len();
        memory.replay.push_back((id, frame.clone()));
        self.trim(&mut memory);
        frame
    }

    fn trim(&self, memory: &mut Memory) {
        memory.trim(&self.limits, |entry| {
            self.leaks.entry_forgotten(&self.slot, entry);
        });
    }

    /// Whether the last word in it is ours.
    pub(crate) fn is_answered(&self) -> bool {
        let memory = self.memory.borrow();
        memory
            .history
            .back()
            .is_some_and(|entry| entry.role == Role::Assistant)
    }

    /// What it holds beyond its own block; `usable` tells what the allocator takes for a size.
    pub(crate) fn held_bytes(&self, usable: impl Fn(usize) -> usize) -> usize {
        let memory = self.memory.borrow();
        let said = memory
            .history
            .iter()
            .map(|entry| usable(entry.content.len()));
        let sent = memory
            .replay
            .iter()
            .map(|(_, frame)| usable(frame.len()) + usable(SHARED_FRAME));
        let buffers = usable(memory.history.capacity() * size_of::<Entry>())
            + usable(memory.replay.capacity() * size_of::<(u64, Bytes)>());
        buffers + said.chain(sent).sum::<usize>()
    }

    /// What a client that saw `last` has missed, as far as the window reaches, and how many events are beyond it.
    /// An id we never sent has missed nothing.
    pub(crate) fn missed_since(&self, last: u64) -> (Vec<Bytes>, u64) {
        let memory = self.memory.borrow();
        let frames: Vec<_> = memory
            .replay
            .iter()
            .filter(|(id, _)| *id > last)
            .map(|(_, frame)| frame.clone())
            .collect();
        let beyond = memory
            .last_event
            .saturating_sub(last)
            .saturating_sub(frames.len() as u64);
        (frames, beyond)
    }
}

impl Memory {
    fn trim(&mut self, limits: &Limits, mut forget: impl FnMut(Entry)) {
        while self.replay.len() > limits.replay_window
            || (self.over(limits) && !self.replay.is_empty())
        {
            let frame = self.replay.pop_front();
            self.replay_bytes -= frame.map_or(0, |(_, frame)| frame.len());
        }
        while self.history.len() > limits.entries
            || self.history_bytes > limits.history_bytes
            || (self.over(limits) && !self.history.is_empty())
        {
            if let Some(entry) = self.history.pop_front() {
                self.history_bytes -= entry.content.len();
                forget(entry);
            }
        }
    }

    fn over(&self, limits: &Limits) -> bool {
        self.history_bytes + self.replay_bytes > limits.budget
    }
}

/// A stream's stay in a session. Dropping it leaves; the session's TTL counts from there.
pub(crate) struct Visit {
    session: Rc<Session>,
    counters: Arc<Counters>,
}

impl Visit {
    pub(crate) fn session(&self) -> &Rc<Session> {
        &self.session
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut memory = self.session.memory.borrow_mut();
        memory.live_streams -= 1;
        memory.last_active = Instant::now();
        if memory.live_streams == 0 {
            self.counters.session_rests();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        sessions: 10,
        ttl: Duration::from_secs(30),
        entries: 4,
        history_bytes: 100,
        replay_window: 3,
        budget: 120,
    };

    fn sessions() -> Sessions {
        Sessions::new(LIMITS, Arc::default(), Rc::default())
    }

    #[test]
    fn a_session_expires_a_ttl_after_its_last_activity_and_not_before() {
        let sessions = sessions();
        let start = Instant::now();
        let id = sessions.enter(None, start).expect("room").id;
        for (after, alive) in [(0, true), (29, true), (30, false)] {
            sessions.sweep(start + Duration::from_secs(after));
            assert_eq!(sessions.find(id).is_some(), alive, "after {after} s");
        }
    }

    #[test]
    fn a_session_with_a_live_stream_never_expires_and_its_ttl_counts_from_the_end_of_the_stream() {
        let sessions = sessions();
        let session = sessions.enter(None, Instant::now()).expect("room");
        let visit = sessions.visit(Rc::clone(&session));
        sessions.sweep(Instant::now() + Duration::from_secs(1000));
        assert!(
            sessions.find(session.id).is_some(),
            "while the stream lives"
        );
        session.touch(Instant::now() - Duration::from_secs(20));
        drop(visit);
        sessions.sweep(Instant::now() + Duration::from_secs(29));
        assert!(sessions.find(session.id).is_some(), "29 s after its end");
        sessions.sweep(Instant::now() + Duration::from_secs(30));
        assert!(sessions.find(session.id).is_none(), "30 s after its end");
        assert!(session.gone.is_raised());
    }

    #[test]
    fn short_memory_evicts_the_longest_idle_and_spares_who_talks() {
        let sessions = sessions();
        let start = Instant::now();
        let talking = sessions.enter(None, start).expect("room");
        let _visit = sessions.visit(Rc::clone(&talking));
        let oldest = sessions.enter(None, start).expect("room").id;
        let newer = sessions
            .enter(None, start + Duration::from_secs(1))
            .expect("room")
            .id;
        sessions.evict(start + Duration::from_secs(2));
        assert_eq!(
            [talking.id, oldest, newer].map(|id| sessions.find(id).is_some()),
            [true, false, true]
        );
    }

    #[test]
    fn history_is_bounded_by_count_by_bytes_and_by_the_session_budget() {
        let session = sessions().enter(None, Instant::now()).expect("room");
        for n in 0..6 {
            session.remember(Role::User, &n.to_string());
        }
        assert_eq!(
            session
                .history(99)
                .iter()
                .map(|entry| &*entry.content)
                .collect::<Vec<_>>(),
            ["2", "3", "4", "5"]
        );
        session.remember(Role::User, &"x".repeat(99));
        assert_eq!(session.history(99).len(), 2, "99 + 1 bytes of 100");
        session.remember(Role::User, &"x".repeat(101));
        assert_eq!(session.history(99).len(), 0, "more than all");
        session.remember(Role::User, &"x".repeat(90));
        for _ in 0..3 {
            session.next_event(|_| Bytes::from(vec![0; 15]));
        }
        assert_eq!(
            (session.missed_since(0).0.len(), session.history(99).len()),
            (2, 1),
            "90 + 2 × 15 of 120"
        );
    }

    #[test]
    fn a_returning_client_gets_what_it_missed_as_far_as_the_window_reaches() {
        let session = sessions().enter(None, Instant::now()).expect("room");
        for _ in 0..5 {
            session.next_event(|id| Bytes::from(id.to_string()));
        }
        for (last, missed) in [
            (4, (vec!["5"], 0)),
            (5, (vec![], 0)),
            (0, (vec!["3", "4", "5"], 2)),
            (77, (vec![], 0)),
        ] {
            let (frames, beyond) = session.missed_since(last);
            assert_eq!(
                (
                    frames
                        .iter()
                        .map(|frame| std::str::from_utf8(frame).expect("ASCII"))
                        .collect(),
                    beyond
                ),
                missed,
                "after {last}"
            );
        }
    }

    #[test]
    fn the_registry_is_full_at_its_limit_and_open_again_below() {
        let sessions = sessions();
        let ids: Vec<_> = (0..10)
            .map(|_| sessions.enter(None, Instant::now()).expect("room").id)
            .collect();
        assert_eq!(sessions.enter(None, Instant::now()).err(), Some(Full));
        assert!(
            sessions.enter(Some(ids[3]), Instant::now()).is_ok(),
            "known ones may come back"
        );
        assert!(sessions.delete(ids[3]));
        assert!(!sessions.delete(ids[3]), "once");
        assert!(sessions.enter(None, Instant::now()).is_ok());
    }
}
