mod llamacpp;
mod sglang;
mod trtllm;
mod vllm;

use std::{fs, path::Path};

use shoal_types::{
    ClaimId, CommandEngine, GpuId, Hlc, Load, NodeId, Placement, ProcessEngine, Progress, ProgressUnit, Replicas,
    Resources, Revision, Rollout, Routing, Scaling, SimEngine, UnixMillis, VllmEngine,
};

use super::*;
use crate::{
    CommandConfig, FailureClass,
    load::{self, Pulse},
};

fn spec(model: &str, engine: EngineSpec) -> EndpointSpec {
    EndpointSpec {
        model: model.to_owned(),
        model_revision: None,
        aliases: ["gpt-4o".to_owned()].into(),
        adapters: Default::default(),
        engine,
        resources: Resources::default(),
        replicas: Replicas::default(),
        scaling: Scaling::default(),
        placement: Placement::default(),
        rollout: Rollout::default(),
        routing: Routing::default(),
    }
}

fn plan(spec: EndpointSpec, gpus: &[&str]) -> LaunchPlan {
    let claim = ClaimId { node: NodeId::from_bytes([1; 16]), generation: UnixMillis::from_millis(5), counter: 1 };
    LaunchPlan {
        claim,
        endpoint: "llama".parse().unwrap(),
        revision: Revision(Hlc { time: claim.generation, counter: 0, node: claim.node }),
        claimed: claim.generation,
        spec,
        gpus: gpus.iter().map(|&gpu| GpuId(gpu.to_owned())).collect(),
    }
}

fn vllm(args: &[&str], env: &[(&str, &str)]) -> EngineSpec {
    EngineSpec::Vllm(VllmEngine {
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        env: env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        sleep: None,
    })
}

/// A node that offers everything; `sh` stands for each program.
fn config() -> SupervisorConfig {
    let mut config = SupervisorConfig::new("/state".into(), "/bin/sh".into());
    config.sim = true;
    let program = ProgramConfig { binary: "sh".into(), ..ProgramConfig::default() };
    config.vllm = Some(program.clone());
    config.sglang = Some(program.clone());
    config.trtllm = Some(program.clone());
    config.llamacpp = Some(program);
    config.commands.insert("llama-server".to_owned(), CommandConfig::new("sh", ["--host", "{socket}"]));
    config
}

fn inherited() -> Environment {
    [("PATH", "/usr/bin:/bin"), ("HF_TOKEN", "secret")].map(|(name, value)| (name.into(), value.into())).into()
}

fn make(engine: EngineSpec) -> Result<Box<dyn Adapter>, RefusalReason> {
    adapter(&config(), &inherited(), &spec("meta-llama/Llama-3.1-8B", engine))
}

fn refusal(model: &str, engine: EngineSpec) -> Option<RefusalReason> {
    adapter(&config(), &inherited(), &spec(model, engine)).err()
}

fn unix() -> EngineAddress {
    EngineAddress::Unix("/state/run/1.sock".into())
}

fn loopback() -> EngineAddress {
    EngineAddress::Loopback("127.0.0.1:4711".parse().unwrap())
}

fn process(args: &[&str]) -> ProcessEngine {
    ProcessEngine { args: args.iter().map(|&arg| arg.to_owned()).collect(), ..ProcessEngine::default() }
}

/// What `adapter` reads from an engine's metrics.
fn pulse(adapter: &dyn Adapter, metrics: &str) -> Pulse {
    load::parse(adapter.metrics(), metrics)
}

/// The stages that a start goes through, each once.
fn stages(adapter: &dyn Adapter, log: &str) -> Vec<Stage> {
    let mut stages: Vec<Stage> = log.lines().filter_map(|line| adapter.stage(line)).collect();
    stages.dedup();
    stages
}

fn shards(done: u64, total: u64) -> Stage {
    Stage::Loading(Some(Progress { done, total, unit: ProgressUnit::Shards }))
}

fn lines(log: &str) -> Vec<String> {
    log.lines().map(str::to_owned).collect()
}

/// That an engine which ended with `code` and wrote `log` did so for a reason that begins like this.
fn assert_end(adapter: &dyn Adapter, code: i32, log: &str, class: FailureClass, reason: &str) {
    let end = adapter.diagnose(Some(code), &lines(log)).unwrap_or_else(|| panic!("no cause is found for {reason}"));
    assert!(end.reason(false).starts_with(reason), "{}", end.reason(false));
    assert_eq!(end.cause.class(), class, "{reason}");
}

fn args(command: &CommandLine) -> Vec<&str> {
    command.args.iter().map(|arg| arg.to_str().unwrap()).collect()
}

fn variable<'a>(command: &'a CommandLine, name: &str) -> Option<&'a str> {
    command.env.iter().find(|(key, _)| key == name).map(|(_, value)| value.to_str().unwrap())
}

