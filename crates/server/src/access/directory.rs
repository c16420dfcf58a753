//! Records of providers' directories in the store, and what follows from them for sessions.
//!
//! What a change means the identity engine decided; this does it. Invariants: sessions end before the record that says why
//! is written, and again after it for whoever signed in between; what could not be done is reported and may be asked
//! for again.

use std::collections::BTreeSet;
use std::sync::Arc;

use access::{Directory, DirectoryError, Kept, Standing, Which};
use futures_util::future::BoxFuture;
use identity::identity::GroupClaim;
use identity::provider::{Provider, UpdateBehavior};
use identity::session::{Revoked, Session};
use scim::ResourceId;
use scim::change::Change;
use scim::group::Group;
use scim::membership::reconcile;
use scim::user::User;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use store::{Collection, DirectoryGroup, DirectoryUser, Document, Grant, Revision, StoreError, Stored, WriteUsers};
use types::{DirectoryRecordId, Email, ProviderId};

use super::ledger::StoreLedger;

/// How often a session is written again when somebody else changed it first.
const ATTEMPTS: usize = 4;

/// The store, as the SCIM endpoints use it.
pub(super) struct StoreDirectory {
    pub ledger: Arc<StoreLedger>,
}

fn failed(error: StoreError) -> DirectoryError {
    match error {
        StoreError::Stale(_) | StoreError::NotFound(_) => DirectoryError::Stale,
        StoreError::Taken(_) => DirectoryError::Taken,
        StoreError::LimitExceeded { .. } => DirectoryError::Full(error.to_string()),
        StoreError::Escalates(_)
        | StoreError::Invalid(_)
        | StoreError::Unavailable(_)
        | StoreError::TimedOut
        | StoreError::DiskFull
        | StoreError::Unreadable { .. }
        | StoreError::Seal(_) => unavailable(error),
    }
}

fn unavailable(error: impl std::fmt::Display) -> DirectoryError {
    DirectoryError::Unavailable(error.to_string())
}

const fn key(id: ResourceId) -> DirectoryRecordId {
    DirectoryRecordId(id.0)
}

fn state(record: &impl Serialize) -> Result<Value, DirectoryError> {
    serde_json::to_value(record).map_err(unavailable)
}

fn record<D: Document, R: DeserializeOwned>(
    stored: Stored<D>,
    state: impl FnOnce(D) -> Value,
) -> Result<Kept<R>, DirectoryError> {
    let revision = stored.revision.0;
    let record = serde_json::from_value(state(stored.document)).map_err(unavailable)?;
    Ok(Kept { record, revision })
}

impl StoreDirectory {
    fn grant(&self) -> Result<Grant<WriteUsers>, DirectoryError> {
        self.ledger.principal.authorize::<WriteUsers>(self.ledger.account).map_err(unavailable)
    }

    async fn read_users(&self, provider: ProviderId, which: Which<'_>) -> Result<Vec<Kept<User>>, DirectoryError> {
        let (grant, users) = (self.grant()?, self.ledger.store.directory_users());
        let found: Vec<Stored<DirectoryUser>> = match which {
            Which::All => users.list_of(&grant, provider).await.map_err(failed)?,
            Which::Id(id) => users.get(&grant, &key(id)).await.map_err(failed)?.into_iter().collect(),
            Which::Named(name) => {
                let name = DirectoryUser::name_key(provider, name);
                users.find(&grant, &name).await.map_err(failed)?.into_iter().collect()
            }
        };
        // An id says nothing about whose it is.
        let own = found.into_iter().filter(|user| user.document.provider == provider);
        own.map(|stored| record(stored, |document| document.state)).collect()
    }

    async fn read_groups(&self, provider: ProviderId, which: Which<'_>) -> Result<Vec<Kept<Group>>, DirectoryError> {
        let (grant, groups) = (self.grant()?, self.ledger.store.directory_groups());
        let found: Vec<Stored<DirectoryGroup>> = match which {
            Which::All => groups.list_of(&grant, provider).await.map_err(failed)?,
            Which::Id(id) => groups.get(&grant, &key(id)).await.map_err(failed)?.into_iter().collect(),
            Which::Named(_) => Vec::new(),
        };
        let own = found.into_iter().filter(|group| group.document.provider == provider);
        own.map(|stored| record(stored, |document| document.state)).collect()
    }

