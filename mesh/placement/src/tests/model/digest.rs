//! What two states are compared by.

use std::{
    collections::hash_map::DefaultHasher,
    fmt::{self, Debug, Write},
    hash::Hasher,
};

/// Of what `printed` prints: two that print the same decide the same.
pub(super) fn digest(printed: &impl Debug) -> u64 {
    let mut hasher = Printed(DefaultHasher::new());
    write!(hasher, "{printed:?}").unwrap();
    hasher.0.finish()
}

/// Hashes what is printed to it.
struct Printed(DefaultHasher);

impl Write for Printed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}
