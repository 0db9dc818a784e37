//! `shoal dev`: a whole mesh of real daemons on this host, each a process with its own state, keys and ports.

mod gpus;
mod home;
mod layout;
mod process;
mod record;
mod report;

use std::{
    io::{self, Write as _},
    path::Path,
    pin::{Pin, pin},
    time::Duration,
};

use shoal_types::Liveness;
use tokio::time::{Instant, sleep};

use self::{
    gpus::NodeGpus,
    home::Home,
    layout::{EXAMPLE, NodeLayout, free_ports, prepare_admin_token},
    process::NodeProcess,
    report::Report,
};
use crate::{
    admin::{AppliedStatus, Code, EndpointHealth, EndpointStatus, MeshStatus, Problem, TokenCreated, TokenRequest},
    cli::{Client, DevArgs, DevVerb, IDENTITY_DIR, wait_until_ready},
    daemon::signalled,
};
use shoal_mesh::{Identity, clock, init_mesh};

/// Longest wait for one step of the start, on a machine that runs nothing else.
const STEP_DEADLINE: Duration = Duration::from_secs(30);
/// What each node adds to that: they share the machine.
const DEADLINE_PER_NODE: Duration = Duration::from_secs(2);
/// Time between two looks at a starting node.
const POLL: Duration = Duration::from_millis(50);

pub(crate) async fn run(args: DevArgs) -> Result<(), Problem> {
    match args.verb {
        Some(DevVerb::Stop) => record::stop(args.dir).await,
        None => start(args).await,
    }
}

async fn start(args: DevArgs) -> Result<(), Problem> {
    let home = Home::new(&args)?;
    let mut mesh = DevMesh::new(home.path(), &args);
    let mut stop = pin!(async {
        signalled().await;
    });
    let up = tokio::select! {
        biased; // from the first node on, a signal is waited for
        () = &mut stop => Err(Problem::new(Code::Failed, "stopped before the mesh was ready")),
        up = mesh.bring_up(&args) => up,
    };
    if up.is_ok() && args.detach {
        return Ok(());
    }
    let ended = match up {
        Ok(()) => mesh.until(stop).await,
        Err(problem) => Err(problem),
    };
    mesh.take_down().await;
    ended
}

/// The running nodes.
#[derive(Debug)]
struct DevMesh<'a> {
    home: &'a Path,
    nodes: Vec<NodeProcess>,
    start: Instant,
    /// Longest wait for one step of the start.
    patience: Duration,
    quiet: bool,
}

impl<'a> DevMesh<'a> {
    fn new(home: &'a Path, args: &DevArgs) -> Self {
        let patience = STEP_DEADLINE + DEADLINE_PER_NODE * u32::from(args.nodes);
        Self { home, nodes: Vec::new(), start: Instant::now(), patience, quiet: args.json }
    }

    /// Starts the nodes and the example, and says so.
    async fn bring_up(&mut self, args: &DevArgs) -> Result<(), Problem> {
        prepare_admin_token(self.home)?;
        let (mesh_ports, gpus) = (free_ports(args.nodes)?, NodeGpus::new(args)?);
        for (index, mesh_port) in (0..args.nodes).zip(mesh_ports) {
            let http_port = args.http_base.checked_add(index).ok_or_else(|| {
                Problem::new(Code::Invalid, format!("--http-base {} leaves no port for node {index}", args.http_base))
            })?;
            let layout = NodeLayout::prepare(self.home, index, args.nodes, (http_port, mesh_port), &gpus)?;
            self.start_node(layout, args.detach).await?;
        }
        self.serve_example().await?.print(args)
    }

