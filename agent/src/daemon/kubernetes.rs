//! Where Kubernetes says that a host is, for nodes that run in its pods.
//!
//! A pod is not told the labels of its host before Kubernetes 1.35, so the node asks the API server, once per start, for the
//! one object that is its host (the role: `get` on `nodes`). A node must be able to start while no API server answers: what
//! was heard last is remembered.

use std::{collections::BTreeMap, env, fs, io, path::Path, time::Duration};

use reqwest::{Certificate, StatusCode};
use serde::Deserialize;
use shoal_types::Labels;
use tokio::time::sleep;
use tracing::warn;

use crate::{state_file::StateFile, web};

/// Where a pod finds the token and the certificates of its service account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";
/// For one answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// A start waits for no more than so many, with a pause between.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);
/// Largest answer, in bytes: nodes list the images that they hold.
const ANSWER_MAX: usize = 4 << 20;

/// Why the labels are not known.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("this is no pod: KUBERNETES_SERVICE_HOST is not set")]
    NoPod,
    #[error("cannot read {path} of the pod's service account: {source}")]
    Account { path: String, source: io::Error },
    #[error("the API server {server}: {}", web::with_causes(.source))]
    Exchange { server: String, source: reqwest::Error },
    #[error("the API server answers {status} for node {node}: {hint}")]
    Refused { node: String, status: StatusCode, hint: &'static str },
    #[error("the API server's answer for node {node} is longer than {ANSWER_MAX} bytes")]
    TooLong { node: String },
    #[error("the API server's answer for node {node} is no node: {source}")]
    NoNode { node: String, source: serde_json::Error },
}

impl AskError {
    /// Whether the same question may have another answer soon: an API server that starts, or has too much to do.
    fn is_passing(&self) -> bool {
        match self {
            Self::Exchange { .. } => true,
            Self::Refused { status, .. } => *status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error(),
            Self::NoPod | Self::Account { .. } | Self::TooLong { .. } | Self::NoNode { .. } => false,
        }
    }
}

