//! One attached daemon: told what it does not know yet, and listened to.

use std::{io, time::Duration};

use tokio::{
    io::AsyncWriteExt as _,
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    time::timeout,
};

use super::{Frames, Report, Request, VERSION, encode};
use crate::LogReader;

/// How long a daemon may take to say what it wants.
pub(super) const FIRST_WORD: Duration = Duration::from_secs(10);

/// What has become of the engine.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Fate {
    /// How its leader ended, as wait(2) has it.
    pub(super) exit: Option<i32>,
    /// Nothing is left of what it forked.
    pub(super) empty: bool,
}

/// What a daemon is told, and where its requests go.
#[derive(Debug)]
pub(super) struct Daemon {
    /// The engine's.
    pub(super) pid: u32,
    pub(super) log: LogReader,
    pub(super) fate: watch::Receiver<Fate>,
    pub(super) inbox: mpsc::Sender<Request>,
}

/// A connection over which a daemon has said that it is one.
pub(super) type Attached = (Frames<OwnedReadHalf>, OwnedWriteHalf);

/// Waits until what has connected says that it is a daemon; `None` if it does not in time.
pub(super) async fn greet(stream: UnixStream) -> Option<Attached> {
    let (reader, writer) = stream.into_split();
    let mut requests = Frames::new(reader);
    let word = timeout(FIRST_WORD, requests.next()).await;
    matches!(word, Ok(Ok(Some(Request::Attach { .. })))).then_some((requests, writer))
}

impl Daemon {
    /// Serves one that has said what it wants, until it disconnects.
    pub(super) async fn attend(self, (requests, writer): Attached) {
        let inbox = self.inbox.clone();
        // Two loops, so that a daemon that does not read can still have its engine killed.
        tokio::select! {
            () = listen(requests, inbox) => {}
            _ = self.tell(writer) => {}
        }
    }

    /// Until the daemon is gone. What it has not read waits in the ring, not here.
    async fn tell(mut self, mut writer: OwnedWriteHalf) -> io::Result<()> {
        send(&mut writer, &Report::Started { version: VERSION, pid: self.pid }).await?;
        let mut told = Fate::default();
        loop {
            // Before the lines: all that were written before an exit was known are told before it.
            let fate = *self.fate.borrow_and_update();
            while let Some(line) = self.log.available() {
                send(&mut writer, &Report::from(line)).await?;
            }
            if let Some(status) = fate.exit.filter(|_| told.exit.is_none()) {
                send(&mut writer, &Report::Exited { status }).await?;
            }
            if fate.empty && !told.empty {
                send(&mut writer, &Report::Empty).await?;
            }
            told = fate;
            tokio::select! {
                Some(line) = self.log.next() => send(&mut writer, &Report::from(line)).await?,
                changed = self.fate.changed() => changed.map_err(io::Error::other)?,
            }
        }
    }
}

async fn listen(mut requests: Frames<OwnedReadHalf>, inbox: mpsc::Sender<Request>) {
    while let Ok(Some(request)) = requests.next().await {
        if inbox.send(request).await.is_err() {
            return;
        }
    }
}

/// Writes one report.
pub(super) async fn send(writer: &mut OwnedWriteHalf, report: &Report) -> io::Result<()> {
    writer.write_all(&encode(report)?).await
}
