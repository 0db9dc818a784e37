//! A request as its backend gets it.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header, uri::PathAndQuery};
use shoal_types::{Backend, GatewayTarget};

use super::{Outgoing, body::RequestBody};
use crate::{
    api::Format,
    head::{HeadError, model_span, plain_string},
    headers::for_service,
};

/// Why a request cannot be made for a service.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RewriteError {
    #[error("the model cannot be named in its body: {0}")]
    Head(#[from] HeadError),
    #[error("the model cannot be named in its body: {0}")]
    Model(#[from] serde_json::Error),
    #[error("the service's name of the model cannot stand in a form: it has more than one line")]
    ModelLines,
    #[error("its path below the service's is none: {0}")]
    Path(#[from] http::uri::InvalidUri),
    #[error("the service's name or key cannot be a header: {0}")]
    Header(#[from] header::InvalidHeaderValue),
}

/// A POST as its backend gets it, whose length is that of its body.
#[derive(Debug)]
pub(super) struct BackendRequest<'a> {
    pub(super) target: Cow<'a, PathAndQuery>,
    pub(super) headers: Cow<'a, HeaderMap>,
    pub(super) body: RequestBody,
}

/// `request` for `backend`. An engine gets it as it came. A service gets it below its own path, with its own key, and
/// with its own name of the model; what it calls the model in its answer stays.
pub(super) fn request_for<'a>(backend: &Backend, request: &'a Outgoing) -> Result<BackendRequest<'a>, RewriteError> {
    match backend {
        Backend::Engine(_) => Ok(BackendRequest {
            target: Cow::Borrowed(&request.target),
            headers: Cow::Borrowed(&request.headers),
            body: RequestBody::whole(request.body.clone()),
        }),
        Backend::Gateway(target) => service_request(target, request),
    }
}

fn service_request<'a>(target: &GatewayTarget, request: &'a Outgoing) -> Result<BackendRequest<'a>, RewriteError> {
    let path = match target.base.as_str() {
        "" => Cow::Borrowed(&request.target),
        base => Cow::Owned(PathAndQuery::try_from(format!("{base}{}", request.target))?),
    };
    let mut headers = for_service(request.headers.clone());
    headers.insert(header::HOST, HeaderValue::try_from(authority(target))?);
    if let Some(key) = &target.key {
        let mut bearer = HeaderValue::try_from(format!("Bearer {key}"))?;
        bearer.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, bearer);
    }
    Ok(BackendRequest { target: path, headers: Cow::Owned(headers), body: with_model(request, &target.model)? })
}

/// Host and port as `Host` has them: without the port that the scheme implies.
fn authority(target: &GatewayTarget) -> String {
    let implied = if target.tls { 443 } else { 80 };
    let mut authority = String::with_capacity(target.host.len() + ":65535".len());
    authority.push_str(&target.host);
    if target.port != implied {
        authority.push(':');
        authority.push_str(itoa::Buffer::new().format(target.port));
    }
    authority
}

