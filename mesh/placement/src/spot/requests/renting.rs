//! What the spot policy rents for one endpoint.

use shoal_types::{CapacityType, EndpointRecord, Spot, UnixMillis, stable_hash};

use super::{asked::Asked, offers::Offers, places::Place, rooms::Berth};
use crate::{
    scene::Scene,
    spot::{Held, Launch, OfferId, Portfolio, Situation, Tuning, portfolio::Lacking},
};

/// Replicas of one endpoint that are decided about at once, as each makes the decision longer; the others follow when
/// these are there.
const AT_ONCE: u32 = 64;

/// What should be rented.
#[derive(Debug)]
pub(super) struct Rented {
    /// Where what is missing of the base can be had.
    pub(super) firm: Vec<Place>,
    /// Spot replicas that are missing, with the spares that are necessary.
    pub(super) missing: u32,
    /// Where they can be had, and what stands in for them.
    pub(super) hedged: Vec<Place>,
}

/// What [`Portfolio`] rents for `record` when `desired` are wanted, of whose base `firm` have no room, and it has `berths`.
pub(super) fn rent(
    scene: &Scene<'_>,
    asked: &Asked,
    record: &EndpointRecord,
    (desired, firm): (u32, usize),
    berths: &[Berth<'_>],
) -> Rented {
    let spec = &record.endpoint.spec;
    let spot = spec.placement.spot.clone().unwrap_or_default();
    let takes_firm = spot.on_demand_fallback || spot.on_demand_base > 0;
    let is_allowed = |capacity| capacity == CapacityType::Spot || takes_firm;
    let mut offers = Offers::new(scene, asked, spec, is_allowed).without_refusing(scene.now);
    let held: Vec<Held> =
        berths.iter().zip(0..).map(|(berth, id)| held(berth, id, offers.offer_of(berth.node, scene))).collect();
    let Lacking { spot: missing, launch } = lacking(scene, asked, &offers, &spot, desired, &held);
    let firm = u32::try_from(firm).unwrap_or(u32::MAX);
    let (mut base, mut hedged) = (Vec::new(), Vec::new());
    for (offer, place) in offers.places() {
        let count = count(&launch, offer);
        if place.capacity_type == CapacityType::Spot {
            hedged.push(Place { replicas: count, ..place });
            continue;
        }
        // What stays goes to one offer, the base first.
        let of_base = count.min(firm);
        if spot.on_demand_fallback {
            hedged.push(Place { replicas: count - of_base, ..place.clone() });
        }
        base.push(Place { replicas: of_base, ..place });
    }
    Rented { firm: base, missing, hedged }
}

/// What `spot` makes of it. On all nodes the same, in each mesh another one where zones are alike.
fn lacking(scene: &Scene<'_>, asked: &Asked, offers: &Offers, spot: &Spot, desired: u32, held: &[Held]) -> Lacking {
    let seed = stable_hash(&[b"mesh", scene.view.mesh.as_bytes()]);
    let refused = offers.were_refused(asked, scene.now);
    let policy = Portfolio::new(offers.market(), spot.clone(), Tuning::default(), seed);
    let policy = policy.knowing(offers.histories(), refused);
    let there = u32::try_from(held.len()).unwrap_or(u32::MAX);
    let wanted = desired.min(there.saturating_add(AT_ONCE));
    policy.lacking(&Situation { now: scene.now, wanted, held, news: &[] })
}

/// One replica is one instance, as in the simulator.
fn held(berth: &Berth<'_>, id: u64, offer: OfferId) -> Held {
    let since = berth.claim.map_or_else(UnixMillis::default, |claim| claim.claimed);
    Held { id, offer, since, ready: berth.claim.is_some_and(|claim| claim.state.serves()) }
}

fn count(launch: &[Launch], offer: OfferId) -> u32 {
    launch.iter().filter(|launch| launch.offer == offer).map(|launch| launch.count).sum()
}
