//! How many replicas an endpoint needs for what is asked of it.

mod gauge;
mod needed;
mod window;

pub(super) use self::gauge::{Gauge, Scaled};
