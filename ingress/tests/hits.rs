//! Many ingresses that do not talk to each other route about as well as one: the simulation of `benches/hits`, smaller.

// What the benchmark alone needs, and counts of requests, which are small.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    unreachable_pub
)]

#[path = "../benches/hits/chat.rs"]
mod chat;
#[path = "../benches/hits/engine.rs"]
mod engine;
#[path = "../benches/hits/fleet.rs"]
mod fleet;

use shoal_types::RoutingPolicy;

use self::{
    chat::Clients,
    fleet::{Setup, run},
};

fn setup(seed: u64) -> Setup {
    Setup {
        policy: RoutingPolicy::Prefix,
        ingresses: 1,
        replicas: 4,
        tokens: 100_000,
        clients: Clients { applications: 6, per_second: 4.0, conversations: 120 },
        roaming: true,
        seed,
    }
}

/// Loose, since small: the benchmark says how well.
#[test]
fn five_ingresses_find_about_as_much_as_one_and_more_than_one_that_does_not_look() {
    for seed in 0..2 {
        let one = run(setup(seed)).hits;
        let five = run(Setup { ingresses: 5, ..setup(seed) }).hits;
        assert!(five > 0.9 * one, "{five} of {one}");
        let blind = run(Setup { policy: RoutingPolicy::LeastLoad, ..setup(seed) }).hits;
        assert!(blind < 0.9 * one, "{blind} of {one}");
    }
}

/// Virtual time and seeds: what was found once is found again.
#[test]
fn the_same_seed_is_the_same_run() {
    let (one, again) = (run(setup(3)), run(setup(3)));
    assert_eq!(format!("{one:?}"), format!("{again:?}"));
}
