//! What a daemon is trained with, so that the compiler sees which ways requests take: `train KEY ADDRESS...` asks each node for
//! answers of the endpoint `whole`, and for streams of `streamed`, whose tokens come one by one.

use std::{sync::Arc, time::Duration};

use super::client::{Target, closed, streams};

/// How long each kind of request is asked for.
const TIME: Duration = Duration::from_secs(4);
/// Of each stream. There are more of them than requests, as there are in life: what is seldom done is not made fast.
const TOKENS: u64 = 800;

pub fn run(mut args: impl Iterator<Item = String>) {
    let key: Arc<str> = args.next().expect("a key").into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for address in args {
        let at = |endpoint| Target { address: address.parse().unwrap(), endpoint, key: key.clone() };
        let (whole, streamed) = (at("whole"), at("streamed"));
        runtime.block_on(async {
            let short = closed(&whole, 32, 512, TIME, || {}).await;
            let long = closed(&whole, 8, 64 << 10, TIME, || {}).await;
            let streams = streams(&streamed, 64, TOKENS, TIME / TOKENS as u32, || {}).await;
            let (short, long, tokens) = (short.took.len(), long.took.len(), streams.tokens);
            println!("{address}: {short} requests, {long} of 64 KiB, {tokens} tokens of 64 streams");
        });
    }
}
