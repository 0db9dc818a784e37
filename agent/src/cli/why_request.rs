//! `shoal why request`: the way of one request, in words.

use std::fmt::{self, Write as _};

use shoal_ingress::{Considered, Decision, Outcome, RequestRecord};
use shoal_types::NodeId;

use super::table::Table;
use crate::admin::{RequestsFound, TakenRequest};

impl fmt::Display for RequestsFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, taken) in self.requests.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            self.tell(f, taken)?;
        }
        Ok(())
    }
}

impl RequestsFound {
    fn tell(&self, f: &mut fmt::Formatter<'_>, TakenRequest { ingress, record }: &TakenRequest) -> fmt::Result {
        let stream = if record.stream { ", a stream" } else { "" };
        writeln!(
            f,
            "Request {} came to {} from {} at {}: POST {}{stream}",
            record.id,
            self.name(*ingress),
            record.client,
            record.arrived,
            record.path
        )?;
        match (&record.endpoint, &record.model) {
            (Some(endpoint), Some(model)) => writeln!(f, "Endpoint {endpoint}, by the name {model}")?,
            (Some(endpoint), None) => writeln!(f, "Endpoint {endpoint}")?,
            (None, _) => writeln!(f, "No endpoint was found for it, or it was not read so far")?,
        }
        if let Some(queued) = record.queued_us.filter(|queued| *queued >= 1_000) {
            writeln!(f, "It waited {} before a replica was chosen", Time(queued))?;
        }
        for decision in &record.decisions {
            self.tell_decision(f, record, *ingress, decision)?;
        }
        match record.resumes {
            0 => {}
            1 => writeln!(f, "Another replica went on with its answer")?,
            times => writeln!(f, "Other replicas went on with its answer, {times} times")?,
        }
        writeln!(f, "{}", end(record))?;
        if record.tokens.input > 0 || record.tokens.output > 0 {
            let tokens = record.tokens;
            let exact = if tokens.exact { "as the engine counts" } else { "estimated" };
            writeln!(
                f,
                "Tokens: {} in, of them {} cached; {} out ({exact})",
                tokens.input, tokens.cached, tokens.output
            )?;
        }
        record.trace.map_or(Ok(()), |trace| writeln!(f, "Trace {}", trace.trace))
    }

    fn tell_decision(
        &self,
        f: &mut fmt::Formatter<'_>,
        record: &RequestRecord,
        ingress: NodeId,
        decision: &Decision,
    ) -> fmt::Result {
        let after = Time(decision.after_us);
        let Some(chosen) = decision.chosen() else {
            writeln!(
                f,
                "\nAfter {after}: nobody could be chosen{}",
                if decision.considered.is_empty() { ", as no replica was ready" } else { "" }
            )?;
            return f.write_str(&self.candidates(record, decision));
        };
        let count = decision.considered.len() as u64 + decision.more;
        let (name, node) = (replica_name(record, chosen), self.name(chosen.claim.node));
        let place = if chosen.claim.node == ingress { " here".to_owned() } else { format!(" on {node}") };
        let took = Time(decision.took_us);
        writeln!(f, "\nAfter {after}: chose {name}{place}, of {count}, in {took}: {}", reason(decision))?;
        f.write_str(&self.candidates(record, decision))?;
        match (&decision.failed, decision.ended_us) {
            (Some(failed), ended) => {
                let ended = ended.map_or_else(String::new, |ended| format!("After {}: ", Time(ended)));
                writeln!(f, "{ended}it gave no answer ({}): {}", failed.reason, failed.error)
            }
            (None, Some(ended)) => writeln!(f, "After {}: it began to answer", Time(ended)),
            (None, None) => writeln!(f, "It was not waited for to the end"),
        }
    }

    fn candidates(&self, record: &RequestRecord, decision: &Decision) -> String {
        if decision.considered.is_empty() {
            return String::new();
        }
        let mut table = Table::new(&["", "REPLICA", "NODE", "FROM HERE", "LOAD", "COST", "NOTE"], &[], false);
        for (index, replica) in decision.considered.iter().enumerate() {
            let chosen = usize::try_from(decision.chosen.unwrap_or(u32::MAX)).is_ok_and(|chosen| chosen == index);
            table.row([
                if chosen { "*" } else { "" }.to_owned(),
                replica_name(record, replica),
                self.name(replica.claim.node),
                replica.own.to_string(),
                load(replica),
                replica.cost_us.map_or_else(|| "-".to_owned(), |cost| Time(cost).to_string()),
                note(replica),
            ]);
        }
        let mut text = table.to_string();
        if decision.more > 0 {
            let _ = writeln!(text, "and {} more", decision.more);
        }
        text
    }

    fn name(&self, node: NodeId) -> String {
        self.names.get(&node).cloned().unwrap_or_else(|| node.short())
    }
}

fn replica_name(record: &RequestRecord, replica: &Considered) -> String {
    record.endpoint.as_ref().map_or_else(|| replica.claim.to_string(), |endpoint| replica.claim.replica_name(endpoint))
}

/// Requests that it had, and how old that word was.
fn load(replica: &Considered) -> String {
    match (replica.load, replica.load_age_us) {
        (Some(load), None) => load.to_string(),
        (Some(load), Some(age)) => format!("{load} ({} ago)", Time(age)),
        (None, _) => "?".to_owned(),
    }
}

/// Why the chosen one was, in words.
fn reason(decision: &Decision) -> String {
    match decision.why.as_ref() {
        "holds" => format!("it is believed to have {} bytes of the prompt in its cache", decision.held),
        "home" => "nobody is believed to have the prompt, and this is where all ingresses send it".to_owned(),
        "saturated" => "who would have had it is too busy, and this one costs the least".to_owned(),
        "lightest" => "it costs the least of those compared".to_owned(),
        "session" => "it has the session".to_owned(),
        "turn" => "it was its turn".to_owned(),
        // Of a node that is newer.
        other => other.to_owned(),
    }
}

/// What speaks for or against a replica beside its load.
fn note(replica: &Considered) -> String {
    let mut notes = Vec::new();
    if replica.tried {
        notes.push("it had failed this request");
    }
    if replica.suspect {
        notes.push("it or its node had just failed");
    }
    if replica.weight == 0 {
        notes.push("its revision is to get no requests");
    }
    if replica.local {
        notes.push("an engine of the same node");
    }
    notes.join("; ")
}

fn end(record: &RequestRecord) -> String {
    let took = Time(record.took_us);
    match (record.outcome, record.status, &record.error) {
        (Outcome::Finished, Some(status), Some(error)) => format!("\nAfter {took}: refused with {status} {error}"),
        (Outcome::Finished, Some(status), None) => format!("\nAfter {took}: all of the answer was passed on, {status}"),
        (Outcome::Finished, None, _) => format!("\nAfter {took}: it ended"),
        (Outcome::Broken, _, _) => format!("\nAfter {took}: the answer broke off"),
        (Outcome::Cancelled, Some(_), _) => format!("\nAfter {took}: the client went away in the middle of the answer"),
        (Outcome::Cancelled, None, _) => format!("\nAfter {took}: the client went away before there was an answer"),
    }
}

/// Microseconds for people.
struct Time(u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            micros @ ..1_000 => write!(f, "{micros} us"),
            micros @ ..10_000_000 => write!(f, "{}.{} ms", micros / 1_000, micros % 1_000 / 100),
            micros => write!(f, "{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000),
        }
    }
}

#[cfg(test)]
mod tests;
