//! Gateways from launch to ready and back: the service is a server of the test on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used)] // in what the tests share, too

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    http::StatusCode,
    response::IntoResponse,
    serve::Listener,
};
use shoal_engine_supervisor::{
    EnginePhase, EngineStatus, GatewayConfig, GatewayTimings, Launch, LaunchPlan, LogReader, Supervisor,
    SupervisorConfig,
};
use shoal_types::{
    Backend, ClaimId, EndpointSpec, EngineOffer, EngineSpec, GatewayEngine, GatewayTarget, Hlc, Load, NodeId,
    Placement, Replicas, Resources, Revision, Rollout, Routing, Scaling, UnixMillis,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    },
    server::TlsStream,
};

const DEADLINE: Duration = Duration::from_secs(20);

/// What the service answers.
#[derive(Debug, Clone)]
struct Script {
    health: u16,
    key: Option<&'static str>,
    /// `None`: it keeps no list.
    models: Option<&'static str>,
    metrics: &'static str,
}

#[derive(Clone)]
struct Provider {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    _tasks: Arc<JoinSet<()>>,
}

impl Provider {
    async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self::serve(listener, address, script)
    }

    /// With a certificate for `localhost`, and that certificate.
    async fn start_tls(script: Script) -> (Self, CertificateDer<'static>) {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
        let certificate = certified.cert.der().clone();
        let tls =
            ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = TlsListener { listener, tls: TlsAcceptor::from(Arc::new(tls)) };
        (Self::serve(listener, address, script), certificate)
    }

    fn serve(listener: impl Listener<Addr = SocketAddr>, address: SocketAddr, script: Script) -> Self {
        let script = Arc::new(Mutex::new(script));
        let routes = Router::new().fallback(answer).with_state(script.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { address, script, _tasks: Arc::new(tasks) }
    }

    fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }

    fn url(&self) -> String {
        format!("http://{}/openai", self.address)
    }
}

async fn answer(State(script): State<Arc<Mutex<Script>>>, request: Request) -> impl IntoResponse {
    let script = script.lock().unwrap().clone();
    let key = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
    if script.key.is_some() && key != script.key.map(|key| format!("Bearer {key}")) {
        return (StatusCode::UNAUTHORIZED, "{\"error\":\"no\"}".to_owned());
    }
    match (request.uri().path(), script.models) {
        ("/health", _) => (StatusCode::from_u16(script.health).unwrap(), String::new()),
        ("/metrics", _) => (StatusCode::OK, script.metrics.to_owned()),
        ("/openai/v1/models", Some(model)) => (StatusCode::OK, format!("{{\"data\":[{{\"id\":\"{model}\"}}]}}")),
        _ => (StatusCode::NOT_FOUND, "{}".to_owned()),
    }
}

struct TlsListener {
    listener: TcpListener,
    tls: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            if let Ok(stream) = self.tls.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A supervisor that allows all of loopback that the test names.
struct Node {
    supervisor: Supervisor,
    statuses: watch::Receiver<Arc<BTreeMap<ClaimId, EngineStatus>>>,
    config: SupervisorConfig,
    directory: tempfile::TempDir,
}

impl Node {
    async fn allowing(allow: &[&str]) -> Self {
        Self::trusting(allow, RootCertStore::empty()).await
    }

