//! What a spec may pass to vLLM. Whoever can write a spec can start processes on every node: by default nothing is
//! allowed that loads code, names files, or opens ports.

use std::collections::BTreeMap;

use super::check_nul;
use crate::RefusalReason;

/// Flags that size, schedule and parse. Not among them, among others: `--trust-remote-code`, `--tool-parser-plugin`,
/// `--middleware` (code), `--load-format` (pickles), `--chat-template`, `--config` (files), `--kv-transfer-config` (ports).
const ARGS: [&str; 46] = [
    "--async-scheduling",
    "--block-size",
    "--calculate-kv-scales",
    "--convert",
    "--cpu-offload-gb",
    "--cudagraph-capture-sizes",
    "--disable-cascade-attn",
    "--disable-custom-all-reduce",
    "--disable-sliding-window",
    "--dtype",
    "--enable-auto-tool-choice",
    "--enable-chunked-prefill",
    "--enable-expert-parallel",
    "--enable-prefix-caching",
    "--enable-prompt-tokens-details",
    "--enable-sleep-mode",
    "--enforce-eager",
    "--gpu-memory-utilization",
    "--kv-cache-dtype",
    "--kv-cache-memory-bytes",
    "--limit-mm-per-prompt",
    "--long-prefill-token-threshold",
    "--max-cudagraph-capture-size",
    "--max-logprobs",
    "--max-long-partial-prefills",
    "--max-model-len",
    "--max-num-active-seqs",
    "--max-num-batched-tokens",
    "--max-num-partial-prefills",
    "--max-num-queued-reqs",
    "--max-num-queued-tokens",
    "--max-num-seqs",
    "--no-async-scheduling",
    "--no-enable-chunked-prefill",
    "--no-enable-prefix-caching",
    "--override-generation-config",
    "--quantization",
    "--reasoning-parser",
    "--revision",
    "--runner",
    "--safetensors-load-strategy",
    "--scheduling-policy",
    "--seed",
    "--tokenizer-mode",
    "--tool-call-parser",
    "--tokenizer-revision",
];

/// Flags that the supervisor sets, or that would move the engine to where it is not looked for.
const RESERVED_ARGS: [&str; 10] = [
    "--uds",
    "--host",
    "--port",
    "--model",
    "--served-model-name",
    "--tensor-parallel-size",
    "-tp",
    "--device-ids",
    "--api-key",
    "--root-path",
];

/// Variables of vLLM and the libraries below it that switch nothing on.
const ENV: [&str; 14] = [
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "NCCL_DEBUG",
    "OMP_NUM_THREADS",
    "PYTORCH_CUDA_ALLOC_CONF",
    "TOKENIZERS_PARALLELISM",
    "TRANSFORMERS_OFFLINE",
    "VLLM_ATTENTION_BACKEND",
    "VLLM_CPU_KVCACHE_SPACE",
    "VLLM_CPU_OMP_THREADS_BIND",
    "VLLM_DISABLE_COMPILE_CACHE",
    "VLLM_ENGINE_READY_TIMEOUT_S",
    "VLLM_LOGGING_LEVEL",
    "VLLM_LOG_STATS_INTERVAL",
];

/// Variables that the supervisor sets.
const RESERVED_ENV: [&str; 3] = ["CUDA_VISIBLE_DEVICES", "DO_NOT_TRACK", "VLLM_NO_USAGE_STATS"];

/// Whether every flag of `args` is on the built-in list or in `allowed`. Flags count by their whole name: vLLM would
/// take a shortened one too.
pub(super) fn check_args(args: &[String], allowed: &[String]) -> Result<(), RefusalReason> {
    let mut after_flag = false;
    for arg in args {
        check_nul(arg)?;
        if !is_flag(arg) {
            if !after_flag {
                return Err(RefusalReason::StrayArgument(arg.clone()));
            }
            continue;
        }
        after_flag = true;
        let flag = flag_name(arg);
        if RESERVED_ARGS.contains(&flag.as_str()) {
            return Err(RefusalReason::ReservedArgument(flag));
        }
        if !ARGS.contains(&flag.as_str()) && !allowed.contains(&flag) {
            return Err(RefusalReason::Argument(flag));
        }
    }
    Ok(())
}

/// Whether every name of `env` is on the built-in list or in `allowed`.
pub(super) fn check_env(env: &BTreeMap<String, String>, allowed: &[String]) -> Result<(), RefusalReason> {
    for (name, value) in env {
        check_nul(value)?;
        if RESERVED_ENV.contains(&name.as_str()) {
            return Err(RefusalReason::ReservedVariable(name.clone()));
        }
        if !ENV.contains(&name.as_str()) && !allowed.contains(name) {
            return Err(RefusalReason::Variable(name.clone()));
        }
    }
    Ok(())
}

/// `-1` is a value (`--max-model-len -1` means as long as fits).
fn is_flag(arg: &str) -> bool {
    arg.starts_with('-') && arg.parse::<f64>().is_err()
}

/// Without its value, and with `-` for `_`, as vLLM reads it.
fn flag_name(arg: &str) -> String {
    arg.split_once('=').map_or(arg, |(flag, _)| flag).replace('_', "-")
}
