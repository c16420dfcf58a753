//! The operations of a backend, written once over the little both databases share: run a statement, read its rows.
//!
//! The statements in `sql/` are read by both databases the same way; those that cannot be stand in a dialect's own
//! folder. Parameters appear in the order of their numbers, because SQLite numbers `$n` by first appearance. It opens
//! no connection and no transaction; [`commit`] must run inside one.

use std::collections::BTreeMap;

use types::AccountId;

use super::{
    Batch, Bound, CHANGES_KEPT, ChangePage, ChangeRow, Expect, FORGET_EVERY, ItemChange, ItemRow, Key, KeyScan, KvRow,
    Put, Row, Scan, Told, ValueChange, Write, Written, check_children, next_revision,
};
use crate::document::Kind;
use crate::error::StoreError;

/// One cell, in the few types the schema uses.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// Why a statement failed.
#[derive(Debug)]
pub(crate) enum StatementError {
    /// A unique index refused.
    Unique,
    /// Anything else, already in the caller's words.
    Store(StoreError),
}

impl From<StatementError> for StoreError {
    fn from(error: StatementError) -> Self {
        match error {
            StatementError::Unique => Self::unavailable("a unique index refused a write nobody expected"),
            StatementError::Store(error) => error,
        }
    }
}

/// The statements the dialects spell differently.
pub(crate) struct Dialect {
    /// Reads a document's revision and keeps others from changing it until the transaction ends.
    pub revision: &'static str,
    pub put_items: &'static str,
    pub count_known_items: &'static str,
    pub remove_items: &'static str,
}

/// A connection, or a transaction on one.
pub(crate) trait Session {
    const DIALECT: Dialect;

    fn query(
        &mut self,
        sql: &'static str,
        parameters: Vec<Value>,
    ) -> impl Future<Output = Result<Vec<Vec<Value>>, StatementError>> + Send;

    fn execute(
        &mut self,
        sql: &'static str,
        parameters: Vec<Value>,
    ) -> impl Future<Output = Result<u64, StatementError>> + Send;
}

/// Reads one row's cells in order.
struct Cells(std::vec::IntoIter<Value>);

impl Cells {
    fn new(row: Vec<Value>) -> Self {
        Self(row.into_iter())
    }

    fn integer(&mut self) -> Result<i64, StoreError> {
        match self.0.next() {
            Some(Value::Integer(number)) => Ok(number),
            other => Err(unexpected(other.as_ref())),
        }
    }

    fn text(&mut self) -> Result<String, StoreError> {
        match self.0.next() {
            Some(Value::Text(text)) => Ok(text),
            other => Err(unexpected(other.as_ref())),
        }
    }

    fn bytes(&mut self) -> Result<Vec<u8>, StoreError> {
        match self.0.next() {
            Some(Value::Bytes(bytes)) => Ok(bytes),
            other => Err(unexpected(other.as_ref())),
        }
    }

    fn optional_text(&mut self) -> Result<Option<String>, StoreError> {
        match self.0.next() {
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(Value::Null) => Ok(None),
            other => Err(unexpected(other.as_ref())),
        }
    }

    fn optional_integer(&mut self) -> Result<Option<i64>, StoreError> {
        match self.0.next() {
            Some(Value::Integer(number)) => Ok(Some(number)),
            Some(Value::Null) => Ok(None),
            other => Err(unexpected(other.as_ref())),
        }
    }
}

/// Names the type and never the value: a cell can be a secret.
fn unexpected(cell: Option<&Value>) -> StoreError {
    let found = match cell {
        None => "no cell",
        Some(Value::Null) => "nothing",
        Some(Value::Integer(_)) => "a number",
        Some(Value::Text(_)) => "text",
        Some(Value::Bytes(_)) => "bytes",
    };
    StoreError::unavailable(format!("the database returned {found} where the schema has something else"))
}

fn text(text: impl ToString) -> Value {
    Value::Text(text.to_string())
}

fn optional(text: Option<String>) -> Value {
    text.map_or(Value::Null, Value::Text)
}

fn size(number: usize) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

pub(crate) async fn get<S: Session>(
    session: &mut S,
    account: AccountId,
    kind: Kind,
    key: Key,
) -> Result<Option<Row>, StoreError> {
    let (sql, key) = match key {
        Key::Id(id) => (include_str!("sql/get_by_id.sql"), id),
        Key::Name(name) => (include_str!("sql/get_by_name.sql"), name),
    };
    let rows = session.query(sql, vec![text(account), text(kind.as_str()), Value::Text(key)]).await?;
    rows.into_iter().next().map(read_row).transpose()
}

