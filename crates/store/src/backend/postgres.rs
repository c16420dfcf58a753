//! Postgres: a bounded pool, one transaction for each batch, and a connection that listens for changes.
//!
//! It runs the shared statements and adds transactions, connections and error mapping. Invariants: batches the change
//! feed tells of are serialised by an advisory lock, so sequence numbers become visible in order; a connection that was
//! given up inside a transaction is rolled back before it is used again.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{GenericClient, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{AsyncMessage, Config};
use types::{AccountId, Secret};

use super::statements::{self, Dialect, Session, StatementError, Value};
use super::tls::MakeTls;
use super::{Backend, Batch, ChangePage, ItemRow, Key, KeyScan, KvRow, Row, Scan, Written};
use crate::document::Kind;
use crate::error::{Cause, OpenError, StoreError};
use crate::feed::Chain;

/// Taken by every transaction the change feed tells of, and by migrations. The number says nothing; it must not change.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7809714135246)";
const NOTIFY: &str = "NOTIFY portunus_changes";
const LISTEN: &str = "LISTEN portunus_changes";
/// The pause before a lost listener connects again. The feed polls meanwhile.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

const MIGRATIONS: &[(i64, &str)] = &[
    (1, include_str!("sql/postgres/0001_documents.sql")),
    (2, include_str!("sql/postgres/0002_revision_of_changes.sql")),
];

pub(crate) struct Postgres {
    pool: Pool,
    listener: Mutex<JoinSet<()>>,
}

impl Postgres {
    pub(crate) async fn open(
        connection: &Secret<String>,
        connections: usize,
        deadline: Duration,
        wake: Arc<watch::Sender<u64>>,
    ) -> Result<Self, OpenError> {
        let config = configure(connection, deadline).map_err(OpenError::Database)?;
        let tls = MakeTls::from_system().map_err(|error| OpenError::Database(StoreError::Unavailable(error)))?;
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(config.clone(), tls.clone(), recycling);
        let pool = Pool::builder(manager)
            .max_size(connections)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(deadline))
            .create_timeout(Some(deadline))
            .recycle_timeout(Some(deadline))
            .build()
            .map_err(|error| OpenError::Database(StoreError::unavailable(error)))?;
        migrate(&pool).await?;
        let mut listener = JoinSet::new();
        listener.spawn(listen(config, tls, wake));
        Ok(Self { pool, listener: Mutex::new(listener) })
    }

    async fn client(&self) -> Result<Object, StoreError> {
        self.pool.get().await.map_err(StoreError::unavailable)
    }

    async fn commit_batch(&self, batch: Batch) -> Result<Vec<Written>, StoreError> {
        let mut client = self.client().await?;
        // Rolls back when it is dropped, also when the caller's deadline drops this future.
        let transaction = client.transaction().await.map_err(store_error)?;
        let told = batch.is_in_feed();
        if told {
            transaction.batch_execute(LOCK).await.map_err(store_error)?;
        }
        let written = statements::commit(&mut Connected(&transaction), batch).await?;
        if told {
            transaction.batch_execute(NOTIFY).await.map_err(store_error)?;
        }
        transaction.commit().await.map_err(store_error)?;
        Ok(written)
    }
}

macro_rules! on_a_connection {
    ($self:ident, $operation:ident($($argument:expr),*)) => {
        Box::pin(async move {
            let client = $self.client().await?;
            statements::$operation(&mut Connected(&client), $($argument),*).await
        })
    };
}

