//! Streams that outlive their replica: what has been sent of one, whether another replica can go on with it, how it is
//! asked to, and how its events become those of the same stream. Pure; who is asked, and when, is decided elsewhere.

mod continuation;
mod eligible;
mod event;
mod exclusion;
mod follower;
mod framing;
mod json;
mod splice;
mod transcript;

pub(crate) use continuation::Continuation;
pub(crate) use eligible::Generation;
pub(crate) use exclusion::Exclusion;
pub(crate) use follower::Follower;
pub(crate) use splice::Splice;
pub(crate) use transcript::Heard;

use transcript::Transcript;
