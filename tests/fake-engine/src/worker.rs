//! `VLLM::Worker`: loads the weights and makes the tokens. Stopped (SIGSTOP), it hangs the engine, which goes on to say
//! that it is well.

use std::{io, path::Path, process::ExitCode};

use tokio::time::sleep;

use crate::{
    model::{self, Truncated},
    script::{Script, Start},
    speaker::{WORKER, plain},
    subprocess::{Above, QUIT},
};

/// One of several has its rank behind it: `VLLM::Worker_TP1`.
pub(crate) const TITLE: &str = "VLLM::Worker";

#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Truncated(#[from] Truncated),
    #[error(
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.96 GiB. GPU 0 has a total capacity of 79.11 \
         GiB of which 1.03 GiB is free. Including non-PyTorch memory, this process has 78.07 GiB memory in use."
    )]
    OutOfMemory,
    #[error("the model cannot be read: {0}")]
    Read(#[from] io::Error),
}

pub(crate) async fn run() -> ExitCode {
    let title = std::env::args().next().unwrap_or_default();
    let Ok(mut above) = Above::open(&title).await else { return ExitCode::FAILURE };
    let model = above.options.model.clone();
    if let Err(error) = load(&model).await {
        WORKER.error("multiproc_executor.py:1063", "WorkerProc failed to start.");
        WORKER.error("multiproc_executor.py:1063", error);
        return ExitCode::FAILURE;
    }
    above.answer().await;
    while let Some(order) = above.order().await {
        if order == QUIT {
            return ExitCode::SUCCESS;
        }
        above.answer().await;
    }
    WORKER.info("multiproc_executor.py:843", "Parent process exited, terminating worker queues");
    sleep(Script::of(&model).pace.linger()).await;
    ExitCode::SUCCESS
}

async fn load(model: &Path) -> Result<(), LoadError> {
    let script = Script::of(model);
    WORKER.info("gpu_model_runner.py:5120", format!("Starting to load model {}...", model.display()));
    if script.start == Start::OutOfMemory {
        return Err(LoadError::OutOfMemory);
    }
    let shards = model::shards(model)?;
    for (done, shard) in shards.iter().enumerate() {
        progress(done, shards.len());
        model::check_weights(shard)?;
        sleep(script.pace.load() / u32::try_from(shards.len()).unwrap_or(u32::MAX)).await;
    }
    progress(shards.len(), shards.len());
    let took = script.pace.load().as_secs_f64();
    WORKER.info("default_loader.py:501", format!("Loading weights took {took:.2} seconds"));
    Ok(())
}

fn progress(done: usize, of: usize) {
    let percent = done * 100 / of.max(1);
    plain(&format!(
        "Loading safetensors checkpoint shards: {percent:3}% Completed | {done}/{of} [00:00<00:00, 350.84it/s]"
    ));
}
