//! Our end of one TCP connection that many share: who rides on it, on which stream, and how much may be sent and received.

use slab::Slab;

use super::{
    Code, Frame, H2Error, Reader,
    frame::write,
    hpack::{self, Field},
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Names of settings (RFC 9113 §6.5.2).
const TABLE_SIZE: u16 = 1;
const PUSH: u16 = 2;
const STREAMS_AT_ONCE: u16 = 3;
const STREAM_WINDOW: u16 = 4;
const HEAD_SIZE: u16 = 6;
/// What a window is, unless something else is said.
const USUAL_WINDOW: u32 = 65_535;
/// The largest window there can be: ours for the whole connection. What one stream does not read must not stop the others.
const LARGEST_WINDOW: u32 = (1 << 31) - 1;
/// Answers to questions that a server may leave unread.
const MOST_UNREAD: u32 = 10_000;

/// One connection. In: bytes as they come, and what riders want. Out: [`Told`], and [`Session::unsent`].
#[derive(Debug)]
pub struct Session {
    reader: Reader,
    /// The most bytes of a head.
    limit: usize,
    unsent: Vec<u8>,
    /// Answers among what is unsent.
    unread: u32,
    riders: Slab<Rider>,
    /// Seats by the numbers of their streams, which only rise.
    streams: Vec<(u32, u32)>,
    next_stream: u32,
    /// What a stream may send us before we give it more.
    window: u32,
    /// What came on all streams since the window of the connection was last filled.
    received: u32,
    send_window: i64,
    /// What every new stream may send.
    first_window: i64,
    at_once: u32,
    is_ready: bool,
    is_going_away: bool,
    /// Riders that are not forsaken.
    riding: u32,
}

/// Somebody on a connection.
#[derive(Debug)]
struct Rider {
    /// Who; `None`: nobody listens to this stream any more, and nobody tells the server.
    key: Option<u32>,
    /// Its stream; 0 before it has asked and after its answer.
    stream: u32,
    /// What came and was not given back.
    received: u32,
    send_window: i32,
    /// The request goes on.
    sends: bool,
    has_head: bool,
}

/// What a server told a rider.
#[derive(Debug, PartialEq, Eq)]
pub enum Told<'a> {
    /// The settings came: requests may be sent.
    Ready,
    /// A head, not an interim one.
    Head {
        /// Whom.
        key: u32,
        /// Its fields.
        fields: Vec<Field>,
    },
    /// A part of the answer.
    Data {
        /// Whom.
        key: u32,
        /// Never empty.
        data: &'a [u8],
    },
    /// The answer is complete.
    End {
        /// Whom.
        key: u32,
    },
    /// The server ended the stream.
    Reset {
        /// Whose.
        key: u32,
        /// Why.
        code: Code,
    },
    /// The server takes no more streams; see [`Session::unanswered`].
    GoingAway {
        /// The last one that it answers.
        last: u32,
    },
    /// More of a request may be sent.
    Room,
}

impl Session {
    /// A connection on which the server may send `window` bytes a stream before it gets more, and heads of `limit` bytes.
    pub fn new(window: u32, limit: usize) -> Self {
        let mut unsent = PREFACE.to_vec();
        let head = u32::try_from(limit).unwrap_or(u32::MAX);
        let ours = [
            (TABLE_SIZE, 0),
            (PUSH, 0),
            (STREAM_WINDOW, window),
            (HEAD_SIZE, head),
        ];
        write::settings(&mut unsent, &ours);
        write::window(&mut unsent, 0, LARGEST_WINDOW - USUAL_WINDOW);
        Self {
            reader: Reader::new(limit),
            limit,
            unsent,
            unread: 0,
            riders: Slab::new(),
            streams: vec![],
            next_stream: 1,
            window,
            received: 0,
            send_window: USUAL_WINDOW.into(),
            first_window: USUAL_WINDOW.into(),
            at_once: u32::MAX,
            is_ready: false,
            is_going_away: false,
            riding: 0,
        }
    }

