mod roots;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    sync::{Condvar, Mutex},
    time::Duration,
};

use proptest::prelude::*;
use shoal_types::{NodeId, UnixMillis};
use tempfile::tempdir;

use super::{
    Binding, Candidate, CertificateError, Identity, IdentityError, IssuerGrant, IssuerRequest, IssuingError,
    JoinRefusal, JoinToken, NODE_LIFE, NodeCertificate, Roles, RootKey, Succession, TokenError, TokenId, TokenLedger,
    TokenLimits, init_mesh, init_mesh_again,
    testing::{BINDING, MemoryLedger, ask, first_node, limits, member, token},
    verify_writer,
};

const NOW: UnixMillis = UnixMillis::from_millis(1_800_000_000_000);
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_new_mesh_is_on_disk_for_its_owner_alone() {
    let dir = tempdir().unwrap();
    let made = init_mesh(&dir.path().join("identity"), NOW).unwrap();
    let loaded = Identity::load(&dir.path().join("identity")).unwrap();
    assert_eq!((loaded.node_id(), loaded.mesh_id()), (made.node_id(), made.mesh_id()));
    assert_eq!(loaded.certificate().roles, Roles { write: true, issuer: true });
    assert!(loaded.issuer().is_some());

    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("identity")), 0o700);
    for key in ["root.key", "issuer.key", "node.key"] {
        assert_eq!(mode(&dir.path().join("identity").join(key)), 0o600, "{key}");
    }
    let files = fs::read_dir(dir.path().join("identity")).unwrap().count();
    assert_eq!(files, 6, "temporary files are gone");
}

#[test]
fn nothing_is_overwritten() {
    let dir = tempdir().unwrap();
    init_mesh(dir.path(), NOW).unwrap();
    let before = fs::read(dir.path().join("node.key")).unwrap();
    assert!(matches!(init_mesh(dir.path(), NOW), Err(IdentityError::Exists { .. })));
    fs::remove_file(dir.path().join("node.crt")).unwrap();
    assert!(matches!(init_mesh(dir.path(), NOW), Err(IdentityError::Exists { .. })));
    assert_eq!(fs::read(dir.path().join("node.key")).unwrap(), before);
}

#[test]
fn what_is_missing_or_wrong_on_disk_is_named() {
    let dir = tempdir().unwrap();
    assert!(matches!(Identity::load(dir.path()), Err(IdentityError::Missing { .. })));
    init_mesh(dir.path(), NOW).unwrap();
    let key = dir.path().join("node.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(Identity::load(dir.path()), Err(IdentityError::Exposed { mode: 0o644, .. })));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::copy(dir.path().join("root.key"), &key).unwrap();
    assert!(Identity::load(dir.path()).is_err(), "a key that the certificate is not for");
    fs::write(&key, "-----BEGIN PRIVATE KEY-----\n").unwrap();
    assert!(matches!(Identity::load(dir.path()), Err(IdentityError::Damaged { .. })));
}

#[test]
fn a_writer_is_known_by_chain_role_and_signature() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), NOW);
    let signature = first.sign(b"spec");
    let verify = |message: &[u8], at| verify_writer(&first.roots(), &first.chain(), message, signature.as_ref(), at);
    assert_eq!(verify(b"spec", NOW).unwrap(), first.node_id());
    assert!(matches!(verify(b"other", NOW), Err(IdentityError::Signature { .. })));
    let expired = CertificateError::Expired { not_after: first.not_after() };
    let error = verify(b"spec", first.not_after().plus(HOUR)).unwrap_err();
    assert!(matches!(error, IdentityError::Certificate(error) if error == expired));
    let early = UnixMillis::from_millis(NOW.as_millis() - 3_600_000);
    let error = verify(b"spec", early).unwrap_err();
    assert!(matches!(error, IdentityError::Certificate(CertificateError::NotYetValid { .. })));

    let stranger = init_mesh(&dir.path().join("stranger"), NOW).unwrap();
    let signature = stranger.sign(b"spec");
    let error = verify_writer(&first.roots(), &stranger.chain(), b"spec", signature.as_ref(), NOW).unwrap_err();
    assert!(matches!(error, IdentityError::Certificate(CertificateError::Untrusted(_))));

    let reader = member(&first, dir.path(), "reader", &TokenLimits { write: false, ..limits(1) }, NOW);
    let signature = reader.sign(b"spec");
    let error = verify_writer(&first.roots(), &reader.chain(), b"spec", signature.as_ref(), NOW).unwrap_err();
    assert!(matches!(error, IdentityError::NotAWriter { node } if node == reader.node_id()));
    assert!(!reader.can_write() && reader.issuer().is_none());
}