impl Backend for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Vec<Written>, StoreError>> {
        Box::pin(self.commit_batch(batch))
    }

    fn get(&self, account: AccountId, kind: Kind, key: Key) -> BoxFuture<'_, Result<Option<Row>, StoreError>> {
        on_a_connection!(self, get(account, kind, key))
    }

    fn lookup(&self, kind: Kind, lookup: String) -> BoxFuture<'_, Result<Option<Row>, StoreError>> {
        on_a_connection!(self, lookup(kind, lookup))
    }

    fn scan(&self, scan: Scan) -> BoxFuture<'_, Result<Vec<Row>, StoreError>> {
        on_a_connection!(self, scan(scan))
    }

    fn items(
        &self,
        account: AccountId,
        list: String,
        after: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ItemRow>, StoreError>> {
        on_a_connection!(self, items(account, list, after, limit))
    }

    fn item_counts(&self, account: AccountId) -> BoxFuture<'_, Result<Vec<(String, i64)>, StoreError>> {
        on_a_connection!(self, item_counts(account))
    }

    fn value(
        &self,
        account: AccountId,
        namespace: String,
        key: String,
        at: i64,
    ) -> BoxFuture<'_, Result<Option<KvRow>, StoreError>> {
        on_a_connection!(self, value(account, namespace, key, at))
    }

    fn keys(&self, scan: KeyScan) -> BoxFuture<'_, Result<Vec<KvRow>, StoreError>> {
        on_a_connection!(self, keys(scan))
    }

    fn changes(&self, after: i64, limit: usize) -> BoxFuture<'_, Result<ChangePage, StoreError>> {
        on_a_connection!(self, changes(after, limit))
    }

    fn meta(&self, key: &'static str, initial: Option<String>) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        on_a_connection!(self, meta(key, initial))
    }

    fn set_meta(&self, key: &'static str, value: String) -> BoxFuture<'_, Result<(), StoreError>> {
        on_a_connection!(self, set_meta(key, value))
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        on_a_connection!(self, ping())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let mut listener = std::mem::take(&mut *self.listener.lock());
            listener.shutdown().await;
            self.pool.close();
        })
    }
}

/// Reads the connection string and adds what it may not leave out.
fn configure(connection: &Secret<String>, deadline: Duration) -> Result<Config, StoreError> {
    // The parser's error can quote the string, which may hold a password.
    let mut config: Config = connection
        .expose()
        .parse()
        .map_err(|_| StoreError::unavailable("the Postgres connection string cannot be read"))?;
    let remote = config.get_hosts().iter().any(|host| match host {
        Host::Tcp(name) => !matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1"),
        Host::Unix(_) => false,
    });
    // The default would fall back to clear text when someone in between says so. Whoever wants that writes
    // `sslmode=disable`.
    if remote && config.get_ssl_mode() == SslMode::Prefer {
        config.ssl_mode(SslMode::Require);
    }
    if config.get_application_name().is_none() {
        config.application_name("portunus");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(deadline);
    }
    // A statement whose caller is gone must not go on holding locks.
    let timeout = format!("-c statement_timeout={0} -c lock_timeout={0}", deadline.as_millis());
    let options = config.get_options().map_or_else(|| timeout.clone(), |own| format!("{own} {timeout}"));
    config.options(options);
    Ok(config)
}

