//! The loop: one thread, one poll. Waits for sockets, timers, commands and due openings; decides nothing itself.

mod carriage;

use std::{
    io,
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, SyncSender},
    },
    time::Duration,
};

use mio::{Events, Poll, Token, Waker, event::Event, net::TcpStream};
use slab::Slab;

use crate::{
    plan::{Batch, Leave, Stay},
    timeline::{Clock, Elapsed, End, PortBook, Tally},
};

use carriage::carrier_of;

use super::{
    BUFFER_SIZE, DriveConfig,
    carriers::Carriers,
    client::{Carried, Client, Drained, Watch},
    connection::Connection,
    latency::{Latency, record},
    leave,
    leave::Reading,
    line::Line,
    pacer::{Next, Opening, Pacer, Stays},
    reconnect::{Comebacks, Resume},
    timers::{Armed, Timers},
    trouble::{Problem, Trouble},
    users::Users,
    vanish::{Vanished, can_vanish},
    world::World,
};

/// Wakes the loop for a command.
const COMMAND: Token = Token(usize::MAX);
/// Readiness taken from the kernel at a time.
const MOST_EVENTS: usize = 1024;
/// Openings at a time, so that a burst of them does not keep the open streams waiting.
const MOST_OPENINGS: usize = 64;

/// Whether the server is told when a client goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silently {
    Yes,
    No,
}

/// What the handle asks of the loop.
pub(super) enum Command {
    Play(Elapsed, Vec<Batch>),
    ReleaseStanding,
    Recall,
    Stop,
    Latency(SyncSender<Latency>),
    Problems(SyncSender<Vec<Problem>>),
    Quit,
}

/// Everything the load's thread owns.
pub(super) struct Engine {
    poll: Poll,
    clock: Clock,
    commands: Receiver<Command>,
    pacer: Pacer,
    /// Clients that wait to come back.
    comebacks: Comebacks,
    users: Users,
    clients: Slab<Client>,
    vanished: Vanished,
    timers: Timers,
    /// Clients with more to read than their turn allowed.
    unfinished: Vec<usize>,
    buffer: Box<[u8]>,
    world: World,
    ports: Arc<PortBook>,
    stall_receive_buffer: Option<u32>,
    stopped: bool,
}