    async fn act(
        &self,
        provider: &Provider,
        changes: Vec<Change>,
        revision: Option<i64>,
    ) -> Result<(), DirectoryError> {
        let (mut ended, mut freed, mut refreshed, mut writes) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), Vec::new());
        for change in changes {
            match change {
                Change::EndSessions { email, .. } => drop(ended.insert(email)),
                Change::FreeSeat { email } => drop(freed.insert(email)),
                Change::RefreshIdentity { email } => drop(refreshed.insert(email)),
                write @ (Change::StoreUser(_)
                | Change::RemoveUser(_)
                | Change::StoreGroup(_)
                | Change::RemoveGroup(_)) => writes.push(write),
            }
        }
        let mut gone = Vec::new();
        if !refreshed.is_empty() {
            for write in &writes {
                if let Some(id) = group_of(write) {
                    let before = self.read_groups(provider.id, Which::Id(id)).await?;
                    gone.extend(before.into_iter().map(|kept| kept.record));
                }
            }
        }
        self.end(&ended).await?;
        for write in writes {
            self.write(provider.id, write, revision).await?;
        }
        self.end(&ended).await?;
        self.free(&freed).await?;
        if !refreshed.is_empty() {
            self.refresh(provider, &refreshed, &gone).await?;
        }
        Ok(())
    }

    async fn end(&self, people: &BTreeSet<Email>) -> Result<(), DirectoryError> {
        let grant = self.grant()?;
        for email in people {
            let found = self.ledger.store.users().find(&grant, email.as_str()).await.map_err(failed)?;
            if let Some(user) = found {
                access::Ledger::revoke(&*self.ledger, Revoked::User(user.id)).await.map_err(unavailable)?;
            }
        }
        Ok(())
    }

    async fn free(&self, people: &BTreeSet<Email>) -> Result<(), DirectoryError> {
        let (grant, store) = (self.grant()?, &self.ledger.store);
        for email in people {
            let Some(user) = store.users().find(&grant, email.as_str()).await.map_err(failed)? else { continue };
            let Some(profile) = store.access_profiles().get(&grant, &user.id).await.map_err(failed)? else { continue };
            let document = store::AccessProfile { seat_freed: true, ..profile.document };
            store.access_profiles().replace(&grant, user.id, document, None).await.map_err(failed)?;
        }
        Ok(())
    }

    async fn write(&self, provider: ProviderId, write: Change, revision: Option<i64>) -> Result<(), DirectoryError> {
        let (grant, store) = (self.grant()?, &self.ledger.store);
        let revision = revision.map(Revision);
        match write {
            Change::StoreUser(user) => {
                let name = DirectoryUser::name_key(provider, &user.attributes.user_name);
                let document = DirectoryUser { provider, name, state: state(&*user)? };
                save(store.directory_users(), &grant, key(user.id), document, revision).await
            }
            Change::StoreGroup(group) => {
                let document = DirectoryGroup { provider, state: state(&*group)? };
                save(store.directory_groups(), &grant, key(group.id), document, revision).await
            }
            Change::RemoveUser(id) => store.directory_users().delete(&grant, &key(id), revision).await.map_err(failed),
            Change::RemoveGroup(id) => {
                store.directory_groups().delete(&grant, &key(id), revision).await.map_err(failed)
            }
            Change::EndSessions { .. } | Change::FreeSeat { .. } | Change::RefreshIdentity { .. } => Ok(()),
        }
    }

    /// Carries names and groups into the sessions of people who signed in at the provider.
    async fn refresh(
        &self,
        provider: &Provider,
        people: &BTreeSet<Email>,
        gone: &[Group],
    ) -> Result<(), DirectoryError> {
        let grant = self.grant()?;
        let users = self.read_users(provider.id, Which::All).await?;
        let groups = self.read_groups(provider.id, Which::All).await?;
        let groups: Vec<Group> = groups.into_iter().map(|kept| kept.record).collect();
        for email in people {
            let records = records(&users, email);
            let Some(person) = self.ledger.store.users().find(&grant, email.as_str()).await.map_err(failed)? else {
                continue;
            };
            let ids: BTreeSet<ResourceId> = records.iter().map(|user| user.id).collect();
            let name = records.first().map(|user| user.attributes.name());
            let sessions = self.ledger.store.access_sessions().list_of(&grant, person.id).await.map_err(failed)?;
            for session in sessions {
                self.rewrite(session, |session| {
                    let mut identity = (*session.identity).clone();
                    let Some(step) = identity.steps.iter_mut().find(|step| step.provider == provider.id) else {
                        return false;
                    };
                    step.groups = reconcile(&step.groups, &ids, &groups, gone);
                    if let Some(name) = name.as_deref().filter(|_| identity.provider == provider.id) {
                        identity.name = name.into();
                    }
                    let changed = identity != *session.identity;
                    session.identity = Arc::new(identity);
                    changed
                })
                .await?;
            }
        }
        Ok(())
    }

    async fn rewrite(
        &self,
        mut stored: Stored<store::AccessSession>,
        change: impl Fn(&mut Session) -> bool,
    ) -> Result<(), DirectoryError> {
        let (grant, sessions) = (self.grant()?, self.ledger.store.access_sessions());
        for _ in 0..ATTEMPTS {
            let mut session: Session = serde_json::from_value(stored.document.state.clone()).map_err(unavailable)?;
            if !change(&mut session) {
                return Ok(());
            }
            let document = store::AccessSession { state: state(&session)?, ..stored.document };
            match sessions.replace(&grant, stored.id, document, Some(stored.revision)).await {
                Ok(written) => {
                    self.ledger.enter(written.id, &written.document.state);
                    return Ok(());
                }
                Err(StoreError::NotFound(_)) => return Ok(()),
                Err(StoreError::Stale(_)) => match sessions.get(&grant, &stored.id).await.map_err(failed)? {
                    Some(again) => stored = again,
                    None => return Ok(()),
                },
                Err(error) => return Err(failed(error)),
            }
        }
        Err(DirectoryError::Stale)
    }

    async fn find(
        &self,
        provider: &Provider,
        email: &Email,
        token: &[Arc<GroupClaim>],
    ) -> Result<Standing, DirectoryError> {
        // Most directories name people by their address; the others are looked through.
        let mut users = self.read_users(provider.id, Which::Named(email.as_str())).await?;
        if records(&users, email).is_empty() {
            users = self.read_users(provider.id, Which::All).await?;
        }
        let records = records(&users, email);
        if records.is_empty() {
            return Ok(Standing::default());
        }
        let inactive = records.iter().all(|user| !user.attributes.active);
        let groups = if provider.scim.updates == UpdateBehavior::Automatic {
            let groups = self.read_groups(provider.id, Which::All).await?;
            let groups: Vec<Group> = groups.into_iter().map(|kept| kept.record).collect();
            Some(reconcile(token, &records.iter().map(|user| user.id).collect(), &groups, &[]))
        } else {
            None
        };
        Ok(Standing { inactive, groups })
    }
}

