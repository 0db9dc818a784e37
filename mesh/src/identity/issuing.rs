//! How a node becomes an issuer, or an issuer gets a new key: it asks, whoever has the root key signs, and it takes that up.
//! Both ways are a line of text, so that the root key can stay on a host that is on no network. No sockets.

use std::{fmt, path::Path, str::FromStr, time::Duration};

use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use shoal_types::{MeshId, NodeId, UnixMillis, wire};

use super::{
    Identity, IdentityError, Issuer, Roles, Succession,
    armor::{ArmorError, armor, unarmor},
    certificate::certified_key,
    files::{IdentityDir, IdentityFile, read, read_key, write_new},
    keys::{PrivateKey, PublicKey, Signature},
    profile::{self, Authority, Subject},
};

const REQUEST_PREFIX: &str = "shoal-issuer-request1_";
const GRANT_PREFIX: &str = "shoal-issuer1_";

/// Why nobody becomes an issuer with a request or a grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssuingError {
    /// The text is something else.
    #[error("this is not {what}: it begins with `{prefix}`; paste it whole")]
    Other {
        /// What it should be.
        what: &'static str,
        /// How that begins.
        prefix: &'static str,
    },
    /// The text is cut off or altered.
    #[error("{what} is damaged or cut off: paste it whole, on one line")]
    Damaged {
        /// What it should be.
        what: &'static str,
    },
    /// Not made by the node that it names.
    #[error("the request is not proved by the keys in it: make another with `shoal issuer request`")]
    Unproved,
    /// Root key and request do not belong together.
    #[error("the root key is that of mesh {key}, and node {node} asks as one of mesh {mesh}")]
    OtherMesh {
        /// The mesh of the root key.
        key: MeshId,
        /// The node that asks.
        node: NodeId,
        /// The mesh of the node.
        mesh: MeshId,
    },
    /// Not for the request that was made here last.
    #[error("the grant is not for what this node asked for last: sign its newest request")]
    NotAsked,
}

const REQUEST: &str = "an issuer request";
const GRANT: &str = "an issuer grant";

pub(super) fn text_error(error: ArmorError, what: &'static str, prefix: &'static str) -> IssuingError {
    match error {
        ArmorError::Other => IssuingError::Other { what, prefix },
        ArmorError::Damaged => IssuingError::Damaged { what },
    }
}

/// The keys that ask, and for which mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Asked {
    mesh: MeshId,
    node: PublicKey,
    issuer: PublicKey,
}

impl Asked {
    fn message(&self) -> Result<Vec<u8>, wire::WireError> {
        Ok([b"shoal issuer request v1\0", wire::encode(self)?.as_slice()].concat())
    }
}

/// A node asks to be an issuer with a new key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerRequest {
    asked: Asked,
    by_node: Signature,
    by_issuer: Signature,
}

impl IssuerRequest {
    fn new(asked: Asked, node: impl Fn(&[u8]) -> Signature, issuer: &PrivateKey) -> Result<Self, wire::WireError> {
        let message = asked.message()?;
        Ok(Self { asked, by_node: node(&message), by_issuer: issuer.sign(&message) })
    }

    /// The node that asks.
    pub fn node(&self) -> NodeId {
        self.asked.node.node_id()
    }

    /// Whether the holder of both keys made it.
    fn is_proven(&self) -> bool {
        let by = |key: &PublicKey, signature: &Signature, message: &[u8]| key.verify(message, signature.as_ref());
        self.asked.message().is_ok_and(|message| {
            by(&self.asked.node, &self.by_node, &message) && by(&self.asked.issuer, &self.by_issuer, &message)
        })
    }
}

impl fmt::Display for IssuerRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&armor(REQUEST_PREFIX, &wire::encode(self).map_err(|_| fmt::Error)?))
    }
}

impl FromStr for IssuerRequest {
    type Err = IssuingError;

    fn from_str(text: &str) -> Result<Self, IssuingError> {
        let frame = unarmor(REQUEST_PREFIX, text).map_err(|error| text_error(error, REQUEST, REQUEST_PREFIX))?;
        wire::decode(&frame).map_err(|_| IssuingError::Damaged { what: REQUEST })
    }
}

/// What a node gets for its request: the certificate of its new issuing key. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerGrant {
    certificate: Vec<u8>,
    /// The cross certificate of a root that is to follow.
    cross: Option<Vec<u8>>,
}

impl fmt::Display for IssuerGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&armor(GRANT_PREFIX, &wire::encode(self).map_err(|_| fmt::Error)?))
    }
}

impl FromStr for IssuerGrant {
    type Err = IssuingError;

    fn from_str(text: &str) -> Result<Self, IssuingError> {
        let frame = unarmor(GRANT_PREFIX, text).map_err(|error| text_error(error, GRANT, GRANT_PREFIX))?;
        wire::decode(&frame).map_err(|_| IssuingError::Damaged { what: GRANT })
    }
}

/// The key that all of a mesh comes from, or is to come from.
#[derive(Debug)]
pub struct RootKey {
    key: PrivateKey,
    mesh: MeshId,
    cross: Option<CertificateDer<'static>>,
}

/// Beside the key of a root that follows another: how it does.
const SUCCESSION: &str = "root.succession";

impl RootKey {
    /// The key that a mesh begins with.
    pub(super) fn first(key: PrivateKey) -> Self {
        Self { mesh: key.public().mesh_id(), key, cross: None }
    }

