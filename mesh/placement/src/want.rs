//! What kinds of replicas an endpoint wants.

use shoal_types::{CapacityType, EndpointRecord, EndpointSpec, NodeView, ReplicaState, Revision, Spot};

use crate::{desired::Desired, order::Stage, presence::Holder};

/// One kind of replica that an endpoint wants: of one revision, on one class of capacity.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Want<'a> {
    pub(crate) record: &'a EndpointRecord,
    /// What a replica of this revision runs.
    pub(crate) spec: &'a EndpointSpec,
    pub(crate) revision: Revision,
    pub(crate) class: Class,
    /// How many.
    pub(crate) count: usize,
}

/// Classes of capacity that replicas of an endpoint are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// All capacity types are one: the endpoint does not speak of spot.
    Any,
    /// What may be taken back.
    Spot,
    /// What stays: on demand or reserved.
    Firm,
}

impl Class {
    /// Whether `node` is of this class.
    pub(crate) const fn contains(self, node: &NodeView) -> bool {
        self.contains_type(node.facts.labels.capacity_type)
    }

    /// Whether capacity of this type is.
    pub(crate) const fn contains_type(self, capacity_type: CapacityType) -> bool {
        match (self, capacity_type) {
            (Self::Any, _) | (Self::Spot, CapacityType::Spot) => true,
            (Self::Firm, CapacityType::OnDemand | CapacityType::Reserved) => true,
            (Self::Spot, CapacityType::OnDemand | CapacityType::Reserved) | (Self::Firm, CapacityType::Spot) => false,
        }
    }
}

/// A want, and how many of it only stand in for spot capacity that is not there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quota<'a> {
    pub(crate) want: Want<'a>,
    pub(crate) standins: usize,
}

/// All that `record` wants when it should have `desired` and has `staying`: by revision in the order of `desired`, and
/// of each revision the spot replicas first.
///
/// The base, the overprovision and the stand-ins are the endpoint's; each revision has a part of them by its share of
/// the replicas.
pub(crate) fn wants<'a>(record: &'a EndpointRecord, desired: &Desired, staying: &[Holder<'a>]) -> Vec<Quota<'a>> {
    let total = desired.total() as usize;
    let hedge = record.endpoint.spec.placement.spot.as_ref().map(|spot| Hedge::new(spot, desired, staying));
    let mut wants = Vec::new();
    let mut before = 0;
    for &(revision, replicas) in desired.shares.iter().filter(|(_, replicas)| *replicas > 0) {
        let replicas = replicas as usize;
        let Some(spec) = record.spec_of(revision) else { continue };
        let want = |class, count| Want { record, spec, revision, class, count };
        // Of a whole, what falls to the replicas from `before` on: rounded so that the parts add up to it.
        let part = |whole: usize| whole * (before + replicas) / total - whole * before / total;
        match &hedge {
            None => wants.push(Quota { want: want(Class::Any, replicas), standins: 0 }),
            Some(hedge) => {
                let (base, standins) = (part(hedge.base), part(hedge.standins));
                let spot = want(Class::Spot, replicas - base + part(hedge.overprovision));
                wants.push(Quota { want: spot, standins: 0 });
                wants.push(Quota { want: want(Class::Firm, base + standins), standins });
            }
        }
        before += replicas;
    }
    wants
}

/// How an endpoint is divided between spot and firm capacity.
#[derive(Debug, Clone, Copy)]
struct Hedge {
    /// Replicas that always run on firm capacity.
    base: usize,
    /// Spot replicas beyond what is wanted.
    overprovision: usize,
    /// Replicas on firm capacity in place of spot capacity.
    standins: usize,
}

impl Hedge {
    fn new(spot: &Spot, desired: &Desired, staying: &[Holder<'_>]) -> Self {
        let total = desired.total() as usize;
        let base = total.min(spot.on_demand_base as usize);
        let standins = if spot.on_demand_fallback { standins(desired, base, staying) } else { 0 };
        Self { base, overprovision: spot.overprovision as usize, standins }
    }
}

/// How many replicas should stand in on firm capacity for spot capacity that does not serve now.
///
/// The gap is what is wanted beyond the base and does not serve on spot capacity; overprovision fills it first, so a
/// preemption that leaves enough ready opens none. It is filled by what will serve soonest: what is further on goes
/// first, then what is older. A stand-in is therefore not started while as many spot replicas are on their way, since
/// it would be ready after them; one that serves or loads longer than they do goes on, and is surplus once the gap
/// is closed. What has crashed is on no way: it may never serve. (`SkyServe` starts stand-ins for all that is not
/// ready, the overprovision included, and so pays twice for every load.)
fn standins(desired: &Desired, base: usize, staying: &[Holder<'_>]) -> usize {
    let total = desired.total() as usize;
    let (spot, firm): (Vec<&Holder<'_>>, Vec<&Holder<'_>>) =
        staying.iter().partition(|holder| Class::Spot.contains(holder.node));
    let serving = spot.iter().filter(|holder| holder.claim.state.serves()).count();
    let gap = total.saturating_sub(base + serving);
    let place = |holder: &Holder<'_>| (Stage::from(holder.claim.state), holder.claim.claimed, holder.claim.id);
    let mut firm: Vec<_> = firm.into_iter().map(|holder| (place(holder), false)).collect();
    firm.sort_unstable();
    let coming = spot.into_iter().filter(|holder| {
        let state = holder.claim.state;
        !state.serves() && state != ReplicaState::Backoff && desired.wants(holder.claim.revision)
    });
    let mut line: Vec<_> = firm.into_iter().skip(base).chain(coming.map(|holder| (place(holder), true))).collect();
    line.sort_unstable();
    gap - line.iter().take(gap).filter(|(_, is_spot)| *is_spot).count()
}
