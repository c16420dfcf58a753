//! Requests for approval in the store, and the table that is kept in step with them.
//!
//! Invariants: a request is written over the revision it was read at, together with the letters that ask for answers; what
//! was deleted anywhere admits nobody once the change feed has told of it.

use std::sync::Arc;

use access::{ApprovalLedger, ApprovalTable, KeptApproval, LedgerError, Letter};
use futures_util::future::BoxFuture;
use identity::approval::ApprovalRequest;
use identity::opaque::Digest;
use jiff::Timestamp;
use store::{Approval, Change, HashId, Kind, Operate, Principal, Revision, Store, Stored};
use types::{AccountId, UserId};

use super::AccessError;
use super::pins::mail;

/// The store, as approvals use it.
pub(super) struct StoreApprovals {
    pub store: Store,
    pub account: AccountId,
    pub principal: Principal,
    pub table: Arc<ApprovalTable>,
}

fn unavailable(error: AccessError) -> LedgerError {
    LedgerError::Unavailable(error.to_string())
}

const fn hash(id: Digest) -> HashId {
    HashId::from_bytes(id.0)
}

fn kept(stored: Stored<Approval>) -> Result<KeptApproval, AccessError> {
    let request = serde_json::from_value(stored.document.state)
        .map_err(|error| AccessError::Document(format!("approval {}: {error}", stored.id)))?;
    Ok(KeptApproval { revision: u64::try_from(stored.revision.0).unwrap_or_default(), request })
}

impl StoreApprovals {
    fn grant(&self) -> Result<store::Grant<Operate>, AccessError> {
        Ok(self.principal.authorize::<Operate>(self.account)?)
    }

    async fn read(&self, id: Digest) -> Result<Option<KeptApproval>, AccessError> {
        self.store.approvals().get(&self.grant()?, &hash(id)).await?.map(kept).transpose()
    }

    async fn read_of(&self, user: UserId) -> Result<Vec<ApprovalRequest>, AccessError> {
        let found = self.store.approvals().list_of(&self.grant()?, user).await?;
        found.into_iter().map(|stored| Ok(kept(stored)?.request)).collect()
    }

    async fn save(&self, id: Digest, mut new: KeptApproval, letters: Vec<Letter>) -> Result<bool, AccessError> {
        let request = &new.request;
        let document = Approval {
            user: request.asked.user,
            application: request.asked.application,
            policy: request.asked.policy,
            expires_at: Timestamp::from_second(request.ends_at()).map_err(AccessError::key)?,
            state: serde_json::to_value(request).map_err(AccessError::key)?,
        };
        let read = (new.revision > 0).then(|| Revision(i64::try_from(new.revision).unwrap_or(i64::MAX)));
        let mails = letters.into_iter().map(mail).collect::<Result<Vec<_>, _>>()?;
        let written = self.store.approvals().write(&self.grant()?, hash(id), document, read, mails).await?;
        let Some(written) = written else { return Ok(false) };
        new.revision = u64::try_from(written.0).unwrap_or_default();
        self.table.put(id, new);
        Ok(true)
    }

    /// Fills the table with what the store holds.
    ///
    /// # Errors
    /// The store does not answer.
    pub(super) async fn fill(&self) -> Result<(), AccessError> {
        let mut all = Vec::new();
        for stored in self.store.approvals().list(&self.grant()?).await? {
            let id = Digest(*stored.id.as_bytes());
            match kept(stored) {
                Ok(kept) => all.push((id, kept)),
                Err(error) => tracing::warn!(%error, "a stored approval cannot be read and does not count"),
            }
        }
        self.table.fill(all);
        Ok(())
    }

    /// Takes over what other nodes and the console did.
    ///
    /// # Errors
    /// The store does not answer; the changes must be taken over again.
    pub(super) async fn follow(&self, changes: &[Change]) -> Result<(), AccessError> {
        for change in changes {
            match change {
                Change::Resync { .. } => self.fill().await?,
                Change::Put(document) if document.kind == Kind::Approval => {
                    let Ok(id) = document.id.parse::<HashId>() else { continue };
                    let id = Digest(*id.as_bytes());
                    match self.read(id).await {
                        Ok(Some(found)) => self.table.put(id, found),
                        Ok(None) | Err(AccessError::Document(_)) => self.table.remove(&id),
                        Err(error) => return Err(error),
                    }
                }
                Change::Deleted(document) if document.kind == Kind::Approval => {
                    if let Ok(id) = document.id.parse::<HashId>() {
                        self.table.remove(&Digest(*id.as_bytes()));
                    }
                }
                Change::ChildrenDeleted(document) if document.kind == Kind::Approval => {
                    if let Ok(user) = document.id.parse() {
                        self.table.remove_person(user);
                    }
                }
                Change::Put(_) | Change::Deleted(_) | Change::ChildrenDeleted(_) => {}
            }
        }
        Ok(())
    }
}

impl ApprovalLedger for StoreApprovals {
    fn find(&self, id: Digest) -> BoxFuture<'_, Result<Option<KeptApproval>, LedgerError>> {
        Box::pin(async move { self.read(id).await.map_err(unavailable) })
    }

    fn of(&self, user: UserId) -> BoxFuture<'_, Result<Vec<ApprovalRequest>, LedgerError>> {
        Box::pin(async move { self.read_of(user).await.map_err(unavailable) })
    }

    fn write(&self, id: Digest, kept: KeptApproval, letters: Vec<Letter>) -> BoxFuture<'_, Result<bool, LedgerError>> {
        Box::pin(async move { self.save(id, kept, letters).await.map_err(unavailable) })
    }
}
