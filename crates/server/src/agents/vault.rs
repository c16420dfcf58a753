//! The vault of sign-ins at MCP servers: the store, where tokens are sealed.
//!
//! Invariants: a sign-in is read and kept under the revision that was read; a name that a browser carries is known by its
//! hash alone; and nobody's sign-in counts into another's share.

use std::sync::Arc;

use ::agents::signin::{Kept, Owner, SignIns, Vault, VaultError};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use mcp::names::ServerId;
use mcp::oauth::flow::LIFETIME;
use store::{
    Change, ChangedDocument, HashId, Kind, McpCredential, McpCredentialId, McpHolder, Operate, Principal, Revision,
    Store, StoreError, WriteUsers,
};
use tokio_util::sync::CancellationToken;
use types::{AccountId, Secret};

use super::AgentsError;

/// The member that holds the tokens.
const TOKENS: &str = "tokens";

pub(super) struct StoreVault {
    pub store: Store,
    pub account: AccountId,
    pub principal: Principal,
}

type Answer<'a, T> = BoxFuture<'a, Result<T, VaultError>>;

fn unavailable(error: impl std::fmt::Display) -> VaultError {
    VaultError(error.to_string())
}

fn id(owner: Owner, server: &ServerId) -> Result<McpCredentialId, VaultError> {
    let holder = match owner {
        Owner::Everybody => McpHolder::Everybody,
        Owner::Person(user) => McpHolder::Person(user),
    };
    Ok(McpCredentialId { holder, server: server.as_str().parse().map_err(|_| unavailable("no id of a server"))? })
}

impl StoreVault {
    fn operate(&self) -> Result<store::Grant<Operate>, VaultError> {
        self.principal.authorize::<Operate>(self.account).map_err(unavailable)
    }

    fn write(&self) -> Result<store::Grant<WriteUsers>, VaultError> {
        self.principal.authorize::<WriteUsers>(self.account).map_err(unavailable)
    }

    async fn find(&self, owner: Owner, server: &ServerId) -> Result<Option<(Kept, i64)>, VaultError> {
        let grant = self.operate()?;
        let credentials = self.store.mcp_credentials();
        let found = credentials.get(&self.write()?, &id(owner, server)?).await.map_err(unavailable)?;
        let Some(mut stored) = found else { return Ok(None) };
        let tokens = credentials.open_members(&grant, &mut stored).map_err(unavailable)?.remove(TOKENS);
        let tokens = tokens.ok_or_else(|| unavailable("a sign-in without tokens"))?;
        let McpCredential { expires_at, lapsed, state, .. } = stored.document;
        Ok(Some((Kept { expires: expires_at.map(Timestamp::as_second), lapsed, state, tokens }, stored.revision.0)))
    }

    async fn save(
        &self,
        owner: Owner,
        server: &ServerId,
        kept: Kept,
        read: Option<i64>,
    ) -> Result<Option<i64>, VaultError> {
        let (id, grant) = (id(owner, server)?, self.write()?);
        let credentials = self.store.mcp_credentials();
        let tokens = credentials.seal_member(&grant, &id, TOKENS, &kept.tokens).map_err(unavailable)?;
        let expires_at = kept.expires.and_then(|at| Timestamp::from_second(at).ok());
        let credential =
            McpCredential { server: id.server.clone(), expires_at, lapsed: kept.lapsed, state: kept.state, tokens };
        match credentials.keep(&grant, id, credential, read.map(Revision)).await {
            Ok(revision) => Ok(Some(revision.0)),
            Err(StoreError::Stale(_) | StoreError::Taken(_) | StoreError::NotFound(_)) => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn remove(&self, owner: Owner, server: &ServerId) -> Result<(), VaultError> {
        match self.store.mcp_credentials().delete(&self.write()?, &id(owner, server)?, None).await {
            Ok(()) | Err(StoreError::NotFound(_)) => Ok(()),
            Err(error) => Err(unavailable(error)),
        }
    }
}

/// The name of a sign-in under way: of no login, which are kept beside it.
fn state_id(state: &str) -> HashId {
    HashId::of(format!("mcp sign-in {state}").as_bytes())
}

impl Vault for StoreVault {
    fn load<'a>(&'a self, owner: Owner, server: &'a ServerId) -> Answer<'a, Option<(Kept, i64)>> {
        Box::pin(self.find(owner, server))
    }

    fn keep<'a>(
        &'a self,
        owner: Owner,
        server: &'a ServerId,
        kept: Kept,
        read: Option<i64>,
    ) -> Answer<'a, Option<i64>> {
        Box::pin(self.save(owner, server, kept, read))
    }

    fn forget<'a>(&'a self, owner: Owner, server: &'a ServerId) -> Answer<'a, ()> {
        Box::pin(self.remove(owner, server))
    }

    fn begin<'a>(&'a self, state: &'a str, owner: Owner, text: Secret<String>) -> Answer<'a, ()> {
        Box::pin(async move {
            let (grant, source) = (self.write()?, format!("mcp/{owner}"));
            let states = self.store.login_states();
            states.begin(&grant, state_id(state), source, &text, LIFETIME).await.map(drop).map_err(unavailable)
        })
    }

    fn redeem<'a>(&'a self, state: &'a str) -> Answer<'a, Option<Secret<String>>> {
        Box::pin(async move {
            self.store.login_states().redeem(&self.operate()?, state_id(state)).await.map_err(unavailable)
        })
    }
}

/// Tells a node's sign-ins what other nodes changed, until `stop`.
pub(crate) async fn follow(
    store: Store,
    account: AccountId,
    sign_ins: Arc<SignIns>,
    stop: CancellationToken,
) -> Result<(), AgentsError> {
    let mut feed = store.changes().await?;
    while let Some(changes) = stop.run_until_cancelled(feed.next()).await {
        for change in changes {
            match change {
                Change::Put(document) | Change::Deleted(document) => {
                    if document.account == account && document.kind == Kind::McpCredential {
                        changed(&sign_ins, &document);
                    }
                }
                Change::ChildrenDeleted(document) if document.kind == Kind::McpCredential => sign_ins.all_changed(),
                Change::ChildrenDeleted(_) => {}
                Change::Resync { .. } => sign_ins.all_changed(),
            }
        }
    }
    Ok(())
}

fn changed(sign_ins: &SignIns, document: &ChangedDocument) {
    let Ok(id) = document.id.parse::<McpCredentialId>() else { return };
    let owner = match id.holder {
        McpHolder::Everybody => Owner::Everybody,
        McpHolder::Person(user) => Owner::Person(user),
    };
    if let Some(server) = ServerId::parse(id.server.as_str()) {
        sign_ins.changed(owner, &server, document.revision.map(|revision| revision.0));
    }
}
