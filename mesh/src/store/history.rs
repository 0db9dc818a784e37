//! Which revisions an endpoint had: what a rollout goes on with, and what an undo goes back to.

use shoal_types::{EndpointRecord, EndpointSpec, Hlc, PastRevision, Revision};

use super::snapshot::EndpointBody;

/// Most revisions before the present one that are remembered.
const PREVIOUS_MAX: usize = 10;

/// The revision of an endpoint once `next`, written at `version`, stands where `before` stood, and those before it.
///
/// Going back to what a remembered revision ran is going back to that revision: its replicas that still run are wanted again.
pub(super) fn succeed(before: &EndpointRecord, next: &EndpointSpec, version: Hlc) -> (Revision, Vec<PastRevision>) {
    if !before.endpoint.spec.needs_new_processes(next) {
        return (before.revision, before.previous.clone());
    }
    let known = before.previous.iter().find(|past| !past.spec.needs_new_processes(next));
    let revision = known.map_or(Revision(version), |past| past.revision);
    let replaced = PastRevision { revision: before.revision, spec: before.endpoint.spec.clone() };
    let older = before.previous.iter().filter(|past| past.revision != revision).cloned();
    (revision, std::iter::once(replaced).chain(older).take(PREVIOUS_MAX).collect())
}

/// `body` and its text, without the oldest revisions where they do not fit `bytes`.
///
/// # Errors
/// Of the serializer.
pub(super) fn fitting(mut body: EndpointBody, bytes: usize) -> serde_json::Result<(EndpointBody, String)> {
    loop {
        let text = serde_json::to_string(&body)?;
        if text.len() <= bytes || body.previous.pop().is_none() {
            return Ok((body, text));
        }
    }
}

#[cfg(test)]
mod tests {
    use shoal_types::{Endpoint, NodeId, UnixMillis, parse_endpoints};

    use super::*;

    fn endpoint(model: &str) -> Endpoint {
        let text = format!(
            "{{apiVersion: shoal/v1, kind: Endpoint, metadata: {{name: a}}, spec: {{model: {model}, engine: {{kind: sim}}}}}}"
        );
        parse_endpoints(&text).unwrap().remove(0)
    }

    fn version(counter: u32) -> Hlc {
        Hlc { time: UnixMillis::from_millis(1), counter, node: NodeId::from_bytes([1; 16]) }
    }

    /// The record after each of `models` was applied in turn.
    fn record(models: &[&str]) -> EndpointRecord {
        let first = endpoint(models[0]);
        let first =
            EndpointRecord { endpoint: first, revision: Revision(version(0)), version: version(0), previous: vec![] };
        (1..).zip(&models[1..]).fold(first, |before, (counter, model)| {
            let endpoint = endpoint(model);
            let (revision, previous) = succeed(&before, &endpoint.spec, version(counter));
            EndpointRecord { endpoint, revision, version: version(counter), previous }
        })
    }

    fn models(record: &EndpointRecord) -> Vec<&str> {
        record.previous.iter().map(|past| past.spec.model.as_str()).collect()
    }

    #[test]
    fn a_revision_is_remembered_once_another_takes_its_place() {
        let record = record(&["m1", "m2", "m3"]);
        assert_eq!(models(&record), ["m2", "m1"]);
        assert_eq!(record.spec_of(record.previous[1].revision).unwrap().model, "m1");
        assert_eq!(record.spec_of(record.revision).unwrap().model, "m3");
    }

    #[test]
    fn going_back_is_going_back_to_the_revision_that_was() {
        let back = record(&["m1", "m2", "m1"]);
        assert_eq!(back.revision, Revision(version(0)));
        assert_eq!(models(&back), ["m2"]);
    }

    #[test]
    fn the_past_is_bounded_by_number_and_size() {
        let names: Vec<String> = (0..20).map(|number| format!("m{number}")).collect();
        let record = record(&names.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(record.previous.len(), PREVIOUS_MAX);
        let EndpointRecord { endpoint, revision, previous, .. } = record;
        let whole =
            serde_json::to_string(&EndpointBody { revision, endpoint: endpoint.clone(), previous: previous.clone() });
        let bytes = whole.unwrap().len() - 1;
        let (body, text) = fitting(EndpointBody { revision, endpoint, previous }, bytes).unwrap();
        assert_eq!(body.previous.len(), PREVIOUS_MAX - 1);
        assert!(text.len() <= bytes);
    }
}
