//! Polls all sources and publishes the notice to act on.

use std::time::Duration;

use shoal_types::HumanDuration;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    aws::{self, Aws},
    azure::{self, Azure},
    command::{self, NoticeCommand},
    config::{NoticesConfig, ProviderConfig},
    file::{self, NoticeFile},
    finding::Standing,
    gcp::{self, Gcp, Key},
    http::MetadataClient,
    notice::{Board, Notice, Source},
    pace::{Backoff, Pace},
    poll::{Ask, Poller, Told},
};

/// Changes that may wait to be published; each source tells one at a time.
const TOLD: usize = 8;

/// How long things take; tests have no time.
#[derive(Debug, Clone)]
pub(super) struct Timings {
    pub(super) aws: Duration,
    pub(super) gcp: Duration,
    pub(super) azure: Duration,
    pub(super) file: Duration,
    /// While a cloud has never answered.
    pub(super) backoff: Backoff,
    /// For one exchange with a metadata service.
    pub(super) exchange: Duration,
    /// For one run of the command.
    pub(super) command: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            aws: aws::INTERVAL,
            gcp: gcp::INTERVAL,
            azure: azure::INTERVAL,
            file: file::INTERVAL,
            backoff: Backoff { first: Duration::from_secs(1), max: Duration::from_secs(300) },
            exchange: Duration::from_secs(5),
            command: command::DEADLINE,
        }
    }
}

/// Watches whether this host will be taken away.
#[derive(Debug)]
pub(crate) struct Notices {
    config: NoticesConfig,
    timings: Timings,
}

impl Notices {
    pub(crate) fn new(config: &NoticesConfig) -> Self {
        Self::with_timings(config, Timings::default())
    }

    pub(super) fn with_timings(config: &NoticesConfig, timings: Timings) -> Self {
        Self { config: config.clone(), timings }
    }

    /// Publishes the earliest notice until `stop`; `None` again only if all sources have taken theirs back. A source
    /// that no longer answers takes nothing back.
    pub(crate) async fn keep(self, found: watch::Sender<Option<Notice>>, stop: CancellationToken) {
        let (tell, mut told) = mpsc::channel(TOLD);
        // Only the pollers keep `tell`: once all have ended, nothing more is told.
        let mut tasks = self.start(Pollers { tasks: JoinSet::new(), tell, stop: stop.clone() });
        let mut board = Board::default();
        loop {
            tokio::select! {
                Some((from, notice)) = told.recv() => {
                    board.hear(from, notice);
                    publish(&found, board.earliest());
                }
                Some(ended) = tasks.join_next() => {
                    if let Err(error) = ended {
                        error!(%error, "a watch for notices has ended: please report this");
                    }
                }
                else => break,
            }
        }
        stop.cancelled().await;
    }

    fn start(&self, mut pollers: Pollers) -> JoinSet<()> {
        let NoticesConfig { aws, gcp, azure, file, command, sigterm: _ } = &self.config;
        let timings = &self.timings;
        let client = |provider: &ProviderConfig| MetadataClient::new(provider.url.clone(), timings.exchange);
        let cloud = |interval| Pace::of_cloud(interval, timings.backoff);
        if aws.enabled {
            let standing = Standing::new(Source::Aws, Some(warning(aws, aws::WARNING)));
            pollers.add(Source::Aws, standing, cloud(timings.aws), Aws::new(client(aws)));
        }
        for key in Key::ALL.into_iter().filter(|_| gcp.enabled) {
            let standing = Standing::new(Source::Gcp, Some(warning(gcp, gcp::WARNING)));
            pollers.add(Source::Gcp, standing, cloud(timings.gcp), Gcp::new(client(gcp), key));
        }
        if azure.enabled {
            let standing = Standing::new(Source::Azure, Some(warning(azure, azure::WARNING)));
            pollers.add(Source::Azure, standing, cloud(timings.azure), Azure::new(client(azure)));
        }
        if let Some(path) = file {
            let pace = Pace::of_configured(timings.file);
            pollers.add(Source::File, Standing::new(Source::File, None), pace, NoticeFile(path.clone()));
        }
        if let Some(config) = command {
            let pace = Pace::of_configured(config.interval.0);
            let asked = NoticeCommand { config: config.clone(), deadline: timings.command };
            pollers.add(Source::Command, Standing::new(Source::Command, None), pace, asked);
        }
        pollers.tasks
    }
}

fn warning(provider: &ProviderConfig, default: Duration) -> Duration {
    provider.warning.map_or(default, |HumanDuration(warning)| warning)
}

/// The tasks that poll, one per source.
#[derive(Debug)]
struct Pollers {
    tasks: JoinSet<()>,
    tell: mpsc::Sender<Told>,
    stop: CancellationToken,
}

impl Pollers {
    fn add(&mut self, source: Source, standing: Standing, pace: Pace, asked: impl Ask) {
        let (number, tell) = (self.tasks.len(), self.tell.clone());
        self.tasks.spawn(Poller { number, source, asked, pace, standing, tell }.run(self.stop.clone()));
    }
}

fn publish(found: &watch::Sender<Option<Notice>>, earliest: Option<&Notice>) {
    let changed = found.send_if_modified(|known| {
        let changed = known.as_ref() != earliest;
        *known = earliest.cloned();
        changed
    });
    match earliest {
        Some(Notice { source, kind, deadline, detail }) if changed => {
            let deadline = deadline.map_or_else(|| "unknown".to_owned(), |deadline| deadline.to_string());
            warn!(%source, %kind, deadline, detail, "this host will be taken away");
        }
        None if changed => info!("This host will not be taken away after all"),
        Some(_) | None => {}
    }
}
