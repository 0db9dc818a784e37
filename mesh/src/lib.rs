//! Everything nodes say to each other.

pub mod clock;
