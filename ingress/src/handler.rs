//! What is done with each request of a client.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts, uri::PathAndQuery};
use hyper::body::Incoming;
use shoal_types::{EndpointName, NodeId};
use tokio::time::Instant;

use crate::{
    Ingress,
    account::{Account, Arrival},
    admission::Admitted,
    api::Api,
    attempt::Opened,
    caller::Caller,
    choose::Affinity,
    error::{ENGINE_REFUSED, ErrorShape, REASON, RequestError},
    head::Head,
    headers::{
        HEADERS_MAX, HOPS_MAX, NODE, Present, REQUEST_ID, URI_MAX, for_engine, hops, priority, request_id,
        takes_trailers,
    },
    holding::Begun,
    keys::{Denied, Key, credential},
    models,
    pages::{is_open, not_allowed, without_body},
    pending::Pending,
    records::Trail,
    reply::{Reply, ReplyBody},
    routes::{Route, Wanted},
    upstream::Outgoing,
};

/// What is known of a request for inference by its head.
struct Heading {
    api: Api,
    present: Present,
    id: HeaderValue,
    key: Option<Arc<Key>>,
    client: IpAddr,
}

/// What a request is for, once it is clear that it may be.
enum Wish {
    Page(Response<ReplyBody>),
    Inference(Api, Option<Arc<Key>>),
}

