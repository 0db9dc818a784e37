//! Joining: what goes wrong is told apart.

use super::harness::{Mesh, Node, Placement, SigtermMeans, stderr};

/// A node that is not one yet.
fn stranger(dir: &tempfile::TempDir, index: usize) -> Node {
    Node::prepare(dir.path().join(format!("stranger-{index}")), index, Placement::Home, SigtermMeans::Daemon)
}

fn refused(node: &Node, token: &str) -> String {
    let output = node.run(&["join", "-", "--state-dir", &node.state_dir()], token);
    assert!(!output.status.success(), "it joined");
    stderr(&output)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_of_failing_to_join_has_its_own_words() {
    let mesh = Mesh::start(1).await;
    let dir = tempfile::tempdir().unwrap();
    let issuer = &mesh.nodes[0];
    let token = || issuer.run_ok(&["token", "create"]).trim().to_owned();

    let truncated = refused(&stranger(&dir, 1), &token()[..60]);
    let garbage = refused(&stranger(&dir, 2), "hello");

    let used = token();
    stranger(&dir, 3).join_with(&used);
    let used_up = refused(&stranger(&dir, 4), &used);

    let expired = issuer.run_ok(&["token", "create", "--ttl", "1ms"]);
    let expired = refused(&stranger(&dir, 5), &expired);

    let revoked = token();
    let listed: serde_json::Value = serde_json::from_str(&issuer.run_ok(&["token", "list", "-o", "json"])).unwrap();
    let unused = listed.as_array().unwrap().iter().filter(|token| token["usedBy"].as_array().unwrap().is_empty());
    for token in unused {
        issuer.run_ok(&["token", "revoke", token["id"].as_str().unwrap()]);
    }
    let revoked = refused(&stranger(&dir, 6), &revoked);

    let mut other = Mesh::start(1).await;
    let unreachable = other.nodes[0].run_ok(&["token", "create"]);
    other.nodes[0].kill();
    let unreachable = refused(&stranger(&dir, 7), &unreachable);

    let told = [
        (truncated, "damaged or cut off"),
        (garbage, "not a join token"),
        (used_up, "used up"),
        (expired, "expired"),
        (revoked, "revoked"),
        (unreachable, "UDP"),
    ];
    for (text, wanted) in told {
        assert!(text.starts_with("error[") && text.contains(wanted), "expected `{wanted}` in: {text}");
    }
}