    /// Somebody gets on; the answer is the seat.
    pub fn join(&mut self, key: u32) -> u32 {
        self.riding += 1;
        let seat = self.riders.insert(Rider {
            key: Some(key),
            stream: 0,
            received: 0,
            send_window: 0,
            sends: false,
            has_head: false,
        });
        u32::try_from(seat).unwrap_or(u32::MAX)
    }

    /// Whether one more may get on.
    pub fn has_room(&self) -> bool {
        let is_full = u32::try_from(self.riders.len()).is_ok_and(|riders| riders >= self.at_once);
        !is_full && !self.is_going_away && self.next_stream < LARGEST_WINDOW / 2
    }

    /// Whether requests may be sent.
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Whether the server takes no more streams.
    pub fn is_going_away(&self) -> bool {
        self.is_going_away
    }

    /// Streams at once, as the server says.
    pub fn at_once(&self) -> u32 {
        self.at_once
    }

    /// How many ride.
    pub fn riding(&self) -> u32 {
        self.riding
    }

    /// Whether somebody was forsaken.
    pub fn has_forsaken(&self) -> bool {
        self.riders.iter().any(|(_, rider)| rider.key.is_none())
    }

    /// Everybody on it.
    pub fn keys(&self) -> Vec<u32> {
        self.riders
            .iter()
            .filter_map(|(_, rider)| rider.key)
            .collect()
    }

    /// Those whose stream comes after the last that is answered, or who have not asked yet.
    pub fn unanswered(&self, last: u32) -> Vec<u32> {
        let riders = self.riders.iter().map(|(_, rider)| rider);
        let beyond = riders.filter(|rider| rider.stream > last || rider.stream == 0);
        beyond.filter_map(|rider| rider.key).collect()
    }

    /// Asks, on a new stream. `block`: the compressed head; `ends`: nothing follows the body. Returns how much of the body is on its way.
    pub fn request(&mut self, seat: u32, block: &[u8], body: &[u8], ends: bool) -> usize {
        let stream = self.next_stream;
        let Some(rider) = self.riders.get_mut(seat as usize) else {
            return body.len();
        };
        self.next_stream += 2;
        rider.stream = stream;
        rider.received = 0;
        rider.send_window = i32::try_from(self.first_window).unwrap_or(i32::MAX);
        rider.has_head = false;
        let is_whole = body.is_empty() && ends;
        rider.sends = !is_whole;
        self.streams.push((stream, seat));
        write::headers(&mut self.unsent, stream, block, is_whole);
        if body.is_empty() {
            0
        } else {
            self.send(seat, body, ends)
        }
    }

    /// Goes on with a body; returns how much of it is on its way: as much as the windows have room for.
    pub fn send(&mut self, seat: u32, body: &[u8], ends: bool) -> usize {
        let Some(rider) = self.riders.get_mut(seat as usize) else {
            return body.len();
        };
        let room = self.send_window.min(rider.send_window.into()).max(0);
        let length = usize::try_from(room).unwrap_or(usize::MAX).min(body.len());
        let part = &body[..length];
        self.send_window -= length as i64;
        rider.send_window -= i32::try_from(length).unwrap_or(i32::MAX);
        let is_last = ends && length == body.len();
        if rider.sends && rider.stream != 0 {
            write::data(&mut self.unsent, rider.stream, part, is_last);
        }
        rider.sends &= !is_last;
        length
    }

    /// Says that nothing more comes from this rider: the half of its stream that is ours is closed.
    pub fn finish(&mut self, seat: u32) {
        self.send(seat, &[], true);
    }

    /// What came for this rider was read, all of it. The server hears of it now and then.
    pub fn read(&mut self, seat: u32) {
        let window = self.window;
        if self
            .riders
            .get(seat as usize)
            .is_some_and(|rider| rider.received >= window / 2)
        {
            self.give(seat, u32::MAX);
        }
    }

    /// Gives so many bytes of the window back, of those that came.
    pub fn give(&mut self, seat: u32, most: u32) {
        let Some(rider) = self.riders.get_mut(seat as usize) else {
            return;
        };
        let by = rider.received.min(most);
        if by > 0 && rider.stream != 0 {
            rider.received -= by;
            write::window(&mut self.unsent, rider.stream, by);
        }
    }

