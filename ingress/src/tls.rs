//! TLS towards clients: a certificate from files, which is replaced without a restart when they change.

mod certificate;
mod files;

use std::{sync::Arc, time::Duration};

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use tokio::time::sleep;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, version::TLS13},
};

pub use self::{certificate::TlsError, files::TlsFiles};
use self::{
    certificate::{Certificate, Shown},
    files::{Pair, Seen},
};

/// How often the files are looked at: a new certificate is in use well before whoever wrote it has looked.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Protocols above TLS, in the order in which they are preferred (RFC 7301).
const ALPN: [&[u8]; 2] = [H2, b"http/1.1"];
/// HTTP/2 among them.
pub(crate) const H2: &[u8] = b"h2";

/// What clients are shown: TLS 1.3 and nothing older, with the certificate that the files hold.
#[derive(Debug)]
pub struct ServerTls {
    files: TlsFiles,
    /// What the files held when they were opened.
    opened: Seen,
    shown: Arc<Shown>,
    config: Arc<ServerConfig>,
    /// Until when the certificate is valid, in seconds since the epoch.
    expiry: Gauge,
}

impl ServerTls {
    /// Reads `files`.
    ///
    /// # Errors
    /// If they cannot be read, or are no certificate and its key.
    pub async fn open(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let pair = files.read().await?;
        let certificate = Certificate::new(&files, &pair)?;
        let expiry = Gauge::default();
        expiry.set(certificate.not_after);
        let shown = Arc::new(Shown::new(certificate.key));
        let config = Arc::new(server_config(&shown).map_err(TlsError::Provider)?);
        Ok(Arc::new(Self { files, opened: pair.seen(), shown, config, expiry }))
    }

    /// What shakes hands with clients.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    /// Makes `registry` show when the certificate ends.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.sub_registry_with_prefix("shoal_ingress").register(
            "certificate_expiry_timestamp_seconds",
            "When the certificate that clients are shown ends, in seconds since the epoch",
            self.expiry.clone(),
        );
    }

    /// Shows what the files hold from the moment that it is found there, for ever. Cancel safe.
    pub(crate) async fn keep(&self) {
        let mut seen = self.opened;
        loop {
            sleep(LOOK_EVERY).await;
            seen = self.look(seen, self.files.read().await);
        }
    }

    /// Takes up what was read if it is not what was `seen` before, and right. A file that is being written, or a certificate
    /// whose key is yet to come, is looked at again; until then the certificate before stands.
    fn look(&self, seen: Seen, read: Result<Pair, TlsError>) -> Seen {
        let now = read.as_ref().map_or(Seen::Unreadable, Pair::seen);
        if now == seen {
            return now;
        }
        match read.and_then(|pair| Certificate::new(&self.files, &pair)) {
            Ok(certificate) => {
                tracing::info!(file = %self.files.cert.display(), not_after = certificate.not_after, "clients are shown a new certificate");
                self.expiry.set(certificate.not_after);
                self.shown.replace(certificate.key);
            }
            Err(error) => tracing::warn!(%error, "the certificate before is shown on, as the new one cannot be used"),
        }
        now
    }
}

fn server_config(shown: &Arc<Shown>) -> Result<ServerConfig, tokio_rustls::rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::<Shown>::clone(shown));
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// Where a test has its files, and what is written there.
    struct Directory(TempDir);

    impl Directory {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn files(&self) -> TlsFiles {
            TlsFiles { cert: self.0.path().join("cert.pem"), key: self.0.path().join("key.pem") }
        }

        fn write(&self, cert: &str, key: &str) {
            fs::write(self.files().cert, cert).unwrap();
            fs::write(self.files().key, key).unwrap();
        }
    }

    fn pem() -> (String, String) {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (certified.cert.pem(), certified.signing_key.serialize_pem())
    }

    async fn look(tls: &ServerTls, seen: Seen) -> Seen {
        tls.look(seen, tls.files.read().await)
    }

    #[tokio::test]
    async fn files_that_are_no_pair_are_named() {
        let directory = Directory::new();
        let error = ServerTls::open(directory.files()).await.unwrap_err().to_string();
        assert!(error.contains("cert.pem") && error.contains("No such file"), "{error}");
        let ((cert, key), (_, other)) = (pem(), pem());
        for (cert, key, said) in [
            ("", key.as_str(), "no certificate"),
            ("nonsense", &key, "no certificate"),
            (&cert, "", "key.pem"),
            (&cert, &other, "do not belong together"),
        ] {
            directory.write(cert, key);
            let error = ServerTls::open(directory.files()).await.unwrap_err().to_string();
            assert!(error.contains(said), "{said}: {error}");
        }
        directory.write(&cert, &key);
        assert!(ServerTls::open(directory.files()).await.unwrap().expiry.get() > 0);
    }

    #[tokio::test]
    async fn a_broken_pair_keeps_the_certificate_before_and_a_whole_one_replaces_it() {
        let (directory, (cert, key), (new_cert, new_key)) = (Directory::new(), pem(), pem());
        directory.write(&cert, &key);
        let tls = ServerTls::open(directory.files()).await.unwrap();
        let first = tls.shown.der();
        let mut seen = look(&tls, tls.opened).await;
        assert_eq!(seen, tls.opened);
        for (cert, key) in [(new_cert.as_str(), key.as_str()), (&new_cert[..40], &new_key), ("", "")] {
            directory.write(cert, key);
            seen = look(&tls, seen).await;
            assert_eq!(tls.shown.der(), first);
        }
        fs::remove_file(directory.files().key).unwrap();
        seen = look(&tls, seen).await;
        assert_eq!((seen, tls.shown.der()), (Seen::Unreadable, first.clone()));
        directory.write(&new_cert, &new_key);
        look(&tls, seen).await;
        assert_ne!(tls.shown.der(), first);
    }
}
