//! The keys of Access: the one that signs application tokens, made and rotated here, and the one that seals a sign-in.
//!
//! Invariant: the key before a rotation is accepted for as long as the engine says, and no private half leaves the store
//! but into the ring of the running snapshot.

use access::SealKey;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use identity::keys::{KeyRing, OVERLAP, ROTATION, SigningKey};
use jiff::{SignedDuration, Timestamp};
use store::{AccessKey, AccessKeys, Only, Operate, Principal, Store, StoreError, Stored, WriteIdentity};
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
    let days = match &standing {
        None => i64::try_from(ROTATION.as_secs() / 86_400).unwrap_or(42),
        Some(keys) => i64::from(keys.document.rotation_interval_days),
    };
    let age = standing.as_ref().map(|keys| now.duration_since(keys.document.last_rotation_at));
    if age.is_some_and(|age| age < SignedDuration::from_hours(24 * days)) {
        return Ok(());
    }
    let validity = SignedDuration::from_hours(24 * (days * 2 + 30));
    let pair = net::signing::generate("Portunus Access", now, validity).map_err(AccessError::key)?;
    let key = SigningKey::parse(pair.private_key.expose(), pair.certificate.clone()).map_err(AccessError::key)?;
    let kid = key.kid().to_owned();
    let text = Secret::new(STANDARD.encode(pair.private_key.expose()));
    let private_key = store.access_keys().seal_member(&grant, &Only, &kid, &text)?;
    let mut keys = vec![AccessKey { kid, certificate: pair.certificate, private_key, accepted_until: None }];
    let until = now.checked_add(OVERLAP).map_err(AccessError::key)?;
    let before = standing.iter().flat_map(|keys| keys.document.keys.first()).cloned();
    keys.extend(before.map(|key| AccessKey { accepted_until: Some(until), ..key }));
    let rotation_interval_days = u32::try_from(days).unwrap_or(42);
    let document = AccessKeys { rotation_interval_days, last_rotation_at: now, keys };
    let written = match standing {
        Some(standing) => store.access_keys().replace(&grant, Only, document, Some(standing.revision)).await,
        None => store.access_keys().create(&grant, Only, document).await,
    };
    match written {
        Ok(_) | Err(StoreError::Stale(_) | StoreError::Taken(_)) => Ok(()),
        Err(error) => Err(error.into()),
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
