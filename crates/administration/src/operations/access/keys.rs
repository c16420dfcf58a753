//! The keys that tokens are signed with: their age, and their rotation (reference section 2.3).
//!
//! Invariants: no private half leaves the store through here; the key before a rotation is accepted for a week more.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use store::{AccessKeys, Only, ReadIdentity, Stored, WriteIdentity};
use utoipa::ToSchema;

use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::Failure;
use crate::operations::time;
use crate::signing_keys::{self, RotationError, default_days};

const RESOURCE: &str = "access_keys";

/// How the keys stand.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct KeysView {
    pub days_until_next_rotation: i64,
    pub key_rotation_interval_days: u32,
    /// Absent before the first key was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_key_rotation_at: Option<String>,
}

/// How often the keys change.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// 21 to 365.
    pub key_rotation_interval_days: u32,
}

impl From<RotationError> for Failure {
    fn from(error: RotationError) -> Self {
        match error {
            RotationError::Store(error) => error.into(),
            RotationError::Key(_) => Self::internal("signing key", &error),
        }
    }
}

fn keys_view(keys: Option<&AccessKeys>, now: Timestamp) -> KeysView {
    let days = keys.map_or_else(default_days, |keys| keys.rotation_interval_days);
    let age = keys.map_or(SignedDuration::ZERO, |keys| now.duration_since(keys.last_rotation_at));
    KeysView {
        days_until_next_rotation: (i64::from(days) - age.as_hours() / 24).max(0),
        key_rotation_interval_days: days,
        last_key_rotation_at: keys.map(|keys| time(keys.last_rotation_at)),
    }
}

async fn standing(cx: &OpContext) -> Result<Option<Stored<AccessKeys>>, Failure> {
    let grant = cx.authorize::<ReadIdentity>()?;
    Ok(cx.store().access_keys().get(&grant, &Only).await?)
}

/// Returns how the keys stand.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn get(cx: &OpContext) -> Result<KeysView, Failure> {
    Ok(keys_view(standing(cx).await?.as_ref().map(|keys| &keys.document), cx.now()))
}

/// Changes how often the keys change.
///
/// # Errors
///
/// `InvalidInput` for an interval out of bounds.
pub async fn put(cx: &OpContext, interval: Interval) -> Result<KeysView, Failure> {
    let grant = cx.authorize::<WriteIdentity>()?;
    let days = interval.key_rotation_interval_days;
    if !(21..=365).contains(&days) {
        return Err(Failure::invalid("/key_rotation_interval_days", "must be 21 to 365"));
    }
    let stored = match standing(cx).await? {
        Some(keys) => {
            let document = AccessKeys { rotation_interval_days: days, ..keys.document };
            cx.store().access_keys().replace(&grant, Only, document, Some(keys.revision)).await?
        }
        None => signing_keys::rotate(cx.store(), &grant, None, days, cx.now()).await?,
    };
    let after = serde_json::json!({"key_rotation_interval_days": days});
    cx.record(Change::new(Verb::Update, RESOURCE, cx.account).after(after)).await?;
    Ok(keys_view(Some(&stored.document), cx.now()))
}

/// Makes a new key that signs from now on; the one before is accepted for a week more.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn rotate(cx: &OpContext) -> Result<KeysView, Failure> {
    let grant = cx.authorize::<WriteIdentity>()?;
    let now = cx.now();
    let standing = standing(cx).await?;
    let days = standing.as_ref().map_or_else(default_days, |keys| keys.document.rotation_interval_days);
    let stored = signing_keys::rotate(cx.store(), &grant, standing, days, now).await?;
    let after = serde_json::json!({"kid": stored.document.keys.first().map(|key| &key.kid)});
    cx.record(Change::new(Verb::Update, RESOURCE, cx.account).after(after).note("rotated")).await?;
    Ok(keys_view(Some(&stored.document), now))
}
