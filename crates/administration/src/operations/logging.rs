//! Which traffic is recorded and whether people are named in it (reference section 5.8).
//!
//! Invariant: an account that never chose records everything.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::{Logging, Only, ReadGateway, WriteGateway};
use utoipa::ToSchema;

use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::Failure;
use crate::strict;

/// The logging settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoggingSettings {
    /// Leave out who made a request.
    #[serde(default)]
    pub redact_pii: bool,
    #[serde(default)]
    pub settings_by_rule_type: ByRuleType,
}

/// The settings of each engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ByRuleType {
    pub dns: Recorded,
    pub http: Recorded,
    pub l4: Recorded,
}

/// What one engine records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Recorded {
    /// Every request.
    pub log_all: bool,
    /// Only what was blocked.
    pub log_blocks: bool,
}

impl Default for Recorded {
    fn default() -> Self {
        Self { log_all: true, log_blocks: false }
    }
}

/// Returns the settings.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn get(cx: &OpContext) -> Result<LoggingSettings, Failure> {
    let grant = cx.authorize::<ReadGateway>()?;
    match cx.store().logging().get(&grant, &Only).await? {
        Some(stored) => strict::from_value(Value::Object(stored.document.settings)),
        None => Ok(LoggingSettings::default()),
    }
}

/// Replaces the settings.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn replace(cx: &OpContext, new: LoggingSettings) -> Result<LoggingSettings, Failure> {
    let grant = cx.authorize::<WriteGateway>()?;
    let before = get(cx).await?;
    let document = Logging { settings: object(&new)? };
    cx.store().logging().put(&grant, Only, document).await?;
    let change = Change::new(Verb::Update, "logging", "gateway")
        .before(Value::Object(object(&before)?))
        .after(Value::Object(object(&new)?));
    cx.record(change).await?;
    Ok(new)
}

fn object(settings: &LoggingSettings) -> Result<Map<String, Value>, Failure> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(Failure::new(types::Code::Internal, "logging settings are not an object")),
        Err(error) => Err(Failure::internal("logging settings", &error)),
    }
}
