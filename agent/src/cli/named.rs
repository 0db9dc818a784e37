//! What `-o name` calls things: `kind/name`, as every verb takes them.

use shoal_mesh::{Restored, TokenStatus};
use shoal_placement::{Explanation, Plan, RolloutStatus};
use shoal_types::{Endpoint, KeyStatus};

use crate::{
    admin::{
        AppliedStatus, EndpointStatus, KeyCreated, MeshStatus, NodeStatus, PastRevisionStatus, ReplicaStatus,
        RequestsFound, UsageReport,
    },
    events::Event,
};

/// What may have a name, or be a list of things that have.
pub(crate) trait Named {
    /// `kind/name` of each thing that it is; `None` if it is nothing that has a name.
    fn names(&self) -> Option<Vec<String>> {
        None
    }
}

impl<T: Named> Named for [T] {
    fn names(&self) -> Option<Vec<String>> {
        let names: Option<Vec<Vec<String>>> = self.iter().map(Named::names).collect();
        names.map(|names| names.concat())
    }
}

impl<T: Named> Named for Vec<T> {
    fn names(&self) -> Option<Vec<String>> {
        self.as_slice().names()
    }
}

macro_rules! named {
    ($($kind:literal $thing:ident: $type:ty => $name:expr;)+) => {
        $(impl Named for $type {
            fn names(&self) -> Option<Vec<String>> {
                let $thing = self;
                Some(vec![format!(concat!($kind, "/{}"), $name)])
            }
        })+
    };
}

named! {
    "node" node: NodeStatus => node.name;
    "endpoint" endpoint: EndpointStatus => endpoint.endpoint.metadata.name;
    "endpoint" endpoint: Endpoint => endpoint.metadata.name;
    "endpoint" applied: AppliedStatus => applied.name;
    "endpoint" rollout: RolloutStatus => rollout.endpoint;
    "endpoint" explanation: Explanation => explanation.endpoint;
    "replica" replica: ReplicaStatus => replica.name;
    "key" key: KeyStatus => key.name;
    "token" token: TokenStatus => token.id;
    "event" event: Event => format_args!("{}/{}", event.node, event.number);
}

impl Named for MeshStatus {
    fn names(&self) -> Option<Vec<String>> {
        Some([self.nodes.names()?, self.endpoints.names()?].concat())
    }
}

impl Named for Plan {
    fn names(&self) -> Option<Vec<String>> {
        Some(self.endpoints.iter().map(|plan| format!("endpoint/{}", plan.endpoint)).collect())
    }
}

impl Named for RequestsFound {
    fn names(&self) -> Option<Vec<String>> {
        Some(self.requests.iter().map(|taken| format!("request/{}", taken.record.id)).collect())
    }
}

impl Named for Restored {
    fn names(&self) -> Option<Vec<String>> {
        Some(vec![self.what.clone()])
    }
}

// Its name would be taken for the secret.
impl Named for KeyCreated {}
impl Named for PastRevisionStatus {}
impl Named for UsageReport {}
