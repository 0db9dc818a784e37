//! What every engine is held to, and what a supervisor makes of it: one suite, derived from what vLLM 0.32 was measured
//! to do, for the stand-in (always), and for a real `vllm serve` and a real `llama-server` where `SHOAL_REAL_ENGINES`
//! names the folder that `tests/real-engines/install` made. Engines are run by the supervisor's public API alone.

#![allow(clippy::unwrap_used, clippy::expect_used)] // in what the tests share, too

/// `scenario: engine, engine;` makes a test of the async function `scenario` for each engine.
macro_rules! conformance {
    ($($scenario:ident: $($engine:ident),+;)+) => {$(
        mod $scenario {
            $(
                #[tokio::test]
                async fn $engine() {
                    if let Some(engine) = $crate::harness::EngineUnderTest::$engine().await {
                        super::$scenario(engine).await;
                    }
                }
            )+
        }
    )+};
}

mod harness;

use std::env;

use shoal_engine_supervisor::{ExecOptions, ShimOptions, engine_exec, engine_shim};

mod crashing;
mod hanging;
mod serving;
mod starting;
mod stopping;

/// Not a test: the `shoal` of the others, as `engine-supervisor/tests/bin/shoal` runs it.
#[test]
#[ignore = "runs as a child of the other tests"]
fn as_shoal() {
    let mut args = env::args_os().skip_while(|arg| arg != "--").skip(1);
    match args.next().expect("a verb").to_str() {
        Some("engine-shim") => {
            let directory = args.nth(1).map(Into::into);
            engine_shim(ShimOptions { directory }).unwrap();
        }
        Some("engine-exec") => {
            let parent = args.nth(1).and_then(|pid| pid.to_str()?.parse().ok()).expect("--parent PID");
            panic!("{}", engine_exec(ExecOptions { parent, command: args.skip(1).collect() }));
        }
        verb => panic!("unknown verb {verb:?}"),
    }
}
