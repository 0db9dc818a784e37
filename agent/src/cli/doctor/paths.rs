//! What is found of the ways to other nodes. Pure.

use shoal_types::UnixMillis;

use super::finding::Finding;
use crate::admin::{PathToPeer, Paths};

/// Below this something on the way takes room from packets. Ethernet leaves 1,452 bytes.
const MTU_USUAL: u16 = 1_350;
/// Clocks that are further apart are worth a look. They are compared over a question, which takes its time.
const CLOCK_WARN_MS: u64 = 5_000;
/// Clocks that are further apart will soon keep nodes from writing, which is at five minutes.
const CLOCK_FAIL_MS: u64 = 60_000;
/// Certificates live three days and are renewed at half of that.
const CERTIFICATE_WARN_MS: u64 = 24 * 3_600_000;

/// What is found of all, or of the one that is asked for.
pub(super) fn findings(paths: &Paths, only: Option<&str>, now: UnixMillis) -> Vec<Finding> {
    let is_meant = |node: &str| only.is_none_or(|only| only == node);
    let missing = paths.missing.iter().filter(|missing| is_meant(&missing.node)).map(|missing| {
        let hint = format!(
            "does `shoal agent` run there, and does a firewall let UDP through, both ways? `shoal describe node {}` has \
             its addresses",
            missing.node
        );
        Finding::fail("path", format!("{} does not answer: {}", missing.node, missing.reason), hint)
    });
    let peers = paths.peers.iter().filter(|peer| is_meant(&peer.node)).flat_map(of_peer);
    let certificate = only.is_none().then(|| of_certificate(paths.certificate_expires, now));
    certificate.into_iter().chain(missing).chain(peers).collect()
}

pub(super) fn of_certificate(expires: UnixMillis, now: UnixMillis) -> Finding {
    let message = format!("good until {expires}");
    let left = expires.as_millis().saturating_sub(now.as_millis());
    if left == 0 {
        Finding::fail("certificate", format!("it expired at {expires}"), "shoal join TOKEN, with a new token")
    } else if left < CERTIFICATE_WARN_MS {
        let hint = "no issuer renews it: `shoal get nodes` shows whether one is there";
        Finding::warn("certificate", format!("{message}, and should have been renewed"), hint)
    } else {
        Finding::ok("certificate", message)
    }
}

fn of_peer(peer: &PathToPeer) -> Vec<Finding> {
    let PathToPeer { node, address, answered_ms, rtt_ms, mtu, clock_ahead_ms } = peer;
    let at = address.as_ref().map(|address| format!(" at {address}")).unwrap_or_default();
    let rtt = rtt_ms.map(|rtt| format!(", round trip {rtt:.1} ms")).unwrap_or_default();
    let mut findings = vec![Finding::ok("path", format!("{node}{at} answered in {answered_ms:.1} ms{rtt}"))];
    findings.extend(mtu.map(|mtu| match mtu {
        MTU_USUAL.. => Finding::ok("mtu", format!("packets of {mtu} bytes reach {node}")),
        _ => Finding::warn(
            "mtu",
            format!("only packets of {mtu} bytes reach {node}: something on the way is narrow"),
            format!(
                "a VPN or a tunnel, perhaps; `ping -M do -s 1400 HOST-OF-{node}` shows it, and its MTU can be raised"
            ),
        ),
    }));
    findings.extend(clock_ahead_ms.map(|ahead| {
        let apart = format!("that of {node} is {:.1} s {}", ahead.unsigned_abs() as f64 / 1e3, word(ahead));
        let hint = "let both hosts ask a time server: timedatectl set-ntp true";
        match ahead.unsigned_abs() {
            CLOCK_FAIL_MS.. => Finding::fail("clock", apart, hint),
            CLOCK_WARN_MS.. => Finding::warn("clock", apart, hint),
            _ => Finding::ok("clock", apart),
        }
    }));
    findings
}

const fn word(ahead: i64) -> &'static str {
    if ahead < 0 { "behind" } else { "ahead" }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Level, *};

    const NOW: UnixMillis = UnixMillis::from_millis(1_000_000_000);

    fn paths() -> Paths {
        serde_json::from_value(serde_json::json!({
            "node": "a", "certificateExpires": NOW.as_millis() + 2 * CERTIFICATE_WARN_MS,
            "peers": [
                {"node": "b", "address": "10.0.0.2:7700", "answeredMs": 1.5, "rttMs": 1.0, "mtu": 1452, "clockAheadMs": -20},
                {"node": "c", "address": null, "answeredMs": 9.0, "rttMs": null, "mtu": 1200, "clockAheadMs": 61_000},
            ],
            "missing": [{"node": "d", "reason": "it is not there"}],
        }))
        .unwrap()
    }

    fn levels(only: Option<&str>) -> Vec<(&'static str, Level)> {
        findings(&paths(), only, NOW).iter().map(|finding| (finding.check, finding.level)).collect()
    }

    #[test]
    fn each_way_is_judged_and_every_fault_has_one_thing_to_do() {
        assert_eq!(
            levels(None),
            [
                ("certificate", Level::Ok),
                ("path", Level::Fail),
                ("path", Level::Ok),
                ("mtu", Level::Ok),
                ("clock", Level::Ok),
                ("path", Level::Ok),
                ("mtu", Level::Warn),
                ("clock", Level::Fail),
            ]
        );
        assert_eq!(levels(Some("d")), [("path", Level::Fail)]);
        for finding in findings(&paths(), None, NOW) {
            assert_eq!(finding.hint.is_some(), finding.level != Level::Ok, "{finding:?}");
        }
    }

    #[test]
    fn a_certificate_that_was_not_renewed_is_told_before_it_expires() {
        let level = |left: u64| of_certificate(NOW.plus(std::time::Duration::from_millis(left)), NOW).level;
        assert_eq!(level(2 * CERTIFICATE_WARN_MS), Level::Ok);
        assert_eq!(level(1), Level::Warn);
        assert_eq!(level(0), Level::Fail);
    }
}
