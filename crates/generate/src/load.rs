//! Puts generated records into a journal, and goes on where an earlier attempt ended.
//!
//! The journal keeps what it accepted in order, so of every dataset a beginning is there after a kill; ids ascend, so
//! the newest generated record says how long that beginning is. Invariant: however often it is begun and cut off, every
//! record of a plan is in the journal once.

use std::collections::BTreeMap;

use logs::{AppendError, Dataset, Filter, Logs, Operator, Query, QueryError};
use uuid::Uuid;

use crate::generator::{Generator, Plan, PlanError};

/// The datasets that records are made of.
const DATASETS: [Dataset; 4] =
    [Dataset::GatewayHttp, Dataset::GatewayNetwork, Dataset::AccessRequests, Dataset::McpPortalLogs];
/// Records between two reports of progress, and between two chances for others.
const STRIDE: u64 = 1_024;

/// Why traffic could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The plan makes no sense.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// What is there already cannot be read.
    #[error("the journal cannot be read")]
    Read(#[from] QueryError),
    /// The journal takes no more.
    #[error("the journal took no more after {after} records")]
    Append {
        /// How many it had taken.
        after: u64,
        /// Why.
        source: AppendError,
    },
}

/// What loading did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Records that are new in the journal.
    pub added: u64,
    /// Records that were there from before.
    pub present: u64,
}

/// Appends the records of a plan, and returns when they are on the disk. `progress` is told how many are behind.
///
/// # Errors
///
/// [`LoadError`]; what was taken until then stays.
pub async fn append(plan: &Plan, logs: &Logs, progress: impl FnMut(u64)) -> Result<Loaded, LoadError> {
    run(plan, logs, BTreeMap::new(), progress).await
}

/// Appends those records of a plan that are not there yet. No other plan may have generated records in its period.
///
/// Dropping the future or killing the process cuts it off; calling again goes on.
///
/// # Errors
///
/// [`LoadError`]; what was taken until then stays.
pub async fn resume(plan: &Plan, logs: &Logs, progress: impl FnMut(u64)) -> Result<Loaded, LoadError> {
    let mut last = BTreeMap::new();
    for dataset in DATASETS {
        if let Some(id) = newest(plan, logs, dataset).await? {
            last.insert(dataset, id);
        }
    }
    run(plan, logs, last, progress).await
}

async fn run(
    plan: &Plan,
    logs: &Logs,
    last: BTreeMap<Dataset, Uuid>,
    mut progress: impl FnMut(u64),
) -> Result<Loaded, LoadError> {
    let mut generator = Generator::new(plan)?;
    let mut loaded = Loaded::default();
    let mut behind = 0;
    while let Some(lent) = generator.advance() {
        if last.get(&lent.dataset()).is_some_and(|last| lent.id() <= *last) {
            loaded.present += 1;
        } else {
            logs.append(lent).await.map_err(|source| LoadError::Append { after: loaded.added, source })?;
            loaded.added += 1;
        }
        behind += 1;
        if behind % STRIDE == 0 {
            progress(behind);
            tokio::task::yield_now().await;
        }
    }
    logs.flush().await.map_err(|source| LoadError::Append { after: loaded.added, source })?;
    progress(behind);
    Ok(loaded)
}

/// Returns the id of the last record of the plan that is there.
async fn newest(plan: &Plan, logs: &Logs, dataset: Dataset) -> Result<Option<Uuid>, QueryError> {
    let generated = Filter { field: "Generated".to_owned(), operator: Operator::Equal, value: true.into() };
    let mut query = Query {
        since: Some(plan.from),
        until: Some(plan.to),
        filters: vec![generated],
        limit: 1,
        ..Query::newest(plan.account, dataset)
    };
    loop {
        let page = logs.query(query.clone()).await?;
        if let Some(entry) = page.entries.first() {
            return Ok(Some(entry.id));
        }
        match page.next {
            Some(next) => query.before = Some(next),
            None => return Ok(None),
        }
    }
}
