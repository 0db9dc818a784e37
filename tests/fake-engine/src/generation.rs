//! One request's tokens, as the state of the engine lets them come.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::{
    engine::Engine,
    life::Stage,
    metrics::{Ended, Raised},
    script::Serving,
};

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Token(String),
    /// All tokens were made.
    Finished,
    /// The engine ended in between.
    Failed,
    /// The engine ends before the first token, and forgot about this one.
    Forgotten,
}

/// Dropped, it is aborted.
pub(crate) struct Generation {
    engine: Arc<Engine>,
    pub(crate) prompt_tokens: u64,
    pub(crate) generated: u64,
    max_tokens: u64,
    slot: Option<(OwnedSemaphorePermit, Raised)>,
    ended: Option<Ended>,
}

impl Generation {
    pub(crate) const fn new(engine: Arc<Engine>, prompt_tokens: u64, max_tokens: u64) -> Self {
        Self { engine, prompt_tokens, generated: 0, max_tokens, slot: None, ended: None }
    }

    /// Not to be asked again after anything but a token.
    pub(crate) async fn next(&mut self) -> Piece {
        match self.engine.script().serving {
            Serving::ErrorEvents => return self.end(Ended::Error, Piece::Failed),
            Serving::EmptyStreams => return self.end(Ended::Error, Piece::Forgotten),
            Serving::Well | Serving::Hangs | Serving::CoreDies => {}
        }
        if self.generated == self.max_tokens {
            return self.end(Ended::Length, Piece::Finished);
        }
        let engine = self.engine.clone();
        let begun = self.generated > 0;
        tokio::select! {
            biased;
            piece = ends(&engine, begun) => self.end(Ended::Error, piece),
            () = self.step() => Piece::Token(self.word()),
        }
    }

    /// Waits for a slot, then for a token.
    async fn step(&mut self) {
        if self.slot.is_none() {
            let _waiting = Raised::new(self.engine.metrics.waiting.clone());
            // Nobody closes it.
            let Ok(permit) = self.engine.slots.clone().acquire_owned().await else { return };
            self.slot = Some((permit, Raised::new(self.engine.metrics.running.clone())));
        }
        self.engine.token().await;
        if self.generated == 0 {
            // As vLLM does, which hears of a prompt by its first token.
            self.engine.metrics.prompt(self.prompt_tokens);
        }
        self.generated += 1;
        self.engine.metrics.token();
    }

    fn word(&self) -> String {
        format!(" word{}", self.generated)
    }

    const fn end(&mut self, how: Ended, piece: Piece) -> Piece {
        self.ended = Some(how);
        piece
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.engine.metrics.ended(self.ended.unwrap_or(Ended::Abort));
    }
}

/// Until the engine's end reaches this request.
async fn ends(engine: &Engine, begun: bool) -> Piece {
    let reached = |stage| match stage {
        Stage::Dead | Stage::Aborting => true,
        Stage::Draining => !begun,
        Stage::Serving | Stage::Stuck => false,
    };
    match engine.life.until(reached).await {
        Stage::Draining => Piece::Forgotten,
        _ => Piece::Failed,
    }
}
