//! Codes by mail in the store: those that logins wait for, and the letters that carry them.
//!
//! Invariant: codes and rates are written over the revision they were read at, so that a code works once, and guesses and
//! requests are counted on whatever node they come to; what a letter says is sealed.

use std::time::Duration;

use access::{KeptPin, KeptRate, LedgerError, Letter, PinLedger, Postbox};
use futures_util::future::BoxFuture;
use identity::opaque::Digest;
use identity::pin::{LIFE, PendingPin, Rate};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use store::{HashId, LoginState, NewMail, Operate, Principal, Revision, Store, Stored, WriteUsers};
use types::{AccountId, Secret};

use super::AccessError;

/// The store, as sign-ins by mail use it.
pub(super) struct StorePins {
    pub store: Store,
    pub account: AccountId,
    pub principal: Principal,
}

fn unavailable(error: AccessError) -> LedgerError {
    LedgerError::Unavailable(error.to_string())
}

const fn hash(login: Digest) -> HashId {
    HashId::from_bytes(login.0)
}

fn state(kept: &impl Serialize) -> Result<Secret<String>, AccessError> {
    Ok(Secret::new(serde_json::to_string(kept).map_err(AccessError::key)?))
}

impl StorePins {
    async fn keep(&self, login: Digest, pin: &PendingPin, source: &str) -> Result<(), AccessError> {
        let grant = self.principal.authorize::<WriteUsers>(self.account)?;
        let life = Duration::from_secs(u64::try_from(LIFE).unwrap_or_default());
        let states = self.store.login_states();
        states.begin_again(&grant, hash(login), source.to_owned(), &state(pin)?, life).await?;
        Ok(())
    }

    /// Finds a state of ours; another kind may have the id.
    async fn find<T: DeserializeOwned>(&self, login: Digest) -> Result<Option<(Stored<LoginState>, T)>, AccessError> {
        let grant = self.principal.authorize::<WriteUsers>(self.account)?;
        let operate = self.principal.authorize::<Operate>(self.account)?;
        let states = self.store.login_states();
        let Some(mut found) = states.get(&grant, &hash(login)).await? else { return Ok(None) };
        let state = states.open_members(&operate, &mut found)?.remove("state");
        let known = state.and_then(|state| serde_json::from_str(state.expose()).ok());
        Ok(known.map(|known| (found, known)))
    }

    async fn write_rate(&self, of: Digest, kept: KeptRate, now: i64) -> Result<bool, AccessError> {
        let grant = self.principal.authorize::<WriteUsers>(self.account)?;
        let life = Duration::from_secs(u64::try_from(kept.rate.whole_in(now)).unwrap_or_default().max(1));
        let read = (kept.revision > 0).then(|| Revision(i64::try_from(kept.revision).unwrap_or(i64::MAX)));
        // Each is a source of its own: none makes another give way.
        let place = (hash(of), format!("rate/{}", hash(of)));
        Ok(self.store.login_states().keep(&grant, place, &state(&kept.rate)?, life, read).await?)
    }

    async fn write(&self, login: Digest, kept: &KeptPin) -> Result<bool, AccessError> {
        let grant = self.principal.authorize::<WriteUsers>(self.account)?;
        let found = self.find::<PendingPin>(login).await?;
        let Some((found, _)) = found.filter(|(found, _)| revision(found) == kept.revision) else {
            return Ok(false);
        };
        Ok(self.store.login_states().settle(&grant, found, &state(&kept.pin)?).await?)
    }

    async fn put(&self, letters: Vec<Letter>) -> Result<(), AccessError> {
        let grant = self.principal.authorize::<Operate>(self.account)?;
        let mut outcome = Ok(());
        for letter in letters {
            // One that is not taken keeps back none of the others.
            outcome = outcome.and(self.store.outbox().enqueue(&grant, mail(letter)?).await.map(|_| ()));
        }
        Ok(outcome?)
    }
}

/// Returns a letter as the outbox takes it.
pub(super) fn mail(letter: Letter) -> Result<NewMail, AccessError> {
    Ok(NewMail {
        to: letter.to.as_str().to_owned(),
        subject: letter.subject,
        text: letter.text,
        html: Some(letter.html),
        expires_at: Timestamp::from_second(letter.expires_at).map_err(AccessError::key)?,
    })
}

fn revision(found: &Stored<LoginState>) -> u64 {
    u64::try_from(found.revision.0).unwrap_or_default()
}

impl PinLedger for StorePins {
    fn begin<'a>(
        &'a self,
        login: Digest,
        pin: &'a PendingPin,
        source: &'a str,
    ) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move { self.keep(login, pin, source).await.map_err(unavailable) })
    }

    fn pending(&self, login: Digest) -> BoxFuture<'_, Result<Option<KeptPin>, LedgerError>> {
        Box::pin(async move {
            let found = self.find(login).await.map_err(unavailable)?;
            Ok(found.map(|(stored, pin)| KeptPin { revision: revision(&stored), pin }))
        })
    }

    fn settle<'a>(&'a self, login: Digest, kept: &'a KeptPin) -> BoxFuture<'a, Result<bool, LedgerError>> {
        Box::pin(async move { self.write(login, kept).await.map_err(unavailable) })
    }

    fn rate(&self, of: Digest) -> BoxFuture<'_, Result<KeptRate, LedgerError>> {
        Box::pin(async move {
            let found = self.find::<Rate>(of).await.map_err(unavailable)?;
            Ok(found.map(|(stored, rate)| KeptRate { revision: revision(&stored), rate }).unwrap_or_default())
        })
    }

    fn spend(&self, of: Digest, kept: KeptRate, now: i64) -> BoxFuture<'_, Result<bool, LedgerError>> {
        Box::pin(async move { self.write_rate(of, kept, now).await.map_err(unavailable) })
    }
}

impl Postbox for StorePins {
    fn post(&self, letters: Vec<Letter>) -> BoxFuture<'_, Result<(), LedgerError>> {
        Box::pin(async move { self.put(letters).await.map_err(unavailable) })
    }
}
