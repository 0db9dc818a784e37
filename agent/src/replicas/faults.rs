//! What faults of GPUs mean for this node's replicas: pure.

use std::collections::BTreeMap;

use shoal_types::{ClaimId, FaultAction, Gpu, GpuFault, GpuId};

/// The claims that must go because of a GPU that they hold, and why: of several faults, the gravest.
pub(super) fn leaving<'a>(
    gpus: &[Gpu],
    holdings: impl Iterator<Item = (ClaimId, &'a [GpuId])>,
) -> BTreeMap<ClaimId, String> {
    holdings
        .filter_map(|(claim, held)| {
            let ill = gpus.iter().filter(|gpu| held.contains(&gpu.id));
            let faults = ill.filter_map(|gpu| Some((gpu, gpu.fault.as_ref()?)));
            let drives_out = faults.filter(|(_, fault)| drives_out(fault.action, held.len()));
            let (gpu, fault) = drives_out.max_by_key(|(_, fault)| fault.action)?;
            Some((claim, format!("{}: {}", gpu.id, fault.reason)))
        })
        .collect()
}

/// Whether a replica on `gpus` GPUs must leave one of them for `action`.
const fn drives_out(action: FaultAction, gpus: usize) -> bool {
    match action {
        FaultAction::Cordon => false,
        FaultAction::DrainGroup => gpus > 1,
        FaultAction::DrainGpu | FaultAction::DrainNode => true,
    }
}

/// The fault because of which the whole node is given up, if there is one.
pub(super) fn of_node(gpus: &[Gpu]) -> Option<(&GpuId, &GpuFault)> {
    let faults = gpus.iter().filter_map(|gpu| Some((&gpu.id, gpu.fault.as_ref()?)));
    faults.filter(|(_, fault)| fault.action == FaultAction::DrainNode).min_by_key(|(_, fault)| fault.since)
}

#[cfg(test)]
mod tests {
    use shoal_types::{GpuUse, MemorySize, NodeId, UnixMillis};

    use super::*;

    fn gpu(index: u32, action: Option<FaultAction>) -> Gpu {
        let since = UnixMillis::from_millis(u64::from(index));
        Gpu {
            id: GpuId(format!("GPU-{index}")),
            name: "NVIDIA H100 80GB HBM3".to_owned(),
            memory: MemorySize::from_gib(80),
            memory_used: None,
            utilization: None,
            temperature: None,
            mig: None,
            numa: None,
            used_by: GpuUse::Free,
            fault: action.map(|action| GpuFault { action, reason: format!("fault {index}"), since }),
        }
    }

    fn claim(counter: u32) -> ClaimId {
        ClaimId { node: NodeId::from_bytes([1; 16]), generation: UnixMillis::from_millis(1), counter }
    }

    #[test]
    fn a_fault_drives_out_whom_it_concerns() {
        use FaultAction::{Cordon, DrainGpu, DrainGroup};
        let gpus = [gpu(0, Some(Cordon)), gpu(1, Some(DrainGroup)), gpu(2, Some(DrainGpu)), gpu(3, None)];
        let ids: Vec<GpuId> = gpus.iter().map(|gpu| gpu.id.clone()).collect();
        let holdings = [
            (claim(0), &ids[0..1]),
            (claim(1), &ids[1..2]),
            (claim(2), &ids[2..3]),
            (claim(3), &ids[3..4]),
            (claim(4), &ids[0..2]),
            (claim(5), &ids[1..3]),
        ];
        let leaving = leaving(&gpus, holdings.into_iter());
        let expected = [(2, "GPU-2: fault 2"), (4, "GPU-1: fault 1"), (5, "GPU-2: fault 2")];
        assert_eq!(leaving, expected.map(|(id, reason)| (claim(id), reason.to_owned())).into());
        assert_eq!(of_node(&gpus), None);
    }

    #[test]
    fn a_lost_gpu_is_the_nodes_end() {
        let gpus = [gpu(0, None), gpu(1, Some(FaultAction::DrainNode)), gpu(2, Some(FaultAction::DrainNode))];
        assert_eq!(of_node(&gpus).map(|(id, _)| id.0.as_str()), Some("GPU-1"));
    }
}
