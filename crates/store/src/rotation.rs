//! Changing the sealing key: a new key is put first in the key file, then every stored secret is sealed with it.
//!
//! Each step stands alone: whoever was stopped between two of them starts again and goes on. Invariants: a secret is
//! replaced only by the same secret under the newest key, and a key leaves the file only when nothing is sealed with it.

use types::AccountId;

use crate::Store;
use crate::backend::Expect;
use crate::collection::Collection;
use crate::document::{Document, Stored};
use crate::documents::access::{AccessKeys, Provider};
use crate::documents::access_state::{Factor, LoginState, Mail};
use crate::documents::gateway::Certificate;
use crate::documents::listener_certificate::{AcmeAccount, ListenerCertificate};
use crate::documents::mail_server::MailServer;
use crate::documents::mcp::{McpCredential, McpServer};
use crate::documents::push_job::PushJob;
use crate::documents::rule::Rule;
use crate::documents::script::ScriptSecret;
use crate::documents::signal::Signal;
use crate::error::StoreError;
use crate::grant::{Allows, Grant, Operate};
use crate::seal::{Place, Sealed};

/// A document with one sealed field.
pub(crate) trait Sealing: Document {
    /// The name the field is authenticated under.
    const FIELD: &'static str;

    fn sealed(&mut self) -> &mut Sealed;
}

impl Sealing for Certificate {
    const FIELD: &'static str = "private_key";

    fn sealed(&mut self) -> &mut Sealed {
        &mut self.private_key
    }
}

impl Sealing for ScriptSecret {
    const FIELD: &'static str = "value";

    fn sealed(&mut self) -> &mut Sealed {
        &mut self.value
    }
}

/// A document with sealed members under names of their own.
pub trait SealedMembers: Document {
    /// Returns each sealed member with the name it is authenticated under; no two share one.
    fn sealed_members(&mut self) -> Vec<(String, &mut Sealed)>;
}

/// Returns where a sealed member of a document belongs.
pub(crate) const fn member<'a, D: Document>(account: AccountId, id: &'a str, name: &'a str) -> Place<'a> {
    Place { account, kind: D::KIND, id, field: name }
}

/// Returns where the secret of a document belongs.
pub(crate) const fn place<D: Sealing>(account: AccountId, id: &str) -> Place<'_> {
    Place { account, kind: D::KIND, id, field: D::FIELD }
}

/// How far sealing again has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resealed {
    /// Secrets sealed anew so far.
    pub done: usize,
    /// Secrets that were under an older key.
    pub of: usize,
}

impl Store {
    /// Puts a fresh key first in the key file, and marks the database with it. What is stored is not touched; every
    /// process with the file seals with the new key from then on, and opens with all.
    ///
    /// # Errors
    ///
    /// [`StoreError::Seal`] when the file cannot be changed or another process changes it.
    pub async fn add_sealing_key(&self, grant: &Grant<Operate>) -> Result<(), StoreError> {
        let _ = grant;
        crate::key_file::put_first(self.sealer().file()?)?;
        self.sealer().reload()?;
        // Stopped before this, the next start does it.
        self.bounded(self.backend().set_meta(crate::MARK, self.sealer().mark()?)).await
    }

    /// Removes every key but the first from the key file, if nothing is sealed with them; returns how many.
    ///
    /// # Errors
    ///
    /// [`StoreError::Stale`] when a secret of some account is under an older key: seal it again first.
    /// [`StoreError::Seal`] when the file cannot be changed, or was changed within the last minute.
    pub async fn remove_old_sealing_keys(&self, grants: &[Grant<Operate>]) -> Result<usize, StoreError> {
        self.sealer().reload()?;
        for grant in grants {
            if self.sealed_before(grant).await? > 0 {
                return Err(StoreError::Stale(crate::Kind::ScriptSecret));
            }
        }
        let removed = crate::key_file::keep_first(self.sealer().file()?)?;
        self.sealer().reload()?;
        Ok(removed)
    }

    /// Counts the secrets of the account that are sealed with an older key than the first.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] and its like.
    pub async fn sealed_before(&self, grant: &Grant<Operate>) -> Result<usize, StoreError> {
        let documents = self.due::<Certificate>(grant).await?.len() + self.due::<ScriptSecret>(grant).await?.len();
        let settings = self.members_due::<Rule>(grant).await?
            + self.members_due::<Provider>(grant).await?
            + self.members_due::<AccessKeys>(grant).await?;
        let state = self.members_due::<Factor>(grant).await?
            + self.members_due::<LoginState>(grant).await?
            + self.members_due::<Mail>(grant).await?
            + self.members_due::<MailServer>(grant).await?
            + self.members_due::<ListenerCertificate>(grant).await?
            + self.members_due::<AcmeAccount>(grant).await?
            + self.members_due::<PushJob>(grant).await?
            + self.members_due::<Signal>(grant).await?;
        let mcp = self.members_due::<McpServer>(grant).await? + self.members_due::<McpCredential>(grant).await?;
        Ok(documents + settings + state + mcp)
    }

