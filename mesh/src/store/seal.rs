//! Signing entries, and judging those of others.

use rustls::pki_types::CertificateDer;
use shoal_types::Hlc;

use super::entry::{Blob, Entry, EntryKey, signed_message};
use crate::identity::{Identity, IdentityError, verify_writer};

/// An entry in this node's name. `version.node` is this node.
///
/// # Errors
/// If others would refuse it: the certificate is over, or lacks the write role.
pub(super) fn seal(
    identity: &Identity,
    key: EntryKey,
    version: Hlc,
    body: Option<String>,
) -> Result<Entry, IdentityError> {
    let message = signed_message(identity.mesh_id(), &key, version, body.as_deref());
    let signature = Blob(identity.sign(&message).as_ref().to_vec());
    let chain = identity.chain().iter().map(|certificate| Blob(certificate.to_vec())).collect();
    let entry = Entry { key, version, body, chain, signature };
    verify(identity, &entry)?;
    Ok(entry)
}

/// Whether the node that `entry` names wrote it, as a member with the write role at that time.
///
/// # Errors
/// Why not.
pub(super) fn verify(identity: &Identity, entry: &Entry) -> Result<(), IdentityError> {
    let chain: Vec<CertificateDer<'_>> =
        entry.chain.iter().map(|certificate| CertificateDer::from(certificate.0.as_slice())).collect();
    let message = signed_message(identity.mesh_id(), &entry.key, entry.version, entry.body.as_deref());
    let at = entry.version.time;
    let writer = verify_writer(&identity.roots(), &chain, &message, &entry.signature.0, at)?;
    if writer == entry.version.node { Ok(()) } else { Err(IdentityError::Signature { node: entry.version.node }) }
}
