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

mod crashing;
mod hanging;
mod serving;
mod starting;
mod stopping;
