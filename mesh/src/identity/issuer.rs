//! What a node with an issuing key does: makes tokens, admits nodes, renews certificates.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use rustls::pki_types::CertificateDer;
use shoal_types::{MeshId, NodeId, UnixMillis, Validity};

use super::{
    Admitted, Binding, CertificateError, IdentityError, JoinRefusal, JoinRequest, JoinToken, NODE_LIFE,
    NodeCertificate, Roles, Roots, TokenId, TokenLimits,
    certificate::{certified_key, validity},
    files::{IdentityDir, IdentityFile},
    joining::Keys,
    keys::PrivateKey,
    profile::{self, Authority, Subject},
    token::Grant,
};

/// Where an issuer keeps which tokens are spent and revoked.
pub trait TokenLedger: Send + Sync {
    /// Whether the token was taken back.
    fn is_revoked(&self, token: TokenId) -> bool;
    /// The nodes that spent it; a node that tries again is not a second one.
    fn uses(&self, token: TokenId) -> Vec<NodeId>;
    /// Notes a use, on disk before it returns.
    ///
    /// # Errors
    /// Why it could not; the node is then not admitted.
    fn record_use(&self, token: TokenId, node: NodeId) -> Result<(), String>;
}

/// The issuing key of this node.
#[derive(Debug)]
pub struct Issuer {
    node: NodeId,
    key: PrivateKey,
    certificate: CertificateDer<'static>,
    /// What others need beside it while the root is replaced: the cross certificate of the new one.
    cross: Vec<CertificateDer<'static>>,
    validity: Validity,
    roots: Arc<ArcSwap<Roots>>,
    dir: IdentityDir,
    /// Held from counting the uses of a token to recording one more, which makes `uses` exact.
    counting: Mutex<()>,
}

impl Issuer {
    /// The issuer in `dir`, unless there is none, or the root that it signs for is not that of the mesh any more.
    pub(super) fn load(
        dir: &IdentityDir,
        node: NodeId,
        roots: &Arc<ArcSwap<Roots>>,
    ) -> Result<Option<Self>, IdentityError> {
        if !dir.has(IdentityFile::IssuerCertificate) {
            return Ok(None);
        }
        let mut cross = dir.certificates(IdentityFile::IssuerCertificate)?;
        let certificate = cross.remove(0);
        let certified = certified_key(&certificate)?;
        // A new one was being taken up when this host stopped.
        let next = IdentityFile::NextIssuerKey;
        if dir.has(next) && dir.key(next)?.public() == certified {
            dir.rename(next, IdentityFile::IssuerKey)?;
        }
        let key = dir.key(IdentityFile::IssuerKey)?;
        if certified != key.public() {
            let reason = "it is not for the key in issuer.key".to_owned();
            return Err(IdentityError::Damaged { path: dir.path(IdentityFile::IssuerCertificate), reason });
        }
        let validity = validity(&certificate)?;
        let (roots, dir, counting) = (roots.clone(), dir.clone(), Mutex::new(()));
        let issuer = Self { node, key, certificate, cross, validity, roots, dir, counting };
        Ok(issuer.counts().then_some(issuer))
    }

    /// Whether what it signs leads to the root of the mesh. Complains if not.
    pub(super) fn counts(&self) -> bool {
        let tried = self.try_out();
        if let Err(error) = &tried {
            tracing::warn!(
                %error,
                "this node issues nothing any more: its issuing certificate is not of the root of the mesh; if it is to be \
                 an issuer again, run `shoal issuer add`"
            );
        }
        tried.is_ok()
    }

    /// Signs a certificate that nobody gets to see: a chain is judged from its leaf only.
    fn try_out(&self) -> Result<(), IdentityError> {
        let mut at = self.validity.from;
        for cross in &self.cross {
            at = at.max(validity(cross)?.from);
        }
        let (roots, key) = (self.roots.load(), self.key.public());
        let labels = BTreeMap::new();
        let subject = Subject { key: &key, mesh: roots.mesh_id(), roles: Roles::default(), labels: &labels };
        let leaf = profile::node(subject, &self.authority(), NODE_LIFE, at)?;
        roots.verify(&self.chain(leaf), at)?;
        Ok(())
    }

    /// The id of the root that it signs for.
    pub(super) fn origin(&self) -> Result<MeshId, CertificateError> {
        self.cross.first().map_or_else(|| self.roots.load().id(), |cross| Ok(certified_key(cross)?.mesh_id()))
    }

    /// Until when what it signs counts.
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// A new token that leads to `addresses`, of which it keeps eight.
    ///
    /// # Errors
    /// [`IdentityError::Limits`] if no token can have these limits, or there is no address.
    pub fn create_token(
        &self,
        limits: &TokenLimits,
        addresses: &[SocketAddr],
        now: UnixMillis,
    ) -> Result<JoinToken, IdentityError> {
        let root = certified_key(self.roots.load().current())?.digest();
        JoinToken::create(limits, addresses, (self.node, &self.key), root, now)
    }

