//! Requests that wait: for an endpoint that nothing serves yet, until a replica is ready; for one whose replicas have all
//! they can do, until one has room. One queue for both, fair and bounded.

mod drain;
mod fair;
mod hold;
mod late;
mod line;
mod refusal;
mod room;
mod stream;
mod usher;

pub(crate) use fair::Asker;
pub(crate) use hold::{Begun, Hold};
pub(crate) use line::Called;
pub(crate) use room::{Full, WaitingRoom};
pub(crate) use stream::HeldStream;
