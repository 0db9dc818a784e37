//! What an engine died of, by what it wrote: a name for the operator, and whether the same would happen again.

use crate::{FailureClass, probe::clip};

/// Lines before the end that are looked at: a traceback through several processes is about 150.
const LINES: usize = 200;
/// Most bytes of a line in a reason, which says more than that.
const LINE_MAX: usize = 200;

/// A text that engines write when they end, and what they ended of.
pub(super) type Symptom = (&'static str, Cause);

/// Why an engine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The GPU, not what runs on it.
    GpuFailed,
    /// The GPUs were free at the launch: it needs more than they have.
    OutOfGpuMemory,
    /// Somebody else took its port between the choice and the launch.
    PortInUse,
    /// No room for what it writes.
    DiskFull,
    /// A part of the program is not there.
    NotInstalled,
    /// A flag or its value.
    Arguments,
    /// The weights are not where it looks.
    NoModel,
    /// The weights are at the hub, for others.
    NoAccess,
    /// Weights, cache and what was asked for are more than the memory there is.
    DoesNotFit,
    /// Truncated files, or files of something else.
    BadWeights,
    /// A flag that this model does not go with.
    Contradiction,
    /// Something that this hardware, or this build, cannot do.
    Unsupported,
}

impl Cause {
    /// Whose fault it is.
    pub(crate) const fn class(self) -> FailureClass {
        match self {
            Self::GpuFailed => FailureClass::Gpu,
            Self::PortInUse | Self::DiskFull => FailureClass::Transient,
            Self::OutOfGpuMemory
            | Self::NotInstalled
            | Self::Arguments
            | Self::NoModel
            | Self::NoAccess
            | Self::DoesNotFit
            | Self::BadWeights
            | Self::Contradiction
            | Self::Unsupported => FailureClass::Config,
        }
    }

    /// In words, of an engine that has `served` before, or not.
    const fn words(self, served: bool) -> &'static str {
        match self {
            Self::GpuFailed => "its GPU failed",
            Self::OutOfGpuMemory if served => "out of GPU memory while serving",
            Self::OutOfGpuMemory => "out of GPU memory while loading",
            Self::PortInUse => "its port is in use",
            Self::DiskFull => "the disk is full",
            Self::NotInstalled => "a part of its program is missing",
            Self::Arguments => "it does not take its arguments",
            Self::NoModel => "it cannot find its model",
            Self::NoAccess => "the hub does not let it have its model",
            Self::DoesNotFit => "the model does not fit into its memory",
            Self::BadWeights => "its weights are damaged",
            Self::Contradiction => "its arguments do not go with its model",
            Self::Unsupported => "this node cannot run it in this way",
        }
    }
}

/// A cause, and the line that tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diagnosis {
    pub(crate) cause: Cause,
    pub(crate) line: String,
}

impl Diagnosis {
    /// For people: the cause, then the engine's own words.
    pub(crate) fn reason(&self, served: bool) -> String {
        let cause = self.cause.words(served);
        let words = clip(without_prefix(&self.line), LINE_MAX);
        if words.is_empty() { cause.to_owned() } else { format!("{cause}: {words}") }
    }
}

/// A line without who wrote it and when: vLLM writes each of a traceback as
/// `(EngineCore pid=7) ERROR 11-22 20:10:58 [core.py:1510] …`, llama.cpp writes `0.00.004.147 E …`.
fn without_prefix(line: &str) -> &str {
    if line.starts_with('(') && line.contains(" pid=") {
        return line.split_once(".py:").and_then(|(_, rest)| rest.split_once("] ")).map_or(line, |(_, rest)| rest);
    }
    match line.split_once(" E ") {
        Some((time, rest)) if time.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => rest.trim_start(),
        _ => line,
    }
}

/// What all engines can die of.
pub(super) const COMMON: &[Symptom] = &[
    ("uncorrectable ECC error", Cause::GpuFailed),
    ("GPU is lost", Cause::GpuFailed),
    ("no CUDA-capable device is detected", Cause::GpuFailed),
    ("CUDA-capable device(s) is/are busy or unavailable", Cause::GpuFailed),
    ("CUDA out of memory", Cause::OutOfGpuMemory),
    ("CUDA error: out of memory", Cause::OutOfGpuMemory),
    ("cudaMalloc failed: out of memory", Cause::OutOfGpuMemory),
    ("ddress already in use", Cause::PortInUse),
    ("No space left on device", Cause::DiskFull),
];

/// What the engines die of that are Python over torch and the hub's library.
pub(super) const PYTHON: &[Symptom] = &[
    ("ModuleNotFoundError: No module named", Cause::NotInstalled),
    ("error: unrecognized arguments", Cause::Arguments),
    ("error: argument -", Cause::Arguments),
    ("GatedRepoError", Cause::NoAccess),
    ("401 Client Error", Cause::NoAccess),
    ("Repo id must be in the form", Cause::NoModel),
    ("RepositoryNotFoundError", Cause::NoModel),
    ("RevisionNotFoundError", Cause::NoModel),
    ("is not a valid model identifier", Cause::NoModel),
    ("does not appear to have a file named", Cause::NoModel),
    ("LocalEntryNotFoundError", Cause::NoModel),
    ("SafetensorError", Cause::BadWeights),
    ("while deserializing header", Cause::BadWeights),
];

/// The first of all symptoms that one of the last `lines` shows, with the last such line: what is more telling comes
/// first in a table. Some of the texts are warnings too, where an engine can go on without.
pub(super) fn find(tables: &[&[Symptom]], lines: &[String]) -> Option<Diagnosis> {
    let last = &lines[lines.len().saturating_sub(LINES)..];
    let warns = |line: &str| ["WARNING", "Warning:"].iter().any(|mark| line.contains(mark));
    let shows = |text: &str| last.iter().rev().find(|line| line.contains(text) && !warns(line));
    tables.iter().copied().flatten().find_map(|&(text, cause)| {
        let line = shows(text)?.trim().to_owned();
        Some(Diagnosis { cause, line })
    })
}

/// Exit status of a command line that argparse and click do not accept.
pub(super) fn usage(code: Option<i32>, lines: &[String]) -> Option<Diagnosis> {
    (code == Some(2)).then(|| Diagnosis { cause: Cause::Arguments, line: crate::reason::last_words(lines) })
}
