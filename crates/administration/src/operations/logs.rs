//! Reading what was recorded: pages of records, one record, the minute counts, and what arrives while one looks.
//!
//! Traffic needs the permission to read logs, the audit log its own. Invariant: no record of another account is returned.

use std::str::FromStr as _;

use logs::{Cursor, Dataset, Filter, Kind, Operator, Query, QueryError, Tail};
use serde::Serialize;
use serde_json::{Map, Value};
use store::{ReadAudit, ReadLogs};
use types::Code;
use utoipa::ToSchema;
use uuid::Uuid;

use super::parse_time;
use crate::auth::OpContext;
use crate::failure::Failure;

/// One record: its fields by the names Logpush uses, empty ones absent.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub struct RecordView(pub Map<String, Value>);

/// A page of records, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordPage {
    pub records: Vec<RecordView>,
    /// Where the next page begins; empty at the end.
    pub cursor: String,
}

/// What happened in one minute.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct MinuteView {
    /// Its beginning.
    pub at: String,
    pub records: u64,
    /// By action or outcome.
    #[schema(value_type = Object)]
    pub by_word: std::collections::BTreeMap<String, u64>,
    pub errors: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub decision_p50_micros: Option<u64>,
    pub decision_p99_micros: Option<u64>,
    pub worker_p50_micros: Option<u64>,
    pub worker_p99_micros: Option<u64>,
    pub duration_p50_micros: Option<u64>,
    pub duration_p99_micros: Option<u64>,
}

/// A field of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldView {
    pub name: &'static str,
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Whether Logpush has it.
    pub standard: bool,
    pub description: &'static str,
}

/// Query parameters that are not filters.
const RESERVED: [&str; 7] = ["limit", "before", "cursor", "since", "until", "page", "per_page"];

fn admit(cx: &OpContext, dataset: &str) -> Result<Dataset, Failure> {
    let dataset = Dataset::from_str(dataset).map_err(|error| Failure::new(Code::NotFound, error.to_string()))?;
    match dataset {
        Dataset::Audit => cx.authorize::<ReadAudit>().map(|_| ())?,
        Dataset::GatewayHttp
        | Dataset::GatewayNetwork
        | Dataset::Worker
        | Dataset::AccessRequests
        | Dataset::McpPortalLogs => {
            cx.authorize::<ReadLogs>().map(|_| ())?;
        }
    }
    Ok(dataset)
}

/// Returns the fields of a dataset.
///
/// # Errors
///
/// `NotFound` for an unknown dataset.
pub fn fields(cx: &OpContext, dataset: &str) -> Result<Vec<FieldView>, Failure> {
    let fields = admit(cx, dataset)?.fields().iter().map(|field| FieldView {
        name: field.name,
        kind: field.kind.as_str(),
        standard: field.standard,
        description: field.description,
    });
    Ok(fields.collect())
}

/// Returns a page of records. `parameters` are those of the query string: `limit`, `before`, `since`, `until`, and filters
/// as `Field=value`, `Field!=value` (name ends in `!`), `Field~=part`, `Field^=start`, `Field>=…` and `Field<=…`.
///
/// # Errors
///
/// A [`Failure`] that names the parameter at fault.
pub async fn page(cx: &OpContext, dataset: &str, parameters: &[(String, String)]) -> Result<RecordPage, Failure> {
    let dataset = admit(cx, dataset)?;
    let mut query = Query::newest(cx.account, dataset);
    for (name, value) in parameters.iter().filter(|(_, value)| !value.is_empty()) {
        let wrong = |what: &str| Failure::new(Code::InvalidInput, format!("query parameter \"{name}\" must be {what}"));
        match name.as_str() {
            "limit" | "per_page" => {
                query.limit =
                    value.parse().ok().filter(|limit| (1..=1000).contains(limit)).ok_or_else(|| wrong("1 to 1000"))?;
            }
            "before" | "cursor" => query.before = Some(value.parse::<Cursor>().map_err(|_| wrong("a cursor of ours"))?),
            "since" => query.since = Some(parse_time("", value).map_err(|_| wrong("a time"))?),
            "until" => query.until = Some(parse_time("", value).map_err(|_| wrong("a time"))?),
            reserved if RESERVED.contains(&reserved) => {}
            _ => query.filters.push(filter(dataset, name, value)),
        }
    }
    let page = cx.app.deps.logs.query(query).await.map_err(query_failed)?;
    let cursor = page.next.map(|cursor| cursor.to_string()).unwrap_or_default();
    Ok(RecordPage { records: page.entries.into_iter().map(|entry| RecordView(entry.fields)).collect(), cursor })
}

