//! What the transport asks the store.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use shoal_types::{NodeId, UnixMillis};

use crate::{
    identity::{NODE_LIFE_MAX, NodeCertificate, TokenLedger},
    store::Store,
    transport::{Admission, Exclusion},
};

/// For how long members keep certificates that a revoked issuer signed. By then each honest one has run out or was renewed
/// elsewhere, so that what that issuer's key still signs is good for nothing.
const ISSUER_OUTLIVED: Duration = NODE_LIFE_MAX;

/// Revocations and the ledger of tokens, as the store has them.
#[derive(Debug)]
pub(super) struct StoreAdmission {
    store: Store,
}

impl StoreAdmission {
    pub(super) const fn new(store: Store) -> Self {
        Self { store }
    }
}

impl Admission for StoreAdmission {
    fn is_revoked(&self, node: NodeId) -> bool {
        self.store.snapshot().revoked_nodes.contains_key(&node)
    }

    fn excludes(&self, certificate: &NodeCertificate, now: UnixMillis) -> Option<Exclusion> {
        let snapshot = self.store.snapshot();
        exclusion(certificate, &snapshot.revoked_nodes, &snapshot.joined_nodes, now)
    }

    fn tokens(&self) -> &dyn TokenLedger {
        &self.store
    }
}

/// Whoever has the key of a revoked issuer can make certificates for nodes that never joined, and for a node that was
/// thrown out under another name. So of what that issuer signed only nodes count that are on record, and only for a while.
fn exclusion(
    certificate: &NodeCertificate,
    revoked: &BTreeMap<NodeId, UnixMillis>,
    joined: &BTreeSet<NodeId>,
    now: UnixMillis,
) -> Option<Exclusion> {
    if revoked.contains_key(&certificate.node) {
        return Some(Exclusion::Revoked);
    }
    let issuer = certificate.issuer?;
    let since = revoked.get(&issuer)?;
    let counts = joined.contains(&certificate.node) && now.since(*since) <= ISSUER_OUTLIVED;
    (!counts).then_some(Exclusion::Issuer { issuer })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock,
        identity::testing::{first_node, limits, member},
    };

    #[test]
    fn of_what_a_revoked_issuer_signed_only_nodes_on_record_count_and_for_a_while() {
        let (dir, now) = (tempfile::tempdir().unwrap(), clock::now());
        let issuer = first_node(dir.path(), now);
        let node = member(&issuer, dir.path(), "node", &limits(1), now).certificate();
        let none = BTreeSet::new();
        let on_record = BTreeSet::from([node.node]);
        let revoked = |node| BTreeMap::from([(node, now)]);
        assert_eq!(exclusion(&node, &BTreeMap::new(), &none, now), None);
        assert_eq!(exclusion(&node, &revoked(node.node), &on_record, now), Some(Exclusion::Revoked));

        let issuer = issuer.node_id();
        let by_issuer = Some(Exclusion::Issuer { issuer });
        assert_eq!(node.issuer, Some(issuer));
        assert_eq!(exclusion(&node, &revoked(issuer), &none, now), by_issuer);
        assert_eq!(exclusion(&node, &revoked(issuer), &on_record, now.plus(ISSUER_OUTLIVED)), None);
        let late = now.plus(ISSUER_OUTLIVED + Duration::from_secs(1));
        assert_eq!(exclusion(&node, &revoked(issuer), &on_record, late), by_issuer);
    }
}
