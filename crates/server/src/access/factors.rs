//! Second factors in the store: one document for each person and place, its secret sealed.
//!
//! Invariant: the id of a document is made from its person and place, so two browsers that enrol at once cannot leave two.

use access::{FactorLedger, FactorPlace, KeptFactor, LedgerError, Shown};
use futures_util::future::BoxFuture;
use store::{Factor, Operate, Principal, Revision, Store, StoreError, WriteUsers};
use types::{AccountId, FactorId, Secret, UserId};
use uuid::Uuid;

use super::AccessError;

/// The store, as second factors use it.
pub(super) struct StoreFactors {
    pub store: Store,
    pub account: AccountId,
    pub principal: Principal,
}

/// A person's ids differ in far more than what tells places apart.
const fn id_of(user: UserId, place: FactorPlace) -> FactorId {
    match place {
        FactorPlace::Totp => FactorId(Uuid::from_u128(user.0.as_u128() ^ 1)),
        FactorPlace::RecoveryCodes => FactorId(Uuid::from_u128(user.0.as_u128() ^ 2)),
        FactorPlace::Key(id) => FactorId(id),
    }
}

fn place_of(user: UserId, id: FactorId) -> FactorPlace {
    let known = [FactorPlace::Totp, FactorPlace::RecoveryCodes].into_iter().find(|place| id_of(user, *place) == id);
    known.unwrap_or(FactorPlace::Key(id.0))
}

/// Reads what came of a write over a revision.
fn settled<T>(written: Result<T, StoreError>) -> Result<bool, AccessError> {
    match written {
        Ok(_) => Ok(true),
        Err(StoreError::Stale(_) | StoreError::Taken(_) | StoreError::NotFound(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn unavailable(error: AccessError) -> LedgerError {
    LedgerError::Unavailable(error.to_string())
}

impl StoreFactors {
    async fn read(&self, user: UserId) -> Result<Vec<KeptFactor>, AccessError> {
        let grant = self.principal.authorize::<WriteUsers>(self.account)?;
        let operate = self.principal.authorize::<Operate>(self.account)?;
        let mut kept = Vec::new();
        for mut found in self.store.factors().list_of(&grant, user).await? {
            let mut opened = self.store.factors().open_members(&operate, &mut found)?;
            let secret = opened.remove("secret").ok_or(AccessError::NoKey)?;
            let secret = Secret::new(secret.expose().clone().into_bytes());
            let Factor { kind, name, last_used_at, .. } = found.document;
            let shown = Shown { kind, name, last_used_at: last_used_at.map(jiff::Timestamp::as_second) };
            kept.push(KeptFactor { place: place_of(user, found.id), revision: number(found.revision), shown, secret });
        }
        Ok(kept)
    }

    async fn save(&self, user: UserId, factor: KeptFactor) -> Result<bool, AccessError> {
        let grant = self.principal.authorize::<WriteUsers>(self.account)?;
        let id = id_of(user, factor.place);
        let text = String::from_utf8(factor.secret.expose().clone()).map_err(AccessError::key)?;
        let secret = self.store.factors().seal_member(&grant, &id, "secret", &Secret::new(text))?;
        let Shown { kind, name, last_used_at } = factor.shown;
        let last_used_at = last_used_at.and_then(|at| jiff::Timestamp::from_second(at).ok());
        let document = Factor { user, kind, name, last_used_at, secret };
        let factors = self.store.factors();
        settled(match factor.revision {
            0 => factors.create(&grant, id, document).await,
            read => factors.replace(&grant, id, document, Some(revision(read))).await,
        })
    }

    async fn delete(&self, user: UserId, place: FactorPlace, read: u64) -> Result<bool, AccessError> {
        let grant = self.principal.authorize::<WriteUsers>(self.account)?;
        settled(self.store.factors().delete(&grant, &id_of(user, place), Some(revision(read))).await)
    }
}

fn number(revision: Revision) -> u64 {
    u64::try_from(revision.0).unwrap_or_default()
}

fn revision(number: u64) -> Revision {
    Revision(i64::try_from(number).unwrap_or(i64::MAX))
}

impl FactorLedger for StoreFactors {
    fn of(&self, user: UserId) -> BoxFuture<'_, Result<Vec<KeptFactor>, LedgerError>> {
        Box::pin(async move { self.read(user).await.map_err(unavailable) })
    }

    fn write(&self, user: UserId, factor: KeptFactor) -> BoxFuture<'_, Result<bool, LedgerError>> {
        Box::pin(async move { self.save(user, factor).await.map_err(unavailable) })
    }

    fn remove(&self, user: UserId, place: FactorPlace, revision: u64) -> BoxFuture<'_, Result<bool, LedgerError>> {
        Box::pin(async move { self.delete(user, place, revision).await.map_err(unavailable) })
    }
}
