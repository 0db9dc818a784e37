//! What this program becomes when the supervisor or a shim starts it.

use shoal_engine_supervisor::{
    ExecOptions, ShimOptions, SimOptions, engine_exec as become_engine, engine_shim as serve_engine_shim,
    sim_engine as serve_sim_engine,
};
use shoal_types::EngineAddress;
use tokio_util::sync::CancellationToken;

use super::signalled;
use crate::{
    admin::{Code, Problem},
    cli::{EngineExecArgs, EngineShimArgs, SimEngineArgs, note},
};

/// `shoal sim-engine`, as the supervisor starts it.
pub(crate) async fn sim_engine(args: SimEngineArgs) -> Result<(), Problem> {
    let stop = CancellationToken::new();
    let options = SimOptions {
        listen: EngineAddress::Unix(args.uds),
        models: args.models,
        adapters: args.adapters,
        load_time: args.load_time,
        time_to_first_token: args.time_to_first_token,
        inter_token_latency: args.inter_token_latency,
        max_num_seqs: args.max_num_seqs,
        max_model_len: args.max_model_len,
        sleep_mode: args.enable_sleep_mode,
    };
    note("simulated engine: no model is loaded, answers are made up");
    let engine = serve_sim_engine(options, stop.clone());
    let mut engine = std::pin::pin!(engine);
    let ended = tokio::select! {
        ended = &mut engine => ended,
        _ = signalled() => {
            stop.cancel();
            engine.await
        }
    };
    ended.map_err(|error| Problem::new(Code::Failed, error))
}

/// `shoal engine-shim`, as the supervisor starts it.
pub(crate) fn engine_shim(args: EngineShimArgs) -> Result<(), Problem> {
    serve_engine_shim(ShimOptions { directory: args.dir }).map_err(|error| Problem::new(Code::Failed, error))
}

/// `shoal engine-exec`, as the shim starts it. Returns only if it cannot become the engine.
pub(crate) fn engine_exec(args: EngineExecArgs) -> Problem {
    Problem::new(Code::Failed, become_engine(ExecOptions { parent: args.parent, command: args.command }))
}