impl Ingress {
    /// The answer to `request` of `client`. In a box, as futures have what they are given twice: as given, and as it is used.
    pub(crate) async fn respond(
        self: Arc<Self>,
        request: Box<Request<Incoming>>,
        client: IpAddr,
    ) -> Response<ReplyBody> {
        let present = Present::of(request.headers());
        let id = request_id(present.request_id.then(|| request.headers()), rand::random());
        let (api, is_head) = (Api::of(request.uri().path()), request.method() == Method::HEAD);
        let answered = match self.wish(api, &request, present) {
            Ok(Wish::Page(page)) => Ok(page),
            // In a box, as it is large, and copied about with what it is within.
            Ok(Wish::Inference(api, key)) => {
                let heading = Heading { api, present, id: id.clone(), key, client };
                Box::pin(Arc::clone(&self).infer(heading, request)).await
            }
            Err(error) => {
                if let RequestError::NoKey | RequestError::UnknownKey | RequestError::KeyNotKnownYet = error {
                    Box::pin(self.admission.throw_away(request)).await;
                }
                Err(error)
            }
        };
        let mut response =
            answered.unwrap_or_else(|error| error.response(api.map_or(ErrorShape::OpenAi, Api::errors), &id));
        if is_head {
            without_body(&mut response);
        }
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, id);
        // Where a replica answered, this names its node already.
        headers.entry(NODE).or_insert_with(|| self.name.clone());
        response
    }

    fn wish(&self, api: Option<Api>, request: &Request<Incoming>, present: Present) -> Result<Wish, RequestError> {
        check_head(request)?;
        let (method, path) = (request.method(), request.uri().path());
        match api {
            Some(_) if method != Method::POST => return Err(not_allowed(method, path, "POST")),
            None if is_open(path) => return self.page(method, path, None).map(Wish::Page),
            Some(_) | None => {}
        }
        let shown = if present.key { credential(request.headers()) } else { None };
        let identified = self.keys.load().identify(shown, self.config.auth);
        let key = identified.map_err(|denied| self.denial(denied))?;
        match api {
            Some(api) => Ok(Wish::Inference(api, key)),
            None => self.page(method, path, key.as_ref()).map(Wish::Page),
        }
    }

    /// A node that has not heard of all endpoints yet may not have heard of all keys either: both come from the store.
    fn denial(&self, denied: Denied) -> RequestError {
        self.key_metrics.denied();
        match denied {
            Denied::NoKey => RequestError::NoKey,
            Denied::UnknownKey if self.routes.load().is_complete() => RequestError::UnknownKey,
            Denied::UnknownKey => RequestError::KeyNotKnownYet,
        }
    }

    async fn infer(
        self: Arc<Self>,
        heading: Heading,
        request: Box<Request<Incoming>>,
    ) -> Result<Response<ReplyBody>, RequestError> {
        let started = Instant::now();
        let Heading { id, client, .. } = &heading;
        let arrival = Arrival { at: started, id: id.clone(), client: *client, uri: request.uri().clone() };
        let trail = Trail::new(started, self.records.trace(request.headers()));
        let mut account = Account::open(Arc::clone(&self), arrival, trail);
        let begun = match self.take_in(&heading, request, &mut account).await {
            Ok(pending) => self.forward_or_hold(&pending).await.map(|begun| (pending, begun)),
            Err(error) => Err(error),
        };
        // Before the answer, which may be accounted for at once.
        let mut limits = HeaderMap::new();
        if let Some(key) = &heading.key {
            key.tell(&mut limits, started);
        }
        let mut response = match begun {
            Ok((pending, Begun::Answer(opened))) => Arc::clone(&self).pass_on(opened, pending, account),
            Ok((pending, Begun::Waiting(hold))) => Arc::clone(&self).answer_late(pending, hold, account),
            Err(error) => {
                account.refused(&error);
                return Err(error);
            }
        };
        if !limits.is_empty() {
            response.headers_mut().extend(limits);
        }
        Ok(response)
    }

    /// Reads the whole of `request`, and finds out what it asks for.
    async fn take_in(
        &self,
        heading: &Heading,
        mut request: Box<Request<Incoming>>,
        account: &mut Box<Account>,
    ) -> Result<Box<Pending>, RequestError> {
        if let Some(key) = &heading.key {
            match Arc::clone(key).enter(account.started()) {
                Ok(visit) => account.by_key(visit),
                Err(excess) => {
                    Box::pin(self.admission.throw_away(request)).await;
                    return Err(RequestError::OverLimit { key: key.name().to_owned(), excess });
                }
            }
        }
        let admitted = self.admission.read(&mut request).await?;
        let now = Instant::now();
        let pending = self.admit(heading, request.into_parts().0, admitted, account, now)?;
        account.routed(&pending, now);
        Ok(pending)
    }

    fn admit(
        &self,
        heading: &Heading,
        mut parts: Parts,
        admitted: Admitted,
        account: &Account,
        now: Instant,
    ) -> Result<Box<Pending>, RequestError> {
        let Heading { api, present, ref id, ref key, .. } = *heading;
        if present.hops && hops(&parts.headers) > HOPS_MAX {
            return Err(RequestError::TooManyHops);
        }
        let caller = key.as_ref().map_or(Caller::ANONYMOUS, |key| key.caller());
        let priority = if present.priority { priority(&parts.headers, caller.priority) } else { Some(caller.priority) };
        let priority = priority.ok_or(RequestError::Priority)?;
        let Head { model, stream, longest, choices, prompt } =
            Head::read(api.format(), &parts.headers, &admitted.body)?;
        let route = self.find_route(&model, key.as_ref())?;
        let wanted = Wanted::new(&route, &model);
        let adapter = route.adapter(&model).map(|_| model.as_ref()).unwrap_or_default();
        let affinity = Affinity::new(&route, adapter, &parts.headers, &prompt);
        let trailers = present.te && takes_trailers(&parts.headers);
        let target = parts.uri.into_parts().path_and_query.unwrap_or(PathAndQuery::from_static("/"));
        parts.headers.insert(REQUEST_ID, id.clone());
        let outgoing = Outgoing { api, target, headers: for_engine(parts.headers), body: admitted.body.clone() };
        Ok(Box::new(Pending {
            caller: Caller { priority, ..caller },
            tally: self.tallies.of(&route.endpoint, now),
            trail: account.trail(),
            wanted,
            stream,
            longest,
            choices,
            may_wake: route.may_wake,
            outgoing,
            affinity,
            since: now,
            timeout: route.timeout,
            deadline: account.started() + route.timeout,
            route,
            trailers,
            _room: admitted,
        }))
    }

    /// The route that `model` means, if it is for who asks with `key`.
    pub(crate) fn find_route(&self, model: &str, key: Option<&Arc<Key>>) -> Result<Arc<Route>, RequestError> {
        let routes = self.routes.load();
        match (routes.route(model), key) {
            (None, _) => Err(models::unknown(&routes, model, |name| allows(key, name))),
            (Some(route), Some(key)) if !key.allows(&route.endpoint) => {
                Err(RequestError::NotAllowed { key: key.name().to_owned(), endpoint: route.endpoint.clone() })
            }
            (Some(route), _) => Ok(Arc::clone(route)),
        }
    }

    fn pass_on(
        self: Arc<Self>,
        opened: Box<Opened>,
        pending: Box<Pending>,
        mut account: Box<Account>,
    ) -> Response<ReplyBody> {
        let status = opened.head.status;
        let node = if opened.replica.node == self.node { self.name.clone() } else { name(opened.replica.node) };

        account.answered(status, opened.replica, opened.at);
        let (mut headers, body) = match opened.into_whole() {
            Ok((headers, bytes)) => {
                account.passed_value(&bytes);
                (headers, ReplyBody::full(bytes))
            }
            Err(opened) => {
                let (mut headers, reply) = Reply::new(self, pending, opened, account);
                if reply.may_change() {
                    headers.remove(header::CONTENT_LENGTH);
                }
                if reply.has_trailers() {
                    headers.insert(header::TRAILER, HeaderValue::from_static("x-shoal-resumed"));
                }
                (headers, ReplyBody::Stream(Box::new(reply)))
            }
        };
        headers.insert(NODE, node);
        if let StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED = status {
            headers.insert(REASON, ENGINE_REFUSED);
        }
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

/// Whether who asks with `key` may use `endpoint`.
pub(crate) fn allows(key: Option<&Arc<Key>>, endpoint: &EndpointName) -> bool {
    key.is_none_or(|key| key.allows(endpoint))
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

/// `node` as a header; its name is letters and digits.
pub(crate) fn name(node: NodeId) -> HeaderValue {
    HeaderValue::try_from(node.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
}
