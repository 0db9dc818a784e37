//! vLLM 0.32 on a CPU: `tests/recorded/vllm*` is what it wrote, shortened, with other paths.

use shoal_types::HumanDuration;

use super::*;

macro_rules! recorded {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recorded/vllm", $name))
    };
}

fn adapter() -> Box<dyn Adapter> {
    make(vllm(&[], &[])).unwrap()
}

#[test]
fn it_serves_all_names_on_the_gpus_of_the_plan() {
    let engine = vllm(&["--max-model-len", "-1"], &[("HF_HUB_OFFLINE", "1")]);
    let plan = plan(spec("meta-llama/Llama-3.1-8B", engine.clone()), &["GPU-a", "GPU-b"]);
    let command = make(engine).unwrap().command_line(&plan, &unix(), &inherited());
    let expected = "serve meta-llama/Llama-3.1-8B --served-model-name llama meta-llama/Llama-3.1-8B gpt-4o \
                    --uds /state/run/1.sock --tensor-parallel-size 2 --max-model-len -1";
    assert_eq!(args(&command).join(" "), expected);
    for (name, value) in [
        ("CUDA_VISIBLE_DEVICES", Some("GPU-a,GPU-b")),
        ("VLLM_NO_USAGE_STATS", Some("1")),
        ("DO_NOT_TRACK", Some("1")),
        ("HF_HUB_OFFLINE", Some("1")),
        ("HF_TOKEN", Some("secret")),
        ("VLLM_SERVER_DEV_MODE", None),
    ] {
        assert_eq!(variable(&command, name), value, "{name}");
    }
}

#[test]
fn a_revision_and_sleep_are_the_specs_and_not_its_arguments() {
    let sleep = Sleep { level: 2, keep: HumanDuration::from_secs(60) };
    let engine = EngineSpec::Vllm(VllmEngine { sleep: Some(sleep.clone()), ..VllmEngine::default() });
    let mut spec = spec("org/m", engine.clone());
    spec.model_revision = Some("v1.1".to_owned());
    let adapter = make(engine).unwrap();
    let command = adapter.command_line(&plan(spec, &[]), &unix(), &inherited());
    let expected = "serve org/m --revision v1.1 --served-model-name llama org/m gpt-4o --uds /state/run/1.sock \
                    --tensor-parallel-size 1 --enable-sleep-mode";
    assert_eq!(args(&command).join(" "), expected);
    assert_eq!(variable(&command, "VLLM_SERVER_DEV_MODE"), Some("1"));
    assert_eq!(adapter.sleep(), Some(&sleep));
    for flag in ["--revision", "--enable-sleep-mode"] {
        let refused = refusal("m", vllm(&[flag, "x"], &[]));
        assert_eq!(refused, Some(RefusalReason::ReservedArgument { engine: "vllm", flag: flag.to_owned() }));
    }
}

#[test]
fn adapters_are_served_by_their_names() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().to_str().unwrap().to_owned();
    let engine = vllm(&["--max-lora-rank", "64"], &[]);
    let mut spec = spec("org/m", engine);
    spec.adapters = [("sql".to_owned(), "org/sql".to_owned()), ("tone".to_owned(), source.clone())].into();
    let make = |spec: &EndpointSpec| super::super::adapter(&config(), &inherited(), spec);
    assert_eq!(make(&spec).err(), Some(RefusalReason::NoAdapter(source.clone())));
    fs::write(directory.path().join("adapter_config.json"), "{}").unwrap();
    fs::write(directory.path().join("adapter_model.safetensors"), "").unwrap();
    let command = make(&spec).unwrap().command_line(&plan(spec.clone(), &[]), &unix(), &inherited());
    let expected = format!(
        "serve org/m --served-model-name llama org/m gpt-4o --uds /state/run/1.sock --tensor-parallel-size 1 \
         --enable-lora --lora-modules sql=org/sql tone={source} --max-lora-rank 64"
    );
    assert_eq!(args(&command).join(" "), expected);
    for (name, source) in [("-x", "org/x"), ("x", "a=b"), ("x,y", "org/x"), ("{", "org/x")] {
        spec.adapters = [(name.to_owned(), source.to_owned())].into();
        assert!(matches!(make(&spec).err(), Some(RefusalReason::AdapterText(_))), "{name}={source}");
    }
    spec.adapters = [("x".to_owned(), "../x".to_owned())].into();
    assert_eq!(make(&spec).err(), Some(RefusalReason::NotAModel("../x".to_owned())));
    spec.engine = EngineSpec::Sglang(ProcessEngine::default());
    assert_eq!(make(&spec).err(), Some(RefusalReason::NoAdapters("sglang")));
}

