//! When somebody is told: not at once, and not again and again. Pure.

use std::{collections::BTreeMap, time::Duration};

use shoal_placement::spot::CapacityRequest;
use shoal_types::{EndpointName, UnixMillis};

use crate::config::CapacityConfig;

/// Since when capacity is missing, and when somebody was last told.
#[derive(Debug)]
pub(super) struct Pace {
    after: Duration,
    interval: Duration,
    missing: BTreeMap<EndpointName, Missing>,
}

#[derive(Debug, Clone, Copy)]
struct Missing {
    since: UnixMillis,
    told: Option<UnixMillis>,
}

impl Pace {
    pub(super) const fn new(config: &CapacityConfig) -> Self {
        Self { after: config.after.0, interval: config.interval.0, missing: BTreeMap::new() }
    }

    /// Those of `requests` that somebody is to be told of now. What is told again was not met, or not yet.
    pub(super) fn due(&mut self, requests: Vec<CapacityRequest>, now: UnixMillis) -> Vec<CapacityRequest> {
        let (after, interval) = (self.after, self.interval);
        // Whoever was just told is remembered, lest what comes and goes is told each time.
        self.missing.retain(|endpoint, missing| {
            requests.iter().any(|request| request.endpoint == *endpoint)
                || missing.told.is_some_and(|told| now.since(told) < interval)
        });
        let is_due = |missing: &Missing| {
            now.since(missing.since) >= after && missing.told.is_none_or(|told| now.since(told) >= interval)
        };
        for request in &requests {
            self.missing.entry(request.endpoint.clone()).or_insert(Missing { since: now, told: None });
        }
        let due: Vec<CapacityRequest> =
            requests.into_iter().filter(|request| self.missing.get(&request.endpoint).is_some_and(is_due)).collect();
        for request in &due {
            self.missing.entry(request.endpoint.clone()).and_modify(|missing| missing.told = Some(now));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use shoal_types::HumanDuration;

    use super::*;
    use crate::capacity::testing::request;

    const fn at(seconds: u64) -> UnixMillis {
        UnixMillis::from_millis(seconds * 1_000)
    }

    #[test]
    fn what_is_missing_for_a_while_is_told_and_told_again_only_much_later() {
        let config = CapacityConfig {
            after: HumanDuration::from_secs(30),
            interval: HumanDuration::from_secs(300),
            ..CapacityConfig::default()
        };
        let mut pace = Pace::new(&config);
        let mut told = |now, missing: bool| {
            let requests = if missing { vec![request("a")] } else { vec![] };
            !pace.due(requests, at(now)).is_empty()
        };
        assert!(!told(0, true) && !told(29, true));
        assert!(told(30, true));
        assert!(!told(40, false), "met");
        assert!(!told(100, true), "missing again: whoever was told is at it");
        assert!(!told(329, true));
        assert!(told(330, true));
        assert!(!told(700, false), "long met");
        assert!(!told(701, true), "and new again");
        assert!(told(731, true));
    }
}
