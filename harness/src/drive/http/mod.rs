//! HTTP/1.1 as far as a client of event streams needs it: heads of answers, and where their bodies end. No I/O, no memory.

mod chunked;
mod head;

pub use chunked::{ChunkError, Chunked};
pub use head::{Head, HeadError, Media, Parsed};

/// How the end of a body is told.
#[derive(Clone, Debug)]
pub enum Framing {
    /// By a last chunk.
    Chunked(Chunked),
    /// By its length; so many bytes are still to come.
    Length(u64),
    /// By the end of the connection.
    UntilClose,
}

impl Framing {
    /// Takes bytes off the front of `input` up to the next data; `None` once all is read, or the body is done.
    ///
    /// # Errors
    /// [`ChunkError`]; the body cannot be read further.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, ChunkError> {
        let length = match self {
            Self::Chunked(chunked) => return chunked.next(input),
            Self::Length(left) => {
                let length =
                    usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                *left -= length as u64;
                length
            }
            Self::UntilClose => input.len(),
        };
        let (data, rest) = input.split_at(length);
        *input = rest;
        Ok((!data.is_empty()).then_some(data))
    }

    /// Whether the whole body is read. Never true for a body that ends with its connection.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Chunked(chunked) => chunked.is_done(),
            Self::Length(left) => *left == 0,
            Self::UntilClose => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_known_length_leaves_the_rest_alone() {
        let mut framing = Framing::Length(3);
        let mut input = &b"abcdef"[..];
        assert_eq!(framing.next(&mut input), Ok(Some(&b"abc"[..])));
        assert!(framing.is_done());
        assert_eq!(framing.next(&mut input), Ok(None));
        assert_eq!(input, b"def");
    }
}
