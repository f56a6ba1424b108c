//! TCP connections that carry streams of HTTP/2: who shares one, when it opens, and how it ends.
//!
//! In: clients that need a stream, bytes, and how clients leave. Out: frames on sockets. Start at [`Carriers`]; [`Session`] is what is said
//! on one, pure. A carrier takes so many clients in its life, all of the same leave mode, so that its end, too, is of that mode: how each
//! looks on the wire is in the table of [`leave`](super::leave). It closes when its last client has gone, if it took as many as it
//! may, or if nobody is to come any more.
//!
//! Windows are real: a client that stalls never gives back what came for its stream, and one that is slow gives back its rate. What came
//! for them is taken off the socket all the same, since others share it. So carriers of stalled and slow clients offer small windows.

use std::{
    io,
    num::{NonZeroU16, NonZeroU32},
};

use mio::net::TcpStream;
use slab::Slab;

use super::{
    DriveConfig,
    client::slow_step,
    h2::{Code, H2Error, Session, Told},
    leave,
    line::Line,
};
use crate::{plan::Leave, timeline::Tally};

/// The window of a stream that is read as it comes: the usual one.
const WINDOW: u32 = 65_535;
/// The window of a stream that nobody reads, unless something else is asked for.
const STALLED_WINDOW: u32 = 4096;

/// What is read at a time before a close.
const DRAINED: usize = 16 * 1024;

/// All of one driver.
#[derive(Debug)]
pub(super) struct Carriers {
    /// Clients in the life of each.
    most: NonZeroU16,
    /// Streams at once, as the server told on an earlier carrier.
    at_once: u32,
    head_bytes: usize,
    stalled_window: u32,
    slow_window: u32,
    carriers: Slab<Carrier>,
    /// Which one takes the next client, by leave mode.
    taking: [Option<u32>; Leave::ALL.len()],
    /// Those with something to send.
    talking: Vec<u32>,
    /// Those without anybody on them.
    empty: Vec<u32>,
}

/// One TCP connection.
#[derive(Debug)]
pub(super) struct Carrier {
    pub(super) line: Line,
    session: Session,
    leave: Leave,
    /// Clients so far.
    taken: u16,
    is_connected: bool,
    is_talking: bool,
}

/// A client's place on a carrier.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    pub(super) carrier: u32,
    seat: u32,
}

/// Why a carrier and everybody on it is lost.
#[derive(Debug)]
pub(super) enum Loss {
    Connect(io::Error),
    Socket(io::Error),
    /// The server closed it.
    Closed,
    Broken(H2Error),
}

impl Carriers {
    pub(super) fn new(most: NonZeroU16, config: &DriveConfig) -> Self {
        let (slow, _) = slow_step(config.slow_bytes_per_second.max(1));
        let asked = config.stall_receive_buffer.and_then(NonZeroU32::new);
        Self {
            most,
            at_once: u32::MAX,
            head_bytes: config.limits.head_bytes,
            stalled_window: asked.map_or(STALLED_WINDOW, NonZeroU32::get).min(WINDOW),
            slow_window: u32::try_from(slow).unwrap_or(WINDOW).min(WINDOW),
            carriers: Slab::new(),
            taking: Default::default(),
            talking: vec![],
            empty: vec![],
        }
    }

    pub(super) fn len(&self) -> usize {
        self.carriers.len()
    }

    pub(super) fn get_mut(&mut self, key: u32) -> Option<&mut Carrier> {
        self.carriers.get_mut(key as usize)
    }

    /// The carrier that takes a client of this mode; `None`: a new one is needed.
    pub(super) fn with_room(&self, leave: Leave) -> Option<u32> {
        let key = self.taking[leave.index()]?;
        let carrier = self.carriers.get(key as usize)?;
        let session = &carrier.session;
        let has_room = carrier.taken < self.most.get() && session.has_room();
        let is_as_told = session.is_ready() || session.riding() < self.at_once;
        (has_room && is_as_told).then_some(key)
    }

    /// The settings of a server came: who is on this carrier, and how many of them may be.
    pub(super) fn ready(&mut self, key: u32) -> (Vec<u32>, u32) {
        let Some(carrier) = self.carriers.get(key as usize) else {
            return (vec![], 0);
        };
        self.at_once = carrier.session.at_once();
        (carrier.session.keys(), self.at_once)
    }