async fn migrate(pool: &Pool) -> Result<(), OpenError> {
    let database = |error: tokio_postgres::Error| OpenError::Database(store_error(error));
    let mut client = pool.get().await.map_err(|error| OpenError::Database(StoreError::unavailable(error)))?;
    let known = MIGRATIONS.last().map_or(0, |(version, _)| *version);
    for (version, sql) in MIGRATIONS {
        let failed = |source: tokio_postgres::Error| OpenError::Migration { version: *version, source: source.into() };
        let transaction = client.transaction().await.map_err(database)?;
        // Nodes that start together take turns.
        transaction.batch_execute(LOCK).await.map_err(database)?;
        transaction
            .batch_execute("CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
            .await
            .map_err(database)?;
        let mut session = Connected(&transaction);
        let found = statements::schema_version(&mut session).await.map_err(OpenError::Database)?;
        if found > known {
            return Err(OpenError::NewerSchema { found, known });
        }
        if found >= *version {
            continue;
        }
        transaction.batch_execute(sql).await.map_err(failed)?;
        statements::set_meta(&mut session, statements::SCHEMA_VERSION, version.to_string())
            .await
            .map_err(OpenError::Database)?;
        transaction.commit().await.map_err(failed)?;
    }
    Ok(())
}

/// Wakes the feeds of this process whenever any process commits; connects again for as long as the store lives.
async fn listen(config: Config, tls: MakeTls, wake: Arc<watch::Sender<u64>>) {
    loop {
        if let Err(error) = listen_once(&config, tls.clone(), &wake).await {
            tracing::debug!(error = %Chain(&error), "the connection that listens for changes ended");
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}

async fn listen_once(config: &Config, tls: MakeTls, wake: &watch::Sender<u64>) -> Result<(), tokio_postgres::Error> {
    let bump = || wake.send_modify(|count| *count = count.wrapping_add(1));
    let (client, mut connection) = config.connect(tls).await?;
    let notifications = async {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            if matches!(message?, AsyncMessage::Notification(_)) {
                bump();
            }
        }
        Ok(())
    };
    let subscription = async {
        client.batch_execute(LISTEN).await?;
        // Whatever was committed while nobody listened.
        bump();
        std::future::pending::<Result<(), tokio_postgres::Error>>().await
    };
    tokio::select! {
        ended = notifications => ended,
        failed = subscription => failed,
    }
}

/// A connection, or a transaction on one.
struct Connected<'c, C>(&'c C);

impl<C: GenericClient> Session for Connected<'_, C> {
    const DIALECT: Dialect = Dialect {
        revision: include_str!("sql/postgres/revision.sql"),
        put_items: include_str!("sql/postgres/put_items.sql"),
        count_known_items: include_str!("sql/postgres/count_known_items.sql"),
        remove_items: include_str!("sql/postgres/remove_items.sql"),
    };

    async fn query(&mut self, sql: &'static str, parameters: Vec<Value>) -> Result<Vec<Vec<Value>>, StatementError> {
        let statement = self.0.prepare_cached(sql).await.map_err(statement_error)?;
        let rows = self.0.query(&statement, &borrow(&parameters)).await.map_err(statement_error)?;
        rows.iter()
            .map(|row| (0..row.len()).map(|column| row.try_get(column).map_err(statement_error)).collect())
            .collect()
    }

    async fn execute(&mut self, sql: &'static str, parameters: Vec<Value>) -> Result<u64, StatementError> {
        let statement = self.0.prepare_cached(sql).await.map_err(statement_error)?;
        self.0.execute(&statement, &borrow(&parameters)).await.map_err(statement_error)
    }
}

fn borrow(parameters: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    parameters.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

impl ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Cause> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(number) if *ty == Type::INT8 => number.to_sql(ty, out),
            Self::Text(text) if *ty == Type::TEXT => text.to_sql(ty, out),
            Self::Bytes(bytes) if *ty == Type::BYTEA => bytes.to_sql(ty, out),
            Self::Integer(_) | Self::Text(_) | Self::Bytes(_) => Err(format!("a parameter is no {ty}").into()),
        }
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::INT8 | Type::TEXT | Type::BYTEA)
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Cause> {
        match *ty {
            Type::INT8 => i64::from_sql(ty, raw).map(Self::Integer),
            Type::BYTEA => Vec::from_sql(ty, raw).map(Self::Bytes),
            _ => String::from_sql(ty, raw).map(Self::Text),
        }
    }

    fn from_sql_null(_: &Type) -> Result<Self, Cause> {
        Ok(Self::Null)
    }

    fn accepts(ty: &Type) -> bool {
        <Self as ToSql>::accepts(ty)
    }
}

fn statement_error(error: tokio_postgres::Error) -> StatementError {
    match error.code() {
        Some(code) if *code == SqlState::UNIQUE_VIOLATION => StatementError::Unique,
        _ => StatementError::Store(store_error(error)),
    }
}

fn store_error(error: tokio_postgres::Error) -> StoreError {
    match error.code() {
        Some(code) if *code == SqlState::DISK_FULL => StoreError::DiskFull,
        Some(code) if *code == SqlState::QUERY_CANCELED || *code == SqlState::LOCK_NOT_AVAILABLE => {
            StoreError::TimedOut
        }
        _ => StoreError::unavailable(error),
    }
}
