//! Ed25519 keys. A private key is its 32-byte seed; on disk it is PKCS #8 version 1, which OpenSSL reads too.

use std::fmt;

use data_encoding::BASE64;
use ring::{
    digest, hkdf,
    rand::{SecureRandom as _, SystemRandom},
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use shoal_types::{MeshId, NodeId};

use super::IdentityError;

/// What stands before the 32 bytes of a key in its DER SubjectPublicKeyInfo (RFC 8410, section 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// What stands before the 32 bytes of a seed in its PKCS #8 version 1 document (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// `N` bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], IdentityError> {
    let mut bytes = [0; N];
    let no_entropy = |_| IdentityError::Making { what: "random bytes", reason: "the system gave none".to_owned() };
    SystemRandom::new().fill(&mut bytes).map_err(no_entropy)?;
    Ok(bytes)
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

/// One PEM block.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// An Ed25519 public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// The key in a DER SubjectPublicKeyInfo; `None` if that holds a key of another kind.
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        der.strip_prefix(&SPKI_PREFIX)?.try_into().ok().map(Self)
    }

    /// Its DER SubjectPublicKeyInfo.
    pub fn spki(&self) -> Vec<u8> {
        [&SPKI_PREFIX[..], &self.0].concat()
    }

    /// SHA-256 over [`Self::spki`]: what ids are made of and what a token pins.
    pub fn digest(&self) -> [u8; 32] {
        sha256(&self.spki())
    }

    /// The node that has this key.
    pub fn node_id(&self) -> NodeId {
        NodeId::from_key_digest(&self.digest())
    }

    /// The mesh whose root has this key.
    pub fn mesh_id(&self) -> MeshId {
        MeshId::from_key_digest(&self.digest())
    }

    /// Whether the private half of this key signed `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

impl rcgen::PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

/// An Ed25519 private key. It is never printed, and leaves the process only into its own file.
pub(crate) struct PrivateKey {
    seed: [u8; 32],
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl PrivateKey {
    pub(crate) fn generate() -> Result<Self, IdentityError> {
        Self::from_seed(random()?)
    }

    pub(crate) fn from_seed(seed: [u8; 32]) -> Result<Self, IdentityError> {
        let rejected =
            |error: ring::error::KeyRejected| IdentityError::Making { what: "a key", reason: error.to_string() };
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(rejected)?;
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        Ok(Self { seed, pair, public: PublicKey(public) })
    }

    /// The key in a PEM file written by [`Self::to_pem`]; `None` if there is no such key in it.
    pub(crate) fn from_pem(text: &[u8]) -> Option<Self> {
        let document = PrivatePkcs8KeyDer::from_pem_slice(text).ok()?;
        let seed = document.secret_pkcs8_der().strip_prefix(&PKCS8_PREFIX)?;
        Self::from_seed(seed.try_into().ok()?).ok()
    }

    pub(crate) fn to_pem(&self) -> String {
        pem("PRIVATE KEY", self.pkcs8().secret_pkcs8_der())
    }

    pub(crate) fn pkcs8(&self) -> PrivatePkcs8KeyDer<'static> {
        [&PKCS8_PREFIX[..], &self.seed].concat().into()
    }

    pub(crate) const fn public(&self) -> PublicKey {
        self.public
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Signature {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.pair.sign(message).as_ref());
        Signature(bytes)
    }

    /// Key material for `purpose` that lasts as long as this key and tells nothing about it (HKDF, RFC 5869).
    pub(crate) fn derive(&self, purpose: &str) -> hkdf::Prk {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"shoal v1");
        salt.extract(&[&self.seed[..], purpose.as_bytes()].concat())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(of {:?})", self.public.node_id())
    }
}

impl rcgen::PublicKeyData for PrivateKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for PrivateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.sign(message).as_ref().to_vec())
    }
}

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    /// The raw 64 bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl AsRef<[u8]> for Signature {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", BASE64.encode(&self.0))
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // serde has arrays of up to 32.
        let (halves, _) = self.0.as_chunks::<32>();
        (halves[0], halves[1]).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let halves: ([u8; 32], [u8; 32]) = Deserialize::deserialize(deserializer)?;
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&halves.0);
        bytes[32..].copy_from_slice(&halves.1);
        Ok(Self(bytes))
    }
}
