//! An engine that does not think: an answer of 1 KiB, or as many tokens as are asked for, one after each gap.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Request, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use memchr::memmem::find;
use tokio::{
    net::TcpListener,
    task::{LocalSet, spawn_local},
    time::{Instant, interval_at},
};

const TOKEN: &[u8] =
    b"data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"bench\",\
    \"choices\":[{\"index\":0,\"delta\":{\"content\":\" token\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n";
const END: &[u8] =
    b"data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"bench\",\
    \"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

pub fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        loop {
            let (client, _) = listener.accept().await.unwrap();
            client.set_nodelay(true).unwrap();
            spawn_local(async move {
                let _ = http1::Builder::new().serve_connection(TokioIo::new(client), service_fn(answer)).await;
            });
        }
    });
}

async fn answer(request: Request<Incoming>) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let (media, body) = match find(&body, b"\"stream\":true") {
        None => {
            let text = "a".repeat(800);
            let answer = format!(
                "{{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"bench\",\"choices\":[{{\"index\":0,\
                 \"message\":{{\"role\":\"assistant\",\"content\":\"{text}\"}},\"finish_reason\":\"stop\"}}],\"usage\":\
                 {{\"prompt_tokens\":128,\"completion_tokens\":200,\"total_tokens\":328}}}}"
            );
            ("application/json", Full::from(answer).boxed_unsync())
        }
        Some(_) => {
            let (tokens, gap) = (number(&body, b"\"max_tokens\":"), Duration::from_millis(number(&body, b"\"gap\":")));
            let tick = interval_at(Instant::now() + gap, gap);
            let events = stream::unfold((tick, 0), move |(mut tick, sent)| async move {
                let event = if sent < tokens { TOKEN } else { END };
                if sent > tokens {
                    return None;
                }
                tick.tick().await;
                Some((Ok(Frame::data(Bytes::from_static(event))), (tick, sent + 1)))
            });
            ("text/event-stream", StreamBody::new(events.boxed()).boxed_unsync())
        }
    };
    Ok(Response::builder().header(header::CONTENT_TYPE, media).body(body).unwrap())
}

/// The number that follows `name` in `body`.
fn number(body: &[u8], name: &[u8]) -> u64 {
    let digits = &body[find(body, name).unwrap() + name.len()..];
    digits.iter().take_while(|byte| byte.is_ascii_digit()).fold(0, |sum, byte| sum * 10 + u64::from(byte - b'0'))
}
