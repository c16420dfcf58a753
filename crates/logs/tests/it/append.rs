//! Accepting records: bounds, back-pressure, following, a disk that refuses.

use std::fs;
use std::time::Duration;

use logs::{
    AccessRequest, AppendError, Audit, Dataset, GatewayNetwork, Logs, LogsConfig, MAX_RECORD_BYTES, McpCall, OpenError,
    Query, TailEvent, WorkerInvocation,
};
use types::Code;
use uuid::Uuid;

use crate::fixture::{TestClock, account, config, open, request, run};

#[test]
fn what_is_appended_is_found_after_a_restart() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let logs = open(directory.path()).await;
        let first = request(1, "allow");
        logs.append(first.clone()).await.unwrap();
        let own = account(1).to_string();
        logs.append(GatewayNetwork { account_id: own.clone(), ..GatewayNetwork::default() }).await.unwrap();
        logs.append(WorkerInvocation { account_id: own.clone(), ..WorkerInvocation::default() }).await.unwrap();
        logs.append(Audit { account_id: own.clone(), ..Audit::default() }).await.unwrap();
        logs.append(AccessRequest { account_id: own.clone(), ..AccessRequest::default() }).await.unwrap();
        logs.append(McpCall { account_id: own, ..McpCall::default() }).await.unwrap();
        logs.shutdown().await;
        assert_eq!(logs.append(request(2, "allow")).await, Err(AppendError::Closed));

        let logs = open(directory.path()).await;
        assert_eq!(logs.health().torn_bytes, 0);
        for dataset in Dataset::ALL {
            let page = logs.query(Query::newest(account(1), dataset)).await.unwrap();
            assert_eq!((page.entries.len(), page.next), (1, None), "{dataset}");
            let entry = &page.entries[0];
            assert!(!entry.id.is_nil(), "a record without an id gets one");
            assert_eq!(logs.get(account(1), dataset, entry.id).await.unwrap().as_ref(), Some(entry));
        }
        let found = logs.get(account(1), Dataset::GatewayHttp, first.id).await.unwrap().unwrap();
        assert_eq!(found.record().unwrap(), first.into());
        logs.shutdown().await;
    });
}

#[test]
fn a_record_is_written_without_anyone_asking() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let logs = open(directory.path()).await;
        let receipt = logs.append(request(1, "allow")).await.unwrap();
        let waited = tokio::time::timeout(Duration::from_secs(60), logs.written(receipt)).await;
        waited.expect("written within a minute, usually within 50 ms").unwrap();
        assert_eq!(logs.query(Query::newest(account(1), Dataset::GatewayHttp)).await.unwrap().entries.len(), 1);
        logs.shutdown().await;
    });
}

#[test]
fn a_journal_is_open_in_one_process_at_a_time() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let logs = open(directory.path()).await;
        let second = Logs::open(directory.path(), LogsConfig::default()).await;
        assert!(matches!(second, Err(OpenError::InUse(_))), "{second:?}");
        logs.shutdown().await;
        drop(logs);
        open(directory.path()).await.shutdown().await;
    });
}

#[test]
fn a_full_queue_makes_appends_wait_and_slots_hold_their_room() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        // Nothing is written until somebody hurries or the journal closes.
        let patient = LogsConfig {
            queue_bytes: 64 * 1024,
            write_interval: Duration::from_secs(3_600),
            append_deadline: Duration::from_millis(100),
            ..config(&TestClock::new())
        };
        let logs = Logs::open(directory.path(), patient).await.unwrap();
        let slot = logs.reserve().await.unwrap();
        let mut accepted = 0_usize;
        while logs.try_append(request(1, "allow")).is_ok() {
            accepted += 1;
        }
        assert_eq!(logs.try_append(request(1, "allow")), Err(AppendError::Full));
        assert_eq!(logs.try_reserve().unwrap_err().code(), Code::Unavailable);
        assert_eq!(logs.append(request(1, "allow")).await, Err(AppendError::TimedOut));
        assert_eq!(logs.reserve().await.unwrap_err(), AppendError::TimedOut);
        // The slot's room is its own, also for a record larger than the slot.
        let mut large = request(2, "block");
        large.explanation = "x".repeat(20_000);
        slot.append(large).unwrap();
        assert!(logs.health().waiting_bytes > 64 * 1024);
        logs.flush().await.unwrap();
        assert_eq!(logs.health().waiting_bytes, 0, "everything written gives its room back");
        logs.try_append(request(3, "allow")).unwrap();
        drop(logs.reserve().await.unwrap());
        logs.shutdown().await;
        let page = logs.query(Query { limit: 1_000, ..Query::newest(account(1), Dataset::GatewayHttp) }).await.unwrap();
        assert_eq!(page.entries.len(), accepted + 2, "nothing accepted was dropped");
    });
}

