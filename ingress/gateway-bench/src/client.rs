//! Clients that cost little: bytes that were made before, and answers of which only the end is looked for.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::BytesMut;
use memchr::memmem::{find, find_iter};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, sleep_until},
};

/// What is asked: an endpoint at a gateway, with a key.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    pub endpoint: &'static str,
    pub key: Arc<str>,
}

/// How long what was begun is not counted yet.
const WARM: Duration = Duration::from_secs(1);

/// What clients have seen.
#[derive(Default)]
pub struct Seen {
    /// Requests that were answered after the beginning, and how long each took.
    pub took: Vec<Duration>,
    /// Tokens of streams, and those that came together with another one.
    pub tokens: u64,
    pub merged: u64,
}

impl Seen {
    fn of(all: Vec<Self>) -> Self {
        let mut sum = Self::default();
        for one in all {
            sum.took.extend(one.took);
            (sum.tokens, sum.merged) = (sum.tokens + one.tokens, sum.merged + one.merged);
        }
        sum.took.sort_unstable();
        sum
    }

    /// What 99 of 100 took at most.
    pub fn p99(&self) -> Duration {
        self.took[(self.took.len() * 99 / 100).min(self.took.len() - 1)]
    }
}

struct Connection {
    stream: TcpStream,
    received: BytesMut,
}

impl Connection {
    async fn open(target: &Target) -> Self {
        let stream = TcpStream::connect(target.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, received: BytesMut::with_capacity(16 << 10) }
    }

    /// Waits for the head of an answer, takes it, and returns the length of the body if it says so.
    async fn head(&mut self) -> Option<usize> {
        loop {
            if let Some(end) = find(&self.received, b"\r\n\r\n") {
                let head = self.received.split_to(end + 4).to_ascii_lowercase();
                assert!(head.starts_with(b"http/1.1 200"), "{}", String::from_utf8_lossy(&head));
                let length = find(&head, b"content-length: ")?;
                let digits = head[length + 16..].iter().take_while(|byte| byte.is_ascii_digit());
                return Some(digits.fold(0, |sum, byte| sum * 10 + usize::from(byte - b'0')));
            }
            self.more().await;
        }
    }

    async fn more(&mut self) {
        let count = self.stream.read_buf(&mut self.received).await.unwrap();
        assert!(count > 0, "the connection was closed");
    }

    async fn ask(&mut self, request: &[u8]) {
        self.stream.write_all(request).await.unwrap();
        let length = self.head().await.expect("a length");
        while self.received.len() < length {
            self.more().await;
        }
        self.received.clear();
    }
}

/// Of what prompts are made. It is long, so that a large prompt is not too many tokens for a simulated engine.
const WORD: &str = "extraordinarily ";

/// A request of a prompt of so many bytes that nobody has sent before.
fn request(target: &Target, number: usize, prompt: usize, rest: &str) -> Vec<u8> {
    let prompt = format!("{number:012} {}", WORD.repeat(prompt / WORD.len()));
    let Target { endpoint, key, .. } = target;
    let body =
        format!("{{\"model\":\"{endpoint}\",\"messages\":[{{\"role\":\"user\",\"content\":\"{prompt}\"}}]{rest}}}");
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}

/// Puts another number at the beginning of the prompt.
fn renumber(request: &mut [u8], number: usize) {
    let at = find(request, b"\"content\":\"").unwrap() + 11;
    request[at..at + 12].copy_from_slice(format!("{number:012}").as_bytes());
}

/// Each of `connections` asks again as soon as it has its answer. `begun` is called when counting begins.
pub async fn closed(target: &Target, connections: usize, prompt: usize, time: Duration, begun: impl FnOnce()) -> Seen {
    let (counted, end) = (Instant::now() + WARM, Instant::now() + WARM + time);
    let mut clients = JoinSet::new();
    for client in 0..connections {
        let target = target.clone();
        clients.spawn(async move {
            let mut connection = Connection::open(&target).await;
            let (mut request, mut seen) = (request(&target, 0, prompt, ""), Seen::default());
            for number in 0.. {
                renumber(&mut request, client * 10_000_000 + number);
                let sent = Instant::now();
                if sent >= end {
                    break;
                }
                connection.ask(&request).await;
                if sent >= counted {
                    seen.took.push(sent.elapsed());
                }
            }
            seen
        });
    }
    sleep_until(counted).await;
    begun();
    Seen::of(clients.join_all().await)
}

/// So many requests a second, however long answers take: an answer is late by what it was asked late, too.
pub async fn paced(target: &Target, rate: u32, prompt: usize, time: Duration, begun: impl FnOnce()) -> Seen {
    const CONNECTIONS: u32 = 16;
    let gap = Duration::from_secs(1) * CONNECTIONS / rate;
    let (start, mut clients) = (Instant::now() + WARM / 2, JoinSet::new());
    let (counted, end) = (start + WARM, start + WARM + time);
    for client in 0..CONNECTIONS {
        let target = target.clone();
        clients.spawn(async move {
            let mut connection = Connection::open(&target).await;
            let (mut request, mut seen) = (request(&target, 0, prompt, ""), Seen::default());
            let mut tick = interval_at(start + gap * client / CONNECTIONS, gap);
            tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
            for number in 0.. {
                renumber(&mut request, client as usize * 10_000_000 + number);
                let due = tick.tick().await;
                if due >= end {
                    break;
                }
                connection.ask(&request).await;
                if due >= counted {
                    seen.took.push(due.elapsed());
                }
            }
            seen
        });
    }
    sleep_until(counted).await;
    begun();
    Seen::of(clients.join_all().await)
}

/// So many streams at once of so many tokens, one after each `gap`; what each took is the time to its first token. `open` is
/// called when all of them run.
pub async fn streams(target: &Target, count: u32, tokens: u64, gap: Duration, open: impl FnOnce()) -> Seen {
    let (start, mut clients) = (Instant::now(), JoinSet::new());
    // They begin one after the other, over what is at most half of a stream.
    let spread = gap * (tokens as u32 / 2).min(50);
    for client in 0..count {
        let target = target.clone();
        clients.spawn(async move {
            let rest =
                format!(",\"stream\":true,\"max_tokens\":{tokens},\"ignore_eos\":true,\"gap\":{}", gap.as_millis());
            let request = request(&target, client as usize, 512, &rest);
            let mut connection = Connection::open(&target).await;
            sleep_until(start + spread * client / count).await;
            let (sent, mut seen) = (Instant::now(), Seen::default());
            connection.stream.write_all(&request).await.unwrap();
            connection.head().await;
            loop {
                let events = find_iter(&connection.received, b"\"content\":").count() as u64;
                if seen.tokens == 0 && events > 0 {
                    seen.took.push(sent.elapsed().saturating_sub(gap));
                }
                (seen.tokens, seen.merged) = (seen.tokens + events, seen.merged + events.saturating_sub(1));
                if find(&connection.received, b"[DONE]").is_some() {
                    break;
                }
                connection.received.clear();
                connection.more().await;
            }
            // Engines say who speaks and how it ended, too.
            assert!((tokens..=tokens + 2).contains(&seen.tokens), "{} tokens of a stream of {tokens}", seen.tokens);
            seen
        });
    }
    sleep_until(start + spread + gap).await;
    open();
    Seen::of(clients.join_all().await)
}