#[test]
fn a_node_certificate_signs_no_other() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), NOW);
    let other = member(&first, dir.path(), "other", &limits(1), NOW);
    let chain = [other.chain()[0].clone(), first.chain()[0].clone()];
    assert!(matches!(first.roots().verify(&chain, NOW), Err(CertificateError::Untrusted(_))));
}

#[test]
fn labels_of_a_token_are_in_the_certificate() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), NOW);
    let labels = BTreeMap::from([("pool".to_owned(), "spot-1".to_owned()), ("zone".to_owned(), "a".to_owned())]);
    let limits = TokenLimits { labels: labels.clone(), ..limits(1) };
    let node = member(&first, dir.path(), "node", &limits, NOW);
    assert_eq!(NodeCertificate::parse(&node.chain()[0]).unwrap().labels, labels);
    assert_eq!(node.mesh_id(), first.mesh_id());
}

#[test]
fn limits_that_make_no_sense_make_no_token() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), NOW);
    let labels = BTreeMap::from([("a=b".to_owned(), "c".to_owned())]);
    for wrong in [
        limits(0),
        limits(10_001),
        TokenLimits { ttl: Duration::ZERO, ..limits(1) },
        TokenLimits { ttl: HOUR * 24 * 91, ..limits(1) },
        TokenLimits { labels, ..limits(1) },
    ] {
        let made = first.issuer().unwrap().create_token(&wrong, &["127.0.0.1:1".parse().unwrap()], NOW);
        assert!(matches!(made, Err(IdentityError::Limits(_))), "{wrong:?}");
    }
    assert!(first.issuer().unwrap().create_token(&limits(1), &[], NOW).is_err(), "a token without address");
}

#[test]
fn an_issuer_has_to_write() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), NOW);
    let made = |write| {
        let limits = TokenLimits { issuer: true, write, ..limits(1) };
        first.issuer().unwrap().create_token(&limits, &["127.0.0.1:1".parse().unwrap()], NOW)
    };
    assert!(matches!(made(false), Err(IdentityError::IssuerWithoutWrite)));
    assert!(made(true).is_ok());
}

#[test]
fn a_token_survives_text_and_keeps_its_secret_from_logs() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), NOW);
    let token = token(&first, &limits(3), NOW);
    let text = token.to_string();
    let broken_in_lines = format!("  {}\n{}\n", &text[..100], &text[100..]);
    let read: JoinToken = broken_in_lines.parse().unwrap();
    assert_eq!((read.id(), read.mesh_id(), read.issuer()), (token.id(), first.mesh_id(), first.node_id()));
    assert_eq!((read.not_after(), read.addresses()), (NOW.plus(HOUR), token.addresses()));
    assert_eq!(read.to_string(), text);
    assert_eq!(token.id().to_string().parse::<TokenId>().unwrap(), token.id());
    assert!(!format!("{token:?}").contains(&text[7..40]));
    assert_eq!("hello".parse::<JoinToken>().unwrap_err(), TokenError::NotAToken);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_paste_is_reported_as_damaged(at: prop::sample::Index, put in "[ -~]", cut: prop::sample::Index) {
        static TEXT: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
            let dir = tempdir().unwrap();
            token(&first_node(dir.path(), NOW), &limits(1), NOW).to_string()
        });
        let at = at.index(TEXT.len());
        let mut damaged = TEXT.clone();
        damaged.replace_range(at..=at, &put);
        let expected = if at < "shoal1_".len() { TokenError::NotAToken } else { TokenError::Damaged };
        if damaged != *TEXT {
            prop_assert_eq!(damaged.parse::<JoinToken>().unwrap_err(), expected);
        }
        let cut = cut.index(TEXT.len());
        let expected = if cut < "shoal1_".len() { TokenError::NotAToken } else { TokenError::Damaged };
        prop_assert_eq!(TEXT[..cut].parse::<JoinToken>().unwrap_err(), expected);
    }
}

