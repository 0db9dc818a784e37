//! The models on this node's disk: what is there, what is fetched, what has to go.
//!
//! A [`WeightStore`] keeps one directory in the layout of Hugging Face's cache, so that engines find there what it
//! fetched and it finds what engines fetched before. Claims hold models; what none holds may be evicted, the least
//! recently used first, once a budget is set. Models given as absolute paths are checked, never fetched, never removed.
//!
//! Files are compared by size and, for safetensors, by what their header says of it; hashes are not computed.

mod books;
mod check;
mod choose;
mod config;
mod disk;
mod download;
mod error;
mod evict;
mod hub;
mod inventory;
mod layout;
mod meter;
mod model_id;
mod room;
mod store;

pub(crate) use self::check::{check_model, read_object};
pub use self::{
    check::BadModel,
    choose::NoChoice,
    config::{HubConfig, WeightsConfig},
    error::WeightsError,
    hub::HubError,
    inventory::StoredModel,
    room::NoRoom,
    store::WeightStore,
};