    /// Decides about a request that came over the connection of `binding`, and records the use. The node gets a certificate
    /// for as long as `life`. Blocks on the ledger.
    ///
    /// # Errors
    /// Why not, in words for the one who tries to join.
    pub fn admit(
        &self,
        request: &JoinRequest,
        binding: &Binding,
        ledger: &dyn TokenLedger,
        life: Duration,
        now: UnixMillis,
    ) -> Result<Admitted, JoinRefusal> {
        let grant = self.granted(request, binding, now)?;
        if ledger.is_revoked(grant.id) {
            return Err(JoinRefusal::TokenRevoked);
        }
        let failed = |error: IdentityError| JoinRefusal::Failed(error.to_string());
        let _counting = self.counting.lock().unwrap_or_else(PoisonError::into_inner);
        let uses = ledger.uses(grant.id);
        let again = uses.contains(&request.node());
        if !again && uses.len() >= usize::try_from(grant.uses).unwrap_or(usize::MAX) {
            return Err(JoinRefusal::UsedUp { uses: grant.uses });
        }
        let issuer = self.sign_issuer(&request.keys, now)?;
        let leaf = self.sign_node(&request.keys, &grant, life, now).map_err(failed)?;
        if !again {
            ledger.record_use(grant.id, request.node()).map_err(JoinRefusal::Failed)?;
        }
        let chain = self.chain(leaf).iter().map(|certificate| certificate.to_vec()).collect();
        Ok(Admitted { chain, issuer })
    }

    /// The chain that follows `current`: same key, same roles, a new time, for as long as `life`. The caller has verified
    /// that the node holds that key and is not kept out, and that `current` is valid, unless it is the issuer's own: who
    /// can sign needs nobody's leave.
    ///
    /// # Errors
    /// If this issuer's own certificate is over, or signing fails.
    pub fn renew(
        &self,
        current: &NodeCertificate,
        life: Duration,
        now: UnixMillis,
    ) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
        if now > self.validity.until {
            return Err(CertificateError::Expired { not_after: self.validity.until }.into());
        }
        let (key, mesh) = (&current.key, self.roots.load().mesh_id());
        let subject = Subject { key, mesh, roles: current.roles, labels: &current.labels };
        let leaf = profile::node(subject, &self.authority(), life, now)?;
        Ok(self.chain(leaf))
    }

    /// Whether the request is from a holder of one of this issuer's tokens, made for this connection.
    pub(crate) fn check(&self, request: &JoinRequest, binding: &Binding, now: UnixMillis) -> Result<(), JoinRefusal> {
        self.granted(request, binding, now).map(drop)
    }

    fn granted(&self, request: &JoinRequest, binding: &Binding, now: UnixMillis) -> Result<Grant, JoinRefusal> {
        let grant = request.grant.grant().map_err(|error| JoinRefusal::Failed(error.to_string()))?;
        if grant.issuer != self.node {
            return Err(JoinRefusal::OtherIssuer { issuer: grant.issuer, addresses: Vec::new() });
        }
        if !request.grant.is_signed_by(&self.key.public()) {
            return Err(JoinRefusal::BadSignature);
        }
        let keys_as_granted = request.keys.issuer.is_some() == grant.makes_issuer;
        if !keys_as_granted || !request.is_proven(&grant.key, binding) {
            return Err(JoinRefusal::BadProof);
        }
        if now > grant.not_after { Err(JoinRefusal::Expired { at: grant.not_after }) } else { Ok(grant) }
    }

    fn sign_node(
        &self,
        keys: &Keys,
        grant: &Grant,
        life: Duration,
        now: UnixMillis,
    ) -> Result<CertificateDer<'static>, IdentityError> {
        let (key, mesh) = (&keys.node, self.roots.load().mesh_id());
        let subject = Subject { key, mesh, roles: grant.roles(), labels: &grant.labels };
        profile::node(subject, &self.authority(), life, now)
    }

    /// Signs the issuing key of a node that becomes an issuer, which takes the root key.
    fn sign_issuer(&self, keys: &Keys, now: UnixMillis) -> Result<Option<Vec<u8>>, JoinRefusal> {
        let Some(key) = &keys.issuer else { return Ok(None) };
        if !self.dir.has(IdentityFile::RootKey) {
            return Err(JoinRefusal::RootKeyAway);
        }
        let failed = |error: IdentityError| JoinRefusal::Failed(error.to_string());
        let root_key = self.dir.key(IdentityFile::RootKey).map_err(failed)?;
        let roots = self.roots.load();
        // After a change of root the old key may still lie here.
        if certified_key(roots.current()).map_err(|error| failed(error.into()))? != root_key.public() {
            return Err(JoinRefusal::RootKeyAway);
        }
        let root = Authority { certificate: roots.current(), key: &root_key };
        let certificate = profile::issuer(key, keys.node.node_id(), &root, now).map_err(failed)?;
        Ok(Some(certificate.to_vec()))
    }

    fn chain(&self, leaf: CertificateDer<'static>) -> Vec<CertificateDer<'static>> {
        [leaf, self.certificate.clone()].into_iter().chain(self.cross.iter().cloned()).collect()
    }

    fn authority(&self) -> Authority<'_> {
        Authority { certificate: &self.certificate, key: &self.key }
    }
}
