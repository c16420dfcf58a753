//! The lake in a bucket: its promises hold there, for several nodes, and whatever the store does.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use logs::{Dataset, Logs, LogsConfig, MAX_LIMIT, OpenError, Query, QueryError};
use uuid::Uuid;

use crate::fixture::{START, TestClock, account, config, request, run};
use crate::store::{self, Oddity, Store};

/// Tells the other tests that the lake is in a bucket of this store.
pub(crate) const SUITE: &str = "PORTUNUS_TEST_BUCKET";

/// Runs the tests of the lake again, over a store.
#[test]
fn the_lakes_promises_hold_in_a_bucket() {
    if store::serve_if_told() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let store = Store::start(root.path());
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["lake::", "crash::", "erase::", "retention::", "sql::queries", "usage::", "--test-threads", "4"])
        .env(SUITE, store::suite(&store))
        .output()
        .unwrap();
    let (out, error) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{out}\n{error}");
    assert!(out.contains("lake::a_checkpoint_stands_for_the_commits_before_it ... ok"), "{out}");
}

fn in_bucket(store: &Store, prefix: &str) -> LogsConfig {
    LogsConfig { bucket: Some(store.bucket(prefix)), ..config(&TestClock::new()) }
}

async fn ids(logs: &Logs) -> Vec<Uuid> {
    look(logs).await.unwrap()
}

async fn look(logs: &Logs) -> Result<Vec<Uuid>, QueryError> {
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let query = Query { limit: MAX_LIMIT, before, ..Query::newest(account(1), Dataset::GatewayHttp) };
        let page = logs.query(query).await?;
        found.extend(page.entries.iter().map(|entry| entry.id));
        before = page.next;
        if before.is_none() {
            found.sort_unstable();
            return Ok(found);
        }
    }
}

async fn append(logs: &Logs, seconds: std::ops::Range<i64>, expected: &mut BTreeSet<Uuid>) {
    append_at(logs, Timestamp::from_second(START).unwrap(), seconds, expected).await;
}

async fn append_at(logs: &Logs, start: Timestamp, seconds: std::ops::Range<i64>, expected: &mut BTreeSet<Uuid>) {
    for second in seconds {
        let mut record = request(second, "allow");
        record.datetime = start + jiff::SignedDuration::from_secs(second);
        expected.insert(record.id);
        logs.append(record).await.unwrap();
    }
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap();
}

#[test]
fn two_nodes_share_a_bucket_and_find_what_the_other_wrote() {
    run(async {
        let root = tempfile::tempdir().unwrap();
        let store = Store::start(root.path());
        let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        // The store's time is the real one, and says how old files are that nobody names yet.
        let ahead = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&ahead);
        let clock = move || Timestamp::now() + Duration::from_secs(clock.load(Ordering::SeqCst));
        let shared = LogsConfig { bucket: Some(store.bucket("two")), clock: Arc::new(clock), ..LogsConfig::default() };
        let first = Logs::open(homes[0].path(), shared.clone()).await.unwrap();
        let second = Logs::open(homes[1].path(), shared).await.unwrap();
        let mut expected = BTreeSet::new();
        // Neither knew the table when it started; both commit at the same time and merge the same files.
        for round in 0..10 {
            append_at(&first, Timestamp::now(), 0..10, &mut expected).await;
            append_at(&second, Timestamp::now(), 0..10, &mut expected).await;
            // An hour goes by faster here than one node looks at what the other did: a file may be gone that it still knows.
            let settled = async |logs: &Logs| until(async || logs.settle().await.is_ok()).await;
            tokio::join!(settled(&first), settled(&second));
            if round == 6 {
                ahead.store(3_600 + 600, Ordering::SeqCst);
            }
        }
        let expected: Vec<_> = expected.into_iter().collect();
        for logs in [&first, &second] {
            until(async || look(logs).await.is_ok_and(|found| found == expected)).await;
        }
        for logs in [first, second] {
            assert_eq!(logs.health().lake_failing, None);
            logs.shutdown().await;
        }
    });
}

