//! Meshes for tests, without sockets.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Mutex,
    time::Duration,
};

use shoal_types::{NodeId, UnixMillis};

use super::{
    Admitted, Binding, Candidate, Identity, JoinRefusal, JoinToken, NODE_LIFE, TokenId, TokenLedger, TokenLimits,
    init_mesh,
};

pub(crate) const BINDING: Binding = Binding { nonce: [1; 32], exporter: [2; 32] };

/// A ledger in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryLedger {
    revoked: Mutex<BTreeSet<TokenId>>,
    uses: Mutex<BTreeMap<TokenId, Vec<NodeId>>>,
}

impl MemoryLedger {
    pub(crate) fn revoke(&self, token: TokenId) {
        self.revoked.lock().unwrap().insert(token);
    }
}

impl TokenLedger for MemoryLedger {
    fn is_revoked(&self, token: TokenId) -> bool {
        self.revoked.lock().unwrap().contains(&token)
    }

    fn uses(&self, token: TokenId) -> Vec<NodeId> {
        self.uses.lock().unwrap().get(&token).cloned().unwrap_or_default()
    }

    fn record_use(&self, token: TokenId, node: NodeId) -> Result<(), String> {
        self.uses.lock().unwrap().entry(token).or_default().push(node);
        Ok(())
    }
}

pub(crate) fn limits(uses: u32) -> TokenLimits {
    TokenLimits { ttl: Duration::from_secs(3600), uses, write: true, issuer: false, labels: BTreeMap::new() }
}

pub(crate) fn first_node(dir: &Path, now: UnixMillis) -> Identity {
    init_mesh(&dir.join("first"), now).unwrap()
}

pub(crate) fn token(issuer: &Identity, limits: &TokenLimits, now: UnixMillis) -> JoinToken {
    issuer.issuer().unwrap().create_token(limits, &["127.0.0.1:7700".parse().unwrap()], now).unwrap()
}

/// Asks `issuer` in the way that the network does.
pub(crate) fn ask(
    issuer: &Identity,
    candidate: &Candidate,
    token: &JoinToken,
    ledger: &MemoryLedger,
    now: UnixMillis,
) -> Result<Admitted, JoinRefusal> {
    let request = candidate.request(token, &BINDING).unwrap();
    issuer.issuer().unwrap().admit(&request, &BINDING, ledger, NODE_LIFE, now)
}

/// A new member in `dir/name`.
pub(crate) fn member(issuer: &Identity, dir: &Path, name: &str, limits: &TokenLimits, now: UnixMillis) -> Identity {
    let token = token(issuer, limits, now);
    let candidate = Candidate::prepare(&dir.join(name), &token, now).unwrap();
    let admitted = ask(issuer, &candidate, &token, &MemoryLedger::default(), now).unwrap();
    candidate.enter(admitted, &issuer.roots(), now).unwrap()
}