    /// Reads `root.key`, wherever it is kept, and the `root.succession` that belongs to it, if that lies beside it.
    ///
    /// # Errors
    /// If it cannot be read, others can read it, or it is no key; or if the succession is that of another key.
    pub fn read(path: &Path) -> Result<Self, IdentityError> {
        let key = read_key(path)?;
        let beside = path.with_file_name(SUCCESSION);
        if !beside.exists() {
            return Ok(Self::first(key));
        }
        let damaged = |reason: String| IdentityError::Damaged { path: beside.clone(), reason };
        let text = String::from_utf8(read(&beside)?).map_err(|error| damaged(error.to_string()))?;
        let succession: Succession = text.parse().map_err(|error: IssuingError| damaged(error.to_string()))?;
        if succession.new_root()? != key.public().mesh_id() {
            return Err(damaged(format!("it is not that of the key in {}", path.display())));
        }
        Ok(Self { key, mesh: succession.mesh_id(), cross: Some(succession.cross()) })
    }

    /// Makes the root that is to follow this one, in the new directory `dir`: `root.key` and `root.succession`. From then
    /// on [`Self::read`] finds it there.
    ///
    /// # Errors
    /// If `dir` exists, or cannot be written.
    pub fn begin_succession(&self, dir: &Path, now: UnixMillis) -> Result<Succession, IdentityError> {
        if dir.exists() {
            return Err(IdentityError::Exists { path: dir.to_owned() });
        }
        let new = Self::first(PrivateKey::generate()?);
        let succession = Succession::new(self, &new, now)?;
        IdentityDir::create(dir)?.add_key(IdentityFile::RootKey, &new.key)?;
        write_new(&dir.join(SUCCESSION), format!("{succession}\n").as_bytes())?;
        Ok(succession)
    }

    pub(super) const fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// Its mesh.
    pub const fn mesh_id(&self) -> MeshId {
        self.mesh
    }

    /// Makes the node of `request` an issuer for a year.
    ///
    /// # Errors
    /// If the request is of another mesh, or not made by the node that it names.
    pub fn sign(&self, request: &IssuerRequest, now: UnixMillis) -> Result<IssuerGrant, IdentityError> {
        let Asked { mesh, issuer, .. } = request.asked;
        let (key, node) = (self.mesh_id(), request.node());
        if mesh != key {
            return Err(IssuingError::OtherMesh { key, node, mesh }.into());
        }
        if !request.is_proven() {
            return Err(IssuingError::Unproved.into());
        }
        // Another certificate than the nodes have, of the same name and key, which is what a chain is checked by.
        let root = profile::root(&self.key, now)?;
        let root = Authority { certificate: &root, key: &self.key };
        let certificate = profile::issuer(&issuer, node, &root, now)?.to_vec();
        Ok(IssuerGrant { certificate, cross: self.cross.as_ref().map(|cross| cross.to_vec()) })
    }
}

impl Identity {
    /// Asks to be an issuer with a new key, which is kept on this host until the grant comes.
    ///
    /// # Errors
    /// If this node may not write, which an issuer has to, or the key cannot be written.
    pub fn request_issuer(&self) -> Result<IssuerRequest, IdentityError> {
        if !self.can_write() {
            return Err(IdentityError::IssuerCannotWrite { node: self.node_id() });
        }
        let next = self.dir().kept_key(IdentityFile::NextIssuerKey)?;
        let asked = Asked { mesh: self.mesh_id(), node: self.certificate().key, issuer: next.public() };
        let making = |error: wire::WireError| IdentityError::Making { what: REQUEST, reason: error.to_string() };
        IssuerRequest::new(asked, |message| self.sign(message), &next).map_err(making)
    }

    /// Becomes an issuer, or one with another key, for what was asked last. Its own certificate is its first, for as long as
    /// `life`. Tokens that were made with the key before admit nobody any more.
    ///
    /// # Errors
    /// If the grant is not for what was asked last, does not lead to a root, or cannot be written.
    pub fn install_issuer(&self, grant: IssuerGrant, life: Duration, now: UnixMillis) -> Result<(), IdentityError> {
        let certificate = CertificateDer::from(grant.certificate);
        let cross = grant.cross.map(CertificateDer::from);
        let dir = self.dir();
        let asked = dir.has(IdentityFile::NextIssuerKey).then(|| dir.key(IdentityFile::NextIssuerKey)).transpose()?;
        let next = match asked {
            Some(next) if next.public() == certified_key(&certificate)? => next,
            Some(_) | None => return Err(IssuingError::NotAsked.into()),
        };
        let current = self.certificate();
        let roles = Roles { issuer: true, ..current.roles };
        let subject = Subject { key: &current.key, mesh: self.mesh_id(), roles, labels: &current.labels };
        let leaf = profile::node(subject, &Authority { certificate: &certificate, key: &next }, life, now)?;
        let signers: Vec<_> = [certificate].into_iter().chain(cross).collect();
        let chain: Vec<_> = [leaf].into_iter().chain(signers.iter().cloned()).collect();
        self.roots().verify(&chain, now)?;
        // In this order: whenever it is broken off, the next start finds an issuer that is whole, see `Issuer::load`.
        dir.replace_certificates(IdentityFile::IssuerCertificate, &signers)?;
        dir.rename(IdentityFile::NextIssuerKey, IdentityFile::IssuerKey)?;
        let issuer = Issuer::load(dir, self.node_id(), self.shared_roots())?;
        self.replace_issuer(issuer, chain, now)
    }
}