#[test]
fn a_token_is_used_as_often_as_granted_and_a_retry_is_no_use() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), NOW);
    let (token, ledger) = (token(&first, &limits(2), NOW), MemoryLedger::default());
    let candidate = |name: &str| Candidate::prepare(&dir.path().join(name), &token, NOW).unwrap();
    ask(&first, &candidate("a"), &token, &ledger, NOW).unwrap();
    // The answer was lost and the host has started anew: same directory, same key.
    ask(&first, &candidate("a"), &token, &ledger, NOW).unwrap();
    ask(&first, &candidate("b"), &token, &ledger, NOW).unwrap();
    let refused = ask(&first, &candidate("c"), &token, &ledger, NOW);
    assert_eq!(refused.unwrap_err(), JoinRefusal::UsedUp { uses: 2 });
    let admitted = ask(&first, &candidate("a"), &token, &ledger, NOW).unwrap();
    let joined = candidate("a").enter(admitted, &first.roots(), NOW).unwrap();
    assert_eq!(joined.node_id(), Identity::load(&dir.path().join("a")).unwrap().node_id());
    let again = Candidate::prepare(&dir.path().join("a"), &token, NOW);
    assert!(matches!(again, Err(IdentityError::Exists { .. })), "a node does not join twice");
}

/// Lets a second admission overtake the first between counting and recording, if anything does.
#[derive(Default)]
struct SlowLedger {
    memory: MemoryLedger,
    counted: (Mutex<u32>, Condvar),
}

impl TokenLedger for SlowLedger {
    fn is_revoked(&self, token: TokenId) -> bool {
        self.memory.is_revoked(token)
    }

    fn uses(&self, token: TokenId) -> Vec<NodeId> {
        let uses = self.memory.uses(token);
        let (count, bell) = &self.counted;
        let mut counted = count.lock().unwrap();
        *counted += 1;
        bell.notify_all();
        drop(bell.wait_timeout_while(counted, Duration::from_millis(100), |counted| *counted < 2).unwrap());
        uses
    }

    fn record_use(&self, token: TokenId, node: NodeId) -> Result<(), String> {
        self.memory.record_use(token, node)
    }
}

#[test]
fn two_that_ask_at_once_are_counted_one_after_the_other() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), NOW);
    let (token, ledger) = (token(&first, &limits(1), NOW), SlowLedger::default());
    let admit = |name: &str| {
        let request = Candidate::prepare(&dir.path().join(name), &token, NOW).unwrap();
        let request = request.request(&token, &BINDING).unwrap();
        first.issuer().unwrap().admit(&request, &BINDING, &ledger, NODE_LIFE, NOW).is_ok()
    };
    let (a, b) = std::thread::scope(|scope| {
        let (a, b) = (scope.spawn(|| admit("a")), scope.spawn(|| admit("b")));
        (a.join().unwrap(), b.join().unwrap())
    });
    assert!(a ^ b, "exactly one is admitted");
}

#[test]
fn a_token_out_of_time_or_taken_back_admits_nobody() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), NOW);
    let (token, ledger) = (token(&first, &limits(1), NOW), MemoryLedger::default());
    let candidate = Candidate::prepare(&dir.path().join("a"), &token, NOW).unwrap();
    let late = NOW.plus(HOUR + Duration::from_millis(1));
    let refused = ask(&first, &candidate, &token, &ledger, late);
    assert_eq!(refused.unwrap_err(), JoinRefusal::Expired { at: NOW.plus(HOUR) });
    ledger.revoke(token.id());
    assert_eq!(ask(&first, &candidate, &token, &ledger, NOW).unwrap_err(), JoinRefusal::TokenRevoked);
}

