//! Plans as text.

use std::fmt;

use super::{Change, EndpointPlan, Evicted, Plan, PlanOutcome, Start};
use crate::explain::list;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.endpoints.iter().try_for_each(|endpoint| write!(f, "{endpoint}"))?;
        writeln!(f, "{}", self.outcome())
    }
}

impl fmt::Display for EndpointPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, change, replicas, unplaced, .. } = self;
        writeln!(f, "endpoint {endpoint}: {change}; replicas: {replicas}")?;
        list(f, "  starts", self.starts.iter().map(|start| format!("  {start}")))?;
        list(f, "  ends", self.ends.iter().map(|end| format!("  {end}")))?;
        list(f, "  takes the place of", self.evicts.iter().map(|evicted| format!("  {evicted}")))?;
        if *unplaced > 0 {
            writeln!(f, "  {unplaced} cannot be placed")?;
        }
        for why in &self.why {
            why.to_string().lines().try_for_each(|line| writeln!(f, "    {line}"))?;
        }
        Ok(())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "new",
            Self::Revised => "a new revision, each replica is replaced",
            Self::Adjusted => "new settings, no replica is restarted",
            Self::Unchanged => "unchanged",
        })
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.replicas, self.node)
    }
}

impl fmt::Display for Evicted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}, of the lower priority of endpoint {}", self.name, self.node, self.endpoint)
    }
}

impl fmt::Display for PlanOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing changes",
            Self::Changes => "everything can be placed",
            Self::CannotBePlaced => "not everything can be placed",
        })
    }
}
