use std::io;

use bytes::Bytes;
use shoal_types::NodeId;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinSet,
};

use super::{PATIENCE, pair, shut_down, soon};
use crate::transport::{
    FrameError, GOSSIP_MAX, OpenError, Stream, StreamKind, config::PACKET_MAX, gossip, link::Use, pool::MAILBOX,
    stream::Opening,
};

#[tokio::test]
async fn two_nodes_exchange_frames_over_one_connection() {
    let (_dir, mut a, mut b) = pair();
    let mut there = a.transport.open(b.id, StreamKind::StoreSync).await.unwrap();
    there.send.write_frame(&("question", 7u64)).await.unwrap();
    there.send.shutdown().await.unwrap();

    let mut here = b.next_stream().await;
    assert_eq!((here.from, here.kind), (a.id, StreamKind::StoreSync));
    let question: (String, u64) = soon(here.stream.recv.read_frame()).await.unwrap();
    assert_eq!(question, ("question".to_owned(), 7));
    let end = soon(here.stream.recv.read_frame::<u64>()).await;
    assert!(matches!(end, Err(FrameError::Ended)), "shutdown is a clean end");
    here.stream.send.write_frame(&8u64).await.unwrap();
    assert_eq!(soon(there.recv.read_frame::<u64>()).await.unwrap(), 8);

    // The other direction takes the same connection.
    let _back = b.transport.open(a.id, StreamKind::Probe).await.unwrap();
    assert_eq!(a.next_stream().await.kind, StreamKind::Probe);
    assert_eq!(a.pool().endpoint.open_connections(), 1);
    let status = a.transport.peers().remove(0);
    assert!(status.connected && status.rtt.is_some());
    assert_eq!((status.node, status.address), (b.id, Some(b.address())));
    shut_down([a, b]).await;
}

/// What quinn sends in one call is as much as the kernel takes: more would be lost without a word, until packets are small again.
#[tokio::test]
async fn packets_become_as_large_as_the_path_carries_and_stay_so() {
    let (_dir, a, mut b) = pair();
    let mut there = a.transport.open(b.id, StreamKind::Forward).await.unwrap();
    there.send.write_frame(&0u64).await.unwrap();
    let mut here = b.next_stream().await;
    let packet = || a.transport.peers().remove(0).mtu;
    let begun = tokio::time::Instant::now();
    while packet() != Some(PACKET_MAX) {
        assert!(begun.elapsed() < PATIENCE, "packets of {:?} bytes", packet());
        there.send.write_frame(&0u64).await.unwrap();
        soon(here.stream.recv.read_frame::<u64>()).await.unwrap();
        here.stream.send.write_frame(&0u64).await.unwrap();
        soon(there.recv.read_frame::<u64>()).await.unwrap();
    }
    soon(here.stream.recv.read_frame::<u64>()).await.unwrap();
    let sent: Vec<u8> = (0..16_u32 << 20).map(|byte| (byte >> 8) as u8).collect();
    let mut received = Vec::new();
    let send = async {
        there.send.write_all(&sent).await.unwrap();
        there.send.shutdown().await.unwrap();
    };
    let (_, length) = tokio::join!(send, soon(here.stream.recv.read_to_end(&mut received)));
    assert_eq!((length.unwrap(), packet()), (sent.len(), Some(PACKET_MAX)));
    assert!(received == sent);
    shut_down([a, b]).await;
}

/// A stream is there as soon as one that was opened after it is, whether anything has been sent on it or not.
#[tokio::test]
async fn a_stream_is_passed_on_however_late_it_says_what_it_is_for() {
    let (_dir, a, mut b) = pair();
    let (link, _use) = a.pool().link(b.id, Use::Stream).await.unwrap();
    let (send, recv) = link.connection.open_bi().await.unwrap();
    let mut late = Stream::new(send, recv, None);
    let _second = a.transport.open(b.id, StreamKind::Probe).await.unwrap();
    assert_eq!(b.next_stream().await.kind, StreamKind::Probe);
    late.send.write_all(&[Opening::Stream(StreamKind::Admin).byte()]).await.unwrap();
    late.send.write_frame(&7u64).await.unwrap();
    let mut here = b.next_stream().await;
    assert_eq!((here.from, here.kind), (a.id, StreamKind::Admin));
    assert_eq!(soon(here.stream.recv.read_frame::<u64>()).await.unwrap(), 7);
    shut_down([a, b]).await;
}

