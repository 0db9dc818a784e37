//! Whether a model fits onto GPUs, before an engine is asked: it takes a minute to say no.
//!
//! An estimate on the safe side of refusing: what is not known is not counted, and the engine has the last word. From
//! the model's directory comes a [`ModelShape`], from the spec [`EngineArgs`]; [`check_fit`] compares, with the
//! arithmetic in the words of its [`Misfit`].

mod args;
mod estimate;
mod refuse;
mod shape;

pub use self::{
    args::{EngineArgs, Length, Number},
    estimate::{Estimate, KvCache, Misfit, check_fit},
    refuse::refuse_fit,
    shape::{Attention, ModelShape},
};
