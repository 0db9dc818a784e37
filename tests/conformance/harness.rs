//! What the tests share.

mod client;
mod engine;
mod node;
mod processes;

pub(crate) use self::{
    client::{Stream, address, post},
    engine::EngineUnderTest,
    node::Node,
    processes::Group,
};
