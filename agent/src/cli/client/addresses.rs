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

    /// All with their indices, the current one first.
    pub(super) fn in_order(&self) -> impl Iterator<Item = (usize, &str)> {
        let first = self.first.load(Ordering::Relaxed);
        (0..self.all.len()).filter_map(move |step| {
            let index = (first + step) % self.all.len();
            Some((index, self.all.get(index)?.as_str()))
        })
    }

    /// That at `index` is tried first from now on.
    pub(super) fn prefer(&self, index: usize) {
        self.first.store(index % self.all.len().max(1), Ordering::Relaxed);
    }
}

/// # Errors
/// If `address` cannot be connected to, or not in time.
pub(super) async fn connect(address: &str) -> io::Result<TcpStream> {
    let connected = timeout(CONNECT_DEADLINE, TcpStream::connect(address)).await;
    connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use bytes::Bytes;
    use http::Request;
    use http_body_util::Full;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        task::JoinSet,
    };

    use super::Addresses;
    use crate::{admin::Code, cli::client::Client};

    const SEVEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n7";

    async fn listener(addresses: &mut Vec<String>) -> TcpListener {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        addresses.push(listener.local_addr().unwrap().to_string());
        listener
    }

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
        for answer in ["", SEVEN] {
            tasks.spawn(answers(listener(&mut addresses).await, answer));
        }
        let client = Client::tcp(addresses.clone(), None).unwrap();
        assert_eq!(client.post::<u32>("/v1/tokens", &()).await.unwrap_err().code, Code::Unreachable);
        assert_eq!(client.post::<u32>("/v1/tokens", &()).await, Ok(7), "the next order goes elsewhere");
        let client = Client::tcp(addresses, None).unwrap();
        assert_eq!(client.get::<u32>("/v1/nodes").await, Ok(7));
    }

    #[tokio::test]
    async fn an_order_that_nobody_heard_goes_to_the_next_address() {
        let (mut tasks, mut addresses) = (JoinSet::new(), Vec::new());
        drop(listener(&mut addresses).await);
        tasks.spawn(answers(listener(&mut addresses).await, SEVEN));
        let client = Client::tcp(addresses.clone(), None).unwrap();
        assert_eq!(client.post::<u32>("/v1/tokens", &()).await, Ok(7));
        tasks.shutdown().await;
        let problem = client.get::<u32>("/v1/nodes").await.unwrap_err();
        assert_eq!(problem.code, Code::Unreachable);
        assert!(addresses.iter().all(|address| problem.message.contains(address)), "{problem}");
    }

    #[tokio::test]
    async fn peers_that_hang_take_nothing_of_the_time_that_the_next_one_has() {
        let (mut tasks, mut addresses) = (JoinSet::new(), Vec::new());
        for _ in 0..3 {
            let hangs = listener(&mut addresses).await;
            tasks.spawn(async move {
                let _held = hangs.accept().await;
                pending::<()>().await;
            });
        }
        tasks.spawn(answers(listener(&mut addresses).await, SEVEN));
        let client = Client::tcp(addresses.clone(), None).unwrap();
        let addresses = Addresses::new(addresses);
        let request = Request::get("/v1/nodes").body(Full::<Bytes>::default()).unwrap();
        let asked = client.ask_in_turn(&addresses, request, Duration::from_secs(2)).await;
        assert_eq!(asked.unwrap().0.status(), 200);
    }
}
