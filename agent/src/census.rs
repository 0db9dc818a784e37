//! Says in the log which nodes come and go, so that an incident can be read there afterwards.

use std::{collections::BTreeMap, sync::Arc};

use shoal_types::{Liveness, NodeId, View};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// What a node's liveness became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Joined,
    Silent,
    Back,
    Left,
    Forgotten,
}

/// Compares each view with the one before, until `stop`.
pub(crate) async fn keep(mut view: watch::Receiver<Arc<View>>, stop: CancellationToken) {
    let mut known = BTreeMap::new();
    loop {
        let current = view.borrow_and_update().clone();
        for (node, turn) in turns(&mut known, &current) {
            let name = current.nodes.get(&node).map_or("", |node| node.facts.name.as_str());
            match turn {
                Turn::Silent => warn!(%node, name, "A node is silent: requests go elsewhere"),
                Turn::Joined => info!(%node, name, "A node is there"),
                Turn::Back => info!(%node, name, "A node is back"),
                Turn::Left => info!(%node, name, "A node has left"),
                Turn::Forgotten => info!(%node, "A node is forgotten"),
            }
        }
        match stop.run_until_cancelled(view.changed()).await {
            Some(Ok(())) => {}
            Some(Err(_)) | None => return,
        }
    }
}

/// What has changed since `known`, which becomes what `view` says.
fn turns(known: &mut BTreeMap<NodeId, Liveness>, view: &View) -> Vec<(NodeId, Turn)> {
    let others = view.nodes.values().filter(|node| node.id != view.me);
    let current: BTreeMap<NodeId, Liveness> = others.map(|node| (node.id, node.liveness)).collect();
    let gone = known.keys().filter(|node| !current.contains_key(node)).map(|&node| (node, Turn::Forgotten));
    let changed = current.iter().filter_map(|(&node, &now)| Some((node, turn(known.get(&node).copied(), now)?)));
    let turns = gone.chain(changed).collect();
    *known = current;
    turns
}

const fn turn(before: Option<Liveness>, now: Liveness) -> Option<Turn> {
    match (before, now) {
        (Some(Liveness::Alive), Liveness::Alive)
        | (Some(Liveness::Suspect { .. }), Liveness::Suspect { .. })
        | (Some(Liveness::Left), Liveness::Left) => None,
        (None, Liveness::Alive) => Some(Turn::Joined),
        (Some(_), Liveness::Alive) => Some(Turn::Back),
        (_, Liveness::Suspect { .. }) => Some(Turn::Silent),
        (_, Liveness::Left) => Some(Turn::Left),
    }
}

#[cfg(test)]
mod tests {
    use shoal_types::UnixMillis;

    use super::*;

    #[test]
    fn a_change_is_told_once() {
        let silent = |millis| Liveness::Suspect { since: UnixMillis::from_millis(millis) };
        assert_eq!(turn(None, Liveness::Alive), Some(Turn::Joined));
        assert_eq!(turn(Some(Liveness::Alive), silent(1)), Some(Turn::Silent));
        assert_eq!(turn(Some(silent(1)), silent(2)), None);
        assert_eq!(turn(Some(silent(1)), Liveness::Alive), Some(Turn::Back));
        assert_eq!(turn(Some(Liveness::Alive), Liveness::Left), Some(Turn::Left));
        assert_eq!(turn(Some(Liveness::Left), Liveness::Left), None);
    }
}
