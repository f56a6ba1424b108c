//! pprof's `profile.proto`, gzipped: <https://github.com/google/pprof/blob/main/proto/profile.proto>. Written by hand: the few fields
//! that are used are all varints and bytes.

use std::{collections::HashMap, io::Write as _};

use flate2::{Compression, write::GzEncoder};

use super::seen;
use crate::record::{Frame, Stacks};

/// A protobuf message under way.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0
                .push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
            value >>= 7;
        }
        self.0.push(u8::try_from(value).expect("seven bits"));
    }

    /// A number; zero is what a reader assumes.
    fn number(&mut self, field: u64, value: u64) {
        if value != 0 {
            self.varint(field << 3);
            self.varint(value);
        }
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn packed(&mut self, field: u64, values: &[u64]) {
        let mut inner = Self::default();
        for value in values {
            inner.varint(*value);
        }
        self.bytes(field, &inner.0);
    }
}

/// Strings by their place in the string table; the first is empty.
struct Strings {
    places: HashMap<String, u64>,
    all: Vec<String>,
}

impl Strings {
    fn new() -> Self {
        Self {
            places: HashMap::from([(String::new(), 0)]),
            all: vec![String::new()],
        }
    }

    fn place(&mut self, text: &str) -> u64 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = self.all.len() as u64;
        self.all.push(text.into());
        self.places.insert(text.into(), place);
        place
    }
}

/// Three sample types: retained bytes (what viewers show first), retained blocks, bytes per thousand units. Windows are a label,
/// `unit`: `-tagfocus session` shows one.
pub(super) fn write(stacks: &Stacks) -> Vec<u8> {
    let mut strings = Strings::new();
    let mut profile = Message::default();
    for (kind, unit) in [
        ("retained_bytes", "bytes"),
        ("retained_blocks", "count"),
        ("retained_bytes_per_1000_units", "bytes"),
    ] {
        let mut value = Message::default();
        value.number(1, strings.place(kind));
        value.number(2, strings.place(unit));
        profile.bytes(1, &value.0);
    }
    let label = strings.place("unit");
    for window in &stacks.windows {
        let unit = strings.place(window.of.0.name());
        for stack in seen(stacks, window) {
            let mut sample = Message::default();
            let ids: Vec<u64> = stack
                .frames
                .iter()
                .map(|(id, _)| u64::from(*id) + 1)
                .collect();
            sample.packed(1, &ids);
            sample.packed(2, &[stack.bytes, stack.blocks, stack.bytes_per_thousand]);
            let mut tag = Message::default();
            tag.number(1, label);
            tag.number(2, unit);
            sample.bytes(3, &tag.0);
            profile.bytes(2, &sample.0);
        }
    }
    for (id, frame) in (1..).zip(&stacks.frames) {
        location(&mut profile, &mut strings, id, frame);
    }
    let kind = strings.place("retained_bytes");
    for text in &strings.all {
        profile.bytes(6, text.as_bytes());
    }
    profile.number(14, kind);
    let mut out = GzEncoder::new(Vec::new(), Compression::default());
    let written = out.write_all(&profile.0).and_then(|()| out.finish());
    written.expect("a vector takes everything")
}

/// A frame is a location and a function of the same number: inlined functions are frames of their own already.
fn location(profile: &mut Message, strings: &mut Strings, id: u64, frame: &Frame) {
    let mut line = Message::default();
    line.number(1, id);
    line.number(2, frame.line.map_or(0, u64::from));
    let mut location = Message::default();
    location.number(1, id);
    location.bytes(4, &line.0);
    profile.bytes(4, &location.0);
    let mut function = Message::default();
    function.number(1, id);
    let name = strings.place(&frame.function);
    function.number(2, name);
    function.number(3, name);
    function.number(4, strings.place(frame.file.as_deref().unwrap_or_default()));
    profile.bytes(5, &function.0);
}
