//! One endpoint as requests see it: its names, its revisions, its replicas.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use http::HeaderMap;
use shoal_types::{Backend, ClaimId, EndpointName, Load, NodeId, Revision, RoutingPolicy, UnixMillis};

use crate::{
    choose::Site,
    headers::{HOPS_MAX, hops},
    tunnel::NotServing,
};

/// One endpoint and the replicas that can be given new requests.
#[derive(Debug, Clone)]
pub struct Route {
    /// Which endpoint.
    pub endpoint: EndpointName,
    /// What `/v1/models` gives as its age.
    pub created: UnixMillis,
    /// Longest time from a request's arrival to the end of its answer; at most a day is given.
    pub timeout: Duration,
    /// Whether it may have replicas at all: a request then waits for one where none is ready.
    pub may_wake: bool,
    /// The present revision first, then those before it that still have replicas or are to have some.
    pub revisions: Vec<RouteRevision>,
    /// Ready replicas only; may be empty.
    pub replicas: Vec<Replica>,
    /// Which of them a request goes to.
    pub policy: RoutingPolicy,
    /// What is done for its streams.
    pub streams: StreamPolicy,
    /// Requests that one replica is given at once, by all nodes; `None` if it says itself when it is full. What is over it
    /// waits in the queue.
    pub max_inflight: Option<u32>,
    /// Where requests wait for a replica.
    pub queue: QueueBounds,
}

/// What is done for the streams of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamPolicy {
    /// One whose replica is lost goes on with another one, where that can be done without a seam.
    pub resume: bool,
    /// Longest time without a byte in the middle of an answer.
    pub stall: Duration,
    /// A second replica is asked where the first one is slow to begin.
    pub hedge: bool,
}

impl Default for StreamPolicy {
    fn default() -> Self {
        Self { resume: true, stall: Duration::from_secs(60), hedge: false }
    }
}

/// How many requests for one endpoint wait at one node, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueBounds {
    /// Requests that wait at once; beyond it 429, or 503 where nothing serves.
    pub size: usize,
    /// How long one waits for room at replicas that serve; then 429.
    pub deadline: Duration,
}

impl Default for QueueBounds {
    fn default() -> Self {
        Self { size: 512, deadline: Duration::from_secs(60) }
    }
}

/// What the replicas of one revision are called, and what they get of the requests.
#[derive(Debug, Clone)]
pub struct RouteRevision {
    /// Which processes.
    pub revision: Revision,
    /// Hub id or path of its model.
    pub model: String,
    /// Further names that clients may send as `model`.
    pub aliases: BTreeSet<String>,
    /// Names of the LoRA adapters that its engines hold; clients may send them as `model`.
    pub adapters: BTreeSet<String>,
    /// Share of the requests for the endpoint's own name, compared with the weights of the other revisions. One without
    /// any gets a request only where no other has a replica.
    pub weight: u8,
    /// Whether its engines go on with a last message of an assistant (`continue_final_message`) instead of answering it.
    pub continues_messages: bool,
}

/// A replica that can be given new requests.
#[derive(Debug, Clone)]
pub struct Replica {
    /// Which replica, named in every request that is sent to it.
    pub claim: ClaimId,
    /// What it runs. One that its route does not list is asked for the endpoint's own name only, as a last resort.
    pub revision: Revision,
    /// The node that runs it.
    pub node: NodeId,
    /// How it is reached.
    pub place: Place,
    /// What it has to do, if that has been heard.
    pub load: Option<Load>,
    /// Where it is.
    pub site: Site,
}

/// Which replica, and what is to be said of it once it has been chosen. Small, so that it is copied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReplicaRef {
    pub(crate) claim: ClaimId,
    pub(crate) revision: Revision,
    pub(crate) node: NodeId,
    /// By this node: an engine that runs here, or a service that it stands for.
    pub(crate) is_local: bool,
}

impl Replica {
    /// Which one it is.
    pub(crate) const fn named(&self) -> ReplicaRef {
        let Self { claim, revision, node, .. } = *self;
        ReplicaRef { claim, revision, node, is_local: matches!(self.place, Place::Local(_)) }
    }
}

/// How a replica is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// By this node: an engine that runs here, or a service that it stands for.
    Local(Backend),
    /// Through a tunnel to its node.
    Remote,
}

/// What a request asks for: an endpoint by its own name, which any of its revisions answers, or by a model's name, which
/// only the revisions that have it may answer (rule 10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) endpoint: EndpointName,
    /// `None` for the endpoint's own name.
    pub(crate) model: Option<String>,
}

impl Wanted {
    /// What `name` asks of `route`, which it was found by.
    pub(crate) fn new(route: &Route, name: &str) -> Self {
        let model = (name != route.endpoint.as_str()).then(|| name.to_owned());
        Self { endpoint: route.endpoint.clone(), model }
    }

    /// As the client wrote it.
    pub(crate) fn name(&self) -> &str {
        self.model.as_deref().unwrap_or(self.endpoint.as_str())
    }
}

impl RouteRevision {
    /// Whether a client may mean it by `name`.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.model == name || self.adapters.contains(name) || self.aliases.contains(name)
    }
}

