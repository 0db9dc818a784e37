//! All nodes as they are known here, and the view made of them. Pure: time is an argument.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use shoal_types::{Liveness, MeshId, NodeId, NodeView, UnixMillis, View};
use tracing::warn;

use super::{
    Key,
    fold::{Heard, Read},
    known::Known,
    presence::{Now, Patience, Presence, Signs},
    said::{Said, ValueError},
};
use crate::store::Snapshot;

/// Everybody, and this node itself.
#[derive(Debug)]
pub(super) struct Roster {
    me: NodeId,
    mesh: MeshId,
    patience: Patience,
    /// What this node says of itself: shown in its own view before anybody else has heard it.
    pub(super) own: Known,
    members: BTreeMap<NodeId, Member>,
}

#[derive(Debug)]
struct Member {
    state: Read,
    presence: Presence,
    known: Known,
}

/// What bears on presence besides chitchat.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances<'a> {
    pub(super) connected: &'a BTreeSet<NodeId>,
    /// Of those, the ones from which nothing comes any more.
    pub(super) silent: &'a BTreeSet<NodeId>,
    pub(super) revoked: &'a BTreeMap<NodeId, UnixMillis>,
    /// See [`Signs::deaf`].
    pub(super) deaf: bool,
}

impl Circumstances<'_> {
    fn is_connected(&self, node: NodeId) -> bool {
        self.connected.contains(&node) && !self.silent.contains(&node)
    }
}

impl Roster {
    /// One in which there is only this node, `me`, which says `own`; `None` if it does not say who it is.
    pub(super) fn new(me: NodeId, mesh: MeshId, patience: Patience, own: Said, now: UnixMillis) -> Option<Self> {
        let own = Known::new(me, own, Liveness::Alive, now)?;
        Some(Self { me, mesh, patience, own, members: BTreeMap::new() })
    }

    /// Which state of each node has been read.
    pub(super) fn read(&self) -> BTreeMap<NodeId, Read> {
        self.members.iter().map(|(node, member)| (*node, member.state)).collect()
    }

    /// Takes in one look at chitchat. Returns whether the view is another one now.
    pub(super) fn hear(&mut self, heard: Vec<Heard>, around: Circumstances<'_>, now: Now) -> bool {
        let before = self.members.len();
        self.members.retain(|node, _| !around.revoked.contains_key(node));
        let mut changed = self.members.len() != before;
        let mut heard: BTreeMap<NodeId, Heard> = heard.into_iter().map(|heard| (heard.node, heard)).collect();
        heard.retain(|node, _| *node != self.me && !around.revoked.contains_key(node));
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
        let before = member.known.view().clone();
        if let Some(heard) = heard {
            member.listen(&heard, restarted, now.wall);
        }
        let (left, connected) = (member.known.left(), around.is_connected(node));
        let signs = Signs { live, left, connected, restarted, deaf: around.deaf };
        let Some(after) = member.presence.step(signs, &self.patience, now) else {
            self.members.remove(&node);
            return true;
        };
        member.presence = after;
        member.known.judge(after.liveness());
        !Arc::ptr_eq(&before, member.known.view())
    }

    /// A node that was unknown, if it is there and says who it is.
    fn welcome(&mut self, heard: Heard, around: Circumstances<'_>, now: Now) -> bool {
        let mut said = Said::default();
        let errors = said.replace(heard.node, heard.values.as_deref().unwrap_or_default());
        let connected = around.is_connected(heard.node);
        let signs = Signs { live: heard.live, left: said.left, connected, restarted: false, deaf: around.deaf };
        let Some(presence) = Presence::first(signs, now) else { return false };
        warn_of(heard.node, &errors);
        let Some(known) = Known::new(heard.node, said, presence.liveness(), now.wall) else { return false };
        self.members.insert(heard.node, Member { state: heard.state, presence, known });
        true
    }

    /// Where the nodes that are there can be dialled.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (NodeId, &[SocketAddr])> {
        self.alive().map(|(node, member)| (node, member.known.addresses()))
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
    pub(super) fn view(&self, specs: &Snapshot) -> View {
        let own = (self.me, self.own.view().clone());
        let others = self.members.iter().map(|(node, member)| (*node, member.known.view().clone()));
        let nodes: BTreeMap<NodeId, Arc<NodeView>> = others.chain([own]).collect();
        View { me: self.me, mesh: self.mesh, nodes, endpoints: specs.endpoints.clone() }
    }
}

impl Member {
    /// Takes over what was heard.
    fn listen(&mut self, heard: &Heard, restarted: bool, now: UnixMillis) {
        let Some(values) = &heard.values else { return };
        if restarted {
            self.known.forget();
        }
        self.state = heard.state;
        warn_of(heard.node, &self.known.replace(values));
        self.known.show(now);
    }
}

fn warn_of(node: NodeId, errors: &[(Key, ValueError)]) {
    for (key, error) in errors {
        warn!(%node, %key, %error, "a node gossips a value that was not taken over");
    }
}

#[cfg(test)]
mod tests;
