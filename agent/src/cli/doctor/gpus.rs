//! What is found of the answering node's GPUs. Pure.

use super::finding::Finding;
use crate::admin::NodeStatus;

pub(super) fn findings(node: &NodeStatus) -> Vec<Finding> {
    let faults: Vec<Finding> = node
        .gpus
        .iter()
        .filter_map(|gpu| {
            let fault = gpu.fault.as_ref()?;
            Some(Finding::fail(
                "gpu",
                format!("{} is {} since {}: {}", gpu.id, fault.action, fault.since, fault.reason),
                format!("shoal undrain {} --gpu {}, once it is well", node.name, gpu.id),
            ))
        })
        .collect();
    match node.gpus.len() {
        0 => Vec::new(),
        count if faults.is_empty() => vec![Finding::ok("gpu", format!("none of {count} shows a fault"))],
        _ => faults,
    }
}
