//! How much room replicas have, by what is known of them. Whoever chooses and whoever calls those that wait go by the same:
//! else one that is called would find no room.

use shoal_types::Backend;
use tokio::time::Instant;

use super::{Burden, Chooser, KnownRoute};
use crate::{
    headroom::{Occupancy, Rooms},
    routes::{Place, Replica, Route},
};

/// Of a load that was gossiped, one in so many may be rounding (`Load::round_count`).
const ROUNDING: u32 = 8;

impl Chooser<'_> {
    /// How full `replica` is, which has this `burden` and `own` requests from here.
    pub(super) fn occupancy(&self, replica: &Replica, burden: Burden, own: u32, now: Instant) -> Occupancy {
        let told = match (&replica.place, burden) {
            // All requests of an engine pass its node.
            (Place::Local(Backend::Engine(_)), _) => Some(0),
            (_, Burden::Fresh(requests)) => Some(requests.all),
            (_, Burden::Stale(requests, _)) => Some(requests.all - requests.all / ROUNDING),
            (_, Burden::Unknown(_)) => None,
        };
        Occupancy { own, told, at_most: self.said_full.at_most(replica.claim, now) }
    }

    /// What the replicas of `route` have to do on average, as far as they have said.
    pub(super) fn mean(&self, route: &Route, known: &KnownRoute, now: Instant) -> u32 {
        let loads = route.replicas.iter().zip(&known.replicas).filter_map(|(replica, known)| {
            let own = known.known.own();
            let burden = known.known.burden(replica, own, now);
            let Occupancy { own, told, .. } = self.occupancy(replica, burden, own, now);
            told.map(|told| u64::from(own.max(told)))
        });
        let (count, sum) = loads.fold((0, 0), |(count, sum), load| (count + 1, sum + load));
        u32::try_from(sum.checked_div(count).unwrap_or(0)).unwrap_or(u32::MAX)
    }

    /// The room of all replicas of `route`, which is one of those that are chosen by.
    pub(crate) fn rooms(&self, route: &Route, now: Instant) -> Rooms {
        let Some(known) = self.routes.known(&route.endpoint) else { return Rooms::of([]) };
        let mean = self.mean(route, known, now);
        let room = |(replica, known): (&Replica, &super::knowledge::KnownReplica)| {
            let own = known.known.own();
            let burden = known.known.burden(replica, own, now);
            (replica.claim, self.occupancy(replica, burden, own, now).room(route.max_inflight, || mean))
        };
        Rooms::of(route.replicas.iter().zip(&known.replicas).map(room))
    }
}
