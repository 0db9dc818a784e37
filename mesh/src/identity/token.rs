//! Join tokens: a grant that an issuer signed, the one-time key that proves who holds it, and where to go with it.
//!
//! Its text begins with `shoal1_`.

use std::{collections::BTreeMap, fmt, net::SocketAddr, str::FromStr, time::Duration};

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use shoal_types::{MeshId, NodeId, UnixMillis, wire};

use super::{
    IdentityError, Roles, TokenError,
    armor::{ArmorError, armor, unarmor},
    keys::{PrivateKey, PublicKey, Signature, random},
};

const PREFIX: &str = "shoal1_";
const ID_LEN: usize = 10;
/// Addresses that a token carries: enough for one member to be up.
const ADDRESSES_MAX: usize = 8;
const TTL_MAX: Duration = Duration::from_secs(90 * 24 * 3600);
const USES_MAX: u32 = 10_000;
const LABELS_MAX: usize = 16;

/// Names one token without giving it away: for lists, logs and revocation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId([u8; ID_LEN]);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE32_NOPAD.encode(&self.0).to_ascii_lowercase())
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenId({self})")
    }
}

impl FromStr for TokenId {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let bytes = BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).ok();
        let id = bytes.and_then(|bytes| bytes.try_into().ok()).map(Self);
        id.ok_or_else(|| TokenError::NotAnId(text.to_owned()))
    }
}

impl Serialize for TokenId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for TokenId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        } else {
            Deserialize::deserialize(deserializer).map(Self)
        }
    }
}

/// What a token allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenLimits {
    /// How long it can be used; up to 90 days.
    pub ttl: Duration,
    /// How many nodes may join with it; 1 to 10 000.
    pub uses: u32,
    /// Whether they may write specs.
    pub write: bool,
    /// Whether they become issuers; only with `write`.
    pub issuer: bool,
    /// Labels that their certificates carry; up to 16, of letters, digits, `.`, `_` and `-`.
    pub labels: BTreeMap<String, String>,
}

impl TokenLimits {
    pub(super) fn check(&self) -> Result<(), IdentityError> {
        if self.issuer && !self.write {
            return Err(IdentityError::IssuerWithoutWrite);
        }
        let wrong = |reason: String| Err(IdentityError::Limits(reason));
        if self.ttl.is_zero() || self.ttl > TTL_MAX {
            return wrong("its time to live must be more than zero and at most 90 days".to_owned());
        }
        if !(1..=USES_MAX).contains(&self.uses) {
            return wrong(format!("{} uses; allowed are 1 to {USES_MAX}", self.uses));
        }
        if self.labels.len() > LABELS_MAX {
            return wrong(format!("{} labels; allowed are {LABELS_MAX}", self.labels.len()));
        }
        match self.labels.iter().flat_map(|(key, value)| [key, value]).find(|word| !is_label_word(word)) {
            Some(word) => wrong(format!("`{word}` in a label; use 1 to 63 letters, digits, `.`, `_` and `-`")),
            None => Ok(()),
        }
    }
}

fn is_label_word(word: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=63).contains(&word.len()) && word.bytes().all(allowed)
}

/// What the issuer signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Grant {
    pub(super) id: TokenId,
    /// SHA-256 of the root's SubjectPublicKeyInfo: whom the joining node trusts.
    pub(super) root: [u8; 32],
    /// The one node that counts the uses.
    pub(super) issuer: NodeId,
    /// Public half of the one-time key.
    pub(super) key: PublicKey,
    pub(super) not_after: UnixMillis,
    pub(super) uses: u32,
    pub(super) write: bool,
    pub(super) makes_issuer: bool,
    pub(super) labels: BTreeMap<String, String>,
}

impl Grant {
    pub(super) const fn roles(&self) -> Roles {
        Roles { write: self.write, issuer: self.makes_issuer }
    }
}

/// A grant as bytes, and the issuer's signature over them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SignedGrant {
    bytes: Vec<u8>,
    signature: Signature,
}

impl SignedGrant {
    pub(super) fn sign(grant: &Grant, issuer: &PrivateKey) -> Result<Self, wire::WireError> {
        let bytes = wire::encode(grant)?;
        Ok(Self { signature: issuer.sign(&Self::message(&bytes)), bytes })
    }

