//! Requests to an endpoint that nothing serves yet: held until a replica is ready, within bounds.

mod hold;
mod late;
mod room;
mod stream;

pub(crate) use hold::{Begun, Hold};
pub(crate) use room::{Full, WaitingRoom};
pub(crate) use stream::HeldStream;