#[test]
fn an_append_that_waits_goes_on_when_there_is_room() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let small = LogsConfig { queue_bytes: 4_096, ..config(&TestClock::new()) };
        let logs = Logs::open(directory.path(), small).await.unwrap();
        let mut appenders = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let logs = logs.clone();
            appenders.spawn(async move {
                for second in 0..50 {
                    logs.append(request(second, "allow")).await.unwrap();
                }
            });
        }
        appenders.join_all().await;
        logs.flush().await.unwrap();
        let page = logs.query(Query { limit: 1_000, ..Query::newest(account(1), Dataset::GatewayHttp) }).await.unwrap();
        assert_eq!(page.entries.len(), 1_000);
        logs.shutdown().await;
    });
}

#[test]
fn an_oversized_record_is_shortened_or_refused() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let logs = open(directory.path()).await;
        let mut traced = request(1, "block");
        traced.rule_trace = Some(serde_json::Value::String("x".repeat(MAX_RECORD_BYTES)));
        traced.url = "é".repeat(MAX_RECORD_BYTES);
        logs.append(traced.clone()).await.unwrap();
        logs.flush().await.unwrap();
        let found = logs.get(account(1), Dataset::GatewayHttp, traced.id).await.unwrap().unwrap();
        assert_eq!(found.fields["Warnings"], serde_json::json!(["record shortened"]));
        assert_eq!(found.fields["Action"], "block");
        assert!(!found.fields.contains_key("RuleTrace"));
        let mut hopeless = request(1, "block");
        hopeless.group_names = vec!["x".repeat(MAX_RECORD_BYTES)];
        assert_eq!(logs.append(hopeless).await, Err(AppendError::TooLarge));
        assert_eq!(logs.health().waiting_bytes, 0);
        logs.shutdown().await;
    });
}

#[test]
fn a_follower_sees_its_account_live_and_is_told_what_it_missed() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let logs = open(directory.path()).await;
        let mut tail = logs.tail(account(1), Dataset::GatewayHttp);
        let mut other = request(0, "allow");
        other.account_id = account(2).to_string();
        logs.append(other).await.unwrap();
        let own = request(1, "block");
        logs.append(own.clone()).await.unwrap();
        let Some(TailEvent::Record(seen)) = tail.next().await else { panic!("no record") };
        assert_eq!(seen.record().unwrap(), own.into());
        for second in 0..3_000 {
            logs.append(request(second, "allow")).await.unwrap();
        }
        let Some(TailEvent::Missed(missed)) = tail.next().await else { panic!("nothing missed") };
        assert_eq!(missed, 3_000 - 1_024);
        let Some(TailEvent::Record(next)) = tail.next().await else { panic!("no record") };
        assert!(next.json.contains(&format!("host-{missed}.example")));
        logs.shutdown().await;
    });
}

#[test]
fn a_disk_that_refuses_is_reported_and_nothing_is_lost_when_it_recovers() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let logs = open(directory.path()).await;
        logs.append(request(1, "allow")).await.unwrap();
        logs.flush().await.unwrap();
        // Where the next dataset's segments would go stands a file: the write fails like one on a broken disk.
        let folder = directory.path().join("worker");
        fs::remove_dir(&folder).unwrap();
        fs::write(&folder, "in the way").unwrap();
        let own = account(1).to_string();
        logs.append(WorkerInvocation { account_id: own, ..WorkerInvocation::default() }).await.unwrap();
        logs.append(request(2, "allow")).await.unwrap();
        wait_until(|| logs.health().failing.is_some()).await;
        assert!(!logs.health().failing.unwrap().disk_full);
        fs::remove_file(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        logs.flush().await.unwrap();
        assert_eq!(logs.health().failing, None);
        for (dataset, count) in [(Dataset::GatewayHttp, 2), (Dataset::Worker, 1)] {
            let page = logs.query(Query::newest(account(1), dataset)).await.unwrap();
            assert_eq!(page.entries.len(), count, "{dataset}");
        }
        logs.shutdown().await;
    });
}

pub(crate) async fn wait_until(done: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.expect("what was waited for within a minute");
}

#[test]
fn counts_by_the_minute_survive_a_restart() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let clock = TestClock::new();
        let logs = Logs::open(directory.path(), config(&clock)).await.unwrap();
        for (second, action) in [(0, "allow"), (1, "block"), (61, "allow"), (62, "allow")] {
            let mut record = request(second, action);
            record.decision_micros = 40;
            record.duration_micros = 1_000;
            logs.append(record).await.unwrap();
        }
        clock.advance(Duration::from_secs(62));
        let before = logs.rollup(account(1), Dataset::GatewayHttp);
        let shown: Vec<_> = before.iter().map(|minute| (minute.records, minute.by_word.len())).collect();
        assert_eq!(shown, [(2, 2), (2, 1)]);
        assert!(logs.rollup(account(2), Dataset::GatewayHttp).is_empty());
        logs.shutdown().await;
        drop(logs);

        let logs = Logs::open(directory.path(), config(&clock)).await.unwrap();
        wait_until(|| logs.rollup(account(1), Dataset::GatewayHttp) == before).await;
        clock.advance(Duration::from_secs(3_600));
        assert_eq!(logs.rollup(account(1), Dataset::GatewayHttp).len(), 1);
        logs.shutdown().await;
        assert_eq!(logs.get(account(1), Dataset::Audit, Uuid::now_v7()).await.unwrap(), None);
    });
}
