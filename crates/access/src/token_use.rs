//! When service tokens are used: noted beside the request that is let in, written down by a task of its own.
//!
//! Decides nothing. Invariants: a request pays for it with a look into a bounded table, one note for each token and minute
//! leaves a node, and a store that cannot be reached costs no request anything.

use std::sync::Arc;

use identity::session::Moment;
use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use types::ServiceTokenId;

use crate::ledger::Ledger;

/// Tokens whose last use is remembered here; one that is forgotten is noted again.
const MOST_KNOWN: u64 = 10_000;
/// Notes that wait to be written down.
const WAITING: usize = 1_000;
const MINUTE: i64 = 60_000;

/// One use, to the minute.
type Use = (ServiceTokenId, Moment);

/// What is noted of service tokens at this node.
pub(crate) struct TokenUses {
    /// The minute that each was noted in last.
    noted: Cache<ServiceTokenId, i64>,
    sender: mpsc::Sender<Use>,
    /// Until the task that empties the queue takes it.
    receiver: Mutex<Option<mpsc::Receiver<Use>>>,
}

impl TokenUses {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { noted: Cache::new(MOST_KNOWN), sender, receiver: Mutex::new(Some(receiver)) }
    }

    /// Notes that a request was let in with a token. While the queue is full, the next request notes it.
    pub(crate) fn note(&self, token: ServiceTokenId, now: Moment) {
        let minute = now.0.div_euclid(MINUTE);
        if self.noted.get(&token).is_some_and(|noted| noted >= minute) {
            return;
        }
        if self.sender.try_send((token, Moment(minute.saturating_mul(MINUTE)))).is_ok() {
            self.noted.insert(token, minute);
        }
    }

    /// Writes down what is noted until `stop`, and what is in the queue then.
    pub(crate) fn run(
        &self,
        ledger: Arc<dyn Ledger>,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let receiver = self.receiver.lock().take();
        async move {
            let Some(mut receiver) = receiver else { return };
            while let Some(Some(noted)) = stop.run_until_cancelled(receiver.recv()).await {
                write(&*ledger, noted).await;
            }
            receiver.close();
            while let Ok(noted) = receiver.try_recv() {
                write(&*ledger, noted).await;
            }
        }
    }
}

async fn write(ledger: &dyn Ledger, (token, at): Use) {
    if let Err(error) = ledger.used(token, at).await {
        tracing::warn!(%error, %token, "the use of a service token could not be written down");
    }
}
