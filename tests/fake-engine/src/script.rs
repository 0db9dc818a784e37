//! What the stand-in is told to do wrong: `fake.json` in the directory of the model, read again at every decision, so
//! that a test can change it while the engine runs.

use std::{fs, path::Path, time::Duration};

use serde::{Deserialize, Serialize};

use crate::speaker;

/// The whole file; all of it may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Script {
    pub(crate) start: Start,
    pub(crate) serving: Serving,
    pub(crate) terminate: Terminate,
    pub(crate) pace: Pace,
}

/// How a launch goes. What the arguments and the files make fail fails by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Start {
    #[default]
    Well,
    /// The GPU's memory is not enough for the weights.
    OutOfMemory,
    /// The weights leave too little memory for the context.
    KvCacheTooSmall,
    /// Others use the GPU's memory.
    GpuMemoryInUse,
    /// The core ends without a word of why.
    CoreExits,
}

/// How requests are answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Serving {
    #[default]
    Well,
    /// No token is made any more, while `/health` and `/metrics` answer 200.
    Hangs,
    /// The core kills itself.
    CoreDies,
    /// Each answer is an error inside of a 200.
    ErrorEvents,
    /// Each stream is a 200 that ends without a token.
    EmptyStreams,
}

/// What SIGTERM does to an engine with open streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Terminate {
    /// They end with an error, and the engine with 0.
    #[default]
    Ends,
    /// Neither they nor the engine end, whatever signal follows: in vLLM a race, lost in two of five runs.
    Hangs,
}

/// How long things take, in milliseconds. vLLM's own times are in the comments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct Pace {
    /// Python's imports, during which SIGTERM still ends it: 9 s or more.
    import_ms: u64,
    /// From the first line about weights to the last: seconds to many minutes.
    load_ms: u64,
    /// Between two tokens.
    token_ms: u64,
    /// From the core's death to the exit: 3 to 11 s.
    death_ms: u64,
    /// How long workers outlive the core: up to 10 s.
    linger_ms: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { import_ms: 20, load_ms: 40, token_ms: 2, death_ms: 300, linger_ms: 500 }
    }
}

impl Pace {
    pub(crate) const fn import(&self) -> Duration {
        Duration::from_millis(self.import_ms)
    }

    pub(crate) const fn load(&self) -> Duration {
        Duration::from_millis(self.load_ms)
    }

    pub(crate) const fn token(&self) -> Duration {
        Duration::from_millis(self.token_ms)
    }

    pub(crate) const fn death(&self) -> Duration {
        Duration::from_millis(self.death_ms)
    }

    pub(crate) const fn linger(&self) -> Duration {
        Duration::from_millis(self.linger_ms)
    }
}

impl Script {
    /// What the file says now. One that cannot be read says nothing, loudly.
    pub(crate) fn of(model: &Path) -> Self {
        let Ok(text) = fs::read_to_string(model.join("fake.json")) else { return Self::default() };
        serde_json::from_str(&text).unwrap_or_else(|error| {
            speaker::plain(&format!("fake.json is ignored: {error}"));
            Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_goes_well_and_what_is_misspelt_is_refused() {
        let script: Script =
            serde_json::from_str(r#"{"start": "outOfMemory", "serving": "hangs", "pace": {"loadMs": 7}}"#).unwrap();
        assert_eq!((script.start, script.serving), (Start::OutOfMemory, Serving::Hangs));
        assert_eq!((script.terminate, script.pace.load()), (Terminate::Ends, Duration::from_millis(7)));
        assert_eq!(serde_json::from_str::<Script>("{}").unwrap(), Script::default());
        for wrong in [r#"{"serve": "hangs"}"#, r#"{"serving": "hang"}"#, r#"{"pace": {"load": 7}}"#] {
            assert!(serde_json::from_str::<Script>(wrong).is_err(), "{wrong}");
        }
    }
}
