//! When the target may be loaded: its port answers, and it has said so if it promised to.

use std::{
    fs::File,
    io::{self, Read},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use super::error::TargetError;
use crate::units::ByteSize;

/// What to wait for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Where the target listens; may be left out if the ready file tells it.
    pub addr: Option<SocketAddr>,
    /// A file that the target writes once it serves: `{"pid": 1, "public": "127.0.0.1:1", "admin": "127.0.0.1:2", "token_file": "/t"}`,
    /// every key optional.
    pub ready_file: Option<PathBuf>,
}

/// What the target said when it was ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Where it listens.
    pub addr: Option<SocketAddr>,
    /// Its admin listener, as it wrote it.
    pub admin: Option<String>,
    /// The file that holds the token for the admin listener.
    pub token_file: Option<PathBuf>,
    /// The process that wrote the ready file; another than ours if a wrapper started it.
    pub pid: Option<u32>,
    /// How long it took from the call.
    pub took: Duration,
}

/// What the target writes into its ready file. Addresses may be written as URLs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct ReadyFile {
    pub(super) pid: Option<u32>,
    pub(super) public: Option<String>,
    pub(super) admin: Option<String>,
    pub(super) token_file: Option<PathBuf>,
}

const READY_FILE_LIMIT: ByteSize = ByteSize(64 << 10);

impl ReadyFile {
    /// `Ok(Err(why))` while it is not there or only half written.
    pub(super) fn read(path: &Path) -> Result<Result<Self, String>, TargetError> {
        let mut text = String::new();
        let read = File::open(path)
            .and_then(|file| file.take(READY_FILE_LIMIT.0 + 1).read_to_string(&mut text));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Err(format!("{} does not exist yet", path.display())))
            }
            Err(error) => Ok(Err(format!("cannot read {}: {error}", path.display()))),
            Ok(_) if text.len() as u64 > READY_FILE_LIMIT.0 => Err(TargetError::FileTooLarge {
                path: path.to_owned(),
                limit: READY_FILE_LIMIT,
            }),
            Ok(_) => Ok(serde_json::from_str(&text)
                .map_err(|error| format!("{} is not a ready file: {error}", path.display()))),
        }
    }

    pub(super) fn public_addr(&self) -> Option<SocketAddr> {
        socket_addr(self.public.as_deref()?)
    }
}

/// `127.0.0.1:80` or `http://127.0.0.1:80/`.
fn socket_addr(text: &str) -> Option<SocketAddr> {
    let text = text.strip_prefix("http://").unwrap_or(text);
    text.trim_end_matches('/').parse().ok()
}

/// Whether somebody accepts connections. One connection is opened and closed, before any load is counted.
pub(super) fn answers(addr: SocketAddr) -> Result<(), String> {
    const PATIENCE: Duration = Duration::from_millis(250);
    TcpStream::connect_timeout(&addr, PATIENCE)
        .map(drop)
        .map_err(|error| format!("{addr} does not answer ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_written_as_a_url() {
        for text in [
            "127.0.0.1:8080",
            "http://127.0.0.1:8080",
            "http://127.0.0.1:8080/",
        ] {
            assert_eq!(socket_addr(text), "127.0.0.1:8080".parse().ok(), "{text}");
        }
        assert_eq!(socket_addr("localhost"), None);
    }

    #[test]
    fn a_ready_file_that_is_missing_or_half_written_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ready.json");
        assert!(ReadyFile::read(&path).unwrap().is_err());
        std::fs::write(&path, r#"{"pid": 7, "pub"#).unwrap();
        assert!(ReadyFile::read(&path).unwrap().is_err());
        std::fs::write(&path, r#"{"pid": 7, "public": "127.0.0.1:1", "more": 1}"#).unwrap();
        let ready = ReadyFile::read(&path).unwrap().unwrap();
        assert_eq!(ready.pid, Some(7));
        assert_eq!(ready.public_addr(), "127.0.0.1:1".parse().ok());
        std::fs::write(&path, vec![b' '; 70_000]).unwrap();
        assert!(ReadyFile::read(&path).is_err());
    }
}
