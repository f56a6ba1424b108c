//! What a server may send over HTTP/2: frames, heads and windows mean the same however they are cut, and what we hold is bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oracles::cuts;
use sse_soak::drive::h2::{Code, H2Error, Session, Told};

const HEAD: usize = 400;
const WINDOW: u32 = 300;
/// What a server makes us say is bounded, too: what is counted as unread, and an answer for each frame of a byte or more.
const MOST_UNSENT: usize = 10_001 * 17 + 100_000;

/// All that came of it, and what we answered.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    told: Vec<String>,
    answered: Vec<u8>,
    error: Option<H2Error>,
}

fn play<'a>(cuts: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut session = Session::new(WINDOW, HEAD);
    let seats = [0, 1, 2, 3].map(|key| session.join(key));
    for (seat, body) in seats.into_iter().zip([&b""[..], b"", &[7; 70_000], b"x"]) {
        session.request(seat, b"\x82", body, seat != 1);
    }
    session.forsake(seats[3]);
    let mut outcome = Outcome { told: vec![], answered: vec![], error: None };
    // Data is joined as it comes, stream by stream: how it is cut must not matter.
    let mut last: Option<u32> = None;
    for mut cut in cuts {
        loop {
            let told = match session.next(&mut cut) {
                Ok(Some(told)) => told,
                Ok(None) => break,
                Err(error) => {
                    session.go_away(error.code());
                    outcome.error = Some(error);
                    break;
                }
            };
            match told {
                Told::Data { key, data } if last == Some(key) => {
                    let text = outcome.told.last_mut().expect("there was one");
                    text.push_str(&format!("{data:?}"));
                }
                Told::Data { key, data } => {
                    outcome.told.push(format!("{key}: {data:?}"));
                    last = Some(key);
                    continue;
                }
                other => {
                    last = None;
                    if let Told::End { key } | Told::Reset { key, .. } = &other {
                        session.read(seats[*key as usize]);
                    }
                    if matches!(other, Told::Room) {
                        session.send(seats[2], b"more", false);
                    }
                    outcome.told.push(format!("{other:?}"));
                }
            }
        }
        if outcome.error.is_some() {
            break;
        }
    }
    session.leave(seats[0], Some(Code::CANCEL));
    outcome.answered = session.unsent().to_vec();
    assert!(session.unsent().len() < MOST_UNSENT);
    for text in &mut outcome.told {
        *text = text.replace("][", ", "); // two pieces are one
    }
    outcome
}

fuzz_target!(|input: &[u8]| {
    let Some((&key, wire)) = input.split_first() else {
        return;
    };
    // Most noise is no settings frame: what comes after one is what matters.
    let wire = if key & 0x80 == 0 { wire.to_vec() } else { [&b"\0\0\0\x04\0\0\0\0\0"[..], wire].concat() };
    let whole = play([&wire[..]]);
    assert_eq!(play(cuts(key, &wire)), whole);
    assert_eq!(play(wire.chunks(1)), whole);
});
