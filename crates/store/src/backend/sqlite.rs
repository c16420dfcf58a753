//! SQLite: one thread that writes, a few that read, each with its own connection and a bounded queue.
//!
//! Write-ahead log with `synchronous = FULL`: a commit that returned is on the disk. Writes that wait at the same time share
//! one commit, each in a savepoint of its own unless it needs none. It runs the shared statements and adds transactions, threads and error
//! mapping. Invariants: every write goes through the one writer, so sequence numbers become visible in order; a write is
//! answered after its commit; one that fails takes nothing of the others back; a full queue is an error and never a wait
//! without end.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::{Condvar, Mutex};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql, TransactionBehavior};
use tokio::sync::oneshot;
use types::AccountId;

use super::statements::{self, Dialect, Session, StatementError, Value};
use super::{Backend, Batch, ChangePage, ItemRow, Key, KeyScan, KvRow, Row, Scan, Written};
use crate::document::Kind;
use crate::error::{OpenError, StoreError};

/// How many operations may wait for each group of threads.
const QUEUE: usize = 1_024;
/// How many writes share one commit.
const GROUP: usize = 64;
/// How long a connection waits for another process that holds the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const MIGRATIONS: &[(i64, &str)] =
    &[(1, include_str!("sql/sqlite/0001_documents.sql")), (2, include_str!("sql/sqlite/0002_revision_of_changes.sql"))];

pub(crate) struct Sqlite {
    writer: Threads,
    /// `None` in memory, where a second connection would be a second database.
    readers: Option<Threads>,
}

impl Sqlite {
    /// Opens the file at `path`, or a database in memory.
    pub(crate) async fn open(path: Option<PathBuf>, readers: usize) -> Result<Self, OpenError> {
        // Opening reads and may recover a log: not for a thread of the runtime.
        let opened = tokio::task::spawn_blocking(move || Self::open_blocking(path.as_deref(), readers)).await;
        opened.unwrap_or_else(|error| Err(OpenError::Database(StoreError::unavailable(error))))
    }

    fn open_blocking(path: Option<&Path>, readers: usize) -> Result<Self, OpenError> {
        let database = |error: rusqlite::Error| OpenError::Database(store_error(error));
        let threads = |error: std::io::Error| OpenError::Database(StoreError::unavailable(error));
        let Some(path) = path else {
            let mut connection = Connection::open_in_memory().map_err(database)?;
            configure(&connection).map_err(database)?;
            migrate(&mut connection)?;
            return Ok(Self {
                writer: Threads::start("store", vec![connection], GROUP).map_err(threads)?,
                readers: None,
            });
        };
        create_private(path).map_err(threads)?;
        let mut writer = connect(path).map_err(database)?;
        // Checked once: the mode is kept in the file.
        writer.pragma_update(None, "journal_mode", "wal").map_err(database)?;
        migrate(&mut writer)?;
        let connections = (0..readers)
            .map(|_| {
                let connection = connect(path)?;
                connection.pragma_update(None, "query_only", true)?;
                Ok(connection)
            })
            .collect::<Result<Vec<_>, rusqlite::Error>>()
            .map_err(database)?;
        Ok(Self {
            writer: Threads::start("store-write", vec![writer], GROUP).map_err(threads)?,
            readers: Some(Threads::start("store-read", connections, 1).map_err(threads)?),
        })
    }

    /// Runs `operation` on a reading connection.
    fn read<T, F>(&self, operation: F) -> BoxFuture<'_, Result<T, StoreError>>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connected<'_>) -> Option<Result<T, StoreError>> + Send + 'static,
    {
        let operation = move |connection: &Connection| ready(operation, &mut Connected(connection));
        self.readers.as_ref().unwrap_or(&self.writer).run(Use::Read, operation)
    }

    /// Runs `operation` in a transaction of the writing connection.
    fn write<T, F>(&self, at_once: bool, operation: F) -> BoxFuture<'_, Result<T, StoreError>>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connected<'_>) -> Option<Result<T, StoreError>> + Send + 'static,
    {
        let how = if at_once { Use::WriteAtOnce } else { Use::Write };
        self.writer.run(how, move |connection| ready(operation, &mut Connected(connection)))
    }
}

