//! Explanations as text.

use std::fmt;

use shoal_types::EndpointSpec;

use super::{Candidate, ExcludedNodes, Explanation, ReplicaStanding, WantExplanation};
use crate::{
    exclusion::GpuKind,
    need::{Filter, offer_of},
    tenancy::{Tenant, Tenants},
};

/// What a replica of `spec` needs of its node.
pub(super) fn needs(spec: &EndpointSpec) -> String {
    let engine = offer_of(&spec.engine);
    match spec.resources.gpus {
        0 => format!("the engine `{engine}`"),
        gpus => format!("{gpus} {} and the engine `{engine}`", GpuKind(&spec.resources)),
    }
}

/// `items` on indented lines below `title`; nothing if there are none.
pub(crate) fn list(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    items: impl IntoIterator<Item = impl fmt::Display>,
) -> fmt::Result {
    let mut items = items.into_iter().peekable();
    if items.peek().is_some() {
        writeln!(f, "{title}:")?;
    }
    items.try_for_each(|item| writeln!(f, "  {item}"))
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "endpoint {}, priority {}", self.endpoint, self.priority)?;
        if let Some(reason) = &self.reason {
            writeln!(f, "its steward says: {reason}")?;
        }
        if self.wants.is_empty() {
            writeln!(f, "no replica is wanted now")?;
        }
        self.wants.iter().try_for_each(|want| write!(f, "{want}"))?;
        list(f, "other replicas", &self.others)
    }
}

impl fmt::Display for WantExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { revision, capacity, wanted, missing, .. } = self;
        let there = self.kept.len();
        writeln!(f, "revision {revision}, {capacity} capacity: {wanted} wanted, {there} there, {missing} missing")?;
        writeln!(f, "a replica needs {}", self.needs)?;
        list(f, "there", &self.kept)?;
        if !self.next.is_empty() {
            writeln!(f, "the missing ones would go to {}", self.next.join(", "))?;
        }
        list(f, "room is being made", &self.room)?;
        if self.unplaced() > 0 {
            writeln!(f, "without room: {}", self.unplaced())?;
        }
        list(f, "candidates, best first, in USD per GPU-hour", &self.candidates)?;
        if self.more_candidates > 0 {
            writeln!(f, "  and {} more", self.more_candidates)?;
        }
        list(f, "excluded", &self.excluded)?;
        write!(f, "{}", self.tenants)?;
        list(f, "any of these would change that", &self.remedies)
    }
}

impl fmt::Display for ReplicaStanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, node, state, revision, standing, .. } = self;
        write!(f, "{name} on {node}: {state}, revision {revision}, {standing}")?;
        if let Some(reason) = &self.reason {
            write!(f, ": {reason}")?;
        }
        let makes_room = self.makes_room_for.as_ref();
        makes_room.map_or(Ok(()), |endpoint| write!(f, "; makes room for `{endpoint}`"))
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.node, self.cost)?;
        // Of a term that adds nothing, the reason is none.
        let terms = self.terms.iter().filter(|term| term.usd.as_millionths() > 0);
        for (index, term) in terms.enumerate() {
            let sign = if index == 0 { "=" } else { "+" };
            write!(f, " {sign} {} {} ({})", term.name, term.usd, term.because)?;
        }
        if self.overflow {
            f.write_str("; outside the home cluster")?;
        }
        if self.in_zone > 0 {
            write!(f, "; {} in its zone already", self.in_zone)?;
        }
        if self.crowding > 0 {
            write!(f, "; has {} of 4 parts of the endpoint already", self.crowding.min(4))?;
        }
        Ok(())
    }
}

impl fmt::Display for ExcludedNodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.count, self.filter)?;
        for (index, example) in self.examples.iter().enumerate() {
            let lead = if index == 0 { ": " } else { "; " };
            write!(f, "{lead}{}: {}", example.node, example.why)?;
        }
        if self.count > self.examples.len() { f.write_str("; …") } else { Ok(()) }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Presence => "presence",
            Self::Departure => "departure",
            Self::Engine => "engine",
            Self::Labels => "labels",
            Self::CapacityType => "capacity type",
            Self::Price => "price",
            Self::Hardware => "hardware",
            Self::Refusal => "refusal",
            Self::Room => "room",
        })
    }
}

impl fmt::Display for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return Ok(());
        }
        writeln!(f, "who has the GPUs where a replica could be:")?;
        self.endpoints.iter().try_for_each(|endpoint| writeln!(f, "  {endpoint}"))?;
        if self.more > 0 {
            writeln!(f, "  and {} more", self.more)?;
        }
        if self.foreign > 0 {
            writeln!(f, "  processes that are not shoal's, or unknown: GPUs: {}", self.foreign)?;
        }
        if self.ill > 0 {
            writeln!(f, "  nobody, as they are ill: GPUs: {}", self.ill)?;
        }
        Ok(())
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, replicas, gpus, spare, .. } = self;
        match self.priority {
            Some(priority) => write!(f, "endpoint {endpoint} (priority {priority}): ")?,
            None => write!(f, "endpoint {endpoint} (deleted): ")?,
        }
        write!(f, "GPUs: {gpus}, replicas: {replicas}, above its `min`: {spare}")
    }
}
