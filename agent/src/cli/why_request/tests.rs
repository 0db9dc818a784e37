use serde_json::{Value, json};
use shoal_types::{ClaimId, Hlc, Revision, UnixMillis};

use super::*;

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

/// A request that was tried at one replica and answered by another.
fn record() -> Value {
    let replica = |number: u8, own: u32, load: Option<u32>, suspect: bool| {
        let claim = json!(ClaimId { node: node(number), generation: UnixMillis::from_millis(1), counter: 1 });
        json!({"claim": claim, "revision": json!(Revision(Hlc {
            time: UnixMillis::from_millis(1), counter: 0, node: node(1),
        })), "weight": 100, "local": number == 1, "suspect": suspect, "tried": suspect, "own": own, "load": load})
    };
    json!({
        "ingress": node(1), "id": "one", "arrived": 1_700_000_000_000_u64, "client": "10.0.0.9",
        "path": "/v1/chat/completions", "operation": "chat", "endpoint": "llama", "model": null, "stream": true,
        "status": 200, "outcome": "finished", "error": null, "queuedUs": 12_000, "firstByteUs": 30_000, "tookUs": 500_000,
        "tokens": {"input": 11, "output": 2, "cached": 8, "exact": true}, "received": 100, "sent": 900,
        "decisions": [
            {"afterUs": 12_100, "tookUs": 3, "considered": [replica(1, 1, Some(1), false), replica(2, 0, None, false)],
             "why": "holds", "held": 512, "chosen": 1, "endedUs": 13_000, "failed": {"reason": "engine", "error": "it broke"}},
            {"afterUs": 13_010, "tookUs": 2, "considered": [replica(1, 1, Some(1), false), replica(2, 0, None, true)],
             "why": "lightest", "more": 5, "chosen": 0, "endedUs": 30_000},
        ],
    })
}

fn text(record: &Value) -> String {
    let names = json!({node(1).to_string(): "node-1", node(2).to_string(): "node-2"});
    let found: RequestsFound = serde_json::from_value(json!({"requests": [record], "names": names})).unwrap();
    found.to_string()
}

#[test]
fn the_way_of_a_request_is_told_in_words() {
    let text = text(&record());
    for part in [
        "Request one came to node-1 from 10.0.0.9 at 2023-11-14T22:13:20.000Z: POST /v1/chat/completions, a stream",
        "Endpoint llama",
        "It waited 12.0 ms before a replica was chosen",
        "After 12.1 ms: chose llama-",
        " on node-2, of 2, in 3 us: it is believed to have 512 bytes of the prompt in its cache",
        "After 13.0 ms: it gave no answer (engine): it broke",
        " here, of 7, in 2 us: it costs the least of those compared",
        "it had failed this request; it or its node had just failed",
        "and 5 more",
        "After 30.0 ms: it began to answer",
        "After 500.0 ms: all of the answer was passed on, 200",
        "Tokens: 11 in, of them 8 cached; 2 out (as the engine counts)",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn each_way_to_end_has_its_words() {
    for (change, words) in [
        (json!({"status": 503, "error": "no_ready_replica"}), "refused with 503 no_ready_replica"),
        (json!({"outcome": "broken"}), "the answer broke off"),
        (json!({"outcome": "cancelled"}), "the client went away in the middle of the answer"),
        (json!({"outcome": "cancelled", "status": null}), "the client went away before there was an answer"),
    ] {
        let mut record = record();
        for (field, value) in change.as_object().unwrap() {
            record[field] = value.clone();
        }
        let text = text(&record);
        assert!(text.contains(words), "{words}\n{text}");
    }
}
