//! One client: a socket, its conversation, and how it leaves.

use std::{io, time::Duration};

use mio::Interest;

use crate::{
    plan::{Expect, Leave, Network},
    timeline::{Elapsed, Tally},
};

use super::{
    carriers::Lane,
    connection::{Connection, Patience},
    h2::{Code, hpack::Field},
    leave::{self, Reading},
    line::{Line, More},
    pacer::{Opening, Stays},
    reconnect::{Resume, is_worth_a_comeback},
    shape::Shaper,
    timers::Armed,
    trouble::{Trouble, Where},
    world::World,
};

/// Reads in a row before others get their turn.
const MOST_READS: usize = 16;
/// A slow reader looks so often, unless it reads less than a byte in that time.
const SLOW_TICK: Duration = Duration::from_millis(250);

/// A client that is connecting or connected.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) carried: Carried,
    pub(super) connection: Connection,
    pub(super) leave: Leave,
    /// `For` until its stay begins, then `Until`.
    pub(super) stays: Stays,
    /// What is set for it in the timers.
    pub(super) armed: Armed,
    pub(super) watched: Watch,
    half_closed: bool,
    /// Among those who have more to read than their turn allowed.
    pub(super) unfinished: bool,
    /// Counted as a standing stream.
    stands: bool,
    /// Its slow line, if it has one.
    shaper: Option<Box<Shaper>>,
    /// It has read an answer, and thinks until then.
    thinks_until: Option<Elapsed>,
}

/// What carries a client.
#[derive(Debug)]
pub(super) enum Carried {
    /// A line of its own: HTTP/1.1.
    Alone(Line),
    /// A stream among others: HTTP/2.
    Among(Lane),
}

/// What the poll watches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    Nothing,
    Reads,
    Both,
    /// Only that the connection breaks: a client that does not read must not be woken by what it will not read.
    Breaks,
}

impl Watch {
    /// What is asked of the poll; `None`: nothing to change.
    pub(super) fn change_to(self, wanted: Self) -> Option<Interest> {
        match (self, wanted) {
            // Being told of room to write costs nothing once nothing is written.
            (Self::Both, Self::Reads) | (_, Self::Nothing) => None,
            _ if self == wanted => None,
            (_, Self::Reads) => Some(Interest::READABLE),
            (_, Self::Both) => Some(Interest::READABLE | Interest::WRITABLE),
            // The poll always tells of breaks, but cannot be asked for nothing else.
            (_, Self::Breaks) => Some(Interest::WRITABLE),
        }
    }
}

/// Whether a socket was read to its end for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drained {
    Yes,
    /// There is more, but others wait.
    No,
}

impl Client {
    pub(super) fn new(carried: Carried, connection: Connection, opening: &Opening) -> Self {
        Self {
            carried,
            connection,
            leave: opening.leave,
            stays: opening.stays,
            armed: Armed::default(),
            watched: Watch::Nothing,
            half_closed: false,
            unfinished: false,
            stands: false,
            shaper: None,
            thinks_until: None,
        }
    }

    /// Its own line; `None` over HTTP/2.
    pub(super) fn line(&mut self) -> Option<&mut Line> {
        match &mut self.carried {
            Carried::Alone(line) => Some(line),
            Carried::Among(_) => None,
        }
    }

    /// From here on it sends and reads as if by this line.
    pub(super) fn shape(&mut self, network: Network, now: Elapsed) {
        self.shaper = Some(Box::new(Shaper::new(network, now)));
    }

    /// What it keeps for coming back, if this trouble is one to come back from.
    pub(super) fn take_resume(&mut self, trouble: &Trouble, world: &World) -> Option<Box<Resume>> {
        let resume = self.connection.take_resume(world);
        let mut resume = resume.filter(|_| is_worth_a_comeback(trouble))?;
        resume.opening.stays = self.stays;
        Some(resume)
    }

