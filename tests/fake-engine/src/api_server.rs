//! The process that `vllm serve` is: from its arguments to an API, and to its end.

use std::{env, future::Future, io, process::ExitCode, sync::Arc, time::Duration};

use tokio::{
    process::Child,
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    arguments::{ArgumentError, Arguments, Listen},
    engine::{self, Engine},
    engine_core,
    life::Stage,
    listener::{Bound, Listening},
    model::{Config, ModelError},
    routes,
    script::{Script, Serving, Terminate},
    speaker::{API_SERVER, plain},
    subprocess::{self, Options, Pipe, QUIT},
};

/// For the core to end when it is told to.
const QUIT_WITHIN: Duration = Duration::from_secs(1);
/// Between two looks at what the script says.
const LOOK: Duration = Duration::from_millis(20);

/// Why the server does not come up.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("{0}")]
    Arguments(#[from] ArgumentError),
    #[error("OSError: [Errno {}] {}", .0.raw_os_error().unwrap_or(0), words(.0))]
    Address(io::Error),
    #[error("{0}")]
    Model(#[from] ModelError),
    #[error("RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {{}}")]
    Core(io::Error),
    #[error("fake-engine: {0}")]
    Io(#[from] io::Error),
}

/// Python's words for an error of the system, without Rust's number behind them.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

pub(crate) async fn run() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    match serve(&words).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ StartError::Arguments(_)) => {
            plain("usage: vllm [-h] [-v]\n            {chat,complete,serve,launch,bench}\n            ...");
            plain(&error.to_string());
            ExitCode::from(2)
        }
        Err(error) => {
            plain("Traceback (most recent call last):");
            plain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

async fn serve(words: &[String]) -> Result<(), StartError> {
    let arguments = Arguments::parse(words)?;
    let script = Script::of(arguments.model.as_ref());
    // So long SIGTERM ends the process, as it ends any.
    sleep(script.pace.import()).await;
    let bound = Bound::take(&arguments.listen).map_err(StartError::Address)?;
    // From here it is lost, until the server is up.
    let swallowed = signal(SignalKind::terminate())?;
    API_SERVER.info("api_utils.py:347", format!("version 0.32.0, model {}", arguments.model));
    let config = Config::read(&arguments.model)?;
    let max_model_len = config.context(arguments.max_model_len)?;
    let architecture = config.architectures.first().map_or("TransformersForCausalLM", String::as_str);
    API_SERVER.info("model.py:733", format!("Resolved architecture: {architecture}"));
    API_SERVER.info("model.py:2152", format!("Using max model len {max_model_len}"));
    let (core, pipe) = start_core(&arguments, max_model_len).await.map_err(StartError::Core)?;

    let terminate = signal(SignalKind::terminate())?;
    drop(swallowed);
    announce(&arguments.listen);
    let (engine, orders) = Engine::new(arguments, max_model_len);
    let engine = Arc::new(engine);
    let dev = env::var("VLLM_SERVER_DEV_MODE").is_ok_and(|value| value == "1");
    let router = routes::router(engine.clone(), dev);
    let mut tasks = JoinSet::new();
    let closed = engine.closed.clone();
    let steps = engine::steps(pipe, orders, closed.clone());
    tasks.spawn(keep(engine, core, terminate, steps));
    let served = match bound.listen()? {
        Listening::Uds(listener) => {
            axum::serve(listener, router).with_graceful_shutdown(closed.cancelled_owned()).await
        }
        Listening::Tcp(listener) => {
            axum::serve(listener, router).with_graceful_shutdown(closed.cancelled_owned()).await
        }
    };
    tasks.join_all().await;
    plain("INFO:     Application shutdown complete.");
    Ok(served?)
}

fn announce(listen: &Listen) {
    let address = match listen {
        Listen::Uds(path) => format!("unix:{}", path.display()),
        Listen::Tcp { host, port } => format!("http://{host}:{port}"),
    };
    API_SERVER.info("entry.py:140", format!("Starting vLLM server on {address}"));
    plain(&format!("INFO:     Started server process [{}]", std::process::id()));
    plain("INFO:     Waiting for application startup.");
    plain("INFO:     Application startup complete.");
}

async fn start_core(arguments: &Arguments, max_model_len: u64) -> io::Result<(Child, Pipe)> {
    let options = Options {
        model: arguments.model.as_str().into(),
        tensor_parallel_size: arguments.tensor_parallel_size,
        max_model_len,
        kv_cache_memory_bytes: arguments.kv_cache_memory_bytes,
    };
    let (core, mut pipe) = subprocess::spawn(engine_core::TITLE, &options).await?;
    pipe.answer().await?;
    Ok((core, pipe))
}

/// Passes steps to the core until it or the server ends.
async fn keep(engine: Arc<Engine>, mut core: Child, mut terminate: Signal, steps: impl Future<Output = Pipe> + Send) {
    let mut steps = Box::pin(steps);
    let mut pipe = None;
    loop {
        tokio::select! {
            _ = subprocess::ended(&mut core) => return died(&engine).await,
            _ = terminate.recv() => break,
            ended = &mut steps, if pipe.is_none() => pipe = Some(ended),
            () = sleep(LOOK) => {
                if engine.script().serving == Serving::CoreDies {
                    // Then it is waited for above.
                    let _ = core.start_kill();
                }
            }
        }
    }
    let drained = drain(&engine);
    // What runs goes on while the server drains.
    let pipe = match pipe {
        Some(pipe) => {
            drained.await;
            pipe
        }
        None => {
            let (pipe, ()) = tokio::join!(steps, drained);
            pipe
        }
    };
    end(core, pipe).await;
}

/// The core's death: `/health` says so, and a while later, or when somebody asks for more, the server ends, with 0.
async fn died(engine: &Engine) {
    engine.life.enter(Stage::Dead);
    API_SERVER.warning("core_client.py:817", "[shutdown] MPClient: engine core exited unexpectedly; starting cleanup");
    API_SERVER.error("async_llm.py:906", "AsyncLLM output_handler failed.");
    API_SERVER.error(
        "async_llm.py:906",
        "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the \
         root cause.",
    );
    tokio::select! {
        () = sleep(engine.script().pace.death()) => {}
        () = engine.met_dead.notified() => {}
    }
    close(engine);
}

/// What SIGTERM does to requests.
async fn drain(engine: &Engine) {
    let open = engine.metrics.open() > 0;
    let deadline = Duration::from_secs(engine.arguments.shutdown_timeout);
    if deadline.is_zero() && open && engine.script().terminate == Terminate::Hangs {
        engine.life.enter(Stage::Stuck);
    } else {
        engine.life.enter(Stage::Draining);
        let _ = timeout(deadline, all_done(engine)).await;
        engine.life.enter(Stage::Aborting);
    }
    close(engine);
}

async fn all_done(engine: &Engine) {
    while engine.metrics.open() > 0 {
        sleep(LOOK).await;
    }
}

fn close(engine: &Engine) {
    plain("INFO:     Shutting down");
    if engine.metrics.open() > 0 {
        plain("INFO:     Waiting for connections to close. (CTRL+C to force quit)");
    }
    engine.closed.cancel();
}

/// Tells the core to end, and ends it if it does not.
async fn end(mut core: Child, mut pipe: Pipe) {
    let _ = pipe.tell(QUIT).await;
    if timeout(QUIT_WITHIN, subprocess::ended(&mut core)).await.is_err() {
        // It may have ended by now.
        let _ = core.kill().await;
    }
}
