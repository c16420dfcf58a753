//! Category lists with their names: always changed together.
//!
//! It does not read names. Invariant: a list that is there has the names it counts, whoever else writes at the same time.

use types::CategoryListId;

use crate::backend::{Expect, Write};
use crate::collection::{Collection, count_bound, put, stored};
use crate::document::{Kind, Stored};
use crate::documents::catalog::{CategoryList, CategoryNames};
use crate::error::StoreError;
use crate::grant::{Grant, WriteGateway};

impl Collection<'_, CategoryList> {
    /// Stores a list with its names, over the one with this id if there is one; all or none.
    ///
    /// # Errors
    ///
    /// As [`Collection::put`].
    pub async fn put_with_names(
        &self,
        grant: &Grant<WriteGateway>,
        id: CategoryListId,
        list: CategoryList,
        names: CategoryNames,
    ) -> Result<Stored<CategoryList>, StoreError> {
        let writes = vec![
            Write::Put(put(grant, &id, &names, Expect::Anything)?),
            Write::Put(put(grant, &id, &list, Expect::Anything)?),
        ];
        let bounds = vec![count_bound::<CategoryList>()];
        let (at, written) = self.store.commit(grant, writes, bounds).await?;
        let written = written.into_iter().nth(1).ok_or(StoreError::NotFound(Kind::CategoryList))?;
        stored(id, list, at, written)
    }

    /// Deletes a list with its names.
    ///
    /// # Errors
    ///
    /// As [`Collection::delete`].
    pub async fn delete_with_names(&self, grant: &Grant<WriteGateway>, id: CategoryListId) -> Result<(), StoreError> {
        let writes = vec![
            Write::Delete { kind: Kind::CategoryList, id: id.to_string(), expect: Expect::Present },
            Write::Delete { kind: Kind::CategoryNames, id: id.to_string(), expect: Expect::Anything },
        ];
        self.store.commit(grant, writes, Vec::new()).await.map(|_| ())
    }
}
