//! One dataset of one account: its files, as the commits in its log come to.
//!
//! It decides nothing about what to write; it makes what is decided take effect at once or not at all. Several nodes may
//! commit to one table: who comes second looks at what the first did and decides anew. Invariant: the state in memory is
//! that of a prefix of the log.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use object_store::path::Path;
use parking_lot::Mutex;
use types::AccountId;
use uuid::Uuid;

use super::delta::{self, Action, LogError, State};
use super::place::Place;
use super::{checkpoint, schema};
use crate::records::Dataset;

/// After so many commits the state is written down whole.
const CHECKPOINT_EVERY: u64 = 64;
/// How many commits are read at once.
const AT_ONCE: usize = 16;

#[derive(Debug)]
pub(crate) struct Table {
    pub account: AccountId,
    pub dataset: Dataset,
    pub root: Path,
    place: Place,
    state: Mutex<Arc<State>>,
    /// Held by who commits, so that this process never races with itself.
    committing: tokio::sync::Mutex<()>,
}

/// Why a table cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    #[error("the lake cannot be reached")]
    Store(#[from] object_store::Error),
    #[error("the lake's disk refuses")]
    Settle(#[source] std::io::Error),
    #[error("the log of table {0} cannot be understood")]
    Log(Path, #[source] LogError),
    #[error("file {0} cannot be read or written")]
    File(String, #[source] parquet::errors::ParquetError),
    #[error("records do not fit their columns")]
    Columns(#[from] arrow::error::ArrowError),
}

/// What came of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Committed {
    Done,
    /// There was nothing left to do.
    Moot,
}

impl Table {
    /// Reads a table; one that does not exist has nothing in it.
    pub(crate) async fn load(place: &Place, account: AccountId, dataset: Dataset) -> Result<Self, TableError> {
        let root = Path::from(format!("{account}/{dataset}"));
        let state = checkpoint::load(place, dataset, &root).await?;
        let table = Self {
            account,
            dataset,
            root,
            place: place.clone(),
            state: Mutex::new(Arc::new(state)),
            committing: tokio::sync::Mutex::default(),
        };
        table.refresh().await?;
        Ok(table)
    }

    pub(crate) fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.lock())
    }

    pub(crate) fn path(&self, name: &str) -> Path {
        Path::from(format!("{}/{name}", self.root))
    }

    /// Takes in what others committed.
    pub(crate) async fn refresh(&self) -> Result<(), TableError> {
        let mut state = State::clone(&self.state());
        let from = state.next;
        let mut at_once = 1;
        'log: loop {
            let versions = state.next..state.next + at_once;
            let commits = versions.map(|version| self.commit_text(version));
            let commits = stream::iter(commits).buffered(AT_ONCE).try_collect::<Vec<_>>().await?;
            for text in commits {
                let Some(text) = text else { break 'log };
                let actions =
                    delta::read(self.dataset, &text).map_err(|error| TableError::Log(self.root.clone(), error))?;
                state.apply(&actions);
                state.next += 1;
            }
            // Most often there is nothing; after one there may be many.
            at_once = AT_ONCE as u64;
        }
        if state.next > from {
            self.advance(Arc::new(state));
        }
        Ok(())
    }

    async fn commit_text(&self, version: u64) -> Result<Option<Bytes>, object_store::Error> {
        self.place.get(&self.path(&delta::commit_name(version))).await
    }

    /// Takes a state that was made of a longer part of the log than that in memory; somebody else may have been faster.
    fn advance(&self, newer: Arc<State>) {
        let mut state = self.state.lock();
        if newer.next > state.next {
            *state = newer;
        }
    }

    /// Commits what `decide` says about the state as it is then; asks again when somebody else committed meanwhile.
    pub(crate) async fn commit(
        &self,
        decide: impl Fn(&State) -> Option<Vec<Action>>,
        rearranges: bool,
        now: Timestamp,
    ) -> Result<Committed, TableError> {
        let _committing = self.committing.lock().await;
        loop {
            let state = self.state();
            let Some(mut actions) = decide(&state) else { return Ok(Committed::Moot) };
            let text = schema::delta(self.dataset).to_string();
            if state.schema != text {
                let id = if state.id.is_empty() { Uuid::now_v7().to_string() } else { state.id.clone() };
                actions.insert(0, Action::Schema { id, text });
            }
            let path = self.path(&delta::commit_name(state.next));
            let bytes = delta::write(self.dataset, state.next, &actions, rearranges, now);
            if !self.place.create(&path, bytes.clone()).await? {
                // An answer that was lost on its way made the store's client ask again, of what it had done itself.
                let ours = self.place.get(&path).await?.is_some_and(|there| there == bytes);
                if !ours {
                    self.refresh().await?;
                    continue;
                }
            }
            self.place.settle(&[path]).map_err(TableError::Settle)?;
            let mut next = State::clone(&state);
            next.apply(&actions);
            next.next += 1;
            let due = next.next.is_multiple_of(CHECKPOINT_EVERY);
            let next = Arc::new(next);
            self.advance(Arc::clone(&next));
            // Only a shortcut for the next start.
            if due && let Err(error) = checkpoint::write(&self.place, self.dataset, &self.root, &next, now).await {
                tracing::warn!(%error, table = %self.root, "a checkpoint could not be written");
            }
            return Ok(Committed::Done);
        }
    }

    /// Forgets files that were removed before `before`, which are deleted, in memory; the log says so already.
    pub(crate) fn forget(&self, paths: &[String]) {
        let mut state = self.state.lock();
        let next = Arc::make_mut(&mut state);
        for path in paths {
            next.removed.remove(path);
        }
    }
}