#[test]
fn a_request_is_of_no_use_on_another_connection() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), NOW);
    let (token, ledger) = (token(&first, &limits(1), NOW), MemoryLedger::default());
    let candidate = Candidate::prepare(&dir.path().join("a"), &token, NOW).unwrap();
    let request = candidate.request(&token, &BINDING).unwrap();
    for other in [Binding { nonce: [9; 32], ..BINDING }, Binding { exporter: [9; 32], ..BINDING }] {
        let refused = first.issuer().unwrap().admit(&request, &other, &ledger, NODE_LIFE, NOW);
        assert_eq!(refused.unwrap_err(), JoinRefusal::BadProof);
    }
}

#[test]
fn a_token_of_another_issuer_or_forged_is_refused_as_such() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), NOW);
    let second = member(&first, dir.path(), "second", &TokenLimits { issuer: true, ..limits(1) }, NOW);
    let ledger = MemoryLedger::default();
    let elsewhere = token(&second, &limits(1), NOW);
    let candidate = Candidate::prepare(&dir.path().join("a"), &elsewhere, NOW).unwrap();
    let refused = ask(&first, &candidate, &elsewhere, &ledger, NOW).unwrap_err();
    assert!(matches!(refused, JoinRefusal::OtherIssuer { issuer, .. } if issuer == second.node_id()));

    // Names `first`, but `second` has signed it.
    let mut forged = token(&second, &limits(1), NOW);
    forged.grant.issuer = first.node_id();
    let key = dir.path().join("second/issuer.key");
    let key = super::keys::PrivateKey::from_pem(&fs::read(key).unwrap()).unwrap();
    forged.signed = super::token::SignedGrant::sign(&forged.grant, &key).unwrap();
    assert_eq!(ask(&first, &candidate, &forged, &ledger, NOW).unwrap_err(), JoinRefusal::BadSignature);
}

#[test]
fn an_issuer_is_made_only_where_the_root_key_is() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), NOW);
    let as_issuer = TokenLimits { issuer: true, ..limits(1) };
    let second = member(&first, dir.path(), "second", &as_issuer, NOW);
    assert!(second.certificate().roles.issuer);
    let third = member(&second, dir.path(), "third", &limits(1), NOW);
    assert_eq!(first.roots().verify(&third.chain(), NOW).unwrap().node, third.node_id());

    fs::rename(dir.path().join("first/root.key"), dir.path().join("offline")).unwrap();
    let (token, ledger) = (token(&first, &as_issuer, NOW), MemoryLedger::default());
    let candidate = Candidate::prepare(&dir.path().join("fourth"), &token, NOW).unwrap();
    assert_eq!(ask(&first, &candidate, &token, &ledger, NOW).unwrap_err(), JoinRefusal::RootKeyAway);
    fs::rename(dir.path().join("offline"), dir.path().join("first/root.key")).unwrap();
    ask(&first, &candidate, &token, &ledger, NOW).expect("the refusal was no use of the token");
}

#[test]
fn a_renewed_certificate_is_the_same_but_for_its_time() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), NOW);
    let node = member(&first, dir.path(), "node", &limits(1), NOW);
    let before = node.certificate();
    let half = NOW.plus(HOUR * 37);
    assert!(!before.past_half_life(NOW.plus(HOUR * 35)) && before.past_half_life(half));
    node.replace_chain(first.issuer().unwrap().renew(&before, NODE_LIFE, half).unwrap(), half).unwrap();
    let after = Identity::load(&dir.path().join("node")).unwrap().certificate();
    assert_eq!(after.not_after, half.plus(HOUR * 72));
    assert_eq!(after, NodeCertificate { not_before: after.not_before, not_after: after.not_after, ..before.clone() });
    assert_eq!(node.not_after(), after.not_after);

    assert!(node.replace_chain(first.chain().to_vec(), half).is_err(), "another node's chain");
}