    /// Looks whether the connect is done, and goes on if it is.
    pub(super) fn finish_connect(
        &mut self,
        now: Elapsed,
        world: &mut World,
    ) -> Result<(), Trouble> {
        let addr = world.addr;
        let failed = |source| Trouble::Connect { addr, source };
        let Carried::Alone(line) = &self.carried else {
            return Ok(());
        };
        if let Some(source) = line.socket().take_error().map_err(failed)? {
            return Err(failed(source));
        }
        match line.socket().peer_addr() {
            Ok(_) => self.connected(now, world),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// The connection stands: sends the first request.
    pub(super) fn connected(&mut self, now: Elapsed, world: &mut World) -> Result<(), Trouble> {
        self.connection.connected(now, world);
        if matches!(self.leave, Leave::Early | Leave::Stall) {
            self.begin_stay(now);
        }
        self.ask(now, world)
    }

    fn ask(&mut self, now: Elapsed, world: &mut World) -> Result<(), Trouble> {
        self.connection.ask(now, world)?;
        if let Carried::Among(lane) = self.carried {
            self.ask_among(lane, now, world);
            return Ok(());
        }
        let request = std::mem::take(&mut world.request);
        if let Some(shaper) = &mut self.shaper {
            shaper.wants_to_send(now);
        }
        let sent = if self.may_send(now) {
            self.send(&request, now, world)
        } else {
            self.connection.keep_unsent(&request);
            Ok(())
        };
        world.request = request;
        sent
    }

    /// Asks on a stream of its own.
    fn ask_among(&mut self, lane: Lane, now: Elapsed, world: &mut World) {
        let ends = self.ends_its_request(world.body.is_empty(), world);
        let World {
            carriers,
            request,
            body,
            ..
        } = world;
        let Some(carriers) = carriers else { return };
        let sent = carriers.request(lane, request, body, ends);
        if sent < body.len() {
            self.connection.keep_unsent(&body[sent..]);
        } else {
            self.sent(now, world);
        }
    }

    /// Over HTTP/2 a request says that nothing follows it. Who is to close this half of its stream later leaves that out, if the server
    /// need not wait for the end of a body.
    fn ends_its_request(&self, has_no_body: bool, world: &World) -> bool {
        let closes_later = self.leave == Leave::HalfClose && self.connection.is_in_last(world);
        !(closes_later && has_no_body)
    }

    /// Goes on with a body over HTTP/2.
    fn send_rest_among(&mut self, lane: Lane, now: Elapsed, world: &mut World) {
        let rest = self.connection.take_unsent();
        let carriers = world.carriers.as_mut();
        let sent = carriers.map_or(0, |carriers| carriers.send(lane, &rest, true));
        if sent < rest.len() {
            self.connection.keep_unsent(&rest[sent..]);
        } else {
            self.sent(now, world);
        }
    }

    fn sent(&mut self, now: Elapsed, world: &World) {
        self.connection.sent(now, world);
        self.note_standing(world);
    }

    fn may_send(&mut self, now: Elapsed) -> bool {
        let shaper = self.shaper.as_mut();
        shaper.is_none_or(|shaper| shaper.lets_send(now))
    }

    /// Goes on sending a request that the socket did not take at once, or that had to wait.
    pub(super) fn send_rest(&mut self, now: Elapsed, world: &mut World) -> Result<(), Trouble> {
        if let Carried::Among(lane) = self.carried {
            self.send_rest_among(lane, now, world);
            return Ok(());
        }
        if !self.may_send(now) {
            return Ok(());
        }
        let rest = self.connection.take_unsent();
        self.send(&rest, now, world)
    }

    fn send(&mut self, mut request: &[u8], now: Elapsed, world: &mut World) -> Result<(), Trouble> {
        let Carried::Alone(line) = &mut self.carried else {
            return Ok(());
        };
        while !request.is_empty() {
            match line.write(request) {
                Ok(length) => request = &request[length..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.connection.keep_unsent(request);
                    return Ok(());
                }
                Err(error) => return Err(Trouble::of_socket(error)),
            }
        }
        match line.flush() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.connection.keep_unsent(&[]);
                return Ok(());
            }
            Err(error) => return Err(Trouble::of_socket(error)),
        }
        self.sent(now, world);
        Ok(())
    }

