//! Connections that are driven after what writes to them.

use std::{
    future::{Future, poll_fn},
    io,
    net::UdpSocket,
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Instant,
};

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime};
use tokio::task::yield_now;

/// tokio's runtime, in which what has been woken up to drive a connection lets all others have their turn that are due.
///
/// tokio gives the next turn to the task that was woken up last: after each request that is written comes whatever drives the
/// connection, and sends it off in a datagram of its own. Of requests that come at once, many fit into one, and many datagrams into
/// one call of the kernel.
#[derive(Debug)]
pub(super) struct Gathering;

impl Runtime for Gathering {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        TokioRuntime.spawn(Box::pin(behind(task)));
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(socket)
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

/// `task`, polled behind what is due when it is woken up. tokio puts off what yields until it has nothing else to do, for 61 turns at
/// most, and wakes no other thread up for it.
async fn behind<T>(mut task: Pin<Box<dyn Future<Output = T> + Send>>) -> T {
    loop {
        yield_now().await;
        if let Poll::Ready(output) = poll_fn(|cx| Poll::Ready(task.as_mut().poll(cx))).await {
            return output;
        }
        woken_up().await;
    }
}

/// Until the task that awaits it is polled again.
async fn woken_up() {
    let mut is_polled_again = false;
    poll_fn(|_| if std::mem::replace(&mut is_polled_again, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::{runtime::Builder, sync::Notify, task::JoinSet};

    use super::*;

    /// On a runtime like the one that connections are driven by.
    #[test]
    fn what_drives_comes_after_all_that_write_at_once() {
        let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (done, call, end) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()), Arc::new(Notify::new()));
        let note = {
            let done = Arc::clone(&done);
            move |what| done.lock().unwrap().push(what)
        };
        let driver = {
            let (note, done, call, end) = (note.clone(), Arc::clone(&done), Arc::clone(&call), Arc::clone(&end));
            async move {
                let all_are_written = || done.lock().unwrap().len() > 10;
                while !all_are_written() {
                    call.notified().await;
                    note("sent");
                }
                end.notify_one();
            }
        };
        let writers = async move {
            Gathering.spawn(Box::pin(driver));
            let mut writers = JoinSet::new();
            for _ in 0..10 {
                let (note, call) = (note.clone(), Arc::clone(&call));
                writers.spawn(async move {
                    note("written");
                    call.notify_one();
                });
            }
            writers.join_all().await;
            end.notified().await;
        };
        let _ = runtime.block_on(runtime.spawn(writers));
        let mut expected = ["written"; 11];
        expected[10] = "sent";
        assert_eq!(*done.lock().unwrap(), expected);
    }
}