    /// Somebody gets off. If its stream goes on, the server is told why it should not; `None`: it is not told.
    pub fn leave(&mut self, seat: u32, code: Option<Code>) {
        let Some(rider) = self.riders.try_remove(seat as usize) else {
            return;
        };
        self.riding -= u32::from(rider.key.is_some());
        if rider.stream != 0 {
            self.forget(rider.stream);
            if let Some(code) = code {
                write::reset(&mut self.unsent, rider.stream, code);
            }
        }
    }

    /// Somebody is gone without a word: its stream stays as it is.
    pub fn forsake(&mut self, seat: u32) {
        if let Some(rider) = self.riders.get_mut(seat as usize) {
            self.riding -= u32::from(rider.key.take().is_some());
        }
    }

    /// Says goodbye.
    pub fn go_away(&mut self, code: Code) {
        self.is_going_away = true;
        write::go_away(&mut self.unsent, code);
    }

    /// What is to be sent.
    pub fn unsent(&self) -> &[u8] {
        &self.unsent
    }

    /// So much of it is sent.
    pub fn sent(&mut self, length: usize) {
        /// An idle connection holds no more than this for what it sent.
        const KEPT: usize = 1024;
        self.unsent.drain(..length.min(self.unsent.len()));
        if self.unsent.is_empty() {
            self.unread = 0;
            self.unsent.shrink_to(KEPT);
        }
    }

