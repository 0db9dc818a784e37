//! For tests: a node that reaches no other one.

use futures_util::{FutureExt as _, future::BoxFuture};
use shoal_types::NodeId;

use super::{Dial, DialError, Tunnel};

pub(crate) struct Nobody;

impl Dial for Nobody {
    fn open(&self, node: NodeId) -> BoxFuture<'static, Result<Tunnel, DialError>> {
        async move { Err(DialError::new(node)) }.boxed()
    }
}
