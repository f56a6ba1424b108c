//! The chunked coding: however the bytes are cut the answer is the same, and what was encoded comes back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oracles::cuts;
use sse_soak::drive::http::{ChunkError, Chunked};

/// The data, whether its end came, how much of the wire was left alone; and what went wrong.
type Read = (Vec<u8>, bool, usize, Option<ChunkError>);

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let mut chunked = Chunked::default();
    let (mut data, mut left) = (vec![], 0);
    for mut piece in pieces {
        loop {
            match chunked.next(&mut piece) {
                Ok(Some(more)) => {
                    assert!(!more.is_empty(), "no data is no data");
                    data.extend_from_slice(more);
                }
                Ok(None) => break,
                Err(error) => return (data, chunked.is_done(), 0, Some(error)),
            }
        }
        assert!(piece.is_empty() || chunked.is_done());
        left += piece.len();
    }
    (data, chunked.is_done(), left, None)
}

fuzz_target!(|input: &[u8]| {
    let Some((&key, wire)) = input.split_first() else {
        return;
    };
    let (data, done, left, error) = read([wire]);
    assert_eq!(read(cuts(key, wire)), (data, done, left, error));
    let mut encoded = vec![];
    for piece in cuts(key, wire) {
        encoded.extend_from_slice(format!("{:x};k={key}\r\n", piece.len()).as_bytes());
        encoded.extend_from_slice(piece);
        encoded.extend_from_slice(b"\r\n");
    }
    encoded.extend_from_slice(b"0\r\nT: x\r\n\r\nsurplus");
    assert_eq!(read([&encoded[..]]), (wire.to_vec(), true, 7, None));
    assert_eq!(read(cuts(key, &encoded)), (wire.to_vec(), true, 7, None));
});
