//! Frames of the store, of every version.

use shoal_types::{Hlc, KeyId, MeshId, NodeId, UnixMillis};

use super::frame::{Done, Hello, Part, Standing, Time};
use crate::{
    identity::TokenId,
    kept::{check, kept},
    store::{
        core::Stamp,
        entry::{Blob, Entry, EntryKey},
    },
};

const NODE: NodeId = NodeId::from_bytes([3; 16]);

fn version() -> Hlc {
    Hlc { time: UnixMillis::from_millis(1_700_000_000_000), counter: 2, node: NODE }
}

fn stamp(key: EntryKey) -> Stamp {
    Stamp { key, version: version(), tombstone: false }
}

fn entry(key: EntryKey, body: Option<&str>) -> Entry {
    let chain = vec![Blob(vec![1, 2, 3]), Blob(vec![4])];
    Entry { key, version: version(), body: body.map(str::to_owned), chain, signature: Blob(vec![5; 64]) }
}

fn part<T>(item: T) -> Part<T> {
    Part { items: vec![item], last: false }
}

#[test]
fn golden_frames_of_version_1_are_read() {
    let (endpoint, token) =
        (|| EntryKey::Endpoint("llama".parse().unwrap()), "gezdgnbvgy3tqojq".parse::<TokenId>().unwrap());
    check(
        "store",
        1,
        &[
            kept("push", &Hello::Push),
            kept("compare", &Hello::Compare { current: true }),
            kept("time-asked", &Hello::Time),
            kept("time", &Time { now: UnixMillis::from_millis(1_700_000_000_000) }),
            kept("standing", &Standing { current: false }),
            kept("done", &Done),
            kept("stamps", &part(stamp(endpoint()))),
            kept("last", &Part::<Stamp> { items: Vec::new(), last: true }),
            kept("endpoint", &part(entry(endpoint(), Some("{\"spec\":{}}")))),
            kept("tombstone", &part(entry(endpoint(), None))),
            kept("token", &part(stamp(EntryKey::Token(token)))),
            kept("revoked-token", &part(stamp(EntryKey::RevokedToken(token)))),
            kept("spent-token", &part(stamp(EntryKey::SpentToken(token, NODE)))),
            kept("revoked-node", &part(stamp(EntryKey::RevokedNode(NODE)))),
        ],
    );
}

#[test]
fn golden_frames_of_version_2_are_read() {
    let key = KeyId::from_bytes([7; 10]);
    check(
        "store",
        2,
        &[
            kept("compare-in", &Hello::CompareIn { current: true, protocol: 2 }),
            kept("key", &part(entry(EntryKey::Key(key), Some("{}")))),
            kept("revoked-key", &part(stamp(EntryKey::RevokedKey(key)))),
        ],
    );
}

#[test]
fn golden_frames_of_version_3_are_read() {
    let root = MeshId::from_bytes([8; 16]);
    check("store", 3, &[kept("retired-root", &part(stamp(EntryKey::RetiredRoot(root))))]);
}
