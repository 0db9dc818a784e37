use std::time::Duration;

use shoal_types::Load;
use tokio::time::Instant;

use super::*;
use crate::fixture::facts;

const ME: NodeId = NodeId::from_bytes([1; 16]);
const PEER: NodeId = NodeId::from_bytes([2; 16]);
const OTHER: NodeId = NodeId::from_bytes([3; 16]);

/// A roster, and the clock that its steps go by.
struct Scene {
    roster: Roster,
    start: Instant,
    secs: u64,
}

impl Scene {
    fn new() -> Self {
        let mut own = Said::default();
        own.set(ME, Key::Facts, &text(&facts("me"))).unwrap();
        let patience = Patience::new(Duration::from_millis(500));
        let roster = Roster::new(ME, MeshId::from_bytes([9; 16]), patience, own, UnixMillis::default()).unwrap();
        Self { roster, start: Instant::now(), secs: 0 }
    }

    /// One second later, `heard` is heard.
    fn hear(&mut self, heard: Vec<Heard>) -> bool {
        self.secs += 1;
        let none = BTreeSet::new();
        let around = Circumstances { connected: &none, silent: &none, revoked: &BTreeMap::new(), deaf: false };
        let now = Now { monotonic: self.start + Duration::from_secs(self.secs), wall: self.wall() };
        self.roster.hear(heard, around, now)
    }

    fn wall(&self) -> UnixMillis {
        UnixMillis::from_millis(self.secs * 1_000)
    }

    /// This node says something, or nothing any more.
    fn say(&mut self, key: Key, text: Option<&str>) {
        match text {
            Some(text) => self.roster.own.set(key, text).unwrap(),
            None => self.roster.own.clear(key),
        }
        self.roster.own.show(self.wall());
    }

    fn shown(&self, node: NodeId) -> Arc<NodeView> {
        self.roster.view(&Snapshot::default()).nodes[&node].clone()
    }
}

fn text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

/// `node` at `version`, with these values besides its facts.
fn says(node: NodeId, version: u64, values: &[(Key, String)]) -> Heard {
    let mut all = vec![(Key::Facts, text(&facts("peer")))];
    all.extend_from_slice(values);
    Heard { node, state: (1, version), live: true, values: Some(all) }
}

/// A node that says nothing new at `version`; `live` by its heartbeats.
fn beats(node: NodeId, version: u64, live: bool) -> Heard {
    Heard { node, state: (1, version), live, values: None }
}

fn specs(digest: &str) -> Vec<(Key, String)> {
    vec![(Key::Specs, text(&digest))]
}

#[tokio::test]
async fn views_share_the_nodes_that_did_not_change() {
    let mut scene = Scene::new();
    assert!(scene.hear(vec![says(PEER, 1, &specs("a")), says(OTHER, 1, &specs("a"))]));
    let (me, peer, other) = (scene.shown(ME), scene.shown(PEER), scene.shown(OTHER));
    assert!(!scene.hear(vec![beats(PEER, 1, true), beats(OTHER, 1, true)]), "heartbeats are no news");
    assert!(scene.hear(vec![says(PEER, 2, &specs("b")), beats(OTHER, 1, true)]));
    assert!(!Arc::ptr_eq(&scene.shown(PEER), &peer));
    assert_eq!((scene.shown(PEER).specs.as_str(), scene.shown(PEER).heard), ("b", scene.wall()));
    assert!(Arc::ptr_eq(&scene.shown(OTHER), &other) && Arc::ptr_eq(&scene.shown(ME), &me));
}

#[tokio::test]
async fn a_node_that_says_the_same_again_is_the_same() {
    let mut scene = Scene::new();
    scene.hear(vec![says(PEER, 1, &specs("a"))]);
    let before = scene.shown(PEER);
    assert!(!scene.hear(vec![says(PEER, 2, &specs("a"))]));
    assert!(!scene.hear(vec![Heard { state: (2, 1), ..says(PEER, 1, &specs("a")) }]), "its gossip was restarted");
    assert!(Arc::ptr_eq(&scene.shown(PEER), &before));
    assert_eq!(scene.roster.read()[&PEER], (2, 1), "and is not read again");
}

#[tokio::test]
async fn a_node_that_is_lost_is_another_one_and_its_last_word_stays_as_old_as_it_is() {
    let mut scene = Scene::new();
    scene.hear(vec![says(PEER, 1, &specs("a"))]);
    let (before, said) = (scene.shown(PEER), scene.wall());
    assert!(scene.hear(vec![beats(PEER, 1, false)]));
    let lost = scene.shown(PEER);
    assert!(!Arc::ptr_eq(&lost, &before));
    assert_eq!((lost.liveness, lost.heard), (Liveness::Suspect { since: scene.wall() }, said));
    assert!(scene.hear(vec![beats(PEER, 1, true)]));
    assert!(scene.shown(PEER).is_alive());
}

#[tokio::test]
async fn the_own_node_changes_with_what_it_says() {
    let mut scene = Scene::new();
    let before = scene.shown(ME);
    scene.say(Key::Load(1), Some(&text(&Load::default())));
    assert!(Arc::ptr_eq(&scene.shown(ME), &before), "a load of no claim shows nothing");
    scene.say(Key::Specs, Some("\"b\""));
    let after = scene.shown(ME);
    assert_eq!(after.specs, "b");
    scene.say(Key::Specs, None);
    assert!(!Arc::ptr_eq(&scene.shown(ME), &after));
}
