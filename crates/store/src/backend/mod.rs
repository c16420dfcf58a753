//! The few operations a database must offer; everything typed stands above them.
//!
//! A backend sees accounts, kinds and text. It does not authorize, seal, parse or know what a rule is. Invariants: a
//! batch is applied whole or not at all; the sequence numbers of changes become visible in increasing order, so a
//! reader that remembers the last one misses nothing.

use futures_util::future::BoxFuture;
use types::AccountId;

use crate::document::Kind;
use crate::error::StoreError;

pub(crate) mod postgres;
pub(crate) mod sqlite;
mod statements;
mod tls;

/// One stored document as text.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub account: AccountId,
    pub id: String,
    pub schema_version: u32,
    pub revision: i64,
    pub body: String,
    pub created_at: i64,
    pub updated_at: i64,
}

/// How a single document is found.
#[derive(Debug, Clone)]
pub(crate) enum Key {
    Id(String),
    Name(String),
}

/// Which documents a listing returns, in order of position, age and id.
#[derive(Debug, Clone)]
pub(crate) struct Scan {
    /// `None` lists the kind over every account.
    pub account: Option<AccountId>,
    pub kind: Kind,
    pub parent: Option<String>,
    pub limit: usize,
}

/// What must hold before a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    Absent,
    Present,
    Revision(i64),
    Anything,
}

#[derive(Debug, Clone)]
pub(crate) struct Put {
    pub kind: Kind,
    pub id: String,
    pub name: Option<String>,
    pub lookup: Option<String>,
    pub parent: Option<String>,
    pub position: i64,
    pub schema_version: u32,
    pub body: String,
    pub expect: Expect,
}

/// One entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ItemRow {
    pub value: String,
    pub description: String,
    pub created_at: i64,
    /// Grows with every append; the order and the cursor of a listing.
    pub ordinal: i64,
}

/// One value of a KV namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KvRow {
    pub key: String,
    /// Empty in listings.
    pub value: Vec<u8>,
    pub metadata: Option<String>,
    pub expires_at: Option<i64>,
}

#[derive(Debug, Clone)]
pub(crate) enum Write {
    Put(Put),
    /// Replaces the text of a document over the revision that was read; its name, owner and place stay as they are.
    Rewrite {
        kind: Kind,
        id: String,
        schema_version: u32,
        body: String,
        read: i64,
    },
    /// Raises a document's revision and leaves its body, because something that belongs to it changed.
    Touch {
        kind: Kind,
        id: String,
        expect: Expect,
    },
    Delete {
        kind: Kind,
        id: String,
        expect: Expect,
    },
    DeleteChildren {
        kind: Kind,
        parent: String,
    },
    /// Deletes every document of a kind whose position, its end in milliseconds, has come.
    Sweep {
        kind: Kind,
        through: i64,
    },
    /// Deletes all but the newest `keep` children.
    Prune {
        kind: Kind,
        parent: String,
        keep: usize,
    },
    /// The list must exist.
    Items {
        list: String,
        change: ItemChange,
    },
    Values(ValueChange),
}

/// What happens to the items of a list.
#[derive(Debug, Clone)]
pub(crate) enum ItemChange {
    /// Holds each value once.
    Put {
        items: Vec<(String, String)>,
        max: usize,
    },
    Remove(Vec<String>),
    Clear,
}

/// What happens to the values of a namespace.
#[derive(Debug, Clone)]
pub(crate) enum ValueChange {
    /// The namespace must exist.
    Put {
        namespace: String,
        row: KvRow,
        max: usize,
    },
    /// The namespace must exist; the value need not.
    Delete {
        namespace: String,
        key: String,
    },
    Clear {
        namespace: String,
    },
    /// Deletes every value of the account whose time has come.
    Expire,
}

// Items and values are counted in their parent's row, in the same transaction, so that bounds and counts cost one row.

/// A bound checked inside the transaction, after its writes.
#[derive(Debug, Clone)]
pub(crate) enum Bound {
    Documents { kind: Kind, max: usize },
}

#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub account: AccountId,
    pub at: i64,
    pub writes: Vec<Write>,
    pub bounds: Vec<Bound>,
}

impl Batch {
    /// Says whether the change feed will tell of this batch. Values of KV namespaces are not told: they are read where
    /// they are used.
    pub(crate) fn is_in_feed(&self) -> bool {
        self.writes.iter().any(|write| write.told().is_some())
    }

    /// Says whether the batch changes nothing if what it expects is not so.
    pub(crate) fn is_at_once(&self) -> bool {
        matches!(self.writes[..], [Write::Rewrite { .. }]) && self.bounds.is_empty()
    }
}

