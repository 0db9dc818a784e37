//! What happened at this node, to whom, why, and who did it: kept for a day, told in the log, and to whoever asks any node.
//!
//! Each node tells of what is its own: its replicas, its GPUs, what it decides as a steward, the writes that it took, and
//! which peers it loses. Nothing of it is gossiped; a question to all nodes puts it together.

mod book;
mod changes;
mod event;
mod file;
mod together;
mod watch;

pub(crate) use self::{
    book::{EVENTS_MAX, Events},
    event::{Draft, Event, Level, Reason, Subject},
    together::together,
    watch::watch,
};