/// The part of a node that is asked for.
#[derive(Debug, Deserialize)]
struct Node {
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// Gives `labels` the zone and the region that Kubernetes has for its node `node`, where they are not set.
pub(super) async fn fill(labels: &mut Labels, node: &str, state_dir: &Path) {
    let remembered =
        StateFile::new(state_dir, "kubernetes.json", "which remembers the labels that Kubernetes has for this host");
    let heard = match api_server() {
        Ok(server) => ask_patiently(&server, Path::new(ACCOUNT), node).await,
        Err(error) => Err(error),
    };
    let theirs = match heard {
        Ok(theirs) => {
            if let Err(error) = remembered.write(&theirs) {
                warn!(%error, "should the API server not answer at the next start, this host will have no zone");
            }
            theirs
        }
        Err(why) => {
            let before: BTreeMap<String, String> = remembered.read().unwrap_or_else(|error| {
                warn!(%error, "what was heard before is lost");
                BTreeMap::new()
            });
            warn!(%why, remembered = ?before, "Kubernetes does not say where this host is: what it said before counts");
            before
        }
    };
    set(labels, &theirs);
}

/// What the user has written goes before.
fn set(labels: &mut Labels, theirs: &BTreeMap<String, String>) {
    labels.zone = labels.zone.take().or_else(|| theirs.get(ZONE).cloned());
    labels.region = labels.region.take().or_else(|| theirs.get(REGION).cloned());
}

fn api_server() -> Result<String, AskError> {
    let host = env::var("KUBERNETES_SERVICE_HOST").map_err(|_| AskError::NoPod)?;
    let port = env::var("KUBERNETES_SERVICE_PORT").unwrap_or_else(|_| "443".to_owned());
    Ok(if host.contains(':') { format!("https://[{host}]:{port}") } else { format!("https://{host}:{port}") })
}

async fn ask_patiently(server: &str, account: &Path, node: &str) -> Result<BTreeMap<String, String>, AskError> {
    for _ in 1..TRIES {
        match ask(server, account, node).await {
            Err(error) if error.is_passing() => sleep(PAUSE).await,
            decided => return decided,
        }
    }
    ask(server, account, node).await
}

/// The labels of topology of `node`.
async fn ask(server: &str, account: &Path, node: &str) -> Result<BTreeMap<String, String>, AskError> {
    let read = |name: &str| {
        let path = account.join(name);
        fs::read(&path).map_err(|source| AskError::Account { path: path.display().to_string(), source })
    };
    let broken = |source| AskError::Exchange { server: server.to_owned(), source };
    let (token, authority) = (read("token")?, read("ca.crt")?);
    let client = web::client_within(DEADLINE, Certificate::from_pem_bundle(&authority).map_err(broken)?);
    let request = client.map_err(broken)?.get(format!("{server}/api/v1/nodes/{node}"));
    let mut response = request.bearer_auth(String::from_utf8_lossy(token.trim_ascii())).send().await.map_err(broken)?;
    let (node, status) = (node.to_owned(), response.status());
    let hint = match status {
        StatusCode::OK => {
            let mut answer = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(broken)? {
                if answer.len() + chunk.len() > ANSWER_MAX {
                    return Err(AskError::TooLong { node });
                }
                answer.extend_from_slice(&chunk);
            }
            let found: Node = serde_json::from_slice(&answer).map_err(|source| AskError::NoNode { node, source })?;
            return Ok(found.metadata.labels.into_iter().filter(|(key, _)| key == ZONE || key == REGION).collect());
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "the pod's service account needs a role that may get nodes",
        StatusCode::NOT_FOUND => "give the name that `kubectl get nodes` shows",
        _ => "the API server's log may say more",
    };
    Err(AskError::Refused { node, status, hint })
}

#[cfg(test)]
mod tests {
    use axum::{Json, Router, http::HeaderMap, routing::get};
    use serde_json::json;
    use tokio::{net::TcpListener, task::JoinSet};

    use super::*;

    /// An API server that knows `gpu-1`, and asks for the token `good`.
    async fn api(servers: &mut JoinSet<()>) -> String {
        let node = |headers: HeaderMap| async move {
            if headers.get("authorization").is_some_and(|value| value == "Bearer good") {
                let labels = json!({ZONE: "eu-1a", REGION: "eu-1", "kubernetes.io/hostname": "gpu-1"});
                Ok(Json(json!({"kind": "Node", "metadata": {"name": "gpu-1", "labels": labels}})))
            } else {
                Err(StatusCode::FORBIDDEN)
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/api/v1/nodes/gpu-1", get(node));
        servers.spawn(async move { axum::serve(listener, router).await.unwrap() });
        url
    }

    fn account(token: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let authority = rcgen::generate_simple_self_signed(["kubernetes".to_owned()]).unwrap().cert.pem();
        fs::write(directory.path().join("ca.crt"), authority).unwrap();
        fs::write(directory.path().join("token"), token).unwrap();
        directory
    }

    #[tokio::test]
    async fn zone_and_region_are_those_of_the_host_unless_written() {
        let mut servers = JoinSet::new();
        let url = api(&mut servers).await;
        let good = account("good\n");
        let theirs = ask_patiently(&url, good.path(), "gpu-1").await.unwrap();
        assert_eq!(theirs.len(), 2, "{theirs:?}");
        let mut labels = Labels { region: Some("mine".to_owned()), ..Labels::default() };
        set(&mut labels, &theirs);
        assert_eq!((labels.zone.as_deref(), labels.region.as_deref()), (Some("eu-1a"), Some("mine")));
    }

    #[tokio::test]
    async fn what_keeps_it_from_being_heard_is_said() {
        let mut servers = JoinSet::new();
        let url = api(&mut servers).await;
        let said = async |token: &str, node: &str| {
            let account = account(token);
            ask(&url, account.path(), node).await.unwrap_err().to_string()
        };
        let forbidden = said("bad", "gpu-1").await;
        assert!(forbidden.contains("403") && forbidden.contains("may get nodes"), "{forbidden}");
        let unknown = said("good", "gpu-2").await;
        assert!(unknown.contains("404") && unknown.contains("gpu-2"), "{unknown}");
        let nobody = ask(&url, Path::new("/nonexistent"), "gpu-1").await.unwrap_err().to_string();
        assert!(nobody.contains("/nonexistent/token"), "{nobody}");
    }

    #[tokio::test]
    async fn an_api_server_that_is_overloaded_is_asked_again_and_one_that_refuses_is_not() {
        let refused = |status| AskError::Refused { node: "gpu-1".to_owned(), status, hint: "" };
        for (status, passing) in [(429, true), (500, true), (503, true), (401, false), (403, false), (404, false)] {
            assert_eq!(refused(StatusCode::from_u16(status).unwrap()).is_passing(), passing, "{status}");
        }
        // A port that was free a moment ago.
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let good = account("good");
        let error = ask(&format!("http://{nobody}"), good.path(), "gpu-1").await.unwrap_err();
        assert!(error.is_passing() && error.to_string().contains("onnection refused"), "{error}");
    }

    /// This process is in no pod.
    #[tokio::test]
    async fn what_was_heard_before_counts_while_nobody_answers() {
        let state = tempfile::tempdir().unwrap();
        let file = StateFile::new(state.path(), "kubernetes.json", "of the test");
        file.write(&BTreeMap::from([(ZONE.to_owned(), "eu-1b".to_owned())])).unwrap();
        let mut labels = Labels::default();
        fill(&mut labels, "gpu-1", state.path()).await;
        assert_eq!(labels.zone.as_deref(), Some("eu-1b"));
    }
}