    /// Seals every secret of the account with the first key of the key file, tells how far it is after each, and returns
    /// how many there were.
    ///
    /// # Errors
    ///
    /// [`StoreError::Seal`] when a secret does not open, [`StoreError::Stale`] when one was saved meanwhile: call again.
    pub async fn reseal(
        &self,
        grant: &Grant<Operate>,
        mut progress: impl FnMut(Resealed) + Send,
    ) -> Result<usize, StoreError> {
        self.sealer().reload()?;
        let of = self.sealed_before(grant).await?;
        let mut done = 0;
        let mut count = |more: usize| {
            done += more;
            progress(Resealed { done, of: of.max(done) });
        };
        self.reseal_all::<Certificate>(grant, &mut count).await?;
        self.reseal_all::<ScriptSecret>(grant, &mut count).await?;
        self.reseal_members::<Rule>(grant, &mut count).await?;
        self.reseal_members::<Provider>(grant, &mut count).await?;
        self.reseal_members::<AccessKeys>(grant, &mut count).await?;
        self.reseal_members::<Factor>(grant, &mut count).await?;
        self.reseal_members::<LoginState>(grant, &mut count).await?;
        self.reseal_members::<Mail>(grant, &mut count).await?;
        self.reseal_members::<MailServer>(grant, &mut count).await?;
        self.reseal_members::<ListenerCertificate>(grant, &mut count).await?;
        self.reseal_members::<AcmeAccount>(grant, &mut count).await?;
        self.reseal_members::<PushJob>(grant, &mut count).await?;
        self.reseal_members::<Signal>(grant, &mut count).await?;
        self.reseal_members::<McpServer>(grant, &mut count).await?;
        self.reseal_members::<McpCredential>(grant, &mut count).await?;
        Ok(done)
    }

    /// Returns the documents whose secret is sealed with an older key.
    async fn due<D: Sealing>(&self, grant: &Grant<Operate>) -> Result<Vec<Stored<D>>, StoreError>
    where
        Operate: Allows<D::Read>,
    {
        let mut documents = Collection::<D>::new(self).list(grant).await?;
        documents.retain_mut(|stored| !self.sealer().is_current(stored.document.sealed()));
        Ok(documents)
    }

    /// Counts the members of a kind that are sealed with an older key.
    async fn members_due<D: SealedMembers>(&self, grant: &Grant<Operate>) -> Result<usize, StoreError>
    where
        Operate: Allows<D::Read>,
    {
        let mut documents = Collection::<D>::new(self).list(grant).await?;
        let due = documents.iter_mut().flat_map(|stored| stored.document.sealed_members());
        Ok(due.filter(|(_, sealed)| !self.sealer().is_current(sealed)).count())
    }

    /// Seals the members of every document of a kind again; a document is saved only when one was due, and one that was
    /// used up meanwhile is done.
    async fn reseal_members<D: SealedMembers>(
        &self,
        grant: &Grant<Operate>,
        count: &mut (impl FnMut(usize) + Send),
    ) -> Result<(), StoreError>
    where
        Operate: Allows<D::Read>,
    {
        let collection = Collection::<D>::new(self);
        for Stored { id, revision, mut document, .. } in collection.list(grant).await? {
            let text = id.to_string();
            let mut changed = 0;
            for (name, sealed) in document.sealed_members() {
                if !self.sealer().is_current(sealed) {
                    let place = member::<D>(grant.account(), &text, &name);
                    *sealed = self.sealer().seal(place, &self.sealer().open(place, sealed)?)?;
                    changed += 1;
                }
            }
            if changed > 0 {
                match collection.save(grant, id, document, Expect::Revision(revision.0)).await {
                    Ok(_) | Err(StoreError::NotFound(_)) => count(changed),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    async fn reseal_all<D: Sealing>(
        &self,
        grant: &Grant<Operate>,
        count: &mut (impl FnMut(usize) + Send),
    ) -> Result<(), StoreError>
    where
        Operate: Allows<D::Read>,
    {
        for Stored { id, revision, mut document, .. } in self.due::<D>(grant).await? {
            let text = id.to_string();
            let place = place::<D>(grant.account(), &text);
            let secret = self.sealer().open(place, document.sealed())?;
            *document.sealed() = self.sealer().seal(place, &secret)?;
            Collection::<D>::new(self).save(grant, id, document, Expect::Revision(revision.0)).await?;
            count(1);
        }
        Ok(())
    }
}
