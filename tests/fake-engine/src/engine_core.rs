//! `VLLM::EngineCore`: between the API server and the workers. It outlives an API server that is killed, as vLLM's does,
//! and so do its workers.

use std::{io, process::ExitCode, time::Duration};

use futures_util::future::select_all;
use tokio::{process::Child, time::sleep};

use crate::{
    script::{Script, Start},
    speaker::{ENGINE_CORE, plain},
    subprocess::{self, Above, Options, Pipe, QUIT},
    worker,
};

pub(crate) const TITLE: &str = "VLLM::EngineCore";

/// Memory of the GPU that there is not.
const GPU_BYTES: u64 = 80 << 30;
/// A core without an API server stays: vLLM's was watched for 44 s. This one ends some time, if a test was broken off.
const ORPHANED: Duration = Duration::from_secs(300);

#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(
        "Exception: WorkerProc initialization failed due to an exception in a background process. See stack trace for root cause."
    )]
    Worker(#[from] io::Error),
    #[error(
        "ValueError: Available memory on device ({} GiB) on kv cache allocation is less than requested memory for kv \
         ({} GiB). Decrease --kv-cache-memory-bytes", GPU_BYTES >> 30, requested >> 30
    )]
    KvCacheTooLarge { requested: u64 },
    #[error(
        "ValueError: To serve at least one request with the model's max seq len ({max_model_len}), 12.50 GiB KV cache \
         is needed, which is larger than the available KV cache memory (3.12 GiB). Based on the available memory, the \
         estimated maximum model length is {}.", max_model_len / 4
    )]
    KvCacheTooSmall { max_model_len: u64 },
    #[error(
        "ValueError: Free memory on device (12.24/79.11 GiB) on startup is less than desired GPU memory utilization \
         (0.92, 72.78 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes."
    )]
    GpuMemoryInUse,
}

/// The processes below.
struct Workers {
    children: Vec<Child>,
    pipes: Vec<Pipe>,
}

pub(crate) async fn run() -> ExitCode {
    let Ok(mut above) = Above::open(TITLE).await else { return ExitCode::FAILURE };
    let options = above.options.clone();
    let script = Script::of(&options.model);
    if script.start == Start::CoreExits {
        return ExitCode::FAILURE;
    }
    match start(&options, script).await {
        Ok(workers) => {
            above.answer().await;
            work(above, workers).await
        }
        Err(error) => {
            ENGINE_CORE.error("core.py:1510", "EngineCore failed to start.");
            ENGINE_CORE.error("core.py:1510", "Traceback (most recent call last):");
            ENGINE_CORE.error("core.py:1510", &error);
            // Once more, as Python ends.
            plain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

async fn start(options: &Options, script: Script) -> Result<Workers, StartError> {
    let model = options.model.display();
    ENGINE_CORE.info("core.py:133", format!("Initializing a V1 LLM engine (v0.32.0) with config: model='{model}'"));
    if script.start == Start::GpuMemoryInUse {
        return Err(StartError::GpuMemoryInUse);
    }
    let workers = Workers::start(options).await?;
    let requested = options.kv_cache_memory_bytes.unwrap_or(8 << 30);
    if requested > GPU_BYTES {
        return Err(StartError::KvCacheTooLarge { requested });
    }
    if script.start == Start::KvCacheTooSmall {
        return Err(StartError::KvCacheTooSmall { max_model_len: options.max_model_len });
    }
    // A token of the tiny Qwen2 takes 512 bytes.
    ENGINE_CORE.info("kv_cache_utils.py:2322", format!("GPU KV cache size: {} tokens", requested / 512));
    ENGINE_CORE.info("gpu_model_runner.py:6330", "Graph capturing finished in 0 secs, took 0.03 GiB");
    ENGINE_CORE.info("core.py:402", "init engine (profile, create kv cache, warmup model) took 0.05 s");
    Ok(workers)
}

/// Does what it is told to until it is told to end, or a worker dies.
async fn work(mut above: Above, mut workers: Workers) -> ExitCode {
    loop {
        let order = tokio::select! {
            order = above.order() => order,
            () = workers.one_ended() => return died(),
        };
        match order.as_deref() {
            Some(QUIT) => return workers.quit().await,
            Some(order) if workers.ask(order).await.is_err() => return died(),
            Some(_) => above.answer().await,
            None => {
                sleep(ORPHANED).await;
                return ExitCode::FAILURE;
            }
        }
    }
}

fn died() -> ExitCode {
    let text = "Worker proc VllmWorker-0 died unexpectedly, shutting down executor.";
    ENGINE_CORE.error("multiproc_executor.py:290", text);
    ExitCode::FAILURE
}

impl Workers {
    /// Starts one per rank, and waits until all have loaded.
    async fn start(options: &Options) -> io::Result<Self> {
        let mut workers = Self { children: Vec::new(), pipes: Vec::new() };
        let ranks = options.tensor_parallel_size;
        for rank in 0..ranks {
            let title = if ranks == 1 { worker::TITLE.to_owned() } else { format!("{}_TP{rank}", worker::TITLE) };
            let (child, pipe) = subprocess::spawn(&title, options).await?;
            workers.children.push(child);
            workers.pipes.push(pipe);
        }
        for pipe in &mut workers.pipes {
            pipe.answer().await?;
        }
        Ok(workers)
    }

    async fn ask(&mut self, order: &str) -> io::Result<()> {
        for pipe in &mut self.pipes {
            pipe.ask(order).await?;
        }
        Ok(())
    }

    async fn one_ended(&mut self) {
        select_all(self.children.iter_mut().map(|child| Box::pin(subprocess::ended(child)))).await;
    }

    async fn quit(mut self) -> ExitCode {
        for pipe in &mut self.pipes {
            let _ = pipe.tell(QUIT).await;
        }
        for child in &mut self.children {
            subprocess::ended(child).await;
        }
        ExitCode::SUCCESS
    }
}
