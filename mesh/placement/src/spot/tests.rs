//! The policies against made-up clouds.

mod decisions;
mod synthetic;
