//! Keeps records for as long as the account chose, from the start and after every change.
//!
//! It deletes nothing itself; the log does. Invariant: the log is told before it is opened, so that a default which is
//! shorter takes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use administration::operations::retention::kept;
use logs::{Logs, Retention};
use store::{Change, ChangeFeed, Kind, Only, Principal, ReadLogs, Store};
use tokio_util::sync::CancellationToken;
use types::AccountId;

use crate::account::AccountError;

/// The pause before a store that did not answer is asked again.
const RETRY: Duration = Duration::from_secs(5);

/// Returns what an account chose.
pub(crate) async fn chosen(store: &Store, account: AccountId) -> Result<BTreeMap<AccountId, Retention>, AccountError> {
    Ok(BTreeMap::from([(account, read(store, account).await?)]))
}

async fn read(store: &Store, account: AccountId) -> Result<Retention, AccountError> {
    let grant = Principal::system("retention").authorize::<ReadLogs>(account)?;
    let stored = store.retention().get(&grant, &Only).await?;
    Ok(stored.map(|stored| kept(&stored.document)).unwrap_or_default())
}

/// Tells the log of every change, also one that another node made. `feed` must have been opened before the log was.
pub(crate) async fn follow(
    store: Store,
    account: AccountId,
    logs: Logs,
    mut feed: ChangeFeed,
    stop: CancellationToken,
) {
    while let Some(changes) = stop.run_until_cancelled(feed.next()).await {
        if !changes.iter().any(concerns) {
            continue;
        }
        loop {
            match read(&store, account).await {
                Ok(retention) => break logs.retain(account, retention),
                Err(error) => {
                    tracing::warn!(%error, "how long records are kept cannot be read; what it was before stays");
                }
            }
            if stop.run_until_cancelled(tokio::time::sleep(RETRY)).await.is_none() {
                return;
            }
        }
    }
}

fn concerns(change: &Change) -> bool {
    match change {
        Change::Put(document) | Change::Deleted(document) | Change::ChildrenDeleted(document) => {
            document.kind == Kind::Retention
        }
        Change::Resync { .. } => true,
    }
}
