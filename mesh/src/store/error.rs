//! What can go wrong with the store, and what to do about it.

use std::path::PathBuf;

use shoal_types::{EndpointName, Hlc, KeyId, KeyName, NodeId, UnixMillis};

use crate::{
    clock::Skew,
    identity::{IdentityError, TokenId},
};

/// Why something was not written, or the store not opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// This node's certificate lacks the role.
    #[error("node {node} may not write: it joined with a `--no-write` token; send the request to another node")]
    NotAWriter {
        /// This node.
        node: NodeId,
    },
    /// This node was thrown out.
    #[error("this node is revoked, so nobody would take over what is written here: write at another node")]
    Revoked,
    /// Others would quarantine, or overrule, what is written by this clock.
    #[error(
        "this host's clock is {skew} the median of its peers' clocks, so they would not take over what is written here: \
         set the wrong clock (with NTP, for example), or write at another node"
    )]
    ClockSkew {
        /// By how much.
        skew: Skew,
    },
    /// The clock was fast when this node last wrote, or it is slow now.
    #[error(
        "this node last wrote at {written}, but its clock says {now}. If it is slow, set it (with NTP, for example). If \
         it was fast then, writes work again at {again}; sooner, if you stop the agent, move {} away and start \
         again: the node then fetches everything from its peers, without what they did not take over",
        .path.display()
    )]
    ClockSteppedBack {
        /// The latest version that was given out here.
        written: UnixMillis,
        /// What the clock says.
        now: UnixMillis,
        /// When it will be near enough to what was written.
        again: UnixMillis,
        /// The file that remembers it.
        path: PathBuf,
    },
    /// The caller expected another version than the one that stands.
    #[error("endpoint `{name}` has changed since it was read: {}", describe(.current.as_ref()))]
    Conflict {
        /// Which.
        name: EndpointName,
        /// The version that stands, `None` if there is none.
        current: Option<Hlc>,
    },
    /// There is no such endpoint.
    #[error("there is no endpoint `{name}`")]
    NotFound {
        /// Which.
        name: EndpointName,
    },
    /// There is no such token.
    #[error("no token `{token}` was made in this mesh")]
    UnknownToken {
        /// Which.
        token: TokenId,
    },
    /// There is no such key.
    #[error("no key `{key}` was made in this mesh")]
    UnknownKey {
        /// Which.
        key: KeyId,
    },
    /// People tell keys apart by their names.
    #[error("there is a key `{name}` already, {key}: choose another name, or revoke that one first")]
    KeyExists {
        /// Its name.
        name: KeyName,
        /// Its id.
        key: KeyId,
    },
    /// Keys are never forgotten, so that a revoked one never comes back.
    #[error("{max} keys were made in this mesh, revoked ones included, and it takes no more")]
    TooManyKeys {
        /// The limit.
        max: usize,
    },
    /// One entry is too large.
    #[error("a spec of {bytes} bytes is over the limit of {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// All entries are too many.
    #[error("the store is full: it holds {max} entries, deleted ones of the last 30 days included")]
    Full {
        /// The limit.
        max: usize,
    },
    /// Others would not accept what this node signs.
    #[error("this node cannot sign what others accept: {0}")]
    Signing(#[from] IdentityError),
    /// Not by both roots of this mesh.
    #[error("the root of the mesh is not replaced: {0}")]
    Succession(String),
    /// A document that JSON cannot express.
    #[error("encoding an entry: {0}")]
    Encode(#[from] serde_json::Error),
    /// The file system or the disk refused; nothing was changed.
    #[error("cannot {action} {}: {source}; nothing was changed", .path.display())]
    Disk {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: Box<redb::Error>,
    },
    /// Another process has it open.
    #[error("{} is in use: another `shoal agent` runs with this state directory", .path.display())]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// The file does not hold a store.
    #[error(
        "{} is damaged ({reason}): stop the agent, move the file away and start again; the node then fetches everything \
         from its peers. If no other node of the mesh is left, restore it from a backup",
        .path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The program failed while it wrote; whether it was written is unknown.
    #[error("the write was cut short by a fault of the program; read before trying again")]
    Interrupted,
}

fn describe(current: Option<&Hlc>) -> String {
    match current {
        Some(version) => format!("it was last written at {} by node {}", version.time, version.node),
        None => "it does not exist any more".to_owned(),
    }
}
