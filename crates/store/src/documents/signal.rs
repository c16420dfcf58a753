//! Queries that somebody saved, signals that ask them on a schedule, and the security events that came of it.
//!
//! Shapes only. An event is named by its signal and the end of its window. Invariants: a window of a signal has at most one
//! event, whoever looked at it how often; the address of a webhook, which lets whoever knows it post there, is sealed.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Map;
use serde_json::Value;
use types::{SavedQueryId, SignalId};

use super::document;
use crate::seal::Sealed;

/// A query of the log explorer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedQuery {
    /// What people call it.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its text.
    pub sql: String,
}

document!(SavedQuery, SavedQuery, id SavedQueryId, ReadLogs / WriteLogs {
    fn unique_name(&self) -> Option<&str> {
        Some(&self.name)
    }
});

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Low,
    /// To be looked at.
    #[default]
    Medium,
    /// To be looked at today.
    High,
    /// To be looked at now.
    Critical,
}

impl Severity {
    /// Every severity, the least first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    /// Returns its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// The sealed member with the address that events are posted to.
pub const WEBHOOK: &str = "webhook";
/// The sealed member with what posts are signed with.
pub const SIGNING_KEY: &str = "signing_key";

/// A saved query that is asked on a schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// What people call it.
    pub name: String,
    /// What is asked.
    pub query: SavedQueryId,
    /// How often, in minutes; windows begin at multiples of it.
    pub every_minutes: u32,
    /// The column whose greatest value counts; without one, the number of rows does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// What counts must be at least this.
    pub at_least: f64,
    /// How bad it is.
    #[serde(default)]
    pub severity: Severity,
    /// What is shown of the address that events are posted to. Of a signal from before addresses were sealed: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// [`WEBHOOK`] and [`SIGNING_KEY`], sealed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Sealed>,
    /// Whether it is asked at all.
    pub enabled: bool,
}

document!(Signal, Signal, id SignalId, ReadLogs / WriteLogs {
    const SCHEMA_VERSION: u32 = 2;
    const MAX_COUNT: usize = 200;

    fn unique_name(&self) -> Option<&str> {
        Some(&self.name)
    }
});

/// How far a signal is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignalState {
    /// The end of the last window that was looked at.
    pub through: Timestamp,
    /// What counted in it; nothing when the query failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Why the query failed; empty when it did not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

document!(SignalState, SignalState, id SignalId, ReadLogs / WriteLogs {
    const MAX_COUNT: usize = 400;
});

/// The signal and the end of the window, in Unix seconds: `UUID-seconds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignalEventId {
    /// The signal.
    pub signal: SignalId,
    /// The end of the window, in Unix seconds.
    pub until: i64,
}

impl fmt::Display for SignalEventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.signal, self.until)
    }
}

/// A text that names no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id of a signal's event")]
pub struct NoSignalEvent;

impl FromStr for SignalEventId {
    type Err = NoSignalEvent;

    fn from_str(text: &str) -> Result<Self, NoSignalEvent> {
        let (signal, until) = text.rsplit_once('-').ok_or(NoSignalEvent)?;
        let signal = signal.parse().map_err(|_| NoSignalEvent)?;
        Ok(Self { signal, until: until.parse().map_err(|_| NoSignalEvent)? })
    }
}

/// What came of a signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignalEvent {
    /// The signal's name, then.
    pub name: String,
    /// How bad it is.
    pub severity: Severity,
    /// The window: its start is part of it, its end is not.
    pub from: Timestamp,
    /// The end of the window.
    pub until: Timestamp,
    /// What counted; nothing when the query failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// What it had to be at least.
    pub at_least: f64,
    /// How many rows there were.
    pub rows: u64,
    /// Some of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sample: Vec<Map<String, Value>>,
    /// Why the query failed; empty when it did not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// Whether Workers were told.
    #[serde(default)]
    pub workers_told: bool,
    /// What became of the webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
}

document!(SignalEvent, SignalEvent, id SignalEventId, ReadLogs / WriteLogs {
    const SCHEMA_VERSION: u32 = 2;
    const MAX_COUNT: usize = 2_000;
});

/// A post to somebody else; where it goes is the signal's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// What became of it.
    pub state: WebhookState,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried again, or for how long somebody who tries has claimed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
    /// What was answered, in a few words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub answer: String,
}

/// What became of a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookState {
    /// It is tried, or tried again.
    Waiting,
    /// It was taken.
    Sent,
    /// It is not tried any more.
    Failed,
}