impl Write {
    /// Returns the document the change feed tells of.
    pub(crate) fn told(&self) -> Option<(Kind, &str, Told)> {
        let told = match self {
            Self::Put(put) => (put.kind, put.id.as_str(), Told::Put),
            Self::Rewrite { kind, id, .. } | Self::Touch { kind, id, .. } => (*kind, id.as_str(), Told::Put),
            Self::Delete { kind, id, .. } => (*kind, id.as_str(), Told::Delete),
            Self::DeleteChildren { kind, parent } => (*kind, parent.as_str(), Told::DeleteChildren),
            Self::Sweep { .. } | Self::Prune { .. } | Self::Items { .. } | Self::Values(_) => return None,
        };
        told.0.is_in_feed().then_some(told)
    }
}

/// What happened to the document a change names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Put,
    Delete,
    DeleteChildren,
}

impl Told {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Delete => "delete",
            Self::DeleteChildren => "delete_children",
        }
    }
}

/// What a put left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    pub revision: i64,
    pub created_at: i64,
}

/// One line of the change table, as text.
#[derive(Debug, Clone)]
pub(crate) struct ChangeRow {
    pub seq: i64,
    pub account: String,
    pub kind: String,
    pub id: String,
    pub op: String,
    pub at: i64,
    /// Of the document after the change; none where it was deleted.
    pub revision: Option<i64>,
}

/// What the change table holds after a position.
#[derive(Debug, Clone)]
pub(crate) struct ChangePage {
    pub rows: Vec<ChangeRow>,
    /// Changes up to this number have been discarded.
    pub pruned_through: i64,
    pub head: i64,
}

/// How many changes are kept for readers that fell behind; a slower reader is told to start over.
pub(crate) const CHANGES_KEPT: i64 = 50_000;
/// After how many changes those beyond [`CHANGES_KEPT`] are deleted.
pub(crate) const FORGET_EVERY: i64 = 256;

/// One database.
pub(crate) trait Backend: Send + Sync {
    /// Returns the word for the console: `sqlite` or `postgres`.
    fn name(&self) -> &'static str;
    /// Applies a batch whole or not at all; one [`Written`] per [`Write::Put`] and
    /// [`Write::Touch`], and nothing for the others.
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Vec<Written>, StoreError>>;
    fn get(&self, account: AccountId, kind: Kind, key: Key) -> BoxFuture<'_, Result<Option<Row>, StoreError>>;
    fn lookup(&self, kind: Kind, lookup: String) -> BoxFuture<'_, Result<Option<Row>, StoreError>>;
    fn scan(&self, scan: Scan) -> BoxFuture<'_, Result<Vec<Row>, StoreError>>;
    /// Returns items after the ordinal `after`.
    fn items(
        &self,
        account: AccountId,
        list: String,
        after: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ItemRow>, StoreError>>;
    /// Returns the number of items of every list.
    fn item_counts(&self, account: AccountId) -> BoxFuture<'_, Result<Vec<(String, i64)>, StoreError>>;
    /// Returns a value that has not expired at `at`.
    fn value(
        &self,
        account: AccountId,
        namespace: String,
        key: String,
        at: i64,
    ) -> BoxFuture<'_, Result<Option<KvRow>, StoreError>>;
    /// Returns unexpired keys greater than `after` and not less than `from`, in byte order.
    fn keys(&self, scan: KeyScan) -> BoxFuture<'_, Result<Vec<KvRow>, StoreError>>;
    fn changes(&self, after: i64, limit: usize) -> BoxFuture<'_, Result<ChangePage, StoreError>>;
    /// Returns the stored text of `key`, storing `initial` first if there is none.
    fn meta(&self, key: &'static str, initial: Option<String>) -> BoxFuture<'_, Result<Option<String>, StoreError>>;
    /// Replaces the stored text of `key`.
    fn set_meta(&self, key: &'static str, value: String) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Answers when the database does.
    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Stops threads and connections; later calls fail.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Which keys of a namespace to list.
#[derive(Debug, Clone)]
pub(crate) struct KeyScan {
    pub account: AccountId,
    pub namespace: String,
    /// The smallest key.
    pub from: String,
    /// Only keys greater than this.
    pub after: Option<String>,
    pub at: i64,
    pub limit: usize,
}

/// Says what a count of items or values over its bound is.
pub(crate) fn check_children(kind: Kind, count: i64, max: usize) -> Result<(), StoreError> {
    let what = if kind == Kind::List { "the number of items in a list" } else { "the number of keys in a namespace" };
    match usize::try_from(count) {
        Ok(count) if count > max => Err(StoreError::LimitExceeded { what, limit: max }),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// What to do with a put, given the revision that stands in the database.
pub(crate) fn next_revision(kind: Kind, expect: Expect, current: Option<i64>) -> Result<i64, StoreError> {
    match (expect, current) {
        (Expect::Absent, Some(_)) => Err(StoreError::Taken(kind)),
        (Expect::Present | Expect::Revision(_), None) => Err(StoreError::NotFound(kind)),
        (Expect::Revision(expected), Some(found)) if expected != found => Err(StoreError::Stale(kind)),
        (Expect::Absent | Expect::Anything, None) => Ok(1),
        (Expect::Present | Expect::Anything | Expect::Revision(_), Some(found)) => Ok(found + 1),
    }
}
