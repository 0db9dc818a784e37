//! What the ingress answers by itself: whether it is there, and what can be asked for.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body::Body as _;

use crate::{Ingress, error::RequestError, handler::allows, keys::Key, models, reply::ReplyBody};

/// Longest path that is repeated in an error, in characters.
const PATH_MAX: usize = 100;
/// The methods of all pages.
const ALLOWED: &str = "GET, HEAD";

/// One of the ingress's own pages.
enum Page<'a> {
    Live,
    Ready,
    /// Where people look for the dashboard.
    Dashboard,
    Models,
    /// One model, by its name as the path has it.
    Model(&'a str),
}

impl<'a> Page<'a> {
    fn of(path: &'a str) -> Option<Self> {
        match path {
            "/livez" => Some(Self::Live),
            "/readyz" => Some(Self::Ready),
            "/ui" | "/ui/" => Some(Self::Dashboard),
            "/v1/models" => Some(Self::Models),
            path => path.strip_prefix("/v1/models/").map(Self::Model),
        }
    }
}

impl Ingress {
    /// The page at `path`, for who asks with `key`.
    pub(crate) fn page(
        &self,
        method: &Method,
        path: &str,
        key: Option<&Arc<Key>>,
    ) -> Result<Response<ReplyBody>, RequestError> {
        let Some(page) = Page::of(path) else {
            return Err(RequestError::NoSuchRoute { method: method.clone(), path: excerpt(path) });
        };
        if method != Method::GET && method != Method::HEAD {
            return Err(not_allowed(method, path, ALLOWED));
        }
        match page {
            Page::Live => Ok(plain(StatusCode::OK, "ok")),
            Page::Ready if self.is_ready() => Ok(plain(StatusCode::OK, "ok")),
            Page::Ready => Ok(plain(StatusCode::SERVICE_UNAVAILABLE, "stopping")),
            Page::Dashboard => Err(RequestError::DashboardElsewhere),
            Page::Models => Ok(json(models::list(&self.routes.load(), |name| allows(key, name)))),
            Page::Model(name) => {
                let name = models::unescape(name);
                let route = self.find_route(&name, key)?;
                Ok(json(models::one(&route, &name)))
            }
        }
    }
}

/// Whether what is at `path` is shown to whoever asks: health is asked for by those who have no key.
pub(crate) fn is_open(path: &str) -> bool {
    matches!(Page::of(path), Some(Page::Live | Page::Ready | Page::Dashboard))
}

/// That what is at `path` is asked with other methods.
pub(crate) fn not_allowed(method: &Method, path: &str, allowed: &'static str) -> RequestError {
    RequestError::MethodNotAllowed { method: method.clone(), path: excerpt(path), allowed }
}

/// What HEAD gets of `response` (RFC 9110, section 9.3.2): all but the body, over HTTP/2 as well, where hyper leaves that
/// to us.
pub(crate) fn without_body(response: &mut Response<ReplyBody>) {
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    *response.body_mut() = ReplyBody::full("");
}

fn excerpt(path: &str) -> String {
    path.chars().take(PATH_MAX).collect()
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
