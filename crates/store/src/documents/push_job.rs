//! Jobs that push records to somewhere else.
//!
//! As their author wrote them, in the words of the Logpush API; the push engine reads them. How far a job is stands beside
//! the journal of each node, not here. Invariant: the destination, which may hold secrets, is sealed; what is shown of it is
//! beside it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use types::PushJobId;
use uuid::Uuid;

use super::document;
use crate::seal::Sealed;

/// A job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PushJob {
    /// What names its place in journals; never used again, as its number might be.
    pub place: Uuid,
    /// What people call it; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The dataset, as the author named it.
    pub dataset: String,
    /// Where records go, sealed.
    pub destination_conf: Sealed,
    /// The same without its secrets.
    pub destination: String,
    /// How records look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_options: Option<Value>,
    /// The older form of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub logpull_options: String,
    /// Which records; empty for all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub filter: String,
    /// Whether anything is sent.
    pub enabled: bool,
    /// `high` or `low`, as older clients say how often; kept for them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub frequency: String,
    /// Of a batch before it is packed; 0 for the default, as the two below.
    #[serde(default)]
    pub max_upload_bytes: u64,
    #[serde(default)]
    pub max_upload_interval_seconds: u64,
    #[serde(default)]
    pub max_upload_records: u64,
}

document!(PushJob, PushJob, id PushJobId, ReadLogs / WriteLogs {
    const MAX_COUNT: usize = 50;
});
