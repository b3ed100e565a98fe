//! The certificate and its key, for a server that speaks TLS itself. It offers HTTP/1.1 only, as
//! without TLS.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig as TlsConfig};

use super::ServerConfig;

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum BadCertificate {
    #[error("'{file}' holds nothing of the kind that is needed, in PEM")]
    Pem { file: String, source: pem::Error },
    #[error("certificate and key do not go together, or are not understood")]
    Rustls(#[from] rustls::Error),
}

/// What makes connections into TLS ones; `None` without a certificate.
pub fn acceptor(config: &ServerConfig) -> Result<Option<TlsAcceptor>, BadCertificate> {
    let (Some(cert), Some(key)) = (&config.tls_cert, &config.tls_key) else { return Ok(None) };
    let in_file = |file: &Path| {
        let file = file.display().to_string();
        move |source| BadCertificate::Pem { file, source }
    };
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(cert).and_then(Iterator::collect).map_err(in_file(cert))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(in_file(key))?;
    let mut tls = TlsConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(tls))))
}
