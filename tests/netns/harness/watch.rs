//! What all nodes say of the endpoint, round by round.

use std::{
    collections::BTreeSet,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::Value;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{PATIENCE, mesh::ENDPOINT, node::status};

/// Pause between two rounds.
const PAUSE: Duration = Duration::from_millis(150);
/// For one node's answer; one that is dead has its socket still.
const ANSWER: Duration = Duration::from_secs(2);
/// Longest round whose answers are of one moment. Nodes wait longer than this between two steps that must not be
/// mistaken for one, such as a replica that is ready and another one that drains because of it.
const ONE_MOMENT: Duration = Duration::from_secs(1);

/// What one node says.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    /// Names of the nodes that it holds for alive.
    pub(crate) alive: BTreeSet<String>,
    /// Names of those that it has a connection to.
    connected: BTreeSet<String>,
    /// Replicas that it knows of, whoever has them.
    pub(crate) replicas: Vec<Replica>,
}

/// One replica in the eyes of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replica {
    pub(crate) node: String,
    pub(crate) state: String,
    pub(crate) alive: bool,
}

/// What all nodes said, asked at once.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) at: Instant,
    took: Duration,
    nodes: Vec<Option<Sight>>,
}

impl Round {
    async fn ask(sockets: &[PathBuf]) -> Self {
        let at = Instant::now();
        let answers = sockets.iter().map(|socket| async {
            timeout(ANSWER, status(socket)).await.ok().flatten().map(|status| Sight::of(&status))
        });
        let nodes = join_all(answers).await;
        Self { at, took: at.elapsed(), nodes }
    }

    /// What node `index` says, if it answered.
    pub(crate) fn sight(&self, index: usize) -> Option<&Sight> {
        self.nodes.get(index)?.as_ref()
    }

    /// Replicas of `nodes` as those say themselves, who alone know.
    pub(crate) fn replicas<'a>(&'a self, nodes: &'a [usize]) -> impl Iterator<Item = &'a Replica> {
        nodes.iter().flat_map(|&index| {
            let replicas = self.sight(index).map(|sight| sight.replicas.as_slice()).unwrap_or_default();
            replicas.iter().filter(move |replica| replica.node == format!("node-{index}") && replica.state != "failed")
        })
    }

    /// How many replicas of `nodes` are in `state`.
    pub(crate) fn count(&self, nodes: &[usize], state: &str) -> usize {
        self.replicas(nodes).filter(|replica| replica.state == state).count()
    }

    /// Whether every node holds `count` nodes for alive.
    pub(crate) fn all_see(&self, count: usize) -> bool {
        self.nodes.iter().all(|sight| sight.as_ref().is_some_and(|sight| sight.alive.len() == count))
    }

    /// Whether there are just `count` replicas, all ready, and every node knows it.
    pub(crate) fn is_settled(&self, count: usize) -> bool {
        let settled = |sight: &Sight| {
            let there = || sight.replicas.iter().filter(|replica| replica.state != "failed");
            there().count() == count && there().all(|replica| replica.state == "ready" && replica.alive)
        };
        self.nodes.iter().all(|sight| sight.as_ref().is_some_and(settled))
    }

    /// Whether either of two nodes has a connection to the other.
    pub(crate) fn are_connected(&self, a: usize, b: usize) -> bool {
        let has = |one: usize, other: usize| {
            self.sight(one).is_some_and(|sight| sight.connected.contains(&format!("node-{other}")))
        };
        has(a, b) || has(b, a)
    }

    /// Whether its answers can be added up.
    pub(crate) fn is_of_one_moment(&self, nodes: &[usize]) -> bool {
        self.took <= ONE_MOMENT && nodes.iter().all(|&index| self.sight(index).is_some())
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, sight) in self.nodes.iter().enumerate() {
            let Some(Sight { alive, replicas, .. }) = sight else {
                writeln!(f, "node-{index} says nothing")?;
                continue;
            };
            let quiet = |replica: &Replica| if replica.alive { "" } else { "?" };
            let said: Vec<String> = replicas.iter().map(|r| format!("{} {}{}", r.node, r.state, quiet(r))).collect();
            writeln!(f, "node-{index} holds {alive:?} for alive, and knows of: {}", said.join(", "))?;
        }
        Ok(())
    }
}

impl Sight {
    fn of(status: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let names = |is_one: fn(&Value) -> bool| {
            list(&status["nodes"]).filter(|node| is_one(node)).map(|node| text(&node["name"])).collect()
        };
        let endpoint = list(&status["endpoints"]).find(|endpoint| endpoint["metadata"]["name"] == ENDPOINT);
        let replicas = endpoint.map(|endpoint| &endpoint["status"]["replicas"]);
        let replica = |replica: &Value| Replica {
            node: text(&replica["node"]),
            state: text(&replica["state"]),
            alive: replica["liveness"] == "alive",
        };
        Self {
            alive: names(|node| node["liveness"] == "alive"),
            connected: names(|node| node["rttMs"].is_number()),
            replicas: replicas.into_iter().flat_map(list).map(replica).collect(),
        }
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Rounds that go on until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    rounds: Arc<Mutex<Vec<Arc<Round>>>>,
    newest: watch::Receiver<Option<Arc<Round>>>,
    _task: JoinSet<()>,
}

impl Watch {
    pub(crate) fn start(sockets: Vec<PathBuf>) -> Self {
        let rounds = Arc::<Mutex<Vec<Arc<Round>>>>::default();
        let (sender, newest) = watch::channel(None);
        let (mut task, kept) = (JoinSet::new(), Arc::clone(&rounds));
        task.spawn(async move {
            loop {
                let round = Arc::new(Round::ask(&sockets).await);
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&round));
                sender.send_replace(Some(round));
                sleep(PAUSE).await;
            }
        });
        Self { rounds, newest, _task: task }
    }

    /// All rounds from `from` to `to`.
    pub(crate) fn between(&self, from: Instant, to: Instant) -> Vec<Arc<Round>> {
        let rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        rounds.iter().filter(|round| (from..to).contains(&round.at)).cloned().collect()
    }

    /// The first round from now on that is as wanted.
    pub(crate) async fn until(&self, what: &str, check: impl Fn(&Round) -> bool) -> Arc<Round> {
        let mut newest = self.newest.clone();
        let start = Instant::now();
        loop {
            let changed = timeout_at(start + PATIENCE, newest.changed()).await;
            let round = newest.borrow_and_update().clone().expect("a round has changed it");
            match changed {
                Ok(changed) => changed.expect("the rounds go on"),
                Err(_) => panic!("waited {PATIENCE:?} for {what}:\n{round}"),
            }
            if round.at >= start && check(&round) {
                return round;
            }
        }
    }
}
