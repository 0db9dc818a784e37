//! Who is in the mesh: keys, certificates, join tokens, and the files that hold them.
//!
//! The root key signs issuers, issuers sign nodes; a node is the hash of its public key. Nothing here opens a socket
//! or reads a clock. The types to know are [`Identity`] (what this host is), [`Issuer`] (what an issuing host can do)
//! and [`JoinToken`] (what a new host is given).

mod armor;
mod certificate;
mod error;
mod files;
mod issuer;
mod issuing;
mod joining;
mod keys;
mod node;
mod profile;
mod roots;
mod succession;
mod token;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use rustls::pki_types::CertificateDer;

pub use certificate::{NodeCertificate, Roles};
pub use error::{CertificateError, IdentityError, TokenError};
pub use issuer::{Issuer, TokenLedger};
pub use issuing::{IssuerGrant, IssuerRequest, IssuingError, RootKey};
pub use joining::{Admitted, Binding, Candidate, Challenge, JoinRefusal, JoinRequest, NONCE_LEN};
pub use keys::{PublicKey, Signature};
pub use node::{Identity, init_mesh, init_mesh_again};
pub use roots::{Roots, verify_writer};
pub use succession::Succession;
pub use token::{JoinToken, TokenId, TokenLimits};

pub(crate) use certificate::{certified_key, dns_name};
pub(crate) use keys::{random, sha256};
pub use profile::{NODE_LIFE, NODE_LIFE_MAX};

pub(crate) use profile::CLOCK_TOLERANCE;
