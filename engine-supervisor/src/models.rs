//! What an engine needs of its model before it is launched: that its files are there and whole, and that its GPUs have
//! room for it. Engines take up to two minutes to say what is said here at once.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use shoal_types::{ClaimId, EndpointSpec, EngineSpec, GpuId, MemorySize, Progress};
use tokio::{sync::watch, task::spawn_blocking};

use crate::{
    GpuWatch, LaunchPlan, StoredModel, SupervisorError, WeightStore, WeightsConfig,
    fit::refuse_fit,
    lifecycle::Crash,
    replica::Prepare,
    weights::{BadModel, check_model},
};

/// This node's models. Without a store, engines fetch by themselves, and only paths are looked at.
#[derive(Debug, Clone)]
pub(crate) struct Models {
    store: Option<WeightStore>,
    cache: Option<PathBuf>,
    gpus: Arc<dyn GpuWatch>,
}

impl Models {
    /// # Errors
    /// If the store's directory or hub cannot be used.
    pub(crate) async fn open(config: Option<WeightsConfig>, gpus: Arc<dyn GpuWatch>) -> Result<Self, SupervisorError> {
        let Some(config) = config else { return Ok(Self { store: None, cache: None, gpus }) };
        let cache = Some(config.cache.clone());
        let opened = spawn_blocking(move || WeightStore::open(config)).await;
        let store = opened.map_err(|panic| SupervisorError::WeightsPanic(panic.to_string()))??;
        Ok(Self { store: Some(store), cache, gpus })
    }

    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self { store: None, cache: None, gpus: Arc::new(crate::NoGpuWatch) }
    }

    /// Why `spec` cannot run on `gpus`, as a sentence for its author.
    pub(crate) async fn refuse(&self, spec: &EndpointSpec, gpus: &[GpuId]) -> Option<String> {
        if !has_weights(&spec.engine) {
            return None;
        }
        if let Some(reason) = self.refuse_adapters(spec) {
            return Some(reason);
        }
        let path = if is_fetched(spec) {
            match self.store.as_ref()?.find(&spec.model, spec.model_revision.as_deref()).await {
                Ok(Some(path)) => path,
                // What has to be fetched is looked at when it is there.
                Ok(None) => return None,
                Err(error) => return Some(error.to_string()),
            }
        } else {
            PathBuf::from(&spec.model)
        };
        let (spec, memory) = (spec.clone(), self.gpus.memory(gpus));
        let looked = spawn_blocking(move || look(&path, &spec, memory)).await;
        looked.unwrap_or_else(|panic| Err(panic.to_string())).err()
    }

    /// Engines of a node with a store fetch nothing, and the store fetches models only.
    fn refuse_adapters(&self, spec: &EndpointSpec) -> Option<String> {
        let cache = self.cache.as_ref()?;
        let mut fetched = spec.adapters.iter().filter(|(_, source)| !Path::new(source).is_absolute());
        let (name, source) = fetched.find(|(_, source)| {
            !cache.join(format!("models--{}", source.replace('/', "--"))).join("snapshots").is_dir()
        })?;
        let cache = cache.display();
        Some(format!(
            "the adapter `{name}` (`{source}`) is not in {cache}, and this node fetches models only: put it there, or give its \
             directory"
        ))
    }

    /// What is done before each launch of `plan`, if anything is.
    pub(crate) fn preparation(&self, plan: &LaunchPlan) -> Option<Arc<dyn Prepare>> {
        let is_local = Path::new(&plan.spec.model).is_absolute();
        let needed = has_weights(&plan.spec.engine) && (is_local || self.store.is_some());
        needed.then(|| Arc::new(Preparation { models: self.clone(), plan: plan.clone() }) as Arc<dyn Prepare>)
    }

    /// Variables by which engines find what the store fetched, and fetch nothing themselves.
    pub(crate) fn environment(&self) -> Vec<(OsString, OsString)> {
        let cache = self.cache.iter().map(|cache| ("HF_HUB_CACHE".into(), cache.into()));
        cache.chain(self.cache.iter().map(|_| ("HF_HUB_OFFLINE".into(), "1".into()))).collect()
    }

    /// A replica that runs already needs its model.
    pub(crate) fn hold(&self, plan: &LaunchPlan) {
        if let Some(store) = self.store.as_ref().filter(|_| is_fetched(&plan.spec)) {
            store.hold(plan.claim, &plan.spec.model, plan.spec.model_revision.as_deref());
        }
    }

    /// `claim` is gone.
    pub(crate) fn release(&self, claim: ClaimId) {
        if let Some(store) = &self.store {
            store.release(claim);
        }
    }

    /// What is on this node's disk; nothing without a store.
    pub(crate) fn list(&self) -> Vec<StoredModel> {
        self.store.as_ref().map(WeightStore::models).unwrap_or_default()
    }
}

