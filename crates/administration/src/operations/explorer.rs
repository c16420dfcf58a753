//! SQL over what was recorded.
//!
//! A caller asks about the datasets it may read: traffic with the permission to read logs, the audit log with its own.
//! Each query is recorded in the audit log with its text, since it reads what people did. Invariant: a dataset that the
//! caller may not read is no table of its query.

use std::sync::Arc;

use logs::Dataset;
use logs::sql::{Answer, Bounds, MAX_ROWS, Parameter, Progress, SqlError};
use serde::Serialize;
use serde_json::{Map, Value};
use store::{ReadAudit, ReadLogs};
use types::Code;
use utoipa::ToSchema;

use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::Failure;

/// What `$from` and `$until` of a saved query span when somebody runs it.
const WINDOW: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

/// What a query answered, and what it cost.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct AnswerView {
    pub columns: Vec<ColumnView>,
    /// Each with every column; what is not there is null.
    #[schema(value_type = Vec<Object>)]
    pub rows: Vec<Map<String, Value>>,
    /// Whether there are more rows than an answer has.
    pub truncated: bool,
    pub elapsed_ms: u64,
    pub rows_read: u64,
    pub bytes_read: u64,
    /// How the rows were found, for people who know such plans.
    pub plan: String,
}

/// A row, by the names of its columns in small letters.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub struct RowView(pub Map<String, Value>);

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ColumnView {
    pub name: String,
    /// `string`, `int`, `float`, `bool`, `time`, `date` or `array`
    #[serde(rename = "type")]
    pub kind: &'static str,
}

/// A dataset that can be asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DatasetView {
    pub dataset: &'static str,
    pub dataset_id: &'static str,
    pub object_type: &'static str,
    pub object_id: String,
    pub enabled: bool,
    pub fields: Vec<DatasetFieldView>,
}

/// A field of a dataset that can be asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DatasetFieldView {
    pub name: &'static str,
    pub enabled: bool,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub description: &'static str,
}

/// Returns the datasets the caller may ask about.
///
/// # Errors
///
/// A [`Failure`] when there are none.
pub fn admitted(cx: &OpContext) -> Result<Vec<Dataset>, Failure> {
    let traffic = cx.authorize::<ReadLogs>();
    let audit = cx.authorize::<ReadAudit>();
    if let (Err(refused), Err(_)) = (&traffic, &audit) {
        return Err(refused.clone());
    }
    let may = |dataset: &Dataset| if *dataset == Dataset::Audit { audit.is_ok() } else { traffic.is_ok() };
    Ok(Dataset::ALL.into_iter().filter(may).collect())
}

/// Returns the datasets with their fields.
///
/// # Errors
///
/// As [`admitted`].
pub fn datasets(cx: &OpContext) -> Result<Vec<DatasetView>, Failure> {
    let views = admitted(cx)?.into_iter().map(|dataset| DatasetView {
        dataset: dataset.as_str(),
        dataset_id: dataset.as_str(),
        object_type: "account",
        object_id: cx.account.to_string(),
        enabled: true,
        fields: dataset
            .fields()
            .iter()
            .map(|field| DatasetFieldView {
                name: field.name,
                enabled: true,
                kind: field.kind.as_str(),
                description: field.description,
            })
            .collect(),
    });
    Ok(views.collect())
}

/// Runs a query. Dropping the future cancels it; `progress` says how far it is.
///
/// # Errors
///
/// A [`Failure`] that says what is wrong with the text, or which bound the query went over.
pub async fn run(cx: &OpContext, text: &str, progress: Arc<Progress>) -> Result<Answer, Failure> {
    let datasets = admitted(cx)?;
    let change = Change::new(Verb::Query, "logs", "explorer").after(serde_json::json!({ "query": text }));
    cx.record(change).await?;
    // What a signal gives a query as its window.
    let (until, from) = (cx.now(), cx.now().saturating_sub(WINDOW).unwrap_or(jiff::Timestamp::MIN));
    let window = vec![("from", Parameter::Time(from)), ("until", Parameter::Time(until))];
    let answer = cx.app.deps.logs.sql_with(cx.account, &datasets, text, window, bounds(), progress).await;
    answer.map_err(failed)
}

fn bounds() -> Bounds {
    Bounds { rows: MAX_ROWS, ..Bounds::default() }
}

pub(crate) fn failed(error: SqlError) -> Failure {
    match error {
        SqlError::Invalid(message) => Failure::new(Code::InvalidInput, message),
        SqlError::Memory(_) | SqlError::Answer | SqlError::Time(_) => {
            Failure::new(Code::LimitExceeded, error.to_string())
        }
        SqlError::Missing => Failure::new(Code::Unavailable, error.to_string()),
        SqlError::Logs(error) => super::logs::query_failed(error),
        SqlError::Failed(_) => Failure::internal("SQL query", &error),
    }
}

/// Returns an answer for people and programs.
///
/// # Errors
///
/// A [`Failure`] for a column of a type that has no JSON.
pub fn view(answer: &Answer) -> Result<AnswerView, Failure> {
    let columns = answer.columns.iter().map(|column| ColumnView { name: column.name.clone(), kind: column.kind });
    Ok(AnswerView {
        columns: columns.collect(),
        rows: answer.rows().map_err(unwritable)?,
        truncated: answer.truncated,
        elapsed_ms: u64::try_from(answer.elapsed.as_millis()).unwrap_or(u64::MAX),
        rows_read: answer.rows_read,
        bytes_read: answer.bytes_read,
        plan: answer.plan.clone(),
    })
}

/// Returns the rows with the names of columns in small letters, as the vendor's Log Explorer has them.
///
/// # Errors
///
/// As [`view`].
pub fn folded(answer: &Answer) -> Result<Vec<RowView>, Failure> {
    let rows = answer.rows().map_err(unwritable)?;
    let fold = |row: Map<String, Value>| {
        RowView(row.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect())
    };
    Ok(rows.into_iter().map(fold).collect())
}

/// The forms an answer is downloaded in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Csv,
    JsonLines,
    Parquet,
}

impl Form {
    /// Reads its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "csv" => Self::Csv,
            "jsonl" => Self::JsonLines,
            "parquet" => Self::Parquet,
            _ => return None,
        })
    }

    /// Returns its media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::JsonLines => "application/jsonl",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// Returns the end of a file's name.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::JsonLines => "jsonl",
            Self::Parquet => "parquet",
        }
    }

    /// Writes an answer.
    ///
    /// # Errors
    ///
    /// A [`Failure`] for a column of a type that the form does not have.
    pub fn write(self, answer: &Answer) -> Result<Vec<u8>, Failure> {
        let written = match self {
            Self::Csv => answer.csv(),
            Self::JsonLines => answer.json_lines(),
            Self::Parquet => answer.parquet(),
        };
        written.map_err(unwritable)
    }
}

fn unwritable(message: String) -> Failure {
    Failure::new(Code::InvalidInput, format!("the answer cannot be written: {message}"))
}
