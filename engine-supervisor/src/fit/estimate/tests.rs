use proptest::prelude::*;
use serde_json::{Map, Value, json};
use shoal_types::{EndpointSpec, EngineSpec, ProcessEngine, VllmEngine};

use super::*;
use crate::fit::Attention;

/// An H100's 81,559 MiB.
const H100: MemorySize = MemorySize::from_bytes(81_559 << 20);
const GB: u64 = 1_000_000_000;

fn shape(weights: u64, config: Value) -> ModelShape {
    let config: Map<String, Value> = serde_json::from_value(config).unwrap();
    ModelShape::new(MemorySize::from_bytes(weights), &config)
}

fn spec(engine: EngineSpec) -> EndpointSpec {
    EndpointSpec {
        model: "a/b".to_owned(),
        model_revision: None,
        aliases: Default::default(),
        adapters: Default::default(),
        engine,
        resources: Default::default(),
        replicas: Default::default(),
        scaling: Default::default(),
        placement: Default::default(),
        rollout: Default::default(),
        routing: Default::default(),
    }
}

fn vllm(text: &str) -> EngineArgs {
    let args = text.split_whitespace().map(str::to_owned).collect();
    EngineArgs::of(&spec(EngineSpec::Vllm(VllmEngine { args, ..Default::default() }))).unwrap()
}

fn llama_70b() -> ModelShape {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "hidden_size": 8192, "num_attention_heads": 64, "num_hidden_layers": 80,
        "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 131_072, "torch_dtype": "bfloat16",
        "rope_scaling": {"rope_type": "llama3", "factor": 8.0}
    });
    shape(141_107_412_992, config)
}