    /// The head of an answer over HTTP/2.
    pub(super) fn hear_head(
        &mut self,
        fields: &[Field],
        now: Elapsed,
        world: &mut World,
    ) -> Result<(), Trouble> {
        if self.reading(world) == Reading::Never {
            return Ok(());
        }
        self.connection.receive_head(fields, now, world)?;
        self.progress(now, world)
    }

    /// A part of an answer over HTTP/2. It is off the socket in any case; the window is what the server sees.
    pub(super) fn hear(
        &mut self,
        data: &[u8],
        now: Elapsed,
        world: &mut World,
    ) -> Result<(), Trouble> {
        let reading = self.reading(world);
        if reading == Reading::Never {
            return Ok(());
        }
        Tally::add(&world.tally.bytes, data.len() as u64);
        self.connection.receive(data, now, world)?;
        if let (Reading::AsItComes, Carried::Among(lane)) = (reading, &self.carried)
            && let Some(carriers) = &mut world.carriers
        {
            carriers.read(*lane);
        }
        self.progress(now, world)
    }

    /// The end of an answer over HTTP/2.
    pub(super) fn hear_end(&mut self, now: Elapsed, world: &mut World) -> Result<(), Trouble> {
        if self.reading(world) == Reading::Never {
            return Ok(());
        }
        self.connection.end_of_answer(world)?;
        self.progress(now, world)
    }

    /// The server ended its stream.
    pub(super) fn hear_reset(&self, code: Code) -> Result<(), Trouble> {
        if self.connection.is_over() {
            return Ok(());
        }
        Err(Trouble::StreamReset(code))
    }

    /// Reads what is there, as far as this client reads at all. `closed`: the server has closed its side.
    pub(super) fn read(
        &mut self,
        closed: bool,
        buffer: &mut [u8],
        now: Elapsed,
        world: &mut World,
    ) -> Result<Drained, Trouble> {
        for _ in 0..MOST_READS {
            let length = match self.reading(world) {
                Reading::AsItComes => buffer.len(),
                Reading::Shaped | Reading::Paced | Reading::Never => return Ok(Drained::Yes),
            };
            match self.read_once(length, buffer, now, world)? {
                More::Likely => {}
                More::Unlikely if closed => {}
                More::Unlikely | More::NotNow | More::Never => return Ok(Drained::Yes),
            }
        }
        Ok(Drained::No)
    }

    /// Notes what lies in the socket, and reads what a slow line lets through. `closed`: the server has closed its side.
    pub(super) fn notice(
        &mut self,
        closed: bool,
        buffer: &mut [u8],
        now: Elapsed,
        world: &mut World,
    ) -> Result<Drained, Trouble> {
        let Carried::Alone(line) = &self.carried else {
            return Ok(Drained::Yes);
        };
        let available = rustix::io::ioctl_fionread(line.socket());
        let available = available.map_err(|error| Trouble::of_socket(error.into()))?;
        if let Some(shaper) = &mut self.shaper {
            shaper.noticed(available, closed, now);
        }
        self.read_if_let_through(buffer, now, world)
            .map(|()| Drained::Yes)
    }

    fn read_if_let_through(
        &mut self,
        buffer: &mut [u8],
        now: Elapsed,
        world: &mut World,
    ) -> Result<(), Trouble> {
        for _ in 0..MOST_READS {
            let shaper = self.shaper.as_ref();
            let Some(length) = shaper.and_then(|shaper| shaper.allowance(now)) else {
                break;
            };
            if self.reading(world) != Reading::Shaped {
                break;
            }
            let length = length.min(buffer.len());
            let more = self.read_once(length, buffer, now, world)?;
            if let Some(shaper) = &mut self.shaper {
                match more {
                    More::Likely | More::Unlikely => shaper.took(length, now),
                    More::NotNow | More::Never => shaper.found_nothing(now),
                }
            }
        }
        Ok(())
    }

