//! All routes, and what their names mean.

use std::{sync::Arc, time::Duration};

use shoal_types::{Backend, ClaimId, EndpointName};
use tokio::time::Instant;

use super::{LocalReplica, Place, Route};
use crate::{
    choose::{Knowledge, KnownRoute},
    map::Map,
};

/// An immutable snapshot of all routes; the agent makes a new one when its view changes.
///
/// Where two endpoints claim the same name, an endpoint's own name comes before a model id, a model id before an
/// adapter, an adapter before an alias, and then the endpoint whose name sorts first, so that all nodes agree.
#[derive(Debug, Default)]
pub struct RoutingTable {
    routes: Vec<Arc<Route>>,
    by_name: Map<String, Arc<Route>>,
    local: Map<ClaimId, LocalReplica>,
    /// What the ingress that uses the table knows of its replicas.
    known: Map<EndpointName, KnownRoute>,
    complete: bool,
    /// How many tables the ingress had before it.
    number: u64,
}

/// Longest timeout that is given: a deadline must be a point in time.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest name for which a similar one is looked for, in bytes: the search is quadratic in it.
const NEAREST_MAX: usize = 256;

impl RoutingTable {
    /// A table of `routes`, one per endpoint.
    pub fn new(routes: impl IntoIterator<Item = Route>) -> Self {
        let bounded = |route: Route| Arc::new(Route { timeout: route.timeout.min(TIMEOUT_MAX), ..route });
        let mut routes: Vec<Arc<Route>> = routes.into_iter().map(bounded).collect();
        routes.sort_by(|a, b| a.endpoint.cmp(&b.endpoint));
        Self {
            by_name: by_name(&routes),
            local: local(&routes),
            routes,
            known: Map::default(),
            complete: true,
            number: 0,
        }
    }

    /// The same table of a node that may not have heard of all endpoints yet: what it does not know may exist, so it
    /// asks to be asked again instead of saying that there is no such model.
    pub fn incomplete(self) -> Self {
        Self { complete: false, ..self }
    }

    /// The same table for an ingress that had `before`, with what `knowledge` has of its replicas at `now`.
    pub(crate) fn after(self, before: &Self, knowledge: &Knowledge, now: Instant) -> Self {
        Self { known: knowledge.bind(self.routes.iter(), now), number: before.number + 1, ..self }
    }

    /// By which it is told from those that the ingress had before.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// What is known of the replicas of `endpoint`.
    pub(crate) fn known(&self, endpoint: &EndpointName) -> Option<&KnownRoute> {
        self.known.get(endpoint)
    }

    /// Whether what is not in the table does not exist.
    pub(crate) const fn is_complete(&self) -> bool {
        self.complete
    }

    /// The route that `name` means: an endpoint's name, or the model id, an adapter or an alias of one of its revisions.
    pub fn route(&self, name: &str) -> Option<&Arc<Route>> {
        self.by_name.get(name)
    }

    /// All routes in the order of their endpoints' names.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter()
    }

    /// All names that clients may send, each with what it means, sorted.
    pub(crate) fn names(&self) -> Vec<(&str, &Route)> {
        let mut names: Vec<_> = self.by_name.iter().map(|(name, route)| (name.as_str(), route.as_ref())).collect();
        names.sort_by_key(|(name, _)| *name);
        names
    }

    /// The known name that is most like `name`, if one is like it at all.
    pub(crate) fn nearest(&self, name: &str) -> Option<&str> {
        if name.len() > NEAREST_MAX {
            return None;
        }
        let wanted = name.to_lowercase();
        self.names()
            .into_iter()
            .map(|(known, _)| (strsim::jaro_winkler(&wanted, &known.to_lowercase()), known))
            .filter(|(similarity, _)| *similarity > 0.6)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, known)| known)
    }

    /// The replica of this node that holds `claim`.
    pub(crate) fn local(&self, claim: ClaimId) -> Option<&LocalReplica> {
        self.local.get(&claim)
    }

    /// All claims that are routed to.
    pub(crate) fn claims(&self) -> impl Iterator<Item = ClaimId> {
        self.routes.iter().flat_map(|route| route.replicas.iter().map(|replica| replica.claim))
    }

    /// What answers for this node's replicas.
    pub(crate) fn backends(&self) -> impl Iterator<Item = &Backend> {
        self.local.values().map(|replica| &*replica.backend)
    }
}

fn by_name(routes: &[Arc<Route>]) -> Map<String, Arc<Route>> {
    let endpoints = routes.iter().map(|route| (route.endpoint.as_str(), route));
    let revisions = || routes.iter().flat_map(|route| route.revisions.iter().map(move |revision| (revision, route)));
    let models = revisions().map(|(revision, route)| (revision.model.as_str(), route));
    let adapters =
        revisions().flat_map(|(revision, route)| revision.adapters.iter().map(move |name| (name.as_str(), route)));
    let aliases =
        revisions().flat_map(|(revision, route)| revision.aliases.iter().map(move |alias| (alias.as_str(), route)));
    let mut names = Map::default();
    for (name, route) in endpoints.chain(models).chain(adapters).chain(aliases) {
        names.entry(name.to_owned()).or_insert_with(|| Arc::clone(route));
    }
    names
}

