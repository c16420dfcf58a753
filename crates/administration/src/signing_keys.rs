//! Rotation of the keys that Access signs tokens with: one place for the console, the API and the clock of the platform.
//!
//! It decides neither when keys rotate nor who may ask. Invariants: the key before a rotation is accepted for as long as
//! the engine says, and no private half leaves here but sealed for its document.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use identity::keys::{OVERLAP, ROTATION, SigningKey};
use jiff::{SignedDuration, Timestamp};
use store::{AccessKey, AccessKeys, Grant, Only, Store, StoreError, Stored, WriteIdentity};
use types::Secret;

/// Why no key was made or kept.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No pair could be made, or its times are out of range.
    #[error("cannot make a signing key: {0}")]
    Key(String),
}

impl RotationError {
    fn key(error: impl std::fmt::Display) -> Self {
        Self::Key(error.to_string())
    }
}

/// How often keys change unless the account says otherwise, in days.
#[must_use]
pub fn default_days() -> u32 {
    u32::try_from(ROTATION.as_secs() / 86_400).unwrap_or(42)
}

/// Tells whether the current key is as old as it may become.
#[must_use]
pub fn is_due(keys: &AccessKeys, now: Timestamp) -> bool {
    now.duration_since(keys.last_rotation_at) >= SignedDuration::from_hours(24 * i64::from(keys.rotation_interval_days))
}

/// Puts a new key in front of those that stand, which change every `days`; the one before goes on being accepted.
///
/// # Errors
///
/// [`StoreError::Stale`] or [`StoreError::Taken`] when somebody else rotated first.
pub async fn rotate(
    store: &Store,
    grant: &Grant<WriteIdentity>,
    standing: Option<Stored<AccessKeys>>,
    days: u32,
    now: Timestamp,
) -> Result<Stored<AccessKeys>, RotationError> {
    let mut keys = vec![fresh(store, grant, days, now)?];
    let until = now.checked_add(OVERLAP).map_err(RotationError::key)?;
    let before = standing.iter().flat_map(|standing| standing.document.keys.first());
    keys.extend(before.cloned().map(|key| AccessKey { accepted_until: Some(until), ..key }));
    let document = AccessKeys { rotation_interval_days: days, last_rotation_at: now, keys };
    Ok(match standing {
        Some(standing) => store.access_keys().replace(grant, Only, document, Some(standing.revision)).await?,
        None => store.access_keys().create(grant, Only, document).await?,
    })
}

fn fresh(store: &Store, grant: &Grant<WriteIdentity>, days: u32, now: Timestamp) -> Result<AccessKey, RotationError> {
    // Long enough for a key that is rotated late; what it signed ends by its own times.
    let validity = SignedDuration::from_hours(24 * (i64::from(days) * 2 + 30));
    let pair = net::signing::generate("Portunus Access", now, validity).map_err(RotationError::key)?;
    let key = SigningKey::parse(pair.private_key.expose(), pair.certificate.clone()).map_err(RotationError::key)?;
    let kid = key.kid().to_owned();
    let text = Secret::new(STANDARD.encode(pair.private_key.expose()));
    let private_key = store.access_keys().seal_member(grant, &Only, &kid, &text)?;
    Ok(AccessKey { kid, certificate: pair.certificate, private_key, accepted_until: None })
}
