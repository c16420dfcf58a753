//! Following a dataset live. A follower that reads too slowly misses records and is told how many; it never slows the
//! gateway down. Invariant: a follower sees only its account's records.

use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use types::AccountId;
use uuid::Uuid;

use crate::records::{Dataset, Record};

/// A record as it was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tailed {
    /// Its id.
    pub id: Uuid,
    /// Which dataset it belongs to.
    pub dataset: Dataset,
    /// Its JSON; empty fields are absent.
    pub json: Arc<str>,
    pub(crate) account: String,
}

impl Tailed {
    /// Returns the record as its type.
    ///
    /// # Errors
    ///
    /// Never for a record this process wrote.
    pub fn record(&self) -> serde_json::Result<Record> {
        Record::from_json(self.dataset, &self.json)
    }
}

/// What a follower gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TailEvent {
    /// The next record.
    Record(Arc<Tailed>),
    /// So many records, of any account, passed unseen.
    Missed(u64),
}

/// A follower.
#[derive(Debug)]
pub struct Tail {
    receiver: Receiver<Arc<Tailed>>,
    account: String,
}

impl Tail {
    pub(crate) fn new(receiver: Receiver<Arc<Tailed>>, account: AccountId) -> Self {
        Self { receiver, account: account.to_string() }
    }

    /// Waits for the next event; `None` when the journal is gone. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Option<TailEvent> {
        loop {
            match self.receiver.recv().await {
                Ok(record) if record.account == self.account => return Some(TailEvent::Record(record)),
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => return Some(TailEvent::Missed(missed)),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
