//! TLS for server and client: the certificate of a server, and the certificates that subscribers
//! trust. It is offered for HTTP/1.1 only; HTTP/2 is supported without TLS.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};

use crate::private_files;

const HTTP_1_1: &[u8] = b"http/1.1";

/// Why TLS cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum BadCertificate {
    #[error("'{file}' does not contain the required certificate or key in PEM format")]
    Pem { file: String, source: pem::Error },
    #[error("certificate and key do not match, or have an unsupported format")]
    Rustls(#[from] rustls::Error),
    #[error("'{0}' cannot be the name in a certificate")]
    Name(String, #[source] InvalidDnsNameError),
}

/// The TLS configuration of a server with the certificate in `cert`.
///
/// # Errors
/// If a file is invalid, or the key does not match the certificate.
pub fn server(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, BadCertificate> {
    let chain = certificates(cert)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|source| bad_file(key, source))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    // Clients keep the sessions as tickets, so any number of them can be resumed.
    config.ticketer = ring::Ticketer::new()?;
    Ok(Arc::new(config))
}

/// The host name in the certificate of [`self_signed`].
pub const SELF_SIGNED_NAME: &str = "localhost";

/// Writes a new certificate and its key into `directory`, for a server of a load test. Key and
/// signatures are of Ed25519, so that every handshake has the same size.
///
/// # Errors
/// If the files cannot be written.
pub fn self_signed(directory: &Path) -> anyhow::Result<[PathBuf; 2]> {
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    let params = CertificateParams::new(vec![SELF_SIGNED_NAME.to_owned()])?;
    let cert = params.self_signed(&key)?;
    let files = ["cert.pem", "key.pem"].map(|name| directory.join(name));
    let texts = [cert.pem(), key.serialize_pem()];
    for (file, text) in files.iter().zip(texts) {
        private_files::creation_options().write(true).open(file)?.write_all(text.as_bytes())?;
    }
    Ok(files)
}

/// The verification of the server: its certificate must be for this name, and signed by a given
/// certificate.
#[derive(Clone)]
pub struct Trust {
    config: Arc<ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Trust").field(&self.name).finish()
    }
}

impl Trust {
    /// Trusts the certificates in `ca` and those that they have signed, and nothing else.
    ///
    /// # Errors
    /// If the file contains no certificate, or `host` is not a valid name.
    pub fn new(ca: &Path, host: &str) -> Result<Trust, BadCertificate> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| BadCertificate::Name(host.to_owned(), error))?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca)? {
            roots.add(certificate)?;
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        // Subscribers share this configuration, so it has no sessions: see `with_own_sessions`.
        config.resumption = Resumption::disabled();
        Ok(Trust { config: Arc::new(config), name })
    }

    /// The same for one subscriber, which resumes its own sessions.
    pub fn with_own_sessions(&self) -> Trust {
        let mut config = (*self.config).clone();
        config.resumption = Resumption::in_memory_sessions(1);
        Trust { config: Arc::new(config), name: self.name.clone() }
    }

    pub(crate) fn connector(&self) -> TlsConnector {
        TlsConnector::from(self.config.clone())
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, BadCertificate> {
    let found: Result<Vec<_>, pem::Error> =
        CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    match found {
        Ok(none) if none.is_empty() => Err(bad_file(file, pem::Error::NoItemsFound)),
        found => found.map_err(|source| bad_file(file, source)),
    }
}

fn bad_file(file: &Path, source: pem::Error) -> BadCertificate {
    BadCertificate::Pem { file: file.display().to_string(), source }
}
