//! A stand-in for `libnvidia-ml.so.1` whose GPUs are a JSON file.
//!
//! It is loaded through the real `nvml-wrapper`, so that tests and `shoal dev --gpus mock` take the path that production
//! takes. The state is read from the file beside the library (`<path of the library>.json`), or from the one that
//! `MOCK_NVML_STATE` names; without either there are eight idle H100s. Copies of the library have states of their own.
//! The file is read again whenever it changes; who writes it renames it into place. See [`state`] for what it can say.
//!
//! The ABI is that of NVIDIA's public header: <https://docs.nvidia.com/deploy/nvml-api/>.

// The names are NVML's. Callers are C: what a pointer must be is written in NVIDIA's header.
#![allow(non_snake_case, clippy::missing_safety_doc)]
// There is no runtime in here to wait on, and no clock but the system's.
#![allow(clippy::disallowed_methods)]

mod abi;
mod device;
mod events;
mod health;
mod identity;
mod load;
mod mig;
mod place;
mod session;
pub mod state;
mod world;