    /// What is due by the clock: a request that waited, and reads that did.
    pub(super) fn look_at_the_clock(
        &mut self,
        buffer: &mut [u8],
        now: Elapsed,
        world: &mut World,
    ) -> Result<(), Trouble> {
        self.check_patience(now, world)?;
        self.go_on_if_thought(now, world)?;
        let waits = self.shaper.as_ref().and_then(|shaper| shaper.sends_at());
        if waits.is_some_and(|at| at <= now) {
            self.send_rest(now, world)?;
        }
        self.read_if_let_through(buffer, now, world)?;
        self.read_if_slow(buffer, now, world)
    }

    /// One read, if this is a slow reader: it reads by the clock.
    fn read_if_slow(
        &mut self,
        buffer: &mut [u8],
        now: Elapsed,
        world: &mut World,
    ) -> Result<(), Trouble> {
        let (length, every) = slow_step(world.slow_bytes_per_second);
        let is_due = self.connection.heard() + every <= now;
        if self.reading(world) == Reading::Paced && is_due {
            self.connection.listen(now);
            match (&self.carried, &mut world.carriers) {
                (Carried::Among(lane), Some(carriers)) => carriers.give(*lane, length),
                _ => {
                    self.read_once(length.min(buffer.len()), buffer, now, world)?;
                }
            }
        }
        Ok(())
    }

    /// For a client that does not read: whether the server broke the connection.
    pub(super) fn check_broken(&self, broken: bool) -> Result<(), Trouble> {
        let Carried::Alone(line) = &self.carried else {
            return Ok(());
        };
        if !broken {
            return Ok(());
        }
        match line.socket().take_error() {
            Ok(None) => Ok(()),
            Ok(Some(error)) | Err(error) => Err(Trouble::of_socket(error)),
        }
    }

    /// One read of at most so many bytes of the wire.
    fn read_once(
        &mut self,
        length: usize,
        buffer: &mut [u8],
        now: Elapsed,
        world: &mut World,
    ) -> Result<More, Trouble> {
        let Carried::Alone(line) = &mut self.carried else {
            return Ok(More::NotNow);
        };
        let got = match line.read(length, buffer, &mut world.scratch) {
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(More::Likely),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(More::NotNow),
            Err(error) => return Err(Trouble::of_socket(error)),
        };
        if got.bytes > 0 {
            Tally::add(&world.tally.bytes, got.bytes as u64);
            self.connection.receive(&buffer[..got.bytes], now, world)?;
            self.progress(now, world)?;
        } else if got.more != More::Never && !self.connection.has_asked() {
            self.send_rest(now, world)?; // a step of a handshake, and perhaps the last one
        }
        if got.more == More::Never {
            self.end_of_input(world)?;
        }
        Ok(got.more)
    }

    fn end_of_input(&mut self, world: &mut World) -> Result<(), Trouble> {
        self.connection.end_of_input(world)?;
        if self.connection.is_in_last(world) {
            Ok(())
        } else {
            Err(Trouble::Closed(Where::BetweenExchanges))
        }
    }

    /// What follows from what was read.
    fn progress(&mut self, now: Elapsed, world: &mut World) -> Result<(), Trouble> {
        if self.connection.is_over() && !self.connection.is_in_last(world) {
            let think = self.connection.think(world);
            if !think.is_zero() {
                self.thinks_until.get_or_insert(now + think);
                return Ok(());
            }
            self.connection.go_on()?;
            return self.ask(now, world);
        }
        self.note_standing(world);
        let is_far = self.connection.has_event() && self.connection.is_in_last(world);
        if is_far && !matches!(self.leave, Leave::Early | Leave::Stall) {
            self.begin_stay(now);
            self.half_close(world);
        }
        Ok(())
    }

    /// Who has thought long enough asks the next thing.
    fn go_on_if_thought(&mut self, now: Elapsed, world: &mut World) -> Result<(), Trouble> {
        if self.thinks_until.is_none_or(|until| until > now) {
            return Ok(());
        }
        self.thinks_until = None;
        self.connection.go_on()?;
        self.ask(now, world)
    }

    /// From here on its stay counts.
    fn begin_stay(&mut self, now: Elapsed) {
        if let Stays::For(length) = self.stays {
            self.stays = Stays::Until(now + length);
        }
    }

