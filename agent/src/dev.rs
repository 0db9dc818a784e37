//! `shoal dev`: a whole mesh of real daemons on this host, each a process with its own state, keys and ports.

mod detached;
mod layout;
mod process;
mod report;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use shoal_types::parse_endpoints;
use tokio::time::{Instant, sleep};

use self::{
    layout::{EXAMPLE, NodeLayout, free_ports},
    process::NodeProcess,
    report::Report,
};
use crate::{
    admin::{AppliedStatus, Code, MeshStatus, Problem, TokenCreated, TokenRequest},
    cli::{Client, DevArgs, DevVerb, IDENTITY_DIR, note, wait_until_ready},
    daemon::signalled,
};
use shoal_mesh::{Identity, clock, init_mesh};

/// Longest wait for one step of the start.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// Time between two looks at a starting node.
const POLL: Duration = Duration::from_millis(50);

pub(crate) async fn run(args: DevArgs) -> Result<(), Problem> {
    match args.verb {
        Some(DevVerb::Stop) => detached::stop(args.dir).await,
        None => start(args).await,
    }
}

async fn start(args: DevArgs) -> Result<(), Problem> {
    let home = Home::new(&args)?;
    let mut mesh = DevMesh { nodes: Vec::new(), start: Instant::now(), quiet: args.json };
    let report = tokio::select! {
        report = mesh.bring_up(home.path(), &args) => report,
        () = signalled() => Err(Problem::new(Code::Failed, "stopped before the mesh was ready")),
    };
    let report = match report {
        Ok(report) => report,
        Err(problem) => {
            mesh.take_down().await;
            return Err(problem);
        }
    };
    report.print(args.json, args.detach)?;
    if args.detach {
        return detached::leave(home.keep(), &mesh.nodes);
    }
    let died = mesh.until_signal().await;
    mesh.take_down().await;
    died
}

/// The directory of the mesh.
#[derive(Debug)]
enum Home {
    Temporary(tempfile::TempDir),
    Given(PathBuf),
}

impl Home {
    fn new(args: &DevArgs) -> Result<Self, Problem> {
        let unusable = |error| Problem::new(Code::Failed, format!("cannot make a directory for the mesh: {error}"));
        match (&args.dir, args.detach) {
            (None, false) => {
                tempfile::Builder::new().prefix("shoal-dev-").tempdir().map(Self::Temporary).map_err(unusable)
            }
            (None, true) => detached::default_dir().map(Self::Given),
            (Some(dir), _) => {
                std::fs::create_dir_all(dir).map_err(unusable)?;
                dir.canonicalize().map(Self::Given).map_err(unusable)
            }
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(dir) => dir.path(),
            Self::Given(dir) => dir,
        }
    }

    fn keep(self) -> PathBuf {
        match self {
            Self::Temporary(dir) => dir.keep(),
            Self::Given(dir) => dir,
        }
    }
}

/// The running nodes.
#[derive(Debug)]
struct DevMesh {
    nodes: Vec<NodeProcess>,
    start: Instant,
    quiet: bool,
}

impl DevMesh {
    async fn bring_up(&mut self, home: &Path, args: &DevArgs) -> Result<Report, Problem> {
        let mesh_ports = free_ports(args.nodes)?;
        for (index, mesh_port) in (0..args.nodes).zip(mesh_ports) {
            let http_port = args.http_base.checked_add(index).ok_or_else(|| {
                Problem::new(Code::Invalid, format!("--http-base {} leaves no port for node {index}", args.http_base))
            })?;
            let layout = NodeLayout::prepare(home, index, args.nodes, http_port, mesh_port)?;
            self.start_node(layout, args.detach).await?;
        }
        self.wait_for_all().await?;
        self.say("all nodes see each other; applying the example endpoint");
        let client = self.client()?;
        let _: Vec<AppliedStatus> = client.post_text("/v1/endpoints", EXAMPLE.to_owned()).await?;
        let example = parse_endpoints(EXAMPLE).map_err(|error| Problem::new(Code::Failed, error))?;
        let names: Vec<_> = example.iter().map(|endpoint| endpoint.metadata.name.clone()).collect();
        let quiet = self.quiet;
        wait_until_ready(&client, &names, START_DEADLINE, &mut |line| tell(quiet, line)).await?;
        Ok(Report::new(home, &self.nodes, &example, self.start.elapsed()))
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
        let mut node = NodeProcess::spawn(layout, !is_node && !self.nodes.is_empty(), detach)?;
        let up = node.wait_until_up(START_DEADLINE).await;
        let name = node.layout.name();
        let place = node.layout.place();
        // Kept even if it is not up: whatever was started must be stopped.
        self.nodes.push(node);
        up?;
        self.say(&format!("{name} ({place}) {how}"));
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

    async fn wait_for_all(&mut self) -> Result<(), Problem> {
        let expected = self.nodes.len();
        let deadline = Instant::now() + START_DEADLINE;
        for node in &mut self.nodes {
            loop {
                node.check_alive()?;
                let status: MeshStatus = node.client().get("/v1/status").await?;
                if status.nodes.iter().filter(|node| node.liveness == shoal_types::Liveness::Alive).count() >= expected
                {
                    break;
                }
                if Instant::now() > deadline {
                    let message =
                        format!("{} does not see all {expected} nodes after {START_DEADLINE:?}", node.layout.name());
                    return Err(
                        Problem::new(Code::Timeout, message).hint(format!("read {}", node.layout.log().display()))
                    );
                }
                sleep(POLL).await;
            }
        }
        Ok(())
    }

    fn client(&self) -> Result<Client, Problem> {
        self.nodes.first().map(NodeProcess::client).ok_or_else(|| Problem::new(Code::Failed, "there is no node yet"))
    }

    /// Returns when told to stop. A node that dies meanwhile is told of and nothing else: that is what it is for.
    async fn until_signal(&mut self) -> Result<(), Problem> {
        let signal = signalled();
        let mut signal = std::pin::pin!(signal);
        loop {
            tokio::select! {
                () = &mut signal => return Ok(()),
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
        self.nodes.iter().for_each(NodeProcess::terminate);
        for node in &mut self.nodes {
            node.wait_until_gone().await;
        }
    }

    fn say(&self, what: &str) {
        tell(self.quiet, &format!("{:>6.1}s  {what}", self.start.elapsed().as_secs_f64()));
    }
}

fn tell(quiet: bool, line: &str) {
    if !quiet {
        note(line);
    }
}