    async fn trusting(allow: &[&str], roots: RootCertStore) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("keys")).unwrap();
        let mut config = SupervisorConfig::new(directory.path().join("state"), "/bin/sh".into());
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let interval = Duration::from_millis(20);
        config.gateway = Some(GatewayConfig {
            allow: allow.iter().map(|url| url.parse().unwrap()).collect(),
            key_directory: Some(directory.path().join("keys")),
            tls: Arc::new(tls),
            timings: GatewayTimings { interval, backoff_max: interval, ..GatewayTimings::default() },
        });
        let supervisor = Supervisor::start(config.clone()).await.unwrap();
        Self { statuses: supervisor.statuses(), supervisor, config, directory }
    }

    /// Another daemon in the place of this one.
    async fn restart(&mut self, change: impl FnOnce(&mut SupervisorConfig)) {
        timeout(DEADLINE, self.supervisor.detach()).await.expect("it lets go of its gateways");
        change(&mut self.config);
        self.supervisor = Supervisor::start(self.config.clone()).await.unwrap();
        self.statuses = self.supervisor.statuses();
    }

    fn key_file(&self) -> PathBuf {
        self.directory.path().join("keys/team")
    }

    /// As people replace a file that is being read.
    fn write_key(&self, key: &str) {
        let new = self.directory.path().join("keys/new");
        fs::write(&new, key).unwrap();
        fs::rename(new, self.key_file()).unwrap();
    }

    fn launch(&self, engine: GatewayEngine) {
        self.supervisor.launch(plan(engine)).unwrap();
    }

    /// The status, as soon as it is like that.
    async fn until(&self, like: impl Fn(&EngineStatus) -> bool) -> EngineStatus {
        let mut statuses = self.statuses.clone();
        let reached = timeout(DEADLINE, statuses.wait_for(|all| all.get(&claim()).is_some_and(&like))).await;
        let status = reached.ok().map(|all| all.unwrap()[&claim()].clone());
        status.unwrap_or_else(|| panic!("not reached; {:?}; log: {:#?}", self.statuses.borrow(), self.log()))
    }

    async fn ready(&self) -> EngineStatus {
        self.until(|status| status.phase == EnginePhase::Ready).await
    }

    /// Why it is not ready, as soon as it is not.
    async fn down(&self) -> String {
        let status = self.until(|status| matches!(status.phase, EnginePhase::Backoff { .. })).await;
        let EnginePhase::Backoff { reason } = status.phase else { unreachable!() };
        reason
    }

    fn log(&self) -> Vec<String> {
        lines(self.supervisor.logs(claim(), Launch::Current).unwrap())
    }
}

fn lines(mut log: LogReader) -> Vec<String> {
    std::iter::from_fn(|| log.available()).map(|line| line.text.to_string()).collect()
}

fn well() -> Script {
    Script { health: 200, key: None, models: Some("big"), metrics: "" }
}

/// A gateway to `provider`, which calls the model `big`.
fn to(provider: &Provider) -> GatewayEngine {
    GatewayEngine {
        url: provider.url(),
        model: Some("big".to_owned()),
        key: None,
        health: Some("/health".to_owned()),
        metrics: None,
    }
}

fn with_key(provider: &Provider) -> GatewayEngine {
    GatewayEngine { key: Some("team".to_owned()), ..to(provider) }
}

fn claim() -> ClaimId {
    ClaimId { node: NodeId::from_bytes([7; 16]), generation: UnixMillis::from_millis(1), counter: 1 }
}

fn plan(engine: GatewayEngine) -> LaunchPlan {
    let claim = claim();
    LaunchPlan {
        claim,
        endpoint: "demo".parse().unwrap(),
        revision: Revision(Hlc { time: claim.generation, counter: 0, node: claim.node }),
        claimed: claim.generation,
        spec: spec(engine),
        gpus: Vec::new(),
    }
}

fn spec(engine: GatewayEngine) -> EndpointSpec {
    EndpointSpec {
        model: "org/model".to_owned(),
        model_revision: None,
        aliases: Default::default(),
        adapters: Default::default(),
        engine: EngineSpec::Gateway(engine),
        resources: Resources::default(),
        replicas: Replicas::default(),
        scaling: Scaling::default(),
        placement: Placement::default(),
        rollout: Rollout::default(),
        routing: Routing::default(),
    }
}

fn target(status: &EngineStatus) -> GatewayTarget {
    match &status.backend {
        Backend::Gateway(target) => (**target).clone(),
        Backend::Engine(address) => panic!("{address}"),
    }
}

