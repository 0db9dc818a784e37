//! What a daemon is trained with, so that the compiler sees which ways requests take: `train KEY ADDRESS...` asks each node for
//! answers of the endpoint `whole`, and for streams of `streamed`, whose tokens come one by one.

use std::{sync::Arc, time::Duration};

use super::client::{Target, closed, streams};

/// How long short requests are asked for, by far the most: a compiler takes for hot only what makes up nearly all of what was
/// counted, and of each token it counts less than a tenth of what it does of a request.
const SHORT: Duration = Duration::from_secs(20);
/// The same of long ones.
const LONG: Duration = Duration::from_secs(2);
const STREAMS: u32 = 64;
/// Short requests for each token, so that the one does not become colder to the compiler where the machine is faster at the other.
const PER_TOKEN: u64 = 4;
/// That of the simulated engine between two of them.
const GAP: Duration = Duration::from_millis(5);

pub fn run(mut args: impl Iterator<Item = String>) {
    let key: Arc<str> = args.next().expect("a key").into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for address in args {
        let at = |endpoint| Target { address: address.parse().unwrap(), endpoint, key: key.clone() };
        let (whole, streamed) = (at("whole"), at("streamed"));
        runtime.block_on(async {
            let short = closed(&whole, 32, 512, SHORT, || {}).await;
            let long = closed(&whole, 8, 64 << 10, LONG, || {}).await;
            let (short, long) = (short.took.len() as u64, long.took.len());
            let each = (short / PER_TOKEN / u64::from(STREAMS)).max(1);
            let tokens = streams(&streamed, STREAMS, each, GAP, || {}).await.tokens;
            println!("{address}: {short} requests, {long} of 64 KiB, {tokens} tokens of {STREAMS} streams");
        });
    }
}
