//! Frames: a length in four bytes, low byte first, then so many bytes of JSON.

use std::io::{self, Read, Write};

use serde::{Serialize, de::DeserializeOwned};

/// Bytes in a frame. The largest that is ever sent is a report with full histograms, 1.5 MB.
const MOST_BYTES: u32 = 16 << 20;
/// So much of a frame without sense is quoted.
const QUOTED: usize = 60;

/// Why no frame could be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other side is gone, or has nothing more to say.
    #[error("the pipe has ended")]
    End,
    /// It went in mid-sentence.
    #[error("the pipe ended in the middle of a frame")]
    Cut,
    /// No frame of ours is that long.
    #[error(
        "a frame of {0} B was announced, and {MOST_BYTES} B is the most: this is not our protocol"
    )]
    TooLong(u32),
    /// Not JSON, or none of our messages.
    #[error("a frame makes no sense ({source}): `{quote}`")]
    Nonsense {
        /// How it begins.
        quote: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The pipe failed.
    #[error("the pipe failed: {0}")]
    Pipe(#[from] io::Error),
}

impl FrameError {
    /// Whether nobody is at the other end any more.
    pub(super) fn is_end(&self) -> bool {
        match self {
            Self::End => true,
            Self::Pipe(error) => error.kind() == io::ErrorKind::BrokenPipe,
            _ => false,
        }
    }
}

pub(super) fn read<T: DeserializeOwned>(input: &mut impl Read) -> Result<T, FrameError> {
    let mut length = [0; 4];
    fill(input, &mut length, FrameError::End)?;
    let length = u32::from_le_bytes(length);
    if length > MOST_BYTES {
        return Err(FrameError::TooLong(length));
    }
    let mut frame = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    fill(input, &mut frame, FrameError::Cut)?;
    serde_json::from_slice(&frame).map_err(|source| FrameError::Nonsense {
        quote: String::from_utf8_lossy(&frame[..frame.len().min(QUOTED)])
            .escape_debug()
            .to_string(),
        source,
    })
}

/// Reads exactly so much; `at_once` if there is nothing at all.
fn fill(input: &mut impl Read, buffer: &mut [u8], at_once: FrameError) -> Result<(), FrameError> {
    let mut length = 0;
    while length < buffer.len() {
        match input.read(&mut buffer[length..]) {
            Ok(0) if length == 0 => return Err(at_once),
            Ok(0) => return Err(FrameError::Cut),
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// One write a frame: whoever reads it is woken once.
pub(super) fn write(output: &mut impl Write, message: &impl Serialize) -> Result<(), FrameError> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message).expect("our messages are JSON");
    let length = u32::try_from(frame.len() - 4).unwrap_or(u32::MAX);
    if length > MOST_BYTES {
        return Err(FrameError::TooLong(length));
    }
    frame[..4].copy_from_slice(&length.to_le_bytes());
    output.write_all(&frame)?;
    Ok(output.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_and_everything_else_is_refused_in_a_sentence() {
        let mut good = vec![];
        write(&mut good, &("rst", 7)).unwrap();
        let mut twice = good.clone();
        twice.extend_from_slice(&good);
        let mut input = &twice[..];
        for _ in 0..2 {
            let (word, number): (String, u8) = read(&mut input).unwrap();
            assert_eq!((&*word, number), ("rst", 7));
        }
        assert!(read::<(String, u8)>(&mut input).unwrap_err().is_end());
        for (bytes, sentence) in [
            (&good[..3], "the pipe ended in the middle of a frame"),
            (&good[..good.len() - 1], "the pipe ended in the middle"),
            (&good[..4], "the pipe ended in the middle"),
            (
                b"GET / HTTP/1.1\r\n",
                "a frame of 542393671 B was announced",
            ),
            (b"\x02\0\0\0[]", "a frame makes no sense (invalid length"),
            (b"\0\0\0\0", "a frame makes no sense (EOF"),
        ] {
            let error = read::<(String, u8)>(&mut &*bytes).unwrap_err().to_string();
            assert!(error.starts_with(sentence), "{error}");
        }
    }
}
