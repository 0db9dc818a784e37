//! Whose certificates count when a service that shoal does not run is asked over TLS.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tracing::warn;

/// Why there is no list of them.
#[derive(Debug, thiserror::Error)]
pub(super) enum RootsError {
    /// The file of the configuration is not there or is not PEM.
    #[error("cannot read the certificates of engines.gateway.caFile {path}: {source}")]
    Read {
        /// Which file.
        path: String,
        /// Why not.
        source: rustls::pki_types::pem::Error,
    },
    /// The file holds no certificate.
    #[error("engines.gateway.caFile {0} holds no certificate")]
    Empty(String),
    /// One of its certificates cannot be one of an authority.
    #[error("engines.gateway.caFile {path} holds a certificate that cannot be used: {source}")]
    Unusable {
        /// Which file.
        path: String,
        /// Why not.
        source: rustls::Error,
    },
    /// The library does not do TLS as it is asked to.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// A client that trusts what this host trusts (`SSL_CERT_FILE` included), and the certificates in `ca_file`. It speaks
/// HTTP/1.1 only. Reads files.
pub(super) fn client_tls(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, RootsError> {
    let mut roots = host_roots();
    if let Some(path) = ca_file {
        add_file(&mut roots, path)?;
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let tls = tls.with_safe_default_protocol_versions().map_err(RootsError::Setup)?;
    let mut tls = tls.with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(tls))
}

/// Hosts without a list, as containers often are, reach only services with a certificate in the configured file.
fn host_roots() -> RootCertStore {
    let loaded = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (usable, unusable) = roots.add_parsable_certificates(loaded.certs);
    if usable == 0 {
        warn!(unusable, errors = ?loaded.errors, "This host trusts no certificates: gateways need engines.gateway.caFile");
    }
    roots
}

fn add_file(roots: &mut RootCertStore, file: &Path) -> Result<(), RootsError> {
    let path = || file.display().to_string();
    let read = |source| RootsError::Read { path: path(), source };
    let certificates: Vec<_> =
        CertificateDer::pem_file_iter(file).map_err(read)?.collect::<Result<_, _>>().map_err(read)?;
    if certificates.is_empty() {
        return Err(RootsError::Empty(path()));
    }
    certificates.into_iter().try_for_each(|certificate| {
        roots.add(certificate).map_err(|source| RootsError::Unusable { path: path(), source })
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_private_authority_counts_beside_those_of_the_host() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        let with = |content: &str| {
            fs::write(&file, content).unwrap();
            client_tls(Some(&file))
        };
        let certificate = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap().cert.pem();
        assert_eq!(with(&certificate).unwrap().alpn_protocols, [b"http/1.1".to_vec()]);
        let mut roots = RootCertStore::empty();
        add_file(&mut roots, &file).unwrap();
        assert_eq!(roots.len(), 1);
        assert!(matches!(with("nothing"), Err(RootsError::Empty(_))));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(with(broken), Err(RootsError::Unusable { .. })));
        fs::remove_file(&file).unwrap();
        let missing = client_tls(Some(&file)).unwrap_err().to_string();
        assert!(missing.contains("engines.gateway.caFile") && missing.contains("ca.pem"), "{missing}");
    }
}
