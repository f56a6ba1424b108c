//! TLS on the public listener, when asked for: a certificate from two PEM files, or one made for this run.
//!
//! In: the configuration. Out: what [`listener`](crate::listener) answers handshakes with. The provider is *ring*; nothing is
//! resumed and no tickets are sent, so a connection that is gone leaves nothing behind in a cache.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_rustls::rustls::{
    Error as TlsError, ServerConfig,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    server::NoServerSessionStorage,
};

use crate::config::Config;

/// Who a generated certificate is for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecureError {
    #[error("cannot read the PEM file {}", path.display())]
    Pem {
        path: PathBuf,
        #[source]
        source: pem::Error,
    },
    #[error("there is no certificate in {}", .0.display())]
    NoCertificate(PathBuf),
    #[error("the certificate and the key cannot be used together")]
    Unusable(#[from] TlsError),
    #[error("cannot make a certificate")]
    Generate(#[from] rcgen::Error),
    #[error("cannot write the certificate to {}", path.display())]
    Unwritable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// What the listener speaks TLS with.
#[derive(Clone, Debug)]
pub struct Secure {
    pub(crate) config: Arc<ServerConfig>,
    /// The generated certificate, for those who are to trust it.
    pub(crate) certificate: Option<PathBuf>,
}

impl Secure {
    /// What the configuration asks for; `None`: no TLS.
    pub(crate) fn of(config: &Config) -> Result<Option<Self>, SecureError> {
        let (chain, key, certificate) = match (&config.tls_cert, &config.tls_key) {
            (Some(certificate), Some(key)) => (chain_in(certificate)?, key_in(key)?, None),
            _ if config.tls_self_signed => {
                let path = beside_the_ready_file(config);
                let (chain, key) = generate(&path)?;
                (chain, key, Some(path))
            }
            _ => return Ok(None),
        };
        let mut tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        tls.alpn_protocols = vec![b"h2".into(), b"http/1.1".into()];
        tls.session_storage = Arc::new(NoServerSessionStorage {});
        tls.send_tls13_tickets = 0;
        Ok(Some(Self {
            config: Arc::new(tls),
            certificate,
        }))
    }
}

fn chain_in(path: &Path) -> Result<Vec<CertificateDer<'static>>, SecureError> {
    let unreadable = |source| SecureError::Pem {
        path: path.into(),
        source,
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(unreadable)?;
    if chain.is_empty() {
        return Err(SecureError::NoCertificate(path.into()));
    }
    Ok(chain)
}

fn key_in(path: &Path) -> Result<PrivateKeyDer<'static>, SecureError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| SecureError::Pem {
        path: path.into(),
        source,
    })
}

fn beside_the_ready_file(config: &Config) -> PathBuf {
    let temporary =
        || std::env::temp_dir().join(format!("target-server-{}.pem", std::process::id()));
    let ready = config.ready_file.as_ref();
    ready.map_or_else(temporary, |ready| ready.with_extension("pem"))
}

/// A certificate that signs itself. Its key never leaves this process.
fn generate(
    path: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), SecureError> {
    let made = rcgen::generate_simple_self_signed(NAMES.map(String::from))?;
    std::fs::write(path, made.cert.pem()).map_err(|source| SecureError::Unwritable {
        path: path.into(),
        source,
    })?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    Ok((vec![made.cert.der().clone()], key))
}
