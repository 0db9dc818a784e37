//! One root in the place of another.

use super::*;

/// The root that follows, beside the first node in `dir`.
fn next_root(dir: &Path, now: UnixMillis) -> (RootKey, Succession) {
    let old = RootKey::read(&dir.join("first/root.key")).unwrap();
    let succession = old.begin_succession(&dir.join("next"), now).unwrap();
    (RootKey::read(&dir.join("next/root.key")).unwrap(), succession.to_string().parse().unwrap())
}

fn signed_by(root: &RootKey, node: &Identity, now: UnixMillis) {
    let grant = root.sign(&node.request_issuer().unwrap(), now).unwrap();
    node.install_issuer(grant, NODE_LIFE, now).unwrap();
}

#[test]
fn a_root_is_replaced_in_three_steps_and_nobody_is_cut_off() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), NOW);
    let node = member(&first, dir.path(), "node", &limits(1), NOW);
    let old_entry = (node.chain(), node.sign(b"old"));
    let (new_root, succession) = next_root(dir.path(), NOW);
    assert_eq!(new_root.mesh_id(), first.mesh_id(), "the mesh keeps its id");

    // Reissued, one after the other: who knows the old root only trusts both.
    signed_by(&new_root, &first, NOW);
    assert_eq!(first.origin().unwrap(), succession.new_root().unwrap());
    assert_eq!(node.origin().unwrap(), succession.old_root().unwrap());
    assert!(node.roots().verify(&first.chain(), NOW).is_ok() && first.roots().verify(&node.chain(), NOW).is_ok());
    let renewed = first.issuer().unwrap().renew(&node.certificate(), NODE_LIFE, NOW).unwrap();
    node.replace_chain(renewed, NOW).unwrap();
    assert_eq!(node.origin().unwrap(), succession.new_root().unwrap());
    let late = member(&first, dir.path(), "between", &limits(1), NOW);

    // The old one is dropped.
    let then = NOW.plus(HOUR);
    let by_old = member_by_old_root(dir.path(), &succession);
    for identity in [&first, &node, &late] {
        identity.succeed(&succession, then).unwrap();
        identity.succeed(&succession, then.plus(HOUR)).unwrap();
    }
    let home = Identity::load(&dir.path().join("node")).unwrap();
    assert_eq!((home.mesh_id(), home.origin().unwrap()), (first.mesh_id(), succession.new_root().unwrap()));
    for roots in [node.roots(), home.roots(), late.roots()] {
        assert!(roots.verify(&first.chain(), then).is_ok() && roots.verify(&late.chain(), then).is_ok());
        assert!(roots.verify(&by_old, NOW).is_err(), "what the old root still signs is of no mesh");
    }
    let written = |at| verify_writer(&first.roots(), &old_entry.0, b"old", old_entry.1.as_ref(), at);
    assert_eq!(written(NOW).unwrap(), node.node_id(), "what was written before counts");
    assert!(written(then.plus(HOUR)).is_err(), "not so what is written afterwards");

    // Whoever joins from now on pins the new root, and learns of the mesh's id and of what was before.
    let newcomer = member(&first, dir.path(), "newcomer", &limits(1), then);
    assert_eq!(newcomer.mesh_id(), first.mesh_id());
    assert!(verify_writer(&newcomer.roots(), &old_entry.0, b"old", old_entry.1.as_ref(), NOW).is_err());
    newcomer.succeed(&succession, then).unwrap();
    verify_writer(&newcomer.roots(), &old_entry.0, b"old", old_entry.1.as_ref(), NOW).unwrap();

    // And once more.
    fs::rename(dir.path().join("next"), dir.path().join("second")).unwrap();
    let second = RootKey::read(&dir.path().join("second/root.key")).unwrap();
    let third = second.begin_succession(&dir.path().join("third"), then).unwrap();
    signed_by(&RootKey::read(&dir.path().join("third/root.key")).unwrap(), &first, then);
    assert!(node.roots().verify(&first.chain(), then).is_ok());
    node.succeed(&third, then.plus(HOUR)).unwrap();
    assert_eq!((node.mesh_id(), node.roots().id().unwrap()), (first.mesh_id(), third.new_root().unwrap()));
    verify_writer(&node.roots(), &old_entry.0, b"old", old_entry.1.as_ref(), NOW).unwrap();
}

/// The chain of an issuer that whoever has the old root key makes for himself.
fn member_by_old_root(dir: &Path, succession: &Succession) -> Vec<rustls::pki_types::CertificateDer<'static>> {
    let old = RootKey::read(&dir.join("first/root.key")).unwrap();
    let intruder = init_mesh_again(&dir.join("intruder"), &old, NOW).unwrap();
    assert_eq!(intruder.mesh_id(), succession.mesh_id());
    intruder.chain().to_vec()
}

