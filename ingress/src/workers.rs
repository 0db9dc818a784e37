//! Threads that serve clients, each with a runtime of its own.
//!
//! A client's connection stays on the thread that it was given to, and so do its requests and their connections to engines:
//! nothing of a request is handed from one core to another, nor waits for one to wake up. That is worth a third of what a
//! request costs. Only where it [rests](rest) may a connection go on at another thread, so that as many serve as have something to do
//! ([`balance`]). Its timers stay with the runtime that made them: no worker may end while another one serves.

mod balance;
mod per_worker;

use std::{
    cell::Cell,
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    task::{Context, Poll},
    thread::{self, JoinHandle},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::{
    runtime::{Builder, Handle},
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};

use balance::{Balancer, Move, Work, seat};
pub(crate) use per_worker::PerWorker;

/// Less than any time that is given to every client.
const BEAT: Duration = Duration::from_secs(1);
/// How often it is looked at what workers do: seldom enough to tell work from chance.
const LOOK: Duration = Duration::from_millis(100);
/// For so many looks a connection stays where it was moved: the one that rests first is the busiest, and would go to and fro.
const STAY: u32 = 10;

thread_local! {
    static CURRENT: Cell<usize> = const { Cell::new(0) };
    static RESTS: Cell<bool> = const { Cell::new(false) };
}

/// The number of the worker whose thread this is, from 1 on; 0 on any other thread.
pub(crate) fn current() -> usize {
    CURRENT.get()
}

/// Says that another worker may go on with the connection that this thread serves, as it has no request, or as those are tasks of their own.
/// To be said each time that it is polled.
pub(crate) fn rest() {
    RESTS.set(true);
}

/// Where what serves clients runs.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    seats: Arc<Seats>,
    threads: Vec<JoinHandle<()>>,
    stop: CancellationToken,
    /// Looks at them, where there are several.
    balancing: Option<AbortOnDropHandle<()>>,
}

/// What all that serves clients knows of the workers.
#[derive(Debug, Default)]
struct Seats {
    workers: Vec<Worker>,
    /// Counts how often they were looked at.
    looks: AtomicU32,
}

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    /// As of the last look, in thousandths.
    busy: AtomicU32,
    /// Connections that it has.
    seated: AtomicUsize,
    /// Of those, the ones that rested since the last look.
    movable: AtomicUsize,
    /// How many of its connections are to go, and to which worker.
    surplus: AtomicUsize,
    to: AtomicUsize,
}

impl Workers {
    /// Starts `count` threads. With none, all runs where it is spawned from.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let (mut workers, mut started) = (Vec::new(), Self::default());
        for number in 1..=count {
            // Those that run are ended where one does not start.
            let (worker, thread) = Worker::start(number, started.stop.clone())?;
            workers.push(worker);
            started.threads.push(thread);
        }
        started.seats = Arc::new(Seats { workers, looks: AtomicU32::new(1) });
        if count > 1 {
            let balance = Arc::clone(&started.seats).balance();
            started.balancing = Some(AbortOnDropHandle::new(Handle::current().spawn(balance)));
        }
        Ok(started)
    }

    /// Runs `serving` on one of the threads, as one of `tasks`; and on another one from when it says that it [rests](rest), if that has more
    /// time.
    pub(crate) fn spawn(&self, tasks: &TaskTracker, serving: impl Future<Output = ()> + Send + 'static) {
        let workers = &self.seats.workers;
        let Some(at) = seat(workers.iter().map(|worker| (worker.busy.load(Relaxed), worker.seated.load(Relaxed))))
        else {
            tasks.spawn(serving);
            return;
        };
        self.spawn_at(at, tasks, serving);
    }

    fn spawn_at(&self, at: usize, tasks: &TaskTracker, serving: impl Future<Output = ()> + Send + 'static) {
        let (seats, tasks) = (Arc::clone(&self.seats), tasks.clone());
        Seated { serving: Some(Box::pin(serving)), place: Place::take(seats, at), tasks, seen: 0, stays_until: 0 }
            .sit_down();
    }

    /// Ends all threads, and with them what still runs there.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        let threads = std::mem::take(&mut self.threads);
        let joined = tokio::task::spawn_blocking(|| {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a thread that served clients has panicked");
                }
            }
        });
        // It ends as fast as a thread takes to notice.
        let _ = joined.await;
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Worker {
    fn start(number: usize, stop: CancellationToken) -> io::Result<(Self, JoinHandle<()>)> {
        let (told, started) = mpsc::sync_channel(1);
        let run = move || {
            CURRENT.set(number);
            match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => {
                    let _ = told.send(Ok(runtime.handle().clone()));
                    runtime.block_on(stop.run_until_cancelled(beat()));
                    // A name that is still being looked up is not waited for.
                    runtime.shutdown_background();
                }
                Err(error) => {
                    let _ = told.send(Err(error));
                }
            }
        };
        let thread = thread::Builder::new().name(format!("ingress-{number}")).spawn(run)?;
        let runtime = started.recv().map_err(io::Error::other)??;
        let none = AtomicUsize::default;
        let busy = AtomicU32::default();
        Ok((Self { runtime, busy, seated: none(), movable: none(), surplus: none(), to: none() }, thread))
    }
}

