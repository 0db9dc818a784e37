//! Tells why replicas find no place: what `shoal why` says, at the time when it happened.

use std::{cell::OnceCell, collections::BTreeMap, sync::Arc, time::Duration};

use shoal_mesh::clock;
use shoal_placement::{Explanation, Memory, Scene, WantExplanation, explain, making_room, steward_of};
use shoal_types::{EndpointName, View};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::events::{Draft, Events, Reason};

/// Time between two looks: what finds its place within it is not worth a line.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Watches the endpoints that this node is the steward of, so that each is told of once in the mesh, until `stop`.
pub(crate) async fn keep(
    view: watch::Receiver<Arc<View>>,
    memory: watch::Receiver<Arc<Memory>>,
    events: Events,
    stop: CancellationToken,
) {
    let mut told = BTreeMap::new();
    while stop.run_until_cancelled(sleep(LOOK_EVERY)).await.is_some() {
        let (view, memory) = (view.borrow().clone(), memory.borrow().clone());
        for (name, turn) in turns(&mut told, &Scene { view: &view, memory: &memory, now: clock::now() }) {
            let (reason, message) = match turn {
                Turn::Stuck(replicas, why) => (Reason::NoPlace, format!("{replicas} replicas find no place: {why}")),
                Turn::RoomIsMade(replicas, why) => {
                    (Reason::RoomIsMade, format!("others make room for {replicas} replicas: {why}"))
                }
                Turn::Placed => (Reason::Placed, "all replicas find a place again".to_owned()),
            };
            events.tell(Draft::of_endpoint(reason, &name, message));
        }
    }
}

/// What became of an endpoint's missing replicas.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    /// So many find no place, and why.
    Stuck(usize, String),
    /// For so many that find no place others go, and who.
    RoomIsMade(usize, String),
    Placed,
}

/// Replicas of an endpoint that find no place.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Waiting {
    /// Nothing is done about.
    stuck: usize,
    /// For which others make room.
    room: usize,
}

/// What has changed since `told`, which becomes what it is now.
fn turns(told: &mut BTreeMap<EndpointName, Waiting>, scene: &Scene<'_>) -> Vec<(EndpointName, Turn)> {
    let (mut turns, making) = (Vec::new(), OnceCell::new());
    told.retain(|name, _| scene.view.endpoints.contains_key(name));
    for (name, record) in &scene.view.endpoints {
        if steward_of(scene.view, name) != Some(scene.view.me) {
            told.remove(name);
            continue;
        }
        let explanation = explain(scene, record, making.get_or_init(|| making_room(scene)));
        let now = waiting(&explanation);
        if told.insert(name.clone(), now).unwrap_or_default() != now {
            let turn = match now {
                Waiting { stuck: 0, room: 0 } => Turn::Placed,
                Waiting { stuck: 0, room } => Turn::RoomIsMade(room, explanation.to_string()),
                Waiting { stuck, .. } => Turn::Stuck(stuck, explanation.to_string()),
            };
            turns.push((name.clone(), turn));
        }
    }
    turns
}

fn waiting(explanation: &Explanation) -> Waiting {
    let wants = || explanation.wants.iter();
    Waiting { stuck: wants().map(WantExplanation::unplaced).sum(), room: wants().map(|want| want.room.len()).sum() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use shoal_types::{EndpointRecord, Hlc, MeshId, NodeId, NodeView, Revision, UnixMillis, parse_endpoints};

    use super::*;

    const ME: NodeId = NodeId::from_bytes([1; 16]);

    fn node() -> NodeView {
        let facts = json!({
            "name": "one", "labels": {}, "addresses": [], "version": "0.1.0", "protocol": 1,
            "host": {"cpus": 1, "memory": "1GiB", "os": "test"}, "gpuSource": "none", "issuer": false,
            "engines": ["sim"], "started": 0
        });
        let node = json!({
            "id": ME, "facts": facts, "gpus": [], "claims": {}, "loads": {}, "refusals": [], "departure": null,
            "liveness": "alive", "demands": {}, "mandates": {}, "departures": [], "distances": {}, "models": [],
            "specs": "", "heard": 0
        });
        serde_json::from_value(node).unwrap()
    }

    /// A view of one node without GPUs, and an endpoint whose replica needs so many.
    fn view(gpus: u32) -> View {
        let text = format!(
            "{{apiVersion: shoal/v1, kind: Endpoint, metadata: {{name: a}}, \
             spec: {{model: m, engine: {{kind: sim}}, resources: {{gpus: {gpus}}}}}}}"
        );
        let endpoint = parse_endpoints(&text).unwrap().remove(0);
        let version = Hlc { time: UnixMillis::from_millis(0), counter: 0, node: ME };
        let record = EndpointRecord { endpoint, revision: Revision(version), version, previous: Vec::new() };
        View {
            me: ME,
            mesh: MeshId::from_bytes([0; 16]),
            nodes: [(ME, Arc::new(node()))].into(),
            endpoints: [("a".parse().unwrap(), Arc::new(record))].into(),
        }
    }

    #[test]
    fn what_finds_no_place_is_told_once_and_with_its_reason() {
        let mut told = BTreeMap::new();
        let memory = Memory::default();
        let mut turns = |view: &View| turns(&mut told, &Scene { view, memory: &memory, now: UnixMillis::default() });
        let stuck = turns(&view(8));
        assert!(matches!(&stuck[..], [(_, Turn::Stuck(1, why))] if why.contains("it has 0 GPUs")), "{stuck:?}");
        assert_eq!(turns(&view(8)), []);
        assert_eq!(turns(&view(0)), [("a".parse().unwrap(), Turn::Placed)]);
        assert_eq!(turns(&view(0)), []);
    }
}
