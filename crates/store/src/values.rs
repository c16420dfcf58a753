//! The values of KV namespaces. Expired values are filtered when read and removed by [`Collection::expire`], which the
//! owner of the store calls now and then. It caches nothing. Invariant: keys and values are bounded before any write.

use std::time::Duration;

use jiff::Timestamp;
use types::KvNamespaceId;

use crate::backend::{KeyScan, KvRow, ValueChange, Write};
use crate::collection::{Collection, expectation};
use crate::document::{Kind, Revision};
use crate::documents::kv::{KvKey, KvNamespace, KvPage, KvValue};
use crate::error::StoreError;
use crate::grant::{Allows, Grant, Operate, ReadKv, WriteKv};

/// The longest key in bytes, as in Workers KV.
pub const MAX_KEY_BYTES: usize = 512;
/// The longest metadata in bytes, as in Workers KV.
pub const MAX_METADATA_BYTES: usize = 1_024;
/// The most keys one listing returns, as in Workers KV.
pub const MAX_KEYS_PER_PAGE: usize = 1_000;

/// When a value goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Expiry {
    /// Never.
    #[default]
    Never,
    /// At a moment.
    At(Timestamp),
    /// Some time from now.
    After(Duration),
}

impl Collection<'_, KvNamespace> {
    /// Returns a value, or `None` when there is none or it has expired.
    ///
    /// # Errors
    ///
    /// As [`Collection::list`].
    pub async fn value<S: Allows<ReadKv>>(
        &self,
        grant: &Grant<S>,
        namespace: KvNamespaceId,
        key: &str,
    ) -> Result<Option<KvValue>, StoreError> {
        if check_key(key).is_err() {
            return Ok(None);
        }
        let at = self.store.now().as_microsecond();
        let read = self.store.backend().value(grant.account(), namespace.to_string(), key.to_owned(), at);
        let Some(row) = self.store.bounded(read).await? else { return Ok(None) };
        let head = head(namespace, &row)?;
        Ok(Some(KvValue { value: row.value, metadata: head.metadata, expires_at: head.expires_at }))
    }

    /// Stores a value under a key of an existing namespace.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`] without the namespace, [`StoreError::LimitExceeded`] and [`StoreError::Invalid`] for keys,
    /// values and metadata out of bounds.
    pub async fn put_value(
        &self,
        grant: &Grant<WriteKv>,
        namespace: KvNamespaceId,
        key: &str,
        value: Vec<u8>,
        metadata: Option<&serde_json::Value>,
        expiry: Expiry,
    ) -> Result<(), StoreError> {
        check_key(key)?;
        let limits = self.store.limits();
        if value.len() > limits.kv_value_bytes {
            return Err(StoreError::LimitExceeded { what: "a value's size in bytes", limit: limits.kv_value_bytes });
        }
        let metadata = metadata.map(ToString::to_string);
        if metadata.as_ref().is_some_and(|text| text.len() > MAX_METADATA_BYTES) {
            return Err(StoreError::LimitExceeded { what: "metadata's size in bytes", limit: MAX_METADATA_BYTES });
        }
        let expires_at = self.expiry(expiry)?;
        let row = KvRow { key: key.to_owned(), value, metadata, expires_at };
        let namespace = namespace.to_string();
        let write = Write::Values(ValueChange::Put { namespace, row, max: limits.kv_keys });
        self.store.commit(grant, vec![write], Vec::new()).await.map(|_| ())
    }

    /// Deletes a value; one that is not there is fine, a namespace that is not there is not.
    ///
    /// # Errors
    ///
    /// As [`Collection::list`].
    pub async fn delete_value(
        &self,
        grant: &Grant<WriteKv>,
        namespace: KvNamespaceId,
        key: &str,
    ) -> Result<(), StoreError> {
        check_key(key)?;
        let write = Write::Values(ValueChange::Delete { namespace: namespace.to_string(), key: key.to_owned() });
        self.store.commit(grant, vec![write], Vec::new()).await.map(|_| ())
    }

    /// Returns a page of keys that start with `prefix`, in byte order.
    ///
    /// # Errors
    ///
    /// As [`Collection::list`].
    pub async fn keys<S: Allows<ReadKv>>(
        &self,
        grant: &Grant<S>,
        namespace: KvNamespaceId,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<KvPage, StoreError> {
        let unusable = |text: &str| text.contains('\0') || text.len() > MAX_KEY_BYTES;
        if unusable(prefix) || cursor.is_some_and(unusable) {
            return Err(StoreError::Invalid("a prefix or cursor is not part of a key"));
        }
        let limit = limit.clamp(1, MAX_KEYS_PER_PAGE);
        let scan = KeyScan {
            account: grant.account(),
            namespace: namespace.to_string(),
            from: prefix.to_owned(),
            after: cursor.map(str::to_owned),
            at: self.store.now().as_microsecond(),
            limit: limit + 1,
        };
        let rows = self.store.bounded(self.store.backend().keys(scan)).await?;
        // Keys come in byte order from the prefix on, so those that share it come first.
        let mut keys = rows
            .iter()
            .take_while(|row| row.key.starts_with(prefix))
            .map(|row| head(namespace, row))
            .collect::<Result<Vec<_>, _>>()?;
        let more = keys.len() > limit;
        keys.truncate(limit);
        let cursor = keys.last().filter(|_| more).map(|key| key.name.clone());
        Ok(KvPage { keys, cursor })
    }

    /// Deletes a namespace and its values.
    ///
    /// # Errors
    ///
    /// As [`Collection::delete`].
    pub async fn delete_with_values(
        &self,
        grant: &Grant<WriteKv>,
        namespace: KvNamespaceId,
        expected: Option<Revision>,
    ) -> Result<(), StoreError> {
        let id = namespace.to_string();
        let writes = vec![
            Write::Delete { kind: Kind::KvNamespace, id: id.clone(), expect: expectation(expected) },
            Write::Values(ValueChange::Clear { namespace: id }),
        ];
        self.store.commit(grant, writes, Vec::new()).await.map(|_| ())
    }

    /// Removes the values of the account whose time has come.
    ///
    /// # Errors
    ///
    /// As [`Collection::list`].
    pub async fn expire(&self, grant: &Grant<Operate>) -> Result<(), StoreError> {
        self.store.commit(grant, vec![Write::Values(ValueChange::Expire)], Vec::new()).await.map(|_| ())
    }

    fn expiry(&self, expiry: Expiry) -> Result<Option<i64>, StoreError> {
        let at = match expiry {
            Expiry::Never => return Ok(None),
            Expiry::At(at) => at,
            Expiry::After(duration) => self
                .store
                .now()
                .checked_add(duration)
                .map_err(|_| StoreError::Invalid("the expiry is too far in the future"))?,
        };
        Ok(Some(at.as_microsecond()))
    }
}

fn check_key(key: &str) -> Result<(), StoreError> {
    // Workers KV refuses these three names as well.
    let reserved = matches!(key, "" | "." | "..");
    if reserved || key.len() > MAX_KEY_BYTES || key.contains('\0') {
        return Err(StoreError::Invalid("a key has 1 to 512 bytes, none of them zero, and is not . or .."));
    }
    Ok(())
}

fn head(namespace: KvNamespaceId, row: &KvRow) -> Result<KvKey, StoreError> {
    let unreadable =
        |source: crate::error::Cause| StoreError::unreadable(Kind::KvNamespace, &namespace.to_string(), source);
    let metadata =
        row.metadata.as_deref().map(serde_json::from_str).transpose().map_err(|error| unreadable(Box::new(error)))?;
    let expires_at =
        row.expires_at.map(Timestamp::from_microsecond).transpose().map_err(|error| unreadable(Box::new(error)))?;
    Ok(KvKey { name: row.key.clone(), metadata, expires_at })
}
