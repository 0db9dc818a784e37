//! One ingress as it chooses, without sockets and engines: what this crate's benchmarks measure, and what simulations are
//! made of. No part of the API.

use std::{sync::Arc, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use shoal_types::{ClaimId, EndpointName, Hlc, Load, NodeId, Revision, RoutingPolicy, UnixMillis};
use tokio::time::Instant;

use crate::{
    Place, QueueBounds, Replica, Route, RouteRevision, RoutingTable, Site,
    attempt::Tried,
    choose::{Affinity, Chooser, Computing, Knowledge, Known, Quest},
    circuits::Circuits,
    head::{Head, HeadError},
    headroom::SaidFull,
    inflight::Serving,
    routes::Wanted,
};

const MODEL: &str = "llama";

/// An ingress with one route, to replicas of other nodes.
#[derive(Debug)]
pub struct Trial {
    circuits: Circuits,
    said_full: SaidFull,
    knowledge: Knowledge,
    routes: RoutingTable,
    random: StdRng,
}

/// A request that was sent to a replica; it is over when this is dropped.
#[derive(Debug)]
pub struct Sent {
    position: usize,
    known: Arc<Known>,
    computing: Option<Computing>,
    _serving: Serving,
}

impl Trial {
    /// One that draws its random numbers by `seed`, without a route.
    pub fn new(seed: u64) -> Self {
        Self {
            circuits: Circuits::default(),
            said_full: SaidFull::default(),
            knowledge: Knowledge::new(Arc::default()),
            routes: RoutingTable::default(),
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// Routes to as many replicas as there are `loads`, which gossip has brought at `now`.
    pub fn route(&mut self, policy: RoutingPolicy, loads: &[Option<Load>], now: Instant) {
        let Ok(endpoint) = MODEL.parse::<EndpointName>() else { return };
        let time = UnixMillis::from_millis(1);
        let replica = |(number, load): (u8, &Option<Load>)| {
            let node = NodeId::from_bytes([number; 16]);
            let claim = ClaimId { node, generation: time, counter: 1 };
            let revision = Revision(Hlc { time, counter: 0, node: NodeId::from_bytes([0; 16]) });
            Replica { claim, revision, node, place: Place::Remote, load: *load, site: Site::default() }
        };
        let replicas: Vec<Replica> = (1..=u8::MAX).zip(loads).map(replica).collect();
        let revision = replicas.first().map(|replica| RouteRevision {
            revision: replica.revision,
            model: MODEL.to_owned(),
            aliases: Default::default(),
            adapters: Default::default(),
            weight: 100,
            continues_messages: true,
        });
        let route = Route {
            endpoint,
            created: time,
            timeout: Duration::from_secs(600),
            may_wake: false,
            revisions: revision.into_iter().collect(),
            replicas,
            policy,
            streams: Default::default(),
            max_inflight: None,
            queue: QueueBounds::default(),
        };
        self.routes = RoutingTable::new([route]).after(&self.routes, &self.knowledge, now);
    }

    /// Reads the request with this body as far as choosing needs it: how many blocks its prefix has. `None` if it is none.
    pub fn read(&self, body: &[u8]) -> Option<usize> {
        self.affinity(body).ok().map(|(_, affinity)| affinity.prompt().0.len())
    }

    /// Sends the request with this body, at `now`. `None` if it is none, or if there is no replica.
    pub fn send(&mut self, body: &[u8], now: Instant) -> Option<Sent> {
        let (wanted, affinity) = self.affinity(body).ok()?;
        let chooser = Chooser { routes: &self.routes, circuits: &self.circuits, said_full: &self.said_full };
        let tried = Tried::default();
        let quest = Quest { wanted: &wanted, affinity: &affinity, tried: &tried, rest_of: None, but: None };
        let (chosen, choice) = chooser.choose(quest, self.random.random(), now, &mut Vec::new()).ok()?;
        Some(Sent {
            position: choice.position,
            known: chosen.known,
            computing: Some(chosen.computing),
            _serving: chosen.serving,
        })
    }

    fn affinity(&self, body: &[u8]) -> Result<(Wanted, Affinity), HeadError> {
        let head = Head::parse(body)?;
        let route = self.routes.route(MODEL).ok_or(HeadError::NoModel)?;
        let affinity = Affinity::new(route, "", &http::HeaderMap::new(), &head.prompt);
        Ok((Wanted::new(route, &head.model), affinity))
    }
}

impl Sent {
    /// To which replica, as counted from 0.
    pub const fn position(&self) -> usize {
        self.position
    }

    /// Its answer begins, and says that the replica has this `load` beside it.
    pub fn answered(&mut self, load: Load, now: Instant) {
        self.computing = None;
        self.known.note(load, now);
    }

    /// Its answer is whole, and says that the replica has this `load` beside it.
    pub fn ended(self, load: Load, now: Instant) {
        self.known.note(load, now);
    }
}