#[test]
fn the_simulated_engine_gets_the_latencies_of_the_spec() {
    let engine = EngineSpec::Sim(SimEngine {
        load_time: shoal_types::HumanDuration::from_millis(90_500),
        ..SimEngine::default()
    });
    let plan = plan(spec("org/m", engine.clone()), &[]);
    let adapter = make(engine).unwrap();
    let command = adapter.command_line(&plan, &unix(), &inherited());
    let expected = "sim-engine --uds /state/run/1.sock --model=llama --model=org/m --model=gpt-4o --load-time 1m30s500ms \
         --time-to-first-token 40ms --inter-token-latency 15ms --max-num-seqs 64 --max-model-len 8192";
    assert_eq!(args(&command).join(" "), expected);
    assert_eq!(adapter.start(&config()), Duration::from_millis(120_500));
}

#[test]
fn vllm_arguments_are_allowed_by_their_whole_name() {
    for good in [
        &["--max-model-len", "16384"][..],
        &["--max_model_len=16384"],
        &["--enforce-eager", "--cudagraph-capture-sizes", "1", "2", "4"],
        &[],
    ] {
        assert_eq!(refusal("m", vllm(good, &[])), None, "{good:?}");
    }
    let engine = "vllm";
    let argument = |flag: &str| RefusalReason::Argument { engine, flag: flag.to_owned() };
    let reserved = |flag: &str| RefusalReason::ReservedArgument { engine, flag: flag.to_owned() };
    for (bad, expected) in [
        (&["--trust-remote-code"][..], argument("--trust-remote-code")),
        (&["--trust_remote_code"], argument("--trust-remote-code")),
        (&["--max-model"], argument("--max-model")),
        (&["--seed", "1", "--middleware=evil.module"], argument("--middleware")),
        (&["--hf-overrides.architectures", "x"], argument("--hf-overrides.architectures")),
        (&["-O3"], argument("-O3")),
        (&["--port", "80"], reserved("--port")),
        (&["-tp", "8"], reserved("-tp")),
        (&["other/model"], RefusalReason::StrayArgument { engine, value: "other/model".to_owned() }),
        (&["--seed", "1\0"], RefusalReason::Nul("1\\0".to_owned())),
    ] {
        assert_eq!(refusal("m", vllm(bad, &[])), Some(expected), "{bad:?}");
    }
}

#[test]
fn vllm_variables_are_allowed_by_name() {
    assert_eq!(refusal("m", vllm(&[], &[("VLLM_LOGGING_LEVEL", "DEBUG")])), None);
    for name in ["LD_PRELOAD", "PYTHONPATH", "VLLM_PLUGINS", "PATH"] {
        assert_eq!(
            refusal("m", vllm(&[], &[(name, "x")])),
            Some(RefusalReason::Variable { engine: "vllm", name: name.to_owned() })
        );
    }
    let gpus = refusal("m", vllm(&[], &[("CUDA_VISIBLE_DEVICES", "0")]));
    assert_eq!(gpus, Some(RefusalReason::ReservedVariable("CUDA_VISIBLE_DEVICES".to_owned())));
}

#[test]
fn a_node_can_allow_more_but_not_what_is_reserved() {
    let mut config = config();
    config.vllm = Some(ProgramConfig {
        binary: "sh".into(),
        allowed_args: vec!["--trust-remote-code".to_owned(), "--port".to_owned()],
        allowed_env: vec!["NCCL_SOCKET_IFNAME".to_owned()],
        env: [("VLLM_CACHE_ROOT".to_owned(), "/cache".to_owned())].into(),
    });
    let make = |engine| adapter(&config, &inherited(), &spec("m", engine));
    let engine = vllm(&["--trust-remote-code"], &[("NCCL_SOCKET_IFNAME", "eth0")]);
    let command = make(engine.clone()).unwrap().command_line(&plan(spec("m", engine), &[]), &unix(), &inherited());
    assert_eq!(variable(&command, "VLLM_CACHE_ROOT"), Some("/cache"));
    assert_eq!(variable(&command, "CUDA_VISIBLE_DEVICES"), Some(""), "no GPU is not all of them");
    assert!(matches!(make(vllm(&["--port", "1"], &[])), Err(RefusalReason::ReservedArgument { .. })));
}

#[test]
fn a_model_that_vllm_would_not_find_is_refused_at_once() {
    let models = tempfile::tempdir().unwrap();
    let path = |name: &str| models.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir_all(path("good")).unwrap();
    fs::create_dir_all(path("empty")).unwrap();
    fs::write(Path::new(&path("good")).join("config.json"), "{}").unwrap();
    let check = |model: &str| refusal(model, vllm(&[], &[]));

    assert_eq!(check(&path("good")), None);
    assert_eq!(check(&path("none")), Some(RefusalReason::NoModel(path("none"))));
    assert_eq!(check(&path("empty")), Some(RefusalReason::EmptyModel(path("empty"))));
    for bad in ["./here", "a/b/c", "a b", "", "a/"] {
        assert_eq!(check(bad), Some(RefusalReason::NotAModel(bad.to_owned())), "{bad}");
    }
}