fn local(routes: &[Arc<Route>]) -> Map<ClaimId, LocalReplica> {
    let replicas = routes.iter().flat_map(|route| route.replicas.iter().map(move |replica| (route, replica)));
    replicas
        .filter_map(|(route, replica)| match &replica.place {
            Place::Local(backend) => Some((
                replica.claim,
                LocalReplica {
                    backend: Arc::new(backend.clone()),
                    load: replica.load,
                    timeout: route.timeout,
                    max_inflight: route.max_inflight,
                },
            )),
            Place::Remote => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use shoal_types::{Hlc, NodeId, Revision, UnixMillis};

    use super::*;
    use crate::routes::{QueueBounds, RouteRevision};

    fn route(endpoint: &str, model: &str, aliases: &[&str]) -> Route {
        Route {
            endpoint: endpoint.parse().unwrap(),
            created: UnixMillis::from_millis(0),
            timeout: Duration::from_secs(1),
            may_wake: true,
            revisions: vec![revision(1, model, aliases)],
            replicas: Vec::new(),
            policy: Default::default(),
            streams: Default::default(),
            max_inflight: None,
            queue: QueueBounds::default(),
        }
    }

    fn revision(number: u64, model: &str, aliases: &[&str]) -> RouteRevision {
        let time = UnixMillis::from_millis(number);
        RouteRevision {
            revision: Revision(Hlc { time, counter: 0, node: NodeId::from_bytes([1; 16]) }),
            model: model.to_owned(),
            aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            adapters: Default::default(),
            weight: 100,
            continues_messages: true,
        }
    }

    fn meaning<'a>(table: &'a RoutingTable, name: &str) -> Option<&'a str> {
        table.route(name).map(|route| route.endpoint.as_str())
    }

    #[test]
    fn an_endpoint_is_found_by_all_its_names_and_no_other() {
        let table = RoutingTable::new([route("llama", "meta/Llama-3", &["gpt-4"]), route("qwen", "Qwen/Qwen3", &[])]);
        for name in ["llama", "meta/Llama-3", "gpt-4"] {
            assert_eq!(meaning(&table, name), Some("llama"), "{name}");
        }
        assert_eq!(meaning(&table, "Qwen/Qwen3"), Some("qwen"));
        assert_eq!(meaning(&table, "llama "), None);
    }

    /// Rule 10: an alias never takes a name from the endpoint that owns it, in whatever order they are given.
    #[test]
    fn own_names_come_before_model_ids_and_those_before_aliases() {
        let routes = [route("a", "m", &["b", "n"]), route("b", "n", &["x"]), route("c", "m", &["x"])];
        for table in [RoutingTable::new(routes.clone()), RoutingTable::new(routes.into_iter().rev())] {
            assert_eq!(meaning(&table, "b"), Some("b"));
            assert_eq!(meaning(&table, "n"), Some("b"));
            assert_eq!(meaning(&table, "m"), Some("a"));
            assert_eq!(meaning(&table, "x"), Some("b"));
        }
    }

    /// Rule 10: an adapter's name means the adapter, unless it is a model's or an endpoint's.
    #[test]
    fn adapters_come_after_model_ids_and_before_aliases() {
        let mut tuned = route("z", "base", &[]);
        tuned.revisions[0].adapters = ["sql", "m", "a"].map(str::to_owned).into();
        let table = RoutingTable::new([route("a", "m", &["sql"]), tuned]);
        for (name, endpoint) in [("sql", "z"), ("m", "a"), ("a", "a"), ("base", "z")] {
            assert_eq!(meaning(&table, name), Some(endpoint), "{name}");
        }
    }

    #[test]
    fn the_names_of_all_revisions_are_known_and_no_alias_takes_one() {
        let mut rolling = route("a", "new", &["x"]);
        rolling.revisions.push(revision(0, "old", &["y"]));
        let table = RoutingTable::new([route("b", "m", &["old", "y"]), rolling]);
        for name in ["new", "old", "x", "y"] {
            assert_eq!(meaning(&table, name), Some("a"), "{name}");
        }
    }

    #[test]
    fn the_nearest_name_is_one_that_is_alike() {
        let table = RoutingTable::new([route("llama-70b", "meta/Llama-3", &[]), route("qwen", "Qwen/Qwen3", &[])]);
        assert_eq!(table.nearest("Llama-7b"), Some("llama-70b"));
        assert_eq!(table.nearest("zzzz"), None);
        assert_eq!(table.nearest(&"llama-70b".repeat(100)), None);
    }
}
