//! Where the target is, as a person writes it, and what carries requests to it.

use std::{
    net::{SocketAddr, ToSocketAddrs as _},
    num::NonZeroU16,
    path::PathBuf,
};

use super::SoakError;
use crate::drive::{Tls, Transport, Trust};

/// `http://HOST[:PORT][/PATH]`, or `https://…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether it begins with `https`.
    pub secure: bool,
    /// `HOST[:PORT]`, as the `Host` header says it.
    pub authority: String,
    /// From the first `/` after it.
    pub path: String,
}

/// What is said about certificates and versions, beside the URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carriage {
    /// A PEM file with the authorities that count, instead of the system's.
    pub ca: Option<PathBuf>,
    /// Any certificate will do.
    pub insecure: bool,
    /// HTTP/2, with so many streams on every connection.
    pub streams_per_connection: Option<NonZeroU16>,
}

impl Url {
    /// Reads a URL; without a scheme it is `http`.
    ///
    /// # Errors
    /// Another scheme, or no host.
    pub fn parse(text: &str) -> Result<Self, SoakError> {
        let (secure, rest) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            None => (false, text),
            Some(_) => return Err(not_ours(text)),
        };
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.is_empty() {
            return Err(not_ours(text));
        }
        Ok(Self {
            secure,
            authority: authority.into(),
            path: if path.is_empty() { "/" } else { path }.into(),
        })
    }

    /// The name or address without port and brackets.
    fn host(&self) -> &str {
        let host = match self.port() {
            Some((host, _)) => host,
            None => &self.authority,
        };
        host.trim_start_matches('[').trim_end_matches(']')
    }

    fn port(&self) -> Option<(&str, u16)> {
        let (host, port) = self.authority.rsplit_once(':')?;
        Some((host, port.parse().ok()?))
    }

    /// The address that it leads to.
    ///
    /// # Errors
    /// The name is unknown.
    pub fn address(&self) -> Result<SocketAddr, SoakError> {
        let usual = if self.secure { 443 } else { 80 };
        let port = self.port().map_or(usual, |(_, port)| port);
        let nowhere = |why: String| {
            SoakError::Address(format!("`{}` does not lead anywhere{why}", self.authority))
        };
        let mut found = (self.host(), port)
            .to_socket_addrs()
            .map_err(|error| nowhere(format!(": {error}")))?;
        found.next().ok_or_else(|| nowhere(String::new()))
    }

    /// What carries requests to it.
    pub fn transport(&self, carriage: &Carriage) -> Transport {
        let trust = match &carriage.ca {
            _ if carriage.insecure => Trust::Anyone,
            Some(file) => Trust::File(file.clone()),
            None => Trust::System,
        };
        Transport {
            tls: self.secure.then(|| Tls {
                name: self.host().into(),
                trust,
            }),
            streams_per_connection: carriage.streams_per_connection,
        }
    }
}

fn not_ours(text: &str) -> SoakError {
    SoakError::Address(format!(
        "`{text}` is no URL that this version can load: write http://HOST:PORT/PATH or https://HOST:PORT/PATH"
    ))
}

/// The address of a URL.
///
/// # Errors
/// It is no such URL, or the name is unknown.
pub fn address(url: &str) -> Result<SocketAddr, SoakError> {
    Url::parse(url)?.address()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_scheme_a_host_and_a_path() {
        for (text, secure, authority, path, host, addr) in [
            (
                "http://127.0.0.1:81",
                false,
                "127.0.0.1:81",
                "/",
                "127.0.0.1",
                "127.0.0.1:81",
            ),
            (
                "https://127.0.0.1/a/b?c",
                true,
                "127.0.0.1",
                "/a/b?c",
                "127.0.0.1",
                "127.0.0.1:443",
            ),
            (
                "https://[::1]:8443/",
                true,
                "[::1]:8443",
                "/",
                "::1",
                "[::1]:8443",
            ),
            ("http://[::1]", false, "[::1]", "/", "::1", "[::1]:80"),
            (
                "127.0.0.1:81",
                false,
                "127.0.0.1:81",
                "/",
                "127.0.0.1",
                "127.0.0.1:81",
            ),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(
                (url.secure, &*url.authority, &*url.path),
                (secure, authority, path),
                "{text}"
            );
            assert_eq!(url.host(), host, "{text}");
            assert_eq!(url.address().unwrap().to_string(), addr, "{text}");
        }
        for text in ["ftp://127.0.0.1/", "https://", "http:///x"] {
            let error = Url::parse(text).unwrap_err().to_string();
            assert!(error.contains("https://HOST:PORT"), "{error}");
        }
    }

    #[test]
    fn nobody_is_trusted_blindly_unless_told_so() {
        let url = Url::parse("https://localhost:1/").unwrap();
        let ca = Carriage {
            ca: Some("a.pem".into()),
            ..Carriage::default()
        };
        let insecure = Carriage {
            insecure: true,
            ..ca.clone()
        };
        for (carriage, trust) in [
            (Carriage::default(), Trust::System),
            (ca, Trust::File("a.pem".into())),
            (insecure, Trust::Anyone),
        ] {
            let tls = url.transport(&carriage).tls.unwrap();
            assert_eq!((tls.name.as_str(), tls.trust), ("localhost", trust));
        }
        let plain = Url::parse("http://localhost:1/").unwrap();
        assert_eq!(plain.transport(&Carriage::default()), Transport::default());
    }
}
