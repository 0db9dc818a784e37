//! Scheduled events of Azure.
//!
//! <https://learn.microsoft.com/en-us/azure/virtual-machines/linux/scheduled-events>

use std::time::Duration;

use http::{Method, StatusCode};
use serde::Deserialize;

use super::{
    finding::{Deadline, Finding},
    http::{Answer, MetadataClient},
    notice::NoticeKind,
    poll::{Ask, AskError},
    when::instant,
};

/// As often as Azure asks for: a preemption leaves only 30 s.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
/// Least time between a `Preempt` event and the end.
pub(super) const WARNING: Duration = Duration::from_secs(30);

const NAME: &str = "/metadata/instance/compute/name?api-version=2021-02-01&format=text";
const EVENTS: &str = "/metadata/scheduledevents?api-version=2020-07-01";
/// Without it nothing is answered, so that no page in a browser can ask.
const METADATA: (&str, &str) = ("Metadata", "true");
/// Until it has answered once: the first call turns the service on, which takes up to two minutes.
const TURN_ON: Duration = Duration::from_secs(150);
/// Longest name of a machine, in bytes.
const NAME_MAX: usize = 64;

/// Asks the metadata service of Azure.
#[derive(Debug)]
pub(super) struct Azure {
    client: MetadataClient,
    /// Of this machine: events are listed for its whole scale set.
    name: Option<String>,
    turned_on: bool,
}

impl Azure {
    pub(super) const fn new(client: MetadataClient) -> Self {
        Self { client, name: None, turned_on: false }
    }
}

impl Ask for Azure {
    async fn ask(&mut self) -> Result<Option<Finding>, AskError> {
        let name = match self.name.take() {
            Some(name) => name,
            None => parse_name(&self.client.ask(Method::GET, NAME, &[METADATA]).await?)?,
        };
        let name = self.name.insert(name);
        let client = if self.turned_on { self.client.clone() } else { self.client.patient(TURN_ON) };
        let answer = client.ask(Method::GET, EVENTS, &[METADATA]).await?;
        let finding = parse_events(&answer, name)?;
        self.turned_on = true;
        Ok(finding)
    }
}

