//! `shoal doctor`: what could be wrong with this host and its ways to others, and one thing to do about each.

mod finding;
mod gpus;
mod local;
mod paths;

use std::path::Path;

use shoal_mesh::clock;

use self::finding::{Finding, Level};
use super::{args::DoctorArgs, client::Client, get::list};
use crate::{
    admin::{Code, NodeStatus, Paths, Problem},
    config::Config,
};

pub(super) async fn run(client: &Client, args: DoctorArgs) -> Result<(), Problem> {
    let mut findings = Vec::new();
    if args.peer.is_none() {
        findings = local(args.config.as_deref()).await;
    }
    findings.extend(ways(client, args.peer.as_deref()).await?);
    args.output.output.print(&findings, |_| finding::table(&findings))?;
    match findings.iter().filter(|finding| finding.level == Level::Fail).count() {
        0 => Ok(()),
        failed => Err(Problem::new(Code::Failed, format!("{failed} check(s) failed, see above"))),
    }
}

/// What is found on this host alone, as a table.
pub(super) async fn of_this_host(config: Option<&Path>) -> String {
    finding::table(&local(config).await).to_string()
}

async fn local(path: Option<&Path>) -> Vec<Finding> {
    let (config, of_config) = config(path);
    of_config.into_iter().chain(local::findings(&config).await).collect()
}

/// What the daemon would read; the defaults where that cannot be.
fn config(path: Option<&Path>) -> (Config, Option<Finding>) {
    let loaded = Config::load(path).and_then(|config| config.check().map(|()| config));
    match loaded {
        Ok(config) => (config, None),
        Err(error) => {
            let hint = "`shoal explain config` says what can be in it";
            (Config::default(), Some(Finding::fail("config", error, hint)))
        }
    }
}

/// What only a running daemon knows.
async fn ways(client: &Client, peer: Option<&str>) -> Result<Vec<Finding>, Problem> {
    // By its name, however it was given.
    let peer = match peer {
        Some(peer) => list::<NodeStatus>(client, &[peer]).await?.into_iter().next().map(|node| node.name),
        None => None,
    };
    let paths: Paths = match client.get("/v1/paths").await {
        Ok(paths) => paths,
        Err(problem) if peer.is_none() && problem.code == Code::Unreachable => {
            let hint = "start it: systemctl start shoal, or shoal agent";
            return Ok(vec![Finding::warn(
                "daemon",
                format!("{}: only this host was looked at", problem.message),
                hint,
            )]);
        }
        Err(problem) => return Err(problem),
    };
    let mut findings = vec![Finding::ok("daemon", format!("node {} answers", paths.node))];
    if peer.is_none() {
        let own: Vec<NodeStatus> = list(client, &[&paths.node]).await?;
        findings.extend(own.iter().flat_map(gpus::findings));
    }
    findings.extend(paths::findings(&paths, peer.as_deref(), clock::now()));
    Ok(findings)
}
