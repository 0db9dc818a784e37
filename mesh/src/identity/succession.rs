//! How a mesh gets another root while it runs. No sockets, no files.
//!
//! The old root signs the new one's key (a cross certificate), so that what the new root signs is trusted by all from its
//! first moment: nobody has to be told first. Once every node's certificate comes from the new root, a [`Succession`], which
//! both roots have signed, tells all to trust the new one alone. The mesh keeps its id, which is that of its first root.

use std::{fmt, str::FromStr};

use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use shoal_types::{MeshId, UnixMillis, wire};

use super::{
    IdentityError, IssuingError, RootKey,
    armor::{armor, unarmor},
    certificate::certified_key,
    issuing::text_error,
    keys::Signature,
    profile::{self, Authority},
};

const PREFIX: &str = "shoal-root1_";
const WHAT: &str = "a root succession";

/// What both roots sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Terms {
    mesh: MeshId,
    /// DER: the certificate of the old root.
    from: Vec<u8>,
    /// DER: the certificate of the new root.
    to: Vec<u8>,
    /// DER: the new root's key, certified by the old root.
    cross: Vec<u8>,
}

impl Terms {
    fn message(&self) -> Result<Vec<u8>, wire::WireError> {
        Ok([b"shoal root succession v1\0", wire::encode(self)?.as_slice()].concat())
    }
}

/// That one root takes the place of another. Nothing in it is secret; whoever may write can make it so, so keep it until then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Succession {
    terms: Terms,
    by_old: Signature,
    by_new: Signature,
}

impl Succession {
    /// The one by which `new` takes the place of `old`, from `now` on or later.
    ///
    /// # Errors
    /// If a certificate cannot be made.
    pub(super) fn new(old: &RootKey, new: &RootKey, now: UnixMillis) -> Result<Self, IdentityError> {
        let (from, to) = (profile::root(old.key(), now)?, profile::root(new.key(), now)?);
        let cross = profile::cross(&new.key().public(), &Authority { certificate: &from, key: old.key() }, now)?;
        let terms = Terms { mesh: old.mesh_id(), from: from.to_vec(), to: to.to_vec(), cross: cross.to_vec() };
        let making = |error: wire::WireError| IdentityError::Making { what: WHAT, reason: error.to_string() };
        let message = terms.message().map_err(making)?;
        Ok(Self { terms, by_old: old.key().sign(&message), by_new: new.key().sign(&message) })
    }

    /// Whether both roots have signed it.
    pub(super) fn is_proven(&self) -> bool {
        let Ok(message) = self.terms.message() else { return false };
        let by = |root: &CertificateDer<'_>, signature: &Signature| {
            certified_key(root).is_ok_and(|key| key.verify(&message, signature.as_ref()))
        };
        by(&self.from(), &self.by_old) && by(&self.to(), &self.by_new)
    }

    /// Of which mesh.
    pub const fn mesh_id(&self) -> MeshId {
        self.terms.mesh
    }

    /// The root that goes.
    pub(super) fn from(&self) -> CertificateDer<'static> {
        self.terms.from.clone().into()
    }

    /// The root that stays.
    pub(super) fn to(&self) -> CertificateDer<'static> {
        self.terms.to.clone().into()
    }

    /// What those show with their chain who are to be trusted by nodes that know the old root only.
    pub(super) fn cross(&self) -> CertificateDer<'static> {
        self.terms.cross.clone().into()
    }

    /// The id of the root that goes: that of a mesh which began with it.
    ///
    /// # Errors
    /// If there is no key in it.
    pub fn old_root(&self) -> Result<MeshId, IdentityError> {
        Ok(certified_key(&self.from())?.mesh_id())
    }

    /// The id of the root that stays.
    ///
    /// # Errors
    /// If there is no key in it.
    pub fn new_root(&self) -> Result<MeshId, IdentityError> {
        Ok(certified_key(&self.to())?.mesh_id())
    }
}

impl fmt::Display for Succession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&armor(PREFIX, &wire::encode(self).map_err(|_| fmt::Error)?))
    }
}

impl FromStr for Succession {
    type Err = IssuingError;

    fn from_str(text: &str) -> Result<Self, IssuingError> {
        let frame = unarmor(PREFIX, text).map_err(|error| text_error(error, WHAT, PREFIX))?;
        let succession: Self = wire::decode(&frame).map_err(|_| IssuingError::Damaged { what: WHAT })?;
        if succession.is_proven() { Ok(succession) } else { Err(IssuingError::Damaged { what: WHAT }) }
    }
}
