//! From a spec and a model's directory to a sentence for its author.

use std::path::Path;

use shoal_types::{EndpointSpec, MemorySize};

use super::{EngineArgs, ModelShape, check_fit};

/// Why `spec`, whose model is at `model`, does not fit onto GPUs with `gpu_memory` each, if it does not. What cannot be
/// told is no reason: an engine that is not known, arguments that divide the model in other ways, a model that cannot
/// be read. Blocks, on the heads of files.
pub fn refuse_fit(model: &Path, spec: &EndpointSpec, gpu_memory: MemorySize) -> Option<String> {
    let gpus = usize::try_from(spec.resources.gpus).ok().filter(|gpus| *gpus > 0)?;
    let args = EngineArgs::of(spec)?;
    let shape = ModelShape::read(model).ok()?;
    let misfit = check_fit(&shape, &args, &vec![gpu_memory; gpus]).err()?;
    Some(format!("`{}` {misfit} (an estimate)", spec.model))
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use shoal_types::parse_endpoints;

    use super::*;

    /// A model with weights of so many bytes, which take no room on the disk.
    fn model(bytes: u64) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let config = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "num_attention_heads": 32,
            "num_hidden_layers": 32, "num_key_value_heads": 8, "max_position_embeddings": 131072, "dtype": "bfloat16"}"#;
        fs::write(directory.path().join("config.json"), config).unwrap();
        let header = format!(r#"{{"w": {{"dtype": "BF16", "shape": [1], "data_offsets": [0, {bytes}]}}}}"#);
        let mut file = fs::File::create(directory.path().join("model.safetensors")).unwrap();
        file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
        file.write_all(header.as_bytes()).unwrap();
        file.set_len(8 + header.len() as u64 + bytes).unwrap();
        directory
    }

    fn refused(model: &Path, engine: &str, gpus: u32) -> Option<String> {
        let text = format!(
            "{{apiVersion: shoal/v1, kind: Endpoint, metadata: {{name: a}}, spec: {{model: a/b, engine: {engine}, \
             resources: {{gpus: {gpus}}}}}}}"
        );
        refuse_fit(model, &parse_endpoints(&text).unwrap()[0].spec, MemorySize::from_gib(24))
    }

    #[test]
    fn a_spec_is_refused_by_what_is_on_the_disk() {
        let model = model(16_060_522_496);
        let whole = "{kind: vllm}";
        assert_eq!(
            refused(model.path(), whole, 1).as_deref(),
            Some(
                "`a/b` needs 15.0GiB of weights + 3GiB overhead + 16GiB KV cache for 131072 tokens (128KiB a token) = \
                 34.0GiB on each GPU; 0.92 of 24GiB is 22.1GiB (an estimate)"
            )
        );
        assert_eq!(refused(model.path(), whole, 2), None);
        assert_eq!(refused(model.path(), "{kind: vllm, args: ['--max-model-len', '16384']}", 1), None);
    }

    #[test]
    fn what_cannot_be_told_is_no_reason() {
        let model = model(100 << 30);
        assert!(refused(model.path(), "{kind: vllm}", 1).is_some());
        assert_eq!(refused(model.path(), "{kind: vllm}", 0), None, "it runs without a GPU");
        assert_eq!(refused(model.path(), "{kind: command, name: x}", 1), None);
        assert_eq!(refused(Path::new("/none"), "{kind: vllm}", 1), None);
    }
}
