//! HTTP/2 (RFC 9113) as far as a client of event streams needs it: frames, heads, windows. No I/O, and hardly any memory.
//!
//! In: bytes of one TCP connection, cut anywhere. Out: [`Told`], stream by stream, and bytes to send. Start at [`Session`]; [`Reader`] cuts
//! bytes into frames, [`hpack`] reads heads. Sizes are bytes.
//! Cost: 32 B a stream and a few hundred for each connection; an event allocates nothing. We announce a header table of no size and
//! decline pushes, so a server has nothing to fill: what it may make us hold is one head within the limit, one frame that is no data
//! (16 KiB), and the answers to its pings until it reads them, which are counted.
//! Never decides what an answer means: [`connection`](super::connection) does, for both versions of HTTP.

mod frame;
pub mod hpack;
mod huffman;
mod session;

pub use frame::{Frame, Reader};
pub use session::{Session, Told};

/// Why a stream or a connection ends, as frames say it (RFC 9113 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub u32);

impl Code {
    /// All is well.
    pub const NO_ERROR: Self = Self(0);
    /// The peer does not keep to the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// Something broke on this side.
    pub const INTERNAL_ERROR: Self = Self(2);
    /// More came than the window allowed.
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    /// A frame of a wrong size.
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    /// Nobody wants the answer any more.
    pub const CANCEL: Self = Self(8);
    /// A header block that cannot be read.
    pub const COMPRESSION_ERROR: Self = Self(9);
    /// The peer behaves like one who wants to be a burden.
    pub const ENHANCE_YOUR_CALM: Self = Self(11);
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        match usize::try_from(self.0)
            .ok()
            .and_then(|code| NAMES.get(code))
        {
            Some(name) => f.write_str(name),
            None => write!(f, "code {}", self.0),
        }
    }
}

/// How a server broke HTTP/2. The connection cannot be read further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum H2Error {
    /// An answer of HTTP/1.1.
    #[error(
        "the server does not speak HTTP/2: it answered with HTTP/1.1 (leave out --h2, or `h2` in the profile)"
    )]
    Http1,
    /// Something else than the settings that every server begins with.
    #[error("the server does not speak HTTP/2: what came first is no SETTINGS frame")]
    NoSettings,
    /// Longer than we allow.
    #[error("a frame of {0} bytes came, where 16384 are allowed")]
    FrameTooLong(u32),
    /// A frame whose size or contents its kind does not allow.
    #[error("a {0} frame is malformed")]
    Malformed(&'static str),
    /// A frame where none of its kind may be.
    #[error("a {0} frame came out of place")]
    Misplaced(&'static str),
    /// A frame for a stream that nobody opened.
    #[error("a frame came for stream {0}, which nobody opened")]
    UnknownStream(u32),
    /// A pushed answer.
    #[error("the server pushes, which we had declined")]
    Push,
    /// Header block and its frames are longer than a head may be.
    #[error("the head of the answer is longer than {limit} bytes")]
    HeadTooLong {
        /// The most bytes a head may have.
        limit: usize,
    },
    /// A header block that cannot be read.
    #[error(transparent)]
    Block(#[from] hpack::BlockError),
    /// More than the window had room for.
    #[error("the server sent more than the window of a stream allows")]
    WindowOverrun,
    /// A window beyond 2³¹ − 1.
    #[error("the server opened a window beyond what a window can be")]
    WindowOverflow,
    /// Question upon question, and no answer is read.
    #[error("the server asks (PING, SETTINGS) without reading the answers")]
    Nagging,
}

impl H2Error {
    /// What the server is told.
    pub fn code(&self) -> Code {
        match self {
            Self::FrameTooLong(_) => Code::FRAME_SIZE_ERROR,
            Self::Block(_) => Code::COMPRESSION_ERROR,
            Self::WindowOverrun | Self::WindowOverflow => Code::FLOW_CONTROL_ERROR,
            Self::HeadTooLong { .. } | Self::Nagging => Code::ENHANCE_YOUR_CALM,
            _ => Code::PROTOCOL_ERROR,
        }
    }

    /// Whether the server speaks something else.
    pub fn is_another_language(&self) -> bool {
        matches!(self, Self::Http1 | Self::NoSettings)
    }
}
