//! Simulated embeddings: a unit vector that is a function of model and input.

use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::{Value, json};
use shoal_types::stable_hash;

use super::{error::ApiError, request::OneOrMany, text::count_tokens};

/// Numbers per vector.
const DIMENSIONS: u32 = 64;
/// Most inputs of one request.
const INPUTS_MAX: usize = 2048;

/// The body of `/v1/embeddings`.
#[derive(Debug, Deserialize)]
pub(super) struct EmbeddingRequest {
    pub(super) model: Option<String>,
    input: OneOrMany,
    encoding_format: Option<Encoding>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    Float,
    Base64,
}

impl EmbeddingRequest {
    /// The whole answer of `model`, whose `id` and time are given.
    pub(super) fn answer(self, model: &str, id: &str, created: u64) -> Result<Value, ApiError> {
        let inputs = self.input.into_vec();
        if inputs.is_empty() || inputs.len() > INPUTS_MAX {
            let message = format!("`input` takes 1 to {INPUTS_MAX} texts, not {}.", inputs.len());
            return Err(ApiError::bad_request(Some("input"), message));
        }
        let tokens = inputs.iter().map(|input| count_tokens(input)).fold(0, u32::saturating_add);
        let encoding = self.encoding_format.unwrap_or(Encoding::Float);
        let embedding = |(index, input): (usize, &String)| json!({"object": "embedding", "index": index, "embedding": encode(&vector(model, input), encoding)});
        let data: Vec<Value> = inputs.iter().enumerate().map(embedding).collect();
        let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0});
        Ok(json!({"id": id, "object": "list", "created": created, "model": model, "data": data, "usage": usage}))
    }
}

fn vector(model: &str, input: &str) -> Vec<f32> {
    let number = |dimension: u32| {
        let hash = stable_hash(&[b"sim-embedding", model.as_bytes(), input.as_bytes(), &dimension.to_be_bytes()]);
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // 16 bits, exact
        let number = (hash >> 48) as f32 / 32_768.0 - 1.0;
        number
    };
    let raw: Vec<f32> = (0..DIMENSIONS).map(number).collect();
    let length = raw.iter().map(|number| number * number).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    raw.into_iter().map(|number| number / length).collect()
}

fn encode(vector: &[f32], encoding: Encoding) -> Value {
    match encoding {
        Encoding::Float => json!(vector),
        Encoding::Base64 => {
            let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
            json!(BASE64.encode(&bytes))
        }
    }
}
