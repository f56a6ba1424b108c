//! The loop's part in HTTP/2: the sockets of carriers, and which client hears what came on them.

use std::io;

use mio::{Interest, Token, event::Event};

use super::{
    super::{
        SHARED_LINE,
        carriers::Loss,
        client::{Carried, Client, Drained},
        h2::{Session, Told},
        line::More,
        pacer::Opening,
        reconnect::Resume,
        timers::MOST_KEYS,
        tls::TlsTrouble,
        trouble::Trouble,
        world::World,
    },
    Engine,
};
use crate::timeline::{Elapsed, Tally};

/// Reads in a row before others get their turn.
const MOST_READS: usize = 16;

/// The poll's tokens for carriers come after those for clients.
fn token(carrier: u32) -> Token {
    Token(MOST_KEYS + carrier as usize)
}

/// The carrier that a token is for.
pub(super) fn carrier_of(token: Token) -> Option<u32> {
    let key = token.0.checked_sub(MOST_KEYS)?;
    u32::try_from(key).ok()
}

impl Engine {
    /// Opens a client on a carrier; on a new one, if there is none with room.
    pub(super) fn get_on(
        &mut self,
        opening: &Opening,
        script: u16,
        resume: &mut Option<Box<Resume>>,
        now: Elapsed,
    ) -> Result<(), String> {
        if opening.manners.network.is_some() {
            return Err(format!("not opened: {SHARED_LINE}"));
        }
        if self.clients.len() >= MOST_KEYS {
            return Err(format!("not opened: {MOST_KEYS} streams are open"));
        }
        let carriers = self.world.carriers.as_ref();
        let known = carriers.and_then(|carriers| carriers.with_room(opening.leave));
        let carrier = match known {
            Some(carrier) => Ok(carrier),
            None => self.open_carrier(opening)?,
        };
        self.note_opened(resume.as_deref());
        let carrier = match carrier {
            Ok(carrier) => carrier,
            Err(source) => {
                self.never_connected(opening, source);
                return Ok(());
            }
        };
        let connection = self.conversation(opening, script, resume, now);
        let entry = self.clients.vacant_entry();
        let key = entry.key();
        let carriers = self.world.carriers.as_mut();
        if let Some((lane, is_ready)) = carriers.and_then(|all| all.join(carrier, key)) {
            entry.insert(Client::new(Carried::Among(lane), connection, opening));
            self.opened(key, is_ready);
        }
        Ok(())
    }

    /// Starts a connect for those who leave like this one. The first error: nothing was tried.
    fn open_carrier(&mut self, opening: &Opening) -> Result<io::Result<u32>, String> {
        let line = match self.connect(opening, None)? {
            Ok((line, _)) => line,
            Err(error) => return Ok(Err(error)),
        };
        let Some(carriers) = &mut self.world.carriers else {
            return Err("not opened: nobody carries streams".into());
        };
        let key = carriers.add(line, opening.leave);
        Tally::add(&self.world.tally.carriers_opened, 1);
        if let Some(carrier) = carriers.get_mut(key) {
            // Being told of room to write costs nothing once nothing is written.
            let both = Interest::READABLE | Interest::WRITABLE;
            let source = carrier.line.source();
            if let Err(error) = self.poll.registry().register(source, token(key), both) {
                self.lose(key, &Loss::Closed, self.clock.now());
                return Ok(Err(error));
            }
        }
        Ok(Ok(key))
    }

    /// Something happened on a socket that is no client's.
    pub(super) fn attend_carrier(&mut self, event: &Event) {
        if let Some(key) = carrier_of(event.token()) {
            let broken = event.is_error() || event.is_write_closed();
            self.carry(key, event.is_read_closed() || broken);
        }
    }

    /// Sends and reads what there is on a carrier. `closed`: the server has closed its side.
    pub(super) fn carry(&mut self, key: u32, closed: bool) {
        let now = self.clock.now();
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.read_carrier(key, closed, &mut buffer, now);
        self.buffer = buffer;
        match result {
            Ok(Drained::Yes) => {}
            Ok(Drained::No) => self.unfinished.push(token(key).0),
            Err(loss) => self.lose(key, &loss, now),
        }
    }

