//! What is done with each request of a client.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, uri::PathAndQuery};
use hyper::body::Incoming;
use shoal_types::EndpointName;
use tokio::time::Instant;

use crate::{
    Ingress,
    account::{Account, Arrival},
    attempt::Opened,
    caller::Caller,
    choose::Affinity,
    error::RequestError,
    head::Head,
    headers::{HOPS_MAX, NODE, REQUEST_ID, for_engine, hops, priority, request_id, takes_trailers},
    holding::Begun,
    keys::{Denied, Key},
    models,
    pending::Pending,
    records::Trail,
    reply::{Reply, ReplyBody},
    routes::{Route, Wanted},
    upstream::{Outgoing, is_inference},
};

/// Longest path that is repeated in an error, in characters.
const PATH_MAX: usize = 100;

impl Ingress {
    /// The answer to `request` of `client`.
    pub(crate) async fn respond(self: Arc<Self>, request: Request<Incoming>, client: IpAddr) -> Response<ReplyBody> {
        let id = request_id(request.headers(), rand::random());
        let mut response = match self.route_request(request, client, &id).await {
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
        client: IpAddr,
        id: &HeaderValue,
    ) -> Result<Response<ReplyBody>, RequestError> {
        let path = request.uri().path();
        match (request.method(), path) {
            (&Method::GET, "/livez") => Ok(plain(StatusCode::OK, "ok")),
            (&Method::GET, "/readyz") if self.is_ready() => Ok(plain(StatusCode::OK, "ok")),
            (&Method::GET, "/readyz") => Ok(plain(StatusCode::SERVICE_UNAVAILABLE, "stopping")),
            (_, _) => self.route_with_key(request, client, id).await,
        }
    }

    /// The answer to a request that is served only to who may ask.
    async fn route_with_key(
        self: &Arc<Self>,
        request: Request<Incoming>,
        client: IpAddr,
        id: &HeaderValue,
    ) -> Result<Response<ReplyBody>, RequestError> {
        let identified = self.keys.load().identify(request.headers(), self.config.auth);
        let key = match identified {
            Ok(key) => key,
            Err(denied) => {
                self.key_metrics.denied();
                self.admission.throw_away(request).await;
                return Err(self.denial(denied));
            }
        };
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/v1/models") => {
                Ok(json(models::list(&self.routes.load(), |name| allows(key.as_ref(), name))))
            }
            (&Method::GET, path) if path.starts_with("/v1/models/") => self.model(path, key.as_ref()),
            (&Method::POST, path) if is_inference(path) => Arc::clone(self).infer(request, client, id, key).await,
            (method, path) => {
                Err(RequestError::NoSuchRoute { method: method.clone(), path: path.chars().take(PATH_MAX).collect() })
            }
        }
    }

    /// A node that has not heard of all endpoints yet may not have heard of all keys either: both come from the store.
    fn denial(&self, denied: Denied) -> RequestError {
        match denied {
            Denied::NoKey => RequestError::NoKey,
            Denied::UnknownKey if self.routes.load().is_complete() => RequestError::UnknownKey,
            Denied::UnknownKey => RequestError::KeyNotKnownYet,
        }
    }

    fn model(&self, path: &str, key: Option<&Arc<Key>>) -> Result<Response<ReplyBody>, RequestError> {
        let name = models::unescape(path.trim_start_matches("/v1/models/"));
        let route = self.find_route(&name, key)?;
        Ok(json(models::one(&route, &name)))
    }

    async fn infer(
        self: Arc<Self>,
        request: Request<Incoming>,
        client: IpAddr,
        id: &HeaderValue,
        key: Option<Arc<Key>>,
    ) -> Result<Response<ReplyBody>, RequestError> {
        let started = Instant::now();
        let arrival = Arrival { at: started, id: id.clone(), client, uri: request.uri().clone() };
        let trail = Trail::new(started, self.records.trace(request.headers()));
        let mut account = Account::open(self.metrics.clone(), Arc::clone(&self.records), arrival, trail);
        let mut response = match Box::pin(self.begin(request, id, key.as_ref(), &mut account)).await {
            Ok((pending, Begun::Answer(opened))) => Arc::clone(&self).pass_on(opened, pending, account),
            Ok((pending, Begun::Waiting(hold))) => Arc::clone(&self).answer_late(pending, hold, account),
            Err(error) => {
                account.refused(&error);
                return Err(error);
            }
        };
        if let Some(key) = &key {
            key.tell(response.headers_mut(), started);
        }
        Ok(response)
    }

    async fn begin(
        &self,
        request: Request<Incoming>,
        id: &HeaderValue,
        key: Option<&Arc<Key>>,
        account: &mut Account,
    ) -> Result<(Pending, Begun), RequestError> {
        if let Some(key) = key {
            match Arc::clone(key).enter(account.started()) {
                Ok(visit) => account.by_key(visit),
                Err(excess) => {
                    self.admission.throw_away(request).await;
                    return Err(RequestError::OverLimit { key: key.name().to_owned(), excess });
                }
            }
        }
        let pending = self.admit(request, id, key, account.started(), account.trail()).await?;
        account.routed(&pending);
        let begun = self.forward_or_hold(&pending).await?;
        Ok((pending, begun))
    }

    async fn admit(
        &self,
        request: Request<Incoming>,
        id: &HeaderValue,
        key: Option<&Arc<Key>>,
        started: Instant,
        trail: Arc<Trail>,
    ) -> Result<Pending, RequestError> {
        let (mut parts, admitted) = self.admission.read(request).await?;
        if hops(&parts.headers) > HOPS_MAX {
            return Err(RequestError::TooManyHops);
        }
        let caller = key.map_or(Caller::ANONYMOUS, |key| key.caller());
        let priority = priority(&parts.headers, caller.priority).ok_or(RequestError::Priority)?;
        let Head { model, stream, prompt } = Head::parse(&admitted.body)?;
        let route = self.find_route(&model, key)?;
        let wanted = Wanted::new(&route, &model);
        let affinity = Affinity::new(&route, "", &parts.headers, &prompt);
        let trailers = takes_trailers(&parts.headers);
        let target = parts.uri.into_parts().path_and_query.unwrap_or(PathAndQuery::from_static("/"));
        parts.headers.insert(REQUEST_ID, id.clone());
        let outgoing = Outgoing { target, headers: for_engine(parts.headers), body: admitted.body.clone() };
        Ok(Pending {
            caller: Caller { priority, ..caller },
            tally: self.tallies.of(&route.endpoint, Instant::now()),
            trail,
            wanted,
            stream,
            may_wake: route.may_wake,
            outgoing,
            affinity,
            timeout: route.timeout,
            deadline: started + route.timeout,
            route,
            trailers,
            _room: admitted,
        })
    }

    /// The route that `model` means, if it is for who asks with `key`.
    fn find_route(&self, model: &str, key: Option<&Arc<Key>>) -> Result<Arc<Route>, RequestError> {
        let routes = self.routes.load();
        match (routes.route(model), key) {
            (None, _) => Err(models::unknown(&routes, model, |name| allows(key, name))),
            (Some(route), Some(key)) if !key.allows(&route.endpoint) => {
                Err(RequestError::NotAllowed { key: key.name().to_owned(), endpoint: route.endpoint.clone() })
            }
            (Some(route), _) => Ok(Arc::clone(route)),
        }
    }

    fn pass_on(self: Arc<Self>, opened: Opened, pending: Pending, mut account: Account) -> Response<ReplyBody> {
        let status = opened.head.status;
        let mut headers: HeaderMap = opened.head.headers.clone();
        headers.insert(NODE, text(opened.replica.node.to_string()));
        account.answered(status, &opened.replica, Instant::now());
        let reply = Reply::new(self, pending, opened, account);
        if reply.may_change() {
            headers.remove(header::CONTENT_LENGTH);
        }
        if reply.has_trailers() {
            headers.insert(header::TRAILER, HeaderValue::from_static("x-shoal-resumed"));
        }
        let mut response = Response::new(ReplyBody::Stream(Box::new(reply)));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

/// Whether who asks with `key` may use `endpoint`.
fn allows(key: Option<&Arc<Key>>, endpoint: &EndpointName) -> bool {
    key.is_none_or(|key| key.allows(endpoint))
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