/// The body of `request` with `model` as its model. Every other byte stays where it is.
fn with_model(request: &Outgoing, model: &str) -> Result<RequestBody, RewriteError> {
    let (body, format) = (&request.body, request.api.format());
    let span = model_span(format, &request.headers, body)?;
    let before = &body[span.clone()];
    let is_same = match format {
        // Most are written without escapes, and need no serde.
        Format::Json => plain_string(before) == Some(model) || serde_json::from_slice::<String>(before)? == model,
        Format::Form if model.contains(['\r', '\n']) => return Err(RewriteError::ModelLines),
        Format::Form => before == model.as_bytes(),
    };
    if is_same {
        return Ok(RequestBody::whole(body.clone()));
    }
    let model = match format {
        Format::Json => serde_json::to_vec(model)?.into(),
        Format::Form => Bytes::copy_from_slice(model.as_bytes()),
    };
    Ok(RequestBody::spliced(body.slice(..span.start), model, body.slice(span.end..)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Buf as _;
    use proptest::{collection::vec, prelude::*};
    use serde_json::Value;

    use super::*;
    use crate::{api::Api, members::tests::json};

    fn sent(mut body: RequestBody) -> Bytes {
        body.copy_to_bytes(body.remaining())
    }

    fn renamed(body: &str, model: &str) -> String {
        let request = Outgoing { body: Bytes::copy_from_slice(body.as_bytes()), ..outgoing() };
        String::from_utf8(sent(with_model(&request, model).unwrap()).to_vec()).unwrap()
    }

    fn target() -> GatewayTarget {
        GatewayTarget {
            tls: true,
            host: "api.example.com".to_owned(),
            port: 443,
            base: "/openai".to_owned(),
            key: Some("secret".to_owned()),
            model: "big".to_owned(),
        }
    }

    fn outgoing() -> Outgoing {
        Outgoing {
            api: Api::Completions,
            target: PathAndQuery::from_static("/v1/completions?x=1"),
            headers: Default::default(),
            body: Bytes::from_static(br#"{"model":"a"}"#),
        }
    }

    #[test]
    fn a_service_is_asked_below_its_path_with_its_key_and_its_name() {
        let asked = outgoing();
        let request = request_for(&Backend::Gateway(Arc::new(target())), &asked).unwrap();
        assert_eq!(*request.target, "/openai/v1/completions?x=1");
        assert_eq!(request.headers[header::HOST], "api.example.com");
        assert_eq!(request.headers[header::AUTHORIZATION], "Bearer secret");
        assert!(!format!("{request:?}").contains("secret"));
        assert_eq!(sent(request.body), r#"{"model":"big"}"#);

        let elsewhere = GatewayTarget { tls: false, port: 8080, base: String::new(), key: None, ..target() };
        let request = request_for(&Backend::Gateway(Arc::new(elsewhere)), &asked).unwrap();
        assert_eq!(*request.target, "/v1/completions?x=1");
        assert_eq!(request.headers[header::HOST], "api.example.com:8080");
        assert!(!request.headers.contains_key(header::AUTHORIZATION));
    }

    #[test]
    fn only_the_models_own_text_changes() {
        let body = "{ \"a\":{\"model\":\"x\"}, \"model\" :\t\"\\u006d \\\" }\" , \"n\":1e999 }";
        let expected = "{ \"a\":{\"model\":\"x\"}, \"model\" :\t\"q\\\"uo\" , \"n\":1e999 }";
        assert_eq!(renamed(body, "q\"uo"), expected);
        assert_eq!(renamed(r#"{"mod\u0065l":"x"}"#, "y"), r#"{"mod\u0065l":"y"}"#);
        assert_eq!(renamed(r#"{"model": "a"}"#, "a"), r#"{"model": "a"}"#);
        // Written differently, but the same.
        assert_eq!(renamed(r#"{"model":"\u0061"}"#, "a"), r#"{"model":"\u0061"}"#);
    }

    #[test]
    fn a_form_gets_the_services_name_as_well() {
        let form = |model: &str| {
            format!(
                "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n--b\r\n\r\n\"\0\r\n--b--\r\n"
            )
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("multipart/form-data; boundary=b"));
        let request = Outgoing { api: Api::Transcriptions, headers, body: form("a").into(), ..outgoing() };
        assert_eq!(sent(with_model(&request, "org/whisper").unwrap()), form("org/whisper"));
        assert_eq!(sent(with_model(&request, "a").unwrap()), form("a"));
        assert!(with_model(&request, "a\r\n--b--").is_err());
    }

    #[test]
    fn a_body_without_a_model_cannot_be_sent() {
        for body in ["", "[]", "{}", r#"{"model":null}"#, r#"{"model":1}"#, r#"{"model":"a","model":"b"}"#] {
            let request = Outgoing { body: Bytes::copy_from_slice(body.as_bytes()), ..outgoing() };
            assert!(with_model(&request, "x").is_err(), "{body}");
        }
    }

    proptest! {
        /// Rule 10: the model never changes silently. What is sent says the service's name, and nothing else differs.
        #[test]
        fn rule_10_all_but_the_model_stays_byte_for_byte(
            before in vec(json(), 0..3), after in vec(json(), 0..3), old: String, new: String,
        ) {
            let members = |values: &[String], prefix: &str| -> Vec<String> {
                values.iter().enumerate().map(|(index, value)| format!("\"{prefix}{index}\": {value}")).collect()
            };
            let old = serde_json::to_string(&old).unwrap();
            let (before, after) = (members(&before, "b"), members(&after, "a"));
            let of = |model: &str| {
                let model = format!("\"model\" : {model}");
                let all: Vec<&str> =
                    before.iter().map(String::as_str).chain([model.as_str()]).chain(after.iter().map(String::as_str)).collect();
                format!(" {{ {} }}\n", all.join(" ,"))
            };
            let (body, result) = (of(&old), renamed(&of(&old), &new));
            let mut expected: Value = serde_json::from_str(&body).unwrap();
            expected["model"] = new.as_str().into();
            prop_assert_eq!(serde_json::from_str::<Value>(&result).unwrap(), expected);
            let same = serde_json::from_str::<String>(&old).unwrap() == new;
            prop_assert_eq!(result, if same { body } else { of(&serde_json::to_string(&new).unwrap()) });
        }

        #[test]
        fn any_bytes_are_looked_at_without_panic(bytes: Vec<u8>) {
            let _ = with_model(&Outgoing { body: bytes.into(), ..outgoing() }, "x");
        }
    }
}
