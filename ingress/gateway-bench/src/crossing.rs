//! What a request costs that is answered on another node: `crossing KEY LOCAL REMOTE PID...` asks two nodes in turn for the
//! endpoint `whole`, of which the first has the replica. CPU is that of the processes together.

use std::{path::Path, sync::Arc, time::Duration};

use super::{
    client::{Target, closed},
    median,
    process::cpu,
};

const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_secs(4);

pub fn run(mut args: impl Iterator<Item = String>) {
    let key: Arc<str> = args.next().expect("a key").into();
    let nodes = [(); 2].map(|()| args.next().expect("an address").parse().unwrap());
    let targets = nodes.map(|address| Target { address, endpoint: "whole", key: key.clone() });
    let pids: Vec<u32> = args.map(|pid| pid.parse().unwrap()).collect();
    assert!(
        !pids.is_empty() && pids.iter().all(|pid| Path::new(&format!("/proc/{pid}")).exists()),
        "pids of both nodes"
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut figures = [const { [Vec::new(), Vec::new()] }; 2];
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}");
        for (target, [costs, delays]) in targets.iter().zip(&mut figures) {
            runtime.block_on(async {
                let mut before = Duration::ZERO;
                let seen = closed(target, 32, 512, TIME, || before = cpu(&pids)).await;
                costs.push((cpu(&pids) - before).as_secs_f64() / seen.took.len() as f64);
                let alone = closed(target, 1, 512, TIME / 4, || {}).await.took;
                delays.push(alone[alone.len() / 2].as_secs_f64());
            });
        }
    }
    let [local, remote] = figures.map(|figures| figures.map(|mut all| median(&mut all) * 1e6));
    println!("| what | local | remote | |");
    println!("|---|---:|---:|---:|");
    let [ratio, added] = [remote[0] / local[0], remote[1] - local[1]];
    println!("| CPU a request, 32 connections | {:.1} us | {:.1} us | {ratio:.2} times |", local[0], remote[0]);
    println!("| p50, one connection | {:.0} us | {:.0} us | {added:.0} us more |", local[1], remote[1]);
}
