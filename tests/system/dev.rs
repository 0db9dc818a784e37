//! `shoal dev`, as a newcomer runs it.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    process::{Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::harness::{eventually, shoal, stream_chat};

/// A port with enough free ones behind it.
fn http_base(nodes: u16) -> u16 {
    // Tests of this process, and of others that run beside it, look in different places.
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + std::process::id() as u16 % 300 * 97 + TAKEN.fetch_add(16, Ordering::Relaxed);
    let mut candidates = (first..60_000).step_by(97);
    let free = |base: u16| (base..base + nodes).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    candidates.find(|&base| free(base)).expect("free ports")
}

/// Processes whose command line or environment names `dir`.
fn processes_of(dir: &str) -> Vec<String> {
    let lines = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|process| {
        let line = std::fs::read(process.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(dir)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_leaves_no_process_behind() {
    let base = http_base(3);
    let mut dev = Command::new(shoal())
        .args(["dev", "--json", "--http-base", &base.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(dev.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let report: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!(report["nodes"].as_array().unwrap().len(), 3);
    for node in 0..3 {
        let mut answer = stream_chat(&format!("127.0.0.1:{}", base + node), "hello", "Hi", 5).await.unwrap();
        let (events, clean) = answer.rest().await;
        assert!(answer.status == 200 && clean && events.contains("[DONE]"), "{events}");
    }
    let dir = report["dir"].as_str().unwrap().to_owned();
    assert!(processes_of(&dir).len() >= 5, "three daemons and two engines");
    kill_process(Pid::from_raw(dev.id() as i32).unwrap(), Signal::INT).unwrap();
    assert!(dev.wait().unwrap().success());
    eventually("all processes to be gone", async || processes_of(&dir).is_empty().then_some(())).await;
    assert!(!std::path::Path::new(&dir).exists(), "the temporary directory is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_mesh_is_stopped_by_its_directory() {
    let base = http_base(1);
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("mesh");
    let dev = |args: &[&str]| {
        let output = Command::new(shoal()).arg("dev").args(args).arg("--dir").arg(&home).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let start = ["--nodes", "2", "--json", "--detach", "--http-base"];
    // Twice: the second finds the keys and specs of the first.
    for _ in 0..2 {
        dev(&[&start[..], &[&base.to_string()]].concat());
        let answer = stream_chat(&format!("127.0.0.1:{base}"), "hello", "Hi", 5).await.unwrap();
        assert_eq!(answer.status, 200);
        dev(&["stop"]);
        let dir = home.display().to_string();
        eventually("all processes to be gone", async || processes_of(&dir).is_empty().then_some(())).await;
    }
}