#[test]
fn a_succession_is_by_both_roots_and_of_this_mesh() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), NOW);
    let (_, succession) = next_root(dir.path(), NOW);
    let old = RootKey::read(&dir.path().join("first/root.key")).unwrap();
    assert!(matches!(old.begin_succession(&dir.path().join("next"), NOW), Err(IdentityError::Exists { .. })));
    let elsewhere = first_node(&dir.path().join("elsewhere"), NOW);
    assert!(elsewhere.succeed(&succession, NOW).is_err(), "of another mesh");
    let text = succession.to_string();
    assert!(text[..text.len() - 2].parse::<Succession>().is_err());
    // A node that has nothing from the new root yet follows all the same, and has to join again.
    first.succeed(&succession, NOW).unwrap();
    assert_eq!(first.roots().id().unwrap(), succession.new_root().unwrap());
}

#[test]
fn a_node_that_follows_without_a_certificate_of_the_new_root_joins_again_as_the_same_node() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), NOW);
    let node = member(&first, dir.path(), "node", &limits(1), NOW);
    let (new_root, succession) = next_root(dir.path(), NOW);
    signed_by(&new_root, &first, NOW);
    for identity in [&first, &node] {
        identity.succeed(&succession, NOW).unwrap();
    }
    let home = dir.path().join("node");
    let error = Identity::load(&home).unwrap_err();
    assert!(matches!(error, IdentityError::Certificate(CertificateError::Untrusted(_))), "{error}");

    let elsewhere = first_node(&dir.path().join("elsewhere"), NOW);
    let foreign = token(&elsewhere, &limits(1), NOW);
    let candidate = Candidate::prepare(&home, &foreign, NOW).unwrap();
    let admitted = ask(&elsewhere, &candidate, &foreign, &MemoryLedger::default(), NOW).unwrap();
    let error = candidate.enter(admitted, &elsewhere.roots(), NOW).unwrap_err();
    assert!(matches!(error, IdentityError::Exists { .. }), "of another mesh: {error}");

    let again = member(&first, dir.path(), "node", &limits(1), NOW);
    assert_eq!((again.node_id(), again.mesh_id()), (node.node_id(), first.mesh_id()));
    assert_eq!(again.origin().unwrap(), succession.new_root().unwrap());
}

#[test]
fn an_issuing_certificate_of_the_old_root_holds_the_change_up_and_is_no_use_after_it() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), NOW);
    let second = member(&first, dir.path(), "second", &TokenLimits { issuer: true, ..limits(1) }, NOW);
    let (new_root, succession) = next_root(dir.path(), NOW);
    let (old, new) = (succession.old_root().unwrap(), succession.new_root().unwrap());
    signed_by(&new_root, &first, NOW);
    let renewed = first.issuer().unwrap().renew(&second.certificate(), NODE_LIFE, NOW).unwrap();
    second.replace_chain(renewed, NOW).unwrap();
    assert_eq!((first.root().unwrap(), second.origin().unwrap()), (new, new));
    assert_eq!(second.root().unwrap(), old, "it still signs for the old one");

    assert!(second.issuer().is_some());
    for identity in [&first, &second] {
        identity.succeed(&succession, NOW).unwrap();
    }
    assert!(first.issuer().is_some() && second.issuer().is_none());
    let load = |name: &str| Identity::load(&dir.path().join(name)).unwrap();
    assert!(load("first").issuer().is_some() && load("second").issuer().is_none(), "nor after a restart");
    // It can be one again.
    signed_by(&new_root, &second, NOW);
    assert!(load("second").issuer().is_some() && second.root().unwrap() == new);
}

#[test]
fn a_root_gives_way_once_and_at_the_first_moment_that_is_said() {
    let dir = tempdir().unwrap();
    let first = first_node(dir.path(), NOW);
    let entry = (first.chain(), first.sign(b"old"));
    let old = RootKey::read(&dir.path().join("first/root.key")).unwrap();
    let (new_root, succession) = next_root(dir.path(), NOW);
    let other = old.begin_succession(&dir.path().join("other"), NOW).unwrap();
    signed_by(&new_root, &first, NOW);
    let then = NOW.plus(HOUR);
    first.succeed(&succession, then).unwrap();
    let error = first.succeed(&other, then).unwrap_err();
    assert!(error.to_string().contains("has given way"), "{error}");
    let next = new_root.begin_succession(&dir.path().join("third"), NOW).unwrap();
    assert!(first.roots().judge(&next).is_ok(), "the new one may give way in turn");

    let written = |at| verify_writer(&first.roots(), &entry.0, b"old", entry.1.as_ref(), at).is_ok();
    first.succeed(&succession, then.plus(HOUR)).unwrap();
    assert!(written(then) && !written(then.plus(HOUR)), "no later word puts it off");
    first.succeed(&succession, NOW).unwrap();
    assert!(written(NOW) && !written(then), "an earlier one counts");
}
