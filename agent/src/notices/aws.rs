//! Spot interruptions of AWS: instance metadata, version 2.
//!
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html>

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

/// AWS asks for every 5 s; of two minutes, three seconds are worth having.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);
/// From the notice to the end, unless the instance hibernates.
pub(super) const WARNING: Duration = Duration::from_secs(120);

const TOKEN: &str = "/latest/api/token";
const ACTION: &str = "/latest/meta-data/spot/instance-action";
/// In seconds; the longest that AWS gives.
const TOKEN_TTL: (&str, &str) = ("X-aws-ec2-metadata-token-ttl-seconds", "21600");
/// Longest token that is believed to be one, in bytes.
const TOKEN_MAX: usize = 1024;

/// Asks the metadata service of AWS.
#[derive(Debug)]
pub(super) struct Aws {
    client: MetadataClient,
    token: Option<String>,
}

impl Aws {
    pub(super) const fn new(client: MetadataClient) -> Self {
        Self { client, token: None }
    }

    /// The planned action; gets a token first if there is none.
    async fn action(&mut self) -> Result<Answer, AskError> {
        let token = match self.token.take() {
            Some(token) => token,
            None => parse_token(&self.client.ask(Method::PUT, TOKEN, &[TOKEN_TTL]).await?)?,
        };
        let answer = self.client.ask(Method::GET, ACTION, &[("X-aws-ec2-metadata-token", &token)]).await?;
        // 401 says that it has expired.
        self.token = (answer.status != StatusCode::UNAUTHORIZED).then_some(token);
        Ok(answer)
    }
}

impl Ask for Aws {
    async fn ask(&mut self) -> Result<Option<Finding>, AskError> {
        let mut answer = self.action().await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            answer = self.action().await?;
        }
        parse_action(answer.status, &answer.body)
    }
}

fn parse_token(answer: &Answer) -> Result<String, AskError> {
    let token = answer.body.trim();
    let is_token = !token.is_empty() && token.len() <= TOKEN_MAX && token.bytes().all(|byte| byte.is_ascii_graphic());
    if answer.status == StatusCode::OK && is_token {
        Ok(token.to_owned())
    } else {
        Err(AskError::foreign("the request for a token", answer.status, &answer.body))
    }
}

#[derive(Deserialize)]
struct Action {
    /// `terminate`, `stop` or `hibernate`: the engines end in each.
    action: String,
    time: Option<String>,
}

/// 404 says that nothing is planned.
fn parse_action(status: StatusCode, body: &str) -> Result<Option<Finding>, AskError> {
    let action = match status {
        StatusCode::NOT_FOUND => return Ok(None),
        StatusCode::OK => serde_json::from_str(body).ok(),
        _ => None,
    };
    let Action { action, time } =
        action.ok_or_else(|| AskError::foreign("the question for the instance action", status, body))?;
    let deadline = time.as_deref().and_then(instant).map_or(Deadline::Unsaid, Deadline::At);
    let detail = format!("instance action {action} at {}", time.unwrap_or_else(|| "an unknown time".to_owned()));
    Ok(Some(Finding::new(NoticeKind::Reclaim, deadline, &detail)))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn actions_are_read_as_aws_writes_them() {
        let none = parse_action(StatusCode::NOT_FOUND, "<?xml version=\"1.0\"?><html>404 - Not Found</html>");
        assert_eq!(none.unwrap(), None);
        let body = r#"{"action": "terminate", "time": "2026-11-22T14:05:00Z"}"#;
        let finding = parse_action(StatusCode::OK, body).unwrap().unwrap();
        assert_eq!(finding.deadline, Deadline::At(instant("2026-11-22T14:05:00Z").unwrap()));
        assert_eq!(finding.detail, "instance action terminate at 2026-11-22T14:05:00Z");
        let finding = parse_action(StatusCode::OK, r#"{"action": "stop"}"#).unwrap().unwrap();
        assert_eq!(finding.deadline, Deadline::Unsaid);
        for (status, body) in [(200, "<html>"), (200, "{}"), (200, ""), (403, ""), (500, body), (401, "")] {
            assert!(parse_action(StatusCode::from_u16(status).unwrap(), body).is_err(), "{status} {body}");
        }
    }

    #[test]
    fn only_what_looks_like_a_token_is_one() {
        let token = |status: u16, body: &str| {
            let (status, headers) = (StatusCode::from_u16(status).unwrap(), HeaderMap::new());
            parse_token(&Answer { status, headers, body: body.to_owned() }).ok()
        };
        assert_eq!(token(200, "AQAEA_x==\n"), Some("AQAEA_x==".to_owned()));
        for (status, body) in [(404, "AQAEA"), (200, ""), (200, "<html> hello"), (200, "a\nb"), (403, "")] {
            assert_eq!(token(status, body), None, "{status} {body}");
        }
        assert_eq!(token(200, &"a".repeat(TOKEN_MAX + 1)), None);
    }
}
