//! The table, with what the node's configuration says otherwise.

use std::collections::BTreeMap;

use shoal_types::{FaultAction, UnixMillis};

use super::{
    history::XidHistory,
    table::{Rule, rule},
};
use crate::config::{FaultConfig, FaultVerdict};

/// The Xid of a GPU that has fallen off the bus, with which calls that fail for it are judged.
const OFF_THE_BUS: u32 = 79;

/// What is done about which fault on this node.
#[derive(Debug, Clone, Default)]
pub(in crate::inventory) struct FaultPolicy {
    overrides: BTreeMap<u32, FaultVerdict>,
}

impl FaultPolicy {
    pub(in crate::inventory) fn new(config: &FaultConfig) -> Self {
        Self { overrides: config.xid.clone() }
    }

    /// What follows from an Xid that comes now.
    pub(super) fn judge(&self, xid: u32, history: &mut XidHistory, now: UnixMillis) -> FaultVerdict {
        let Rule { verdict, repeated } = self.rule(xid);
        match repeated {
            Some(repeated) if history.note(xid, repeated, now) => repeated.verdict,
            Some(_) | None => verdict,
        }
    }

    /// What follows from a GPU that is gone; `None` if the configuration ignores that.
    pub(super) fn lost(&self) -> Option<FaultAction> {
        self.rule(OFF_THE_BUS).verdict.action()
    }

    /// Who writes a verdict does not want it to be counted away.
    fn rule(&self, xid: u32) -> Rule {
        self.overrides.get(&xid).map_or_else(|| rule(xid), |&verdict| Rule::once(verdict))
    }
}