pub(crate) async fn lookup<S: Session>(session: &mut S, kind: Kind, lookup: String) -> Result<Option<Row>, StoreError> {
    let parameters = vec![text(kind.as_str()), Value::Text(lookup)];
    let rows = session.query(include_str!("sql/lookup.sql"), parameters).await?;
    rows.into_iter().next().map(read_row).transpose()
}

pub(crate) async fn scan<S: Session>(session: &mut S, scan: Scan) -> Result<Vec<Row>, StoreError> {
    let (kind, limit) = (text(scan.kind.as_str()), size(scan.limit));
    let rows = match (scan.account, scan.parent) {
        (None, _) => session.query(include_str!("sql/scan_all.sql"), vec![kind, limit]).await?,
        (Some(account), None) => {
            session.query(include_str!("sql/scan_account.sql"), vec![text(account), kind, limit]).await?
        }
        (Some(account), Some(parent)) => {
            let parameters = vec![text(account), kind, Value::Text(parent), limit];
            session.query(include_str!("sql/scan_parent.sql"), parameters).await?
        }
    };
    rows.into_iter().map(read_row).collect()
}

fn read_row(row: Vec<Value>) -> Result<Row, StoreError> {
    let mut cells = Cells::new(row);
    let account = cells.text()?;
    let account = account.parse().map_err(StoreError::unavailable)?;
    let id = cells.text()?;
    let schema_version = u32::try_from(cells.integer()?).unwrap_or(u32::MAX);
    Ok(Row {
        account,
        id,
        schema_version,
        revision: cells.integer()?,
        body: cells.text()?,
        created_at: cells.integer()?,
        updated_at: cells.integer()?,
    })
}

pub(crate) async fn items<S: Session>(
    session: &mut S,
    account: AccountId,
    list: String,
    after: i64,
    limit: usize,
) -> Result<Vec<ItemRow>, StoreError> {
    let parameters = vec![text(account), Value::Text(list), Value::Integer(after), size(limit)];
    let rows = session.query(include_str!("sql/items.sql"), parameters).await?;
    rows.into_iter()
        .map(|row| {
            let mut cells = Cells::new(row);
            Ok(ItemRow {
                value: cells.text()?,
                description: cells.text()?,
                created_at: cells.integer()?,
                ordinal: cells.integer()?,
            })
        })
        .collect()
}

pub(crate) async fn item_counts<S: Session>(
    session: &mut S,
    account: AccountId,
) -> Result<Vec<(String, i64)>, StoreError> {
    let parameters = vec![text(account), text(Kind::List.as_str())];
    let rows = session.query(include_str!("sql/children.sql"), parameters).await?;
    rows.into_iter()
        .map(|row| {
            let mut cells = Cells::new(row);
            Ok((cells.text()?, cells.integer()?))
        })
        .collect()
}

pub(crate) async fn value<S: Session>(
    session: &mut S,
    account: AccountId,
    namespace: String,
    key: String,
    at: i64,
) -> Result<Option<KvRow>, StoreError> {
    let parameters = vec![text(account), Value::Text(namespace), Value::Text(key), Value::Integer(at)];
    let rows = session.query(include_str!("sql/value.sql"), parameters).await?;
    rows.into_iter()
        .next()
        .map(|row| {
            let mut cells = Cells::new(row);
            Ok(KvRow {
                key: cells.text()?,
                value: cells.bytes()?,
                metadata: cells.optional_text()?,
                expires_at: cells.optional_integer()?,
            })
        })
        .transpose()
}

pub(crate) async fn keys<S: Session>(session: &mut S, scan: KeyScan) -> Result<Vec<KvRow>, StoreError> {
    let parameters = vec![
        text(scan.account),
        Value::Text(scan.namespace),
        Value::Text(scan.from),
        // No key is empty, so every key is greater than this.
        Value::Text(scan.after.unwrap_or_default()),
        Value::Integer(scan.at),
        size(scan.limit),
    ];
    let rows = session.query(include_str!("sql/keys.sql"), parameters).await?;
    rows.into_iter()
        .map(|row| {
            let mut cells = Cells::new(row);
            Ok(KvRow {
                key: cells.text()?,
                value: Vec::new(),
                metadata: cells.optional_text()?,
                expires_at: cells.optional_integer()?,
            })
        })
        .collect()
}