    fn read_carrier(
        &mut self,
        key: u32,
        closed: bool,
        buffer: &mut [u8],
        now: Elapsed,
    ) -> Result<Drained, Loss> {
        for _ in 0..MOST_READS {
            let World {
                carriers, scratch, ..
            } = &mut self.world;
            let carrier = carriers.as_mut().and_then(|all| all.get_mut(key));
            let Some(carrier) = carrier else {
                return Ok(Drained::Yes); // nobody is on it any more
            };
            if !carrier.connects()? {
                return Ok(Drained::Yes);
            }
            // Also between two reads: what was asked is answered before more is asked.
            carrier.flush().map_err(Loss::Socket)?;
            let got = match carrier.line.read(buffer.len(), buffer, scratch) {
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Drained::Yes);
                }
                Err(error) => return Err(Loss::Socket(error)),
            };
            self.hear(key, &buffer[..got.bytes], now)?;
            if let Some(carriers) = &mut self.world.carriers {
                carriers.talks(key); // answers, and the steps of a handshake
            }
            match got.more {
                More::Likely => {}
                More::Unlikely if closed => {}
                More::Never => return Err(Loss::Closed),
                More::Unlikely | More::NotNow => return Ok(Drained::Yes),
            }
        }
        Ok(Drained::No)
    }

    fn hear(&mut self, key: u32, mut input: &[u8], now: Elapsed) -> Result<(), Loss> {
        while let Some(carriers) = &mut self.world.carriers
            && let Some(told) = carriers.next(key, &mut input)?
        {
            self.told(key, told, now);
        }
        Ok(())
    }

    fn told(&mut self, carrier: u32, told: Told<'_>, now: Elapsed) {
        match told {
            Told::Ready => self.start(carrier, now),
            Told::Head { key, fields } => self.let_hear(key, now, |client, world| {
                client.hear_head(&fields, now, world)
            }),
            Told::Data { key, data } => {
                self.let_hear(key, now, |client, world| client.hear(data, now, world));
            }
            Told::End { key } => {
                self.let_hear(key, now, |client, world| client.hear_end(now, world));
            }
            Told::Reset { key, code } => {
                self.let_hear(key, now, |client, _| client.hear_reset(code));
            }
            Told::GoingAway { last } => {
                for key in self.on(carrier, |session| session.unanswered(last)) {
                    self.let_hear(key, now, |client, world| {
                        Err(client.connection.broken_off(world))
                    });
                }
            }
            Told::Room => {
                for key in self.on(carrier, Session::keys) {
                    self.let_hear(key, now, |client, world| {
                        let waits =
                            client.connection.is_connected() && !client.connection.has_asked();
                        if waits {
                            client.send_rest(now, world)
                        } else {
                            Ok(())
                        }
                    });
                }
            }
        }
    }

    /// The settings came: whoever is on this carrier asks.
    fn start(&mut self, carrier: u32, now: Elapsed) {
        let Some(carriers) = &mut self.world.carriers else {
            return;
        };
        let (keys, at_once) = carriers.ready(carrier);
        for (place, key) in (0..).zip(keys) {
            self.let_hear(key, now, |client, world| {
                if place < at_once {
                    client.connected(now, world)
                } else {
                    Err(Trouble::StreamTooMany(at_once))
                }
            });
        }
    }

    /// Some of those on a carrier.
    fn on(&mut self, carrier: u32, which: impl FnOnce(&Session) -> Vec<u32>) -> Vec<u32> {
        let carriers = self.world.carriers.as_mut();
        let carrier = carriers.and_then(|all| all.get_mut(carrier));
        carrier.map_or(vec![], |carrier| which(carrier.session()))
    }

    fn let_hear(
        &mut self,
        key: u32,
        now: Elapsed,
        hear: impl FnOnce(&mut Client, &mut World) -> Result<(), Trouble>,
    ) {
        let key = key as usize;
        if let Some(client) = self.clients.get_mut(key) {
            let result = hear(client, &mut self.world);
            self.conclude(key, result.map(|()| Drained::Yes), now);
        }
    }

    /// A carrier is gone, and with it everybody on it.
    pub(super) fn lose(&mut self, key: u32, loss: &Loss, now: Elapsed) {
        let carriers = self.world.carriers.as_mut();
        let Some(carrier) = carriers.and_then(|all| all.take(key)) else {
            return; // it was let go before
        };
        let keys = carrier.session().keys();
        carrier.bury(loss, &self.world.tally);
        for key in keys {
            self.let_hear(key, now, |client, world| Err(trouble(loss, client, world)));
        }
    }

    /// What was said in this turn goes out, and carriers without clients go.
    pub(super) fn carry_on(&mut self) {
        while let Some(carriers) = &mut self.world.carriers
            && let Some(key) = carriers.next_talking()
        {
            let sent = carriers.get_mut(key).map_or(Ok(()), |it| it.flush());
            if let Err(error) = sent {
                self.lose(key, &Loss::Socket(error), self.clock.now());
            }
        }
        self.close_carriers();
    }

    pub(super) fn close_carriers(&mut self) {
        let is_last_due = self.is_nobody_due();
        while let Some(carriers) = &mut self.world.carriers
            && let Some(carrier) = carriers.next_to_close(is_last_due)
        {
            let World { scratch, tally, .. } = &mut self.world;
            if let Some(socket) = carrier.close(scratch, tally) {
                self.silence(socket);
            }
        }
    }
}

/// What the loss of its carrier is to a client.
fn trouble(loss: &Loss, client: &Client, world: &World) -> Trouble {
    match loss {
        Loss::Connect(error) => Trouble::Connect {
            addr: world.addr,
            source: again(error),
        },
        Loss::Socket(error) => Trouble::of_socket(again(error)),
        Loss::Closed => client.connection.broken_off(world),
        Loss::Broken(error) => Trouble::Http2(error.clone()),
    }
}

/// The same error once more: everybody on a carrier meets it.
fn again(error: &io::Error) -> io::Error {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<TlsTrouble>());
    match (error.raw_os_error(), inner) {
        (Some(code), _) => io::Error::from_raw_os_error(code),
        (None, Some(trouble)) => io::Error::new(error.kind(), trouble.clone()),
        (None, None) => error.kind().into(),
    }
}
