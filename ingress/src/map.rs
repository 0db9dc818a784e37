//! Maps that every request looks into.

use std::collections::HashMap;

/// std's map with a hash that costs a tenth. Its keys are ids and the names in specs; nobody outside can choose them to fall
/// on one another.
pub(crate) type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
