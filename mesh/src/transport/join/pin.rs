//! Verifying a member when all that is known of its mesh is a hash of the root's key.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::{
    CertificateError as TlsCertificateError, DigitallySignedStruct, Error as TlsError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use shoal_types::{MeshId, UnixMillis};

use crate::{
    identity::{CertificateError, NodeCertificate, Roots, certified_key},
    transport::tls,
};

/// What the handshake has shown of the member.
#[derive(Debug, Clone)]
pub(super) enum Verdict {
    /// It leads to the pinned root.
    Member {
        /// With the root that it showed.
        roots: Roots,
        certificate: NodeCertificate,
        /// `Some` if all is right but the time by this host's clock, which may be wrong: the issuer's will tell.
        untimely: Option<CertificateError>,
    },
    /// It leads to another root.
    OtherMesh(MeshId),
    /// It leads nowhere.
    Bad(CertificateError),
}

/// Accepts any member of the mesh whose root has the pinned hash; whichever node it is. Members show their root last.
#[derive(Debug)]
pub(super) struct PinnedRoot {
    pin: [u8; 32],
    now: UnixMillis,
    provider: Arc<CryptoProvider>,
    verdict: Mutex<Option<Verdict>>,
}

impl PinnedRoot {
    pub(super) fn new(pin: [u8; 32], now: UnixMillis) -> Self {
        Self { pin, now, provider: tls::provider(), verdict: Mutex::new(None) }
    }

    /// What came of the handshake; `None` if it did not get as far as a certificate.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn judge(&self, leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> Result<Verdict, CertificateError> {
        let (root, intermediates) =
            rest.split_last().ok_or_else(|| CertificateError::Untrusted("it comes without its root".to_owned()))?;
        let key = certified_key(root)?;
        if key.digest() != self.pin {
            return Ok(Verdict::OtherMesh(key.mesh_id()));
        }
        // Its word counts only once the chain is verified, as below.
        let mesh = NodeCertificate::parse(leaf)?.mesh;
        let roots = Roots::new(mesh, root.clone().into_owned())?;
        let chain: Vec<_> = [leaf].into_iter().chain(intermediates).cloned().collect();
        let (certificate, untimely) = match roots.verify(&chain, self.now) {
            Ok(certificate) => (certificate, None),
            Err(error @ (CertificateError::Expired { .. } | CertificateError::NotYetValid { .. })) => {
                (roots.verify(&chain, NodeCertificate::parse(leaf)?.not_before)?, Some(error))
            }
            Err(error) => return Err(error),
        };
        Ok(Verdict::Member { roots, certificate, untimely })
    }
}

impl ServerCertVerifier for PinnedRoot {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let verdict = self.judge(end_entity, intermediates).unwrap_or_else(Verdict::Bad);
        let accepted = matches!(verdict, Verdict::Member { .. });
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
        if accepted { Ok(ServerCertVerified::assertion()) } else { Err(TlsCertificateError::UnknownIssuer.into()) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
