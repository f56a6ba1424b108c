//! The head of an answer: what is complete was partial before, stays the same whatever follows, and says nothing impossible.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sse_soak::drive::http::{Framing, Head, Parsed};

fuzz_target!(|input: &[u8]| {
    let Some((&key, bytes)) = input.split_first() else {
        return;
    };
    let method = if key & 1 == 0 { "GET" } else { "HEAD" };
    let parse = |bytes: &[u8]| Head::parse(bytes, method, Some("Mcp-Session-Id"));
    let (used, head) = match parse(bytes) {
        Err(_) | Ok(Parsed::Partial) => return,
        Ok(Parsed::Interim(used)) => (used, None),
        Ok(Parsed::Final(used, head)) => (used, Some(head)),
    };
    assert!(used <= bytes.len());
    for end in 0..used {
        assert!(
            matches!(parse(&bytes[..end]), Ok(Parsed::Partial)),
            "cut at {end} of {used}"
        );
    }
    let again = parse(&bytes[..used]).expect("it was read before");
    match (head, again) {
        (None, Parsed::Interim(length)) => assert_eq!(length, used),
        (Some(head), Parsed::Final(length, same)) => {
            assert_eq!((length, format!("{same:?}")), (used, format!("{head:?}")));
            assert!(!(100..200).contains(&head.status));
            let bodiless = method == "HEAD" || matches!(head.status, 204 | 304);
            assert!(!bodiless || matches!(head.framing, Framing::Length(0)));
        }
        (before, after) => panic!("{before:?} became {after:?}"),
    }
});
