//! The processes below the API server: started by their title, asked line by line.

use std::{
    env, fs, io,
    os::fd::AsFd as _,
    path::PathBuf,
    process::{ExitStatus, Stdio},
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::unix::pipe,
    process::{Child, ChildStdin, ChildStdout, Command},
    signal::unix::{Signal, SignalKind, signal},
};

/// Longest title of a process that Linux keeps.
const TITLE_MAX: usize = 15;

/// The order for one token of each running sequence.
pub(crate) const STEP: &str = "step";
/// The order to end.
pub(crate) const QUIT: &str = "quit";

/// What the processes below the API server must know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Options {
    pub(crate) model: PathBuf,
    pub(crate) tensor_parallel_size: usize,
    pub(crate) max_model_len: u64,
    pub(crate) kv_cache_memory_bytes: Option<u64>,
}

/// The way to a process below this one.
#[derive(Debug)]
pub(crate) struct Pipe {
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// Starts this program again under `title`; it is told `options`, and is in the same process group.
pub(crate) async fn spawn(title: &str, options: &Options) -> io::Result<(Child, Pipe)> {
    let mut child =
        Command::new(env::current_exe()?).arg0(title).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let closed = || io::Error::other("the process has no pipes");
    let (orders, answers) = (child.stdin.take().ok_or_else(closed)?, child.stdout.take().ok_or_else(closed)?);
    let mut pipe = Pipe { orders, answers: BufReader::new(answers).lines() };
    pipe.tell(&serde_json::to_string(options)?).await?;
    Ok((child, pipe))
}

impl Pipe {
    pub(crate) async fn tell(&mut self, order: &str) -> io::Result<()> {
        self.orders.write_all(format!("{order}\n").as_bytes()).await
    }

    /// Waits for an answer: an error if the process ends instead.
    pub(crate) async fn answer(&mut self) -> io::Result<()> {
        match self.answers.next_line().await? {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// One order and its answer.
    pub(crate) async fn ask(&mut self, order: &str) -> io::Result<()> {
        self.tell(order).await?;
        self.answer().await
    }
}

/// The other end: the way to the process above this one.
pub(crate) struct Above {
    pub(crate) options: Options,
    orders: Lines<BufReader<pipe::Receiver>>,
    answers: pipe::Sender,
    /// vLLM's processes leave SIGTERM to their API server.
    _terminate: Signal,
}

impl Above {
    /// Takes the title that the process was started under, and reads what it is told first.
    pub(crate) async fn open(title: &str) -> io::Result<Self> {
        fs::write("/proc/self/comm", &title[..title.len().min(TITLE_MAX)])?;
        let terminate = signal(SignalKind::terminate())?;
        let orders = pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
        let answers = pipe::Sender::from_owned_fd(io::stdout().as_fd().try_clone_to_owned()?)?;
        let mut orders = BufReader::new(orders).lines();
        let first = orders.next_line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let options = serde_json::from_str(&first)?;
        Ok(Self { options, orders, answers, _terminate: terminate })
    }

    /// The next order; `None` when the process above is gone. Cancel safe.
    pub(crate) async fn order(&mut self) -> Option<String> {
        self.orders.next_line().await.ok().flatten()
    }

    pub(crate) async fn answer(&mut self) {
        // Nobody may be there to read it.
        let _ = self.answers.write_all(b"done\n").await;
    }
}

/// As [`Child::wait`], for a process of which only its end matters.
pub(crate) async fn ended(child: &mut Child) -> ExitStatus {
    child.wait().await.unwrap_or_default()
}
