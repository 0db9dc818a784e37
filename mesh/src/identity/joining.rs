//! What a joining node and an issuer say to each other, and the joining node's part in it; no sockets.
//!
//! The issuer opens with a [`Challenge`]. The node, which by then has verified the issuer's chain against the root
//! that its token pins, answers with a [`JoinRequest`] signed over the challenge and the TLS session, so that nothing
//! of it is of use anywhere else. The token's secret itself is never sent.

use std::{net::SocketAddr, path::Path};

use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use shoal_types::{NodeId, UnixMillis, wire};

use super::{
    CertificateError, Identity, IdentityError, JoinToken, Roots,
    certificate::certified_key,
    files::{IdentityDir, IdentityFile},
    keys::{PrivateKey, PublicKey, Signature},
    node::Held,
    token::SignedGrant,
};

#[cfg(test)]
mod golden;

/// Bytes of a challenge's nonce.
pub const NONCE_LEN: usize = 32;

/// The issuer's first word.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Challenge {
    /// The issuer's clock.
    pub time: UnixMillis,
    /// Never the same twice.
    pub nonce: [u8; NONCE_LEN],
}

/// What ties a request to one connection: nobody can carry it over to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// The challenge's nonce.
    pub nonce: [u8; NONCE_LEN],
    /// Keying material exported from the TLS session (RFC 8446, section 7.5).
    pub exporter: [u8; 32],
}

impl Binding {
    fn message(&self, grant: &SignedGrant, keys: &Keys) -> Result<Vec<u8>, wire::WireError> {
        let signed = wire::encode(&(self.nonce, self.exporter, grant, keys))?;
        Ok([b"shoal join request v1\0", signed.as_slice()].concat())
    }
}

/// The public keys to be certified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Keys {
    pub(super) node: PublicKey,
    /// Only with a token that makes issuers.
    pub(super) issuer: Option<PublicKey>,
}

/// Asks for certificates. Every private key involved signs it.
#[derive(Clone, Serialize, Deserialize)]
pub struct JoinRequest {
    pub(super) grant: SignedGrant,
    pub(super) keys: Keys,
    by_token: Signature,
    by_node: Signature,
    by_issuer: Option<Signature>,
}

impl JoinRequest {
    /// The node that asks, by its own word; [`super::Issuer::admit`] finds out whether it is.
    pub fn node(&self) -> NodeId {
        self.keys.node.node_id()
    }

    /// The node that made the token, if it can be read.
    pub fn issuer(&self) -> Option<NodeId> {
        self.grant.grant().ok().map(|grant| grant.issuer)
    }

    /// Whether the holder of the token's key and of all keys to be certified made this request, for this connection.
    pub(super) fn is_proven(&self, token: &PublicKey, binding: &Binding) -> bool {
        let Ok(message) = binding.message(&self.grant, &self.keys) else { return false };
        let issuer = match (&self.keys.issuer, &self.by_issuer) {
            (Some(key), Some(signature)) => key.verify(&message, signature.as_ref()),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        issuer
            && token.verify(&message, self.by_token.as_ref())
            && self.keys.node.verify(&message, self.by_node.as_ref())
    }
}

impl std::fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinRequest").field("node", &self.node()).finish_non_exhaustive()
    }
}

/// Why an issuer admits nobody with this request, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum JoinRefusal {
    /// This member cannot admit with this token.
    #[error("the token can be used at node {issuer} only, which made it")]
    OtherIssuer {
        /// Who can.
        issuer: NodeId,
        /// Where that node is, as far as this one knows.
        addresses: Vec<SocketAddr>,
    },
    /// The token was not made here, or altered since.
    #[error("the issuer did not sign this token: it is forged, or the issuer's key has been replaced; make a new one")]
    BadSignature,
    /// The request was not made by the token's holder for this connection.
    #[error("the request does not prove that its sender holds the token: something between both hosts alters traffic")]
    BadProof,
    /// Its time is over.
    #[error("the token expired at {at}; make a new one with `shoal token create`")]
    Expired {
        /// When.
        at: UnixMillis,
    },
    /// Enough nodes have joined with it.
    #[error(
        "the token is used up: {uses} of {uses} nodes have joined with it; make a new one with `shoal token create`"
    )]
    UsedUp {
        /// How many it was for.
        uses: u32,
    },
    /// It was taken back.
    #[error("the token was revoked; ask whoever revoked it, or make a new one with `shoal token create`")]
    TokenRevoked,
    /// The node was thrown out.
    #[error("node {node} was revoked: to join again as a new node, remove its identity directory first")]
    NodeRevoked {
        /// Which.
        node: NodeId,
    },
    /// An issuer can only be made where the root key is.
    #[error("the root key is not on the issuer: put `root.key` back there while issuers join")]
    RootKeyAway,
    /// More joins at once than an issuer takes.
    #[error("the issuer is busy admitting others; try again in a few seconds")]
    Busy,
    /// The issuer could not do its part.
    #[error("the issuer failed: {0}")]
    Failed(String),
}

