//! TLS, both halves of it: the certificate that a server shows, and what its subscribers check it
//! against. It is offered for HTTP/1.1 only; HTTP/2 is supported without TLS.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};

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
/// If a file does not hold what it should, or the two do not go together.
pub fn server(cert: &Path, key: &Path) -> Result<Arc<ServerConfig>, BadCertificate> {
    let chain = certificates(cert)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|source| bad_file(key, source))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    Ok(Arc::new(config))
}

/// Whom a subscriber takes for the server: who shows a certificate for this name that the given
/// one vouches for.
pub struct Trust {
    pub(crate) connector: TlsConnector,
    pub(crate) name: ServerName<'static>,
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Trust").field(&self.name).finish()
    }
}

impl Trust {
    /// Trusts what a certificate in `ca` has signed, itself for instance, and nothing else.
    ///
    /// # Errors
    /// If the file holds no certificate, or `host` is no name.
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
        // Thousands of subscribers share this, who would not share a session in the world.
        config.resumption = Resumption::disabled();
        Ok(Trust { connector: TlsConnector::from(Arc::new(config)), name })
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
