//! What a spec's arguments say of the memory that an engine takes.

use shoal_types::{EndpointSpec, EngineSpec, MemorySize};

use super::shape::bytes_of_dtype;

/// What an engine does with memory.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineArgs {
    /// Share of each GPU's memory that weights, activations and KV cache may take, of 0 to 1.
    pub utilization: f64,
    /// What each GPU needs beside weights and KV cache: activations, NCCL, CUDA graphs.
    pub overhead: MemorySize,
    /// Longest sequence that must fit.
    pub length: Length,
    /// What a number of the weights takes once they are loaded.
    pub number: Number,
    /// What a number of the KV cache takes.
    pub kv_number: Number,
    /// A KV cache of this size on each GPU, whatever the share.
    pub kv_memory: Option<MemorySize>,
    /// Weights that each GPU leaves in main memory.
    pub offloaded: MemorySize,
}

/// Longest sequence that must fit into the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// As long as the model was made for.
    Model,
    /// So many tokens.
    Tokens(u64),
    /// As many as fit, or not known.
    Any,
}

/// Bytes of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// As the model has it; what has four on the disk is loaded with two.
    Model,
    /// So many.
    Bytes(u8),
    /// Not known.
    Unknown,
}

impl EngineArgs {
    /// vLLM's defaults (0.32): 0.92 of the memory; 3 GiB were enough for its activations and graphs.
    pub const VLLM: Self = Self {
        utilization: 0.92,
        overhead: MemorySize::from_gib(3),
        length: Length::Model,
        number: Number::Model,
        kv_number: Number::Model,
        kv_memory: None,
        offloaded: MemorySize::from_bytes(0),
    };
    /// SGLang's: the share is of weights and KV cache, the rest of the memory for everything else.
    const SGLANG: Self =
        Self { utilization: 0.88, overhead: MemorySize::from_bytes(0), length: Length::Any, ..Self::VLLM };
    /// TensorRT-LLM's: its share is of what the weights leave.
    const TRTLLM: Self = Self { utilization: 1.0, length: Length::Any, ..Self::VLLM };
    /// llama.cpp's, which also takes a shorter context than the model's.
    const LLAMACPP: Self =
        Self { utilization: 1.0, overhead: MemorySize::from_gib(1), length: Length::Any, ..Self::VLLM };

    /// Those of `spec`; `None` if nothing can be said of its engine, or of the way in which it divides the model.
    pub fn of(spec: &EndpointSpec) -> Option<Self> {
        match &spec.engine {
            EngineSpec::Vllm(engine) => vllm(&engine.args),
            EngineSpec::Sglang(engine) => sglang(&engine.args),
            EngineSpec::Trtllm(engine) => none_of(&engine.args, &["--pp-size", "--ep-size"]).then_some(Self::TRTLLM),
            // What does not fit may stay in main memory.
            EngineSpec::Llamacpp(engine) => {
                let partly = ["-ngl", "--gpu-layers", "--n-gpu-layers", "--cpu-moe", "--n-cpu-moe", "-cmoe", "-ncmoe"];
                let overridden = ["-ot", "--override-tensor", "-fit", "--fit"];
                let whole = none_of(&engine.args, &partly) && none_of(&engine.args, &overridden);
                whole.then_some(Self::LLAMACPP)
            }
            EngineSpec::Gateway(_) | EngineSpec::Command(_) | EngineSpec::Sim(_) => None,
        }
    }
}

/// Flags that divide the model in other ways than by tensors, or load it from elsewhere.
const VLLM_OTHERWISE: [&str; 8] = [
    "--pipeline-parallel-size",
    "-pp",
    "--data-parallel-size",
    "-dp",
    "--load-format",
    "--hf-overrides",
    "--kv-offloading-size",
    "--enable-expert-parallel",
];

fn vllm(args: &[String]) -> Option<EngineArgs> {
    if !none_of(args, &VLLM_OTHERWISE) {
        return None;
    }
    let mut engine = EngineArgs::VLLM;
    if let Some(share) = value(args, "--gpu-memory-utilization") {
        engine.utilization = share.parse().ok().filter(|share| (0.0..=1.0).contains(share))?;
    }
    if let Some(length) = value(args, "--max-model-len") {
        engine.length = parse_count(length).map_or(Length::Any, Length::Tokens);
    }
    engine.number = number(value(args, "--dtype"));
    match value(args, "--quantization").or_else(|| value(args, "-q")) {
        // Of weights that are not quantized already, each number becomes one byte at the start.
        Some("fp8") => engine.number = Number::Bytes(1),
        Some(_) => engine.number = Number::Unknown,
        None => {}
    }
    // Without a type of its own, the cache has the type that is computed with, which quantization leaves alone.
    engine.kv_number = match value(args, "--kv-cache-dtype") {
        None | Some("auto") => number(value(args, "--dtype")),
        Some(dtype) => number(Some(dtype)),
    };
    if let Some(bytes) = value(args, "--kv-cache-memory-bytes") {
        engine.kv_memory = Some(MemorySize::from_bytes(parse_count(bytes)?));
    }
    if let Some(gib) = value(args, "--cpu-offload-gb") {
        let gib: f64 = gib.parse().ok().filter(|gib| (0.0..=65_536.0).contains(gib))?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // in range, see above
        let bytes = (gib * (1_u64 << 30) as f64) as u64;
        engine.offloaded = MemorySize::from_bytes(bytes);
    }
    Some(engine)
}

