//! Log lines as vLLM writes them.

use std::fmt::Display;

/// When the lines were recorded: nobody reads the time of a line.
const TIME: &str = "11-22 19:46:40";

/// One process of the engine, as the beginning of its lines names it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speaker(pub(crate) &'static str);

pub(crate) const API_SERVER: Speaker = Speaker("APIServer");
pub(crate) const ENGINE_CORE: Speaker = Speaker("EngineCore");
pub(crate) const WORKER: Speaker = Speaker("Worker");

impl Speaker {
    /// `place` is vLLM's file and line.
    pub(crate) fn info(self, place: &str, text: impl Display) {
        self.line("INFO", place, text);
    }

    pub(crate) fn warning(self, place: &str, text: impl Display) {
        self.line("WARNING", place, text);
    }

    pub(crate) fn error(self, place: &str, text: impl Display) {
        self.line("ERROR", place, text);
    }

    fn line(self, level: &str, place: &str, text: impl Display) {
        plain(&format!("({} pid={}) {level} {TIME} [{place}] {text}", self.0, std::process::id()));
    }
}

/// A line of what is not vLLM's logger: tracebacks, progress, uvicorn.
#[allow(clippy::print_stderr)] // this is the log
pub(crate) fn plain(line: &str) {
    eprintln!("{line}");
}
