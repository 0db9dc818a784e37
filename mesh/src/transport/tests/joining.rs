use std::{net::SocketAddr, time::Duration};

use shoal_types::UnixMillis;
use tempfile::tempdir;
use tokio::{io::AsyncWriteExt as _, task::JoinSet};

use super::{Node, mesh, pair, shut_down, soon};
use crate::{
    clock::{self, Skew},
    identity::{
        Candidate, JoinRefusal, JoinToken, NODE_LIFE, RootKey, TokenLedger as _, TokenLimits,
        testing::{first_node, limits, member},
    },
    transport::{JoinError, RenewError, StreamKind, join},
};

const HOUR: Duration = Duration::from_secs(3600);

fn token(issuer: &Node, limits: &TokenLimits, addresses: &[SocketAddr], now: UnixMillis) -> JoinToken {
    let text = issuer.identity.issuer().unwrap().create_token(limits, addresses, now).unwrap().to_string();
    text.parse().unwrap()
}

fn good_token(issuer: &Node, uses: u32) -> JoinToken {
    token(issuer, &limits(uses), &[issuer.address()], clock::now())
}

fn before(now: UnixMillis, by: Duration) -> UnixMillis {
    UnixMillis::from_millis(now.as_millis() - u64::try_from(by.as_millis()).unwrap())
}

