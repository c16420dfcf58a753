//! Staying awake for an answer that is only moments away: waking up again would take longer than the wait.
//!
//! It decides who stays awake, and for how long. Invariants: at most one call of the process does, never for a server that
//! was slow the last time, and whatever else there is to do goes first.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a call stays awake, and how quick a server has to be.
const ALERT: Duration = Duration::from_micros(200);

/// Some call stays awake.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The right to stay awake.
struct Awake;

impl Awake {
    fn take() -> Option<Self> {
        (!TAKEN.swap(true, Ordering::AcqRel)).then_some(Self)
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::Release);
    }
}

/// How long a server took over its last answer.
#[derive(Debug, Clone)]
pub struct Pace(Arc<AtomicU64>);

impl Default for Pace {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(u64::MAX)))
    }
}

impl Pace {
    /// Waits for an answer, awake if the last one came at once.
    pub(crate) async fn wait<T>(&self, answer: impl Future<Output = T>) -> T {
        let mut answer = pin!(answer);
        let begun = Instant::now();
        let awake = if self.is_quick() { Awake::take() } else { None };
        let mut arrived = None;
        while awake.is_some() && arrived.is_none() && begun.elapsed() < ALERT {
            tokio::select! {
                biased;
                answer = &mut answer => arrived = Some(answer),
                // The server may be waiting for this very core.
                () = tokio::task::yield_now() => std::thread::yield_now(),
            }
        }
        drop(awake);
        let arrived = match arrived {
            Some(arrived) => arrived,
            None => answer.await,
        };
        self.note(begun.elapsed());
        arrived
    }

    fn note(&self, took: Duration) {
        self.0.store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn is_quick(&self) -> bool {
        Duration::from_micros(self.0.load(Ordering::Relaxed)) < ALERT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_says_how_quick_a_server_is() {
        let pace = Pace::default();
        assert!(!pace.is_quick(), "nothing is known yet");
        pace.note(ALERT / 2);
        assert!(pace.is_quick() && pace.clone().is_quick());
        pace.note(2 * ALERT);
        assert!(!pace.is_quick());
    }

    #[tokio::test]
    async fn whoever_stays_awake_leaves_others_their_turn() {
        let pace = Pace::default();
        pace.note(Duration::ZERO);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let mut others = tokio::task::JoinSet::new();
        others.spawn(async move { sender.send(2) });
        assert_eq!(pace.wait(receiver).await.unwrap(), 2);
        others.join_next().await.unwrap().unwrap().unwrap();
        assert!(!TAKEN.load(Ordering::Acquire));
    }
}
