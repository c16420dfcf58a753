//! A vault in memory, which several nodes share.

use std::collections::HashMap;

use agents::signin::{Kept, Owner, Vault, VaultError};
use futures_util::future::BoxFuture;
use mcp::names::ServerId;
use parking_lot::Mutex;
use types::Secret;

type Answer<'a, T> = BoxFuture<'a, Result<T, VaultError>>;

#[derive(Default)]
pub(crate) struct Memory {
    kept: Mutex<HashMap<(Owner, String), (Kept, i64)>>,
    states: Mutex<HashMap<String, Secret<String>>>,
    revisions: Mutex<i64>,
    pub(crate) reads: Mutex<usize>,
}

impl Memory {
    /// Everything that is kept in clear.
    pub(crate) fn in_clear(&self) -> String {
        self.kept.lock().values().map(|(kept, _)| format!("{kept:?} {}", kept.state)).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.lock().len()
    }

    pub(crate) fn is_lapsed(&self, owner: Owner) -> bool {
        self.kept.lock().iter().any(|((found, _), (kept, _))| *found == owner && kept.lapsed)
    }
}

impl Vault for Memory {
    fn load<'a>(&'a self, owner: Owner, server: &'a ServerId) -> Answer<'a, Option<(Kept, i64)>> {
        *self.reads.lock() += 1;
        let found = self.kept.lock().get(&(owner, server.to_string())).cloned();
        Box::pin(async move { Ok(found) })
    }

    fn keep<'a>(
        &'a self,
        owner: Owner,
        server: &'a ServerId,
        kept: Kept,
        read: Option<i64>,
    ) -> Answer<'a, Option<i64>> {
        let mut all = self.kept.lock();
        let key = (owner, server.to_string());
        if all.get(&key).map(|(_, revision)| *revision) != read {
            return Box::pin(async { Ok(None) });
        }
        let mut revisions = self.revisions.lock();
        *revisions += 1;
        let revision = *revisions;
        all.insert(key, (kept, revision));
        Box::pin(async move { Ok(Some(revision)) })
    }

    fn forget<'a>(&'a self, owner: Owner, server: &'a ServerId) -> Answer<'a, ()> {
        self.kept.lock().remove(&(owner, server.to_string()));
        Box::pin(async { Ok(()) })
    }

    fn begin<'a>(&'a self, state: &'a str, _: Owner, text: Secret<String>) -> Answer<'a, ()> {
        self.states.lock().insert(state.to_owned(), text);
        Box::pin(async { Ok(()) })
    }

    fn redeem<'a>(&'a self, state: &'a str) -> Answer<'a, Option<Secret<String>>> {
        let found = self.states.lock().remove(state);
        Box::pin(async move { Ok(found) })
    }
}