#[tokio::test]
async fn a_dropped_writer_is_an_error_and_never_an_end() {
    let (_dir, a, mut b) = pair();
    let mut stream = a.transport.open(b.id, StreamKind::Forward).await.unwrap();
    stream.send.write_all(b"half of it").await.unwrap();
    let mut here = b.next_stream().await;
    let mut text = [0; 10];
    soon(here.stream.recv.read_exact(&mut text)).await.unwrap();
    drop(stream.send);
    let mut rest = Vec::new();
    let error = soon(here.stream.recv.read_to_end(&mut rest)).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

    let mut stream = a.transport.open(b.id, StreamKind::Forward).await.unwrap();
    stream.send.write_all(b"all of it").await.unwrap();
    stream.send.shutdown().await.unwrap();
    drop(stream.send);
    let mut here = b.next_stream().await;
    assert_eq!(soon(here.stream.recv.read_to_end(&mut rest)).await.unwrap(), 9);
    shut_down([a, b]).await;
}

#[tokio::test]
async fn a_reader_that_leaves_cancels_the_writer() {
    let (_dir, a, mut b) = pair();
    let stream = a.transport.open(b.id, StreamKind::Admin).await.unwrap();
    let mut here = b.next_stream().await;
    here.stream.send.write_all(b"token").await.unwrap();
    let cancelled = here.stream.send.cancelled();
    tokio::pin!(cancelled);
    assert!(futures_util::poll!(&mut cancelled).is_pending());
    drop(stream.recv);
    soon(cancelled).await;

    // So does a connection that dies.
    let _stream = a.transport.open(b.id, StreamKind::Admin).await.unwrap();
    let here = b.next_stream().await;
    let cancelled = here.stream.send.cancelled();
    a.transport.shutdown().await;
    soon(cancelled).await;
    shut_down([b]).await;
}

