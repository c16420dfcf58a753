//! Sealing stored secrets again after a new key was put first in the key file. It does not touch the key file. Invariant:
//! a secret is replaced only by the same secret under the newest key.

use types::AccountId;

use crate::Store;
use crate::backend::Expect;
use crate::collection::Collection;
use crate::document::{Document, Stored};
use crate::documents::gateway::Certificate;
use crate::documents::script::ScriptSecret;
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

/// Returns where the secret of a document belongs.
pub(crate) const fn place<D: Sealing>(account: AccountId, id: &str) -> Place<'_> {
    Place { account, kind: D::KIND, id, field: D::FIELD }
}

impl Store {
    /// Seals every secret of the account with the first key of the key file, and returns how many were not. Once it
    /// returns for every account, the older keys can be removed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Seal`] when a secret does not open, [`StoreError::Stale`] when one was saved meanwhile: call again.
    pub async fn reseal(&self, grant: &Grant<Operate>) -> Result<usize, StoreError> {
        let documents = self.reseal_all::<Certificate>(grant).await? + self.reseal_all::<ScriptSecret>(grant).await?;
        Ok(documents + self.reseal_rules(grant).await?)
    }

    async fn reseal_all<D: Sealing>(&self, grant: &Grant<Operate>) -> Result<usize, StoreError>
    where
        Operate: Allows<D::Read>,
    {
        let collection = Collection::<D>::new(self);
        let mut resealed = 0;
        for Stored { id, revision, mut document, .. } in collection.list(grant).await? {
            if self.sealer().is_current(document.sealed()) {
                continue;
            }
            let text = id.to_string();
            let place = place::<D>(grant.account(), &text);
            let secret = self.sealer().open(place, document.sealed())?;
            *document.sealed() = self.sealer().seal(place, &secret)?;
            collection.save(grant, id, document, Expect::Revision(revision.0)).await?;
            resealed += 1;
        }
        Ok(resealed)
    }
}