    /// A new one over a socket that is connecting; it takes the clients of this mode from now on.
    pub(super) fn add(&mut self, line: Line, leave: Leave) -> u32 {
        let window = match leave {
            Leave::Stall => self.stalled_window,
            Leave::Slow => self.slow_window,
            _ => WINDOW,
        };
        let key = self.carriers.insert(Carrier {
            line,
            session: Session::new(window, self.head_bytes),
            leave,
            taken: 0,
            is_connected: false,
            is_talking: false,
        });
        let key = u32::try_from(key).unwrap_or(u32::MAX);
        self.taking[leave.index()] = Some(key);
        self.talks(key);
        key
    }

    /// Gives a client a place. Also tells whether it may ask at once.
    pub(super) fn join(&mut self, key: u32, client: usize) -> Option<(Lane, bool)> {
        let carrier = self.carriers.get_mut(key as usize)?;
        carrier.taken = carrier.taken.saturating_add(1);
        let seat = carrier.session.join(u32::try_from(client).ok()?);
        let lane = Lane { carrier: key, seat };
        Some((lane, carrier.session.is_ready()))
    }

    /// Asks; returns how much of the body is on its way. Nothing is on a carrier that is gone: its end tells.
    pub(super) fn request(&mut self, lane: Lane, block: &[u8], body: &[u8], ends: bool) -> usize {
        self.on(lane, |session| {
            session.request(lane.seat, block, body, ends)
        })
        .unwrap_or_default()
    }

    /// Goes on with a body; returns how much of it is on its way.
    pub(super) fn send(&mut self, lane: Lane, body: &[u8], ends: bool) -> usize {
        self.on(lane, |session| session.send(lane.seat, body, ends))
            .unwrap_or_default()
    }

    /// Nothing more comes from this client: `END_STREAM`.
    pub(super) fn finish(&mut self, lane: Lane) {
        self.on(lane, |session| session.finish(lane.seat));
    }

    /// All that came for this client was read.
    pub(super) fn read(&mut self, lane: Lane) {
        if let Some(carrier) = self.carriers.get_mut(lane.carrier as usize) {
            carrier.session.read(lane.seat);
            if !carrier.session.unsent().is_empty() {
                self.talks(lane.carrier);
            }
        }
    }

    /// A slow client has read so much.
    pub(super) fn give(&mut self, lane: Lane, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.on(lane, |session| session.give(lane.seat, bytes));
    }

    /// A client goes, and its stream with it. `is_last_due`: nobody is to come any more.
    pub(super) fn leave(&mut self, lane: Lane, leave: Leave, is_last_due: bool) {
        let most = self.most.get();
        let Some(carrier) = self.carriers.get_mut(lane.carrier as usize) else {
            return;
        };
        let is_its_end = carrier.session.riding() == 1 && (is_last_due || carrier.taken >= most);
        let code = match leave {
            // The RST of the connection says it for the last one.
            Leave::Rst if is_its_end => None,
            Leave::Rst => Some(Code::INTERNAL_ERROR),
            _ => Some(Code::CANCEL),
        };
        carrier.session.leave(lane.seat, code);
        self.left(lane.carrier);
    }

    /// A client is gone without a word.
    pub(super) fn forsake(&mut self, lane: Lane) {
        if let Some(carrier) = self.carriers.get_mut(lane.carrier as usize) {
            carrier.session.forsake(lane.seat);
            self.left(lane.carrier);
        }
    }

    fn left(&mut self, key: u32) {
        // Whoever counts the client as gone finds it gone. What does not go now goes later.
        self.talks(key);
        if let Some(carrier) = self.carriers.get_mut(key as usize) {
            carrier.flush().ok();
            if carrier.session.riding() == 0 {
                self.empty.push(key);
            }
        }
    }

    fn on<T>(&mut self, lane: Lane, act: impl FnOnce(&mut Session) -> T) -> Option<T> {
        self.talks(lane.carrier);
        let carrier = self.carriers.get_mut(lane.carrier as usize)?;
        Some(act(&mut carrier.session))
    }

    /// It has something to send.
    pub(super) fn talks(&mut self, key: u32) {
        if let Some(carrier) = self.carriers.get_mut(key as usize)
            && !std::mem::replace(&mut carrier.is_talking, true)
        {
            self.talking.push(key);
        }
    }

