//! Reading and writing documents of one kind, the same way for every kind.
//!
//! It turns typed documents into rows and back, and puts the grant's account on every operation. It does not know which
//! database stands below. Invariant: nothing is read or written outside the account of the grant.

use std::marker::PhantomData;

use jiff::Timestamp;

use crate::Store;
use crate::backend::{Batch, Bound, Expect, Key, Put, Scan, Write, Written};
use crate::document::{self, Document, Revision, Stored};
use crate::error::StoreError;
use crate::grant::{Allows, Grant, Scope};

/// The documents of one kind.
#[derive(Debug)]
pub struct Collection<'s, D> {
    pub(crate) store: &'s Store,
    kind: PhantomData<fn() -> D>,
}

impl<D> Clone for Collection<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D> Copy for Collection<'_, D> {}

impl<'s, D: Document> Collection<'s, D> {
    pub(crate) const fn new(store: &'s Store) -> Self {
        Self { store, kind: PhantomData }
    }

    /// Returns every document of the kind, ordered by position, age and id.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] and its like when the database does not answer.
    pub async fn list<S: Allows<D::Read>>(&self, grant: &Grant<S>) -> Result<Vec<Stored<D>>, StoreError> {
        self.scan(grant, None, D::MAX_COUNT).await
    }

    /// Returns the first documents of that order, at most `count`.
    ///
    /// # Errors
    ///
    /// As [`Collection::list`].
    pub async fn first<S: Allows<D::Read>>(
        &self,
        grant: &Grant<S>,
        count: usize,
    ) -> Result<Vec<Stored<D>>, StoreError> {
        self.scan(grant, None, count.min(D::MAX_COUNT)).await
    }

    /// Returns the documents that belong to `parent`, in the same order.
    ///
    /// # Errors
    ///
    /// As [`Collection::list`].
    pub async fn list_of<S: Allows<D::Read>>(
        &self,
        grant: &Grant<S>,
        parent: impl ToString,
    ) -> Result<Vec<Stored<D>>, StoreError> {
        self.scan(grant, Some(parent.to_string()), D::MAX_COUNT).await
    }

    async fn scan<S: Scope>(
        &self,
        grant: &Grant<S>,
        parent: Option<String>,
        limit: usize,
    ) -> Result<Vec<Stored<D>>, StoreError> {
        let scan = Scan { account: Some(grant.account()), kind: D::KIND, parent, limit };
        let rows = self.store.bounded(self.store.backend().scan(scan)).await?;
        rows.into_iter().map(document::read).collect()
    }

    /// Returns one document, or `None` when the account has none with this id.
    ///
    /// # Errors
    ///
    /// As [`Collection::list`].
    pub async fn get<S: Allows<D::Read>>(&self, grant: &Grant<S>, id: &D::Id) -> Result<Option<Stored<D>>, StoreError> {
        self.fetch(grant, Key::Id(id.to_string())).await
    }

    /// Returns the document with this unique name; kinds without unique names have none.
    ///
    /// # Errors
    ///
    /// As [`Collection::list`].
    pub async fn find<S: Allows<D::Read>>(
        &self,
        grant: &Grant<S>,
        name: &str,
    ) -> Result<Option<Stored<D>>, StoreError> {
        if name.contains('\0') {
            return Ok(None);
        }
        self.fetch(grant, Key::Name(name.to_owned())).await
    }

    pub(crate) async fn fetch<S: Scope>(&self, grant: &Grant<S>, key: Key) -> Result<Option<Stored<D>>, StoreError> {
        let row = self.store.bounded(self.store.backend().get(grant.account(), D::KIND, key)).await?;
        row.map(document::read).transpose()
    }

    /// Stores a new document.
    ///
    /// # Errors
    ///
    /// [`StoreError::Taken`] when the id or unique name exists, [`StoreError::LimitExceeded`] when it is too large or the
    /// account has too many.
    pub async fn create(&self, grant: &Grant<D::Write>, id: D::Id, document: D) -> Result<Stored<D>, StoreError> {
        self.save(grant, id, document, Expect::Absent).await
    }

    /// Replaces a document, of which `expected` is the revision the caller read; `None` overwrites whatever is there.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] when it does not exist, [`StoreError::Stale`] when it was saved since.
    pub async fn replace(
        &self,
        grant: &Grant<D::Write>,
        id: D::Id,
        document: D,
        expected: Option<Revision>,
    ) -> Result<Stored<D>, StoreError> {
        self.save(grant, id, document, expectation(expected)).await
    }

    /// Creates or replaces a document.
    ///
    /// # Errors
    ///
    /// [`StoreError::Taken`] when another document has its unique name, [`StoreError::LimitExceeded`] as in `create`.
    pub async fn put(&self, grant: &Grant<D::Write>, id: D::Id, document: D) -> Result<Stored<D>, StoreError> {
        self.save(grant, id, document, Expect::Anything).await
    }