/// Published configurations, with the sizes of their indexes: token's KV in bytes, longest sequence.
fn models() -> Vec<(&'static str, ModelShape, Option<u64>)> {
    let llama_8b = json!({
        "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "num_attention_heads": 32, "num_hidden_layers": 32,
        "num_key_value_heads": 8, "max_position_embeddings": 131_072, "torch_dtype": "bfloat16"
    });
    let qwen = json!({
        "architectures": ["Qwen2ForCausalLM"], "hidden_size": 3584, "num_attention_heads": 28, "num_hidden_layers": 28,
        "num_key_value_heads": 4, "max_position_embeddings": 32_768, "sliding_window": 131_072,
        "use_sliding_window": false, "max_window_layers": 28, "torch_dtype": "bfloat16"
    });
    let mixtral = json!({
        "architectures": ["MixtralForCausalLM"], "hidden_size": 4096, "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 8, "max_position_embeddings": 32_768, "sliding_window": null,
        "num_local_experts": 8, "torch_dtype": "bfloat16"
    });
    let mistral_01 = json!({
        "architectures": ["MistralForCausalLM"], "hidden_size": 4096, "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 8, "max_position_embeddings": 32_768, "sliding_window": 4096,
        "torch_dtype": "bfloat16"
    });
    let deepseek = json!({
        "architectures": ["DeepseekV3ForCausalLM"], "hidden_size": 7168, "num_attention_heads": 128,
        "num_hidden_layers": 61, "num_key_value_heads": 128, "kv_lora_rank": 512, "qk_rope_head_dim": 64,
        "max_position_embeddings": 163_840, "quantization_config": {"quant_method": "fp8"}, "torch_dtype": "bfloat16"
    });
    let gemma = json!({
        "architectures": ["Gemma3ForConditionalGeneration"], "torch_dtype": "bfloat16",
        "text_config": {"hidden_size": 5376, "num_attention_heads": 32, "num_hidden_layers": 62,
            "num_key_value_heads": 16, "head_dim": 128, "sliding_window": 1024}
    });
    let gptq = json!({
        "architectures": ["Qwen2ForCausalLM"], "hidden_size": 3584, "num_attention_heads": 28, "num_hidden_layers": 28,
        "num_key_value_heads": 4, "max_position_embeddings": 32_768, "use_sliding_window": false,
        "torch_dtype": "float16", "quantization_config": {"bits": 4, "group_size": 128, "quant_method": "gptq"}
    });
    let pixtral = json!({
        "architectures": ["Mistral3ForConditionalGeneration"], "dtype": "bfloat16",
        "text_config": {"hidden_size": 5120, "num_attention_heads": 32, "num_hidden_layers": 40,
            "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 131_072, "sliding_window": null}
    });
    vec![
        ("Llama-3.1-8B", shape(16_060_522_496, llama_8b), Some(128 << 10)),
        ("Llama-3.3-70B", llama_70b(), Some(320 << 10)),
        ("Qwen2.5-7B", shape(15_231_233_024, qwen), Some(56 << 10)),
        ("Mixtral-8x7B", shape(93_405_585_408, mixtral), Some(128 << 10)),
        ("Mistral-7B-v0.1", shape(14_483_464_192, mistral_01), None),
        ("DeepSeek-V3", shape(688_586_727_753, deepseek), None),
        ("Gemma-3-27B", shape(54_864_818_912, gemma), None),
        ("Qwen2.5-7B-GPTQ-Int4", shape(5_574_912_000, gptq), Some(56 << 10)),
        ("Mistral-Small-3.1-24B", shape(48_022_792_192, pixtral), Some(160 << 10)),
    ]
}

fn fit(shape: &ModelShape, args: &str, gpus: usize) -> Result<Estimate, Misfit> {
    check_fit(shape, &vllm(args), &vec![H100; gpus]).map(Option::unwrap)
}

#[test]
fn tokens_take_what_is_published() {
    for (name, shape, token) in models() {
        let kv = kv_cache(&shape, &vllm("--max-model-len 1"), 1);
        assert_eq!(kv.map(|kv| kv.token.as_bytes()), token, "{name}");
    }
}

#[test]
fn known_models_fit_where_they_are_run() {
    // On how many H100s each fits with 8192 tokens.
    let least = |shape: &ModelShape| {
        [1, 2, 4, 8, 16].into_iter().find(|gpus| fit(shape, "--max-model-len 8192", *gpus).is_ok())
    };
    let fits: Vec<_> = models().iter().map(|(name, shape, _)| (*name, least(shape))).collect();
    let expected = [
        ("Llama-3.1-8B", Some(1)),
        ("Llama-3.3-70B", Some(2)),
        ("Qwen2.5-7B", Some(1)),
        ("Mixtral-8x7B", Some(2)),
        ("Mistral-7B-v0.1", Some(1)),
        ("DeepSeek-V3", Some(16)),
        ("Gemma-3-27B", Some(1)),
        ("Qwen2.5-7B-GPTQ-Int4", Some(1)),
        ("Mistral-Small-3.1-24B", Some(1)),
    ];
    assert_eq!(fits, expected);
}

#[test]
fn a_70b_model_leaves_what_is_known_for_its_cache() {
    let left = |gpus| fit(&llama_70b(), "--max-model-len 1024", gpus).map(|fit| fit.left_for_kv().to_string());
    assert!(matches!(left(1), Err(Misfit::Memory(_))));
    assert_eq!(left(2).as_deref(), Ok("4.6GiB"));
    assert_eq!(left(4).as_deref(), Ok("37.4GiB"));
    assert_eq!(left(8).as_deref(), Ok("53.8GiB"));
    assert!(fit(&llama_70b(), "--max-model-len 8192 --quantization fp8", 1).is_ok());
}

#[test]
fn the_arithmetic_is_in_the_refusal() {
    let words = |args: &str, gpus| fit(&llama_70b(), args, gpus).unwrap_err().to_string();
    assert_eq!(
        words("--max-model-len 32768", 2),
        "needs 131.4GiB of weights / 2 GPUs = 65.7GiB + 3GiB overhead + 5GiB KV cache for 32768 tokens (320KiB a token \
         / 2) = 73.7GiB on each GPU; 0.92 of 79.6GiB is 73.3GiB"
    );
    assert_eq!(
        words("--max-model-len 4096", 1),
        "needs 131.4GiB of weights + 3GiB overhead + 1.2GiB KV cache for 4096 tokens (320KiB a token) = 135.7GiB on \
         each GPU; 0.92 of 79.6GiB is 73.3GiB"
    );
    assert_eq!(words("", 3), "has 64 attention heads, which cannot be divided among 3 GPUs");
    assert_eq!(
        words("--kv-cache-memory-bytes 2G --max-model-len 16384", 2),
        "needs 2.5GiB of KV cache on each GPU for one sequence of 16384 tokens, and `--kv-cache-memory-bytes` gives it \
         2GiB"
    );
    assert_eq!(
        words("--kv-cache-memory-bytes 12G --max-model-len 16384", 2),
        "needs 131.4GiB of weights / 2 GPUs = 65.7GiB + 3GiB overhead + 12GiB KV cache (`--kv-cache-memory-bytes`) = \
         80.7GiB on each GPU; 1 of 79.6GiB is 79.6GiB"
    );
}

#[test]
fn arguments_make_it_fit() {
    // Without a length it is the model's own, 131,072 tokens: 20 GiB on each of two GPUs.
    assert!(fit(&llama_70b(), "", 2).is_err());
    assert!(fit(&llama_70b(), "", 4).is_ok());
    for args in [
        "--max-model-len auto",
        "--max-model-len 16384",
        "--max-model-len 32768 --kv-cache-dtype fp8",
        "--max-model-len 32768 --gpu-memory-utilization 0.95",
        "--max-model-len 131072 --cpu-offload-gb 20",
        "--max-model-len 131072 --quantization bitsandbytes",
    ] {
        assert!(fit(&llama_70b(), args, 2).is_ok(), "{args}");
    }
    assert!(fit(&llama_70b(), "--max-model-len 16384 --gpu-memory-utilization 0.85", 2).is_err());
}

#[test]
fn weights_are_counted_as_they_are_loaded() {
    let stored = |dtype: &str| shape(40 * GB, json!({"torch_dtype": dtype}));
    let loaded = |shape: &ModelShape, args: &str| loaded(shape, &vllm(args)) / GB;
    assert_eq!(loaded(&stored("float32"), ""), 20, "vLLM computes with two bytes");
    assert_eq!(loaded(&stored("float32"), "--dtype float32"), 40);
    assert_eq!(loaded(&stored("bfloat16"), ""), 40);
    assert_eq!(loaded(&stored("bfloat16"), "--dtype float32"), 80);
    assert_eq!(loaded(&stored("bfloat16"), "--quantization fp8"), 20);
    assert_eq!(loaded(&stored("bfloat16"), "--quantization bitsandbytes"), 0, "not known");
    assert_eq!(loaded(&shape(40 * GB, json!({})), ""), 40);
    let quantized = shape(40 * GB, json!({"torch_dtype": "float16", "quantization_config": {}}));
    assert_eq!(loaded(&quantized, "--quantization gptq_marlin"), 40);
}

#[test]
fn engines_that_cannot_be_judged_are_not() {
    let of = |engine| EngineArgs::of(&spec(engine));
    let process =
        |args: &[&str]| ProcessEngine { args: args.iter().map(|&arg| arg.to_owned()).collect(), ..Default::default() };
    assert_eq!(of(EngineSpec::Sim(Default::default())), None);
    assert_eq!(of(EngineSpec::Llamacpp(process(&["-ngl", "20"]))), None);
    assert_eq!(of(EngineSpec::Sglang(process(&["--pp-size=2"]))), None);
    let llamacpp = of(EngineSpec::Llamacpp(process(&["-c", "4096"]))).unwrap();
    let gguf = shape(42 * GB, json!({}));
    assert_eq!(
        check_fit(&gguf, &llamacpp, &[MemorySize::from_gib(24)]).unwrap_err().to_string(),
        "needs 39.1GiB of weights + 1GiB overhead = 40.1GiB on each GPU; 1 of 24GiB is 24GiB"
    );
    assert!(check_fit(&gguf, &llamacpp, &[MemorySize::from_gib(24); 2]).is_ok());
    assert_eq!(check_fit(&gguf, &llamacpp, &[]), Ok(None), "without a GPU there is nothing to fit into");
}

prop_compose! {
    fn any_shape()(
        weights in 1_u64..400, layers in 1_u32..100, kv_heads in 0_u32..6, extra in 0_u32..3, head_dim in 32_u32..256,
        positions in 1_u64..200_000, known in any::<bool>(),
    ) -> ModelShape {
        let kv_heads = 1 << kv_heads;
        ModelShape {
            weights: MemorySize::from_gib(weights),
            number: Some(2),
            quantized: false,
            heads: Some(kv_heads << extra),
            attention: known.then_some(Attention { layers, kv_heads, head_dim }),
            positions: Some(positions),
        }
    }
}

proptest! {
    #[test]
    fn more_gpus_never_fit_worse(shape in any_shape(), few in 0_u32..5, more in 0_u32..3) {
        let fits = |gpus: u32| check_fit(&shape, &vllm(""), &vec![H100; 1 << gpus]);
        let fewer = fits(few);
        if fewer.is_ok() {
            let worse = matches!(fits(few + more), Err(Misfit::Memory(_)));
            prop_assert!(!worse);
        }
    }

    #[test]
    fn more_memory_never_fits_worse(shape in any_shape(), gib in 1_u64..300, more in 0_u64..300) {
        let fits = |gib| check_fit(&shape, &vllm(""), &[MemorySize::from_gib(gib)]).is_ok();
        prop_assert!(!fits(gib) || fits(gib + more));
    }

    #[test]
    fn shorter_sequences_never_fit_worse(shape in any_shape(), tokens in 1_u64..200_000, fewer in 0_u64..200_000) {
        let fits = |tokens: u64| check_fit(&shape, &vllm(&format!("--max-model-len {tokens}")), &[H100; 2]).is_ok();
        prop_assert!(!fits(tokens) || fits(tokens.saturating_sub(fewer).max(1)));
    }

    #[test]
    fn what_is_refused_is_larger_than_the_limit(shape in any_shape(), gpus in 0_u32..4) {
        if let Err(Misfit::Memory(estimate)) = check_fit(&shape, &vllm(""), &vec![H100; 1 << gpus]) {
            prop_assert!(estimate.needed() > estimate.limit);
            prop_assert!(estimate.limit <= estimate.memory);
        }
    }
}