#[tokio::test]
async fn what_has_arrived_in_full_is_not_cancelled_afterwards() {
    let (_dir, a, mut b) = pair();
    let mut stream = a.transport.open(b.id, StreamKind::Admin).await.unwrap();
    let mut here = b.next_stream().await;
    here.stream.send.write_all(b"all").await.unwrap();
    here.stream.send.shutdown().await.unwrap();
    let cancelled = here.stream.send.cancelled();
    let mut text = Vec::new();
    soon(stream.recv.read_to_end(&mut text)).await.unwrap();
    drop(stream);
    let resolved = tokio::time::timeout(std::time::Duration::from_millis(200), cancelled).await;
    assert!(resolved.is_err());
    shut_down([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_streams_run_at_once() {
    const STREAMS: u32 = 300;
    let (_dir, a, mut b) = pair();
    let mut asking = JoinSet::new();
    let mut open = Vec::new();
    for number in 0..STREAMS {
        let mut stream = a.transport.open(b.id, StreamKind::Forward).await.unwrap();
        stream.send.write_frame(&number).await.unwrap();
        open.push(stream);
    }
    // All are open at the same time before the first is answered.
    let mut waiting = Vec::new();
    for _ in 0..STREAMS {
        waiting.push(b.next_stream().await.stream);
    }
    for mut stream in open {
        asking.spawn(async move {
            let answer = stream.recv.read_frame::<u32>().await.unwrap();
            stream.send.shutdown().await.unwrap();
            answer
        });
    }
    for mut stream in waiting {
        let number: u32 = soon(stream.recv.read_frame()).await.unwrap();
        stream.send.write_frame(&(number * 2)).await.unwrap();
        stream.send.shutdown().await.unwrap();
    }
    let mut answers = soon(asking.join_all()).await;
    answers.sort_unstable();
    assert_eq!(answers, (0..STREAMS).map(|number| number * 2).collect::<Vec<_>>());
    shut_down([a, b]).await;
}

#[tokio::test]
async fn gossip_arrives_whole_and_from_whom() {
    let (_dir, mut a, mut b) = pair();
    let long = Bytes::from(vec![42; 200_000]);
    assert!(a.transport.send_gossip(b.id, Bytes::from_static(b"short")));
    assert_eq!(soon(b.inbound.gossip.recv()).await.unwrap(), (a.id, Bytes::from_static(b"short")));
    assert!(b.transport.send_gossip(a.id, long.clone()));
    assert_eq!(soon(a.inbound.gossip.recv()).await.unwrap(), (b.id, long));
    assert_eq!(a.pool().endpoint.open_connections(), 1);
    shut_down([a, b]).await;
}

#[tokio::test]
async fn oversize_gossip_is_dropped_by_both_ends() {
    let (_dir, a, mut b) = pair();
    assert!(!a.transport.send_gossip(b.id, Bytes::from(vec![0; GOSSIP_MAX + 1])));
    let (link, _) = a.pool().link(b.id, Use::Stream).await.unwrap();
    for stream in [gossip::encode(&vec![0; GOSSIP_MAX + 1]).unwrap(), vec![1; GOSSIP_MAX + 3], vec![9, 9]] {
        let mut raw = link.open_gossip(link.begin_use(Use::Message)).await.unwrap();
        let _ = raw.write_all(&stream).await; // stopped as soon as it is too long
        let _ = raw.shutdown().await;
    }
    for message in ["first", "second"] {
        assert!(a.transport.send_gossip(b.id, Bytes::from(message)));
        assert_eq!(soon(b.inbound.gossip.recv()).await.unwrap().1, message);
    }
    shut_down([a, b]).await;
}

#[tokio::test]
async fn a_mailbox_that_nobody_empties_is_bounded() {
    let (_dir, a, b) = pair();
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    a.transport.learn(b.id, &[silent.local_addr().unwrap()]);
    let accepted = (0..100).filter(|_| a.transport.send_gossip(b.id, Bytes::from_static(b"x"))).count();
    assert_eq!(accepted, MAILBOX);
    assert!(!a.transport.send_gossip(NodeId::from_bytes([9; 16]), Bytes::new()), "an unknown peer");
    shut_down([a, b]).await;
}

#[tokio::test]
async fn a_peer_that_is_unknown_or_away_is_reported_as_such() {
    let (_dir, a, b) = pair();
    let unknown = NodeId::from_bytes([9; 16]);
    let error = a.transport.open(unknown, StreamKind::Probe).await.unwrap_err();
    assert_eq!(error, OpenError::UnknownAddress { node: unknown });
    let error = a.transport.open(a.id, StreamKind::Probe).await.unwrap_err();
    assert_eq!(error, OpenError::UnknownAddress { node: a.id }, "a node does not dial itself");

    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    a.transport.learn(b.id, &[address]);
    let (first, second) =
        tokio::join!(a.transport.open(b.id, StreamKind::Probe), a.transport.open(b.id, StreamKind::Probe));
    let error = first.unwrap_err();
    assert!(matches!(&error, OpenError::Unreachable { attempts, .. } if attempts.0[0].0 == address), "{error}");
    assert_eq!(second.unwrap_err(), error, "both share one dial");
    // Of two addresses one answers.
    a.transport.learn(b.id, &[address, b.address()]);
    a.transport.open(b.id, StreamKind::Probe).await.unwrap();
    shut_down([a, b]).await;
}

/// What it is for goes with what is written first, of whatever length that is.
#[tokio::test]
async fn a_stream_for_a_request_arrives_whole_however_it_begins() {
    let (_dir, a, mut b) = pair();
    for length in [0, 1, 4_095, 4_096, 4_097, 100_000] {
        let mut there = a.transport.open(b.id, StreamKind::Forward).await.unwrap();
        let sent = vec![7; length];
        there.send.write_all(&sent).await.unwrap();
        there.send.shutdown().await.unwrap();
        let mut here = b.next_stream().await;
        assert_eq!(here.kind, StreamKind::Forward);
        let mut received = Vec::new();
        soon(here.stream.recv.read_to_end(&mut received)).await.unwrap();
        assert_eq!(received, sent);
    }
    shut_down([a, b]).await;
}
