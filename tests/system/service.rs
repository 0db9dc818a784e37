//! The daemon as a service manager runs it: what it is given, and what it tells.

use std::{fs, os::unix::net::UnixDatagram, time::Duration};

use super::harness::{Mesh, Node, PATIENCE, Placement, SigtermMeans, alive, stderr};

/// What the daemon says next.
fn said(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let read = manager.recv(&mut buffer).expect("the daemon says something");
    String::from_utf8_lossy(&buffer[..read]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_hears_that_the_node_is_up_that_it_lives_and_that_it_ends() {
    let mut mesh = Mesh::start(1).await;
    let dir = tempfile::tempdir().unwrap();
    let manager = UnixDatagram::bind(dir.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let node = &mut mesh.nodes[0];
    node.stop();
    node.set_env("NOTIFY_SOCKET", &dir.path().join("notify").display().to_string());
    node.set_env("WATCHDOG_USEC", "300000");
    node.start().await;
    assert!(said(&manager).starts_with("READY=1\nSTATUS=Node "));
    for _ in 0..3 {
        assert_eq!(said(&manager), "WATCHDOG=1");
    }
    node.terminate();
    let last = std::iter::from_fn(|| Some(said(&manager))).find(|said| said != "WATCHDOG=1").unwrap();
    assert!(last.starts_with("STOPPING=1\nSTATUS="), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_makes_a_host_a_node_once() {
    let mesh = Mesh::start(1).await;
    let (dir, credentials) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let token = |content: &str| fs::write(credentials.path().join("join-token"), content).unwrap();
    let mut node = Node::prepare(dir.path().join("joining"), 1, Placement::Home, SigtermMeans::Daemon);
    node.set_env("CREDENTIALS_DIRECTORY", &credentials.path().display().to_string());

    token("\n");
    let none = stderr(&node.run_agent());
    assert!(none.contains("no identity in"), "a blank credential is none: {none}");
    token("hello");
    let wrong = stderr(&node.run_agent());
    assert!(wrong.contains("this is not a join token"), "{wrong}");

    token(&mesh.nodes[0].run_ok(&["token", "create"]));
    node.start().await;
    node.wait_for("both nodes", |status| alive(status) == 2).await;
    node.terminate();
    token("hello");
    node.start().await;
    node.wait_within(Duration::from_secs(30), "the node that it was", |status| alive(status) == 2).await;
}