    fn half_close(&mut self, world: &mut World) {
        if self.leave == Leave::HalfClose && !self.half_closed && !self.connection.is_over() {
            self.half_closed = true;
            match (&mut self.carried, &mut world.carriers) {
                (Carried::Alone(line), _) => line.half_close(),
                (Carried::Among(lane), Some(carriers)) => carriers.finish(*lane),
                (Carried::Among(_), None) => {}
            }
        }
    }

    fn note_standing(&mut self, world: &World) {
        let is_up = self.connection.is_in_last(world)
            && match self.leave {
                Leave::Stall => self.connection.has_asked(),
                _ => self.connection.has_answer(),
            };
        if is_up && !self.stands && self.stays == Stays::Standing {
            self.stands = true;
            Tally::add(&world.standing, 1);
        }
    }

    /// It goes: the standing population is one less.
    pub(super) fn gone(&self, world: &World) {
        if self.stands {
            world
                .standing
                .fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    pub(super) fn reading(&self, world: &World) -> Reading {
        match leave::reading(self.leave, &self.connection, world) {
            Reading::AsItComes if self.shaper.is_some() => Reading::Shaped,
            reading => reading,
        }
    }

    pub(super) fn is_ripe(&self, world: &World) -> bool {
        leave::is_ripe(self.leave, &self.connection, world)
    }

    pub(super) fn wants_watch(&self, world: &World) -> Watch {
        if matches!(self.carried, Carried::Among(_)) {
            return Watch::Nothing;
        }
        if !self.connection.has_asked() {
            return Watch::Both;
        }
        match self.reading(world) {
            Reading::AsItComes | Reading::Shaped => Watch::Reads,
            Reading::Paced | Reading::Never => Watch::Breaks,
        }
    }

    /// Whether this trouble is only the server's answer to our half close: it may take it for a goodbye.
    pub(super) fn takes_for_goodbye(&self, trouble: &Trouble) -> bool {
        self.half_closed
            && matches!(
                trouble,
                Trouble::Closed(_) | Trouble::Reset | Trouble::StreamReset(_)
            )
    }

    /// Whether its way ends now: `Ok(true)` as planned, `Err` because the server ended it first.
    pub(super) fn is_at_its_end(&self, now: Elapsed, world: &World) -> Result<bool, Trouble> {
        if self.connection.is_over() && self.connection.is_in_last(world) {
            let was_planned = self.must_be_ended_by_server(world)
                || self.half_closed
                || self.leave == Leave::Early;
            return if was_planned {
                Ok(true)
            } else {
                Err(Trouble::Closed(Where::BeforeThePlan))
            };
        }
        Ok(self.goes_at(world).is_some_and(|at| at <= now))
    }

    fn must_be_ended_by_server(&self, world: &World) -> bool {
        self.leave == Leave::Complete
            || self.stays == Stays::ToTheEnd
            || !self.connection.is_in_last(world)
            || self.connection.plan(world).expect == Expect::Success
    }

    /// When it leaves; `None` while that is not known, or up to others.
    fn goes_at(&self, world: &World) -> Option<Elapsed> {
        if !self.is_ripe(world) {
            return None;
        }
        match self.stays {
            Stays::Until(at) => Some(at),
            Stays::For(_) => None, // its stay has not begun
            Stays::ToTheEnd | Stays::Standing => {
                (self.leave == Leave::Early).then(Elapsed::default)
            }
        }
    }

    /// When it must be looked at next, whatever happens on the wire.
    pub(super) fn deadline(&self, world: &World) -> Option<Elapsed> {
        let reading = self.reading(world);
        let next_read = match reading {
            Reading::Paced => {
                Some(self.connection.heard() + slow_step(world.slow_bytes_per_second).1)
            }
            Reading::AsItComes | Reading::Shaped | Reading::Never => None,
        };
        let shaper = self.shaper.as_ref();
        let line = shaper.and_then(|shaper| shaper.next().filter(|_| reading == Reading::Shaped));
        let patience = self.patience(reading, world);
        let patience = patience.map(|patience| patience.until);
        [
            self.goes_at(world),
            next_read,
            line,
            patience,
            self.thinks_until,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// How long the server may take for what it owes us now; nobody waits for what he will not read.
    fn patience(&self, reading: Reading, world: &World) -> Option<Patience> {
        let must_end = self.must_be_ended_by_server(world);
        let mut patience = self.connection.patience(&world.limits, must_end)?;
        match reading {
            Reading::AsItComes => Some(patience),
            Reading::Shaped => {
                let slack = self.shaper.as_ref()?.slack(world.limits.head_bytes);
                patience.until = patience.until + slack;
                Some(patience)
            }
            Reading::Paced => {
                // Whoever reads slowly gets the head late.
                let seconds =
                    world.limits.head_bytes as u64 / u64::from(world.slow_bytes_per_second);
                patience.until = patience.until + Duration::from_secs(seconds);
                Some(patience)
            }
            Reading::Never => None,
        }
    }

    /// What it means if patience has run out by now.
    fn check_patience(&self, now: Elapsed, world: &World) -> Result<(), Trouble> {
        match self.patience(self.reading(world), world) {
            Some(patience) if patience.until <= now => {
                Err(self.connection.lost_patience(&patience, world))
            }
            _ => Ok(()),
        }
    }

    /// Leaves in its planned way. The socket closes when `self` is dropped.
    pub(super) fn say_goodbye(&mut self, buffer: &mut [u8], now: Elapsed, world: &mut World) {
        let Carried::Alone(line) = &mut self.carried else {
            return; // its carrier says it: by the stream's end
        };
        match self.leave {
            Leave::Rst => line.abort_on_close(),
            Leave::Stall => {}
            Leave::Early => {
                let World { scratch, tally, .. } = world;
                leave::drain(line, buffer, scratch, |bytes| {
                    Tally::add(&tally.bytes, bytes.len() as u64);
                });
                line.say_goodbye();
            }
            Leave::Vanish => {
                self.hear_out(buffer, now, world);
            }
            Leave::Complete | Leave::Fin | Leave::Slow | Leave::HalfClose | Leave::Orphan => {
                self.hear_out(buffer, now, world);
                if let Some(line) = self.line() {
                    line.say_goodbye();
                }
            }
        }
    }

    /// Sent away before it was far enough to leave as planned. Tells whether the server had ended it all the same.
    pub(super) fn break_off(&mut self, buffer: &mut [u8], now: Elapsed, world: &mut World) -> bool {
        self.hear_out(buffer, now, world) && matches!(self.is_at_its_end(now, world), Ok(true))
    }

    /// Reads what is there; events in it count, and nothing after an error does. False if there was one.
    fn hear_out(&mut self, buffer: &mut [u8], now: Elapsed, world: &mut World) -> bool {
        let Carried::Alone(line) = &mut self.carried else {
            return true; // whatever came was heard
        };
        let connection = &mut self.connection;
        let mut is_sound = true;
        // Taken out of the world, which the conversation needs at the same time.
        let mut scratch = std::mem::take(&mut world.scratch);
        leave::drain(line, buffer, &mut scratch, |bytes| {
            Tally::add(&world.tally.bytes, bytes.len() as u64);
            is_sound = is_sound && connection.receive(bytes, now, world).is_ok();
        });
        world.scratch = scratch;
        is_sound
    }
}

/// How many bytes a slow reader reads at a time, and how often.
pub(super) fn slow_step(bytes_per_second: u32) -> (usize, Duration) {
    let ticks_per_second = 4;
    if bytes_per_second < ticks_per_second {
        return (1, Duration::from_secs(1) / bytes_per_second.max(1));
    }
    let length = bytes_per_second / ticks_per_second;
    (usize::try_from(length).unwrap_or(usize::MAX), SLOW_TICK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_reads_at_its_rate() {
        for (rate, length, every) in [(1, 1, 1000), (3, 1, 333), (4, 1, 250), (1000, 250, 250)] {
            let (bytes, tick) = slow_step(rate);
            assert_eq!((bytes, tick.as_millis()), (length, every), "{rate} B/s");
        }
    }

    #[test]
    fn an_idle_client_is_small() {
        assert!(size_of::<Client>() <= 208, "{}", size_of::<Client>());
    }
}