pub(crate) async fn changes<S: Session>(session: &mut S, after: i64, limit: usize) -> Result<ChangePage, StoreError> {
    // The span first: rows that arrive between the two statements are then beyond the head, which harms nobody.
    let span = session.query(include_str!("sql/change_span.sql"), Vec::new()).await?;
    let mut span = Cells::new(span.into_iter().next().unwrap_or_default());
    let (pruned_through, head) = (span.integer()?, span.integer()?);
    let rows = session.query(include_str!("sql/changes.sql"), vec![Value::Integer(after), size(limit)]).await?;
    let rows = rows
        .into_iter()
        .map(|row| {
            let mut cells = Cells::new(row);
            Ok(ChangeRow {
                seq: cells.integer()?,
                account: cells.text()?,
                kind: cells.text()?,
                id: cells.text()?,
                op: cells.text()?,
                at: cells.integer()?,
                revision: cells.optional_integer()?,
            })
        })
        .collect::<Result<_, StoreError>>()?;
    Ok(ChangePage { rows, pruned_through, head })
}

pub(crate) async fn meta<S: Session>(
    session: &mut S,
    key: &str,
    initial: Option<String>,
) -> Result<Option<String>, StoreError> {
    if let Some(initial) = initial {
        session.execute(include_str!("sql/meta_insert.sql"), vec![text(key), Value::Text(initial)]).await?;
    }
    let rows = session.query(include_str!("sql/meta.sql"), vec![text(key)]).await?;
    rows.into_iter().next().map(|row| Cells::new(row).text()).transpose()
}

pub(crate) async fn set_meta<S: Session>(session: &mut S, key: &str, value: String) -> Result<(), StoreError> {
    session.execute(include_str!("sql/meta_set.sql"), vec![text(key), Value::Text(value)]).await?;
    Ok(())
}

/// The key under which a database keeps the version of its schema.
pub(crate) const SCHEMA_VERSION: &str = "schema_version";

/// Returns the version of the schema, 0 before the first migration.
pub(crate) async fn schema_version<S: Session>(session: &mut S) -> Result<i64, StoreError> {
    match meta(session, SCHEMA_VERSION, None).await? {
        None => Ok(0),
        Some(text) => text.parse().map_err(StoreError::unavailable),
    }
}

pub(crate) async fn ping<S: Session>(session: &mut S) -> Result<(), StoreError> {
    session.query(include_str!("sql/meta.sql"), vec![text(SCHEMA_VERSION)]).await?;
    Ok(())
}

/// Applies a batch and tells of it. The caller wraps it in a transaction and rolls back when it fails.
pub(crate) async fn commit<S: Session>(session: &mut S, batch: Batch) -> Result<Vec<Written>, StoreError> {
    let Batch { account, at, writes, bounds } = batch;
    let mut written = Vec::new();
    let mut forget = false;
    for write in writes {
        let told = write.told().map(|(kind, id, op)| (kind, id.to_owned(), op));
        let rewritten = if let Write::Rewrite { read, .. } = &write { Some(read + 1) } else { None };
        let done = apply(session, account, at, write).await?;
        if let Some((kind, id, op)) = told {
            let revision = done.map(|done| done.revision).or(rewritten);
            let seq = tell(session, account, (kind, id, op), at, revision).await?;
            forget |= seq % FORGET_EVERY == 0;
        }
        written.extend(done);
    }
    for Bound::Documents { kind, max } in bounds {
        let parameters = vec![text(account), text(kind.as_str())];
        let rows = session.query(include_str!("sql/count.sql"), parameters).await?;
        let count = rows.into_iter().next().map_or(Ok(0), |row| Cells::new(row).integer())?;
        if usize::try_from(count).is_ok_and(|count| count > max) {
            return Err(StoreError::LimitExceeded { what: "the number of documents of one kind", limit: max });
        }
    }
    if forget {
        session.execute(include_str!("sql/forget_changes.sql"), vec![Value::Integer(CHANGES_KEPT)]).await?;
    }
    Ok(written)
}

async fn tell<S: Session>(
    session: &mut S,
    account: AccountId,
    (kind, id, op): (Kind, String, Told),
    at: i64,
    revision: Option<i64>,
) -> Result<i64, StoreError> {
    let parameters = vec![
        text(account),
        text(kind.as_str()),
        Value::Text(id),
        text(op.as_str()),
        Value::Integer(at),
        revision.map_or(Value::Null, Value::Integer),
    ];
    let rows = session.query(include_str!("sql/tell.sql"), parameters).await?;
    Cells::new(rows.into_iter().next().unwrap_or_default()).integer()
}

