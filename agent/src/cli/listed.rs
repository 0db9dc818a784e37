//! What `shoal get` lists, and as which table.

use std::{borrow::Cow, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use shoal_mesh::TokenStatus;
use shoal_types::{Departure, DepartureReason, KeyStatus, Liveness};

use super::{
    key,
    named::Named,
    table::{Table, age, or_dash},
    token,
};
use crate::admin::{EndpointStatus, NodeStatus, ReplicaStatus};

/// Something that can be listed by name.
pub(super) trait Listed: DeserializeOwned + Serialize + Named {
    /// Path of the list in the API.
    const PATH: &'static str;
    /// The word for one of them.
    const WORD: &'static str;
    /// Whether they can be selected by labels.
    const HAS_LABELS: bool = false;

    /// Whether `name` means this one.
    fn is(&self, name: &str) -> bool;

    /// The value of a label.
    fn label(&self, _key: &str) -> Option<Cow<'_, str>> {
        None
    }

    /// All of them as a table.
    fn table(list: &[Self], wide: bool) -> Table;
}

/// How long ago there was news of it.
fn news(age_ms: u64) -> String {
    format!("{} ago", age(Duration::from_millis(age_ms)))
}

impl Listed for NodeStatus {
    const PATH: &'static str = "/v1/nodes";
    const WORD: &'static str = "node";
    const HAS_LABELS: bool = true;

    fn is(&self, name: &str) -> bool {
        self.name == name || self.id.to_string().starts_with(name)
    }

    fn label(&self, key: &str) -> Option<Cow<'_, str>> {
        self.labels().get(key)
    }

    fn table(list: &[Self], wide: bool) -> Table {
        let heads = ["NAME", "STATE", "CLUSTER", "ZONE", "CAPACITY", "GPUS", "FREE", "REPLICAS", "NEWS"];
        let mut table = Table::new(&heads, &["RTT", "VERSION", "ADDRESS", "ID"], wide);
        for node in list {
            table.row([
                node.name.clone(),
                node_state(node),
                node.labels().cluster.clone(),
                or_dash(node.labels().zone.as_ref()),
                node.labels().capacity_type.to_string(),
                node.gpu_summary(),
                node.gpus_free.to_string(),
                node.replicas.iter().filter(|replica| !replica.is_over()).count().to_string(),
                news(node.age_ms),
                or_dash(node.rtt_ms.map(|rtt| format!("{rtt:.1}ms"))),
                node.facts.version.clone(),
                or_dash(node.facts.addresses.first()),
                node.id.to_string(),
            ]);
        }
        table
    }
}

/// `alive`, `draining`, `leaving`, `suspect`, `left`.
pub(super) fn node_state(node: &NodeStatus) -> String {
    match (node.liveness, &node.departure) {
        (Liveness::Alive, None) => "alive",
        (Liveness::Alive, Some(Departure { reason: DepartureReason::Drain, .. })) => "draining",
        (Liveness::Alive, Some(_)) => "leaving",
        (Liveness::Suspect { .. }, _) => "suspect",
        (Liveness::Left, _) => "left",
    }
    .to_owned()
}

impl Listed for EndpointStatus {
    const PATH: &'static str = "/v1/endpoints";
    const WORD: &'static str = "endpoint";
    const HAS_LABELS: bool = true;

    fn is(&self, name: &str) -> bool {
        self.endpoint.metadata.name.as_str() == name
    }

    fn label(&self, key: &str) -> Option<Cow<'_, str>> {
        self.endpoint.metadata.labels.get(key).map(|value| Cow::Borrowed(value.as_str()))
    }

    fn table(list: &[Self], wide: bool) -> Table {
        let mut table = Table::new(
            &["NAME", "STATE", "READY", "MODEL", "ENGINE", "GPUS", "NEWS"],
            &["REVISION", "UPDATED", "VERSION"],
            wide,
        );
        for endpoint in list {
            let status = &endpoint.status;
            table.row([
                endpoint.endpoint.metadata.name.to_string(),
                status.health.text().to_owned(),
                format!("{}/{}", status.ready, status.desired),
                endpoint.endpoint.spec.model.clone(),
                endpoint.endpoint.spec.engine.kind().to_owned(),
                endpoint.endpoint.spec.resources.gpus.to_string(),
                news(status.age_ms),
                status.revision.to_string(),
                status.version.time.to_string(),
                status.version.to_string(),
            ]);
        }
        table
    }
}

impl Listed for ReplicaStatus {
    const PATH: &'static str = "/v1/replicas";
    const WORD: &'static str = "replica";

    fn is(&self, name: &str) -> bool {
        self.name == name || self.claim.to_string() == name
    }

    fn table(list: &[Self], wide: bool) -> Table {
        let heads = ["NAME", "STATE", "SINCE", "NODE", "ZONE", "GPUS", "INFLIGHT", "NEWS"];
        let mut table = Table::new(&heads, &["REVISION", "REASON", "CLAIM"], wide);
        for replica in list {
            table.row([
                replica.name.clone(),
                replica_state(replica),
                age(Duration::from_millis(replica.since_ms)),
                replica.node.clone(),
                or_dash(replica.zone.as_ref()),
                replica.gpus.to_string(),
                or_dash(replica.load.map(|load| load.inflight)),
                news(replica.age_ms),
                replica.revision.to_string(),
                or_dash(replica.reason.as_ref()),
                replica.claim.to_string(),
            ]);
        }
        table
    }
}

/// The state, how far it has come, and a doubt where its node has gone quiet.
pub(super) fn replica_state(replica: &ReplicaStatus) -> String {
    let progress = replica.progress.map(|progress| format!(" {progress}")).unwrap_or_default();
    let doubt = match replica.liveness {
        Liveness::Alive if replica.leaving.is_some() => " (leaving)",
        Liveness::Alive => "",
        Liveness::Suspect { .. } => " (node suspect)",
        Liveness::Left => " (node left)",
    };
    format!("{}{progress}{doubt}", replica.state)
}

impl Listed for KeyStatus {
    const PATH: &'static str = "/v1/keys";
    const WORD: &'static str = "key";

    fn is(&self, name: &str) -> bool {
        self.name.to_string() == name || self.id.to_string() == name
    }

    fn table(list: &[Self], wide: bool) -> Table {
        key::table(list, wide)
    }
}

impl Listed for TokenStatus {
    const PATH: &'static str = "/v1/tokens";
    const WORD: &'static str = "token";

    fn is(&self, name: &str) -> bool {
        self.id.to_string() == name
    }

    fn table(list: &[Self], _wide: bool) -> Table {
        token::table(list)
    }
}