    /// Applies the example once all nodes see each other; returns once all of them know where it serves.
    async fn serve_example(&mut self) -> Result<Report, Problem> {
        let expected = self.nodes.len();
        let alive = |status: &MeshStatus| status.nodes.iter().filter(|node| node.liveness == Liveness::Alive).count();
        self.wait_for_all(|status| alive(status) >= expected, &format!("does not see all {expected} nodes")).await?;
        self.say("all nodes see each other; applying the example endpoint");
        let client = self.client()?;
        let applied: Vec<AppliedStatus> = client.post_text("/v1/endpoints", EXAMPLE.to_owned()).await?;
        let quiet = self.quiet;
        wait_until_ready(&client, &applied, self.patience, &mut |line| tell(quiet, line)).await?;
        let is_example = |status: &&EndpointStatus| applied.iter().any(|one| one.name == status.endpoint.metadata.name);
        // The report says that any node serves it.
        let is_ready = |example: &EndpointStatus| example.status.health == EndpointHealth::Ready;
        let knows = |status: &MeshStatus| status.endpoints.iter().find(is_example).is_some_and(is_ready);
        self.wait_for_all(knows, "does not see the example endpoint ready").await?;
        let elapsed = self.start.elapsed();
        let endpoints: Vec<EndpointStatus> = client.get("/v1/endpoints").await?;
        let example = endpoints.iter().find(is_example);
        let example = example.ok_or_else(|| Problem::new(Code::Failed, "somebody has deleted the example endpoint"))?;
        let mut dashboards = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            dashboards.push(node.client().get::<MeshStatus>("/v1/status").await?.dashboard);
        }
        Ok(Report::new(self.home, &self.nodes, dashboards, example, elapsed))
    }

    async fn start_node(&mut self, layout: NodeLayout, detach: bool) -> Result<(), Problem> {
        let is_node = Identity::load(&layout.state_dir().join(IDENTITY_DIR)).is_ok();
        let how = match (is_node, self.nodes.is_empty()) {
            (true, _) => "is back with the keys and specs in its directory",
            (false, true) => {
                init_mesh(&layout.state_dir().join(IDENTITY_DIR), clock::now())
                    .map_err(|error| Problem::new(Code::Failed, error))?;
                "made the mesh"
            }
            (false, false) => {
                layout.write_token(&self.token().await?)?;
                "joined with a token for one use"
            }
        };
        let told = format!("{} ({}) {how}", layout.name(), layout.place());
        let joins = !is_node && !self.nodes.is_empty();
        // Known, here and on disk, before anything is waited for: whatever was started must be stopped.
        self.nodes.push(NodeProcess::spawn(layout, joins, detach)?);
        record::write(self.home, &self.nodes)?;
        if let Some(node) = self.nodes.last_mut() {
            node.wait_until(|_| true, "is not up", self.patience).await?;
        }
        self.say(&told);
        Ok(())
    }

    async fn token(&self) -> Result<String, Problem> {
        let request = TokenRequest {
            ttl_ms: 300_000,
            uses: 1,
            write: true,
            issuer: false,
            labels: std::collections::BTreeMap::new(),
        };
        let created: TokenCreated = self.client()?.post("/v1/tokens", &request).await?;
        Ok(created.token)
    }

    /// Waits until the status of every node is as wanted.
    async fn wait_for_all(&mut self, wanted: impl Fn(&MeshStatus) -> bool, lacks: &str) -> Result<(), Problem> {
        for node in &mut self.nodes {
            node.wait_until(&wanted, lacks, self.patience).await?;
        }
        Ok(())
    }

    fn client(&self) -> Result<Client, Problem> {
        self.nodes.first().map(NodeProcess::client).ok_or_else(|| Problem::new(Code::Failed, "there is no node yet"))
    }

    /// Returns when told to stop. A node that dies meanwhile is told of and nothing else: that is what it is for.
    async fn until(&mut self, mut stop: Pin<&mut impl Future<Output = ()>>) -> Result<(), Problem> {
        loop {
            tokio::select! {
                () = &mut stop => return Ok(()),
                () = sleep(POLL * 10) => {}
            }
            for node in &mut self.nodes {
                if let Some(how) = node.has_died() {
                    tell(self.quiet, &format!("{} has died ({how}); the others go on", node.layout.name()));
                }
            }
            if self.nodes.iter().all(NodeProcess::is_gone) {
                return Err(Problem::new(Code::Failed, "all nodes have died"));
            }
        }
    }

    async fn take_down(&mut self) {
        self.say("stopping all nodes");
        self.nodes.iter().for_each(NodeProcess::interrupt);
        for node in &mut self.nodes {
            node.wait_until_gone().await;
        }
        record::remove(self.home);
    }

    fn say(&self, what: &str) {
        tell(self.quiet, &format!("{:>6.1}s  {what}", self.start.elapsed().as_secs_f64()));
    }
}

/// A line of progress. Nobody may be there to read it, which must not end the mesh.
fn tell(quiet: bool, line: &str) {
    if !quiet {
        let _ = writeln!(io::stderr(), "{line}");
    }
}
