//! The three questions an engine is asked: do you answer, give me one token, are you well.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use shoal_types::{EngineAddress, Load};

use crate::{
    Timings,
    http::{self, Answer},
    load,
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

impl Probe {
    /// Whether it answers and lists its model. vLLM's socket is there long before: it refuses connections until then.
    pub(crate) async fn check(&self) -> Result<(), String> {
        self.health().await?;
        self.listed_name().await.map(|_| ())
    }

    /// One token, by whichever API the model has: some have no chat template, some only embed.
    pub(crate) async fn first_token(&self) -> Result<(), String> {
        let name = self.listed_name().await?;
        let message = json!([{"role": "user", "content": "Hi"}]);
        let questions = [
            ("/v1/chat/completions", json!({"model": name, "messages": message, "max_tokens": 1})),
            ("/v1/completions", json!({"model": name, "prompt": "Hi", "max_tokens": 1})),
            ("/v1/embeddings", json!({"model": name, "input": "Hi"})),
        ];
        let mut refused = Vec::new();
        for (path, body) in questions {
            let answer = http::post(&self.address, path, &body, self.timings.first_token)
                .await
                .map_err(|error| error.to_string())?;
            if answer.status.is_success() {
                return is_result(path, &answer);
            }
            refused.push(unexpected(path, &answer));
            if !answer.status.is_client_error() {
                break;
            }
        }
        Err(refused.join("; "))
    }

    /// Its health, and its load if it tells.
    pub(crate) async fn watch(&self) -> (Result<(), String>, Option<Load>) {
        let health = self.health().await;
        if health.is_err() {
            return (health, None);
        }
        let metrics = self.get("/metrics", self.timings.health).await;
        (health, metrics.ok().map(|answer| load::parse(&String::from_utf8_lossy(&answer.body))))
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

/// A status of 200 is not enough: an engine whose worker died can send it with an error in the body.
fn is_result(path: &str, answer: &Answer) -> Result<(), String> {
    match serde_json::from_slice::<Value>(&answer.body) {
        Ok(body) if ["choices", "data"].iter().any(|key| body[key].as_array().is_some_and(|list| !list.is_empty())) => {
            Ok(())
        }
        _ => Err(unexpected(path, answer)),
    }
}

fn unexpected(path: &str, answer: &Answer) -> String {
    let body = String::from_utf8_lossy(&answer.body);
    format!("{path} answers {}: {}", answer.status.as_u16(), clip(body.trim(), WORDS_MAX))
}

/// At most `max` bytes of `text`, whole characters.
pub(crate) fn clip(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}
