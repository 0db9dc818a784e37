//! A mesh whose network a test scripts: `Mesh::start(&[A, A, B])`, `mesh.net.partition(&[0, 1], &[2])`, `mesh.net.heal()`.

mod client;
mod load;
mod mesh;
mod namespace;
mod net;
mod node;
mod watch;
mod weather;

use std::{
    io::{self, Write as _},
    time::Duration,
};

pub(crate) use load::{Load, hold};
pub(crate) use mesh::{ENDPOINT, Mesh, endpoint};
pub(crate) use node::Site;
pub(crate) use watch::{Round, Watch};

/// Longest wait for what has no bar of its own: generous, as test machines stall.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A line for whoever runs the tests. Not `println!`, which the test runner swallows when a test passes.
pub(crate) fn say(line: &str) {
    writeln!(io::stderr(), "{line}").expect("stderr can be written");
}
