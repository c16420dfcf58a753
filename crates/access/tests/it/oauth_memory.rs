//! What managed OAuth keeps, in memory: as a store would, with its revisions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use access::{KeptGrant, LedgerError, OauthLedger};
use futures_util::future::BoxFuture;
use identity::oauth::authorization::PendingRequest;
use identity::oauth::client::Client;
use identity::oauth::grant::GrantId;
use identity::opaque::Digest;
use types::{ApplicationId, UserId};

#[derive(Default)]
pub(crate) struct OauthMemory {
    clients: Mutex<HashMap<(ApplicationId, String), Arc<Client>>>,
    requests: Mutex<HashMap<Digest, PendingRequest>>,
    pub(crate) grants: Mutex<HashMap<GrantId, KeptGrant>>,
    /// People who may not go on.
    pub(crate) fallen: Mutex<Vec<UserId>>,
    pub(crate) gone: std::sync::atomic::AtomicBool,
    /// How often a grant was read.
    pub(crate) read: std::sync::atomic::AtomicUsize,
}

impl OauthMemory {
    fn reach(&self) -> Result<(), LedgerError> {
        if self.gone.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(LedgerError::Unavailable("gone".to_owned()));
        }
        Ok(())
    }
}

impl OauthLedger for OauthMemory {
    fn client<'a>(
        &'a self,
        application: ApplicationId,
        id: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<Client>>, LedgerError>> {
        Box::pin(async move {
            self.reach()?;
            Ok(self.clients.lock().unwrap().get(&(application, id.to_owned())).cloned())
        })
    }

    fn count_clients(&self, _: ApplicationId) -> BoxFuture<'_, Result<usize, LedgerError>> {
        Box::pin(async move { Ok(self.clients.lock().unwrap().len()) })
    }

    fn keep_client<'a>(&'a self, client: &'a Client) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move {
            self.reach()?;
            self.clients.lock().unwrap().insert((client.application, client.id.clone()), Arc::new(client.clone()));
            Ok(())
        })
    }

    fn begin<'a>(&'a self, request: &'a PendingRequest, _: &'a str) -> BoxFuture<'a, Result<(), LedgerError>> {
        Box::pin(async move {
            self.reach()?;
            self.requests.lock().unwrap().insert(request.id, request.clone());
            Ok(())
        })
    }

    fn pending(&self, request: Digest) -> BoxFuture<'_, Result<Option<PendingRequest>, LedgerError>> {
        Box::pin(async move { Ok(self.requests.lock().unwrap().get(&request).cloned()) })
    }

    fn approve<'a>(&'a self, request: Digest, grant: &'a KeptGrant) -> BoxFuture<'a, Result<bool, LedgerError>> {
        Box::pin(async move {
            self.reach()?;
            if self.requests.lock().unwrap().remove(&request).is_none() {
                return Ok(false);
            }
            let kept = KeptGrant { revision: 1, ..grant.clone() };
            self.grants.lock().unwrap().insert(grant.grant.id, kept);
            Ok(true)
        })
    }

    fn abandon(&self, request: Digest) -> BoxFuture<'_, Result<bool, LedgerError>> {
        Box::pin(async move { Ok(self.requests.lock().unwrap().remove(&request).is_some()) })
    }

    fn grant(&self, id: GrantId) -> BoxFuture<'_, Result<Option<KeptGrant>, LedgerError>> {
        Box::pin(async move {
            self.reach()?;
            self.read.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Ok(self.grants.lock().unwrap().get(&id).cloned())
        })
    }

    fn replace<'a>(&'a self, grant: &'a KeptGrant) -> BoxFuture<'a, Result<Option<u64>, LedgerError>> {
        Box::pin(async move {
            self.reach()?;
            let mut grants = self.grants.lock().unwrap();
            let right = grants.get(&grant.grant.id).is_some_and(|kept| kept.revision == grant.revision);
            if right {
                let kept = KeptGrant { revision: grant.revision + 1, ..grant.clone() };
                grants.insert(grant.grant.id, kept);
            }
            Ok(right.then_some(grant.revision + 1))
        })
    }

    fn is_active(&self, user: UserId) -> BoxFuture<'_, Result<bool, LedgerError>> {
        Box::pin(async move {
            self.reach()?;
            Ok(!self.fallen.lock().unwrap().contains(&user))
        })
    }
}
