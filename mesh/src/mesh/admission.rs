//! What the transport asks the store.

use shoal_types::NodeId;

use crate::{identity::TokenLedger, store::Store, transport::Admission};

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
        self.store.snapshot().revoked_nodes.contains(&node)
    }

    fn tokens(&self) -> &dyn TokenLedger {
        &self.store
    }
}