/// The shared operations are futures for the sake of Postgres; on SQLite each of them is ready at once.
fn ready<T, F>(operation: F, session: &mut Connected<'_>) -> Result<T, StoreError>
where
    F: FnOnce(&mut Connected<'_>) -> Option<Result<T, StoreError>>,
{
    operation(session).unwrap_or_else(|| Err(StoreError::unavailable("an operation on SQLite was not ready")))
}

impl Backend for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Vec<Written>, StoreError>> {
        self.write(batch.is_at_once(), move |session| statements::commit(session, batch).now_or_never())
    }

    fn get(&self, account: AccountId, kind: Kind, key: Key) -> BoxFuture<'_, Result<Option<Row>, StoreError>> {
        self.read(move |session| statements::get(session, account, kind, key).now_or_never())
    }

    fn lookup(&self, kind: Kind, lookup: String) -> BoxFuture<'_, Result<Option<Row>, StoreError>> {
        self.read(move |session| statements::lookup(session, kind, lookup).now_or_never())
    }

    fn scan(&self, scan: Scan) -> BoxFuture<'_, Result<Vec<Row>, StoreError>> {
        self.read(move |session| statements::scan(session, scan).now_or_never())
    }

    fn items(
        &self,
        account: AccountId,
        list: String,
        after: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ItemRow>, StoreError>> {
        self.read(move |session| statements::items(session, account, list, after, limit).now_or_never())
    }

    fn item_counts(&self, account: AccountId) -> BoxFuture<'_, Result<Vec<(String, i64)>, StoreError>> {
        self.read(move |session| statements::item_counts(session, account).now_or_never())
    }

    fn value(
        &self,
        account: AccountId,
        namespace: String,
        key: String,
        at: i64,
    ) -> BoxFuture<'_, Result<Option<KvRow>, StoreError>> {
        self.read(move |session| statements::value(session, account, namespace, key, at).now_or_never())
    }

    fn keys(&self, scan: KeyScan) -> BoxFuture<'_, Result<Vec<KvRow>, StoreError>> {
        self.read(move |session| statements::keys(session, scan).now_or_never())
    }

    fn changes(&self, after: i64, limit: usize) -> BoxFuture<'_, Result<ChangePage, StoreError>> {
        self.read(move |session| statements::changes(session, after, limit).now_or_never())
    }

    fn meta(&self, key: &'static str, initial: Option<String>) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        self.write(false, move |session| statements::meta(session, key, initial).now_or_never())
    }

    fn set_meta(&self, key: &'static str, value: String) -> BoxFuture<'_, Result<(), StoreError>> {
        self.write(false, move |session| statements::set_meta(session, key, value).now_or_never())
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.read(move |session| statements::ping(session).now_or_never())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(readers) = &self.readers {
                readers.close().await;
            }
            // Last: the last connection to close folds the log into the file.
            self.writer.close().await;
        })
    }
}

/// A connection, or a transaction on one.
struct Connected<'c>(&'c Connection);

impl Session for Connected<'_> {
    const DIALECT: Dialect = Dialect {
        revision: include_str!("sql/sqlite/revision.sql"),
        put_items: include_str!("sql/sqlite/put_items.sql"),
        count_known_items: include_str!("sql/sqlite/count_known_items.sql"),
        remove_items: include_str!("sql/sqlite/remove_items.sql"),
    };

    fn query(
        &mut self,
        sql: &'static str,
        parameters: Vec<Value>,
    ) -> impl Future<Output = Result<Vec<Vec<Value>>, StatementError>> + Send {
        std::future::ready(query(self.0, sql, &parameters).map_err(statement_error))
    }

    fn execute(
        &mut self,
        sql: &'static str,
        parameters: Vec<Value>,
    ) -> impl Future<Output = Result<u64, StatementError>> + Send {
        let run = || {
            let changed = self.0.prepare_cached(sql)?.execute(rusqlite::params_from_iter(&parameters))?;
            Ok(u64::try_from(changed).unwrap_or(u64::MAX))
        };
        std::future::ready(run().map_err(statement_error))
    }
}

