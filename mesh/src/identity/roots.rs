//! The roots of a mesh, and what can be verified with them alone.

use std::{sync::Arc, time::Duration};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, UnixTime},
};
use shoal_types::{MeshId, NodeId, UnixMillis, Validity};
use webpki::{EndEntityCert, KeyUsage};

use super::{
    CertificateError, IdentityError, NodeCertificate, PublicKey, Succession,
    certificate::{certified_key, validity},
};

/// Leaf, issuer, and a cross certificate while the root is replaced; the root itself is never among what it judges.
const CHAIN_MAX: usize = 3;

/// The root of one mesh, and those before it.
#[derive(Debug, Clone)]
pub struct Roots {
    mesh: MeshId,
    validity: Validity,
    current: CertificateDer<'static>,
    /// Roots that count for nothing but what was written before they went.
    retired: Arc<[Retired]>,
}

#[derive(Debug, Clone)]
struct Retired {
    certificate: CertificateDer<'static>,
    key: PublicKey,
    /// The key of the root that took its place.
    to: PublicKey,
    at: UnixMillis,
}

impl Roots {
    /// # Errors
    /// If `current` is no certificate with an Ed25519 key.
    pub fn new(mesh: MeshId, current: CertificateDer<'static>) -> Result<Self, CertificateError> {
        certified_key(&current)?;
        anchor(&current)?;
        Ok(Self { mesh, validity: validity(&current)?, current, retired: Arc::default() })
    }

    /// The mesh that it is the root of.
    pub const fn mesh_id(&self) -> MeshId {
        self.mesh
    }

    /// Until when anything can be verified with it.
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// Its certificate.
    pub const fn current(&self) -> &CertificateDer<'static> {
        &self.current
    }

    /// Its id: that of a mesh which began with it.
    ///
    /// # Errors
    /// If there is no key in it.
    pub fn id(&self) -> Result<MeshId, CertificateError> {
        Ok(certified_key(&self.current)?.mesh_id())
    }

    /// The id of the root that `chain` comes from: of the one that is to follow, if that vouches for its issuer.
    ///
    /// # Errors
    /// If a certificate cannot be read.
    pub fn origin(&self, chain: &[CertificateDer<'_>]) -> Result<MeshId, CertificateError> {
        let root = chain.get(2).unwrap_or(&self.current);
        Ok(certified_key(root)?.mesh_id())
    }

    /// Whether `succession` is one of this mesh: from its root, or to it or to one before it. A root gives way once: where one
    /// has, nothing else takes its place.
    ///
    /// # Errors
    /// Why it is not.
    pub(crate) fn judge(&self, succession: &Succession) -> Result<(), String> {
        let key = |root: &CertificateDer<'_>| certified_key(root).map_err(|error| error.to_string());
        let (from, to, current) = (key(&succession.from())?, key(&succession.to())?, key(&self.current)?);
        let retired = |key: PublicKey| self.retired.iter().find(|retired| retired.key == key);
        let fits = match retired(from) {
            Some(known) if known.to != to => {
                return Err(format!("root {} has given way to root {} already", from.mesh_id(), known.to.mesh_id()));
            }
            Some(_) => true,
            None if from == current => to != current && retired(to).is_none(),
            None => to == current || retired(to).is_some(),
        };
        if fits && succession.mesh_id() == self.mesh && succession.is_proven() {
            Ok(())
        } else {
            Err("the succession is not by the roots of this mesh".to_owned())
        }
    }

    /// The roots once `succession` holds, as of `at`. Where it does already, the earlier moment counts.
    ///
    /// # Errors
    /// If it is not one of this mesh.
    pub(super) fn succeeded(&self, succession: &Succession, at: UnixMillis) -> Result<Self, CertificateError> {
        self.judge(succession).map_err(CertificateError::Untrusted)?;
        let (certificate, next) = (succession.from(), succession.to());
        let (key, to) = (certified_key(&certificate)?, certified_key(&next)?);
        let current = if certified_key(&self.current)? == key { next } else { self.current.clone() };
        let mut retired = self.retired.to_vec();
        match retired.iter_mut().find(|retired| retired.key == key) {
            Some(known) => known.at = known.at.min(at),
            None => retired.push(Retired { certificate, key, to, at }),
        }
        Ok(Self { mesh: self.mesh, validity: validity(&current)?, current, retired: retired.into() })
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
        self.verify_from(&self.current, (leaf, intermediates), at)
    }

    /// As [`Self::verify`], of what was written at `at`: while another root was that of the mesh, it counts.
    fn verify_written(
        &self,
        chain: &[CertificateDer<'_>],
        at: UnixMillis,
    ) -> Result<NodeCertificate, CertificateError> {
        let (leaf, intermediates) = match (self.verify(chain, at), chain) {
            (Err(CertificateError::Untrusted(_)), [leaf, intermediates @ ..]) => (leaf, intermediates),
            (verdict, _) => return verdict,
        };
        let then = self.retired.iter().filter(|retired| at <= retired.at);
        let mut verdicts = then.map(|retired| self.verify_from(&retired.certificate, (leaf, intermediates), at));
        let untrusted = || Err(CertificateError::Untrusted("no root of this mesh has signed it".to_owned()));
        verdicts.find(Result::is_ok).unwrap_or_else(untrusted)
    }

    fn verify_from(
        &self,
        root: &CertificateDer<'_>,
        (leaf, intermediates): (&CertificateDer<'_>, &[CertificateDer<'_>]),
        at: UnixMillis,
    ) -> Result<NodeCertificate, CertificateError> {
        let anchors = [anchor(root)?];
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

    /// The same for rustls.
    pub(crate) fn store(&self) -> Arc<RootCertStore> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates([self.current.clone()]);
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
    let certificate = roots.verify_written(chain, at)?;
    let node = certificate.node;
    if !certificate.roles.write {
        return Err(IdentityError::NotAWriter { node });
    }
    if certificate.key.verify(message, signature) { Ok(node) } else { Err(IdentityError::Signature { node }) }
}