#[test]
fn its_metrics_are_a_pulse() {
    let pulse = pulse(&*adapter(), recorded!(".metrics"));
    let load = Load { inflight: 0, running: Some(0), waiting: Some(0), kv_cache: Some(0) };
    assert_eq!(pulse, Pulse { load, progress: Some(10.0) }, "5 tokens in, 5 out");
}

#[test]
fn its_lines_tell_how_far_it_is() {
    let expected = [Stage::Loading(None), shards(0, 1), shards(1, 1), Stage::Warming];
    assert_eq!(stages(&*adapter(), recorded!("-start.log")), expected);
    let bar = "Loading safetensors checkpoint shards:  45% Completed | 5/11 [00:02<00:03,  1.99it/s]";
    assert_eq!(adapter().stage(bar), Some(shards(5, 11)));
    let graphs = "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  17%|█▋        | 6/35 [00:01<00:05]";
    assert_eq!(adapter().stage(graphs), Some(Stage::Warming));
}

#[test]
fn its_ends_are_told_apart() {
    use FailureClass::{Config, Gpu, Transient};
    let oom =
        "(EngineCore pid=9) ERROR 11-22 20:10:58 [core.py:1510] torch.OutOfMemoryError: CUDA out of memory. Tried";
    let ecc = "torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered";
    for (code, log, class, reason) in [
        (2, recorded!("-unknown-flag.log"), Config, "it does not take its arguments: vllm: error: unrecognized"),
        (1, recorded!("-too-long.log"), Config, "its arguments do not go with its model: Value error, User-specified"),
        (1, recorded!("-no-room.log"), Config, "the model does not fit into its memory: ValueError: No available"),
        (1, recorded!("-less-than-requested.log"), Config, "the model does not fit into its memory: RuntimeError: "),
        (1, recorded!("-truncated.log"), Config, "its weights are damaged: safetensors._safetensors_rust.Safet"),
        (1, recorded!("-no-model.log"), Config, "it cannot find its model: huggingface_hub.errors.LocalEntryNotFo"),
        (1, recorded!("-no-sleep.log"), Config, "this node cannot run it in this way: Value error, Sleep mode is"),
        (1, recorded!("-port-in-use.log"), Transient, "its port is in use: OSError: [Errno 98] Address already in"),
        (1, oom, Config, "out of GPU memory while loading: torch.OutOfMemoryError: CUDA out of memory. Tried"),
        (0, ecc, Gpu, "its GPU failed: torch.AcceleratorError: CUDA error: uncorrectable ECC error"),
    ] {
        assert_end(&*adapter(), code, log, class, reason);
    }
}

#[test]
fn what_it_lives_on_after_is_not_what_it_died_of() {
    let warning = "WARNING 11-22 [x.py:1] Pin memory is not supported on current platform";
    let assertion = "torch.AcceleratorError: CUDA error: device-side assert triggered";
    for (code, log) in [(0, recorded!("-start.log")), (1, warning), (1, assertion)] {
        assert_eq!(adapter().diagnose(Some(code), &lines(log)), None, "{log}");
    }
}
