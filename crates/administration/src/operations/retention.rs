//! How long records are kept, by dataset, and what there is of each.
//!
//! Invariant: what is stored is within the bounds of the log; the audit trail and the sign-ins outlive a month.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use logs::{BYTES, DAYS, Dataset, FEWEST_AUDIT_DAYS, Keep};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{DatasetRetention, Only, ReadLogs, Retention, WriteLogs};
use utoipa::ToSchema;

use super::logs::query_failed;
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::{Failure, Problem};

/// How one dataset is kept, and what there is of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct KeptView {
    pub dataset: &'static str,
    /// Whole days of UTC, today not counted.
    pub days: u32,
    /// Its own bound in bytes; null: it shares the room of the datasets that have none.
    pub max_bytes: Option<u64>,
    /// Whether this is what is done where nobody chose.
    pub default: bool,
    /// Records in the lake.
    pub rows: u64,
    /// Bytes in the lake.
    pub bytes: u64,
    /// The day of the oldest record.
    pub oldest: Option<String>,
}

/// How datasets are to be kept. Those that are not named are kept as by default.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetentionBody {
    pub datasets: Vec<KeepBody>,
}

/// How one dataset is to be kept.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeepBody {
    pub dataset: String,
    /// 1 to 3650; at least 30 for `audit` and `access_requests`.
    pub days: u32,
    /// 64 MiB to 1 PiB.
    #[serde(default)]
    pub max_bytes: Option<u64>,
}

/// Returns how every dataset is kept.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn get(cx: &OpContext) -> Result<Vec<KeptView>, Failure> {
    let grant = cx.authorize::<ReadLogs>()?;
    let stored = cx.store().retention().get(&grant, &Only).await?.map(|stored| stored.document).unwrap_or_default();
    let chosen = kept(&stored);
    let mut views = Vec::with_capacity(Dataset::ALL.len());
    for dataset in Dataset::ALL {
        let logs = &cx.app.deps.logs;
        let own = chosen.get(&dataset).copied();
        let keep = own.unwrap_or_else(|| logs.default_keep(dataset));
        let usage = logs.occupied(cx.account, dataset).await.map_err(query_failed)?;
        views.push(KeptView {
            dataset: dataset.as_str(),
            days: keep.days,
            max_bytes: keep.max_bytes,
            default: own.is_none(),
            rows: usage.rows,
            bytes: usage.bytes,
            oldest: usage.oldest.map(|day| day.to_string()),
        });
    }
    Ok(views)
}

/// Chooses how datasets are kept. What is older or more than that goes within the minute.
///
/// # Errors
///
/// A [`Failure`] that points at the members at fault.
pub async fn replace(cx: &OpContext, body: RetentionBody) -> Result<Vec<KeptView>, Failure> {
    let grant = cx.authorize::<WriteLogs>()?;
    let document = read(&body)?;
    let before = cx.store().retention().get(&grant, &Only).await?.map(|stored| stored.document).unwrap_or_default();
    if before != document {
        cx.store().retention().put(&grant, Only, document.clone()).await?;
        cx.app.deps.logs.retain(cx.account, kept(&document));
        let change =
            Change::new(Verb::Update, "log_retention", "logs").before(summary(&before)).after(summary(&document));
        cx.record(change).await?;
    }
    get(cx).await
}

fn summary(retention: &Retention) -> Value {
    json!(retention.datasets)
}

fn read(body: &RetentionBody) -> Result<Retention, Failure> {
    let (mut datasets, mut problems) = (BTreeMap::new(), Vec::new());
    for (index, wanted) in body.datasets.iter().enumerate() {
        let mut wrong = |member: &str, what: String| {
            problems.push(Problem { pointer: Some(format!("/datasets/{index}/{member}")), message: what });
        };
        let dataset = match Dataset::from_str(&wanted.dataset) {
            Ok(dataset) => dataset,
            Err(error) => {
                wrong("dataset", error.to_string());
                continue;
            }
        };
        let fewest = fewest_days(dataset);
        if !(fewest..=*DAYS.end()).contains(&wanted.days) {
            wrong("days", format!("must be {fewest} to {}", DAYS.end()));
        }
        if wanted.max_bytes.is_some_and(|bytes| !BYTES.contains(&bytes)) {
            wrong("max_bytes", format!("must be {} (64 MiB) to {} (1 PiB), or null", BYTES.start(), BYTES.end()));
        }
        let own = DatasetRetention { days: wanted.days, max_bytes: wanted.max_bytes };
        if datasets.insert(dataset.as_str().to_owned(), own).is_some() {
            wrong("dataset", format!("names {dataset} twice"));
        }
    }
    if problems.is_empty() { Ok(Retention { datasets }) } else { Err(Failure::invalid_many(problems)) }
}

/// Says whether a dataset may be kept so.
#[must_use]
pub fn is_within_bounds(dataset: &str, days: u32, max_bytes: Option<u64>) -> bool {
    let fewest = Dataset::from_str(dataset).map_or(u32::MAX, fewest_days);
    (fewest..=*DAYS.end()).contains(&days) && max_bytes.is_none_or(|bytes| BYTES.contains(&bytes))
}

/// Returns the fewest days a dataset may be kept.
#[must_use]
pub const fn fewest_days(dataset: Dataset) -> u32 {
    match dataset {
        Dataset::Audit | Dataset::AccessRequests => FEWEST_AUDIT_DAYS,
        Dataset::GatewayHttp | Dataset::GatewayNetwork | Dataset::Worker | Dataset::McpPortalLogs => *DAYS.start(),
    }
}

/// Returns what is stored as the log takes it.
#[must_use]
pub fn kept(stored: &Retention) -> logs::Retention {
    let known = stored.datasets.iter().filter_map(|(name, own)| Some((Dataset::from_str(name).ok()?, own)));
    known.map(|(dataset, own)| (dataset, Keep { days: own.days, max_bytes: own.max_bytes })).collect()
}