    /// The grant, whoever signed it.
    pub(super) fn grant(&self) -> Result<Grant, wire::WireError> {
        wire::decode(&self.bytes)
    }

    pub(super) fn is_signed_by(&self, issuer: &PublicKey) -> bool {
        issuer.verify(&Self::message(&self.bytes), self.signature.as_ref())
    }

    /// Keeps what an issuer signs as a token apart from everything else that it signs.
    fn message(grant: &[u8]) -> Vec<u8> {
        [b"shoal join token v1\0", grant].concat()
    }
}

/// What the text holds.
#[derive(Serialize, Deserialize)]
struct Contents {
    grant: SignedGrant,
    seed: [u8; 32],
    addresses: Vec<SocketAddr>,
}

/// A join token: whoever has it can enter the mesh, within its limits. [`fmt::Display`] prints it whole, for the one
/// who asked for it; [`fmt::Debug`] does not give it away.
pub struct JoinToken {
    pub(super) signed: SignedGrant,
    pub(super) grant: Grant,
    pub(super) key: PrivateKey,
    seed: [u8; 32],
    addresses: Vec<SocketAddr>,
}

impl JoinToken {
    pub(super) fn create(
        limits: &TokenLimits,
        addresses: &[SocketAddr],
        issuer: (NodeId, &PrivateKey),
        root: [u8; 32],
        now: UnixMillis,
    ) -> Result<Self, IdentityError> {
        limits.check()?;
        if addresses.is_empty() {
            return Err(IdentityError::Limits("it needs the address of at least one member".to_owned()));
        }
        let seed = random()?;
        let key = PrivateKey::from_seed(seed)?;
        let grant = Grant {
            id: TokenId(random()?),
            root,
            issuer: issuer.0,
            key: key.public(),
            not_after: now.plus(limits.ttl),
            uses: limits.uses,
            write: limits.write,
            makes_issuer: limits.issuer,
            labels: limits.labels.clone(),
        };
        let making = |error: wire::WireError| IdentityError::Making { what: "a join token", reason: error.to_string() };
        let signed = SignedGrant::sign(&grant, issuer.1).map_err(making)?;
        let addresses = addresses.iter().copied().take(ADDRESSES_MAX).collect();
        Ok(Self { signed, grant, key, seed, addresses })
    }

    /// Names it without giving it away.
    pub const fn id(&self) -> TokenId {
        self.grant.id
    }

    /// Last moment at which it can be used, by the issuer's clock.
    pub const fn not_after(&self) -> UnixMillis {
        self.grant.not_after
    }

    /// Where members can be reached.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The mesh that it leads to.
    pub fn mesh_id(&self) -> MeshId {
        MeshId::from_key_digest(&self.grant.root)
    }

    /// The node that made it, counts its uses, and alone can admit with it.
    pub const fn issuer(&self) -> NodeId {
        self.grant.issuer
    }

    /// SHA-256 of the root's SubjectPublicKeyInfo.
    pub(crate) const fn root_pin(&self) -> [u8; 32] {
        self.grant.root
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("grant", &self.grant)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let contents = Contents { grant: self.signed.clone(), seed: self.seed, addresses: self.addresses.clone() };
        f.write_str(&armor(PREFIX, &wire::encode(&contents).map_err(|_| fmt::Error)?))
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let frame = unarmor(PREFIX, text).map_err(|error| match error {
            ArmorError::Other => TokenError::NotAToken,
            ArmorError::Damaged => TokenError::Damaged,
        })?;
        let foreign = |error: wire::WireError| TokenError::Foreign(error.to_string());
        let Contents { grant: signed, seed, addresses } = wire::decode(&frame).map_err(foreign)?;
        let grant = signed.grant().map_err(foreign)?;
        let key = PrivateKey::from_seed(seed).map_err(|error| TokenError::Foreign(error.to_string()))?;
        if key.public() != grant.key {
            return Err(TokenError::Foreign("its key is not the one that was granted".to_owned()));
        }
        Ok(Self { signed, grant, key, seed, addresses })
    }
}
