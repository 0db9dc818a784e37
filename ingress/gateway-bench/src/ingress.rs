//! The ingress of one node, with one endpoint and a key.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::future::BoxFuture;
use ring::digest::{SHA256, digest};
use shoal_ingress::{
    Auth, Dial, DialError, Ingress, IngressConfig, Place, QueueBounds, Replica, Route, RouteRevision, RoutingTable,
    Site, StreamPolicy, Telling, Tunnel,
};
use shoal_types::{
    Backend, ClaimId, EngineAddress, Hlc, KeyGrant, KeyHash, KeyId, KeyRecord, Load, NodeId, Revision, RoutingPolicy,
    UnixMillis, key_text,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub const ENDPOINT: &str = "bench";
const KEY: KeyId = KeyId::from_bytes([7; 10]);

/// The key that clients show.
pub fn key() -> String {
    key_text(KEY, &[7; 32])
}

/// There is one node.
struct Alone;

impl Dial for Alone {
    fn open(&self, _: NodeId) -> BoxFuture<'static, Result<Tunnel, DialError>> {
        Box::pin(async { Err(DialError::new("there is one node")) })
    }
}

pub fn run(engines: impl Iterator<Item = SocketAddr>) {
    let (node, time) = (NodeId::from_bytes([7; 16]), UnixMillis::from_millis(1));
    let revision = Revision(Hlc { time, counter: 0, node });
    let replica = |(counter, address)| Replica {
        claim: ClaimId { node, generation: time, counter },
        revision,
        node,
        place: Place::Local(Backend::Engine(EngineAddress::Loopback(address))),
        load: Some(Load::default()),
        site: Site::default(),
    };
    let route = Route {
        endpoint: ENDPOINT.parse().unwrap(),
        created: time,
        timeout: Duration::from_secs(600),
        may_wake: true,
        revisions: vec![RouteRevision {
            revision,
            model: "bench-model".to_owned(),
            aliases: Default::default(),
            adapters: Default::default(),
            weight: 100,
            continues_messages: true,
        }],
        replicas: (1..).zip(engines).map(replica).collect(),
        policy: RoutingPolicy::Prefix,
        streams: StreamPolicy::default(),
        max_inflight: None,
        queue: QueueBounds::default(),
    };
    let clock = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        UnixMillis::from_millis(since.as_millis() as u64)
    };
    let config = IngressConfig {
        workers: std::thread::available_parallelism().unwrap().get(),
        auth: Auth::Keys,
        telling: Telling { clock, ..Telling::default() },
        ..IngressConfig::default()
    };
    let record = KeyRecord {
        name: "bench".parse().unwrap(),
        hash: KeyHash::new(digest(&SHA256, key().as_bytes()).as_ref().try_into().unwrap()),
        created: time,
        expires: None,
        grant: KeyGrant::default(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let ingress = Ingress::new(config, node, Arc::new(Alone));
        ingress.set_keys([(KEY, Arc::new(record))]);
        ingress.set_routes(RoutingTable::new([route]));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        ingress.serve(listener, CancellationToken::new()).await;
    });
}