/// Whether the engine reads the model's files.
const fn has_weights(engine: &EngineSpec) -> bool {
    match engine {
        EngineSpec::Vllm(_) | EngineSpec::Sglang(_) | EngineSpec::Trtllm(_) | EngineSpec::Llamacpp(_) => true,
        EngineSpec::Gateway(_) | EngineSpec::Command(_) | EngineSpec::Sim(_) => false,
    }
}

fn is_fetched(spec: &EndpointSpec) -> bool {
    has_weights(&spec.engine) && !Path::new(&spec.model).is_absolute()
}

/// Whether the model at `path` is whole, and fits.
fn look(path: &Path, spec: &EndpointSpec, memory: Option<MemorySize>) -> Result<(), String> {
    check_model(path).map_err(|error: BadModel| error.to_string())?;
    memory.and_then(|memory| refuse_fit(path, spec, memory)).map_or(Ok(()), Err)
}

#[derive(Debug)]
struct Preparation {
    models: Models,
    plan: LaunchPlan,
}

impl Prepare for Preparation {
    fn prepare(&self, progress: watch::Sender<Option<Progress>>) -> BoxFuture<'static, Result<(), Crash>> {
        let Self { models, plan } = self;
        prepare(models.clone(), plan.clone(), progress).boxed()
    }
}

async fn prepare(models: Models, plan: LaunchPlan, progress: watch::Sender<Option<Progress>>) -> Result<(), Crash> {
    let LaunchPlan { claim, spec, gpus, .. } = plan;
    let path = match models.store.filter(|_| is_fetched(&spec)) {
        Some(store) => {
            let prepared = store.prepare(claim, &spec.model, spec.model_revision.as_deref(), progress).await;
            prepared.map_err(|error| match error.is_transient() {
                true => Crash::transient(error.to_string()),
                false => Crash::config(error.to_string()),
            })?
        }
        None => PathBuf::from(&spec.model),
    };
    let memory = models.gpus.memory(&gpus);
    let looked = spawn_blocking(move || look(&path, &spec, memory)).await;
    looked.unwrap_or_else(|panic| Err(panic.to_string())).map_err(Crash::config)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use shoal_types::parse_endpoints;

    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    /// GPUs of 24 GiB.
    #[derive(Debug)]
    struct SmallGpus;

    impl GpuWatch for SmallGpus {
        fn holders(&self, _gpus: &[GpuId]) -> Option<Vec<u32>> {
            Some(Vec::new())
        }

        fn memory(&self, _gpus: &[GpuId]) -> Option<MemorySize> {
            Some(MemorySize::from_gib(24))
        }

        fn recent_fault(&self, _gpus: &[GpuId]) -> Option<String> {
            None
        }
    }

    /// A cache that has `a/b`, with so many bytes of weights, which take no room on the disk.
    fn cache(bytes: u64) -> tempfile::TempDir {
        let cache = tempfile::tempdir().unwrap();
        let repo = cache.path().join("models--a--b");
        let snapshot = repo.join("snapshots").join(COMMIT);
        fs::create_dir_all(&snapshot).unwrap();
        fs::create_dir(repo.join("refs")).unwrap();
        fs::write(repo.join("refs/main"), COMMIT).unwrap();
        let config = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "num_attention_heads": 32,
            "num_hidden_layers": 32, "num_key_value_heads": 8, "max_position_embeddings": 8192, "dtype": "bfloat16"}"#;
        fs::write(snapshot.join("config.json"), config).unwrap();
        let header = format!(r#"{{"w": {{"dtype": "BF16", "shape": [{}], "data_offsets": [0, {bytes}]}}}}"#, bytes / 2);
        let mut weights = fs::File::create(snapshot.join("model.safetensors")).unwrap();
        weights.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
        weights.write_all(header.as_bytes()).unwrap();
        weights.set_len(8 + header.len() as u64 + bytes).unwrap();
        cache
    }

    async fn refused(bytes: u64) -> Option<String> {
        let cache = cache(bytes);
        let config = WeightsConfig::new(cache.path().to_owned());
        let models = Models::open(Some(config), Arc::new(SmallGpus)).await.unwrap();
        let spec = "{apiVersion: shoal/v1, kind: Endpoint, metadata: {name: a}, spec: {model: a/b, \
            engine: {kind: vllm}, resources: {gpus: 1}}}";
        models.refuse(&parse_endpoints(spec).unwrap()[0].spec, &[GpuId("GPU-a".into())]).await
    }

    #[tokio::test]
    async fn a_model_of_the_hub_that_is_there_and_does_not_fit_is_refused_before_a_claim() {
        assert_eq!(refused(8 << 30).await, None);
        let reason = refused(40 << 30).await.unwrap();
        assert!(reason.starts_with("`a/b` needs 40.0GiB of weights"), "{reason}");
    }
}
