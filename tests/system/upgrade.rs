//! A mesh whose nodes speak different versions, and become one version while it serves.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use super::harness::{Mesh, Node, chat, endpoint, eventually, find, list, ready, serving_nodes};

const NOW: &str = "gossipInterval: 200ms";

/// Asks one node after the other, as a client does that tries the next one where it cannot connect, until `stop`. Returns what
/// went wrong.
async fn ask(nodes: Vec<String>, answered: Arc<AtomicU32>, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut wrong = Vec::new();
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let mut answer = Err("there is no node".to_owned());
        for next in 0..nodes.len() {
            answer = chat(&nodes[(turn + next) % nodes.len()], "hello", "Hi", 5).await;
            if answer.is_ok() {
                break;
            }
        }
        match answer {
            Err(error) => wrong.push(format!("no node takes a request: {error}")),
            Ok(mut answer) => {
                let (text, clean) = answer.rest().await;
                if answer.status != 200 || !clean {
                    wrong.push(format!("{}: {text}", answer.status));
                }
            }
        }
        answered.fetch_add(1, Ordering::Relaxed);
    }
    wrong
}

async fn more(answered: &AtomicU32) {
    let before = answered.load(Ordering::Relaxed);
    eventually("more requests to be answered", async || {
        (answered.load(Ordering::Relaxed) >= before + 20).then_some(())
    })
    .await;
}

fn protocols(node: &Node) -> Vec<u64> {
    let status = node.status();
    let mut protocols: Vec<u64> =
        list(&status["nodes"]).filter_map(|node| node["facts"]["protocol"].as_u64()).collect();
    protocols.sort_unstable();
    protocols
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_half_of_which_is_of_the_version_before_serves_through_a_rolling_upgrade() {
    serves_through_a_rolling_upgrade(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_half_of_which_is_of_the_first_version_serves_through_a_rolling_upgrade() {
    serves_through_a_rolling_upgrade(1).await;
}

/// Half of the nodes speak version `old`, and then all the present one.
async fn serves_through_a_rolling_upgrade(old: u8) {
    let (before, version) = (format!("{NOW}, protocol: {old}"), u64::from(old));
    let mut mesh = Mesh::start(4).await;
    for node in &mut mesh.nodes {
        node.stop();
        node.configure("orphanGrace: 2s", "orphanGrace: 60s");
    }
    for (index, node) in mesh.nodes.iter_mut().enumerate() {
        if index % 2 == 1 {
            node.configure(NOW, &before);
        }
        node.start().await;
    }
    mesh.apply(0, "hello", 3).await;
    let everywhere = |nodes: &[Node]| nodes.iter().all(|node| protocols(node) == [version, version, 3, 3]);
    eventually("all to say what they speak", async || everywhere(&mesh.nodes).then_some(())).await;

    // Specs go from the older ones to the newer ones and back; keys are of version 2, and do no harm to those before it.
    mesh.nodes[2].run_ok(&["key", "create", "team"]);
    for (from, name) in [(1, "of-the-old"), (2, "of-the-new")] {
        mesh.nodes[from].apply(&endpoint(name, 0, "10ms"));
        for node in &mesh.nodes {
            node.wait_for("the spec to be everywhere", |status| find(status, name).is_some()).await;
        }
    }
    assert!(mesh.nodes[0].run_ok(&["key", "list"]).contains("team"));
    let heard = mesh.nodes[1].run_ok(&["key", "list"]).contains("team");
    assert!(old >= 2 || !heard, "it has no word for it");

    let engines = |mesh: &Mesh| -> Vec<Vec<u32>> { mesh.nodes.iter().map(Node::engines).collect() };
    let running = engines(&mesh);
    assert_eq!(running.iter().flatten().count(), 3);
    let (answered, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let nodes: Vec<String> = mesh.nodes.iter().map(Node::http).collect();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..4 {
        clients.spawn(ask(nodes.clone(), Arc::clone(&answered), Arc::clone(&stop)));
    }
    more(&answered).await;
    for index in 0..4 {
        mesh.nodes[index].terminate();
        if index % 2 == 1 {
            mesh.nodes[index].configure(&before, NOW);
        }
        mesh.nodes[index].start().await;
        for node in &mesh.nodes {
            node.wait_for("all replicas to serve again", |status| {
                ready(status, "hello") == 3 && serving_nodes(status, "hello").len() == 3
            })
            .await;
        }
        more(&answered).await;
    }
    stop.store(true, Ordering::Relaxed);
    let wrong: Vec<String> = clients.join_all().await.concat();
    assert!(wrong.is_empty(), "{} of {}: {wrong:?}", wrong.len(), answered.load(Ordering::Relaxed));
    assert_eq!(engines(&mesh), running, "engines are not touched");
    assert_eq!(protocols(&mesh.nodes[0]), [3, 3, 3, 3]);
    eventually("the key to be heard of by those that were older", async || {
        mesh.nodes[1].run_ok(&["key", "list"]).contains("team").then_some(())
    })
    .await;
}
