//! How this node reaches the others, tried now: `/v1/paths`, for `shoal doctor`.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use shoal_mesh::{PeerStatus, clock};
use shoal_types::{NodeId, UnixMillis};
use tokio::time::{Instant, sleep, timeout};

use super::{
    gather::MissingNode,
    routes::{Admin, Shared},
};

/// What QUIC takes for granted of every path. It looks for more once there is a connection.
const MTU_LEAST: u16 = 1_200;
/// How long it is given for that: what does not get through is tried three times, of four sizes above those of Ethernet.
const MTU_DISCOVERY: Duration = Duration::from_secs(3);
/// How often is looked meanwhile.
const MTU_LOOK: Duration = Duration::from_millis(100);

/// What the answering node knows of the way to others.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Paths {
    /// The node that answers.
    pub(crate) node: String,
    /// Until when its certificate is good.
    pub(crate) certificate_expires: UnixMillis,
    /// Each node that answered it.
    pub(crate) peers: Vec<PathToPeer>,
    /// Those that did not, and why.
    pub(crate) missing: Vec<MissingNode>,
}

/// The way to one node that has answered over it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PathToPeer {
    /// What people call it.
    pub(crate) node: String,
    /// Where it is connected.
    pub(crate) address: Option<String>,
    /// Milliseconds until it had answered a question.
    pub(crate) answered_ms: f64,
    /// Round trip in milliseconds, as QUIC estimates it.
    pub(crate) rtt_ms: Option<f64>,
    /// Largest packet that the path carries, in bytes, as far as QUIC has found out.
    pub(crate) mtu: Option<u16>,
    /// Milliseconds by which its clock is ahead of this node's; `None` if they were not compared within two minutes.
    pub(crate) clock_ahead_ms: Option<i64>,
}

pub(super) async fn paths(State(admin): Shared) -> Json<Paths> {
    let ask = |admin: Arc<Admin>, node| async move {
        let start = Instant::now();
        admin.peers.detail(node).await.map(|_| start.elapsed())
    };
    let (answered, missing) = admin.ask_others(ask).await;
    let undiscovered = |peer: &PeerStatus| peer.mtu.is_some_and(|mtu| mtu <= MTU_LEAST);
    let discovered = async {
        while admin.mesh.peers().iter().any(undiscovered) {
            sleep(MTU_LOOK).await;
        }
    };
    // Where a path carries no more, that is what is told.
    let _ = timeout(MTU_DISCOVERY, discovered).await;
    let (statuses, clocks, view) = (admin.mesh.peers(), admin.mesh.store().clock_offsets(clock::now()), admin.view());
    let path = |(node, took): (NodeId, Duration)| {
        let status = statuses.iter().find(|peer| peer.node == node);
        PathToPeer {
            node: view.nodes.get(&node).map_or_else(|| node.short(), |node| node.facts.name.clone()),
            address: status.and_then(|peer| peer.address).map(|address| address.to_string()),
            answered_ms: took.as_secs_f64() * 1e3,
            rtt_ms: status.and_then(|peer| peer.rtt).map(|rtt| rtt.as_secs_f64() * 1e3),
            mtu: status.and_then(|peer| peer.mtu),
            clock_ahead_ms: clocks.get(&node).map(|skew| {
                let by = i64::try_from(skew.by.as_millis()).unwrap_or(i64::MAX);
                if skew.ahead { -by } else { by }
            }),
        }
    };
    let mut peers: Vec<PathToPeer> = answered.into_iter().map(path).collect();
    peers.sort_by(|a, b| a.node.cmp(&b.node));
    Json(Paths { node: admin.own_name(), certificate_expires: admin.identity.not_after(), peers, missing })
}

impl Admin {
    fn own_name(&self) -> String {
        let view = self.view();
        view.nodes.get(&view.me).map_or_else(|| view.me.short(), |node| node.facts.name.clone())
    }
}