#[test]
fn an_issuer_renews_its_own_certificate_however_late() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), NOW);
    let (issuer, before) = (first.issuer().unwrap(), first.certificate());
    let late = before.not_after.plus(HOUR * 24 * 30);
    first.replace_chain(issuer.renew(&before, NODE_LIFE, late).unwrap(), late).unwrap();
    assert_eq!(first.not_after(), late.plus(NODE_LIFE));

    let last_hours = UnixMillis::from_millis(issuer.validity().until.as_millis() - 3_600_000);
    first.replace_chain(issuer.renew(&before, NODE_LIFE, last_hours).unwrap(), last_hours).unwrap();
    assert_eq!(first.not_after(), issuer.validity().until, "nothing outlives who signed it");
    assert!(issuer.renew(&before, NODE_LIFE, issuer.validity().until.plus(HOUR)).is_err());
}

#[test]
fn a_node_whose_certificate_is_over_joins_again_as_the_same_node() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), NOW);
    let node = member(&first, dir.path(), "node", &limits(1), NOW);
    let late = node.not_after().plus(HOUR);
    let token = |mesh: &Identity| token(mesh, &limits(1), late);
    let home = dir.path().join("node");
    assert!(matches!(Candidate::prepare(&home, &token(&first), NOW), Err(IdentityError::Exists { .. })), "still good");
    let elsewhere = first_node(&dir.path().join("elsewhere"), late);
    // That it is another mesh, and not another root of the same, shows once a member was met.
    let foreign = token(&elsewhere);
    let candidate = Candidate::prepare(&home, &foreign, late).unwrap();
    let admitted = ask(&elsewhere, &candidate, &foreign, &MemoryLedger::default(), late).unwrap();
    let error = candidate.enter(admitted, &elsewhere.roots(), late).unwrap_err();
    assert!(matches!(error, IdentityError::Exists { .. }), "of another mesh: {error}");

    let again = member(&first, dir.path(), "node", &limits(1), late);
    assert_eq!((again.node_id(), again.not_after()), (node.node_id(), late.plus(NODE_LIFE)));
}

/// Signs what `node` asks for with the root key of the first node in `dir`, through text as people carry it.
fn granted(dir: &Path, node: &Identity, now: UnixMillis) -> IssuerGrant {
    let root = RootKey::read(&dir.join("first/root.key")).unwrap();
    let request: IssuerRequest = node.request_issuer().unwrap().to_string().parse().unwrap();
    assert_eq!(request.node(), node.node_id());
    root.sign(&request, now).unwrap().to_string().parse().unwrap()
}

#[test]
fn a_node_becomes_an_issuer_where_the_root_key_is_elsewhere_and_gets_new_keys() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), NOW);
    let node = member(&first, dir.path(), "node", &limits(1), NOW);
    assert!(node.issuer().is_none());
    let mut rings = node.changed();
    node.install_issuer(granted(dir.path(), &node, NOW), NODE_LIFE, NOW).unwrap();
    assert!(rings.has_changed().unwrap(), "others are told");
    rings.borrow_and_update();
    let certificate = node.certificate();
    assert!(certificate.roles.issuer && certificate.issuer == Some(node.node_id()), "{certificate:?}");
    let token = token(&node, &limits(2), NOW);
    let (ledger, third) =
        (MemoryLedger::default(), Candidate::prepare(&dir.path().join("third"), &token, NOW).unwrap());
    let admitted = ask(&node, &third, &token, &ledger, NOW).unwrap();
    assert_eq!(third.enter(admitted, &first.roots(), NOW).unwrap().certificate().issuer, Some(node.node_id()));

    // Rotated: what it signed before counts, its tokens of before admit nobody.
    let late = NOW.plus(HOUR * 24 * 300);
    node.install_issuer(granted(dir.path(), &node, late), NODE_LIFE, late).unwrap();
    assert!(node.issuer().unwrap().validity().until > NOW.plus(HOUR * 24 * 600));
    let fourth = Candidate::prepare(&dir.path().join("fourth"), &token, NOW).unwrap();
    assert_eq!(ask(&node, &fourth, &token, &ledger, NOW).unwrap_err(), JoinRefusal::BadSignature);
    let loaded = Identity::load(&dir.path().join("node")).unwrap();
    assert_eq!(loaded.certificate(), node.certificate());
    assert!(loaded.issuer().is_some());
}