/// A timer that is nearer than those that every request sets. Where one is set that is nearer than all that there were when the thread
/// went to sleep, tokio wakes up what sleeps until then, which is the thread itself, by a call of the kernel: where all clients
/// of a worker wait for their answers, that would be each request.
async fn beat() {
    loop {
        sleep(BEAT).await;
    }
}

impl Seats {
    /// Looks at what the workers do, for as long as there are any, and has connections moved.
    async fn balance(self: Arc<Self>) {
        let (mut before, mut balancer) = ((Instant::now(), self.busy()), Balancer::default());
        let mut looks = interval_at(before.0 + LOOK, LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let now = (Instant::now(), self.busy());
            let took = (now.0 - before.0).as_secs_f64();
            let shares =
                now.1.iter().zip(&before.1).map(|(now, before)| thousandths(now.saturating_sub(*before), took));
            let work = self.workers.iter().zip(shares).map(|(worker, busy)| worker.look(busy)).collect::<Vec<_>>();
            self.looks.fetch_add(1, Relaxed);
            if let Some(next) = balancer.next_move(&work) {
                self.order(next);
            }
            before = now;
        }
    }

    /// For how long each has not waited, in all. That another process has its core is no reason to have it serve more.
    fn busy(&self) -> Vec<Duration> {
        self.workers.iter().map(|worker| worker.runtime.metrics().worker_total_busy_duration(0)).collect()
    }

    fn order(&self, Move { from, to, count }: Move) {
        tracing::trace!(from, to, count, "connections of one thread are to be served by another one");
        self.workers[from].to.store(to, Relaxed);
        self.workers[from].surplus.store(count, Relaxed);
    }
}

fn thousandths(part: Duration, whole: f64) -> u32 {
    // Between 0 and 1000.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let share = (part.as_secs_f64() / whole.max(f64::EPSILON) * 1000.0).clamp(0.0, 1000.0) as u32;
    share
}

impl Worker {
    /// What it did since the last look, in which it was `busy`; and begins anew.
    fn look(&self, busy: u32) -> Work {
        self.busy.store(busy, Relaxed);
        self.surplus.store(0, Relaxed);
        Work { busy, seated: self.seated.load(Relaxed), movable: self.movable.swap(0, Relaxed) }
    }

    /// To whom it gives a connection away that rests.
    fn give_away(&self) -> Option<usize> {
        // Where there is nothing to give, as mostly, nothing is written.
        let has_surplus = self.surplus.load(Relaxed) > 0;
        let took = has_surplus.then(|| self.surplus.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)));
        took.is_some_and(|took| took.is_ok()).then(|| self.to.load(Relaxed))
    }
}

/// A connection at a worker.
struct Seated {
    /// `None` once it is elsewhere.
    serving: Option<BoxFuture<'static, ()>>,
    place: Place,
    tasks: TaskTracker,
    /// The look by which it has been counted last.
    seen: u32,
    /// The look before which it is not moved again.
    stays_until: u32,
}

/// One of a worker's connections, for as long as this is there.
struct Place {
    seats: Arc<Seats>,
    at: usize,
}

impl Place {
    fn take(seats: Arc<Seats>, at: usize) -> Self {
        seats.workers[at].seated.fetch_add(1, Relaxed);
        Self { seats, at }
    }

    fn worker(&self) -> &Worker {
        &self.seats.workers[self.at]
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.worker().seated.fetch_sub(1, Relaxed);
    }
}

impl Seated {
    fn sit_down(self) {
        let runtime = self.place.worker().runtime.clone();
        self.tasks.clone().spawn_on(self, &runtime);
    }

    /// Where it is to go, now that it rests.
    fn next_seat(&mut self) -> Option<usize> {
        let looks = self.place.seats.looks.load(Relaxed);
        if looks < self.stays_until {
            return None;
        }
        if std::mem::replace(&mut self.seen, looks) != looks {
            self.place.worker().movable.fetch_add(1, Relaxed);
        }
        self.place.worker().give_away()
    }
}

impl Future for Seated {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        RESTS.set(false);
        if this.serving.as_mut().is_none_or(|serving| serving.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(());
        }
        let Some(at) = RESTS.get().then(|| this.next_seat()).flatten() else { return Poll::Pending };
        let place = Place::take(Arc::clone(&this.place.seats), at);
        let stays_until = this.seen.saturating_add(STAY);
        // It is one of `tasks` there before it is none here.
        Self { serving: this.serving.take(), place, tasks: this.tasks.clone(), seen: this.seen, stays_until }
            .sit_down();
        Poll::Ready(())
    }
}

#[cfg(test)]
impl Workers {
    /// Threads whose connections are moved by nobody but the test.
    pub(crate) fn unbalanced(count: usize) -> Self {
        let mut workers = Self::start(count).unwrap();
        workers.balancing = None;
        workers
    }

    /// Passes the time for which a connection that was moved stays.
    pub(crate) fn let_move(&self) {
        self.seats.looks.fetch_add(STAY, Relaxed);
    }