fn sglang(args: &[String]) -> Option<EngineArgs> {
    let otherwise = ["--pp-size", "--pipeline-parallel-size", "--dp-size", "--data-parallel-size", "--load-format"];
    let converted = ["--quantization", "--torchao-config", "--cpu-offload-gb", "--json-model-override-args"];
    if !none_of(args, &otherwise) || !none_of(args, &converted) {
        return None;
    }
    let mut engine = EngineArgs { number: number(value(args, "--dtype")), ..EngineArgs::SGLANG };
    if let Some(share) = value(args, "--mem-fraction-static") {
        engine.utilization = share.parse().ok().filter(|share| (0.0..=1.0).contains(share))?;
    }
    Some(engine)
}

fn number(dtype: Option<&str>) -> Number {
    match dtype {
        None | Some("auto") => Number::Model,
        Some(dtype) => bytes_of_dtype(dtype).map_or(Number::Unknown, Number::Bytes),
    }
}

/// Whether none of `flags` is among `args`, with its value or apart from it.
fn none_of(args: &[String], flags: &[&str]) -> bool {
    let name = |arg: &str| arg.split_once('=').map_or(arg, |(flag, _)| flag).replace('_', "-");
    args.iter().all(|arg| !flags.contains(&name(arg).as_str()))
}

/// The last value of `flag`, with `-` and `_` being one, as engines read it.
fn value<'a>(args: &'a [String], flag: &str) -> Option<&'a str> {
    let mut found = None;
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.split_once('=') {
            Some((name, value)) if name.replace('_', "-") == flag => found = Some(value),
            None if arg.replace('_', "-") == flag => found = rest.next().map(String::as_str),
            _ => {}
        }
    }
    found
}

/// vLLM's whole numbers: `16384`, `16k` (thousands), `16K` (of 1024), `1.5g`.
fn parse_count(text: &str) -> Option<u64> {
    let (digits, unit) = match text.char_indices().last()? {
        (at, 'k') => (&text[..at], 1e3),
        (at, 'm') => (&text[..at], 1e6),
        (at, 'g') => (&text[..at], 1e9),
        (at, 'K') => (&text[..at], 1024.0),
        (at, 'M') => (&text[..at], 1_048_576.0),
        (at, 'G') => (&text[..at], 1_073_741_824.0),
        _ => return text.parse().ok(),
    };
    let count = digits.parse::<f64>().ok()? * unit;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // in range, see before
    (0.0..1e18).contains(&count).then_some(count as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Option<EngineArgs> {
        vllm(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_are_read_as_vllm_reads_them() {
        assert_eq!(args(""), Some(EngineArgs::VLLM));
        let engine = args(
            "--max-model-len 16K --gpu_memory_utilization=0.5 --dtype float16 --kv-cache-dtype fp8_e4m3 \
             --kv-cache-memory-bytes 10G --cpu-offload-gb 2.5 --max-model-len=16k",
        )
        .unwrap();
        let expected = EngineArgs {
            utilization: 0.5,
            length: Length::Tokens(16_000),
            number: Number::Bytes(2),
            kv_number: Number::Bytes(1),
            kv_memory: Some(MemorySize::from_gib(10)),
            offloaded: MemorySize::from_bytes(5 << 29),
            ..EngineArgs::VLLM
        };
        assert_eq!(engine, expected);
        assert_eq!(args("--max-model-len auto").unwrap().length, Length::Any);
        assert_eq!(args("--max-model-len -1").unwrap().length, Length::Any);
        let fp8 = args("--quantization fp8").unwrap();
        assert_eq!((fp8.number, fp8.kv_number), (Number::Bytes(1), Number::Model));
        assert_eq!(args("--quantization bitsandbytes").unwrap().number, Number::Unknown);
        assert_eq!(args("--kv-cache-dtype turboquant").unwrap().kv_number, Number::Unknown);
    }

    #[test]
    fn what_is_divided_in_other_ways_is_left_to_the_engine() {
        for otherwise in ["-pp 2", "--pipeline-parallel-size=2", "--load-format dummy", "--gpu-memory-utilization much"]
        {
            assert_eq!(args(otherwise), None, "{otherwise}");
        }
    }
}
