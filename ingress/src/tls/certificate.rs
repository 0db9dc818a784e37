//! A certificate with its key, and the one of them that clients are shown.

use std::{io, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use tokio_rustls::rustls::{
    self,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use x509_parser::parse_x509_certificate;

use super::files::{Pair, TlsFiles};

/// Why clients cannot be shown a certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, or may not be read.
    #[error("cannot read {path}: {source}", path = .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file of the certificate holds none, or something that is none.
    #[error("{path} holds no certificate in PEM that can be read: {reason}", path = .path.display())]
    Certificate {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file of the key holds none.
    #[error("{path} holds no private key in PEM: {reason}", path = .path.display())]
    Key {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Both can be read, but not used with each other.
    #[error("{cert} and {key} do not belong together, or are of a kind that is not supported: {source}", cert = .cert.display(), key = .key.display())]
    Pair {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
    /// A defect.
    #[error("TLS 1.3 cannot be set up: {0}")]
    Provider(rustls::Error),
}

/// A certificate that can be shown.
pub(super) struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    /// When it ends, in seconds since the epoch.
    pub(super) not_after: i64,
}

impl Certificate {
    /// What `pair` holds, which was read from `files`.
    pub(super) fn new(files: &TlsFiles, pair: &Pair) -> Result<Self, TlsError> {
        let no_certificate = |reason: String| TlsError::Certificate { path: files.cert.clone(), reason };
        let chain = CertificateDer::pem_slice_iter(&pair.cert).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| no_certificate(error.to_string()))?;
        let own = chain.first().ok_or_else(|| no_certificate("there is none in it".to_owned()))?;
        let (_, parsed) = parse_x509_certificate(own).map_err(|error| no_certificate(error.to_string()))?;
        let not_after = parsed.validity().not_after.timestamp();
        let key = PrivateKeyDer::from_pem_slice(&pair.key);
        let key = key.map_err(|error| TlsError::Key { path: files.key.clone(), reason: error.to_string() })?;
        let certified = CertifiedKey::from_der(chain, key, &ring::default_provider());
        let TlsFiles { cert, key } = files.clone();
        certified.map(|key| Self { key: Arc::new(key), not_after }).map_err(|source| TlsError::Pair {
            cert,
            key,
            source,
        })
    }
}

/// The certificate that clients are shown now.
#[derive(Debug)]
pub(super) struct Shown(ArcSwap<CertifiedKey>);

impl Shown {
    pub(super) fn new(key: Arc<CertifiedKey>) -> Self {
        Self(ArcSwap::new(key))
    }

    pub(super) fn replace(&self, key: Arc<CertifiedKey>) {
        self.0.store(key);
    }

    #[cfg(test)]
    pub(super) fn der(&self) -> Vec<u8> {
        self.0.load().cert[0].to_vec()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}
