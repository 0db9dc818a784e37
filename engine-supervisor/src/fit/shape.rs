//! What a model's files say of the memory that it takes.

use std::path::Path;

use serde_json::{Map, Value};
use shoal_types::MemorySize;

use crate::weights::{BadModel, check_model, read_object};

/// Architectures whose every layer keeps keys and values of every token, and nothing else. Of any other, a token's
/// share of the cache is not known here: latent attention (DeepSeek), sliding windows (Gemma), state spaces (Mamba).
const FULL_ATTENTION: [&str; 23] = [
    "AquilaForCausalLM",
    "BaichuanForCausalLM",
    "CohereForCausalLM",
    "GPTBigCodeForCausalLM",
    "GemmaForCausalLM",
    "Glm4MoeForCausalLM",
    "GraniteForCausalLM",
    "InternLM2ForCausalLM",
    "InternLM3ForCausalLM",
    "LlamaForCausalLM",
    "LlavaForConditionalGeneration",
    "Mistral3ForConditionalGeneration",
    "MistralForCausalLM",
    "MixtralForCausalLM",
    "Phi3ForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen2MoeForCausalLM",
    "Qwen2VLForConditionalGeneration",
    "Qwen2_5_VLForConditionalGeneration",
    "Qwen3ForCausalLM",
    "Qwen3MoeForCausalLM",
    "Qwen3VLForConditionalGeneration",
    "Qwen3VLMoeForConditionalGeneration",
];

/// A model's size. What its files do not say is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelShape {
    /// Bytes of its weights on disk.
    pub weights: MemorySize,
    /// Bytes of each number of its weights, where they are not quantized.
    pub number: Option<u8>,
    /// Whether its weights are quantized on disk.
    pub quantized: bool,
    /// Attention heads, which tensor parallelism divides.
    pub heads: Option<u32>,
    /// What each token keeps.
    pub attention: Option<Attention>,
    /// Longest sequence that it was made for, in tokens.
    pub positions: Option<u64>,
}

/// Keys and values of plain attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attention {
    /// Layers, each with its own.
    pub layers: u32,
    /// Heads that keep keys and values.
    pub kv_heads: u32,
    /// Numbers of a key, and of a value.
    pub head_dim: u32,
}

impl ModelShape {
    /// Of a model directory, or a GGUF file. Reads heads of files only. Blocks.
    ///
    /// # Errors
    /// If the model is not whole.
    pub fn read(model: &Path) -> Result<Self, BadModel> {
        let weights = MemorySize::from_bytes(check_model(model)?.weights);
        // A GGUF file has none, and Mistral's own format says other things.
        let config = if model.is_dir() { read_object(&model.join("config.json"))? } else { None };
        Ok(Self::new(weights, &config.unwrap_or_default()))
    }

    /// Of a `config.json` and the size of the weights beside it.
    pub(super) fn new(weights: MemorySize, config: &Map<String, Value>) -> Self {
        // Of a model that also sees, the part that speaks.
        let text = config.get("text_config").and_then(Value::as_object).unwrap_or(config);
        let number = dtype_bytes(text).or_else(|| dtype_bytes(config));
        Self {
            weights,
            number,
            quantized: config.contains_key("quantization_config") || text.contains_key("quantization_config"),
            heads: count(text, "num_attention_heads"),
            attention: attention(config, text),
            positions: text.get("max_position_embeddings").and_then(Value::as_u64),
        }
    }
}

fn attention(config: &Map<String, Value>, text: &Map<String, Value>) -> Option<Attention> {
    let architecture = config.get("architectures")?.get(0)?.as_str()?;
    if !FULL_ATTENTION.contains(&architecture) || has_window(text) || has_other_layers(text) {
        return None;
    }
    let heads = count(text, "num_attention_heads")?;
    let head_dim = match count(text, "head_dim") {
        Some(head_dim) => head_dim,
        None => count(text, "hidden_size")?.checked_div(heads)?,
    };
    let kv_heads = count(text, "num_key_value_heads").unwrap_or(heads);
    Some(Attention { layers: count(text, "num_hidden_layers")?, kv_heads, head_dim })
}

/// Qwen writes a window and, beside it, that it is not used.
fn has_window(text: &Map<String, Value>) -> bool {
    let used = text.get("use_sliding_window").and_then(Value::as_bool).unwrap_or(true);
    used && text.get("sliding_window").is_some_and(|window| !window.is_null())
}

fn has_other_layers(text: &Map<String, Value>) -> bool {
    let layers = text.get("layer_types").and_then(Value::as_array);
    layers.is_some_and(|layers| layers.iter().any(|layer| layer.as_str() != Some("full_attention")))
}

fn count(config: &Map<String, Value>, field: &str) -> Option<u32> {
    config.get(field)?.as_u64().and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0)
}

/// `torch_dtype` is what `dtype` was called.
fn dtype_bytes(config: &Map<String, Value>) -> Option<u8> {
    let dtype = config.get("dtype").or_else(|| config.get("torch_dtype"))?.as_str()?;
    bytes_of_dtype(dtype)
}

/// Bytes of a number of a type as PyTorch and vLLM name them.
pub(super) fn bytes_of_dtype(dtype: &str) -> Option<u8> {
    match dtype {
        "float32" | "float" => Some(4),
        "float16" | "half" | "bfloat16" => Some(2),
        _ if dtype.starts_with("fp8") || dtype.starts_with("float8") => Some(1),
        _ => None,
    }
}
