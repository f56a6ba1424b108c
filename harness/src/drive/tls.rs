//! TLS on a line: rustls without buffers of its own, driven by our loop.
//!
//! In: bytes to send, a socket. Out: bytes decrypted; or one sentence about what is wrong with the certificate. Start at [`TlsClient`].
//! What comes is decrypted in the loop's one scratch buffer; a line keeps only half a record, and only while it is half (18 KB at
//! most), and what the socket did not take. Every connection makes a full handshake, as a client that comes for the first time:
//! nothing is resumed, so no tickets are kept. The provider is *ring*.

use std::{
    fmt, fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use mio::net::TcpStream;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError,
    RootCertStore, SignatureScheme,
    client::{
        Resumption, UnbufferedClientConnection,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus},
};
use serde::{Deserialize, Serialize};

use super::line::{Got, More};

/// Room for encryption beside the bytes themselves, a record: header, type, tag.
const RECORD_OVERHEAD: usize = 64;
/// The most bytes in a record.
const RECORD: usize = 16 * 1024;

/// How to speak TLS with the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    /// The name that its certificate must be for, and that is sent as SNI (an IP address is not).
    pub name: String,
    /// Which certificates count.
    pub trust: Trust,
}

/// Which certificates count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trust {
    /// Those signed by an authority that this system trusts.
    System,
    /// Those signed by an authority in this PEM file, or being one of them.
    File(PathBuf),
    /// Any at all.
    Anyone,
}

/// Makes TLS lines: one for the whole driver.
#[derive(Debug)]
pub(super) struct TlsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// One TLS connection.
pub(super) struct TlsLine {
    pub(super) socket: TcpStream,
    session: UnbufferedClientConnection,
    /// The start of a record whose rest has not come.
    half: Vec<u8>,
    /// What is encrypted and not sent.
    unsent: Vec<u8>,
}

impl fmt::Debug for TlsLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsLine")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// Why TLS failed, in a sentence's second half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TlsTrouble(String);

impl fmt::Display for TlsTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsTrouble {}

impl TlsClient {
    /// Reads the roots; `h2`: asks for HTTP/2 by ALPN, and for nothing else.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`], in a sentence: a name that is none, a file without certificates, a system without roots.
    pub(super) fn new(tls: &Tls, h2: bool) -> io::Result<Self> {
        let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
        let name = ServerName::try_from(tls.name.clone())
            .map_err(|_| wrong(format!("`{}` is no name for a certificate", tls.name)))?;
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(error.to_string()))?;
        let mut config = match &tls.trust {
            Trust::Anyone => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Gullible(algorithms))),
            Trust::System => builder.with_root_certificates(system_roots()?),
            Trust::File(file) => builder.with_root_certificates(roots_in(file)?),
        }
        .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![if h2 { b"h2".into() } else { b"http/1.1".into() }];
        Ok(Self {
            config: Arc::new(config),
            name,
        })
    }

    pub(super) fn over(&self, socket: TcpStream) -> io::Result<TlsLine> {
        let session = UnbufferedClientConnection::new(Arc::clone(&self.config), self.name.clone())
            .map_err(|error| trouble(&error))?;
        Ok(TlsLine {
            socket,
            session,
            half: vec![],
            unsent: vec![],
        })
    }
}

fn system_roots() -> io::Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added > 0 {
        return Ok(roots);
    }
    let why = found.errors.first();
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!(
            "this system has no trusted certificates{}: give --ca FILE, or --insecure",
            why.map_or(String::new(), |error| format!(" ({error})"))
        ),
    ))
}

