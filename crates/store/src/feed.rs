//! The change feed: what changed, in order, across restarts of this process and of the database.
//!
//! A feed remembers one number. It wakes when this process writes, when Postgres notifies, and at every poll interval,
//! so a lost wake-up costs time and never a change. It does not carry the documents: a reader fetches what it needs.
//! Invariant: between two calls of [`ChangeFeed::next`] no change is skipped; a reader that fell behind what is kept is
//! told to start over.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;
use types::AccountId;

use crate::Store;
use crate::backend::{ChangePage, ChangeRow, Told};
use crate::document::{Kind, Revision};
use crate::error::StoreError;

/// How many changes one call returns at most.
const PAGE: usize = 1_000;
/// The shortest pause between two reads: under load many changes are read at once, and a lone one at once.
const PACE: Duration = Duration::from_millis(20);
/// The longest pause between attempts while the database is gone.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// Something that happened to the stored documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A document was created, replaced, or something that belongs to it changed.
    Put(ChangedDocument),
    /// A document was deleted.
    Deleted(ChangedDocument),
    /// Every document of the kind that belongs to `id` was deleted.
    ChildrenDeleted(ChangedDocument),
    /// The reader fell behind what is kept, or a newer version wrote what this one does not know: read everything again.
    Resync {
        /// The position after which changes are told again.
        seq: i64,
    },
}

impl Change {
    /// Returns the position of the change; a feed started there continues after it.
    #[must_use]
    pub const fn seq(&self) -> i64 {
        match self {
            Self::Put(document) | Self::Deleted(document) | Self::ChildrenDeleted(document) => document.seq,
            Self::Resync { seq } => *seq,
        }
    }
}

/// Which document changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedDocument {
    /// The position of the change.
    pub seq: i64,
    /// The account it belongs to.
    pub account: AccountId,
    /// Its kind.
    pub kind: Kind,
    /// Its id, or its parent's.
    pub id: String,
    /// When it changed.
    pub at: Timestamp,
    /// The revision it has since; none where it was deleted.
    pub revision: Option<Revision>,
}

/// A reader's place in the changes.
#[derive(Debug)]
pub struct ChangeFeed {
    store: Store,
    position: i64,
    wake: watch::Receiver<u64>,
    /// When it last looked, and whether more was there than it took.
    looked: Option<(Instant, bool)>,
}

impl Store {
    /// Returns a feed of the changes that follow. Start it, then read the state, then call [`ChangeFeed::next`].
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] and its like.
    pub async fn changes(&self) -> Result<ChangeFeed, StoreError> {
        let head = self.bounded(self.backend().changes(i64::MAX, 1)).await?.head;
        Ok(self.changes_after(head))
    }

    /// Returns a feed that continues after a position another feed reached.
    #[must_use]
    pub fn changes_after(&self, position: i64) -> ChangeFeed {
        ChangeFeed { store: self.clone(), position, wake: self.wake(), looked: None }
    }
}

impl ChangeFeed {
    /// Returns the position up to which changes were returned.
    #[must_use]
    pub const fn position(&self) -> i64 {
        self.position
    }

    /// Returns the changes that are already there, in order; none when there are none. It does not wait for more.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] and its like; the position stays where it was.
    pub async fn ready(&mut self) -> Result<Vec<Change>, StoreError> {
        let page = self.store.bounded(self.store.backend().changes(self.position, PAGE)).await?;
        self.looked = Some((Instant::now(), page.rows.len() == PAGE));
        Ok(follow(&mut self.position, page))
    }

    /// Waits for changes and returns them in order, at least one. While the database is gone it keeps trying.
    ///
    /// Cancelling it loses nothing: the position moves only when changes are returned.
    pub async fn next(&mut self) -> Vec<Change> {
        let mut failures = 0_u32;
        loop {
            if let Some((at, false)) = self.looked {
                tokio::time::sleep_until(at + PACE).await;
            }
            // Seen before reading: a write that lands between the read and the wait still wakes us.
            self.wake.borrow_and_update();
            let pause = match self.ready().await {
                Ok(changes) if !changes.is_empty() => return changes,
                Ok(_) => {
                    failures = 0;
                    self.store.poll_interval()
                }
                Err(error) => {
                    if failures == 0 {
                        tracing::warn!(error = %Chain(&error), "the change feed cannot read the store");
                    }
                    failures = failures.saturating_add(1);
                    (self.store.poll_interval() * failures.min(10)).min(LONGEST_BACKOFF)
                }
            };
            // A closed channel cannot happen while `self.store` lives; the timer alone would still be correct.
            let _ = tokio::time::timeout(pause, self.wake.changed()).await;
        }
    }
}

/// Moves a position over a page of changes and returns them; a position nothing is kept for starts over.
fn follow(position: &mut i64, page: ChangePage) -> Vec<Change> {
    // A restored backup can be older than the reader, and its numbers will be given out again.
    if *position < page.pruned_through || *position > page.head {
        *position = page.head;
        return vec![Change::Resync { seq: page.head }];
    }
    let changes: Vec<_> = page.rows.into_iter().map(read).collect();
    if let Some(last) = changes.last() {
        *position = last.seq();
    }
    changes
}

fn read(row: ChangeRow) -> Change {
    let document = || {
        Some(ChangedDocument {
            seq: row.seq,
            account: row.account.parse().ok()?,
            kind: Kind::parse(&row.kind)?,
            id: row.id.clone(),
            at: Timestamp::from_microsecond(row.at).ok()?,
            revision: row.revision.map(Revision),
        })
    };
    let change = match row.op.as_str() {
        op if op == Told::Put.as_str() => document().map(Change::Put),
        op if op == Told::Delete.as_str() => document().map(Change::Deleted),
        op if op == Told::DeleteChildren.as_str() => document().map(Change::ChildrenDeleted),
        _ => None,
    };
    change.unwrap_or(Change::Resync { seq: row.seq })
}

/// Prints an error with its causes, once.
pub(crate) struct Chain<'a>(pub &'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Change, ChangePage, ChangeRow, follow};

    fn row(seq: i64, kind: &str, op: &str) -> ChangeRow {
        let account = "00000000000000000000000000000001".to_owned();
        let (kind, op) = (kind.to_owned(), op.to_owned());
        ChangeRow { seq, account, kind, id: "x".to_owned(), op, at: 0, revision: Some(1) }
    }

    #[test]
    fn a_reader_that_fell_behind_or_ran_ahead_starts_over_at_the_head() {
        for (start, resyncs) in [(9, true), (10, false), (20, false), (21, true)] {
            let mut position = start;
            let changes = follow(&mut position, ChangePage { rows: Vec::new(), pruned_through: 10, head: 20 });
            assert_eq!(changes == [Change::Resync { seq: 20 }], resyncs, "{start}");
            assert_eq!(position, if resyncs { 20 } else { start });
        }
    }

    #[test]
    fn what_a_newer_version_wrote_makes_the_reader_start_over_and_is_passed() {
        let rows = vec![row(1, "rule", "put"), row(2, "hologram", "put"), row(3, "rule", "rotate")];
        let mut position = 0;
        let changes = follow(&mut position, ChangePage { rows, pruned_through: 0, head: 3 });
        assert!(matches!(changes[..], [Change::Put(_), Change::Resync { seq: 2 }, Change::Resync { seq: 3 }]));
        assert_eq!(position, 3);
    }
}
