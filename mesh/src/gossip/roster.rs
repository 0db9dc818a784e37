//! All nodes as they are known here, and the view made of them. Pure: time is an argument.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use shoal_types::{Liveness, MeshId, NodeFacts, NodeId, NodeView, UnixMillis, View};
use tracing::warn;

use super::{
    fold::{Heard, Read},
    presence::{Now, Patience, Presence, Signs},
    said::Said,
};
use crate::store::Snapshot;

/// Everybody, and this node itself.
#[derive(Debug)]
pub(super) struct Roster {
    me: NodeId,
    mesh: MeshId,
    patience: Patience,
    /// What this node says of itself: shown in its own view before anybody else has heard it.
    pub(super) own: Said,
    members: BTreeMap<NodeId, Member>,
}

#[derive(Debug)]
struct Member {
    state: Read,
    heartbeat: u64,
    heard: UnixMillis,
    presence: Presence,
    facts: NodeFacts,
    said: Said,
}

/// What bears on presence besides chitchat.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances<'a> {
    pub(super) connected: &'a BTreeSet<NodeId>,
    pub(super) revoked: &'a BTreeSet<NodeId>,
    /// See [`Signs::deaf`].
    pub(super) deaf: bool,
}

impl Roster {
    pub(super) fn new(me: NodeId, mesh: MeshId, patience: Patience) -> Self {
        Self { me, mesh, patience, own: Said::default(), members: BTreeMap::new() }
    }

    /// Which state of each node has been read.
    pub(super) fn read(&self) -> BTreeMap<NodeId, Read> {
        self.members.iter().map(|(node, member)| (*node, member.state)).collect()
    }

    /// Takes in one look at chitchat. Returns whether the view is another one now.
    pub(super) fn hear(&mut self, heard: Vec<Heard>, around: Circumstances<'_>, now: Now) -> bool {
        let before = self.members.len();
        self.members.retain(|node, _| !around.revoked.contains(node));
        let mut changed = self.members.len() != before;
        let mut heard: BTreeMap<NodeId, Heard> = heard.into_iter().map(|heard| (heard.node, heard)).collect();
        heard.retain(|node, _| *node != self.me && !around.revoked.contains(node));
        let nodes: Vec<NodeId> = self.members.keys().copied().collect();
        for node in nodes {
            changed |= self.step(node, heard.remove(&node), around, now);
        }
        for heard in heard.into_values() {
            changed |= self.welcome(heard, around, now);
        }
        changed
    }

    /// One step of a known node.
    fn step(&mut self, node: NodeId, heard: Option<Heard>, around: Circumstances<'_>, now: Now) -> bool {
        let Some(member) = self.members.get_mut(&node) else { return false };
        // An older twin is what a freshly restarted chitchat may hear first.
        let heard = heard.filter(|heard| heard.state.0 >= member.state.0);
        let restarted = heard.as_ref().is_some_and(|heard| heard.state.0 > member.state.0);
        let live = heard.as_ref().is_some_and(|heard| heard.live);
        let news = heard.is_some_and(|heard| member.listen(heard, restarted, now.wall));
        let connected = around.connected.contains(&node);
        let signs = Signs { live, left: member.said.left, connected, restarted, deaf: around.deaf };
        let before = member.presence.liveness();
        let Some(after) = member.presence.step(signs, &self.patience, now) else {
            self.members.remove(&node);
            return true;
        };
        member.presence = after;
        news || after.liveness() != before
    }

    /// A node that was unknown, if it is there and says who it is.
    fn welcome(&mut self, heard: Heard, around: Circumstances<'_>, now: Now) -> bool {
        let mut said = Said::default();
        let errors = said.replace(heard.node, heard.values.as_deref().unwrap_or_default());
        let connected = around.connected.contains(&heard.node);
        let signs = Signs { live: heard.live, left: said.left, connected, restarted: false, deaf: around.deaf };
        let Some(presence) = Presence::first(signs, now) else { return false };
        warn_of(heard.node, &errors);
        let Some(facts) = said.facts.clone() else { return false };
        let (state, heartbeat) = (heard.state, heard.heartbeat);
        let member = Member { state, heartbeat, heard: now.wall, presence, facts, said };
        self.members.insert(heard.node, member);
        true
    }

    /// Where the nodes that are there can be dialled.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (NodeId, &[SocketAddr])> {
        self.alive().map(|(node, member)| (node, member.facts.addresses.as_slice()))
    }

    /// The other nodes that are there.
    pub(super) fn peers(&self) -> BTreeSet<NodeId> {
        self.alive().map(|(node, _)| node).collect()
    }

    fn alive(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        let alive = |(_, member): &(&NodeId, &Member)| member.presence.liveness() == Liveness::Alive;
        self.members.iter().filter(alive).map(|(node, member)| (*node, member))
    }

    /// The view of this moment.
    pub(super) fn view(&self, specs: &Snapshot, now: UnixMillis) -> View {
        let mut nodes: BTreeMap<NodeId, Arc<NodeView>> =
            self.members.iter().map(|(node, member)| (*node, Arc::new(member.view(*node)))).collect();
        if let Some(facts) = &self.own.facts {
            nodes.insert(self.me, Arc::new(node_view(self.me, facts, &self.own, Liveness::Alive, now)));
        }
        View { me: self.me, mesh: self.mesh, nodes, endpoints: specs.endpoints.clone() }
    }
}

impl Member {
    /// Takes over what was heard; returns whether it says anything new.
    fn listen(&mut self, heard: Heard, restarted: bool, now: UnixMillis) -> bool {
        if heard.heartbeat != self.heartbeat || restarted {
            (self.heartbeat, self.heard) = (heard.heartbeat, now);
        }
        let Some(values) = heard.values else { return false };
        if restarted {
            self.said = Said::default();
        }
        self.state = heard.state;
        warn_of(heard.node, &self.said.replace(heard.node, &values));
        if let Some(facts) = &self.said.facts {
            self.facts.clone_from(facts);
        }
        true
    }

    fn view(&self, node: NodeId) -> NodeView {
        node_view(node, &self.facts, &self.said, self.presence.liveness(), self.heard)
    }
}

fn node_view(id: NodeId, facts: &NodeFacts, said: &Said, liveness: Liveness, heard: UnixMillis) -> NodeView {
    NodeView {
        id,
        facts: facts.clone(),
        gpus: said.gpus.values().cloned().collect(),
        claims: said.claims.values().map(|claim| (claim.id, claim.clone())).collect(),
        loads: said.loads_by_claim(),
        refusals: said.refusals.clone(),
        departure: said.departure.clone(),
        liveness,
        demands: BTreeMap::new(),
        mandates: BTreeMap::new(),
        departures: Vec::new(),
        distances: BTreeMap::new(),
        models: BTreeSet::new(),
        specs: said.specs.clone(),
        heard,
    }
}

fn warn_of(node: NodeId, errors: &[(super::Key, super::said::ValueError)]) {
    for (key, error) in errors {
        warn!(%node, %key, %error, "a node gossips a value that was not taken over");
    }
}
