//! What is known of one node, and the part of all views that shows it.

use std::{net::SocketAddr, sync::Arc};

use shoal_types::{Liveness, NodeId, NodeView, UnixMillis};

use super::{
    Key,
    said::{Said, ValueError},
};

/// One node. Views in which it is the same share what shows it, so that whoever reads them sees at a glance what has
/// changed.
#[derive(Debug)]
pub(super) struct Known {
    said: Said,
    view: Arc<NodeView>,
}

impl Known {
    /// A node that has said who it is; `None` if it has not.
    pub(super) fn new(node: NodeId, said: Said, liveness: Liveness, now: UnixMillis) -> Option<Self> {
        let facts = said.facts.as_ref()?;
        let view = Arc::new(said.view(node, facts, liveness, now));
        Some(Self { said, view })
    }

    pub(super) const fn view(&self) -> &Arc<NodeView> {
        &self.view
    }

    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.view.facts.addresses
    }

    /// Whether it said goodbye.
    pub(super) const fn left(&self) -> bool {
        self.said.left
    }

    /// Takes over one value, to be shown by [`Self::show`].
    pub(super) fn set(&mut self, key: Key, text: &str) -> Result<(), ValueError> {
        self.said.set(self.view.id, key, text)
    }

    /// Drops one value.
    pub(super) fn clear(&mut self, key: Key) {
        self.said.clear(key);
    }

    /// Takes over all values, and drops what is not among them. Returns what could not be read.
    pub(super) fn replace(&mut self, values: &[(Key, String)]) -> Vec<(Key, ValueError)> {
        self.said.replace(self.view.id, values)
    }

    /// Drops all values, before those of a new start are taken over.
    pub(super) fn forget(&mut self) {
        self.said = Said::default();
    }

    /// Shows what it says as of `now`.
    pub(super) fn show(&mut self, now: UnixMillis) {
        self.redraw(self.view.liveness, now);
    }

    /// Shows it as there or not. That is nothing which it says.
    pub(super) fn judge(&mut self, liveness: Liveness) {
        self.redraw(liveness, self.view.heard);
    }

    /// Makes what shows it anew, as of `heard`, if it differs.
    fn redraw(&mut self, liveness: Liveness, heard: UnixMillis) {
        let view = self.said.view(self.view.id, &self.view.facts, liveness, self.view.heard);
        if view != *self.view {
            self.view = Arc::new(NodeView { heard, ..view });
        }
    }
}
