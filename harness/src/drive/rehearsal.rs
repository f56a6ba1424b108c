//! A conversation without a socket: what a client makes of an answer, however it is cut. For tests, and for `harness/fuzz`.
//!
//! In: a [`Scene`] and the bytes of an answer. Out: all that can be [`Told`] of it. Start at [`Stage`]. Limits are small, so that they are met.

use std::sync::Arc;

use crate::{
    plan::{
        Capture, CaptureBy, CaptureFrom, Exchange, Expect, Leave, Manners, Request, Script,
        Segment, SessionUse, Unit,
    },
    timeline::{Counts, Elapsed},
};

use super::{
    DriveConfig, Limits, Transport,
    connection::Connection,
    pacer::{Opening, Stays},
    world::World,
};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// A stream whose event `connected` names the session.
    SessionInEvent,
    /// A stream whose head names the session.
    SessionInHeader,
    /// A plain answer whose body names the session.
    SessionInBody,
    /// A stream, and nothing else.
    Stream,
}

impl Scene {
    /// Every one.
    pub const ALL: [Self; 4] = [
        Self::SessionInEvent,
        Self::SessionInHeader,
        Self::SessionInBody,
        Self::Stream,
    ];

    fn exchange(self) -> Exchange {
        let (from, by) = match self {
            Self::SessionInEvent => (
                CaptureFrom::Event("connected".into()),
                CaptureBy::Pointer("/id".into()),
            ),
            Self::SessionInHeader => (
                CaptureFrom::Header("Mcp-Session-Id".into()),
                CaptureBy::Whole,
            ),
            Self::SessionInBody => (CaptureFrom::Body, CaptureBy::Regex("id=([a-z]+)".into())),
            Self::Stream => return get("/events", Expect::Stream),
        };
        let expect = match self {
            Self::SessionInBody => Expect::Success,
            _ => Expect::Stream,
        };
        Exchange {
            think: std::time::Duration::ZERO,
            session: SessionUse::Creates {
                capture: Capture { from, by },
                pool: Some(0),
            },
            counts: Unit::Session,
            ..get("/chat", expect)
        }
    }
}

fn get(target: &str, expect: Expect) -> Exchange {
    Exchange {
        think: std::time::Duration::ZERO,
        request: Request {
            method: "GET".into(),
            target: target.into(),
            headers: vec![],
            body: String::new(),
        },
        expect,
        session: SessionUse::None,
        counts: Unit::Nothing,
    }
}

/// What became of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What was counted.
    pub counts: Counts,
    /// The session that was captured.
    pub session: Option<Box<str>>,
    /// How it ended, in words.
    pub words: String,
}

/// A stage for one scene; made once, since its histograms weigh more than most conversations.
#[derive(Debug)]
pub struct Stage(World);

impl Stage {
    /// Sets the scene.
    pub fn new(scene: Scene) -> Self {
        Self(world(scene))
    }

    /// Plays one client whose server answers with these bytes in these cuts, and then closes its side.
    pub fn play<'a>(&mut self, cuts: impl IntoIterator<Item = &'a [u8]>) -> Told {
        let Self(world) = self;
        let before = world.tally.counts();
        let now = Elapsed::default();
        let mut connection = Connection::new(&opening(), 0, now);
        connection
            .ask(now, world)
            .expect("the first request needs no session");
        connection.sent(now, world);
        let outcome = cuts
            .into_iter()
            .try_for_each(|cut| connection.receive(cut, now, world))
            .and_then(|()| connection.end_of_input(world));
        Told {
            counts: world.tally.counts().since(&before),
            session: connection.session().map(Into::into),
            words: outcome.map_or_else(|trouble| trouble.worded("GET"), |()| "over".into()),
        }
    }
}

fn opening() -> Opening {
    Opening {
        script: 0,
        leave: Leave::Complete,
        stays: Stays::ToTheEnd,
        number: 0,
        due: Elapsed::default(),
        manners: Manners::default(),
    }
}

fn world(scene: Scene) -> World {
    let second = get("/{session}", Expect::Stream);
    let config = DriveConfig {
        addr: ([127, 0, 0, 1], 1).into(),
        host: "test".into(),
        scripts: vec![Script {
            name: "rehearsal".into(),
            exchanges: vec![scene.exchange(), second],
        }],
        pools: 1,
        seed: 1,
        limits: Limits {
            head_bytes: 400,
            line_bytes: 100,
            ..Limits::default()
        },
        stall_receive_buffer: None,
        slow_bytes_per_second: 1,
        transport: Transport::default(),
        segment: Segment::WHOLE,
        sources: vec![],
    };
    World::new(&config, Arc::default()).expect("these scripts can be sent")
}