#[test]
fn no_model_can_pass_for_a_flag() {
    for engine in [vllm(&[], &[]), EngineSpec::Sim(SimEngine::default())] {
        let flag = "--trust-remote-code";
        assert_eq!(refusal(flag, engine), Some(RefusalReason::ModelIsFlag(flag.to_owned())));
    }
}

#[test]
fn what_is_not_configured_is_not_offered() {
    let mut config = SupervisorConfig::new("/state".into(), "/no/such/shoal".into());
    let refusal = |config: &SupervisorConfig, engine| adapter(config, &inherited(), &spec("m", engine)).err().unwrap();
    let command = EngineSpec::Command(CommandEngine { name: "other".to_owned() });
    let sim = EngineSpec::Sim(SimEngine::default());
    assert_eq!(refusal(&config, vllm(&[], &[])), RefusalReason::NotOffered("vllm"));
    assert_eq!(refusal(&config, sim.clone()), RefusalReason::NotOffered("sim"));
    assert_eq!(refusal(&config, command), RefusalReason::UnknownCommand("other".to_owned()));
    config.sim = true;
    assert_eq!(refusal(&config, sim), RefusalReason::NoProgram("/no/such/shoal".to_owned()));
}

#[test]
fn an_engine_without_its_program_is_not_offered() {
    let mut config = config();
    let offered = |config: &SupervisorConfig| -> Vec<String> {
        offers(config, &inherited()).into_iter().map(|EngineOffer(offer)| offer).collect()
    };
    assert_eq!(offered(&config), ["sim", "vllm", "sglang", "trtllm", "llamacpp", "command/llama-server"]);
    config.vllm = Some(ProgramConfig { binary: "/no/such/vllm".into(), ..ProgramConfig::default() });
    config.trtllm = None;
    assert_eq!(offered(&config), ["sim", "sglang", "llamacpp", "command/llama-server"]);
}

#[test]
fn a_command_gets_its_placeholders_filled_once() {
    let mut config = config();
    let mut command = CommandConfig::new("sh", ["-m={model}", "{name}:{port}", r#"{"json":1}"#]);
    command.env = [("GPUS".to_owned(), "{gpus}".to_owned())].into();
    config.commands.insert("engine".to_owned(), command);
    let spec = spec("{port}", EngineSpec::Command(CommandEngine { name: "engine".to_owned() }));
    let adapter = adapter(&config, &inherited(), &spec).unwrap();
    assert_eq!(adapter.listens(), Listens::Loopback);
    let command = adapter.command_line(&plan(spec, &["GPU-a"]), &loopback(), &inherited());
    assert_eq!(args(&command), ["-m={port}", "llama:4711", r#"{"json":1}"#]);
    assert_eq!(variable(&command, "GPUS"), Some("GPU-a"));
    assert_eq!(variable(&command, "CUDA_VISIBLE_DEVICES"), Some("GPU-a"));
}

#[test]
fn a_command_says_where_it_listens() {
    let listens = |args: &[&str]| check_command(&CommandConfig::new("sh", args.iter().copied()));
    assert_eq!(listens(&["{socket}"]), Ok(Listens::Unix));
    assert_eq!(listens(&["--port={port}"]), Ok(Listens::Loopback));
    assert!(listens(&["{socket}", "{port}"]).is_err());
    assert!(listens(&["serve"]).is_err());
}

#[test]
fn what_a_command_died_of_is_known_where_it_is_plain() {
    let engine = EngineSpec::Command(CommandEngine { name: "llama-server".to_owned() });
    let command = make(engine).unwrap();
    assert_end(&*command, 1, "bind: Address already in use", FailureClass::Transient, "its port is in use: bind:");
    assert_eq!(command.diagnose(Some(2), &lines("error: unrecognized arguments")), None);
    let end = command.diagnose(None, &lines("CUDA out of memory")).unwrap();
    assert_eq!(end.reason(true), "out of GPU memory while serving: CUDA out of memory");
}

#[test]
fn the_simulated_engine_sleeps_if_its_spec_says_so() {
    let sleep = Sleep::default();
    let engine = EngineSpec::Sim(SimEngine { sleep: Some(sleep.clone()), ..SimEngine::default() });
    let adapter = make(engine.clone()).unwrap();
    assert_eq!(adapter.sleep(), Some(&sleep));
    let command = adapter.command_line(&plan(spec("m", engine), &[]), &unix(), &inherited());
    assert!(args(&command).contains(&"--enable-sleep-mode"));
}