fn group_of(write: &Change) -> Option<ResourceId> {
    match write {
        Change::StoreGroup(group) => Some(group.id),
        Change::RemoveGroup(id) => Some(*id),
        Change::StoreUser(_)
        | Change::RemoveUser(_)
        | Change::EndSessions { .. }
        | Change::FreeSeat { .. }
        | Change::RefreshIdentity { .. } => None,
    }
}

/// The records that name an address.
fn records<'u>(users: &'u [Kept<User>], email: &Email) -> Vec<&'u User> {
    let named = users.iter().map(|kept| &kept.record);
    named.filter(|user| user.attributes.addresses().contains(email)).collect()
}

async fn save<D: Document<Id = DirectoryRecordId>>(
    collection: Collection<'_, D>,
    grant: &Grant<D::Write>,
    id: DirectoryRecordId,
    document: D,
    revision: Option<Revision>,
) -> Result<(), DirectoryError> {
    let saved = match revision {
        None => collection.create(grant, id, document).await,
        Some(_) => collection.replace(grant, id, document, revision).await,
    };
    saved.map(|_| ()).map_err(failed)
}

impl Directory for StoreDirectory {
    fn users<'a>(
        &'a self,
        provider: ProviderId,
        which: Which<'a>,
    ) -> BoxFuture<'a, Result<Vec<Kept<User>>, DirectoryError>> {
        Box::pin(self.read_users(provider, which))
    }

    fn groups<'a>(
        &'a self,
        provider: ProviderId,
        which: Which<'a>,
    ) -> BoxFuture<'a, Result<Vec<Kept<Group>>, DirectoryError>> {
        Box::pin(self.read_groups(provider, which))
    }

    fn carry_out<'a>(
        &'a self,
        provider: &'a Provider,
        changes: Vec<Change>,
        revision: Option<i64>,
    ) -> BoxFuture<'a, Result<(), DirectoryError>> {
        Box::pin(self.act(provider, changes, revision))
    }

    fn standing<'a>(
        &'a self,
        provider: &'a Provider,
        email: &'a Email,
        groups: &'a [Arc<GroupClaim>],
    ) -> BoxFuture<'a, Result<Standing, DirectoryError>> {
        Box::pin(self.find(provider, email, groups))
    }
}
