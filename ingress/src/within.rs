//! Deadlines without a timer for what is ready at once.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
    time::Duration,
};

use tokio::time::{error::Elapsed, timeout};

/// As tokio's `timeout`. Most of what a request waits for is there already, and a timer costs more than to look. The future
/// stays where it is: one that is moved is copied, and whole.
pub(crate) async fn within<T>(time: Duration, mut future: Pin<&mut impl Future<Output = T>>) -> Result<T, Elapsed> {
    let first = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
    match first {
        Poll::Ready(value) => Ok(value),
        Poll::Pending => timeout(time, future).await,
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_ready_is_given_and_what_is_not_is_waited_for_so_long() {
        assert_eq!(within(Duration::ZERO, pin!(async { 1 })).await.unwrap(), 1);
        let start = Instant::now();
        let later = async {
            sleep(Duration::from_secs(1)).await;
            2
        };
        assert_eq!(within(Duration::from_secs(2), pin!(later)).await.unwrap(), 2);
        assert!(within(Duration::from_secs(3), pin!(std::future::pending::<()>())).await.is_err());
        assert_eq!(start.elapsed(), Duration::from_secs(4));
    }
}
