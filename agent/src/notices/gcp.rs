//! Preemptions and host maintenance of Google Cloud: two keys of its metadata server, each waited for by a hanging GET.
//!
//! <https://cloud.google.com/compute/docs/metadata/querying-metadata>,
//! <https://cloud.google.com/compute/docs/instances/spot>

use std::time::Duration;

use http::{Method, StatusCode};

use super::{
    finding::{Deadline, Finding},
    http::{Answer, MetadataClient},
    notice::NoticeKind,
    poll::{Ask, AskError},
};

/// Between two hanging GETs. A change in between is not missed, only seen so much later.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
/// At most so much is left, unless the instance was made with a `preemption-notice-duration`.
pub(super) const WARNING: Duration = Duration::from_secs(30);

/// Sent and received: who does not send it back is not Google's.
const FLAVOR: (&str, &str) = ("Metadata-Flavor", "Google");
/// How long the server may hold an answer back while nothing changes.
const HANG: Duration = Duration::from_secs(60);
/// Longest ETag that is sent back; those of Google have 16 characters.
const ETAG_MAX: usize = 64;

/// What is asked for. Each is asked by itself, so that a server may know only the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Preempted,
    MaintenanceEvent,
}

impl Key {
    pub(super) const ALL: [Self; 2] = [Self::Preempted, Self::MaintenanceEvent];

    const fn path(self) -> &'static str {
        match self {
            Self::Preempted => "/computeMetadata/v1/instance/preempted",
            Self::MaintenanceEvent => "/computeMetadata/v1/instance/maintenance-event",
        }
    }

    /// What a value means; `None` if it is not one.
    fn read(self, value: &str) -> Option<Option<Finding>> {
        let finding = |kind| Some(Finding::new(kind, Deadline::Unsaid, value));
        match (self, value) {
            (Self::Preempted, "FALSE") | (Self::MaintenanceEvent, "NONE" | "MIGRATE_ON_HOST_MAINTENANCE") => Some(None),
            (Self::Preempted, "TRUE") => {
                Some(Some(Finding::new(NoticeKind::Reclaim, Deadline::Unsaid, "the instance is being preempted")))
            }
            // Of instances with GPUs, which cannot be migrated while they run.
            (Self::MaintenanceEvent, "TERMINATE_ON_HOST_MAINTENANCE") => Some(finding(NoticeKind::Maintenance)),
            (Self::Preempted | Self::MaintenanceEvent, _) => None,
        }
    }
}

/// Asks the metadata server of Google Cloud for one key.
#[derive(Debug)]
pub(super) struct Gcp {
    client: MetadataClient,
    patient: MetadataClient,
    key: Key,
    /// Of the value last seen; without one the answer comes at once.
    etag: Option<String>,
}

impl Gcp {
    pub(super) fn new(client: MetadataClient, key: Key) -> Self {
        Self { patient: client.patient(HANG), client, key, etag: None }
    }
}

impl Ask for Gcp {
    async fn ask(&mut self) -> Result<Option<Finding>, AskError> {
        // After an error the next question is one that is answered at once.
        let etag = self.etag.take();
        let client = if etag.is_some() { &self.patient } else { &self.client };
        let answer = client.ask(Method::GET, &path(self.key, etag.as_deref()), &[FLAVOR]).await?;
        let finding = parse(self.key, &answer)?;
        self.etag = etag_of(&answer);
        Ok(finding)
    }
}

fn path(key: Key, etag: Option<&str>) -> String {
    let path = key.path();
    match etag {
        Some(etag) => format!("{path}?wait_for_change=true&timeout_sec={}&last_etag={etag}", HANG.as_secs()),
        None => path.to_owned(),
    }
}

fn parse(key: Key, answer: &Answer) -> Result<Option<Finding>, AskError> {
    let (name, google) = FLAVOR;
    let is_google = answer.headers.get(name).is_some_and(|flavor| flavor == google);
    let read = (is_google && answer.status == StatusCode::OK).then(|| key.read(answer.body.trim())).flatten();
    read.ok_or_else(|| AskError::foreign(key.path(), answer.status, &answer.body))
}

fn etag_of(answer: &Answer) -> Option<String> {
    let etag = answer.headers.get(http::header::ETAG)?.to_str().ok()?;
    let is_plain = !etag.is_empty() && etag.len() <= ETAG_MAX && etag.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_plain.then(|| etag.to_owned())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Answer {
        let headers = headers.iter().map(|&(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        let headers: HeaderMap = headers.collect();
        Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: body.to_owned() }
    }

    #[test]
    fn values_are_read_as_google_writes_them() {
        use {Key::*, NoticeKind::*};
        for (key, value, kind) in [
            (Preempted, "FALSE", None),
            (Preempted, "TRUE\n", Some(Reclaim)),
            (MaintenanceEvent, "NONE", None),
            (MaintenanceEvent, "MIGRATE_ON_HOST_MAINTENANCE", None),
            (MaintenanceEvent, "TERMINATE_ON_HOST_MAINTENANCE", Some(Maintenance)),
        ] {
            let finding = parse(key, &answer(200, &[FLAVOR], value)).unwrap();
            assert_eq!(finding.as_ref().map(|finding| finding.kind), kind, "{value}");
            assert!(finding.is_none_or(|finding| finding.deadline == Deadline::Unsaid));
        }
    }

    #[test]
    fn what_is_not_google_is_not_believed() {
        for (status, headers, body) in [
            (200, &[][..], "TRUE"),
            (200, &[("metadata-flavor", "Amazon")], "TRUE"),
            (404, &[FLAVOR], "not found"),
            (503, &[FLAVOR], "TRUE"),
            (200, &[FLAVOR], "<html>"),
            (200, &[FLAVOR], "NONE"),
        ] {
            assert!(parse(Key::Preempted, &answer(status, headers, body)).is_err(), "{status} {headers:?} {body}");
        }
    }

    #[test]
    fn it_hangs_only_on_a_value_that_was_seen() {
        let seen = |etag| etag_of(&answer(200, &[("etag", etag)], ""));
        assert_eq!(seen("4411"), Some("4411".to_owned()));
        assert_eq!(seen("a&b=c"), None);
        assert_eq!(path(Key::Preempted, None), Key::Preempted.path());
        let hanging = path(Key::Preempted, Some("4411"));
        assert!(hanging.ends_with("/instance/preempted?wait_for_change=true&timeout_sec=60&last_etag=4411"));
    }
}