    /// Takes out one that has something to send.
    pub(super) fn next_talking(&mut self) -> Option<u32> {
        let key = self.talking.pop()?;
        if let Some(carrier) = self.carriers.get_mut(key as usize) {
            carrier.is_talking = false;
        }
        Some(key)
    }

    /// The next thing that somebody must hear of what came on this carrier; `None` also if it is gone.
    pub(super) fn next<'a>(
        &mut self,
        key: u32,
        input: &mut &'a [u8],
    ) -> Result<Option<Told<'a>>, Loss> {
        match self.carriers.get_mut(key as usize) {
            Some(carrier) => carrier.session.next(input).map_err(Loss::Broken),
            None => Ok(None),
        }
    }

    /// Whether one without anybody on it is to close. `is_last_due`: nobody is to come any more.
    pub(super) fn next_to_close(&mut self, is_last_due: bool) -> Option<Carrier> {
        let Self {
            empty,
            carriers,
            most,
            ..
        } = self;
        empty.retain(|key| {
            carriers
                .get(*key as usize)
                .is_some_and(|carrier| carrier.session.riding() == 0)
        });
        let is_over = |key: &u32| {
            let carrier = &carriers[*key as usize];
            let is_used_up = carrier.taken >= most.get() || !carrier.session.has_room();
            is_last_due || is_used_up || !carrier.session.is_ready()
        };
        let place = empty.iter().position(is_over)?;
        let key = empty.swap_remove(place);
        empty.retain(|other| *other != key);
        Some(self.remove(key))
    }

    /// Takes one out.
    pub(super) fn take(&mut self, key: u32) -> Option<Carrier> {
        self.carriers
            .contains(key as usize)
            .then(|| self.remove(key))
    }

    fn remove(&mut self, key: u32) -> Carrier {
        for taking in &mut self.taking {
            taking.take_if(|taking| *taking == key);
        }
        self.empty.retain(|empty| *empty != key);
        self.talking.retain(|talking| *talking != key);
        self.carriers.remove(key as usize)
    }
}

impl Carrier {
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Whether TCP is connected; looks, if that is not known yet.
    pub(super) fn connects(&mut self) -> Result<bool, Loss> {
        if self.is_connected {
            return Ok(true);
        }
        if let Some(error) = self.line.socket().take_error().map_err(Loss::Connect)? {
            return Err(Loss::Connect(error));
        }
        match self.line.socket().peer_addr() {
            Ok(_) => self.is_connected = true,
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
            Err(error) => return Err(Loss::Connect(error)),
        }
        Ok(self.is_connected)
    }

    /// Sends as much as goes; the poll tells when there is room for the rest.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.is_connected && !self.session.unsent().is_empty() {
            match self.line.write(self.session.unsent()) {
                Ok(length) => self.session.sent(length),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        match self.line.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    /// Ends the connection as its clients left it; what is left of one that vanished is its socket.
    pub(super) fn close(mut self, scratch: &mut [u8], tally: &Tally) -> Option<TcpStream> {
        let has_vanished = self.leave == Leave::Vanish && self.session.has_forsaken();
        match self.leave {
            Leave::Rst => self.line.abort_on_close(),
            _ if has_vanished => {}
            _ => {
                // So that the close is a FIN: closing over unread bytes would be an RST.
                leave::drain(&mut self.line, &mut [0; DRAINED], scratch, |_| {});
                self.say_goodbye(Code::NO_ERROR);
            }
        }
        let leave = self.leave;
        let socket = if has_vanished {
            Some(self.line.into_socket())
        } else {
            drop(self);
            None
        };
        Tally::add(&tally.carriers_closed[leave.index()], 1);
        socket
    }

    /// It is over, through no wish of ours; the server is told why if it broke the protocol.
    pub(super) fn bury(mut self, loss: &Loss, tally: &Tally) {
        if let Loss::Broken(error) = loss {
            self.say_goodbye(error.code());
        }
        let leave = self.leave;
        drop(self);
        Tally::add(&tally.carriers_closed[leave.index()], 1);
    }

    /// `GOAWAY`, and `close_notify` where there is TLS, if the socket takes them.
    fn say_goodbye(&mut self, code: Code) {
        self.session.go_away(code);
        if self.flush().is_ok() {
            self.line.say_goodbye();
        }
    }
}
