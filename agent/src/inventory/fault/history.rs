//! When an Xid came before, for rules that count.

use std::collections::{BTreeMap, VecDeque};

use shoal_types::UnixMillis;

use super::table::Repeated;

/// Times of Xids of one GPU. Bounded: only Xids that the table counts are kept, and of each only as many as it counts.
#[derive(Debug, Default)]
pub(super) struct XidHistory {
    times: BTreeMap<u32, VecDeque<UnixMillis>>,
}

impl XidHistory {
    /// Notes that `xid` came now; returns whether that makes it a repeated one.
    pub(super) fn note(&mut self, xid: u32, rule: Repeated, now: UnixMillis) -> bool {
        let times = self.times.entry(xid).or_default();
        times.push_back(now);
        times.retain(|&time| now.since(time) <= rule.within);
        if times.len() > rule.count {
            times.pop_front();
        }
        times.len() >= rule.count
    }

    pub(super) fn forget(&mut self) {
        self.times.clear();
    }
}