    /// Creates or replaces many documents in one transaction: all or none.
    ///
    /// # Errors
    ///
    /// As [`Collection::create`] and [`Collection::replace`], for the first document that fails.
    pub async fn put_all(
        &self,
        grant: &Grant<D::Write>,
        documents: Vec<(D::Id, D, Option<Revision>)>,
    ) -> Result<Vec<Stored<D>>, StoreError> {
        let mut writes = Vec::with_capacity(documents.len());
        for (id, document, expected) in &documents {
            let expect = expected.map_or(Expect::Anything, |revision| Expect::Revision(revision.0));
            writes.push(Write::Put(put(grant, id, document, expect)?));
        }
        let (at, written) = self.store.commit(grant, writes, vec![count_bound::<D>()]).await?;
        documents
            .into_iter()
            .zip(written)
            .map(|((id, document, _), written)| stored(id, document, at, written))
            .collect()
    }

    /// Deletes a document, of which `expected` is the revision the caller read.
    ///
    /// # Errors
    ///
    /// As [`Collection::replace`].
    pub async fn delete(
        &self,
        grant: &Grant<D::Write>,
        id: &D::Id,
        expected: Option<Revision>,
    ) -> Result<(), StoreError> {
        let write = Write::Delete { kind: D::KIND, id: id.to_string(), expect: expectation(expected) };
        self.store.commit(grant, vec![write], Vec::new()).await.map(|_| ())
    }

    pub(crate) async fn save<S: Scope>(
        &self,
        grant: &Grant<S>,
        id: D::Id,
        document: D,
        expect: Expect,
    ) -> Result<Stored<D>, StoreError> {
        let bounds = match expect {
            Expect::Absent | Expect::Anything => vec![count_bound::<D>()],
            Expect::Present | Expect::Revision(_) => Vec::new(),
        };
        let write = Write::Put(put(grant, &id, &document, expect)?);
        let (at, written) = self.store.commit(grant, vec![write], bounds).await?;
        let written = written.into_iter().next().ok_or(StoreError::NotFound(D::KIND))?;
        stored(id, document, at, written)
    }
}

pub(crate) fn expectation(expected: Option<Revision>) -> Expect {
    expected.map_or(Expect::Present, |revision| Expect::Revision(revision.0))
}

pub(crate) const fn count_bound<D: Document>() -> Bound {
    Bound::Documents { kind: D::KIND, max: D::MAX_COUNT }
}

pub(crate) fn put<D: Document, S: Scope>(
    grant: &Grant<S>,
    id: &D::Id,
    document: &D,
    expect: Expect,
) -> Result<Put, StoreError> {
    if !grant.permissions().cover(document.confers()) {
        return Err(StoreError::Escalates(D::KIND));
    }
    let name = document.unique_name().map(str::to_owned);
    if name.as_deref().is_some_and(|name| !is_storable(name, 500)) {
        return Err(StoreError::Invalid("a name has 1 to 500 bytes and no control characters"));
    }
    Ok(Put {
        kind: D::KIND,
        id: id.to_string(),
        name,
        lookup: document.lookup(),
        parent: document.parent(),
        position: document.position(),
        schema_version: D::SCHEMA_VERSION,
        body: document::write(document)?,
        expect,
    })
}

/// Says whether both backends hold a text the same way: Postgres refuses NUL, indexes refuse long keys.
pub(crate) fn is_storable(text: &str, longest: usize) -> bool {
    !text.is_empty() && text.len() <= longest && !text.chars().any(char::is_control)
}

pub(crate) fn stored<D: Document>(id: D::Id, document: D, at: i64, written: Written) -> Result<Stored<D>, StoreError> {
    let time = |microseconds| {
        Timestamp::from_microsecond(microseconds).map_err(|_| StoreError::Invalid("a time is out of range"))
    };
    Ok(Stored {
        id,
        revision: Revision(written.revision),
        created_at: time(written.created_at)?,
        updated_at: time(at)?,
        document,
    })
}

impl Store {
    /// Applies writes in the account of the grant; returns the time they carry.
    pub(crate) async fn commit<S: Scope>(
        &self,
        grant: &Grant<S>,
        writes: Vec<Write>,
        bounds: Vec<Bound>,
    ) -> Result<(i64, Vec<Written>), StoreError> {
        let at = self.now().as_microsecond();
        let batch = Batch { account: grant.account(), at, writes, bounds };
        let told = batch.is_in_feed();
        let written = self.bounded(self.backend().commit(batch)).await?;
        if told {
            self.announce();
        }
        Ok((at, written))
    }
}