fn query(connection: &Connection, sql: &str, parameters: &[Value]) -> rusqlite::Result<Vec<Vec<Value>>> {
    let mut statement = connection.prepare_cached(sql)?;
    let columns = statement.column_count();
    let mut rows = statement.query(rusqlite::params_from_iter(parameters))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((0..columns).map(|column| Ok(cell(row.get_ref(column)?))).collect::<rusqlite::Result<_>>()?);
    }
    Ok(found)
}

fn cell(value: ValueRef<'_>) -> Value {
    match value {
        // The schema has no real numbers.
        ValueRef::Null | ValueRef::Real(_) => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // No URI names: a path is a path, whatever it contains.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    configure(&connection)?;
    Ok(connection)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // 4 MiB for each connection.
    connection.pragma_update(None, "cache_size", -4096)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Creates the file readable by its owner alone; SQLite gives its log the same mode.
fn create_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path).map(|_| ())
}

fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    let database = |error: rusqlite::Error| OpenError::Database(store_error(error));
    connection
        .execute_batch("CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT")
        .map_err(database)?;
    let known = MIGRATIONS.last().map_or(0, |(version, _)| *version);
    for (version, sql) in MIGRATIONS {
        let failed = |source: rusqlite::Error| OpenError::Migration { version: *version, source: Box::new(source) };
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(database)?;
        // Read inside the transaction: another process may be starting on the same file.
        let found = ready(|session| statements::schema_version(session).now_or_never(), &mut Connected(&transaction))
            .map_err(OpenError::Database)?;
        if found > known {
            return Err(OpenError::NewerSchema { found, known });
        }
        if found >= *version {
            continue;
        }
        transaction.execute_batch(sql).map_err(failed)?;
        let record = |session: &mut Connected<'_>| {
            statements::set_meta(session, statements::SCHEMA_VERSION, version.to_string()).now_or_never()
        };
        ready(record, &mut Connected(&transaction)).map_err(OpenError::Database)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}

fn statement_error(error: rusqlite::Error) -> StatementError {
    match error.sqlite_error() {
        Some(cause)
            if matches!(
                cause.extended_code,
                rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE | rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY
            ) =>
        {
            StatementError::Unique
        }
        _ => StatementError::Store(store_error(error)),
    }
}

fn store_error(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::DiskFull,
        _ => StoreError::unavailable(error),
    }
}

/// How an operation uses its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Read,
    /// In a transaction.
    Write,
    /// In a transaction, and without a trace where it fails, as long as the database itself does not.
    WriteAtOnce,
}

/// One operation on a connection, and who waits for it.
trait Job: Send {
    fn how(&self) -> Use;

    /// Does it, if anybody still waits; reports whether what it wrote is to stay.
    fn run(&mut self, connection: &Connection) -> bool;

    /// Tells its outcome, or why it did not come to one that lasts.
    fn answer(self: Box<Self>, kept: Result<(), StoreError>);
}

