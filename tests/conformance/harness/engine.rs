//! The engines under test: what they are run with, and a model for each.

use std::{
    env, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Once,
    time::Duration,
};

use shoal_engine_supervisor::{ProgramConfig, SupervisorConfig};
use shoal_types::{EngineSpec, ProcessEngine, VllmEngine};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

/// Real engines run one after the other: each takes a gigabyte, and its time is measured against deadlines.
static TURN: Mutex<()> = Mutex::const_new(());

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Fake,
    Vllm,
    Llama,
}

/// One engine with a model of its own.
#[derive(Debug)]
pub(crate) struct EngineUnderTest {
    kind: Kind,
    binary: PathBuf,
    directory: TempDir,
    args: Vec<String>,
    _turn: Option<MutexGuard<'static, ()>>,
}

impl EngineUnderTest {
    /// The stand-in for vLLM.
    #[allow(clippy::unused_async)] // as the others are
    pub(crate) async fn fake() -> Option<Self> {
        let engine = Self::new(Kind::Fake, env!("CARGO_BIN_EXE_fake-engine").into(), None);
        fs::create_dir(engine.model()).unwrap();
        let config = r#"{"architectures": ["Qwen2ForCausalLM"], "max_position_embeddings": 4096}"#;
        fs::write(engine.model().join("config.json"), config).unwrap();
        fs::write(engine.weights(), safetensors()).unwrap();
        Some(engine)
    }

    /// vLLM on the CPU, where it is installed.
    pub(crate) async fn vllm() -> Option<Self> {
        let cache = cache()?;
        let mut engine = Self::new(Kind::Vllm, cache.join("bin/vllm"), Some(TURN.lock().await));
        copy_directory(&cache.join("models/tiny"), &engine.model());
        let args = "--enforce-eager --dtype bfloat16 --max-num-seqs 8 --kv-cache-memory-bytes 64M";
        engine.args = args.split(' ').map(str::to_owned).collect();
        Some(engine)
    }

    /// llama.cpp, where it is installed.
    pub(crate) async fn llama() -> Option<Self> {
        let cache = cache()?;
        let engine = Self::new(Kind::Llama, cache.join("bin/llama-server"), Some(TURN.lock().await));
        fs::copy(cache.join("models/tiny.gguf"), engine.model()).unwrap();
        Some(engine)
    }

    fn new(kind: Kind, binary: PathBuf, turn: Option<MutexGuard<'static, ()>>) -> Self {
        // Fails early, with the name of what is missing.
        assert!(binary.is_file(), "{} is missing; run tests/real-engines/install", binary.display());
        let directory = TempDir::with_prefix("shoal-conformance-").unwrap();
        Self { kind, binary, directory, args: Vec::new(), _turn: turn }
    }

    /// The model, as the spec names it.
    pub(crate) fn model(&self) -> PathBuf {
        self.directory.path().join(if self.kind == Kind::Llama { "tiny.gguf" } else { "tiny" })
    }

    /// The file of its weights.
    pub(crate) fn weights(&self) -> PathBuf {
        if self.kind == Kind::Llama { self.model() } else { self.model().join("model.safetensors") }
    }

    /// What the stand-in does from now on; the file is renamed into place, as the engine may read it at any time.
    pub(crate) fn script(&self, json: &str) {
        assert!(self.is_scripted(), "nobody can tell a real engine what to do wrong");
        let new = self.directory.path().join("script");
        fs::write(&new, json).unwrap();
        fs::rename(new, self.model().join("fake.json")).unwrap();
    }

    /// Another argument of vLLM; a flag given before is overridden.
    pub(crate) fn with_args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    pub(crate) fn spec(&self) -> EngineSpec {
        match self.kind {
            Kind::Fake | Kind::Vllm => {
                EngineSpec::Vllm(VllmEngine { args: self.args.clone(), ..VllmEngine::default() })
            }
            Kind::Llama => EngineSpec::Llamacpp(ProcessEngine { args: self.args.clone(), ..ProcessEngine::default() }),
        }
    }

    /// Offers it on a node.
    pub(crate) fn configure(&self, config: &mut SupervisorConfig) {
        if self.kind == Kind::Llama {
            config.llamacpp = Some(ProgramConfig { binary: self.binary.clone(), ..ProgramConfig::default() });
            return;
        }
        // The flag is nobody's; the variable opens `/pause`.
        config.vllm = Some(ProgramConfig {
            binary: self.binary.clone(),
            allowed_args: vec!["--no-such-flag".to_owned()],
            env: [("VLLM_SERVER_DEV_MODE".to_owned(), "1".to_owned())].into(),
            ..ProgramConfig::default()
        });
    }

    /// The stand-in.
    pub(crate) fn is_scripted(&self) -> bool {
        self.kind == Kind::Fake
    }

    /// vLLM or its stand-in.
    pub(crate) fn is_vllm(&self) -> bool {
        self.kind != Kind::Llama
    }

    /// Longest wait for anything: the real vLLM takes 40 s to start on an idle machine of two cores.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(if self.kind == Kind::Vllm { 300 } else { 30 })
    }

    /// From SIGTERM to SIGKILL. The stand-in is never given long enough to end by itself where it is told not to.
    pub(crate) fn grace(&self) -> Duration {
        Duration::from_secs(if self.kind == Kind::Vllm { 5 } else { 2 })
    }
}

/// The folder of the real engines; where there is none, it is said once.
fn cache() -> Option<PathBuf> {
    static SAY: Once = Once::new();
    let cache = env::var_os("SHOAL_REAL_ENGINES").map(PathBuf::from);
    if cache.is_none() {
        SAY.call_once(|| {
            // Not `println!`, which the test runner swallows when a test passes.
            let why = "SHOAL_REAL_ENGINES names no folder; tests/real-engines/install makes one";
            writeln!(io::stderr(), "SKIPPED the real vllm and llama-server: {why}").expect("stderr can be written");
        });
    }
    cache
}

/// A file of weights with one tensor of 1 KiB.
fn safetensors() -> Vec<u8> {
    let header = br#"{"w": {"dtype": "BF16", "shape": [512], "data_offsets": [0, 1024]}}"#;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header);
    file.extend_from_slice(&[0; 1024]);
    file
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