impl Engine {
    pub(super) fn new(
        config: &DriveConfig,
        clock: Clock,
        world: World,
        ports: Arc<PortBook>,
        commands: Receiver<Command>,
    ) -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), COMMAND)?;
        let engine = Self {
            poll,
            clock,
            commands,
            pacer: Pacer::new(config.segment),
            comebacks: Comebacks::default(),
            users: Users::default(),
            clients: Slab::new(),
            vanished: Vanished::default(),
            timers: Timers::default(),
            unfinished: vec![],
            buffer: vec![0; BUFFER_SIZE].into_boxed_slice(),
            world,
            ports,
            stall_receive_buffer: config.stall_receive_buffer,
            stopped: false,
        };
        Ok((engine, waker))
    }

    /// Runs until told to quit.
    ///
    /// # Errors
    /// The poll itself failed; nothing can be driven any more.
    pub(super) fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(MOST_EVENTS);
        loop {
            let wait = self.wait();
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            // Who sends a command wakes us after it: looking for one at every event would be felt.
            let is_told = events.iter().any(|event| event.token() == COMMAND);
            if is_told && self.obey().is_break() {
                return Ok(());
            }
            for event in &events {
                self.attend(event);
            }
            self.go_on_reading();
            self.look_at_the_clock();
            self.open_what_is_due();
            self.carry_on();
        }
    }

    /// How long nothing will be due.
    fn wait(&self) -> Option<Duration> {
        if !self.unfinished.is_empty() {
            return Some(Duration::ZERO);
        }
        let next = [
            self.timers.first(),
            self.pacer.first_due(),
            self.comebacks.first_due(),
            self.users.first_due(),
        ];
        let next = next.into_iter().flatten().min()?;
        Some(next.since(self.clock.now()))
    }

    fn obey(&mut self) -> std::ops::ControlFlow<()> {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Play(began, batches) => self.play(began, batches),
                Command::ReleaseStanding => self.dismiss(|stay| stay == Stay::Standing),
                Command::Recall => self.dismiss(|stay| stay != Stay::Standing),
                Command::Stop => self.stop(),
                // Whoever asked may have given up waiting.
                Command::Latency(reply) => {
                    reply.try_send(std::mem::take(&mut self.world.latency)).ok();
                }
                Command::Problems(reply) => {
                    reply.try_send(self.world.problems.list()).ok();
                }
                Command::Quit => return std::ops::ControlFlow::Break(()),
            }
        }
        std::ops::ControlFlow::Continue(())
    }

    fn play(&mut self, began: Elapsed, batches: Vec<Batch>) {
        let before = self.pacer.pending();
        let planned = self.pacer.share(&batches);
        if !self.stopped {
            self.pacer.play(began, batches);
        }
        // The handle has counted all that are ours as pending.
        self.no_longer_pending(planned - (self.pacer.pending() - before));
    }

    /// Whether nobody is to come any more, as far as is known.
    fn is_nobody_due(&self) -> bool {
        self.pacer.pending() + self.waiting() == 0
    }

    fn no_longer_pending(&self, count: u64) {
        self.world.tally.pending.fetch_sub(count, Relaxed);
    }

    fn no_longer_waiting(&self, count: u64) {
        Tally::add(&self.world.tally.waits_over, count);
    }

    /// Sends these away, and takes those of them who are still to come off the plan.
    fn dismiss(&mut self, dismissed: impl Fn(Stay) -> bool) {
        let before = self.pacer.pending();
        let waiting = self.waiting();
        let is_dismissed = |stays: Stays| match stays {
            Stays::Standing => dismissed(Stay::Standing),
            _ => dismissed(Stay::ToTheEnd),
        };
        self.pacer.forget(&dismissed);
        self.comebacks.forget(is_dismissed);
        if dismissed(Stay::ToTheEnd) {
            self.users.forget();
        }
        self.no_longer_pending(before - self.pacer.pending());
        self.no_longer_waiting(waiting - self.waiting());
        let now = self.clock.now();
        let keys = self
            .clients
            .iter()
            .filter(|(_, client)| is_dismissed(client.stays));
        let keys: Vec<_> = keys.map(|(key, _)| key).collect();
        for key in keys {
            let client = &mut self.clients[key];
            if client.is_ripe(&self.world) {
                self.leave(key, now);
            } else if client.break_off(&mut self.buffer, now, &mut self.world) {
                self.remove(key, End::AsPlanned);
            } else {
                self.remove(key, End::Stopped);
            }
        }
    }

    /// Drops everyone, and opens nothing more.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.no_longer_pending(self.pacer.pending());
        self.no_longer_waiting(self.waiting());
        self.pacer.forget(|_| true);
        self.comebacks.forget(|_| true);
        self.users.forget();
        let keys: Vec<_> = self.clients.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.remove(key, End::Stopped);
        }
        self.close_carriers();
    }

    /// Something happened on a socket.
    fn attend(&mut self, event: &Event) {
        let key = event.token().0;
        if !self.clients.contains(key) {
            return self.attend_carrier(event);
        }
        let broken = event.is_error() || event.is_write_closed();
        let closed = event.is_read_closed() || broken;
        let now = self.clock.now();
        let client = &mut self.clients[key];
        let result = if !client.connection.is_connected() {
            client.finish_connect(now, &mut self.world)
        } else if !client.connection.has_asked() && event.is_writable() {
            client.send_rest(now, &mut self.world)
        } else {
            Ok(())
        };
        let result = result.and_then(|()| match client.reading(&self.world) {
            Reading::AsItComes if event.is_readable() || closed => {
                client.read(closed, &mut self.buffer, now, &mut self.world)
            }
            Reading::Shaped if event.is_readable() || closed => {
                client.notice(closed, &mut self.buffer, now, &mut self.world)
            }
            Reading::AsItComes | Reading::Shaped => Ok(Drained::Yes),
            Reading::Paced | Reading::Never => client.check_broken(broken).map(|()| Drained::Yes),
        });
        self.conclude(key, result, now);
    }

    fn go_on_reading(&mut self) {
        for key in std::mem::take(&mut self.unfinished) {
            let now = self.clock.now();
            if let Some(carrier) = carrier_of(Token(key)) {
                self.carry(carrier, true);
                continue;
            }
            // Whoever has the key now: the one who was put here may be gone.
            if let Some(client) = self.clients.get_mut(key)
                && std::mem::take(&mut client.unfinished)
            {
                let result = client.read(true, &mut self.buffer, now, &mut self.world);
                self.conclude(key, result, now);
            }
        }
    }

    fn look_at_the_clock(&mut self) {
        if self.timers.first().is_none() {
            return;
        }
        let now = self.clock.now();
        while let Some(key) = self.timers.pop(now) {
            let client = &mut self.clients[key];
            client.armed = Armed::default();
            let result = client.look_at_the_clock(&mut self.buffer, now, &mut self.world);
            self.conclude(key, result.map(|()| Drained::Yes), now);
        }
    }

    /// Lets a client stay, leave, or end, by what has just come of it.
    fn conclude(&mut self, key: usize, result: Result<Drained, Trouble>, now: Elapsed) {
        let client = &mut self.clients[key];
        let drained = match result {
            Ok(drained) => drained,
            Err(trouble) if client.takes_for_goodbye(&trouble) => {
                return self.remove(key, End::AsPlanned);
            }
            Err(trouble) => return self.end(key, &trouble),
        };
        match client.is_at_its_end(now, &self.world) {
            Ok(true) => return self.leave(key, now),
            Ok(false) => {}
            Err(trouble) => return self.end(key, &trouble),
        }
        if drained == Drained::No && !client.unfinished {
            client.unfinished = true;
            self.unfinished.push(key);
        }
        let deadline = client.deadline(&self.world);
        self.timers.arm(key, &mut client.armed, deadline);
        self.watch(key);
    }

    fn watch(&mut self, key: usize) {
        let client = &mut self.clients[key];
        let wanted = client.wants_watch(&self.world);
        let Some(interest) = client.watched.change_to(wanted) else {
            return;
        };
        let registry = self.poll.registry();
        let before = std::mem::replace(&mut client.watched, wanted);
        let result = match (before, client.line()) {
            (_, None) => Ok(()),
            (Watch::Nothing, Some(line)) => registry.register(line.source(), Token(key), interest),
            (_, Some(line)) => registry.reregister(line.source(), Token(key), interest),
        };
        if let Err(error) = result {
            self.end(key, &Trouble::Socket(error));
        }
    }

    fn leave(&mut self, key: usize, now: Elapsed) {
        let client = &mut self.clients[key];
        client.say_goodbye(&mut self.buffer, now, &mut self.world);
        if client.leave == Leave::Vanish {
            self.vanish(key);
        } else {
            self.remove(key, End::AsPlanned);
        }
    }

    /// Its socket outlives it, and is silent. Over HTTP/2 that is its stream, and the socket follows when nobody else is on it.
    fn vanish(&mut self, key: usize) {
        let client = self.take(key, Silently::Yes);
        let end = match client.carried {
            Carried::Alone(line) => self.silence(line.into_socket()),
            Carried::Among(_) => End::AsPlanned,
        };
        self.world.tally.note_end(Leave::Vanish, end, true);
    }

    fn silence(&mut self, mut socket: TcpStream) -> End {
        // Fails only if the socket was never watched.
        self.poll.registry().deregister(&mut socket).ok();
        match self.vanished.take_in(socket) {
            Ok(()) => End::AsPlanned,
            Err(error) => {
                let what = format!("a client could not vanish, and closed: {error}");
                self.world.problems.note(what, &[]);
                End::Stopped
            }
        }
    }

    fn end(&mut self, key: usize, trouble: &Trouble) {
        let label = &self.clients[key].connection.plan(&self.world).label.clone();
        self.world.note(trouble, label);
        let resume = self.clients[key].take_resume(trouble, &self.world);
        // It is to come back before it is gone: it must not look as if everybody had left.
        self.comes_back(resume);
        self.remove(key, trouble.end());
    }

    /// Who lost its stream waits to come back, unless it gives up, or would be late.
    fn comes_back(&mut self, resume: Option<Box<Resume>>) {
        let Some(mut resume) = resume else { return };
        match resume.lost(self.clock.now()) {
            Some(due) if resume.is_wanted_at(due) => {
                Tally::add(&self.world.tally.waits, 1);
                self.comebacks.add(resume);
            }
            Some(_) => {}
            None => Tally::add(&self.world.tally.gave_up, 1),
        }
    }

    fn remove(&mut self, key: usize, end: End) {
        self.user_done(self.clients[key].connection.number, end);
        let client = self.take(key, Silently::No);
        let was_connected = client.connection.is_connected();
        // The close comes first: whoever counts us as gone finds us gone.
        let leave = client.leave;
        drop(client);
        self.world.tally.note_end(leave, end, was_connected);
    }

    /// Clients who are to open again at some time.
    fn waiting(&self) -> u64 {
        self.comebacks.len() + self.users.thinking()
    }

    /// A user's conversation has ended: it is timed if it went as planned. Who begins again waits before he is gone.
    fn user_done(&mut self, number: u64, end: End) {
        let now = self.clock.now();
        let Some((due, goes_on)) = self.users.ended(number, end.is_error(), now) else {
            return;
        };
        if end == End::AsPlanned {
            record(&mut self.world.latency.answer, now.since(due));
        }
        if goes_on {
            Tally::add(&self.world.tally.waits, 1);
        }
    }

    /// Takes a client out of everything that knows it.
    fn take(&mut self, key: usize, silently: Silently) -> Client {
        let mut client = self.clients.remove(key);
        self.timers.disarm(&mut client.armed);
        client.gone(&self.world);
        if let Carried::Among(lane) = client.carried {
            let is_last_due = self.is_nobody_due();
            if let Some(carriers) = &mut self.world.carriers {
                match silently {
                    Silently::Yes => carriers.forsake(lane),
                    Silently::No => carriers.leave(lane, client.leave, is_last_due),
                }
            }
            self.close_carriers();
        }
        client
    }

    fn open_what_is_due(&mut self) {
        if self.is_nobody_due() {
            return;
        }
        for _ in 0..MOST_OPENINGS {
            let now = self.clock.now();
            if let Some(resume) = self.comebacks.next(now) {
                self.open(resume.opening, Some(resume), now);
                self.no_longer_waiting(1);
            } else if let Some(opening) = self.users.next(now) {
                self.open(opening, None, now);
                self.no_longer_waiting(1);
            } else if let Next::Open(opening) = self.pacer.next(now) {
                self.open(opening, self.world.resume(&opening), now);
                self.no_longer_pending(1);
            } else {
                return;
            }
        }
    }

    fn open(&mut self, opening: Opening, mut resume: Option<Box<Resume>>, now: Elapsed) {
        self.users.begins(&opening);
        if let Err(what) = self.try_open(&opening, &mut resume, now) {
            Tally::add(&self.world.tally.not_opened, 1);
            self.user_done(opening.number, End::ConnectFailed);
            self.world.problems.note(what, &[]);
        }
        // What was not taken along belongs to one who could not be opened.
        self.comes_back(resume);
    }

    /// Opens one client, which takes along what it resumes; or says why it was not even tried.
    fn try_open(
        &mut self,
        opening: &Opening,
        resume: &mut Option<Box<Resume>>,
        now: Elapsed,
    ) -> Result<(), String> {
        record(&mut self.world.latency.late, now.since(opening.due));
        let script = u16::try_from(opening.script).ok();
        let script = script.filter(|_| opening.script < self.world.scripts.len());
        let script = script.ok_or_else(|| format!("script {} does not exist", opening.script))?;
        if opening.leave == Leave::Vanish {
            can_vanish().map_err(|error| {
                format!("not opened: to vanish takes CAP_NET_ADMIN here ({error}): be root, or use --isolate")
            })?;
        }
        if self.world.carriers.is_some() {
            return self.get_on(opening, script, resume, now);
        }
        let receive_buffer = match opening.leave {
            Leave::Stall | Leave::Slow => self.stall_receive_buffer,
            _ if opening.manners.fills_buffers() => self.stall_receive_buffer,
            _ => None,
        };
        let tried = self.connect(opening, receive_buffer)?;
        self.note_opened(resume.as_deref());
        match tried {
            Ok((line, done)) => {
                let connection = self.conversation(opening, script, resume, now);
                let mut client = Client::new(Carried::Alone(line), connection, opening);
                if let Some(network) = opening.manners.network {
                    client.shape(network, now);
                }
                let key = self.clients.insert(client);
                self.opened(key, done);
            }
            Err(source) => self.never_connected(opening, source),
        }
        Ok(())
    }

    fn note_opened(&self, resume: Option<&Resume>) {
        Tally::add(&self.world.tally.opened, 1);
        if resume.is_some_and(Resume::is_comeback) {
            Tally::add(&self.world.tally.reconnects, 1);
        }
    }

    /// Starts a connect for this client: a line, and whether it stands already. The first error is a lack of room: nothing was tried.
    fn connect(
        &mut self,
        opening: &Opening,
        receive_buffer: Option<u32>,
    ) -> Result<io::Result<(Line, bool)>, String> {
        self.make_room()?;
        let addr = self.world.addr;
        let source = self.world.source(opening.number);
        let mut tried = leave::connect(addr, source, receive_buffer);
        while tried.as_ref().is_err_and(leave::is_out_of_room) && self.let_one_vanished_go() {
            tried = leave::connect(addr, source, receive_buffer);
        }
        if let Err(error) = &tried
            && leave::is_out_of_room(error)
        {
            return Err(format!("not opened: {error}"));
        }
        let tls = self.world.tls.as_ref();
        let tried = tried.and_then(|(socket, done)| Ok((Line::over(socket, tls)?, done)));
        if let Ok((line, _)) = &tried
            && let Ok(local) = line.socket().local_addr()
        {
            self.ports.note(local.port(), opening.leave);
        }
        Ok(tried)
    }

    fn conversation(
        &self,
        opening: &Opening,
        script: u16,
        resume: &mut Option<Box<Resume>>,
        now: Elapsed,
    ) -> Connection {
        let mut connection = Connection::new(opening, script, now);
        if let Some(resume) = resume.take() {
            connection.remember(resume, &self.world);
        }
        connection
    }

    fn never_connected(&mut self, opening: &Opening, source: io::Error) {
        let addr = self.world.addr;
        self.world.note(&Trouble::Connect { addr, source }, "");
        self.user_done(opening.number, End::ConnectFailed);
        let tally = &self.world.tally;
        tally.note_end(opening.leave, End::ConnectFailed, false);
    }

    /// The vanished count among the open, and go first.
    fn make_room(&mut self) -> Result<(), String> {
        let most = self.world.limits.most_open;
        // Descriptors are what there is a limit of: streams of HTTP/2 share theirs.
        let carriers = self.world.carriers.as_ref();
        let open = carriers.map_or(self.clients.len(), Carriers::len);
        while open + self.vanished.len() >= most {
            if !self.let_one_vanished_go() {
                return Err(format!("not opened: {open} connections are open"));
            }
        }
        Ok(())
    }

    fn let_one_vanished_go(&mut self) -> bool {
        let farewell = self.vanished.let_one_go();
        if let Some(farewell) = farewell {
            let words = farewell.words();
            let what = format!("a vanished client had to make room: {words}");
            self.world.problems.note(what, &[]);
        }
        farewell.is_some()
    }

    fn opened(&mut self, key: usize, done: bool) {
        let now = self.clock.now();
        let client = &mut self.clients[key];
        let result = if done {
            client.connected(now, &mut self.world)
        } else {
            Ok(())
        };
        self.conclude(key, result.map(|()| Drained::Yes), now);
    }
}
