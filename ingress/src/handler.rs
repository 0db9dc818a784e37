//! What is done with each request of a client.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, uri::PathAndQuery};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::{
    Ingress,
    account::Account,
    api::Api,
    attempt::Opened,
    error::{ENGINE_REFUSED, ErrorShape, REASON, RequestError},
    head::Head,
    headers::{HEADERS_MAX, HOPS_MAX, NODE, REQUEST_ID, URI_MAX, for_engine, hops, request_id},
    holding::Begun,
    models,
    pages::{not_allowed, without_body},
    pending::Pending,
    reply::{Reply, ReplyBody},
    routes::{Route, Wanted},
    upstream::Outgoing,
};

impl Ingress {
    /// The answer to `request`.
    pub(crate) async fn respond(self: Arc<Self>, request: Request<Incoming>) -> Response<ReplyBody> {
        let id = request_id(request.headers(), rand::random());
        let (api, is_head) = (Api::of(request.uri().path()), request.method() == Method::HEAD);
        let answered = match check_head(&request) {
            Ok(()) => self.route_request(api, request, &id).await,
            Err(error) => Err(error),
        };
        let mut response = answered.unwrap_or_else(|error| error.response(api.map_or(ErrorShape::OpenAi, Api::errors)));
        if is_head {
            without_body(&mut response);
        }
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, id);
        // Where a replica answered, this names its node already.
        headers.entry(NODE).or_insert_with(|| text(self.node.to_string()));
        response
    }

    async fn route_request(
        self: &Arc<Self>,
        api: Option<Api>,
        request: Request<Incoming>,
        id: &HeaderValue,
    ) -> Result<Response<ReplyBody>, RequestError> {
        let (method, path) = (request.method(), request.uri().path());
        match api {
            Some(api) if method == Method::POST => Arc::clone(self).infer(api, request, id).await,
            Some(_) => Err(not_allowed(method, path, "POST")),
            None => self.page(method, path),
        }
    }

    async fn infer(
        self: Arc<Self>,
        api: Api,
        request: Request<Incoming>,
        id: &HeaderValue,
    ) -> Result<Response<ReplyBody>, RequestError> {
        let started = Instant::now();
        let mut account = Account::open(self.metrics.clone(), started);
        match Box::pin(self.begin(api, request, id, started, &mut account)).await {
            Ok((pending, Begun::Answer(opened))) => Ok(self.pass_on(opened, &pending, account)),
            Ok((pending, Begun::Waiting(hold))) => Ok(self.answer_late(pending, hold, account)),
            Err(error) => {
                account.refused(error.status());
                Err(error)
            }
        }
    }

    async fn begin(
        &self,
        api: Api,
        request: Request<Incoming>,
        id: &HeaderValue,
        started: Instant,
        account: &mut Account,
    ) -> Result<(Pending, Begun), RequestError> {
        let pending = self.admit(api, request, id, started).await?;
        account.routed(&pending.wanted.endpoint, Arc::clone(&pending.tally), pending.stream);
        let begun = self.forward_or_hold(&pending).await?;
        Ok((pending, begun))
    }

    async fn admit(
        &self,
        api: Api,
        request: Request<Incoming>,
        id: &HeaderValue,
        started: Instant,
    ) -> Result<Pending, RequestError> {
        let (mut parts, admitted) = self.admission.read(request).await?;
        if hops(&parts.headers) > HOPS_MAX {
            return Err(RequestError::TooManyHops);
        }
        let Head { model, stream } = Head::read(api.format(), &parts.headers, &admitted.body)?;
        let route = self.find_route(&model)?;
        let wanted = Wanted::new(&route, &model);
        let target = parts.uri.into_parts().path_and_query.unwrap_or(PathAndQuery::from_static("/"));
        parts.headers.insert(REQUEST_ID, id.clone());
        let outgoing = Outgoing { api, target, headers: for_engine(parts.headers), body: admitted.body.clone() };
        Ok(Pending {
            tally: self.tallies.of(&route.endpoint, Instant::now()),
            wanted,
            stream,
            may_wake: route.may_wake,
            outgoing,
            timeout: route.timeout,
            deadline: started + route.timeout,
            _room: admitted,
        })
    }

    fn find_route(&self, model: &str) -> Result<Arc<Route>, RequestError> {
        let routes = self.routes.load();
        routes.route(model).cloned().ok_or_else(|| models::unknown(&routes, model))
    }

    fn pass_on(&self, opened: Opened, pending: &Pending, mut account: Account) -> Response<ReplyBody> {
        let status = opened.head.status;
        let mut headers: HeaderMap = opened.head.headers.clone();
        headers.insert(NODE, text(opened.replica.node.to_string()));
        if let StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED = status {
            headers.insert(REASON, ENGINE_REFUSED);
        }
        account.answered(status, &opened.replica, Instant::now());
        let (suspicions, shape) = (Arc::clone(&self.suspicions), pending.outgoing.api.errors());
        let reply = Reply::new(opened, pending.deadline, account, suspicions, shape);
        let mut response = Response::new(ReplyBody::Stream(Box::new(reply)));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

/// Whether the head of `request` is within its bounds; that of its whole size has been held to before it got here.
fn check_head(request: &Request<Incoming>) -> Result<(), RequestError> {
    if request.uri().path_and_query().is_some_and(|target| target.as_str().len() > URI_MAX) {
        return Err(RequestError::UriTooLong);
    }
    if request.headers().len() > HEADERS_MAX {
        return Err(RequestError::TooManyHeaders);
    }
    Ok(())
}

/// `value`, which is letters and digits, as a header.
fn text(value: String) -> HeaderValue {
    HeaderValue::try_from(value).unwrap_or_else(|_| HeaderValue::from_static(""))
}
