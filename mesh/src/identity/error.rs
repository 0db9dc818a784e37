//! What can go wrong with an identity, and what to do about it.

use std::{io, path::PathBuf};

use shoal_types::{NodeId, UnixMillis};

use super::IssuingError;

/// Why a certificate, or a chain of them, is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not a certificate of the kind that shoal makes.
    #[error("not a node certificate: {0}")]
    Malformed(String),
    /// Its time is over.
    #[error("certificate expired at {not_after}: the node must renew it or join again")]
    Expired {
        /// Last moment of validity.
        not_after: UnixMillis,
    },
    /// Its time has not come; usually one of two clocks is wrong.
    #[error("certificate is valid from {not_before} only: compare the clocks of both hosts")]
    NotYetValid {
        /// First moment of validity.
        not_before: UnixMillis,
    },
    /// It does not lead to a root of this mesh.
    #[error("certificate is not of this mesh: {0}")]
    Untrusted(String),
}

/// Why an identity cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is none yet.
    #[error("no identity in {}: run `shoal init` for a new mesh or `shoal join TOKEN` to enter one", .dir.display())]
    Missing {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// There is one, or a part of one, already.
    #[error(
        "{} exists: this host has an identity, or a part of one; move its directory away to make another",
        .path.display()
    )]
    Exists {
        /// The file that was found.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {action} {}: {source}", .path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file does not hold what its name says.
    #[error("{} is damaged: {reason}; restore it or join again", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A private key that other users can read.
    #[error(
        "{} is readable by others (mode {mode:o}): run `chmod 600` on it, or join again if it may have leaked",
        .path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A certificate that is not accepted.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A certificate or a key could not be made.
    #[error("cannot make {what}: {reason}")]
    Making {
        /// What was being made.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// A signature that its alleged writer did not make.
    #[error("the signature is not one of node {node}: the entry is damaged or forged")]
    Signature {
        /// Whose certificate came with it.
        node: NodeId,
    },
    /// A node without the write role signed a spec.
    #[error("node {node} may not write specs: it joined with a `--no-write` token")]
    NotAWriter {
        /// Who signed.
        node: NodeId,
    },
    /// An issuer writes down each use of its tokens, and others accept that only from writers.
    #[error(
        "cannot make such a token: an issuer has to write, because each use of a token is a signed entry of the store; \
         leave out `--no-write` or `--issuer`"
    )]
    IssuerWithoutWrite,
    /// An issuer has to write, for the same reason.
    #[error(
        "node {node} cannot be an issuer: it joined with a `--no-write` token, and an issuer writes down each use of its \
         tokens; take another node"
    )]
    IssuerCannotWrite {
        /// Which.
        node: NodeId,
    },
    /// A request to be an issuer, or the answer to one.
    #[error(transparent)]
    Issuing(#[from] IssuingError),
    /// Limits that no token can have.
    #[error("cannot make such a token: {0}")]
    Limits(String),
}

/// Why a text is not a join token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not begin as one.
    #[error("this is not a join token: one begins with `shoal1_`; paste it whole")]
    NotAToken,
    /// Truncated or altered on its way here.
    #[error("the join token is damaged or cut off: paste it whole, on one line")]
    Damaged,
    /// Whole, but not understood.
    #[error("the join token was made by another version of shoal: {0}")]
    Foreign(String),
    /// A token id that is not one.
    #[error("`{0}` is not a token id: expected 16 characters of a-z and 2-7")]
    NotAnId(String),
}