#[test]
fn an_issuer_that_stops_while_it_takes_up_a_key_starts_whole() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), NOW);
    let grant = granted(dir.path(), &first, NOW);
    let (home, saved) = (dir.path().join("first"), dir.path().join("saved"));
    fs::create_dir(&saved).unwrap();
    for name in ["issuer.key", "issuer-next.key", "node.crt"] {
        fs::copy(home.join(name), saved.join(name)).unwrap();
    }
    first.install_issuer(grant, NODE_LIFE, NOW).unwrap();
    // As it was once the certificate was written, and nothing else.
    for name in ["issuer.key", "issuer-next.key", "node.crt"] {
        fs::copy(saved.join(name), home.join(name)).unwrap();
    }
    let restarted = Identity::load(&home).unwrap();
    assert_eq!(restarted.issuer().unwrap().validity(), first.issuer().unwrap().validity());
    member(&restarted, dir.path(), "node", &limits(1), NOW);
    assert!(!home.join("issuer-next.key").exists());
}

#[test]
fn requests_and_grants_that_do_not_fit_are_refused_as_what_they_are() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), NOW);
    let node = member(&first, dir.path(), "node", &limits(1), NOW);
    let issuing = |error: IdentityError| match error {
        IdentityError::Issuing(error) => error,
        other => panic!("{other}"),
    };
    let elsewhere = dir.path().join("elsewhere");
    first_node(&elsewhere, NOW);
    let other_root = RootKey::read(&elsewhere.join("first/root.key")).unwrap();
    let request = node.request_issuer().unwrap();
    let error = issuing(other_root.sign(&request, NOW).unwrap_err());
    assert!(matches!(error, IssuingError::OtherMesh { .. }), "{error}");
    let text = request.to_string();
    assert!(matches!(text[1..].parse::<IssuerRequest>(), Err(IssuingError::Other { .. })));
    assert!(matches!(text[..text.len() - 3].parse::<IssuerRequest>(), Err(IssuingError::Damaged { .. })));
    assert!(matches!(text.parse::<IssuerGrant>(), Err(IssuingError::Other { .. })));

    let second = member(&first, dir.path(), "second", &limits(1), NOW);
    let for_another = granted(dir.path(), &second, NOW);
    let error = issuing(node.install_issuer(for_another.clone(), NODE_LIFE, NOW).unwrap_err());
    assert_eq!(error, IssuingError::NotAsked);
    second.install_issuer(for_another.clone(), NODE_LIFE, NOW).unwrap();
    let error = issuing(second.install_issuer(for_another, NODE_LIFE, NOW).unwrap_err());
    assert_eq!(error, IssuingError::NotAsked, "a grant is for one use");

    let reader = member(&first, dir.path(), "reader", &TokenLimits { write: false, ..limits(1) }, NOW);
    assert!(matches!(reader.request_issuer(), Err(IdentityError::IssuerCannotWrite { .. })));
}

#[test]
fn a_mesh_that_was_lost_but_for_its_root_key_begins_again_as_the_same() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), NOW);
    let survivor = member(&first, dir.path(), "survivor", &limits(1), NOW);
    let root = RootKey::read(&dir.path().join("first/root.key")).unwrap();
    let again = init_mesh_again(&dir.path().join("again"), &root, NOW.plus(HOUR)).unwrap();
    assert_eq!(again.mesh_id(), first.mesh_id());
    assert_ne!(again.node_id(), first.node_id());
    assert!(!dir.path().join("again/root.key").exists(), "the root key stays where it is");
    assert!(survivor.roots().verify(&again.chain(), NOW.plus(HOUR)).is_ok());
    assert!(again.roots().verify(&survivor.chain(), NOW.plus(HOUR)).is_ok());
    member(&again, dir.path(), "new", &limits(1), NOW.plus(HOUR));
}