    /// Has the next connection of worker `from` that rests served by worker `to`, counted from 0.
    pub(crate) fn move_one(&self, from: usize, to: usize) {
        self.seats.order(Move { from, to, count: 1 });
    }

    /// Until worker `from` has given away what it was to.
    pub(crate) async fn until_moved(&self, from: usize) {
        let moved = async {
            while self.seats.workers[from].surplus.load(Relaxed) > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), moved).await.expect("no connection was moved");
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, future::poll_fn};

    use tokio::{
        io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream},
        net::{TcpListener, TcpStream},
        sync::{Semaphore, mpsc},
    };

    use super::*;
    use crate::client_stream::ClientStream;

    #[tokio::test]
    async fn each_thread_runs_what_it_is_given_and_ends_with_it() {
        let (workers, tasks, gate) = (Workers::unbalanced(3), TaskTracker::new(), Arc::new(Semaphore::new(0)));
        let (told, mut numbers) = mpsc::channel(3);
        for at in 0..3 {
            let (told, gate) = (told.clone(), Arc::clone(&gate));
            workers.spawn_at(at, &tasks, async move {
                told.send(current()).await.unwrap();
                let _ = gate.acquire().await;
            });
        }
        let mut seen = HashSet::new();
        for _ in 0..3 {
            seen.insert(numbers.recv().await.unwrap());
        }
        assert_eq!(seen, HashSet::from([1, 2, 3]));
        assert_eq!(current(), 0);
        tasks.close();
        workers.end().await;
        tasks.wait().await;
    }

    #[tokio::test]
    async fn without_threads_all_runs_where_it_is_spawned_from() {
        let (workers, tasks) = (Workers::start(0).unwrap(), TaskTracker::new());
        let (told, mut numbers) = mpsc::channel(3);
        workers.spawn(&tasks, async move { told.send(current()).await.unwrap() });
        assert_eq!(numbers.recv().await, Some(0));
        workers.end().await;
    }

    /// Echoes lines, each behind the number of the worker that read it, and rests between them.
    async fn echo(stream: std::net::TcpStream) {
        let stream = ClientStream::new(TcpStream::from_std(stream).unwrap(), Duration::from_secs(5));
        let (mut stream, mut line) = (BufStream::new(stream), String::new());
        loop {
            let mut reading = Box::pin(stream.read_line(&mut line));
            let read = poll_fn(|cx| {
                rest();
                reading.as_mut().poll(cx)
            });
            if read.await.unwrap() == 0 {
                return;
            }
            drop(reading);
            stream.write_all(format!("{} {line}", current()).as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            line.clear();
        }
    }

    /// By which worker a line that says `number` is echoed.
    async fn ask(client: &mut BufStream<TcpStream>, number: usize) -> usize {
        client.write_all(format!("{number}\n").as_bytes()).await.unwrap();
        client.flush().await.unwrap();
        let mut answer = String::new();
        client.read_line(&mut answer).await.unwrap();
        let (worker, echoed) = answer.trim_end().split_once(' ').unwrap();
        assert_eq!(echoed, number.to_string());
        worker.parse().unwrap()
    }

    #[tokio::test]
    async fn a_connection_goes_on_at_another_worker_between_two_requests_and_loses_nothing() {
        let (workers, tasks) = (Workers::unbalanced(2), TaskTracker::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let served = listener.accept().await.unwrap().0.into_std().unwrap();
        workers.spawn_at(0, &tasks, echo(served));
        let mut client = BufStream::new(client);
        for turn in 0..100 {
            let (from, to) = (turn % 2, 1 - turn % 2);
            workers.move_one(from, to);
            if turn > 0 {
                ask(&mut client, turn).await;
                assert_eq!(ask(&mut client, turn).await, from + 1, "it was moved a moment ago");
                workers.let_move();
            }
            // It is moved where it has nothing to do, which is looked at when it has been polled: at the latest behind this answer.
            ask(&mut client, turn).await;
            workers.until_moved(from).await;
            assert_eq!(ask(&mut client, turn).await, to + 1);
        }
        assert_eq!(tasks.len(), 1);
        client.shutdown().await.unwrap();
        assert_eq!(client.read_to_end(&mut Vec::new()).await.unwrap(), 0);
        tasks.close();
        tasks.wait().await;
        workers.end().await;
    }
    #[tokio::test]
    async fn a_connection_is_waited_for_where_it_is_used() {
        let (workers, tasks) = (Workers::unbalanced(1), TaskTracker::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let served = listener.accept().await.unwrap().0.into_std().unwrap();
        // A runtime that soon waits for nothing any more.
        let elsewhere = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut stream = {
            let _context = elsewhere.enter();
            ClientStream::new(TcpStream::from_std(served).unwrap(), Duration::from_secs(5))
        };
        elsewhere.shutdown_background();
        let (told, mut heard) = mpsc::channel(1);
        workers.spawn(&tasks, async move { told.send(stream.read_u8().await).await.unwrap() });
        client.write_all(b"a").await.unwrap();
        assert_eq!(heard.recv().await.unwrap().unwrap(), b'a');
        workers.end().await;
    }
}
