//! Addresses of nodes of one mesh: the first that answers is used, and remembered.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{net::TcpStream, time::timeout};

/// Longest wait for a connection: of a host that is gone nothing is heard.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);

/// Clones remember together.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    all: Arc<[String]>,
    /// The one that is tried first: the one that answered last.
    first: Arc<AtomicUsize>,
}

impl Addresses {
    pub(super) fn new(all: Vec<String>) -> Self {
        Self { all: all.into(), first: Arc::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The one that is talked to.
    pub(super) fn current(&self) -> &str {
        self.in_order().next().map_or("no address", |(_, address)| address)
    }

    fn in_order(&self) -> impl Iterator<Item = (usize, &str)> {
        let first = self.first.load(Ordering::Relaxed);
        (0..self.all.len()).filter_map(move |step| {
            let index = (first + step) % self.all.len();
            Some((index, self.all.get(index)?.as_str()))
        })
    }

    /// The current one is of no use: the next is tried first from now on.
    pub(super) fn pass(&self) {
        self.first
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |first| Some((first + 1) % self.all.len().max(1)))
            .ok();
    }

    /// A connection to the first that takes one, or why none does.
    pub(super) async fn connect(&self) -> Result<TcpStream, Vec<(String, io::Error)>> {
        let mut errors = Vec::new();
        for (index, address) in self.in_order() {
            let connected = timeout(CONNECT_DEADLINE, TcpStream::connect(address)).await;
            match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => {
                    self.first.store(index, Ordering::Relaxed);
                    return Ok(stream);
                }
                Err(error) => errors.push((address.to_owned(), error)),
            }
        }
        Err(errors)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        task::JoinSet,
    };

    use crate::{admin::Code, cli::client::Client};

    /// Answers every connection with `answer`, and closes it.
    async fn answers(listener: TcpListener, answer: &'static str) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    }

    #[tokio::test]
    async fn a_question_that_breaks_off_is_asked_elsewhere_and_an_order_is_not() {
        let (mut tasks, mut addresses) = (JoinSet::new(), Vec::new());
        for answer in ["", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n7"] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(listener.local_addr().unwrap().to_string());
            tasks.spawn(answers(listener, answer));
        }
        let client = Client::tcp(addresses.clone(), None).unwrap();
        assert_eq!(client.post::<u32>("/v1/tokens", &()).await.unwrap_err().code, Code::Unreachable);
        assert_eq!(client.post::<u32>("/v1/tokens", &()).await, Ok(7), "the next order goes elsewhere");
        let client = Client::tcp(addresses, None).unwrap();
        assert_eq!(client.get::<u32>("/v1/nodes").await, Ok(7));
    }
}
