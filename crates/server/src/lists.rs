//! The account's lists, read again only when they changed. What is made of a list is its reader's.
//!
//! Invariant: what is kept of a list was made of the revision it is kept under, and a list that went is forgotten.

use std::collections::HashMap;

use policy::lists::ListType;
use store::{Denied, List, Principal, ReadLists, Revision, Store, StoreError, Stored};
use types::{AccountId, ListId};

/// What was made of each list, by the revision it was made of.
pub(crate) struct Lists<T>(HashMap<ListId, (Revision, T)>);

impl<T> Default for Lists<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Clone> Lists<T> {
    /// Reads the lists that changed and returns all of them.
    ///
    /// # Errors
    /// The store does not answer, or `make` makes nothing of a list; then what is kept stays.
    pub(crate) async fn read<E: From<StoreError> + From<Denied>>(
        &mut self,
        store: &Store,
        principal: &Principal,
        account: AccountId,
        mut make: impl FnMut(&Stored<List>, &[&str]) -> Result<T, E>,
    ) -> Result<Vec<(ListId, T)>, E> {
        let grant = principal.authorize::<ReadLists>(account)?;
        let mut kept = HashMap::new();
        for list in store.lists().list(&grant).await? {
            let known = self.0.get(&list.id).filter(|(revision, _)| *revision == list.revision);
            let made = match known {
                Some((_, made)) => made.clone(),
                None => {
                    let items = store.lists().all_items(&grant, list.id).await?;
                    make(&list, &items.iter().map(|item| item.value.as_str()).collect::<Vec<_>>())?
                }
            };
            kept.insert(list.id, (list.revision, made));
        }
        self.0 = kept;
        Ok(self.0.iter().map(|(id, (_, made))| (*id, made.clone())).collect())
    }
}

/// The compiler's word for the store's.
pub(crate) const fn list_type(stored: store::ListType) -> ListType {
    match stored {
        store::ListType::Serial => ListType::Serial,
        store::ListType::Url => ListType::Url,
        store::ListType::Domain => ListType::Domain,
        store::ListType::Email => ListType::Email,
        store::ListType::Ip => ListType::Ip,
        store::ListType::Category => ListType::Category,
        store::ListType::Location => ListType::Location,
        store::ListType::Device => ListType::Device,
        store::ListType::Aaguid => ListType::Aaguid,
    }
}
