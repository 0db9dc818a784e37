//! The roots of a mesh, and what can be verified with them alone.

use std::{sync::Arc, time::Duration};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, UnixTime},
};
use shoal_types::{MeshId, NodeId, UnixMillis, Validity};
use webpki::{EndEntityCert, KeyUsage};

use super::{
    CertificateError, IdentityError, NodeCertificate,
    certificate::{certified_key, validity},
};

/// Leaf and issuer; the root is never among the certificates that it judges.
const CHAIN_MAX: usize = 3;

/// The root certificates of one mesh: the one that names it, and any that are to replace it.
#[derive(Debug, Clone)]
pub struct Roots {
    mesh: MeshId,
    /// Of the one that names the mesh.
    validity: Validity,
    certificates: Arc<[CertificateDer<'static>]>,
}

impl Roots {
    /// # Errors
    /// If there is none, or one that is no certificate with an Ed25519 key.
    pub fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, CertificateError> {
        let Some(first) = certificates.first() else {
            return Err(CertificateError::Malformed("there is no root certificate".to_owned()));
        };
        let (mesh, validity) = (certified_key(first)?.mesh_id(), validity(first)?);
        for certificate in &certificates {
            anchor(certificate)?;
        }
        Ok(Self { mesh, validity, certificates: certificates.into() })
    }

    /// The mesh that they are the roots of.
    pub const fn mesh_id(&self) -> MeshId {
        self.mesh
    }

    /// Until when anything can be verified with the one that names the mesh.
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// The certificates, the one that names the mesh first.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// The node that `chain` (leaf first) proves at the moment `at`.
    ///
    /// # Errors
    /// If it does not lead to a root, is outside its time, or is not a node's.
    pub fn verify(&self, chain: &[CertificateDer<'_>], at: UnixMillis) -> Result<NodeCertificate, CertificateError> {
        let (leaf, intermediates) = match chain {
            [leaf, intermediates @ ..] if chain.len() <= CHAIN_MAX => (leaf, intermediates),
            _ => return Err(CertificateError::Malformed(format!("a chain of {} certificates", chain.len()))),
        };
        let anchors = self.certificates.iter().map(anchor).collect::<Result<Vec<_>, _>>()?;
        let time = UnixTime::since_unix_epoch(Duration::from_millis(at.as_millis()));
        let algorithms = [webpki::ring::ED25519];
        EndEntityCert::try_from(leaf)
            .and_then(|end| {
                end.verify_for_usage(&algorithms, &anchors, intermediates, time, KeyUsage::client_auth(), None, None)?;
                Ok(())
            })
            .map_err(explain)?;
        let certificate = NodeCertificate::parse(leaf)?;
        if certificate.mesh == self.mesh {
            Ok(certificate)
        } else {
            Err(CertificateError::Untrusted(format!("it names mesh {}, not {}", certificate.mesh, self.mesh)))
        }
    }

    /// The same roots for rustls.
    pub(crate) fn store(&self) -> Arc<RootCertStore> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(self.certificates.iter().cloned());
        Arc::new(store)
    }
}

fn anchor<'a>(root: &'a CertificateDer<'_>) -> Result<rustls::pki_types::TrustAnchor<'a>, CertificateError> {
    webpki::anchor_from_trusted_cert(root).map_err(|error| CertificateError::Malformed(error.to_string()))
}

fn explain(error: webpki::Error) -> CertificateError {
    let millis = |time: UnixTime| UnixMillis::from_millis(time.as_secs().saturating_mul(1000));
    match error {
        webpki::Error::CertExpired { not_after, .. } => CertificateError::Expired { not_after: millis(not_after) },
        webpki::Error::CertNotValidYet { not_before, .. } => {
            CertificateError::NotYetValid { not_before: millis(not_before) }
        }
        webpki::Error::BadDer => CertificateError::Malformed(error.to_string()),
        other => CertificateError::Untrusted(other.to_string()),
    }
}

/// Who wrote `message`: the node that `chain` proves at the moment of writing `at`, if it may write and `signature` is
/// its own.
///
/// # Errors
/// [`IdentityError::Certificate`], [`IdentityError::NotAWriter`] or [`IdentityError::Signature`].
pub fn verify_writer(
    roots: &Roots,
    chain: &[CertificateDer<'_>],
    message: &[u8],
    signature: &[u8],
    at: UnixMillis,
) -> Result<NodeId, IdentityError> {
    let certificate = roots.verify(chain, at)?;
    let node = certificate.node;
    if !certificate.roles.write {
        return Err(IdentityError::NotAWriter { node });
    }
    if certificate.key.verify(message, signature) { Ok(node) } else { Err(IdentityError::Signature { node }) }
}
