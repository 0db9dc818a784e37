//! This host's identity: made once, loaded at every start, renewed while it runs.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::{crypto::ring::sign::any_eddsa_type, pki_types::CertificateDer, sign::CertifiedKey};
use shoal_types::{MeshId, NodeId, UnixMillis, Validities};
use tokio::sync::watch;

use super::{
    CertificateError, IdentityError, Issuer, NodeCertificate, Roles, RootKey, Roots, Signature, Succession,
    files::{IdentityDir, IdentityFile},
    keys::PrivateKey,
    profile::{self, Authority, NODE_LIFE, Subject},
};

/// What this host is in its mesh. Clones share one state.
#[derive(Debug, Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: IdentityDir,
    key: PrivateKey,
    mesh: MeshId,
    roots: Arc<ArcSwap<Roots>>,
    issuer: ArcSwapOption<Issuer>,
    credentials: ArcSwap<Credentials>,
    /// Rings when any of the three was replaced.
    changed: watch::Sender<()>,
}

/// A certificate of this node in every form that it is needed in.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) certificate: NodeCertificate,
    pub(crate) chain: Arc<[CertificateDer<'static>]>,
    /// For members, who have the root.
    pub(crate) tls: Arc<CertifiedKey>,
    /// For joining nodes, who only have a pin of the root: with the root at the end.
    pub(crate) tls_with_root: Arc<CertifiedKey>,
}

impl Credentials {
    fn new(chain: Vec<CertificateDer<'static>>, key: &PrivateKey, roots: &Roots) -> Result<Self, IdentityError> {
        // Whether it is still valid is for peers to judge; what it says is not.
        let Some(leaf) = chain.first() else {
            return Err(CertificateError::Malformed("the chain is empty".to_owned()).into());
        };
        let certificate = roots.verify(&chain, NodeCertificate::parse(leaf)?.not_before)?;
        if certificate.key != key.public() {
            return Err(CertificateError::Untrusted("it is not for the key in node.key".to_owned()).into());
        }
        let making = |error: rustls::Error| IdentityError::Making { what: "a TLS key", reason: error.to_string() };
        let signing = any_eddsa_type(&key.pkcs8()).map_err(making)?;
        let with_root = chain.iter().chain([roots.current()]).cloned().collect();
        Ok(Self {
            certificate,
            tls: Arc::new(CertifiedKey::new(chain.clone(), signing.clone())),
            tls_with_root: Arc::new(CertifiedKey::new(with_root, signing)),
            chain: chain.into(),
        })
    }
}

/// What a directory holds of an identity, whether or not others still accept it.
pub(super) struct Held {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) leaf: NodeCertificate,
    pub(super) roots: Roots,
    key: PrivateKey,
}

impl Held {
    pub(super) fn read(dir: &IdentityDir) -> Result<Self, IdentityError> {
        let chain = dir.certificates(IdentityFile::NodeChain)?;
        let leaf = NodeCertificate::parse(&chain[0])?;
        // The root may be another than the one that the mesh has its id from.
        let roots = Roots::new(leaf.mesh, dir.certificates(IdentityFile::RootCertificate)?.swap_remove(0))?;
        let key = dir.key(IdentityFile::NodeKey)?;
        if leaf.key != key.public() {
            let reason = "it is not for the key in node.key".to_owned();
            return Err(IdentityError::Damaged { path: dir.path(IdentityFile::NodeChain), reason });
        }
        Ok(Self { chain, leaf, roots, key })
    }
}

impl Identity {
    /// Reads the identity in `dir`. An expired certificate is no error here: see [`Self::not_after`].
    ///
    /// # Errors
    /// [`IdentityError::Missing`] if there is none; [`CertificateError::Untrusted`] if its certificate does not come from
    /// the root of its mesh, so that it has to join again; else what is wrong with its files.
    pub fn load(dir: &Path) -> Result<Self, IdentityError> {
        let dir = IdentityDir::at(dir);
        if !dir.has(IdentityFile::NodeChain) {
            return Err(IdentityError::Missing { dir: dir.dir().to_owned() });
        }
        let Held { chain, leaf, roots, key } = Held::read(&dir)?;
        let (mesh, credentials) = (leaf.mesh, Credentials::new(chain, &key, &roots)?);
        let roots = Arc::new(ArcSwap::from_pointee(roots));
        let issuer = Issuer::load(&dir, credentials.certificate.node, &roots)?;
        let (issuer, credentials) = (ArcSwapOption::from_pointee(issuer), ArcSwap::from_pointee(credentials));
        let changed = watch::Sender::new(());
        Ok(Self { inner: Arc::new(Inner { dir, key, mesh, roots, issuer, credentials, changed }) })
    }

