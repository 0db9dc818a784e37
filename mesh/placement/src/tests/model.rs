//! The claim protocol in every order of events, decided by the real [`Elector`](crate::Elector).
//!
//! Three nodes with two GPUs each; one endpoint that wants two replicas of one GPU. Time goes in ticks, and everything
//! that takes time takes ticks: [`Bounds`] says how many. The checker tries, exhaustively within these bounds,
//!
//! * at which tick each node learns of the endpoint,
//! * for every piece of news and every other node, at which tick it is heard, up to the slowest,
//! * for every engine, at which tick it serves,
//! * whether and when one node is cut off from the other two, which one, and when it heals,
//! * whether and when a node crashes, which one, before, in or after the partition.
//!
//! What is coarser than the truth: within one tick all nodes decide at the same time, each from what it has heard; a
//! node hears all of another's news or none of them; silence is noticed by all at the same age; a replica that asks
//! whether others serve in its place is answered one tick later, and drains within one more; a crashed node stays away.
//! Disturbances begin at the ticks that [`Bounds`] lists, chosen so that they meet the election, the loading and the calm.
//! Time is bounded as well: so long after the last disturbance everything must be as it is wanted, which makes
//! "eventually" a statement about states, with a number in it.
//!
//! How many replicas are wanted is a constant here, for all nodes the same; who says so is checked in [`stewards`].

mod bounds;
mod digest;
mod mesh;
mod node;
mod properties;
mod stewards;
mod tick;

use std::time::Duration;

use stateright::{Checker, HasDiscoveries, Model};

use self::{
    bounds::Bounds,
    mesh::Protocol,
    properties::{DRAINS_COVERED, NO_ENGINE_TOO_MANY},
};

/// Goes through all that can happen, on two threads, or up to what `enough` says.
fn check(bounds: Bounds, enough: HasDiscoveries) -> impl Checker<Protocol> {
    let checker = Protocol::new(bounds).checker().threads(2).timeout(Duration::from_secs(300));
    checker.finish_when(enough).spawn_dfs().join()
}

#[test]
fn rules_3_4_and_6_hold_in_every_order_of_events() {
    let checker = check(Bounds::default(), HasDiscoveries::All);
    println!("{} states, {} of them different", checker.state_count(), checker.unique_state_count());
    assert!(checker.is_done(), "not exhaustive within the time");
    checker.assert_properties();
}

/// The same check finds the fault in a mesh that starts engines before the slowest news has arrived.
#[test]
fn a_settle_time_shorter_than_the_slowest_news_is_found_out() {
    let bounds = Bounds { settle: 1, cuts: &[], crashes: &[], ..Bounds::default() };
    let checker = check(bounds, HasDiscoveries::AnyFailures);
    let path = checker.assert_any_discovery(NO_ENGINE_TOO_MANY);
    assert!(path.last_state().engines() > bounds.desired as usize);
}

/// And in a mesh whose replicas drain by what they have heard, without asking those that are to serve in their place.
#[test]
fn draining_without_asking_is_found_out() {
    let checker = check(Bounds { asks: false, ..Bounds::default() }, HasDiscoveries::AnyFailures);
    checker.assert_any_discovery(DRAINS_COVERED);
}