struct Waited<T, F> {
    how: Use,
    operation: Option<F>,
    outcome: Option<Result<T, StoreError>>,
    answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Waited<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T, StoreError> + Send,
{
    fn how(&self) -> Use {
        self.how
    }

    fn run(&mut self, connection: &Connection) -> bool {
        // Nobody waits any more: a read is pointless, and a write its caller gave up on must not happen late.
        if self.answer.is_closed() {
            return false;
        }
        let outcome = self.operation.take().map(|operation| operation(connection));
        let stays = matches!(outcome, Some(Ok(_)));
        self.outcome = outcome;
        stays
    }

    fn answer(self: Box<Self>, kept: Result<(), StoreError>) {
        let told = match (self.outcome, kept) {
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (Some(Ok(done)), Ok(())) => Ok(done),
            (None, Ok(())) => return,
        };
        // Who gave up meanwhile is not told.
        let _ = self.answer.send(told);
    }
}

/// The same error once more, for everybody whom it stopped.
fn again(error: &StoreError) -> StoreError {
    if matches!(error, StoreError::DiskFull) { StoreError::DiskFull } else { StoreError::unavailable(chain(error)) }
}

fn chain(error: &StoreError) -> String {
    use std::error::Error as _;
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Runs what was taken from the queue: writes that follow each other in one transaction.
fn work(connection: &mut Connection, jobs: VecDeque<Box<dyn Job>>) {
    let mut writes = VecDeque::new();
    for mut job in jobs {
        if job.how() != Use::Read {
            writes.push_back(job);
            continue;
        }
        while !writes.is_empty() {
            commit_group(connection, &mut writes);
        }
        job.run(connection);
        job.answer(Ok(()));
    }
    while !writes.is_empty() {
        commit_group(connection, &mut writes);
    }
}

/// Runs the writes in one transaction and answers them once it is on the disk. Where an error ended the transaction itself,
/// those that had run are told so, and those that had not are left.
fn commit_group(connection: &Connection, writes: &mut VecDeque<Box<dyn Job>>) {
    let mut done = Vec::with_capacity(writes.len());
    let outcome = (|| {
        // Immediate: what was read inside the transaction still holds when it is written.
        execute(connection, "BEGIN IMMEDIATE").map_err(store_error)?;
        let alone = writes.len() == 1;
        while let Some(mut job) = writes.pop_front() {
            let (at_once, before) = (job.how() == Use::WriteAtOnce, connection.total_changes());
            let stays = in_savepoint(connection, alone || at_once, || job.run(connection));
            done.push(job);
            if connection.is_autocommit() {
                return Err(StoreError::unavailable("an error of the database ended the transaction"));
            }
            match stays {
                // Nothing to keep, and nobody else in it.
                Ok(false) if alone => return execute(connection, "ROLLBACK").map_err(store_error),
                Ok(false) if at_once && connection.total_changes() != before => {
                    return Err(StoreError::unavailable("an error of the database stopped a write half way"));
                }
                Ok(_) => {}
                Err(error) => return Err(store_error(error)),
            }
        }
        execute(connection, "COMMIT").map_err(store_error)
    })();
    if outcome.is_err() {
        if !connection.is_autocommit()
            && let Err(error) = execute(connection, "ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be taken back");
        }
        // It did not even begin, so none of them can.
        if done.is_empty() {
            done.extend(writes.drain(..));
        }
    }
    for job in done {
        job.answer(outcome.as_ref().copied().map_err(again));
    }
}

/// Runs one write of several so that it can be taken back alone, unless it need not be; returns whether it stays.
fn in_savepoint(connection: &Connection, bare: bool, run: impl FnOnce() -> bool) -> rusqlite::Result<bool> {
    if bare {
        return Ok(run());
    }
    execute(connection, "SAVEPOINT one")?;
    let stays = run();
    if !connection.is_autocommit() {
        if !stays {
            execute(connection, "ROLLBACK TO one")?;
        }
        execute(connection, "RELEASE one")?;
    }
    Ok(stays)
}

fn execute(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute(()).map(|_| ())
}

/// Threads that share one bounded queue, each with its own connection.
struct Threads {
    queue: Arc<Queue>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Box<dyn Job>>,
    closed: bool,
}

impl Threads {
    fn start(name: &str, connections: Vec<Connection>, at_once: usize) -> std::io::Result<Self> {
        let threads = Self { queue: Arc::default(), handles: Mutex::default() };
        for mut connection in connections {
            let queue = Arc::clone(&threads.queue);
            let handle = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
                while let Some(jobs) = queue.take(at_once) {
                    work(&mut connection, jobs);
                }
            })?;
            threads.handles.lock().push(handle);
        }
        Ok(threads)
    }

    fn run<T, F>(&self, how: Use, operation: F) -> BoxFuture<'_, Result<T, StoreError>>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            self.queue.put(Box::new(Waited { how, operation: Some(operation), outcome: None, answer }))?;
            answered.await.unwrap_or_else(|_| Err(StoreError::unavailable("the database thread ended")))
        })
    }

    async fn close(&self) {
        self.queue.close();
        let handles = std::mem::take(&mut *self.handles.lock());
        // Joining waits for the jobs that are queued: not on a thread of the runtime.
        let joined = tokio::task::spawn_blocking(move || handles.into_iter().all(|handle| handle.join().is_ok()));
        if !joined.await.unwrap_or(false) {
            tracing::error!("a database thread ended by a panic");
        }
    }
}