    /// This node.
    pub fn node_id(&self) -> NodeId {
        self.inner.key.public().node_id()
    }

    /// Its mesh.
    pub fn mesh_id(&self) -> MeshId {
        self.inner.mesh
    }

    /// The root of its mesh, and those before it.
    pub fn roots(&self) -> Arc<Roots> {
        self.inner.roots.load_full()
    }

    /// The id of the root that its certificate comes from.
    ///
    /// # Errors
    /// If a certificate cannot be read.
    pub fn origin(&self) -> Result<MeshId, CertificateError> {
        self.roots().origin(&self.chain())
    }

    /// The root that its certificate comes from, and the one that it issues with, if it does: the mesh's own as long as one
    /// of the two does.
    ///
    /// # Errors
    /// If a certificate cannot be read.
    pub fn root(&self) -> Result<MeshId, CertificateError> {
        let own = self.origin()?;
        let issues = self.issuer().map_or(Ok(own), |issuer| issuer.origin())?;
        if issues == own { Ok(own) } else { self.roots().id() }
    }

    /// Trusts the root that `succession` names and no other, as of `at`: on disk first, then for every new connection. What
    /// was written under the old one before counts still. An issuing certificate of the old one is out of use. Nothing happens
    /// if it is so already.
    ///
    /// # Errors
    /// If it is not one of this mesh, or cannot be written.
    pub fn succeed(&self, succession: &Succession, at: UnixMillis) -> Result<(), IdentityError> {
        let roots = self.roots().succeeded(succession, at)?;
        let changes = roots.id()? != self.roots().id()?;
        if changes {
            self.inner.dir.replace_certificates(IdentityFile::RootCertificate, &[roots.current().clone()])?;
            // Without a certificate from the new root this node is cut off, and has to join again.
            match Credentials::new(self.chain().to_vec(), &self.inner.key, &roots) {
                Ok(credentials) => self.inner.credentials.store(Arc::new(credentials)),
                Err(error) => {
                    tracing::error!(%error, "the root of the mesh was replaced while this node was away: join again")
                }
            }
        }
        self.inner.roots.store(Arc::new(roots));
        if changes && self.issuer().is_some_and(|issuer| !issuer.counts()) {
            self.inner.issuer.store(None);
        }
        self.inner.changed.send_replace(());
        Ok(())
    }

    pub(super) fn shared_roots(&self) -> &Arc<ArcSwap<Roots>> {
        &self.inner.roots
    }

    /// Whether other nodes accept specs that it signs.
    pub fn can_write(&self) -> bool {
        self.certificate().roles.write
    }

    /// Its issuing key, on issuers.
    pub fn issuer(&self) -> Option<Arc<Issuer>> {
        self.inner.issuer.load_full()
    }

    /// Until when all that it proves itself and others with is valid.
    pub fn validities(&self) -> Validities {
        Validities {
            node: self.credentials().certificate.validity(),
            issuer: self.issuer().map(|issuer| issuer.validity()),
            root: self.roots().validity(),
        }
    }

    /// Rings when a certificate was replaced.
    pub fn changed(&self) -> watch::Receiver<()> {
        self.inner.changed.subscribe()
    }

    /// Signs with the node's key.
    pub fn sign(&self, message: &[u8]) -> Signature {
        self.inner.key.sign(message)
    }

    /// Its certificate and its issuer's.
    pub fn chain(&self) -> Arc<[CertificateDer<'static>]> {
        self.credentials().chain.clone()
    }

    /// What its certificate says.
    pub fn certificate(&self) -> NodeCertificate {
        self.credentials().certificate.clone()
    }

