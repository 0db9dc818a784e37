//! An upgrade under way: half of the nodes rank candidates in another way.

use std::sync::Arc;

use shoal_types::{GpuUse, View};

use super::mesh::Mesh;
use crate::tests::fleet::gpu;

impl Mesh {
    /// What every other node takes the fleet for: with other GPUs left over on each of the others, so that its order
    /// over candidates has little to do with that of the rest. Who holds what, and who can run what, it sees as it is.
    pub(super) fn seen_otherwise(&self, node: usize) -> Option<View> {
        if node.is_multiple_of(2) {
            return None;
        }
        let mut view = self.nodes[node].view.clone();
        for (id, other) in &mut view.nodes {
            let phantoms = usize::from(id.as_bytes()[0]) * 7 % 11;
            let other = Arc::make_mut(other);
            for index in 0..phantoms {
                // Slices of a kind that nobody asks for: free, and fit for nothing.
                let slice = shoal_types::Gpu { mig: Some("none".to_owned()), used_by: GpuUse::Free, ..gpu(8 + index) };
                other.gpus.push(slice);
            }
        }
        Some(view)
    }
}