/// Reads one filter; the name's last character chooses the operator.
fn filter(dataset: Dataset, name: &str, value: &str) -> Filter {
    let (field, operator) = match name.char_indices().last() {
        Some((end, '!')) => (&name[..end], Operator::NotEqual),
        Some((end, '~')) => (&name[..end], Operator::Contains),
        Some((end, '^')) => (&name[..end], Operator::StartsWith),
        Some((end, '>')) => (&name[..end], Operator::Greater),
        Some((end, '<')) => (&name[..end], Operator::Less),
        _ => (name, Operator::Equal),
    };
    let kind = dataset.fields().iter().find(|known| known.name == field).map_or(Kind::Text, |known| known.kind);
    let value = match kind {
        Kind::Integer | Kind::Count | Kind::Small | Kind::Integers => {
            value.parse::<i64>().map_or_else(|_| Value::from(value), Value::from)
        }
        Kind::Flag => value.parse::<bool>().map_or_else(|_| Value::from(value), Value::from),
        Kind::Text | Kind::Texts | Kind::Json | Kind::Jsons | Kind::Time | Kind::Id => Value::from(value),
    };
    Filter { field: field.to_owned(), operator, value }
}

/// Returns one record.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, dataset: &str, id: Uuid) -> Result<RecordView, Failure> {
    let dataset = admit(cx, dataset)?;
    let entry = cx.app.deps.logs.get(cx.account, dataset, id).await.map_err(query_failed)?;
    entry.map(|entry| RecordView(entry.fields)).ok_or_else(|| Failure::not_found("record"))
}

/// Returns what happened in each of the last sixty minutes that had anything.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub fn minutes(cx: &OpContext, dataset: &str) -> Result<Vec<MinuteView>, Failure> {
    let dataset = admit(cx, dataset)?;
    let minutes = cx.app.deps.logs.rollup(cx.account, dataset).into_iter().map(|minute| MinuteView {
        at: jiff::Timestamp::from_second(minute.minute * 60).map(super::time).unwrap_or_default(),
        records: minute.records,
        by_word: minute.by_word,
        errors: minute.errors,
        bytes_sent: minute.bytes_sent,
        bytes_received: minute.bytes_received,
        decision_p50_micros: minute.decision.quantile(0.5),
        decision_p99_micros: minute.decision.quantile(0.99),
        worker_p50_micros: minute.worker.quantile(0.5),
        worker_p99_micros: minute.worker.quantile(0.99),
        duration_p50_micros: minute.duration.quantile(0.5),
        duration_p99_micros: minute.duration.quantile(0.99),
    });
    Ok(minutes.collect())
}

/// Follows a dataset. The permit bounds the live views; it goes with the follower.
///
/// # Errors
///
/// `RateLimited` when too many live views are open.
pub fn follow(cx: &OpContext, dataset: &str) -> Result<(Tail, tokio::sync::OwnedSemaphorePermit), Failure> {
    let dataset = admit(cx, dataset)?;
    let permit = std::sync::Arc::clone(&cx.app.live_views).try_acquire_owned();
    let permit = permit.map_err(|_| Failure::rate_limited(10))?;
    Ok((cx.app.deps.logs.tail(cx.account, dataset), permit))
}

pub(crate) fn query_failed(error: QueryError) -> Failure {
    match error.code() {
        Code::InvalidInput => Failure::new(Code::InvalidInput, error.to_string()),
        Code::Unavailable => Failure::new(Code::Unavailable, "the log cannot be read just now; try again"),
        Code::Unauthenticated
        | Code::PermissionDenied
        | Code::NotFound
        | Code::Conflict
        | Code::Stale
        | Code::LimitExceeded
        | Code::RateLimited
        | Code::Internal => Failure::internal("log query", &error),
    }
}

#[cfg(test)]
mod tests {
    use logs::{Dataset, Operator};
    use serde_json::json;

    use super::filter;

    #[test]
    fn the_end_of_a_name_chooses_the_operator_and_the_field_the_type() {
        for (name, value, operator, typed) in [
            ("Action", "block", Operator::Equal, json!("block")),
            ("Action!", "allow", Operator::NotEqual, json!("allow")),
            ("URL~", "login", Operator::Contains, json!("login")),
            ("HTTPHost^", "app.", Operator::StartsWith, json!("app.")),
            ("HTTPStatusCode>", "399", Operator::Greater, json!(399)),
            ("HTTPStatusCode<", "500", Operator::Less, json!(500)),
            ("IsIsolated", "true", Operator::Equal, json!(true)),
        ] {
            let read = filter(Dataset::GatewayHttp, name, value);
            assert_eq!(read.field, name.trim_end_matches(['!', '~', '^', '>', '<']));
            assert_eq!((read.operator, read.value), (operator, typed), "{name}");
        }
    }
}
