//! Logs of engines as a stream of lines.

use bytes::Bytes;
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use shoal_engine_supervisor::Launch;
use shoal_types::ClaimId;

use super::problem::{Code, Problem};
use crate::node::NodeControl;

/// What of a log is wanted.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LogQuery {
    /// Lines from the end.
    pub(crate) tail: usize,
    /// Whether to go on with new lines.
    pub(crate) follow: bool,
    /// Whether of the launch before the present one.
    pub(crate) previous: bool,
}

impl Default for LogQuery {
    fn default() -> Self {
        Self { tail: 200, follow: false, previous: false }
    }
}

/// Lines of a replica of this node.
///
/// # Errors
/// If this node does not run it.
pub(crate) fn local(
    control: &NodeControl,
    claim: ClaimId,
    query: LogQuery,
) -> Result<impl Stream<Item = Result<Bytes, std::io::Error>> + Send + use<>, Problem> {
    let launch = if query.previous { Launch::Previous } else { Launch::Current };
    let reader = control.logs(claim, launch).ok_or_else(|| match launch {
        Launch::Previous => Problem::new(Code::NotFound, "the replica was launched only once: there is no log before"),
        Launch::Current => {
            Problem::new(Code::NotFound, "the replica has no log: its engine has not been started, or is gone")
        }
    })?;
    let lines = u64::try_from(query.tail).unwrap_or(u64::MAX);
    Ok(stream::unfold(reader.tail(lines), move |mut reader| async move {
        let line = if query.follow { reader.next().await } else { reader.available() }?;
        Some((Ok(Bytes::from(format!("{}\n", line.text))), reader))
    }))
}