/// What an issuer gives to a node that it admits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Admitted {
    /// DER: the node's certificate, then its issuer's.
    pub(super) chain: Vec<Vec<u8>>,
    /// DER: the certificate for the node's own issuing key.
    pub(super) issuer: Option<Vec<u8>>,
}

impl Admitted {
    /// The node's chain, leaf first.
    pub fn into_chain(self) -> Vec<CertificateDer<'static>> {
        self.chain.into_iter().map(CertificateDer::from).collect()
    }
}

/// A host that is about to join: its directory, and keys that stay the same however often it tries.
#[derive(Debug)]
pub struct Candidate {
    dir: IdentityDir,
    node: PrivateKey,
    issuer: Option<PrivateKey>,
    /// Whether the host is a node whose certificate is good for nothing any more, which is to become the same one again.
    again: bool,
}

impl Candidate {
    /// Prepares `dir`, keeping the keys of an earlier attempt, so that a retry is not a second use of the token. A node of
    /// the token's mesh whose certificate is over at `now`, or of a root that was replaced, keeps its keys, too, and will be
    /// the same node again.
    ///
    /// # Errors
    /// If the host has an identity that is still good, or one of another mesh, or the directory cannot be written.
    pub fn prepare(dir: &Path, token: &JoinToken, now: UnixMillis) -> Result<Self, IdentityError> {
        let dir = IdentityDir::create(dir)?;
        let again = dir.has(IdentityFile::NodeChain) && Self::is_over(&dir, token, now)?;
        for finished in [IdentityFile::NodeChain, IdentityFile::RootKey] {
            if dir.has(finished) && !again {
                return Err(IdentityError::Exists { path: dir.path(finished) });
            }
        }
        let node = dir.kept_key(IdentityFile::NodeKey)?;
        let issuer = token.grant.makes_issuer.then(|| dir.kept_key(IdentityFile::IssuerKey)).transpose()?;
        Ok(Self { dir, node, issuer, again })
    }

    fn is_over(dir: &IdentityDir, token: &JoinToken, now: UnixMillis) -> Result<bool, IdentityError> {
        let Held { chain, leaf, roots, .. } = Held::read(dir)?;
        // So it is where the root of the mesh was replaced while the node was away, whether it has heard of that or not.
        let followed = roots.verify(&chain, leaf.not_before).is_err();
        Ok(followed || leaf.not_after < now || certified_key(roots.current())?.digest() != token.root_pin())
    }

    /// The node that this host will be.
    pub fn node_id(&self) -> NodeId {
        self.node.public().node_id()
    }

    /// The request to send on the connection of `binding`.
    ///
    /// # Errors
    /// If it is too large for a frame.
    pub fn request(&self, token: &JoinToken, binding: &Binding) -> Result<JoinRequest, wire::WireError> {
        let grant = token.signed.clone();
        let keys = Keys { node: self.node.public(), issuer: self.issuer.as_ref().map(PrivateKey::public) };
        let message = binding.message(&grant, &keys)?;
        Ok(JoinRequest {
            grant,
            keys,
            by_token: token.key.sign(&message),
            by_node: self.node.sign(&message),
            by_issuer: self.issuer.as_ref().map(|key| key.sign(&message)),
        })
    }

    /// Becomes the node that it was admitted as: checks what the issuer gave and writes it down.
    ///
    /// # Errors
    /// If the certificates are not for this host's keys and of these roots, or the directory cannot be written.
    pub fn enter(&self, admitted: Admitted, roots: &Roots, now: UnixMillis) -> Result<Identity, IdentityError> {
        let issuer = admitted.issuer.clone().map(CertificateDer::from);
        let chain = admitted.into_chain();
        let foreign = || CertificateError::Untrusted("it is not for this host's key".to_owned());
        let certificate = roots.verify(&chain, now)?;
        if certificate.key != self.node.public() {
            return Err(foreign().into());
        }
        if self.again && Held::read(&self.dir)?.leaf.mesh != certificate.mesh {
            return Err(IdentityError::Exists { path: self.dir.path(IdentityFile::NodeChain) });
        }
        self.dir.replace_certificates(IdentityFile::RootCertificate, &[roots.current().clone()])?;
        if let Some(key) = &self.issuer {
            let certificate = issuer.ok_or_else(foreign)?;
            if certified_key(&certificate)? != key.public() {
                return Err(foreign().into());
            }
            self.dir.replace_certificates(IdentityFile::IssuerCertificate, &[certificate])?;
        }
        if self.again {
            self.dir.replace_certificates(IdentityFile::NodeChain, &chain)?;
        } else {
            self.dir.add_certificates(IdentityFile::NodeChain, &chain)?;
        }
        Identity::load(self.dir.dir())
    }
}