fn parse_name(answer: &Answer) -> Result<String, AskError> {
    let name = answer.body.trim();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_name = !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(allowed);
    if answer.status == StatusCode::OK && is_name {
        Ok(name.to_owned())
    } else {
        Err(AskError::foreign("the question for the machine's name", answer.status, &answer.body))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    #[serde(rename = "DocumentIncarnation")]
    _incarnation: i64,
    events: Vec<Event>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    event_id: String,
    event_type: EventType,
    #[serde(default)]
    event_status: String,
    /// Empty once the event has begun.
    #[serde(default)]
    not_before: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    description: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum EventType {
    Preempt,
    Terminate,
    Reboot,
    Redeploy,
    /// A pause of seconds, which engines survive.
    Freeze,
    /// Of a later version.
    #[serde(other)]
    Other,
}

impl EventType {
    const fn kind(self) -> Option<NoticeKind> {
        match self {
            Self::Preempt | Self::Terminate => Some(NoticeKind::Reclaim),
            Self::Reboot | Self::Redeploy => Some(NoticeKind::Maintenance),
            Self::Freeze | Self::Other => None,
        }
    }
}

/// The first event that ends the machine called `name`. An event that is cancelled or over is no longer listed.
fn parse_events(answer: &Answer, name: &str) -> Result<Option<Finding>, AskError> {
    let document = if answer.status == StatusCode::OK { serde_json::from_str(&answer.body).ok() } else { None };
    let Document { events, .. } =
        document.ok_or_else(|| AskError::foreign("the question for scheduled events", answer.status, &answer.body))?;
    let findings = events.iter().filter(|event| event.is_about(name)).filter_map(Event::finding);
    // What has begun and no longer says when comes before what is to come.
    Ok(findings.min_by_key(|finding| match finding.deadline {
        Deadline::At(at) => (Some(at), finding.kind),
        Deadline::In(_) | Deadline::Unsaid => (None, finding.kind),
    }))
}

impl Event {
    fn is_about(&self, name: &str) -> bool {
        let over = ["Completed", "Canceled", "Cancelled"].contains(&self.event_status.as_str());
        !over && self.resources.iter().any(|resource| resource.eq_ignore_ascii_case(name))
    }

    fn finding(&self) -> Option<Finding> {
        let kind = self.event_type.kind()?;
        let deadline = instant(&self.not_before).map_or(Deadline::Unsaid, Deadline::At);
        let detail = format!("{:?} {} {}", self.event_type, self.event_id, self.description);
        Some(Finding::new(kind, deadline, &detail))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        Answer { status, headers: HeaderMap::new(), body: body.to_owned() }
    }

    fn event(event_type: &str, not_before: &str, status: &str, resource: &str) -> String {
        format!(
            r#"{{"EventId": "602d9444", "EventType": "{event_type}", "ResourceType": "VirtualMachine",
                "Resources": ["other_3", "{resource}"], "EventStatus": "{status}", "NotBefore": "{not_before}",
                "Description": "", "EventSource": "Platform", "DurationInSeconds": -1}}"#
        )
    }

    fn read(events: &[String]) -> Option<Finding> {
        let body = format!(r#"{{"DocumentIncarnation": 3, "Events": [{}]}}"#, events.join(","));
        parse_events(&answer(200, &body), "Pool_7").unwrap()
    }

    #[test]
    fn events_are_read_as_azure_writes_them() {
        const AT: &str = "Sun, 22 Nov 2026 14:05:00 GMT";
        let at = Deadline::At(instant(AT).unwrap());
        use NoticeKind::*;
        for (event, expected) in [
            (event("Preempt", AT, "Scheduled", "pool_7"), Some((Reclaim, at))),
            (event("Terminate", AT, "Scheduled", "pool_7"), Some((Reclaim, at))),
            (event("Reboot", AT, "Scheduled", "pool_7"), Some((Maintenance, at))),
            (event("Redeploy", "", "Started", "pool_7"), Some((Maintenance, Deadline::Unsaid))),
            (event("Freeze", AT, "Scheduled", "pool_7"), None),
            (event("Dance", AT, "Scheduled", "pool_7"), None),
            (event("Preempt", AT, "Canceled", "pool_7"), None),
            (event("Preempt", AT, "Scheduled", "pool_70"), None),
        ] {
            let found = read(std::slice::from_ref(&event)).map(|finding| (finding.kind, finding.deadline));
            assert_eq!(found, expected, "{event}");
        }
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn of_several_events_the_first_counts() {
        let late = event("Reboot", "Sun, 22 Nov 2026 14:20:00 GMT", "Scheduled", "pool_7");
        let soon = event("Preempt", "Sun, 22 Nov 2026 14:05:30 GMT", "Scheduled", "pool_7");
        let begun = event("Redeploy", "", "Started", "pool_7");
        assert!(read(&[late.clone(), soon.clone()]).unwrap().detail.starts_with("Preempt 602d9444"));
        assert!(read(&[late, soon, begun]).unwrap().detail.starts_with("Redeploy"));
    }

    #[test]
    fn what_is_not_azure_is_not_believed() {
        for (status, body) in [(200, "<html>"), (200, "{}"), (200, r#"{"Events": []}"#), (404, ""), (400, "{}")] {
            assert!(parse_events(&answer(status, body), "a").is_err(), "{status} {body}");
        }
        assert_eq!(parse_name(&answer(200, "gpu-7_1\n")).unwrap(), "gpu-7_1");
        for (status, body) in [(200, ""), (200, "<html>"), (404, "gpu"), (200, "a b"), (200, &"a".repeat(65))] {
            assert!(parse_name(&answer(status, body)).is_err(), "{status} {body}");
        }
    }
}
