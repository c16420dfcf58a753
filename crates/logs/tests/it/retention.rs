//! Old days go, the newest and the audit trail stay; a lake that cannot be written makes appends wait.

use std::time::Duration;

use logs::{AppendError, Audit, Dataset, Keep, Logs, LogsConfig, Query, Retention};

use crate::fixture::{START, TestClock, account, config, lake, open_with, request, run};

const DAY: i64 = 24 * 3_600;

async fn count(logs: &Logs, dataset: Dataset) -> usize {
    logs.query(Query { limit: 1_000, ..Query::newest(account(1), dataset) }).await.unwrap().entries.len()
}

#[test]
fn traffic_stays_within_its_bytes_and_leaves_the_audit_trail() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let small = LogsConfig { max_bytes: 300_000, max_audit_bytes: 300_000, ..config(&TestClock::new()) };
        let logs = open_with(directory.path(), small).await.unwrap();
        let audit = Audit {
            account_id: account(1).to_string(),
            datetime: jiff::Timestamp::from_second(START - 20 * DAY).unwrap(),
            ..Audit::default()
        };
        logs.append(audit).await.unwrap();
        for day in (0..20).rev() {
            for second in 0..20 {
                logs.append(request(second - day * DAY, "allow")).await.unwrap();
            }
        }
        logs.settle().await.unwrap();
        let kept = count(&logs, Dataset::GatewayHttp).await;
        assert!((20..400).contains(&kept) && kept % 20 == 0, "{kept} of 400");
        let newest = logs.query(Query::newest(account(1), Dataset::GatewayHttp)).await.unwrap();
        assert_eq!(newest.entries[0].fields["HTTPHost"], "host-19.example");
        assert_eq!(count(&logs, Dataset::Audit).await, 1);
        logs.shutdown().await;
    });
}

#[test]
fn days_go_when_they_are_too_old() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let clock = TestClock::new();
        let aging = LogsConfig { keep_days: [2; Dataset::ALL.len()], ..config(&clock) };
        let logs = open_with(directory.path(), aging).await.unwrap();
        for day in 0..6 {
            logs.append(request(day * DAY, "allow")).await.unwrap();
            logs.settle().await.unwrap();
            clock.advance(Duration::from_secs(DAY as u64));
        }
        logs.settle().await.unwrap();
        // The clock is at the sixth day: the fourth, the fifth and the sixth are kept, and that one has no records.
        assert_eq!(count(&logs, Dataset::GatewayHttp).await, 2);
        logs.shutdown().await;
    });
}

#[test]
fn a_lake_that_cannot_be_written_loses_nothing_and_says_so() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let full = LogsConfig {
            segment_bytes: 10_000,
            max_journal_bytes: 20_000,
            append_deadline: Duration::from_millis(100),
            queue_bytes: 50_000,
            ..config(&TestClock::new())
        };
        let logs = open_with(directory.path(), full.clone()).await.unwrap();
        logs.append(request(0, "allow")).await.unwrap();
        logs.settle().await.unwrap();
        // A file where the table's directory was.
        let table = lake(directory.path()).join(account(1).to_string()).join("gateway_http");
        std::fs::rename(&table, directory.path().join("aside")).unwrap();
        std::fs::write(&table, "in the way").unwrap();
        let mut accepted = 1;
        loop {
            match logs.append(request(accepted, "allow")).await {
                Ok(_) => accepted += 1,
                Err(error) => {
                    assert_eq!(error, AppendError::TimedOut);
                    break;
                }
            }
        }
        while logs.health().lake_failing.is_none() {
            tokio::task::yield_now().await;
        }
        let health = logs.health();
        assert!(health.failing.is_some_and(|failing| failing.error.contains("journal is full")));
        std::fs::remove_file(&table).unwrap();
        std::fs::rename(directory.path().join("aside"), &table).unwrap();
        logs.settle().await.unwrap();
        assert_eq!(logs.health().lake_failing, None);
        let (mut seen, mut before) = (0, None);
        loop {
            let query = Query { limit: 1_000, before, ..Query::newest(account(1), Dataset::GatewayHttp) };
            let page = logs.query(query).await.unwrap();
            seen += page.entries.len() as i64;
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(seen, accepted);
        logs.shutdown().await;
    });
}

#[test]
fn what_an_account_chose_counts_from_the_start_and_a_change_at_once() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let keep = |days, max_bytes| Retention::from([(Dataset::GatewayHttp, Keep { days, max_bytes })]);
        let longer = LogsConfig {
            keep_days: [2; Dataset::ALL.len()],
            retention: [(account(1), keep(20, None))].into(),
            ..config(&TestClock::new())
        };
        let logs = open_with(directory.path(), longer.clone()).await.unwrap();
        for day in 0..10 {
            for number in [1, 2] {
                let record = request(-day * DAY, "allow");
                logs.append(logs::GatewayHttp { account_id: account(number).to_string(), ..record }).await.unwrap();
            }
        }
        logs.settle().await.unwrap();
        let of = async |logs: &Logs, number| logs.occupied(account(number), Dataset::GatewayHttp).await.unwrap().rows;
        // The other account did not choose: two days, and today.
        assert_eq!((of(&logs, 1).await, of(&logs, 2).await), (10, 3));
        logs.shutdown().await;
        drop(logs);

        let logs = open_with(directory.path(), longer).await.unwrap();
        logs.settle().await.unwrap();
        assert_eq!(of(&logs, 1).await, 10);
        logs.retain(account(1), keep(4, None));
        // Nobody settles: the change itself makes it look.
        while of(&logs, 1).await != 5 {
            tokio::task::yield_now().await;
        }
        let usage = logs.occupied(account(1), Dataset::GatewayHttp).await.unwrap();
        let kept = usage.bytes;
        assert_eq!(usage.oldest.unwrap().to_string(), "2027-01-11");
        logs.retain(account(1), keep(4, Some(kept - 1)));
        while of(&logs, 1).await != 4 {
            tokio::task::yield_now().await;
        }
        logs.shutdown().await;
    });
}
