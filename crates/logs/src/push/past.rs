//! What was recorded before a job was there, or was let go before it was sent: delivered from journal and lake by the time of
//! records, beside what comes.
//!
//! Newest first, since that is the order of queries. Invariant: a period is done only when each of its batches arrived; a record
//! may arrive by this way and by the other.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{PushError, PushSink};
use crate::error::QueryError;
use crate::query::{MAX_LIMIT, Query};
use crate::{Cursor, Logs};

/// A period whose records are delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushPast {
    /// Its start.
    pub from: Timestamp,
    /// Its end, which is not part of it.
    pub until: Timestamp,
    /// How many records of it arrived.
    pub sent_records: u64,
    /// What comes before this is still to be sent; nothing when none was sent yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<String>,
}

/// Some records of a period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushPastBatch {
    /// The same for a batch whenever it is read.
    pub id: String,
    /// The time of the first and the last record.
    pub times: Option<(Timestamp, Timestamp)>,
    /// Where it goes on; `None` at the end of the period.
    next: Option<String>,
}

/// Why records of a period cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PushPastError {
    /// As for what comes.
    #[error(transparent)]
    Push(#[from] PushError),
    /// The lake does not answer.
    #[error("the records of the period cannot be read just now")]
    Query(#[from] QueryError),
}

impl Logs {
    /// Asks for the records of a period to be delivered to a job, in the place of a period that was asked for before.
    ///
    /// # Errors
    ///
    /// [`PushError`].
    pub fn push_deliver(&self, id: Uuid, from: Timestamp, until: Timestamp) -> Result<(), PushError> {
        let past = PushPast { from, until, sent_records: 0, before: None };
        self.inner.pushes.change(id, |job| job.past = Some(past))
    }

    /// Reads the next records of the period that a job is given; `None` when there is no such period.
    ///
    /// # Errors
    ///
    /// [`PushPastError`].
    pub async fn push_read_past<S: PushSink>(
        &self,
        id: Uuid,
        mut sink: S,
    ) -> Result<Option<(S, PushPastBatch)>, PushPastError> {
        let (job, dataset) = self.inner.pushes.job(id)?;
        let Some(past) = job.past else { return Ok(None) };
        let (mut next, mut times) = (past.before.clone(), None);
        loop {
            let before = next.as_deref().and_then(|text| text.parse::<Cursor>().ok());
            let query = Query {
                since: Some(past.from),
                until: Some(past.until),
                limit: MAX_LIMIT,
                before,
                ..Query::newest(job.account, dataset)
            };
            let page = self.query(query).await?;
            for entry in &page.entries {
                sink.take(entry.id, &entry.fields);
                let time = Timestamp::from_microsecond(entry.cursor.micros).unwrap_or_default();
                times =
                    Some(times.map_or((time, time), |(first, last): (Timestamp, Timestamp)| {
                        (first.min(time), last.max(time))
                    }));
            }
            next = page.next.map(|cursor| cursor.to_string());
            if next.is_none() || sink.is_full() {
                break;
            }
        }
        let start = past.before.as_deref().unwrap_or("newest");
        let batch_id = format!("{}-{}-{start}", past.from.as_second(), past.until.as_second());
        Ok(Some((sink, PushPastBatch { id: batch_id, times, next })))
    }

    /// Says that records of a period arrived.
    ///
    /// # Errors
    ///
    /// [`PushError`]; they are read again then.
    pub fn push_past_done(&self, id: Uuid, batch: &PushPastBatch, records: u64) -> Result<(), PushError> {
        self.inner.pushes.change(id, |job| {
            job.sent_records += records;
            job.failing_since = None;
            job.error.clear();
            if let Some(past) = &mut job.past {
                past.sent_records += records;
                past.before.clone_from(&batch.next);
            }
            if batch.next.is_none()
                && let Some(past) = job.past.take()
            {
                // What was missed and lies in it is not missed any more.
                job.gaps.retain(|gap| gap.from < past.from || gap.until >= past.until);
            }
        })
    }
}