    /// Takes bytes off the front of `input` up to the next thing that somebody must hear; `None` once all is read.
    ///
    /// # Errors
    /// See [`H2Error`]; nothing can be read after it.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Told<'a>>, H2Error> {
        while let Some(frame) = self.reader.next(input)? {
            if let Some(told) = self.take_in(frame)? {
                return Ok(Some(told));
            }
        }
        Ok(None)
    }

    fn take_in<'a>(&mut self, frame: Frame<'a>) -> Result<Option<Told<'a>>, H2Error> {
        match frame {
            Frame::Begins { stream, length } => self.begins(stream, length).map(|()| None),
            Frame::Data { stream, data } => {
                let key = self.rider(stream)?.and_then(|rider| rider.key);
                Ok(key.map(|key| Told::Data { key, data }))
            }
            Frame::Headers {
                stream,
                block,
                is_last,
            } => self.head(stream, &block, is_last),
            Frame::Ends { stream } => self.ends(stream),
            Frame::Reset { stream, code } => {
                let key = self.over(stream)?.and_then(|rider| rider.key);
                Ok(key.map(|key| Told::Reset { key, code }))
            }
            Frame::Settings(pairs) => self.settings(&pairs).map(Some),
            Frame::Ping(ping) => {
                write::ping_answer(&mut self.unsent, ping);
                self.answered().map(|()| None)
            }
            Frame::GoAway { last, .. } => {
                self.is_going_away = true;
                Ok(Some(Told::GoingAway { last }))
            }
            Frame::Window { stream, by } => self.grow(stream, by),
        }
    }

    /// A question of the server was answered.
    fn answered(&mut self) -> Result<(), H2Error> {
        self.unread += 1;
        if self.unread > MOST_UNREAD {
            return Err(H2Error::Nagging);
        }
        Ok(())
    }

    /// Who rides on a stream; `None`: nobody any more.
    fn rider(&mut self, stream: u32) -> Result<Option<&mut Rider>, H2Error> {
        let place = self.place(stream)?;
        let seat = place.map(|place| self.streams[place].1 as usize);
        Ok(seat.and_then(|seat| self.riders.get_mut(seat)))
    }

    fn place(&self, stream: u32) -> Result<Option<usize>, H2Error> {
        if stream.is_multiple_of(2) || stream >= self.next_stream {
            return Err(H2Error::UnknownStream(stream));
        }
        Ok(self
            .streams
            .binary_search_by_key(&stream, |(number, _)| *number)
            .ok())
    }

    fn forget(&mut self, stream: u32) {
        if let Ok(Some(place)) = self.place(stream) {
            self.streams.remove(place);
        }
    }

    /// A stream is over: its rider, if there is one, is on none any more.
    fn over(&mut self, stream: u32) -> Result<Option<&mut Rider>, H2Error> {
        let Some(place) = self.place(stream)? else {
            return Ok(None);
        };
        let (_, seat) = self.streams.remove(place);
        let Some(rider) = self.riders.get_mut(seat as usize) else {
            return Ok(None);
        };
        rider.stream = 0;
        Ok(Some(rider))
    }

    fn begins(&mut self, stream: u32, length: u32) -> Result<(), H2Error> {
        let window = self.window;
        self.received += length;
        if self.received > LARGEST_WINDOW / 2 {
            write::window(&mut self.unsent, 0, std::mem::take(&mut self.received));
        }
        let Some(rider) = self.rider(stream)? else {
            return Ok(()); // sent before the server knew that nobody wants it any more
        };
        if !rider.has_head {
            return Err(H2Error::Misplaced("DATA"));
        }
        rider.received = rider.received.saturating_add(length);
        if rider.received > window {
            return Err(H2Error::WindowOverrun);
        }
        Ok(())
    }

    fn head<'a>(
        &mut self,
        stream: u32,
        block: &[u8],
        is_last: bool,
    ) -> Result<Option<Told<'a>>, H2Error> {
        let fields = hpack::decode(block, self.limit)?;
        let Some(rider) = self.rider(stream)? else {
            return Ok(None);
        };
        if rider.has_head {
            // Trailers, which nobody reads.
            return if is_last {
                Ok(None)
            } else {
                Err(H2Error::Misplaced("HEADERS"))
            };
        }
        let is_interim = fields
            .iter()
            .any(|field| field.name == ":status" && field.value.starts_with(b"1"));
        if is_interim && !is_last {
            return Ok(None);
        }
        rider.has_head = true;
        Ok(rider.key.map(|key| Told::Head { key, fields }))
    }

    fn ends<'a>(&mut self, stream: u32) -> Result<Option<Told<'a>>, H2Error> {
        let Some(rider) = self.over(stream)? else {
            return Ok(None);
        };
        let key = rider.key;
        if std::mem::take(&mut rider.sends) {
            // It answered without waiting for all that was asked: so we need not go on.
            write::reset(&mut self.unsent, stream, Code::NO_ERROR);
        }
        Ok(key.map(|key| Told::End { key }))
    }

    fn settings<'a>(&mut self, pairs: &[(u16, u32)]) -> Result<Told<'a>, H2Error> {
        for (name, value) in pairs {
            match *name {
                PUSH if *value != 0 => return Err(H2Error::Malformed("SETTINGS")),
                STREAMS_AT_ONCE => self.at_once = *value,
                STREAM_WINDOW => self.resize(*value)?,
                _ => {}
            }
        }
        write::settings_taken(&mut self.unsent);
        self.answered()?;
        let is_first = !std::mem::replace(&mut self.is_ready, true);
        Ok(if is_first { Told::Ready } else { Told::Room })
    }

    /// The windows of all streams change by as much as that of new ones.
    fn resize(&mut self, window: u32) -> Result<(), H2Error> {
        if window > LARGEST_WINDOW {
            return Err(H2Error::WindowOverflow);
        }
        let by = i64::from(window) - self.first_window;
        self.first_window = window.into();
        for (_, rider) in self.riders.iter_mut() {
            let size = i64::from(rider.send_window) + by;
            rider.send_window = i32::try_from(size).map_err(|_| H2Error::WindowOverflow)?;
        }
        Ok(())
    }

    fn grow<'a>(&mut self, stream: u32, by: u32) -> Result<Option<Told<'a>>, H2Error> {
        if stream == 0 {
            self.send_window += i64::from(by);
            if self.send_window > i64::from(LARGEST_WINDOW) {
                return Err(H2Error::WindowOverflow);
            }
            return Ok(Some(Told::Room));
        }
        let Some(rider) = self.rider(stream)? else {
            return Ok(None);
        };
        let size = i64::from(rider.send_window) + i64::from(by);
        rider.send_window = i32::try_from(size).map_err(|_| H2Error::WindowOverflow)?;
        Ok(rider.sends.then_some(Told::Room))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    const WINDOW: u32 = 100;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    fn ok(stream: u32) -> Vec<u8> {
        frame(1, 4, stream, b"\x88")
    }

    fn data(stream: u32, data: &[u8]) -> Vec<u8> {
        frame(0, 0, stream, data)
    }

    /// A session with so many riders who have asked, and nothing unsent.
    fn session(riders: u32) -> Session {
        let mut session = Session::new(WINDOW, 1000);
        assert!(session.unsent().starts_with(PREFACE));
        assert_eq!(told(&mut session, SETTINGS).unwrap(), ["Ready"]);
        for key in 0..riders {
            let seat = session.join(key);
            session.request(seat, b"\x82", &[], true);
        }
        session.sent(usize::MAX);
        session
    }

    fn told(session: &mut Session, mut wire: &[u8]) -> Result<Vec<String>, H2Error> {
        let mut all = vec![];
        while let Some(told) = session.next(&mut wire)? {
            all.push(format!("{told:?}"));
        }
        Ok(all)
    }

    fn sent(session: &mut Session) -> Vec<u8> {
        let unsent = session.unsent().to_vec();
        session.sent(unsent.len());
        unsent
    }

    #[test]
    fn answers_find_their_riders() {
        let mut session = session(2);
        let wire = [ok(3), data(3, b"x"), ok(1), frame(0, 1, 3, b"")].concat();
        let head = |key| {
            format!(
                "Head {{ key: {key}, fields: [Field {{ name: \":status\", value: [50, 48, 48] }}] }}"
            )
        };
        let expected = [
            head(1),
            "Data { key: 1, data: [120] }".into(),
            head(0),
            "End { key: 1 }".into(),
        ];
        assert_eq!(told(&mut session, &wire).unwrap(), expected);
        // What comes after the end is nobody's.
        assert!(told(&mut session, &data(3, b"late")).unwrap().is_empty());
    }

    #[test]
    fn interim_heads_and_trailers_are_skipped() {
        let mut session = session(1);
        let interim = frame(1, 4, 1, b"\x08\x03103");
        let trailers = frame(1, 5, 1, b"\0\x01x\x01y");
        let wire = [interim.clone(), interim, ok(1), data(1, b"x"), trailers].concat();
        let told = told(&mut session, &wire).unwrap();
        assert_eq!(told.len(), 3, "{told:?}");
        assert_eq!(told[2], "End { key: 0 }");
    }

    #[test]
    fn a_window_is_given_back_when_its_rider_reads_and_never_overrun() {
        let mut session = session(2);
        let wire = [ok(1), ok(3), data(1, &[b'x'; 60]), data(3, &[b'x'; 60])].concat();
        told(&mut session, &wire).unwrap();
        session.read(0);
        assert_eq!(sent(&mut session), frame(8, 0, 1, &[0, 0, 0, 60]));
        session.give(1, 25);
        assert_eq!(sent(&mut session), frame(8, 0, 3, &[0, 0, 0, 25]));
        told(&mut session, &data(1, &[b'x'; 100])).unwrap();
        let overrun = told(&mut session, &data(3, &[b'x'; 66]));
        assert_eq!(overrun, Err(H2Error::WindowOverrun));
    }

    #[test]
    fn a_body_waits_for_room() {
        let mut session = session(0);
        // 10 B a stream from now on.
        told(&mut session, &frame(4, 0, 0, &[0, 4, 0, 0, 0, 10])).unwrap();
        session.sent(usize::MAX);
        let seat = session.join(7);
        assert_eq!(session.request(seat, b"\x83", b"0123456789abc", true), 10);
        let expected = [frame(1, 4, 1, b"\x83"), frame(0, 0, 1, b"0123456789")].concat();
        assert_eq!(sent(&mut session), expected);
        assert_eq!(
            told(&mut session, &frame(8, 0, 1, &[0, 0, 0, 9])).unwrap(),
            ["Room"]
        );
        assert_eq!(session.send(seat, b"abc", true), 3);
        assert_eq!(sent(&mut session), frame(0, 1, 1, b"abc"));
    }

    #[test]
    fn whoever_leaves_says_so_and_whoever_is_forsaken_does_not() {
        let mut session = session(3);
        session.leave(0, Some(Code::CANCEL));
        session.forsake(1);
        session.leave(2, None);
        assert_eq!(sent(&mut session), frame(3, 0, 1, &[0, 0, 0, 8]));
        assert_eq!((session.riding(), session.has_forsaken()), (0, true));
        assert!(
            told(&mut session, &[ok(3), data(3, b"x")].concat())
                .unwrap()
                .is_empty()
        );
        // Nobody reads it: its window stays closed.
        let overrun = told(&mut session, &data(3, &[0; 100]));
        assert_eq!(overrun, Err(H2Error::WindowOverrun));
    }

    #[test]
    fn a_half_that_was_left_open_is_closed_by_an_empty_end() {
        let mut session = session(0);
        let seat = session.join(0);
        session.request(seat, b"\x82", &[], false);
        assert_eq!(sent(&mut session), frame(1, 4, 1, b"\x82"));
        session.finish(seat);
        session.finish(seat);
        assert_eq!(sent(&mut session), frame(0, 1, 1, b""));
    }

    #[test]
    fn a_server_that_goes_away_answers_only_up_to_its_last_stream() {
        let mut session = session(3);
        let wire = frame(7, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]);
        assert_eq!(
            told(&mut session, &wire).unwrap(),
            ["GoingAway { last: 3 }"]
        );
        assert_eq!(session.unanswered(3), [2]);
        assert!(!session.has_room());
    }

    #[test]
    fn pings_and_settings_are_answered_as_long_as_answers_are_read() {
        let mut session = session(0);
        let ping = frame(6, 0, 0, b"12345678");
        told(
            &mut session,
            &[ping.clone(), frame(6, 1, 0, b"answered")].concat(),
        )
        .unwrap();
        assert_eq!(sent(&mut session), frame(6, 1, 0, b"12345678"));
        told(&mut session, SETTINGS).unwrap();
        assert_eq!(sent(&mut session), frame(4, 1, 0, b""));
        let flood = ping.repeat(MOST_UNREAD as usize + 1);
        assert_eq!(told(&mut session, &flood), Err(H2Error::Nagging));
        assert!(session.unsent().len() < 200_000);
    }

    #[test]
    fn what_a_server_may_not_do_is_refused() {
        for (wire, error) in [
            (ok(5), H2Error::UnknownStream(5)),
            (ok(2), H2Error::UnknownStream(2)),
            (data(1, b"x"), H2Error::Misplaced("DATA")),
            ([ok(1), ok(1)].concat(), H2Error::Misplaced("HEADERS")),
            (
                frame(1, 4, 1, b"\xbe"),
                H2Error::Block(hpack::BlockError::Index(62)),
            ),
            (
                frame(4, 0, 0, &[0, 2, 0, 0, 0, 1]),
                H2Error::Malformed("SETTINGS"),
            ),
            (
                frame(4, 0, 0, &[0, 4, 0x80, 0, 0, 0]),
                H2Error::WindowOverflow,
            ),
            (
                frame(8, 0, 0, &[0x7F, 0xFF, 0xFF, 0xFF]),
                H2Error::WindowOverflow,
            ),
            (
                frame(8, 0, 1, &[0x7F, 0xFF, 0xFF, 0xFF]),
                H2Error::WindowOverflow,
            ),
        ] {
            assert_eq!(told(&mut session(2), &wire), Err(error));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(wire in prop::collection::vec((0_u8..10, prop::bits::u8::masked(0x2D), 0_u32..5, prop::collection::vec(any::<u8>(), 0..12)), 0..20)) {
            let wire: Vec<u8> = wire.iter().flat_map(|(kind, flags, stream, payload)| frame(*kind, *flags, *stream, payload)).collect();
            told(&mut session(2), &wire).ok();
        }
    }
}
