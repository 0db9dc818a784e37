//! Frames of questions between daemons, of every version.

#[path = "../../../tests/golden/kept.rs"]
mod kept;

use self::kept::{check, kept};
use super::*;

fn claim() -> ClaimId {
    ClaimId { node: NodeId::from_bytes([3; 16]), generation: UnixMillis::from_millis(1_700_000_000_000), counter: 7 }
}

#[test]
fn golden_frames_of_version_1_are_read() {
    let logs = Question::Logs { claim: claim(), tail: 200, follow: true, previous: false };
    check(
        "peer",
        1,
        &[
            kept("probe", &claim()),
            kept("serves", &true),
            kept("drain", &Question::SetDraining(true)),
            kept("logs", &logs),
            kept("detail-asked", &Question::Detail),
            kept("clear-fault", &Question::ClearFault(GpuId("GPU-1".to_owned()))),
            kept("requests-asked", &Question::Requests("abc".to_owned())),
            kept("done", &Reply::Done),
            kept("no-log", &Reply::NoLog),
            kept("failed", &Reply::Failed("no".to_owned())),
            kept("detail", &Reply::Detail("{}".to_owned())),
            kept("requests", &Reply::Requests("[]".to_owned())),
        ],
    );
}

#[test]
fn golden_frames_of_version_2_are_read() {
    let at = UnixMillis::from_millis(1_700_000_000_000);
    check(
        "peer",
        2,
        &[
            kept("key-usage-asked", &Question::KeyUsage { since: 20_000 }),
            kept("history-asked", &Question::History { after: at }),
            kept("latest-requests-asked", &Question::LatestRequests { limit: 10 }),
            kept("events-asked", &Question::Events { since: at }),
            kept("request-issuer", &Question::RequestIssuer),
            kept("install-issuer", &Question::InstallIssuer("grant".to_owned())),
            kept("key-usage", &Reply::KeyUsage("[]".to_owned())),
            kept("history", &Reply::History("[]".to_owned())),
            kept("latest-requests", &Reply::LatestRequests("[]".to_owned())),
            kept("events", &Reply::Events("[]".to_owned())),
            kept("issuer-request", &Reply::IssuerRequest("request".to_owned())),
        ],
    );
}