#[tokio::test]
async fn a_host_with_a_good_token_becomes_a_node() {
    let (dir, mut a, b) = pair();
    let joined = join(&good_token(&a, 1), &dir.path().join("new"), clock::now()).await.unwrap();
    assert_eq!(joined.identity.mesh_id(), a.identity.mesh_id());
    assert!(joined.identity.can_write() && joined.identity.issuer().is_none());
    assert_eq!(joined.peers, [(a.id, vec![a.address()]), (b.id, vec![b.address()])]);

    let new = Node::start(joined.identity);
    new.knows(&a);
    let mut stream = new.transport.open(a.id, StreamKind::Probe).await.unwrap();
    stream.send.write_all(b"hello").await.unwrap();
    assert_eq!(a.next_stream().await.from, new.id);
    shut_down([a, b, new]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_join_at_once_exactly_as_many_as_granted_are_admitted() {
    let (dir, mut nodes) = mesh(1);
    let a = nodes.remove(0);
    let token = std::sync::Arc::new(good_token(&a, 6));
    let mut joins = JoinSet::new();
    // More than the issuer takes per second, so that some have to ask again.
    for index in 0..8 {
        let (token, dir) = (token.clone(), dir.path().join(format!("host-{index}")));
        joins.spawn(async move { join(&token, &dir, clock::now()).await.map(|joined| joined.identity.node_id()) });
    }
    let (admitted, refused): (Vec<_>, Vec<_>) = soon(joins.join_all()).await.into_iter().partition(Result::is_ok);
    assert_eq!((admitted.len(), refused.len()), (6, 2));
    for refused in refused {
        assert!(matches!(refused, Err(JoinError::Refused(JoinRefusal::UsedUp { uses: 6 }))), "{refused:?}");
    }
    assert_eq!(a.admission.ledger.uses(token.id()).len(), 6);
    shut_down([a]).await;
}

#[tokio::test]
async fn a_retry_by_the_same_host_is_one_use() {
    let (dir, mut nodes) = mesh(1);
    let a = nodes.remove(0);
    let token = good_token(&a, 2);
    join(&token, &dir.path().join("x"), clock::now()).await.unwrap();
    // The answer was lost before it was written down.
    std::fs::remove_file(dir.path().join("x/node.crt")).unwrap();
    join(&token, &dir.path().join("x"), clock::now()).await.unwrap();
    join(&token, &dir.path().join("y"), clock::now()).await.unwrap();
    let error = join(&token, &dir.path().join("z"), clock::now()).await.unwrap_err();
    assert!(matches!(error, JoinError::Refused(JoinRefusal::UsedUp { uses: 2 })), "{error}");
    let error = join(&token, &dir.path().join("x"), clock::now()).await.unwrap_err();
    assert!(matches!(error, JoinError::Identity(_)), "{error}");
    shut_down([a]).await;
}

#[tokio::test]
async fn tokens_and_nodes_that_are_no_longer_welcome_are_told_so() {
    let (dir, mut nodes) = mesh(1);
    let a = nodes.remove(0);
    let new = dir.path().join("new");

    let old = token(&a, &limits(1), &[a.address()], before(clock::now(), 2 * HOUR));
    let error = join(&old, &new, clock::now()).await.unwrap_err();
    assert!(matches!(error, JoinError::Refused(JoinRefusal::Expired { at }) if at == old.not_after()), "{error}");

    let revoked = good_token(&a, 1);
    a.admission.ledger.revoke(revoked.id());
    let error = join(&revoked, &new, clock::now()).await.unwrap_err();
    assert!(matches!(error, JoinError::Refused(JoinRefusal::TokenRevoked)), "{error}");

    let good = good_token(&a, 1);
    let node = Candidate::prepare(&new, &good, clock::now()).unwrap().node_id();
    a.admission.revoke(node);
    let error = join(&good, &new, clock::now()).await.unwrap_err();
    let JoinError::Refused(refusal) = error else { panic!("{error}") };
    assert_eq!(refusal, JoinRefusal::NodeRevoked { node });
    assert!(a.admission.ledger.uses(good.id()).is_empty());
    shut_down([a]).await;
}

#[tokio::test]
async fn a_member_of_another_mesh_is_told_nothing() {
    let (dir, mut nodes) = mesh(1);
    let a = nodes.remove(0);
    let elsewhere = tempdir().unwrap();
    let other = Node::start(first_node(elsewhere.path(), clock::now()));
    let lured = token(&a, &limits(1), &[other.address()], clock::now());
    let error = join(&lured, &dir.path().join("new"), clock::now()).await.unwrap_err();
    let JoinError::OtherMesh { address, expected, found } = error else { panic!("{error}") };
    assert_eq!((address, expected, found), (other.address(), a.identity.mesh_id(), other.identity.mesh_id()));
    // The right address behind the wrong one is still found.
    let both = token(&a, &limits(1), &[other.address(), a.address()], clock::now());
    join(&both, &dir.path().join("new"), clock::now()).await.unwrap();
    shut_down([a, other]).await;
}

#[tokio::test]
async fn clocks_that_disagree_are_named_with_the_difference() {
    let (dir, mut nodes) = mesh(1);
    let a = nodes.remove(0);
    let token = good_token(&a, 1);
    // Behind: the issuer's certificate is not valid yet. Far ahead: it is valid no more.
    let clocks = [
        (before(clock::now(), HOUR), false, 1),
        (clock::now().plus(HOUR), true, 1),
        (clock::now().plus(100 * HOUR), true, 100),
    ];
    for (now, ahead, hours) in clocks {
        let error = join(&token, &dir.path().join("new"), now).await.unwrap_err();
        let JoinError::ClockSkew { skew: Skew { ahead: found, by }, address } = error else { panic!("{error}") };
        assert_eq!((found, address), (ahead, a.address()));
        assert!(by.abs_diff(HOUR * hours) < Duration::from_secs(60), "{by:?}");
    }
    let skew = Skew { ahead: false, by: HOUR };
    let message = JoinError::ClockSkew { address: a.address(), skew }.to_string();
    assert!(message.contains("clock is 1h behind"), "{message}");
    join(&token, &dir.path().join("new"), before(clock::now(), Duration::from_secs(240))).await.unwrap();
    shut_down([a]).await;
}

#[tokio::test]
async fn an_address_where_nobody_is_is_named() {
    let (dir, mut nodes) = mesh(1);
    let a = nodes.remove(0);
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let error = join(&token(&a, &limits(1), &[address], clock::now()), &dir.path().join("new"), clock::now()).await;
    let error = error.unwrap_err();
    assert!(matches!(&error, JoinError::Unreachable { attempts } if attempts.0[0].0 == address), "{error}");
    assert!(error.to_string().contains("UDP") && error.to_string().contains(&address.to_string()), "{error}");
    shut_down([a]).await;
}

#[tokio::test]
async fn a_member_that_is_not_the_issuer_leads_to_it_if_it_can() {
    let (dir, a, b) = pair();
    let token = token(&a, &limits(1), &[b.address()], clock::now());
    b.transport.disconnect(a.id);
    let error = join(&token, &dir.path().join("new"), clock::now()).await.unwrap_err();
    let JoinError::NotTheIssuer { reached, issuer, .. } = error else { panic!("{error}") };
    assert_eq!((reached, issuer), (b.id, a.id));
    b.knows(&a);
    let joined = join(&token, &dir.path().join("new"), clock::now()).await.unwrap();
    assert_eq!(joined.peers[0], (a.id, vec![a.address()]));
    shut_down([a, b]).await;
}

#[tokio::test]
async fn an_issuer_can_join_and_admit() {
    let (dir, mut nodes) = mesh(1);
    let a = nodes.remove(0);
    let as_issuer = TokenLimits { issuer: true, ..limits(1) };
    let token = token(&a, &as_issuer, &[a.address()], clock::now());
    let second = Node::start(join(&token, &dir.path().join("second"), clock::now()).await.unwrap().identity);
    join(&good_token(&second, 1), &dir.path().join("third"), clock::now()).await.unwrap();
    shut_down([a, second]).await;
}

#[tokio::test]
async fn a_certificate_is_renewed_by_a_connected_issuer() {
    let (_dir, a, b) = pair();
    assert!(matches!(b.transport.renew().await, Err(RenewError::NoIssuer)));
    b.transport.open(a.id, StreamKind::Probe).await.unwrap();
    let before = b.identity.chain();
    let not_after = b.transport.renew().await.unwrap();
    assert_ne!(b.identity.chain()[0], before[0]);
    assert_eq!(b.identity.not_after(), not_after);
    assert_eq!(a.transport.renew().await.unwrap(), a.identity.not_after(), "an issuer renews its own");

    a.admission.revoke(b.id);
    let error = b.transport.renew().await.unwrap_err();
    assert!(matches!(&error, RenewError::Refused { reason, .. } if reason.contains("revoked")), "{error}");
    shut_down([a, b]).await;
}

#[tokio::test]
async fn an_issuer_that_signs_for_a_root_of_before_does_not_keep_a_node_from_others() {
    let (dir, now) = (tempdir().unwrap(), clock::now());
    let first = first_node(dir.path(), now);
    let second = member(&first, dir.path(), "second", &TokenLimits { issuer: true, ..limits(1) }, now);
    let node = member(&first, dir.path(), "node", &limits(1), now);
    let old = RootKey::read(&dir.path().join("first/root.key")).unwrap();
    let succession = old.begin_succession(&dir.path().join("next"), now).unwrap();
    let new = RootKey::read(&dir.path().join("next/root.key")).unwrap();
    let grant = new.sign(&second.request_issuer().unwrap(), now).unwrap();
    second.install_issuer(grant, NODE_LIFE, now).unwrap();
    let (a, b, node) = (Node::start(first), Node::start(second), Node::start(node));
    for issuer in [&a, &b] {
        node.knows(issuer);
        node.transport.open(issuer.id, StreamKind::Probe).await.unwrap();
    }
    // It is the first to hear of it. Whoever signed its certificate is asked before others, and has not heard yet.
    node.identity.succeed(&succession, clock::now()).unwrap();
    node.transport.renew().await.unwrap();
    assert_eq!(node.identity.certificate().issuer, Some(b.id));
    shut_down([a, b, node]).await;
}