impl Route {
    /// The replicas that may answer `wanted`, each with its position among all of the route and the index of its revision;
    /// one that the route does not list has the index after the last.
    pub(crate) fn replicas_for(&self, wanted: &Wanted) -> impl Iterator<Item = (usize, usize, &Replica)> {
        let replicas = self.replicas.iter().enumerate();
        let with_index = replicas.map(|(position, replica)| (position, self.revision_of(replica), replica));
        with_index.filter(move |(_, index, _)| match &wanted.model {
            Some(model) => self.revisions.get(*index).is_some_and(|revision| revision.is_called(model)),
            None => true,
        })
    }

    /// Whether a replica may answer `wanted` now.
    pub(crate) fn serves(&self, wanted: &Wanted) -> bool {
        self.replicas_for(wanted).next().is_some()
    }

    /// Whether `wanted` is still a name of it.
    pub(crate) fn is_called(&self, wanted: &Wanted) -> bool {
        wanted.model.as_deref().is_none_or(|model| self.revisions.iter().any(|revision| revision.is_called(model)))
    }

    /// The model that `name` stands for: that of the revision that is called so, else the present one's.
    pub(crate) fn model(&self, name: &str) -> &str {
        let called = self.revisions.iter().find(|revision| revision.is_called(name));
        called.or_else(|| self.revisions.first()).map_or(self.endpoint.as_str(), |revision| &revision.model)
    }

    /// The model of `revision`, if the route lists it.
    pub(crate) fn model_of(&self, revision: Revision) -> Option<&str> {
        self.revisions.iter().find(|known| known.revision == revision).map(|known| known.model.as_str())
    }

    /// The adapter that `name` stands for, if it stands for one, and the model below it.
    pub(crate) fn adapter(&self, name: &str) -> Option<(&str, &str)> {
        let revision = self.revisions.iter().find(|revision| revision.is_called(name))?;
        let adapter =
            revision.adapters.get(name).filter(|_| revision.model != name && self.endpoint.as_str() != name)?;
        Some((adapter, &revision.model))
    }

    fn revision_of(&self, replica: &Replica) -> usize {
        let position = self.revisions.iter().position(|known| known.revision == replica.revision);
        position.unwrap_or(self.revisions.len())
    }
}

/// A replica of this node, as the far end of a tunnel needs it.
#[derive(Debug)]
pub(crate) struct LocalReplica {
    pub(crate) backend: Arc<Backend>,
    pub(crate) load: Option<Load>,
    pub(crate) timeout: Duration,
    pub(crate) max_inflight: Option<u32>,
}

impl LocalReplica {
    /// Whether a request with these headers may go there: through a gateway, none that has come through as many as it
    /// may.
    pub(crate) fn takes(&self, headers: &HeaderMap) -> Result<(), NotServing> {
        match &*self.backend {
            Backend::Gateway(_) if hops(headers) >= HOPS_MAX => Err(NotServing::Hops),
            Backend::Gateway(_) | Backend::Engine(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use shoal_types::{Hlc, NodeId};

    use super::*;

    fn revision(number: u64, model: &str) -> RouteRevision {
        let time = UnixMillis::from_millis(number);
        let revision = Revision(Hlc { time, counter: 0, node: NodeId::from_bytes([1; 16]) });
        let (aliases, adapters) = (BTreeSet::new(), [format!("{model}-sql")].into());
        RouteRevision { revision, model: model.to_owned(), aliases, adapters, weight: 50, continues_messages: true }
    }

    fn replica(counter: u32, of: &RouteRevision) -> Replica {
        let node = NodeId::from_bytes([1; 16]);
        let claim = ClaimId { node, generation: UnixMillis::from_millis(1), counter };
        Replica { claim, revision: of.revision, node, place: Place::Remote, load: None, site: Site::default() }
    }

    /// The replicas that `name` may be answered by.
    fn answers(route: &Route, name: &str) -> Vec<u32> {
        route.replicas_for(&Wanted::new(route, name)).map(|(_, _, replica)| replica.claim.counter).collect()
    }

    #[test]
    fn rule_10_a_model_is_only_answered_by_revisions_that_have_it() {
        let (new, old) = (revision(2, "new"), revision(1, "old"));
        let forgotten = replica(3, &revision(0, "older"));
        let route = Route {
            endpoint: "llama".parse().unwrap(),
            created: UnixMillis::from_millis(0),
            timeout: Duration::from_secs(1),
            may_wake: true,
            replicas: vec![replica(1, &old), replica(2, &new), forgotten],
            revisions: vec![new, old],
            policy: RoutingPolicy::default(),
            streams: StreamPolicy::default(),
            max_inflight: None,
            queue: QueueBounds::default(),
        };
        assert_eq!(answers(&route, "new"), [2]);
        assert_eq!(answers(&route, "old"), [1]);
        assert_eq!((answers(&route, "new-sql"), answers(&route, "old-sql")), (vec![2], vec![1]));
        assert_eq!(answers(&route, "older"), [0; 0], "what a revision is called is no longer known");
        assert_eq!(answers(&route, "llama"), [1, 2, 3]);
        assert_eq!((route.model("old"), route.model("llama")), ("old", "new"));
    }
}
