//! Old segments go, the newest and the audit trail stay.

use std::time::Duration;

use logs::{Audit, Dataset, Logs, LogsConfig, Query};

use crate::fixture::{TestClock, account, config, request, run};

fn folder_bytes(directory: &std::path::Path, dataset: Dataset) -> u64 {
    let folder = directory.join(dataset.as_str());
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn traffic_stays_within_its_bytes_and_leaves_the_audit_trail() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let small = LogsConfig { segment_bytes: 20_000, max_bytes: 100_000, ..config(&TestClock::new()) };
        let logs = Logs::open(directory.path(), small).await.unwrap();
        let audit = Audit { account_id: account(1).to_string(), ..Audit::default() };
        logs.append(audit).await.unwrap();
        for second in 0..2_000 {
            logs.append(request(second, "allow")).await.unwrap();
            if second % 50 == 0 {
                logs.flush().await.unwrap();
            }
        }
        logs.flush().await.unwrap();
        // The bound, one segment being written, and index files of a few per cent.
        assert!(folder_bytes(directory.path(), Dataset::GatewayHttp) < 150_000);
        let newest = logs.query(Query::newest(account(1), Dataset::GatewayHttp)).await.unwrap();
        assert_eq!(newest.entries[0].fields["HTTPHost"], "host-1999.example");
        assert_eq!(logs.query(Query::newest(account(1), Dataset::Audit)).await.unwrap().entries.len(), 1);
        logs.shutdown().await;
    });
}

#[test]
fn segments_go_when_they_are_too_old() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let clock = TestClock::new();
        let aging = LogsConfig { max_age: Duration::from_secs(2 * 3_600), ..config(&clock) };
        let logs = Logs::open(directory.path(), aging).await.unwrap();
        for hour in 0..6 {
            logs.append(request(hour * 3_600, "allow")).await.unwrap();
            logs.flush().await.unwrap();
            clock.advance(Duration::from_secs(3_600));
        }
        let page = logs.query(Query::newest(account(1), Dataset::GatewayHttp)).await.unwrap();
        assert_eq!(page.entries.len(), 3);
        logs.shutdown().await;
    });
}