async fn apply<S: Session>(
    session: &mut S,
    account: AccountId,
    at: i64,
    write: Write,
) -> Result<Option<Written>, StoreError> {
    match write {
        Write::Put(put) => return put_document(session, account, at, put).await.map(Some),
        Write::Rewrite { kind, id, schema_version, body, read } => {
            let parameters = vec![
                Value::Integer(i64::from(schema_version)),
                Value::Integer(read + 1),
                Value::Text(body),
                Value::Integer(at),
                text(account),
                text(kind.as_str()),
                Value::Text(id),
                Value::Integer(read),
            ];
            if session.execute(include_str!("sql/rewrite.sql"), parameters).await? == 0 {
                return Err(StoreError::Stale(kind));
            }
        }
        Write::Touch { kind, id, expect } => {
            let revision = expected_revision(session, account, kind, &id, expect).await?;
            let parameters =
                vec![Value::Integer(revision), Value::Integer(at), text(account), text(kind.as_str()), Value::Text(id)];
            let rows = session.query(include_str!("sql/touch.sql"), parameters).await?;
            let row = rows.into_iter().next().ok_or(StoreError::NotFound(kind))?;
            return Ok(Some(Written { revision, created_at: Cells::new(row).integer()? }));
        }
        Write::Delete { kind, id, expect } => {
            if expect != Expect::Anything {
                expected_revision(session, account, kind, &id, expect).await?;
            }
            let parameters = vec![text(account), text(kind.as_str()), Value::Text(id)];
            session.execute(include_str!("sql/delete.sql"), parameters).await?;
        }
        Write::DeleteChildren { kind, parent } => {
            let parameters = vec![text(account), text(kind.as_str()), Value::Text(parent)];
            session.execute(include_str!("sql/delete_children.sql"), parameters).await?;
        }
        Write::Sweep { kind, through } => {
            let parameters = vec![text(account), text(kind.as_str()), Value::Integer(through)];
            session.execute(include_str!("sql/sweep.sql"), parameters).await?;
        }
        Write::Prune { kind, parent, keep } => {
            let parameters = vec![text(account), text(kind.as_str()), Value::Text(parent), size(keep)];
            session.execute(include_str!("sql/prune.sql"), parameters).await?;
        }
        Write::Items { list, change } => apply_items(session, account, at, &list, change).await?,
        Write::Values(change) => apply_values(session, account, at, change).await?,
    }
    Ok(None)
}

async fn put_document<S: Session>(
    session: &mut S,
    account: AccountId,
    at: i64,
    put: Put,
) -> Result<Written, StoreError> {
    let revision = expected_revision(session, account, put.kind, &put.id, put.expect).await?;
    let place = vec![text(account), text(put.kind.as_str()), Value::Text(put.id)];
    let content = vec![
        optional(put.name),
        optional(put.lookup),
        optional(put.parent),
        Value::Integer(put.position),
        Value::Integer(i64::from(put.schema_version)),
        Value::Integer(revision),
        Value::Text(put.body),
    ];
    let result = if revision == 1 {
        let times = vec![Value::Integer(at), Value::Integer(at)];
        session.query(include_str!("sql/insert.sql"), [place, content, times].concat()).await
    } else {
        session.query(include_str!("sql/update.sql"), [content, vec![Value::Integer(at)], place].concat()).await
    };
    let rows = match result {
        Err(StatementError::Unique) => return Err(StoreError::Taken(put.kind)),
        other => other?,
    };
    let row = rows.into_iter().next().ok_or(StoreError::NotFound(put.kind))?;
    Ok(Written { revision, created_at: Cells::new(row).integer()? })
}

async fn expected_revision<S: Session>(
    session: &mut S,
    account: AccountId,
    kind: Kind,
    id: &str,
    expect: Expect,
) -> Result<i64, StoreError> {
    let parameters = vec![text(account), text(kind.as_str()), text(id)];
    let rows = session.query(S::DIALECT.revision, parameters).await?;
    let current = rows.into_iter().next().map(|row| Cells::new(row).integer()).transpose()?;
    next_revision(kind, expect, current)
}

