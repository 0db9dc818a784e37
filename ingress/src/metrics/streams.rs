//! What is told of attempts and streams beyond their first replica.

use std::sync::Arc;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::resume::Exclusion;

/// What became of a stream whose replica was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResumeEnd {
    /// Another replica goes on with it.
    Resumed,
    /// All had been said but that it was done.
    Completed,
    /// No replica went on with it.
    Failed,
    /// It had been lost as often as a stream may be.
    Exhausted,
    /// It cannot be continued, for this reason.
    Excluded(Exclusion),
}

impl ResumeEnd {
    const fn label(self) -> &'static str {
        match self {
            Self::Resumed => "resumed",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Exhausted => "exhausted",
            Self::Excluded(exclusion) => exclusion.word(),
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        let excluded = Exclusion::ALL.into_iter().map(Self::Excluded);
        [Self::Resumed, Self::Completed, Self::Failed, Self::Exhausted].into_iter().chain(excluded)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResumeLabels {
    endpoint: Arc<str>,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HedgeLabels {
    won: bool,
}

/// The families of this file; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct StreamMetrics {
    resumes: Family<ResumeLabels, Counter>,
    hedges: Family<HedgeLabels, Counter>,
    refused_retries: Counter,
}

impl StreamMetrics {
    /// Makes `registry` show them.
    pub(super) fn register(&self, registry: &mut Registry) {
        let Self { resumes, hedges, refused_retries } = self;
        registry.register("resumes", "Streams whose replica was lost, by what became of them", resumes.clone());
        registry.register("hedges", "Second replicas asked because the first was slow to begin", hedges.clone());
        registry.register(
            "refused_retries",
            "Requests that were not tried again, as too many had been lately",
            refused_retries.clone(),
        );
    }

    /// The replica of a stream for `endpoint` was lost.
    pub(crate) fn lost(&self, endpoint: &str, end: ResumeEnd) {
        self.resumes.get_or_create(&ResumeLabels { endpoint: endpoint.into(), outcome: end.label() }).inc();
    }

    /// A second replica was asked, and `won` if it began first.
    pub(crate) fn hedged(&self, won: bool) {
        self.hedges.get_or_create(&HedgeLabels { won }).inc();
    }

    /// A request was not tried again.
    pub(crate) fn refused_retry(&self) {
        self.refused_retries.inc();
    }

    /// Forgets an endpoint that is gone.
    pub(super) fn forget(&self, endpoint: &Arc<str>) {
        for end in ResumeEnd::all() {
            self.resumes.remove(&ResumeLabels { endpoint: Arc::clone(endpoint), outcome: end.label() });
        }
    }
}