#[tokio::test]
async fn a_gateway_stands_for_a_service_and_holds_nothing() {
    let provider = Provider::start(well()).await;
    let node = Node::allowing(&[&format!("http://{}", provider.address)]).await;
    assert_eq!(node.supervisor.offers(), [EngineOffer("gateway".to_owned())]);
    node.launch(to(&provider));
    let status = node.ready().await;
    let expected = GatewayTarget {
        tls: false,
        host: "127.0.0.1".to_owned(),
        port: provider.address.port(),
        base: "/openai".to_owned(),
        key: None,
        model: "big".to_owned(),
    };
    assert_eq!(target(&status), expected);
    assert_eq!((status.pid, status.gpus.len(), status.load), (None, 0, Load::default()));

    node.supervisor.stop(claim());
    timeout(DEADLINE, node.statuses.clone().wait_for(|all| all.is_empty())).await.unwrap().unwrap();
    assert_eq!(node.log(), [format!("standing for {expected} as big"), "ready".to_owned()]);
    assert_eq!(fs::read_dir(node.directory.path().join("state/replicas")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_service_that_is_down_is_not_ready_and_comes_back_by_itself() {
    let provider = Provider::start(well()).await;
    let node = Node::allowing(&[&format!("http://{}", provider.address)]).await;
    node.launch(to(&provider));
    node.ready().await;
    provider.change(|script| script.health = 503);
    assert_eq!(node.down().await, format!("http://{}/health answers 503 Service Unavailable", provider.address));
    provider.change(|script| script.health = 200);
    node.ready().await;
}

#[tokio::test]
async fn a_service_that_nobody_answers_for_is_waited_for() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let node = Node::allowing(&[&format!("http://{address}")]).await;
    node.launch(GatewayEngine {
        url: format!("http://{address}"),
        model: None,
        key: None,
        health: None,
        metrics: None,
    });
    assert!(node.down().await.starts_with(&format!("cannot connect to http://{address}/v1/models")));
    node.supervisor.shutdown().await;
    assert!(node.statuses.borrow().is_empty());
}

#[tokio::test]
async fn a_key_that_is_refused_is_told_by_its_file_and_a_new_one_is_used_once_it_is_accepted() {
    let provider = Provider::start(Script { key: Some("new"), ..well() }).await;
    let node = Node::allowing(&[&format!("http://{}", provider.address)]).await;
    node.write_key("old\n");
    node.launch(with_key(&provider));
    let reason = node.down().await;
    let file = node.key_file().display().to_string();
    assert!(reason.ends_with(&format!("answers 401 Unauthorized: it does not accept the key in {file}")), "{reason}");
    node.write_key("new\n");
    assert_eq!(target(&node.ready().await).key.as_deref(), Some("new"));
    assert!(node.log().contains(&"its key has changed and is accepted".to_owned()));
    assert!(node.log().iter().all(|line| !line.contains("old") && !line.contains("Bearer")), "{:?}", node.log());

    // One that is not accepted replaces none that was.
    node.write_key("wrong");
    node.down().await;
    assert_eq!(target(&node.statuses.borrow()[&claim()]).key.as_deref(), Some("new"));
    fs::remove_file(node.key_file()).unwrap();
    node.until(|status| status.phase.to_string().starts_with("backoff: cannot read the key file")).await;
    node.write_key("new");
    node.ready().await;
}

#[tokio::test]
async fn a_key_can_be_rotated_without_a_moment_of_not_being_ready() {
    let provider = Provider::start(Script { key: Some("1"), ..well() }).await;
    let node = Node::allowing(&[&format!("http://{}", provider.address)]).await;
    node.write_key("1");
    node.launch(with_key(&provider));
    node.ready().await;
    provider.change(|script| script.key = None); // it takes both now
    node.write_key("2");
    node.until(|status| target(status).key.as_deref() == Some("2")).await;
    assert!(!node.log().iter().any(|line| line.starts_with("backoff")), "{:?}", node.log());
}

#[tokio::test]
async fn a_service_that_wants_a_key_says_where_to_name_one() {
    let provider = Provider::start(Script { key: Some("k"), ..well() }).await;
    let node = Node::allowing(&[&format!("http://{}", provider.address)]).await;
    node.launch(to(&provider));
    let reason = node.down().await;
    assert!(reason.ends_with("it wants a key; name its file in the spec (`engine.key`)"), "{reason}");
}

#[tokio::test]
async fn a_service_must_list_the_model_if_it_lists_any() {
    let provider = Provider::start(Script { models: Some("other"), ..well() }).await;
    let node = Node::allowing(&[&format!("http://{}", provider.address)]).await;
    node.launch(to(&provider));
    let reason = node.down().await;
    assert!(reason.contains("/openai/v1/models does not list the model `big`"), "{reason}");
    provider.change(|script| script.models = None);
    node.ready().await;
}

#[tokio::test]
async fn an_llm_d_router_tells_its_load_and_whether_anything_is_behind_it() {
    let metrics = "llm_d_epp_average_queue_size{name=\"p\"} 2\nllm_d_epp_average_running_requests{name=\"p\"} 3\n\
        llm_d_epp_average_kv_cache_utilization{name=\"p\"} 0.5\nllm_d_epp_ready_endpoints{name=\"p\"} 4\n";
    let provider = Provider::start(Script { metrics, ..well() }).await;
    let node = Node::allowing(&[&format!("http://{}", provider.address)]).await;
    node.launch(GatewayEngine { metrics: Some("/metrics".to_owned()), ..to(&provider) });
    let load = Load { inflight: 0, running: Some(3), waiting: Some(2), kv_cache: Some(50) };
    assert_eq!(node.ready().await.load, load);
    provider.change(|script| script.metrics = "llm_d_epp_ready_endpoints{name=\"p\"} 0\n");
    assert!(node.down().await.ends_with("/metrics says that nothing behind it is ready"));
    assert_eq!(node.statuses.borrow()[&claim()].load, Load::default());
    provider.change(|script| script.metrics = "");
    assert_eq!(node.ready().await.load, Load::default(), "unknown is not zero");
}

#[tokio::test]
async fn a_service_over_tls_is_trusted_by_its_certificate_alone() {
    let (provider, certificate) = Provider::start_tls(Script { key: Some("k"), ..well() }).await;
    let origin = format!("https://localhost:{}", provider.address.port());
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    for (roots, trusted) in [(roots, true), (RootCertStore::empty(), false)] {
        let node = Node::trusting(&[&origin], roots).await;
        node.write_key("k");
        node.launch(GatewayEngine { url: format!("{origin}/openai"), ..with_key(&provider) });
        if trusted {
            assert!(target(&node.ready().await).tls);
        } else {
            let reason = node.down().await;
            assert!(reason.contains("certificate"), "{reason}");
        }
    }
}

#[tokio::test]
async fn what_the_node_does_not_allow_is_refused_before_it_is_claimed() {
    let node = Node::allowing(&["https://api.example.com/team"]).await;
    let engine = |url: &str, key: Option<&str>| GatewayEngine {
        url: url.to_owned(),
        model: None,
        key: key.map(str::to_owned),
        health: None,
        metrics: None,
    };
    let refused = async |engine: GatewayEngine| node.supervisor.refuse(&spec(engine), &[]).await.unwrap_or_default();
    assert_eq!(refused(engine("https://api.example.com/team", None)).await, "");
    assert!(refused(engine("https://api.example.com", None)).await.contains("does not allow the URL"));
    let missing = refused(engine("https://api.example.com/team", Some("team"))).await;
    assert!(missing.starts_with("cannot read the key file"), "{missing}");
    assert!(node.supervisor.launch(plan(engine("https://api.example.com/team", Some("team")))).is_err());
    assert!(node.statuses.borrow().is_empty());
    node.write_key("k");
    assert_eq!(refused(engine("https://api.example.com/team", Some("team"))).await, "");

    let none = Supervisor::start(SupervisorConfig::new(node.directory.path().join("other"), "/bin/sh".into())).await;
    let refused = none.unwrap().refuse(&spec(engine("https://api.example.com/team", None)), &[]).await;
    assert_eq!(refused.as_deref(), Some("this node does not offer the engine kind `gateway`"));
}

#[tokio::test]
async fn the_next_daemon_goes_on_with_a_gateway() {
    let provider = Provider::start(well()).await;
    let mut node = Node::allowing(&[&format!("http://{}", provider.address)]).await;
    node.launch(to(&provider));
    node.ready().await;
    node.restart(|_| {}).await;
    assert_eq!(node.supervisor.adopted(), [plan(to(&provider))]);
    node.ready().await;
    assert!(node.log().iter().any(|line| line.starts_with("standing for ")), "{:?}", node.log());

    node.supervisor.stop(claim());
    timeout(DEADLINE, node.statuses.wait_for(|all| all.is_empty())).await.unwrap().unwrap();
    node.restart(|_| {}).await;
    assert_eq!(node.supervisor.adopted(), [], "what was stopped does not come back");
}

#[tokio::test]
async fn a_gateway_that_is_allowed_no_longer_is_not_taken_over() {
    let provider = Provider::start(well()).await;
    let mut node = Node::allowing(&[&format!("http://{}", provider.address)]).await;
    node.launch(to(&provider));
    node.restart(|config| config.gateway = None).await;
    assert_eq!(node.supervisor.adopted(), []);
    assert!(node.statuses.borrow().is_empty());
}