#[test]
fn a_store_that_is_away_keeps_records_in_the_journal_until_it_is_back() {
    run(async {
        let (root, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = Store::start(root.path());
        let logs = Logs::open(home.path(), in_bucket(&store, "away")).await.unwrap();
        let mut expected = BTreeSet::new();
        append(&logs, 0..10, &mut expected).await;
        logs.settle().await.unwrap();
        let (path, address) = store.kill();
        append(&logs, 10..20, &mut expected).await;
        let refused = logs.settle().await.unwrap_err().to_string();
        assert!(refused.contains("does not answer"), "{refused}");
        assert!(logs.health().lake_failing.unwrap().contains(&address));
        assert!(logs.health().failing.is_none(), "the journal is written");
        let store = Store::start_odd(&path, Oddity::None, &address);
        let expected: Vec<_> = expected.into_iter().collect();
        until(async || logs.health().lake_failing.is_none()).await;
        assert_eq!(ids(&logs).await, expected);
        logs.shutdown().await;
        drop(logs);
        // Away at the start, too: what is appended meanwhile is kept.
        let settings = in_bucket(&store, "away");
        let (path, address) = store.kill();
        let logs = Logs::open(home.path(), settings).await.unwrap();
        let mut more: BTreeSet<_> = expected.into_iter().collect();
        append(&logs, 20..30, &mut more).await;
        let _store = Store::start_odd(&path, Oddity::None, &address);
        until(async || logs.settle().await.is_ok()).await;
        assert_eq!(ids(&logs).await, more.into_iter().collect::<Vec<_>>());
        logs.shutdown().await;
    });
}

/// The client asks again when an answer does not come, and is told that the commit exists: its own.
#[test]
fn an_answer_that_is_lost_doubles_nothing_and_loses_nothing() {
    run(async {
        let (root, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (path, address) = Store::start(root.path()).kill();
        let clock = TestClock::new();
        let mut expected = BTreeSet::new();
        // Of the first commit the answer is lost; then of a merge, which is the first thing that the second start does.
        for round in 0..2 {
            let store = Store::start_odd(&path, Oddity::LosesAnswers, &address);
            let settings = LogsConfig { bucket: Some(store.bucket("lost")), ..config(&clock) };
            let logs = Logs::open(home.path(), settings).await.unwrap();
            if round == 0 {
                for second in 0..4 {
                    append(&logs, second * 10..second * 10 + 10, &mut expected).await;
                    logs.settle().await.unwrap();
                }
            } else {
                clock.advance(Duration::from_secs(3_600 + 600));
            }
            logs.settle().await.unwrap();
            assert_eq!(ids(&logs).await, expected.iter().copied().collect::<Vec<_>>(), "round {round}");
            clock.advance(Duration::from_secs(1_200));
            logs.settle().await.unwrap();
            assert_eq!(ids(&logs).await, expected.iter().copied().collect::<Vec<_>>(), "round {round}, tidied");
            logs.shutdown().await;
        }
    });
}

#[test]
fn a_store_that_refuses_is_told_of_with_what_to_do() {
    run(async {
        let root = tempfile::tempdir().unwrap();
        let store = Store::start(root.path());
        let odd_root = tempfile::tempdir().unwrap();
        let odd = Store::start_odd(odd_root.path(), Oddity::Unconditional, "127.0.0.1:0");
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        for (bucket, says) in [
            (store::bucket(&odd.address, "none", "x", store::SECRET), "there is no bucket \"none\""),
            (store::bucket(&store.address, store::BUCKET, "x", "wrong"), "does not know these credentials"),
            (store::bucket(&nobody, store::BUCKET, "x", store::SECRET), "does not answer (no connection)"),
            (odd.bucket("x"), "does not honour If-None-Match"),
        ] {
            let home = tempfile::tempdir().unwrap();
            let settings = LogsConfig { bucket: Some(bucket), ..config(&TestClock::new()) };
            let logs = Logs::open(home.path(), settings).await.unwrap();
            let mut expected = BTreeSet::new();
            append(&logs, 0..3, &mut expected).await;
            until(async || logs.health().lake_failing.is_some()).await;
            let said = logs.health().lake_failing.unwrap();
            assert!(said.contains(says), "{said}");
            assert!(!said.contains(store::SECRET), "{said}");
            logs.shutdown().await;
        }
    });
}

#[test]
fn a_lake_in_the_directory_is_moved_and_never_hidden() {
    run(async {
        let (root, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = Store::start(root.path());
        let shared = in_bucket(&store, "moved");
        let plain = config(&TestClock::new());
        let mut expected = BTreeSet::new();
        let logs = Logs::open(home.path(), plain.clone()).await.unwrap();
        for second in 0..3 {
            append(&logs, second * 10..second * 10 + 10, &mut expected).await;
            logs.settle().await.unwrap();
        }
        append(&logs, 30..40, &mut expected).await;
        let bucket = store.bucket("moved");
        let now = Timestamp::now();
        let in_use = Logs::move_lake(home.path(), &bucket, now, |_| ()).await.unwrap_err();
        assert!(in_use.to_string().contains("in use by another process"), "{in_use}");
        logs.shutdown().await;
        drop(logs);
        let refused = Logs::open(home.path(), shared.clone()).await.unwrap_err();
        assert!(matches!(&refused, OpenError::Unmoved { .. }), "{refused}");

        // Another node has records there already.
        let other = tempfile::tempdir().unwrap();
        let logs = Logs::open(other.path(), shared.clone()).await.unwrap();
        append(&logs, 50..60, &mut expected).await;
        logs.settle().await.unwrap();
        logs.shutdown().await;
        drop(logs);

        let backup = tempfile::tempdir().unwrap();
        copy(&home.path().join("lake"), backup.path());
        let mut told = Vec::new();
        let moved = Logs::move_lake(home.path(), &bucket, now, |moved| told.push(moved)).await.unwrap();
        assert_eq!((moved.tables, moved.files, moved.rows), (1, 3, 30));
        assert_eq!(told, [moved]);
        // As if it had been cut off before the directory was deleted.
        copy(backup.path(), &home.path().join("lake"));
        let refused = Logs::open(home.path(), plain.clone()).await.unwrap_err();
        assert!(matches!(&refused, OpenError::Elsewhere { .. }), "{refused}");
        let refused = Logs::open(home.path(), shared.clone()).await.unwrap_err();
        assert!(matches!(&refused, OpenError::Unmoved { .. }), "{refused}");
        Logs::move_lake(home.path(), &bucket, now, |_| ()).await.unwrap();

        let logs = Logs::open(home.path(), shared).await.unwrap();
        logs.settle().await.unwrap();
        assert_eq!(ids(&logs).await, expected.into_iter().collect::<Vec<_>>());
        logs.shutdown().await;
        drop(logs);
        for elsewhere in [plain, in_bucket(&store, "another")] {
            let refused = Logs::open(home.path(), elsewhere).await.unwrap_err().to_string();
            assert!(refused.contains("are in s3://lake/moved"), "{refused}");
        }
    });
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
