//! Futures beside a busy one that have nothing to say for long: an order to stop, a pause that grew too long.
//!
//! A task polls all it consists of whenever one of them woke it. Asking a token or a timer each time costs locks. Here the
//! future has a waker of its own, and is polled when that was used. Invariant: it is polled once at first and once after
//! each wake, whoever else wakes the task and whichever task it moves to.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use tokio_util::sync::CancellationToken;

/// See the module.
pub(crate) struct Resting<F> {
    future: Pin<Box<F>>,
    alarm: Arc<Alarm>,
    waker: Waker,
}

struct Alarm {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<F: Future> Resting<F> {
    pub(crate) fn new(future: F) -> Self {
        let alarm = Arc::new(Alarm { rung: AtomicBool::new(true), task: AtomicWaker::new() });
        Self { future: Box::pin(future), waker: Waker::from(Arc::clone(&alarm)), alarm }
    }
}

impl<F: Future> Future for Resting<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { future, alarm, waker } = &mut *self;
        // Registered before looking: what rings in between wakes the task.
        alarm.task.register(context.waker());
        if !alarm.rung.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        alarm.rung.store(false, Ordering::Release);
        future.as_mut().poll(&mut Context::from_waker(waker))
    }
}

/// Does `work` until `stop`; `None` when that came first. For tasks that live long and are polled often.
pub(crate) async fn until<F: Future>(stop: &CancellationToken, work: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = Resting::new(stop.cancelled()) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Poll;
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;

    use super::{Resting, until};

    #[tokio::test(start_paused = true)]
    async fn it_is_polled_when_it_was_woken_however_often_its_task_is() {
        let polls = AtomicUsize::new(0);
        let mut sleep = std::pin::pin!(tokio::time::sleep(Duration::from_secs(1)));
        let watched = std::future::poll_fn(|context| {
            polls.fetch_add(1, Ordering::Relaxed);
            sleep.as_mut().poll(context)
        });
        let mut turns = 0;
        let busy = std::future::poll_fn(|context| {
            turns += 1;
            if turns == 1_000 {
                return Poll::Pending;
            }
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        tokio::select! {
            () = busy => {}
            () = Resting::new(watched) => {}
        }
        assert!(turns >= 1_000);
        assert_eq!(polls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn work_ends_with_its_stop_and_not_before() {
        let stop = CancellationToken::new();
        assert_eq!(until(&stop, async { 1 }).await, Some(1));
        let (ended, ()) = tokio::join!(until(&stop, std::future::pending::<()>()), async { stop.cancel() });
        assert_eq!(ended, None);
    }
}