async fn apply_items<S: Session>(
    session: &mut S,
    account: AccountId,
    at: i64,
    list: &str,
    change: ItemChange,
) -> Result<(), StoreError> {
    let owner = Kind::List;
    match change {
        ItemChange::Put { items, max } => {
            let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
            // Refused before anything large is built.
            check_children(owner, count, max)?;
            adjust(session, account, owner, list, 0, max).await?;
            let array = json(&items)?;
            let parameters = vec![text(account), text(list), text(&array)];
            let rows = session.query(S::DIALECT.count_known_items, parameters).await?;
            let known = rows.into_iter().next().map_or(Ok(0), |row| Cells::new(row).integer())?;
            let parameters = vec![text(account), text(list), Value::Integer(at), Value::Text(array)];
            session.execute(S::DIALECT.put_items, parameters).await?;
            adjust(session, account, owner, list, count - known, max).await
        }
        ItemChange::Remove(values) => {
            adjust(session, account, owner, list, 0, usize::MAX).await?;
            let parameters = vec![text(account), text(list), Value::Text(json(&values)?)];
            let removed = session.execute(S::DIALECT.remove_items, parameters).await?;
            let removed = i64::try_from(removed).unwrap_or(i64::MAX);
            adjust(session, account, owner, list, -removed, usize::MAX).await
        }
        ItemChange::Clear => {
            session.execute(include_str!("sql/clear_items.sql"), vec![text(account), text(list)]).await?;
            reset(session, account, owner, list).await
        }
    }
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(StoreError::unavailable)
}

async fn apply_values<S: Session>(
    session: &mut S,
    account: AccountId,
    at: i64,
    change: ValueChange,
) -> Result<(), StoreError> {
    let owner = Kind::KvNamespace;
    match change {
        ValueChange::Put { namespace, row, max } => {
            // Locks the namespace's row, so that two writers of one new key do not meet in the unique index.
            adjust(session, account, owner, &namespace, 0, usize::MAX).await?;
            let parameters = vec![
                Value::Bytes(row.value),
                optional(row.metadata),
                row.expires_at.map_or(Value::Null, Value::Integer),
                text(account),
                text(&namespace),
                Value::Text(row.key),
            ];
            if session.execute(include_str!("sql/update_value.sql"), parameters.clone()).await? == 0 {
                session.execute(include_str!("sql/insert_value.sql"), parameters).await?;
                adjust(session, account, owner, &namespace, 1, max).await?;
            }
            Ok(())
        }
        ValueChange::Delete { namespace, key } => {
            adjust(session, account, owner, &namespace, 0, usize::MAX).await?;
            let parameters = vec![text(account), text(&namespace), Value::Text(key)];
            if session.execute(include_str!("sql/delete_value.sql"), parameters).await? == 1 {
                adjust(session, account, owner, &namespace, -1, usize::MAX).await?;
            }
            Ok(())
        }
        ValueChange::Clear { namespace } => {
            let parameters = vec![text(account), text(&namespace)];
            session.execute(include_str!("sql/clear_values.sql"), parameters).await?;
            reset(session, account, owner, &namespace).await
        }
        ValueChange::Expire => {
            // Parents before values, as every other writer locks them.
            let parents = vec![text(account), text(owner.as_str())];
            session.execute(include_str!("sql/lock_parents.sql"), parents).await?;
            let parameters = vec![text(account), Value::Integer(at)];
            let rows = session.query(include_str!("sql/expire_values.sql"), parameters).await?;
            let mut removed: BTreeMap<String, i64> = BTreeMap::new();
            for row in rows {
                *removed.entry(Cells::new(row).text()?).or_default() += 1;
            }
            for (namespace, count) in removed {
                adjust(session, account, owner, &namespace, -count, usize::MAX).await?;
            }
            Ok(())
        }
    }
}

/// Counts children up or down in their parent's row; the parent must exist.
async fn adjust<S: Session>(
    session: &mut S,
    account: AccountId,
    kind: Kind,
    id: &str,
    difference: i64,
    max: usize,
) -> Result<(), StoreError> {
    let parameters = vec![Value::Integer(difference), text(account), text(kind.as_str()), text(id)];
    let rows = session.query(include_str!("sql/adjust_children.sql"), parameters).await?;
    let row = rows.into_iter().next().ok_or(StoreError::NotFound(kind))?;
    check_children(kind, Cells::new(row).integer()?, max)
}

async fn reset<S: Session>(session: &mut S, account: AccountId, kind: Kind, id: &str) -> Result<(), StoreError> {
    let parameters = vec![text(account), text(kind.as_str()), text(id)];
    session.execute(include_str!("sql/reset_children.sql"), parameters).await?;
    Ok(())
}
