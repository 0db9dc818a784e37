//! What is done with each request of a client.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, uri::PathAndQuery};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::{
    Ingress,
    account::Account,
    attempt::Opened,
    caller::Caller,
    error::RequestError,
    head::Head,
    headers::{HOPS_MAX, NODE, REQUEST_ID, for_engine, hops, priority, request_id},
    holding::Begun,
    models,
    pending::Pending,
    reply::{Reply, ReplyBody},
    routes::{Route, Wanted},
    upstream::{Outgoing, is_inference},
};

/// Longest path that is repeated in an error, in characters.
const PATH_MAX: usize = 100;

impl Ingress {
    /// The answer to `request`.
    pub(crate) async fn respond(self: Arc<Self>, request: Request<Incoming>) -> Response<ReplyBody> {
        let id = request_id(request.headers(), rand::random());
        let mut response = match self.route_request(request, &id).await {
            Ok(response) => response,
            Err(error) => error.response(),
        };
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, id);
        // Where a replica answered, this names its node already.
        headers.entry(NODE).or_insert_with(|| text(self.node.to_string()));
        response
    }

    async fn route_request(
        self: &Arc<Self>,
        request: Request<Incoming>,
        id: &HeaderValue,
    ) -> Result<Response<ReplyBody>, RequestError> {
        let path = request.uri().path();
        match (request.method(), path) {
            (&Method::GET, "/livez") => Ok(plain(StatusCode::OK, "ok")),
            (&Method::GET, "/readyz") if self.is_ready() => Ok(plain(StatusCode::OK, "ok")),
            (&Method::GET, "/readyz") => Ok(plain(StatusCode::SERVICE_UNAVAILABLE, "stopping")),
            (&Method::GET, "/v1/models") => Ok(json(models::list(&self.routes.load()))),
            (&Method::GET, path) if path.starts_with("/v1/models/") => self.model(path),
            (&Method::POST, path) if is_inference(path) => Arc::clone(self).infer(request, id).await,
            (method, path) => {
                Err(RequestError::NoSuchRoute { method: method.clone(), path: path.chars().take(PATH_MAX).collect() })
            }
        }
    }

    fn model(&self, path: &str) -> Result<Response<ReplyBody>, RequestError> {
        let name = models::unescape(path.trim_start_matches("/v1/models/"));
        let routes = self.routes.load();
        models::one(&routes, &name).map(json).ok_or_else(|| models::unknown(&routes, &name))
    }

    async fn infer(
        self: Arc<Self>,
        request: Request<Incoming>,
        id: &HeaderValue,
    ) -> Result<Response<ReplyBody>, RequestError> {
        let started = Instant::now();
        let mut account = Account::open(self.metrics.clone(), started);
        match Box::pin(self.begin(request, id, started, &mut account)).await {
            Ok((pending, Begun::Answer(opened))) => Ok(self.pass_on(opened, pending.deadline, account)),
            Ok((pending, Begun::Waiting(hold))) => Ok(self.answer_late(pending, hold, account)),
            Err(error) => {
                account.refused(error.status());
                Err(error)
            }
        }
    }

    async fn begin(
        &self,
        request: Request<Incoming>,
        id: &HeaderValue,
        started: Instant,
        account: &mut Account,
    ) -> Result<(Pending, Begun), RequestError> {
        let pending = self.admit(request, id, started).await?;
        account.routed(&pending.wanted.endpoint, Arc::clone(&pending.tally), pending.stream);
        let begun = self.forward_or_hold(&pending).await?;
        Ok((pending, begun))
    }

    async fn admit(
        &self,
        request: Request<Incoming>,
        id: &HeaderValue,
        started: Instant,
    ) -> Result<Pending, RequestError> {
        let (mut parts, admitted) = self.admission.read(request).await?;
        if hops(&parts.headers) > HOPS_MAX {
            return Err(RequestError::TooManyHops);
        }
        let caller = Caller::ANONYMOUS;
        let priority = priority(&parts.headers, caller.priority).ok_or(RequestError::Priority)?;
        let Head { model, stream } = Head::parse(&admitted.body)?;
        let route = self.find_route(&model)?;
        let wanted = Wanted::new(&route, &model);
        let target = parts.uri.into_parts().path_and_query.unwrap_or(PathAndQuery::from_static("/"));
        parts.headers.insert(REQUEST_ID, id.clone());
        let outgoing = Outgoing { target, headers: for_engine(parts.headers), body: admitted.body.clone() };
        Ok(Pending {
            caller: Caller { priority, ..caller },
            tally: self.tallies.of(&route.endpoint, Instant::now()),
            wanted,
            stream,
            may_wake: route.may_wake,
            outgoing,
            timeout: route.timeout,
            queue: route.queue,
            deadline: started + route.timeout,
            _room: admitted,
        })
    }

    fn find_route(&self, model: &str) -> Result<Arc<Route>, RequestError> {
        let routes = self.routes.load();
        routes.route(model).cloned().ok_or_else(|| models::unknown(&routes, model))
    }

    fn pass_on(&self, opened: Opened, deadline: Instant, mut account: Account) -> Response<ReplyBody> {
        let status = opened.head.status;
        let mut headers: HeaderMap = opened.head.headers.clone();
        headers.insert(NODE, text(opened.replica.node.to_string()));
        account.answered(status, &opened.replica, Instant::now());
        let reply = Reply::new(opened, deadline, account, Arc::clone(&self.suspicions));
        let mut response = Response::new(ReplyBody::Stream(Box::new(reply)));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

/// `value`, which is letters and digits, as a header.
fn text(value: String) -> HeaderValue {
    HeaderValue::try_from(value).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn plain(status: StatusCode, body: &'static str) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn json(body: Bytes) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::full(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
