//! GPUs that fail, by a stand-in for NVIDIA's library that the real wrapper loads.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use super::harness::{Mesh, Node, chat, find, list, ready, stderr, stdout};

/// The library of a node, and the file that its GPUs are as.
struct MockedGpus {
    state: PathBuf,
    events: Vec<Value>,
}

impl MockedGpus {
    /// Gives `node`, which does not run, eight H100s.
    fn install(node: &Node) -> Self {
        let library = PathBuf::from(node.state_dir()).with_file_name("libnvidia-ml.so.1");
        // Cargo puts it where it puts this test.
        fs::copy(std::env::current_exe().unwrap().with_file_name("libmock_nvml.so"), &library).unwrap();
        let simulated = "gpus: {library: /nonexistent, simulated: [{count: 2, name: H100, memory: 80GiB}]}";
        node.configure(simulated, &format!("gpus: {{library: {}}}", library.display()));
        let state = library.with_added_extension("json");
        fs::write(&state, "{}").unwrap();
        Self { state, events: Vec::new() }
    }

    fn report(&mut self, gpu: &str, xid: u32) {
        let index: u32 = gpu.chars().last().unwrap().to_digit(10).unwrap();
        self.events.push(json!({"gpu": index, "xid": xid}));
        let next = self.state.with_extension("next");
        fs::write(&next, json!({"events": self.events}).to_string()).unwrap();
        fs::rename(next, &self.state).unwrap();
    }
}

/// The claims of `hello`, each with its state and the GPU that it holds.
fn holders(status: &Value) -> Vec<(String, String, String)> {
    let node = &status["nodes"][0];
    let gpu_of = |claim: &Value| {
        let gpu = list(&node["gpus"]).find(|gpu| gpu["usedBy"]["replica"] == *claim);
        gpu.map_or_else(String::new, |gpu| gpu["id"].as_str().unwrap().to_owned())
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    list(&find(status, "hello").unwrap()["status"]["replicas"])
        .map(|replica| (text(&replica["claim"]), text(&replica["state"]), gpu_of(&replica["claim"])))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rule_4_a_replica_leaves_a_gpu_that_fails_for_one_that_does_not() {
    let mut mesh = Mesh::start(1).await;
    mesh.nodes[0].stop();
    let mut gpus = MockedGpus::install(&mesh.nodes[0]);
    mesh.nodes[0].start().await;
    mesh.apply(0, "hello", 1).await;
    let node = &mesh.nodes[0];
    let (first, _, ill) = holders(&node.status()).remove(0);
    assert!(ill.starts_with("GPU-"), "{ill}");

    gpus.report(&ill, 48);
    let moved = |status: &Value| {
        let holders = holders(status);
        holders.len() == 1 && holders[0].0 != first && holders[0].1 == "ready"
    };
    while !moved(&node.status()) {
        assert_eq!(chat(&node.http(), "hello", "x", 2).await.unwrap().status, 200, "it serves all the time");
    }
    assert_ne!(holders(&node.status())[0].2, ill);
    let said = node.run(&["status"], "");
    assert!(said.status.code() == Some(1) && stdout(&said).contains("Xid 48"), "{}", stdout(&said));
    assert!(node.run_ok(&["describe", "node", "node-0"]).contains("Xid 48"));
    let config = node.config().display().to_string();
    let doctor = node.run(&["doctor", "--config", &config], "");
    assert_eq!(doctor.status.code(), Some(1), "{}", stdout(&doctor));
    for word in ["it answers, and knows 8 GPU(s)", "Xid 48", "shoal undrain node-0 --gpu"] {
        assert!(stdout(&doctor).contains(word), "{word}: {}", stdout(&doctor));
    }

    node.run_ok(&["undrain", "node-0", "--gpu", &ill]);
    node.wait_for("the GPU to be used again", |status| {
        list(&status["nodes"][0]["gpus"]).all(|gpu| gpu["fault"].is_null())
    })
    .await;
    let again = node.run(&["undrain", "node-0", "--gpu", &ill], "");
    assert!(!again.status.success() && stderr(&again).contains("has no fault"), "{}", stderr(&again));

    // One that has fallen off the bus takes the whole host along.
    gpus.report(&ill, 79);
    let leaves = |status: &Value| status["nodes"][0]["departure"]["reason"] == "gpu-fault";
    let status = node.wait_for("the node to leave", leaves).await;
    assert!(status["nodes"][0]["departure"]["detail"].as_str().unwrap().contains("Xid 79"));
    assert_eq!(ready(&status, "hello"), 1, "the last replica stays while nobody takes its place");
}

/// A contained error kills what uses the memory, and the GPU is well: only the engine starts anew.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_whose_gpu_reports_a_contained_error_is_started_again() {
    let mut mesh = Mesh::start(1).await;
    mesh.nodes[0].stop();
    let mut gpus = MockedGpus::install(&mesh.nodes[0]);
    mesh.nodes[0].start().await;
    mesh.apply(0, "hello", 1).await;
    let node = &mesh.nodes[0];
    let (claim, _, gpu) = holders(&node.status()).remove(0);
    let before = node.engines();
    gpus.report(&gpu, 94);
    let another =
        |status: &Value| ready(status, "hello") == 1 && node.engines() != before && !node.engines().is_empty();
    let status = node.wait_for("another engine", another).await;
    assert_eq!(holders(&status)[0], (claim, "ready".to_owned(), gpu), "the same claim on the same GPU");
    let log = node.run_ok(&["logs", "--previous", "hello"]);
    assert!(log.contains("simulated"), "{log}");
}