fn roots_in(file: &Path) -> io::Result<RootCertStore> {
    let named = |what: String| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the certificates in {}: {what}", file.display()),
        )
    };
    let text = fs::read(file).map_err(|error| named(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| named(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| named(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(named("there is none; it must be a PEM file".into()));
    }
    Ok(roots)
}

/// What became of the bytes given to a session.
#[derive(Default)]
struct Step {
    /// Bytes of the wire that are done with.
    used: usize,
    /// Bytes decrypted.
    plain: usize,
    /// Whether what was to be said is encrypted.
    said: bool,
    closed: bool,
}

impl TlsLine {
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut half = std::mem::take(&mut self.half);
        let step = self.step(&mut half, &mut [], bytes);
        self.half = half;
        let step = step?;
        let flushed = self.flush();
        if !step.said {
            flushed?;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match flushed {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(bytes.len()), // taken: `flush` tells when it is gone
        }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        let mut sent = 0;
        let result = loop {
            if sent == self.unsent.len() {
                break Ok(());
            }
            match self.socket.write(&self.unsent[sent..]) {
                Ok(length) => sent += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        if sent == self.unsent.len() {
            self.unsent = vec![]; // an idle line holds no memory for what it sent
        } else {
            self.unsent.drain(..sent);
        }
        result
    }

    pub(super) fn read(
        &mut self,
        most: usize,
        buffer: &mut [u8],
        scratch: &mut [u8],
    ) -> io::Result<Got> {
        // What is decrypted is shorter than what came, so it fits if this does.
        let room = scratch.len().min(buffer.len());
        let before = self.half.len();
        let most = most.min(room.saturating_sub(before));
        if most == 0 {
            let what = "it sends a handshake that does not end".into();
            return Err(io::Error::new(io::ErrorKind::InvalidData, TlsTrouble(what)));
        }
        let length = self.socket.read(&mut scratch[before..before + most])?;
        if length == 0 {
            return Ok(Got {
                bytes: 0,
                more: More::Never,
            });
        }
        scratch[..before].copy_from_slice(&self.half);
        self.half = vec![];
        let wire = &mut scratch[..before + length];
        let step = self.step(wire, buffer, &[])?;
        self.half = wire[step.used..].to_vec();
        // What is to be answered (the handshake's end, a new key) goes now, or with the next read or write.
        if !self.unsent.is_empty() {
            self.flush().ok();
        }
        let more = match length {
            _ if step.closed => More::Never,
            _ if length < most => More::Unlikely,
            _ => More::Likely,
        };
        Ok(Got {
            bytes: step.plain,
            more,
        })
    }

    /// Sends `close_notify`, if the socket takes it.
    pub(super) fn say_goodbye(&mut self) {
        let mut half = std::mem::take(&mut self.half);
        while let UnbufferedStatus {
            state: Ok(state), ..
        } = self.session.process_tls_records(&mut half)
        {
            match state {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let start = self.unsent.len();
                    self.unsent.resize(start + RECORD_OVERHEAD, 0);
                    let said = traffic.queue_close_notify(&mut self.unsent[start..]);
                    self.unsent.truncate(start + said.unwrap_or(0));
                    break;
                }
                ConnectionState::TransmitTlsData(transmit) => transmit.done(),
                _ => break, // not that far, or beyond it: there is nobody to take leave of
            }
        }
        self.flush().ok();
    }

    /// Decrypts the whole records in `wire`, gathers what TLS itself has to send, and encrypts `say` if the handshake is done.
    fn step(&mut self, wire: &mut [u8], plain: &mut [u8], say: &[u8]) -> io::Result<Step> {
        let mut step = Step::default();
        loop {
            let UnbufferedStatus { discard, state } =
                self.session.process_tls_records(&mut wire[step.used..]);
            let state = match state {
                Ok(state) => state,
                Err(error) => {
                    self.send_alert(&mut wire[step.used + discard..]);
                    return Err(trouble(&error));
                }
            };
            let mut waits = false;
            match state {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let payload = record.map_err(|error| trouble(&error))?.payload;
                        plain[step.plain..step.plain + payload.len()].copy_from_slice(payload);
                        step.plain += payload.len();
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    encode(&mut self.unsent, |room| data.encode(room))?;
                }
                ConnectionState::TransmitTlsData(transmit) => transmit.done(),
                ConnectionState::WriteTraffic(mut traffic) => {
                    if !say.is_empty() {
                        encrypt(&mut self.unsent, say, |room| traffic.encrypt(say, room))?;
                        step.said = true;
                    }
                    waits = true;
                }
                ConnectionState::PeerClosed => step.closed = true,
                _ => waits = true,
            }
            step.used += discard;
            if waits {
                return Ok(step);
            }
        }
    }

    /// Lets the server know why: an alert is queued where a record was refused. `wire`: what follows that record; the session
    /// remembers places in it.
    fn send_alert(&mut self, wire: &mut [u8]) {
        // Once, and only if there is one: asked again, the session would refuse that record again.
        if self.session.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(mut data)) =
                self.session.process_tls_records(wire).state
            && encode(&mut self.unsent, |room| data.encode(room)).is_ok()
        {
            self.flush().ok();
        }
    }
}

fn encode(
    unsent: &mut Vec<u8>,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> io::Result<()> {
    let start = unsent.len();
    let required = match write(&mut []) {
        Err(EncodeError::InsufficientSize(size)) => size.required_size,
        Err(error) => return Err(io::Error::other(error.to_string())),
        Ok(_) => return Ok(()),
    };
    unsent.resize(start + required, 0);
    write(&mut unsent[start..]).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(())
}

fn encrypt(
    unsent: &mut Vec<u8>,
    say: &[u8],
    write: impl FnOnce(&mut [u8]) -> Result<usize, EncryptError>,
) -> io::Result<()> {
    let start = unsent.len();
    let records = say.len() / RECORD + 1;
    unsent.resize(start + say.len() + records * RECORD_OVERHEAD, 0);
    let written = write(&mut unsent[start..]);
    let written = written.map_err(|error| io::Error::other(error.to_string()))?;
    unsent.truncate(start + written);
    Ok(())
}

fn trouble(error: &TlsError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, TlsTrouble(worded(error)))
}

/// What it means, and what to do about it.
fn worded(error: &TlsError) -> String {
    use CertificateError as Certificate;
    match error {
        // A signature is bad, too, when an authority of the same name is another one: two generated certificates, for example.
        TlsError::InvalidCertificate(Certificate::UnknownIssuer | Certificate::BadSignature) => {
            "its certificate is signed by nobody we trust: give --ca FILE with the authority, or --insecure".into()
        }
        TlsError::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. }) => {
            "its certificate has expired: renew it, or give --insecure".into()
        }
        TlsError::InvalidCertificate(
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. },
        ) => "its certificate is not valid yet: look at the clocks, or give --insecure".into(),
        TlsError::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        ) => "its certificate is for another name than the URL's".into(),
        TlsError::InvalidMessage(_) => {
            "what came back is not TLS: the port speaks something else, perhaps plain http://".into()
        }
        TlsError::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            "it does not speak the version of HTTP that was asked for (ALPN)".into()
        }
        other => other.to_string(),
    }
}

/// Believes every certificate; still checks that whoever sent it has its key.
#[derive(Debug)]
struct Gullible(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
