//! A journal in a temporary directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use logs::{GatewayHttp, Logs, LogsConfig, OpenError};
use types::AccountId;
use uuid::Uuid;

/// A day in 2027.
pub(crate) const START: i64 = 1_800_000_000;

#[derive(Clone)]
pub(crate) struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(START)))
    }

    pub(crate) fn advance(&self, duration: Duration) {
        self.0.fetch_add(duration.as_secs() as i64, Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

pub(crate) fn config(clock: &TestClock) -> LogsConfig {
    let clock = clock.clone();
    LogsConfig {
        clock: Arc::new(move || clock.now()),
        append_deadline: Duration::from_secs(60),
        ..LogsConfig::default()
    }
}

pub(crate) async fn open(directory: &Path) -> Logs {
    open_with(directory, config(&TestClock::new())).await.unwrap()
}

/// Opens a journal; its lake is in a bucket when the suite for buckets runs.
pub(crate) async fn open_with(directory: &Path, config: LogsConfig) -> Result<Logs, OpenError> {
    let bucket = crate::store::of_suite(directory).map(|(bucket, _)| bucket);
    Logs::open(directory, LogsConfig { bucket, ..config }).await
}

pub(crate) fn in_bucket(directory: &Path) -> bool {
    crate::store::of_suite(directory).is_some()
}

/// Returns where the files of a lake are.
pub(crate) fn lake(directory: &Path) -> PathBuf {
    crate::store::of_suite(directory).map_or_else(|| directory.join("lake"), |(_, files)| files)
}

pub(crate) fn account(number: u128) -> AccountId {
    AccountId(Uuid::from_u128(number))
}

/// A web request of the first account, `second` seconds after the start.
pub(crate) fn request(second: i64, action: &str) -> GatewayHttp {
    GatewayHttp {
        id: Uuid::now_v7(),
        datetime: Timestamp::from_second(START + second).unwrap(),
        account_id: account(1).to_string(),
        action: action.to_owned(),
        http_host: format!("host-{second}.example"),
        ..GatewayHttp::default()
    }
}

pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test);
}
