//! Who is in the mesh, and with what certificates: what needs attention.

use shoal_types::{Liveness, UnixMillis, Validity};

use super::model::NodeStatus;

/// All that is to be said of a node that was thrown out: the rest follows from it.
pub(crate) const REVOKED: &str = "this node is revoked: its peers hang up on it, and it takes part in nothing any more; stop it, \
     or remove `identity` from its state directory and join as a new node";

/// What needs attention of certificates and of those who sign them. Pure.
pub(crate) fn problems(nodes: &[NodeStatus], now: UnixMillis) -> Vec<String> {
    let there = || nodes.iter().filter(|node| node.liveness != Liveness::Left);
    let issuers = || there().filter(|node| node.facts.issuer);
    let none = (!nodes.is_empty() && !issuers().any(|node| node.liveness == Liveness::Alive)).then(|| {
        let known: Vec<&str> = issuers().map(|node| node.name.as_str()).collect();
        let known = if known.is_empty() { String::new() } else { format!(" ({} is silent)", known.join(", ")) };
        format!(
            "no issuer is live{known}: serving goes on, but no node can join and no certificate is renewed; start one"
        )
    });
    let own = there().filter_map(|node| {
        let (name, validity) = (&node.name, node.facts.validities?.node);
        ends(
            validity,
            now,
            &format!("the certificate of node {name}"),
            &match validity.is_over(now) {
                true => format!(
                    "peers refuse it: on {name}, run `shoal join` again with a new token, and restart the daemon"
                ),
                false => "it is renewed by any issuer that it can reach, and has found none for long".to_owned(),
            },
        )
    });
    let issuing = there().filter_map(|node| {
        let (name, validity) = (&node.name, node.facts.validities?.issuer?);
        ends(validity, now, &format!("the issuing certificate of node {name}"), "with it all that it signed ends")
    });
    // All nodes have the same.
    let root = there().find_map(|node| node.facts.validities).and_then(|validities| {
        ends(
            validities.root,
            now,
            "the root certificate of the mesh",
            "see \"A lost or leaked root key\" in docs/operations.md",
        )
    });
    none.into_iter().chain(own).chain(issuing).chain(root).collect()
}

fn ends(validity: Validity, now: UnixMillis, what: &str, then: &str) -> Option<String> {
    let verb = if validity.is_over(now) { "ended" } else { "ends" };
    validity.is_ending(now).then(|| format!("{what} {verb} at {}: {then}", validity.until))
}
