//! The keys of Access: those that sign application tokens, looked at and opened here, and the one that seals a sign-in.
//!
//! How a rotation goes is `administration::signing_keys`. Invariant: no private half leaves the store but into the ring of
//! the running snapshot.

use access::SealKey;
use administration::signing_keys::{self, RotationError};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use identity::keys::{KeyRing, SigningKey};
use jiff::Timestamp;
use store::{AccessKeys, Only, Operate, Principal, Store, StoreError, Stored, WriteIdentity};
use types::{AccountId, Secret};

use super::AccessError;

/// What the key that seals a sign-in is derived for.
const SEALING: &[u8] = b"portunus access: what a browser carries between the steps of a sign-in";

/// The keys of one snapshot.
pub(super) struct Keys {
    pub ring: KeyRing,
    /// The same on every node, for it comes from the key that signs.
    pub seal: SealKey,
}

/// Makes the first key, and the next one when the current is old. Of several nodes one does it; the others read it.
///
/// # Errors
/// The store does not answer, or no key can be made.
pub(super) async fn ensure(
    store: &Store,
    principal: &Principal,
    account: AccountId,
    now: Timestamp,
) -> Result<(), AccessError> {
    let grant = principal.authorize::<WriteIdentity>(account)?;
    let standing = store.access_keys().get(&grant, &Only).await?;
    if standing.as_ref().is_some_and(|keys| !signing_keys::is_due(&keys.document, now)) {
        return Ok(());
    }
    let days = standing.as_ref().map_or_else(signing_keys::default_days, |keys| keys.document.rotation_interval_days);
    match signing_keys::rotate(store, &grant, standing, days, now).await {
        Ok(_) | Err(RotationError::Store(StoreError::Stale(_) | StoreError::Taken(_))) => Ok(()),
        Err(RotationError::Store(error)) => Err(error.into()),
        Err(RotationError::Key(error)) => Err(AccessError::Key(error)),
    }
}

/// Opens the stored keys.
///
/// # Errors
/// The store does not answer, or a key does not open.
pub(super) async fn load(store: &Store, principal: &Principal, account: AccountId) -> Result<Keys, AccessError> {
    let grant = principal.authorize::<Operate>(account)?;
    let read = principal.authorize::<WriteIdentity>(account)?;
    let mut stored: Stored<AccessKeys> = store.access_keys().get(&read, &Only).await?.ok_or(AccessError::NoKey)?;
    let mut opened = store.access_keys().open_members(&grant, &mut stored)?;
    let mut ready = Vec::new();
    for key in &stored.document.keys {
        let text = opened.remove(&key.kid).ok_or(AccessError::NoKey)?;
        let private = Secret::new(STANDARD.decode(text.expose()).map_err(AccessError::key)?);
        let parsed = SigningKey::parse(private.expose(), key.certificate.clone()).map_err(AccessError::key)?;
        ready.push((parsed, private, key.accepted_until));
    }
    let mut ready = ready.into_iter();
    let (current, private, _) = ready.next().ok_or(AccessError::NoKey)?;
    let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, private.expose()), SEALING);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(derived.as_ref());
    let previous = ready.next().and_then(|(key, _, until)| Some((key, until?.as_second())));
    Ok(Keys { ring: KeyRing::new(current, previous), seal: SealKey::new(&bytes).map_err(AccessError::key)? })
}
