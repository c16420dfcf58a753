//! The items of lists. Every change of items raises the list's revision in the same transaction, so readers of the
//! change feed see it. It does not judge values. Invariant: a list never holds more than its bound, whoever appends.

use std::collections::HashMap;

use jiff::Timestamp;
use types::ListId;

use crate::backend::{Expect, ItemChange, Write};
use crate::collection::{Collection, count_bound, expectation, is_storable, put, stored};
use crate::document::{Kind, Revision, Stored};
use crate::documents::list::{List, ListItem, NewListItem};
use crate::error::StoreError;
use crate::grant::{Allows, Grant, ReadLists, WriteLists};

/// The longest value of an item in bytes.
pub const MAX_ITEM_BYTES: usize = 2_048;

/// What a page of items ends with; pass it back for the next page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ItemCursor(i64);

impl Collection<'_, List> {
    /// Stores a new list with its first items, all or none.
    ///
    /// # Errors
    ///
    /// As [`Collection::create`], and [`StoreError::Invalid`] for a value that cannot be stored.
    pub async fn create_with_items(
        &self,
        grant: &Grant<WriteLists>,
        id: ListId,
        list: List,
        items: Vec<NewListItem>,
    ) -> Result<Stored<List>, StoreError> {
        let writes = vec![Write::Put(put(grant, &id, &list, Expect::Absent)?), self.append(id, items)?];
        let bounds = vec![count_bound::<List>()];
        let (at, written) = self.store.commit(grant, writes, bounds).await?;
        let written = written.into_iter().next().ok_or(StoreError::NotFound(Kind::List))?;
        stored(id, list, at, written)
    }

    /// Replaces a list's head and, when given, all of its items.
    ///
    /// # Errors
    ///
    /// As [`Collection::replace`].
    pub async fn replace_with_items(
        &self,
        grant: &Grant<WriteLists>,
        id: ListId,
        list: List,
        items: Option<Vec<NewListItem>>,
        expected: Option<Revision>,
    ) -> Result<Stored<List>, StoreError> {
        let mut writes = vec![Write::Put(put(grant, &id, &list, expectation(expected))?)];
        if let Some(items) = items {
            writes.push(Write::Items { list: id.to_string(), change: ItemChange::Clear });
            writes.push(self.append(id, items)?);
        }
        let (at, written) = self.store.commit(grant, writes, Vec::new()).await?;
        let written = written.into_iter().next().ok_or(StoreError::NotFound(Kind::List))?;
        stored(id, list, at, written)
    }

    /// Removes values, then appends items; a value already in the list keeps its place and takes the new description.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], [`StoreError::LimitExceeded`] and [`StoreError::Invalid`].
    pub async fn patch_items(
        &self,
        grant: &Grant<WriteLists>,
        id: ListId,
        added: Vec<NewListItem>,
        removed: Vec<String>,
    ) -> Result<(), StoreError> {
        let mut writes = vec![Write::Touch { kind: Kind::List, id: id.to_string(), expect: Expect::Present }];
        // A value nobody could have stored is not in the list.
        let removed: Vec<_> = removed.into_iter().filter(|value| is_storable(value, MAX_ITEM_BYTES)).collect();
        if !removed.is_empty() {
            writes.push(Write::Items { list: id.to_string(), change: ItemChange::Remove(removed) });
        }
        if !added.is_empty() {
            writes.push(self.append(id, added)?);
        }
        self.store.commit(grant, writes, Vec::new()).await.map(|_| ())
    }

    /// Deletes a list and its items.
    ///
    /// # Errors
    ///
    /// As [`Collection::delete`].
    pub async fn delete_with_items(
        &self,
        grant: &Grant<WriteLists>,
        id: ListId,
        expected: Option<Revision>,
    ) -> Result<(), StoreError> {
        let writes = vec![
            Write::Delete { kind: Kind::List, id: id.to_string(), expect: expectation(expected) },
            Write::Items { list: id.to_string(), change: ItemChange::Clear },
        ];
        self.store.commit(grant, writes, Vec::new()).await.map(|_| ())
    }

    /// Returns up to `limit` items in the order they were added, with the cursor of the next page when there is one.
    ///
    /// # Errors
    ///
    /// As [`Collection::list`].
    pub async fn items<S: Allows<ReadLists>>(
        &self,
        grant: &Grant<S>,
        id: ListId,
        after: ItemCursor,
        limit: usize,
    ) -> Result<(Vec<ListItem>, Option<ItemCursor>), StoreError> {
        let limit = limit.clamp(1, self.store.limits().list_items);
        let fetch = self.store.backend().items(grant.account(), id.to_string(), after.0, limit + 1);
        let mut rows = self.store.bounded(fetch).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let cursor = rows.last().filter(|_| more).map(|row| ItemCursor(row.ordinal));
        let items = rows
            .into_iter()
            .map(|row| {
                let created_at = Timestamp::from_microsecond(row.created_at)
                    .map_err(|error| StoreError::unreadable(Kind::List, &id.to_string(), error))?;
                Ok(ListItem { value: row.value, description: row.description, created_at })
            })
            .collect::<Result<_, StoreError>>()?;
        Ok((items, cursor))
    }

    /// Returns every item of a list, for the snapshot; a list is bounded, so this is too.
    ///
    /// # Errors
    ///
    /// As [`Collection::list`].
    pub async fn all_items<S: Allows<ReadLists>>(
        &self,
        grant: &Grant<S>,
        id: ListId,
    ) -> Result<Vec<ListItem>, StoreError> {
        Ok(self.items(grant, id, ItemCursor::default(), usize::MAX).await?.0)
    }

    /// Returns how many items each list has.
    ///
    /// # Errors
    ///
    /// As [`Collection::list`].
    pub async fn item_counts<S: Allows<ReadLists>>(
        &self,
        grant: &Grant<S>,
    ) -> Result<HashMap<ListId, u64>, StoreError> {
        let rows = self.store.bounded(self.store.backend().item_counts(grant.account())).await?;
        Ok(rows.into_iter().filter_map(|(id, count)| Some((id.parse().ok()?, u64::try_from(count).ok()?))).collect())
    }

    /// Each value once; the last description wins.
    fn append(&self, id: ListId, items: Vec<NewListItem>) -> Result<Write, StoreError> {
        let mut places: HashMap<String, usize> = HashMap::with_capacity(items.len());
        let mut unique: Vec<(String, String)> = Vec::with_capacity(items.len());
        for NewListItem { value, description } in items {
            if !is_storable(&value, MAX_ITEM_BYTES) || description.len() > MAX_ITEM_BYTES || description.contains('\0')
            {
                return Err(StoreError::Invalid("an item has 1 to 2048 bytes and no control characters"));
            }
            if let Some(place) = places.get(&value) {
                unique[*place].1 = description;
            } else {
                places.insert(value.clone(), unique.len());
                unique.push((value, description));
            }
        }
        let change = ItemChange::Put { items: unique, max: self.store.limits().list_items };
        Ok(Write::Items { list: id.to_string(), change })
    }
}
