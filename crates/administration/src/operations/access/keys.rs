//! The keys that tokens are signed with: their age, and their rotation (reference section 2.3).
//!
//! Invariants: no private half leaves the store through here; the key before a rotation is accepted for a week more.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use identity::keys::{OVERLAP, ROTATION, SigningKey};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use store::{AccessKey, AccessKeys, Only, ReadIdentity, Stored, WriteIdentity};
use types::Secret;
use utoipa::ToSchema;

use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::Failure;
use crate::operations::time;

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

fn default_days() -> u32 {
    u32::try_from(ROTATION.as_secs() / 86_400).unwrap_or(42)
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
    let document = match standing(cx).await? {
        Some(keys) => AccessKeys { rotation_interval_days: days, ..keys.document },
        None => AccessKeys { rotation_interval_days: days, last_rotation_at: cx.now(), keys: vec![fresh(cx, days)?] },
    };
    let stored = cx.store().access_keys().put(&grant, Only, document).await?;
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
    let key = fresh(cx, days)?;
    let after = serde_json::json!({"kid": key.kid});
    let mut keys = vec![key];
    let until = now.checked_add(OVERLAP).map_err(|error| Failure::internal("rotation", &error))?;
    let before = standing.iter().flat_map(|standing| standing.document.keys.iter().take(1));
    keys.extend(before.cloned().map(|key| AccessKey { accepted_until: Some(until), ..key }));
    let document = AccessKeys { rotation_interval_days: days, last_rotation_at: now, keys };
    let stored = match standing {
        Some(standing) => cx.store().access_keys().replace(&grant, Only, document, Some(standing.revision)).await?,
        None => cx.store().access_keys().create(&grant, Only, document).await?,
    };
    cx.record(Change::new(Verb::Update, RESOURCE, cx.account).after(after).note("rotated")).await?;
    Ok(keys_view(Some(&stored.document), now))
}

fn fresh(cx: &OpContext, days: u32) -> Result<AccessKey, Failure> {
    let grant = cx.authorize::<WriteIdentity>()?;
    // Long enough for a key that is rotated late; what it signed ends by its own times.
    let validity = SignedDuration::from_hours(24 * (i64::from(days) * 2 + 30));
    let pair = net::signing::generate("Portunus Access", cx.now(), validity)
        .map_err(|error| Failure::internal("signing key", &error))?;
    let key = SigningKey::parse(pair.private_key.expose(), pair.certificate.clone())
        .map_err(|error| Failure::internal("signing key", &error))?;
    let text = Secret::new(STANDARD.encode(pair.private_key.expose()));
    let kid = key.kid().to_owned();
    let private_key = cx.store().access_keys().seal_member(&grant, &Only, &kid, &text)?;
    Ok(AccessKey { kid, certificate: pair.certificate, private_key, accepted_until: None })
}
