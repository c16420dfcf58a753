//! A store on some backend with a clock the test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use store::{Grant, KeySource, Limits, Location, Principal, Scope, Store, StoreConfig};
use types::{AccountId, Secret};
use uuid::Uuid;

use crate::server::Server;

pub(crate) struct Fixture {
    pub store: Store,
    pub clock: TestClock,
    // Dropped after the store.
    _directory: Option<tempfile::TempDir>,
    _server: Option<Server>,
}

/// Starts on a fixed day and stands still until it is moved.
#[derive(Clone)]
pub(crate) struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_800_000_000)))
    }

    pub(crate) fn advance(&self, duration: Duration) {
        self.0.fetch_add(duration.as_secs() as i64, Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

impl Fixture {
    pub(crate) async fn memory() -> Self {
        Self::open(Location::Memory, None, None).await
    }

    pub(crate) async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("portunus.db");
        Self::open(Location::Sqlite(path), Some(directory), None).await
    }

    pub(crate) async fn postgres() -> Self {
        let server = Server::start();
        let location = Location::Postgres(Secret::new(server.connection()));
        Self::open(location, None, Some(server)).await
    }

    async fn open(location: Location, directory: Option<tempfile::TempDir>, server: Option<Server>) -> Self {
        let clock = TestClock::new();
        let store = Store::open(config(location, &clock)).await.unwrap();
        Self { store, clock, _directory: directory, _server: server }
    }
}

/// Small bounds, so that reaching them is quick, and a generous deadline, so that a busy machine is no failure.
pub(crate) fn config(location: Location, clock: &TestClock) -> StoreConfig {
    let clock = clock.clone();
    StoreConfig {
        limits: Limits { list_items: 100_100, kv_value_bytes: 1_000, kv_keys: 50 },
        clock: Arc::new(move || clock.now()),
        deadline: Duration::from_secs(60),
        poll_interval: Duration::from_millis(100),
        ..StoreConfig::new(location, KeySource::Ephemeral)
    }
}

pub(crate) fn account(number: u128) -> AccountId {
    AccountId(Uuid::from_u128(number))
}

/// A grant of scope `S` in the first account.
pub(crate) fn grant<S: Scope>() -> Grant<S> {
    grant_in(1)
}

pub(crate) fn grant_in<S: Scope>(number: u128) -> Grant<S> {
    Principal::system("test").authorize(account(number)).unwrap()
}

/// Runs a test on a runtime of its own.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test);
}

/// Runs each case on each backend.
macro_rules! store_suite {
    ($($case:ident,)*) => {
        store_suite!(@backend memory [$($case)*]);
        store_suite!(@backend sqlite [$($case)*]);
        store_suite!(@backend postgres [$($case)*]);
    };
    (@backend $backend:ident [$($case:ident)*]) => {
        mod $backend {
            $(#[test]
            fn $case() {
                super::run(async { super::$case(&super::Fixture::$backend().await).await });
            })*
        }
    };
}
pub(crate) use store_suite;
