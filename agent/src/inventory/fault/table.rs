//! Which Xid means what: NVIDIA's catalogue (<https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html>),
//! read for engines that can be started elsewhere.

use std::time::Duration;

use crate::config::FaultVerdict::{self, Cordon, DrainGpu, DrainGroup, DrainNode, Ignore, RestartEngine};

const TEN_MINUTES: Duration = Duration::from_secs(10 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// What an Xid asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) verdict: FaultVerdict,
    /// What it asks for if it comes again and again.
    pub(super) repeated: Option<Repeated>,
}

/// So many of one Xid within so long mean something else than one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeated {
    pub(super) count: usize,
    pub(super) within: Duration,
    pub(super) verdict: FaultVerdict,
}

impl Rule {
    pub(super) const fn once(verdict: FaultVerdict) -> Self {
        Self { verdict, repeated: None }
    }

    const fn repeated(verdict: FaultVerdict, count: usize, within: Duration, then: FaultVerdict) -> Self {
        Self { verdict, repeated: Some(Repeated { count, within, verdict: then }) }
    }
}

/// The rule for `xid`. Nobody knows what an unknown one means: what serves stays, and nothing new is started.
pub(super) const fn rule(xid: u32) -> Rule {
    match xid {
        // A program's own mistake, or broken hardware: the number of them tells.
        13 | 31 => Rule::repeated(RestartEngine, 3, TEN_MINUTES, Cordon),
        32 => Rule::repeated(RestartEngine, 2, HOUR, Cordon),
        109 => Rule::repeated(RestartEngine, 2, HOUR, DrainGpu),
        8 | 39..=41 | 68..=72 | 75 | 77 | 94 => Rule::once(RestartEngine),
        // 154 only announces a recovery action, which is read each second; 137 is the fault of the other end.
        43 | 45 | 92 | 121 | 137 | 154 | 157 | 160 | 161 => Rule::once(Ignore),
        // A remapped row takes effect with the next reset.
        63 => Rule::once(Cordon),
        74 | 136 | 144..=150 => Rule::once(DrainGroup),
        46 | 48 | 62 | 64 | 95 | 110 | 119 | 120 | 140 | 143 | 155 | 156 | 158 | 167 | 169 | 171..=173 => {
            Rule::once(DrainGpu)
        }
        79 | 151 => Rule::once(DrainNode),
        _ => Rule::once(Cordon),
    }
}

/// Whether the table names it: metrics give only those a label.
pub(in crate::inventory) fn is_known(xid: u32) -> bool {
    words(xid) != UNKNOWN
}

const UNKNOWN: &str = "unknown error";

/// What `xid` is, in words.
pub(super) const fn words(xid: u32) -> &'static str {
    match xid {
        8 => "the GPU stopped processing",
        13 => "graphics engine exception",
        31 => "memory page fault",
        32 => "corrupted push buffer",
        39..=41 | 70 | 71 | 75 | 77 => "copy engine error",
        43 => "a program's work was stopped",
        45 => "preemptive cleanup after another error",
        46 => "the GPU stopped processing",
        48 => "double-bit ECC error",
        62 => "internal micro-controller halt",
        63 => "a row of memory is to be remapped",
        64 => "a row of memory could not be remapped",
        68 | 69 | 72 => "engine class error",
        74 => "NVLink error",
        79 => "the GPU has fallen off the bus",
        92 => "high rate of single-bit ECC errors",
        94 => "contained ECC error",
        95 => "uncontained ECC error",
        109 => "context switch timeout",
        110 => "security fault",
        119 | 120 => "the GPU's system processor does not answer",
        121 => "chip-to-chip link error",
        136 => "NVLink training failed",
        137 => "NVLink fault of the other end",
        140 => "unrecovered ECC error",
        143 => "the GPU could not be initialised",
        144..=150 => "NVLink error",
        151 => "key rotation failed",
        154 => "the driver asks for a recovery",
        155 => "NVLink software error",
        156 | 157 => "a part of the GPU was retired",
        158 => "fatal timeout",
        160 | 161 => "a memory channel was retired",
        167 | 169 | 171..=173 => "hardware error",
        _ => UNKNOWN,
    }
}