    /// Last moment at which peers accept it.
    pub fn not_after(&self) -> UnixMillis {
        self.credentials().certificate.not_after
    }

    /// Takes a newer chain for the same key into use: on disk first, then for every new connection.
    ///
    /// # Errors
    /// If the chain is not for this node, is not valid at `now`, or cannot be written.
    pub fn replace_chain(&self, chain: Vec<CertificateDer<'static>>, now: UnixMillis) -> Result<(), IdentityError> {
        let roots = self.roots();
        roots.verify(&chain, now)?;
        let credentials = Credentials::new(chain, &self.inner.key, &roots)?;
        self.inner.dir.replace_certificates(IdentityFile::NodeChain, &credentials.chain)?;
        self.inner.credentials.store(Arc::new(credentials));
        self.inner.changed.send_replace(());
        Ok(())
    }

    /// Takes another issuing key into use, and the chain that it begins with.
    pub(super) fn replace_issuer(
        &self,
        issuer: Option<Issuer>,
        chain: Vec<CertificateDer<'static>>,
        now: UnixMillis,
    ) -> Result<(), IdentityError> {
        self.inner.issuer.store(issuer.map(Arc::new));
        self.replace_chain(chain, now)
    }

    pub(super) fn dir(&self) -> &IdentityDir {
        &self.inner.dir
    }

    pub(crate) fn credentials(&self) -> Arc<Credentials> {
        self.inner.credentials.load_full()
    }

    /// See [`PrivateKey::derive`].
    pub(crate) fn derive(&self, purpose: &str) -> ring::hkdf::Prk {
        self.inner.key.derive(purpose)
    }
}

/// Makes a mesh and its first node, which is an issuer and may write. `root.key` can be taken off the host afterwards;
/// it is needed again only to make issuers.
///
/// # Errors
/// [`IdentityError::Exists`] if `dir` holds any part of an identity; nothing is ever overwritten.
pub fn init_mesh(dir: &Path, now: UnixMillis) -> Result<Identity, IdentityError> {
    let dir = empty(dir)?;
    let root_key = PrivateKey::generate()?;
    dir.add_key(IdentityFile::RootKey, &root_key)?;
    first_node(&dir, &RootKey::first(root_key), now)
}

/// Makes the first node of a mesh that was lost but for its root key, of which no copy is kept in `dir`. It has the same
/// id, so that what was signed in it counts again.
///
/// # Errors
/// As [`init_mesh`].
pub fn init_mesh_again(dir: &Path, root: &RootKey, now: UnixMillis) -> Result<Identity, IdentityError> {
    first_node(&empty(dir)?, root, now)
}

fn empty(dir: &Path) -> Result<IdentityDir, IdentityError> {
    let dir = IdentityDir::create(dir)?;
    dir.found().map_or(Ok(dir), |path| Err(IdentityError::Exists { path }))
}

fn first_node(dir: &IdentityDir, root_key: &RootKey, now: UnixMillis) -> Result<Identity, IdentityError> {
    let (issuer_key, node_key) = (PrivateKey::generate()?, PrivateKey::generate()?);
    let root = profile::root(root_key.key(), now)?;
    let signer = Authority { certificate: &root, key: root_key.key() };
    let issuer = profile::issuer(&issuer_key.public(), node_key.public().node_id(), &signer, now)?;
    let roles = Roles { write: true, issuer: true };
    let signer = Authority { certificate: &issuer, key: &issuer_key };
    let mesh = root_key.mesh_id();
    let subject = Subject { key: &node_key.public(), mesh, roles, labels: &BTreeMap::new() };
    let leaf = profile::node(subject, &signer, NODE_LIFE, now)?;

    dir.add_certificates(IdentityFile::RootCertificate, &[root])?;
    dir.add_key(IdentityFile::IssuerKey, &issuer_key)?;
    dir.add_certificates(IdentityFile::IssuerCertificate, std::slice::from_ref(&issuer))?;
    dir.add_key(IdentityFile::NodeKey, &node_key)?;
    dir.add_certificates(IdentityFile::NodeChain, &[leaf, issuer])?;
    Identity::load(dir.dir())
}