impl Drop for Threads {
    /// Lets the threads end after what is queued; [`Threads::close`] also waits for them.
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Queue {
    fn put(&self, job: Box<dyn Job>) -> Result<(), StoreError> {
        let mut waiting = self.state.lock();
        if waiting.closed {
            return Err(StoreError::unavailable("the store is closed"));
        }
        if waiting.jobs.len() >= QUEUE {
            return Err(StoreError::unavailable("too many operations wait for the database"));
        }
        waiting.jobs.push_back(job);
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for jobs and takes at most so many.
    fn take(&self, at_once: usize) -> Option<VecDeque<Box<dyn Job>>> {
        let mut waiting = self.state.lock();
        loop {
            if !waiting.jobs.is_empty() {
                let count = waiting.jobs.len().min(at_once);
                return Some(waiting.jobs.drain(..count).collect());
            }
            if waiting.closed {
                return None;
            }
            self.changed.wait(&mut waiting);
        }
    }

    fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use types::AccountId;
    use uuid::Uuid;

    use super::Sqlite;
    use crate::backend::{Backend as _, Batch, Expect, Put, Write};
    use crate::document::Kind;
    use crate::error::StoreError;

    fn batch(id: &str, size: usize) -> Batch {
        let put = Put {
            kind: Kind::Rule,
            id: id.to_owned(),
            name: None,
            lookup: None,
            parent: None,
            position: 0,
            schema_version: 1,
            body: "x".repeat(size),
            expect: Expect::Absent,
        };
        Batch { account: AccountId(Uuid::nil()), at: 0, writes: vec![Write::Put(put)], bounds: Vec::new() }
    }

    async fn limit_pages(store: &Sqlite, pages: i64) {
        let limit = move |session: &mut super::Connected<'_>| {
            let limited = session.0.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()));
            std::future::ready(limited.map_err(super::store_error)).now_or_never()
        };
        let limit = move |connection: &_| super::ready(limit, &mut super::Connected(connection));
        store.writer.run(super::Use::Read, limit).await.unwrap();
    }

    #[tokio::test]
    async fn a_full_disk_is_said_so_writes_nothing_and_passes() {
        let directory = tempfile::tempdir().unwrap();
        let store = Sqlite::open(Some(directory.path().join("db")), 1).await.unwrap();
        store.commit(batch("before", 10)).await.unwrap();
        // SQLite reports a file that may not grow exactly as it reports a full disk.
        limit_pages(&store, 40).await;
        let full = store.commit(batch("large", 1_000_000)).await.unwrap_err();
        assert!(matches!(full, StoreError::DiskFull), "{full:?}");
        limit_pages(&store, 1_000_000).await;
        store.commit(batch("large", 1_000_000)).await.unwrap();
        store.close().await;
    }

    /// Puts jobs into one group, which cannot be had from outside at will, and returns their answers.
    fn in_one_group<const N: usize>(
        how: super::Use,
        jobs: [(&'static str, Result<(), StoreError>); N],
    ) -> ([Result<(), StoreError>; N], Vec<String>) {
        let mut connection = rusqlite::Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (name TEXT PRIMARY KEY) STRICT").unwrap();
        let mut waiting = std::collections::VecDeque::new();
        let answers = jobs.map(|(sql, outcome)| {
            let (answer, answered) = tokio::sync::oneshot::channel();
            let operation = move |connection: &rusqlite::Connection| {
                connection.execute_batch(sql).map_err(super::store_error)?;
                outcome
            };
            let job = super::Waited { how, operation: Some(operation), outcome: None, answer };
            waiting.push_back(Box::new(job) as Box<dyn super::Job>);
            answered
        });
        super::work(&mut connection, waiting);
        let names = connection.prepare("SELECT name FROM t ORDER BY name").unwrap();
        let mut names = names;
        let names = names.query_map((), |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        (answers.map(|mut answer| answer.try_recv().unwrap()), names)
    }

    #[test]
    fn a_write_that_fails_takes_only_itself_back() {
        let (answers, names) = in_one_group(
            super::Use::Write,
            [
                ("INSERT INTO t VALUES ('a')", Ok(())),
                ("INSERT INTO t VALUES ('b')", Err(StoreError::NotFound(Kind::Rule))),
                ("INSERT INTO t VALUES ('c'); INSERT INTO t VALUES ('a')", Ok(())),
                ("INSERT INTO t VALUES ('d')", Ok(())),
            ],
        );
        assert!(matches!(
            answers,
            [Ok(()), Err(StoreError::NotFound(Kind::Rule)), Err(StoreError::Unavailable(_)), Ok(())]
        ));
        assert_eq!(names, ["a", "d"]);
    }

    #[test]
    fn a_write_at_once_fails_alone_and_one_that_stops_half_way_takes_those_before_it_along() {
        let (answers, names) = in_one_group(
            super::Use::WriteAtOnce,
            [
                ("INSERT INTO t VALUES ('a')", Ok(())),
                ("UPDATE t SET name = 'b' WHERE name = 'x'", Err(StoreError::Stale(Kind::OauthGrant))),
                ("INSERT INTO t VALUES ('c')", Ok(())),
            ],
        );
        assert!(matches!(answers, [Ok(()), Err(StoreError::Stale(_)), Ok(())]));
        assert_eq!(names, ["a", "c"]);
        let (answers, names) = in_one_group(
            super::Use::WriteAtOnce,
            [
                ("INSERT INTO t VALUES ('a')", Ok(())),
                ("INSERT INTO t VALUES ('b')", Err(StoreError::DiskFull)),
                ("INSERT INTO t VALUES ('c')", Ok(())),
            ],
        );
        assert!(matches!(answers, [Err(StoreError::Unavailable(_)), Err(StoreError::DiskFull), Ok(())]));
        assert_eq!(names, ["c"]);
    }

    #[test]
    fn who_shared_a_transaction_that_ended_is_told_and_the_rest_are_done() {
        let (answers, names) = in_one_group(
            super::Use::Write,
            [
                ("INSERT INTO t VALUES ('a')", Ok(())),
                ("INSERT INTO t VALUES ('b'); ROLLBACK", Err(StoreError::DiskFull)),
                ("INSERT INTO t VALUES ('c')", Ok(())),
                ("INSERT INTO t VALUES ('d')", Ok(())),
            ],
        );
        assert!(matches!(answers, [Err(StoreError::Unavailable(_)), Err(StoreError::DiskFull), Ok(()), Ok(())]));
        assert_eq!(names, ["c", "d"]);
    }

    #[tokio::test]
    async fn writes_that_wait_together_all_last() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("db");
        let store = Sqlite::open(Some(path.clone()), 1).await.unwrap();
        let names: Vec<String> = (0..200).map(|number| format!("rule {number}")).collect();
        // Every second one twice: the second is refused, and takes nothing with it.
        let twice = names.iter().chain(names.iter().step_by(2));
        let written = futures_util::future::join_all(twice.map(|name| store.commit(batch(name, 10)))).await;
        assert_eq!(written.iter().filter(|written| written.is_ok()).count(), 200);
        store.close().await;
        let store = Sqlite::open(Some(path), 1).await.unwrap();
        for name in names {
            let found = store.get(AccountId(Uuid::nil()), Kind::Rule, crate::backend::Key::Id(name.clone())).await;
            assert!(found.unwrap().is_some(), "{name}");
        }
        store.close().await;
    }
}
