//! Frames of joining, of every version.

#[path = "../../../../tests/golden/kept.rs"]
mod kept;

use std::collections::BTreeMap;

use self::kept::{check, kept};
use super::*;
use crate::identity::token::Grant;

const NODE: NodeId = NodeId::from_bytes([3; 16]);
const AT: UnixMillis = UnixMillis::from_millis(1_700_000_000_000);

fn key(byte: u8) -> PrivateKey {
    PrivateKey::from_seed([byte; 32]).unwrap()
}

fn request() -> JoinRequest {
    let grant = Grant {
        id: "gezdgnbvgy3tqojq".parse().unwrap(),
        root: [1; 32],
        issuer: NODE,
        key: key(4).public(),
        not_after: AT,
        uses: 2,
        write: true,
        makes_issuer: false,
        labels: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
    };
    let grant = SignedGrant::sign(&grant, &key(5)).unwrap();
    let keys = Keys { node: key(6).public(), issuer: None };
    let binding = Binding { nonce: [7; 32], exporter: [8; 32] };
    let message = binding.message(&grant, &keys).unwrap();
    JoinRequest { grant, keys, by_token: key(4).sign(&message), by_node: key(6).sign(&message), by_issuer: None }
}

fn refused(refusal: JoinRefusal) -> Result<Admitted, JoinRefusal> {
    Err(refusal)
}

#[test]
fn golden_frames_of_version_1_are_read() {
    let addresses = vec!["10.0.0.1:7700".parse().unwrap()];
    let admitted = Admitted { chain: vec![vec![1, 2], vec![3]], issuer: None };
    check(
        "join",
        1,
        &[
            kept("challenge", &Challenge { time: AT, nonce: [9; NONCE_LEN] }),
            kept("request", &request()),
            kept("admitted", &Ok::<_, JoinRefusal>(admitted)),
            kept("other-issuer", &refused(JoinRefusal::OtherIssuer { issuer: NODE, addresses })),
            kept("bad-signature", &refused(JoinRefusal::BadSignature)),
            kept("bad-proof", &refused(JoinRefusal::BadProof)),
            kept("expired", &refused(JoinRefusal::Expired { at: AT })),
            kept("used-up", &refused(JoinRefusal::UsedUp { uses: 2 })),
            kept("token-revoked", &refused(JoinRefusal::TokenRevoked)),
            kept("node-revoked", &refused(JoinRefusal::NodeRevoked { node: NODE })),
            kept("root-key-away", &refused(JoinRefusal::RootKeyAway)),
            kept("busy", &refused(JoinRefusal::Busy)),
            kept("failed", &refused(JoinRefusal::Failed("disk full".to_owned()))),
        ],
    );
}
