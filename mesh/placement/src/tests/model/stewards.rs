//! Rule 5 in every order of events, decided by the real [`Steward`](crate::Steward) and [`Memory`](crate::Memory).
//!
//! Three nodes that have agreed on two replicas of one endpoint, of which there may be one to three; the clients are all
//! at one node, which is not the steward. Time goes in ticks of two seconds. The checker tries, exhaustively within
//! [`Bounds`],
//!
//! * for every piece of news and every other node, at which tick it is heard, up to the slowest,
//! * whether and when what is asked rises beyond what the spec allows, or falls to nothing,
//! * whether and when one node is cut off from the other two, which one, and for how long: too short to be noticed, or
//!   for longer than fewer must be enough,
//! * whether and when one node crashes, which one, and whether it comes back, with what it had on disk by then; or all of
//!   them at once.
//!
//! A node has on disk what it had heard before its last decision, so that its own last word may be lost with it. What is
//! coarser than the truth is the same as in the other model: one tick for all, whole news or none, silence noticed by all
//! at the same age, disturbances at the ticks that are listed.

mod bounds;
mod mesh;
mod node;
mod properties;
mod tick;

use std::time::Duration;

use stateright::{Checker, HasDiscoveries, Model};

use self::{
    bounds::Bounds,
    mesh::Parliament,
    properties::{IN_THE_END, NEVER_SHRINKS},
};

fn check(bounds: Bounds, enough: HasDiscoveries) -> impl Checker<Parliament> {
    let checker = Parliament::new(bounds).checker().threads(2).timeout(Duration::from_secs(300));
    checker.finish_when(enough).spawn_dfs().join()
}

#[test]
fn rule_5_holds_in_every_order_of_events() {
    let checker = check(Bounds::default(), HasDiscoveries::All);
    println!("{} states, {} of them different", checker.state_count(), checker.unique_state_count());
    assert!(checker.is_done(), "not exhaustive within the time");
    checker.assert_properties();
}

/// The same check finds the fault in nodes that forget what they have heard when they start again.
#[test]
fn a_memory_that_does_not_outlive_its_node_is_found_out() {
    let checker = check(Bounds { remembers: false, cuts: &[], ..Bounds::default() }, HasDiscoveries::AnyFailures);
    checker.assert_any_discovery(NEVER_SHRINKS);
}

/// And in a mesh where whoever spoke last falls silent as soon as another is the steward.
#[test]
fn a_mesh_that_does_not_remind_its_steward_is_found_out() {
    let checker = check(Bounds { reminds: false, ..Bounds::default() }, HasDiscoveries::AnyFailures);
    checker.assert_any_discovery(IN_THE_END);
}
