//! The chunked coding of RFC 9112 §7.1, in any cuts, without memory.

/// Longest chunk extension; whoever sends more is not talking to us.
const LONGEST_EXTENSION: u16 = 4096;
/// Longest trailer section.
const LONGEST_TRAILERS: u16 = 16_384;

/// Why a chunked body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// No hexadecimal number where a size must stand, or one beyond 64 bits.
    #[error("a chunk size is no hexadecimal number")]
    Size,
    /// No CR LF where one must stand.
    #[error("a chunk does not end with CR LF")]
    LineBreak,
    /// Extension or trailers without end.
    #[error("a chunk extension or the trailers do not end")]
    Endless,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// So many digits of the size were read.
    Size(u8),
    Extension(u16),
    SizeLineFeed,
    Data,
    DataCarriageReturn,
    DataLineFeed,
    /// At the start of a trailer line, after so many bytes of trailers.
    TrailerStart(u16),
    Trailer(u16),
    FinalLineFeed,
    Done,
}

/// The state of one chunked body between two reads.
#[derive(Clone, Debug)]
pub struct Chunked {
    left: u64,
    at: At,
}

impl Default for Chunked {
    fn default() -> Self {
        Self {
            left: 0,
            at: At::Size(0),
        }
    }
}

impl Chunked {
    /// Whether the terminator and its trailers are read.
    pub fn is_done(&self) -> bool {
        self.at == At::Done
    }

    /// Takes bytes off the front of `input` up to the next data; `None` once all is read, or the body is done.
    ///
    /// # Errors
    /// [`ChunkError`]; the body cannot be read further.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, ChunkError> {
        while let Some((&byte, rest)) = input.split_first() {
            match self.at {
                At::Data => return Ok(Some(self.data(input))),
                At::Done => return Ok(None),
                _ => self.at = self.framing(byte)?,
            }
            *input = rest;
        }
        Ok(None)
    }

    fn data<'a>(&mut self, input: &mut &'a [u8]) -> &'a [u8] {
        let length = usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()));
        let (data, rest) = input.split_at(length);
        *input = rest;
        self.left -= length as u64;
        if self.left == 0 {
            self.at = At::DataCarriageReturn;
        }
        data
    }

    fn framing(&mut self, byte: u8) -> Result<At, ChunkError> {
        Ok(match (self.at, byte) {
            (At::Size(digits), _) => self.size(digits, byte)?,
            (At::Extension(_), b'\r') => At::SizeLineFeed,
            (At::Extension(LONGEST_EXTENSION), _) => return Err(ChunkError::Endless),
            (At::Extension(seen), _) => At::Extension(seen + 1),
            (At::SizeLineFeed, b'\n') if self.left == 0 => At::TrailerStart(0),
            (At::SizeLineFeed, b'\n') => At::Data,
            (At::DataCarriageReturn, b'\r') => At::DataLineFeed,
            (At::DataLineFeed, b'\n') => At::Size(0),
            (At::TrailerStart(_), b'\r') => At::FinalLineFeed,
            (At::TrailerStart(LONGEST_TRAILERS) | At::Trailer(LONGEST_TRAILERS), _) => {
                return Err(ChunkError::Endless);
            }
            (At::Trailer(seen), b'\n') => At::TrailerStart(seen + 1),
            (At::TrailerStart(seen) | At::Trailer(seen), _) => At::Trailer(seen + 1),
            (At::FinalLineFeed, b'\n') => At::Done,
            _ => return Err(ChunkError::LineBreak),
        })
    }

    fn size(&mut self, digits: u8, byte: u8) -> Result<At, ChunkError> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ if digits == 0 => return Err(ChunkError::Size),
            b'\r' => return Ok(At::SizeLineFeed),
            b';' | b' ' | b'\t' => return Ok(At::Extension(0)),
            _ => return Err(ChunkError::Size),
        };
        if digits == 16 {
            return Err(ChunkError::Size);
        }
        self.left = if digits == 0 { 0 } else { self.left << 4 } | u64::from(digit);
        Ok(At::Size(digits + 1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode<'a>(cuts: impl IntoIterator<Item = &'a [u8]>) -> Result<(Vec<u8>, bool), ChunkError> {
        let mut chunked = Chunked::default();
        let mut body = vec![];
        for mut cut in cuts {
            while let Some(data) = chunked.next(&mut cut)? {
                body.extend_from_slice(data);
            }
        }
        Ok((body, chunked.is_done()))
    }

    #[test]
    fn sizes_extensions_and_trailers_are_framing_not_data() {
        for (wire, body, done) in [
            ("5\r\nhello\r\n0\r\n\r\n", "hello", true),
            (
                "A;name=\"v\"\r\n0123456789\r\n000\r\nTrailer: x\r\n\r\n",
                "0123456789",
                true,
            ),
            ("5\r\nhel", "hel", false),
            ("0\r\n\r\nsurplus", "", true),
            ("3 \r\na\r\n\r\n1\r\nb\r\n", "a\r\nb", false),
        ] {
            assert_eq!(
                decode([wire.as_bytes()]),
                Ok((body.as_bytes().to_vec(), done)),
                "{wire:?}"
            );
        }
    }

    #[test]
    fn garbage_is_refused_where_it_stands() {
        let endless = format!("1;{}", "x".repeat(5000));
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(5000));
        for (wire, error) in [
            ("hello", ChunkError::Size),
            ("\r\n", ChunkError::Size),
            ("-1\r\n", ChunkError::Size),
            ("11112222333344445\r\n", ChunkError::Size),
            ("5\r\nhelloworld", ChunkError::LineBreak),
            ("5\rx", ChunkError::LineBreak),
            (&endless, ChunkError::Endless),
            (&trailers, ChunkError::Endless),
        ] {
            assert_eq!(decode([wire.as_bytes()]), Err(error), "{wire:.20}");
        }
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_cut_the_body_is_the_same(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            size in 1_usize..12,
        ) {
            let mut wire = vec![];
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let body = chunks.concat();
            prop_assert_eq!(decode([&wire[..]]), Ok((body.clone(), true)));
            prop_assert_eq!(decode(wire.chunks(size)), Ok((body, true)));
        }

        #[test]
        fn any_bytes_in_any_cuts_give_the_same_answer(wire in prop::collection::vec(prop::sample::select(b"05aF;\r\n x".to_vec()), 0..60), size in 1_usize..7) {
            prop_assert_eq!(decode([&wire[..]]), decode(wire.chunks(size)));
        }
    }
}
