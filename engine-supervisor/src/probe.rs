//! What an engine is asked: do you answer, give me one token, are you well, sleep, wake up.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use shoal_types::EngineAddress;

use crate::{
    Timings,
    adapter::Canary,
    http::{self, Answer, HttpError},
    liveness::CanaryError,
    load::{self, MetricNames, Pulse},
};

/// Most bytes of an engine's own words in a reason.
const WORDS_MAX: usize = 200;

/// How to reach one engine, and what it is expected to say.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    pub(crate) address: EngineAddress,
    pub(crate) health_path: String,
    /// Names one of which it must list.
    pub(crate) names: Vec<String>,
    pub(crate) metrics: &'static MetricNames,
    pub(crate) canary: Canary,
    pub(crate) timings: Timings,
}

#[derive(Deserialize)]
struct Models {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
}

#[derive(Deserialize)]
struct Sleeping {
    is_sleeping: bool,
}

impl Probe {
    /// Whether it answers and lists its model. vLLM's socket is there long before: it refuses connections until then.
    pub(crate) async fn check(&self) -> Result<(), String> {
        self.health().await?;
        self.listed_name().await.map(|_| ())
    }

    /// One token, by whichever API the model has: some have no chat template, some only embed.
    pub(crate) async fn first_token(&self) -> Result<(), String> {
        let (path, answer) = self.completion(self.timings.first_token).await?;
        is_result(path, &answer)
    }

    /// One token of an engine that has made some before.
    pub(crate) async fn canary(&self) -> Result<(), CanaryError> {
        let deadline = self.timings.canary;
        let asked = async {
            match self.canary {
                Canary::Completion => self.completion(deadline).await,
                Canary::Get(path) => match http::get(&self.address, path, deadline).await {
                    Ok(answer) => Ok((path, answer)),
                    Err(error) => Err(error.into()),
                },
            }
        };
        match tokio::time::timeout(deadline, asked).await {
            Err(_) | Ok(Err(Unanswered::Deadline(_))) => Err(CanaryError::Silent),
            Ok(Err(Unanswered::Other(reason))) => Err(CanaryError::Wrong(reason)),
            // 429 and 503 are how engines refuse what is beyond the limit of their queue.
            Ok(Ok((path, answer))) if matches!(answer.status.as_u16(), 429 | 503) => {
                Err(CanaryError::Busy(unexpected(path, &answer)))
            }
            Ok(Ok((_, answer))) if answer.status.is_success() && self.canary != Canary::Completion => Ok(()),
            Ok(Ok((path, answer))) => is_result(path, &answer).map_err(CanaryError::Wrong),
        }
    }

    /// Its health, and what it says of itself.
    pub(crate) async fn watch(&self) -> (Result<(), String>, Option<Pulse>) {
        let health = self.health().await;
        if health.is_err() {
            return (health, None);
        }
        let metrics = self.get(self.metrics.path, self.timings.health).await;
        (health, metrics.ok().map(|answer| load::parse(self.metrics, &String::from_utf8_lossy(&answer.body))))
    }

    /// Puts it to sleep, as vLLM counts the levels: 1 keeps the weights in main memory, 2 does not.
    pub(crate) async fn fall_asleep(&self, level: u8) -> Result<(), String> {
        self.command(&format!("/sleep?level={level}"), &json!({})).await?;
        self.sleeps().await
    }

    /// Wakes it up. After level 2 what it would then serve with is garbage: the weights must be read again, and what the
    /// cache was made with is gone.
    pub(crate) async fn wake_up(&self, level: u8) -> Result<(), String> {
        self.command("/wake_up", &json!({})).await?;
        if level == 2 {
            self.command("/collective_rpc", &json!({"method": "reload_weights"})).await?;
            self.command("/reset_prefix_cache", &json!({})).await?;
        }
        Ok(())
    }

    /// Whether it is well and still asleep.
    pub(crate) async fn sleeps(&self) -> Result<(), String> {
        self.health().await?;
        let answer = self.get("/is_sleeping", self.timings.health).await?;
        match serde_json::from_slice(&answer.body) {
            Ok(Sleeping { is_sleeping: true }) => Ok(()),
            _ => Err(unexpected("/is_sleeping", &answer)),
        }
    }

    async fn command(&self, path: &str, body: &Value) -> Result<(), String> {
        let answer = http::post(&self.address, path, body, self.timings.sleep).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status.is_success() { Ok(()) } else { Err(unexpected(path, &answer)) }
    }

    /// The answer of the first API that does not refuse the request as such; else what all of them say.
    async fn completion(&self, deadline: Duration) -> Result<(&'static str, Answer), Unanswered> {
        let name = self.listed_name().await?;
        let message = json!([{"role": "user", "content": "Hi"}]);
        let questions = [
            ("/v1/chat/completions", json!({"model": name, "messages": message, "max_tokens": 1})),
            ("/v1/completions", json!({"model": name, "prompt": "Hi", "max_tokens": 1})),
            ("/v1/embeddings", json!({"model": name, "input": "Hi"})),
        ];
        let mut refused = Vec::new();
        for (path, body) in questions {
            let answer = http::post(&self.address, path, &body, deadline).await?;
            if !answer.status.is_client_error() || answer.status.as_u16() == 429 {
                return Ok((path, answer));
            }
            refused.push(unexpected(path, &answer));
        }
        Err(Unanswered::Other(refused.join("; ")))
    }

    async fn health(&self) -> Result<(), String> {
        self.get(&self.health_path, self.timings.health).await.map(|_| ())
    }

    async fn listed_name(&self) -> Result<String, String> {
        let answer = self.get("/v1/models", self.timings.health).await?;
        let models: Models = serde_json::from_slice(&answer.body)
            .map_err(|error| format!("/v1/models is not a list of models: {error}"))?;
        let listed = self.names.iter().find(|&name| models.data.iter().any(|model| model.id == *name));
        listed.cloned().ok_or_else(|| format!("/v1/models does not list `{}`", self.names.join("` or `")))
    }

    async fn get(&self, path: &str, deadline: Duration) -> Result<Answer, String> {
        let answer = http::get(&self.address, path, deadline).await.map_err(|error| error.to_string())?;
        if answer.status.is_success() { Ok(answer) } else { Err(unexpected(path, &answer)) }
    }
}

/// Why there is no answer to look at.
enum Unanswered {
    Deadline(String),
    Other(String),
}

impl From<HttpError> for Unanswered {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Deadline { .. } => Self::Deadline(error.to_string()),
            HttpError::Connect { .. }
            | HttpError::Exchange { .. }
            | HttpError::Answer { .. }
            | HttpError::Request { .. } => Self::Other(error.to_string()),
        }
    }
}

impl From<String> for Unanswered {
    fn from(reason: String) -> Self {
        Self::Other(reason)
    }
}

impl From<Unanswered> for String {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Deadline(reason) | Unanswered::Other(reason) => reason,
        }
    }
}

/// A status of 200 is not enough: an engine whose worker died can send it with an error in the body.
fn is_result(path: &str, answer: &Answer) -> Result<(), String> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let has = |key: &str| body[key].as_array().is_some_and(|list| !list.is_empty());
    let is_result = answer.status.is_success() && body["error"].is_null() && (has("choices") || has("data"));
    if is_result { Ok(()) } else { Err(unexpected(path, answer)) }
}

fn unexpected(path: &str, answer: &Answer) -> String {
    let body = String::from_utf8_lossy(&answer.body);
    format!("{path} answers {}: {}", answer.status.as_u16(), clip(body.trim(), WORDS_MAX))
}

/// At most `max` bytes of `text`, whole characters.
pub(crate) fn clip(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests;
