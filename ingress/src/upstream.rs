//! Where answers come from: an engine on this node, the service of a gateway, or the far end of a tunnel.

mod body;
mod http1;
mod local;
mod pool;
mod remote;
mod request;
mod service;

use std::{
    borrow::Cow,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, uri::PathAndQuery};

use crate::traces::TraceContext;

pub(crate) use http1::Http1Error;
pub(crate) use local::{EngineBody, EngineError, send as send_local};
pub(crate) use pool::EnginePool;
pub(crate) use remote::{RemoteBody, RemoteCall};

use crate::{api::Api, headers::Media};

/// A request as every replica gets it: headers without those of the connection, the body as it came. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) api: Api,
    pub(crate) target: PathAndQuery,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Outgoing {
    /// The same, as a replica gets it that is to go on with `trace`, if there is one.
    pub(crate) fn traced(&self, trace: Option<TraceContext>) -> Cow<'_, Self> {
        let Some(trace) = trace else { return Cow::Borrowed(self) };
        let mut traced = self.clone();
        trace.write(&mut traced.headers);
        Cow::Owned(traced)
    }
}

/// Status and headers of an answer, without those of the connection.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) media: Media,
}

impl Head {
    pub(crate) fn new(status: StatusCode, headers: HeaderMap) -> Self {
        Self { status, media: Media::of(&headers), headers }
    }
}

/// The body of an answer. Dropping it before its end cancels the request at the engine.
#[derive(Debug)]
pub(crate) enum UpstreamBody {
    Local(EngineBody),
    Remote(RemoteBody),
}

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokenBody {
    #[error("the engine's answer broke off: {0}")]
    Engine(#[from] Http1Error),
    #[error("the stream from its node broke: {0}")]
    Tunnel(#[from] crate::tunnel::FrameError),
}

impl UpstreamBody {
    /// The next bytes as they arrived, or `None` at the proper end.
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenBody>>> {
        match self {
            Self::Local(body) => body.poll_chunk(cx).map(|chunk| chunk.map(|chunk| chunk.map_err(BrokenBody::Engine))),
            Self::Remote(body) => body.poll_chunk(cx).map(|chunk| chunk.map(|chunk| chunk.map_err(BrokenBody::Tunnel))),
        }
    }

    /// As [`Self::poll_chunk`]. Cancel safe.
    pub(crate) async fn chunk(&mut self) -> Option<Result<Bytes, BrokenBody>> {
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await
    }
}
