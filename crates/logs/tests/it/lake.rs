//! The lake's promises: what leaves the journal is found as it was, once, by us and by others.

use std::collections::BTreeMap;
use std::time::Duration;

use logs::{Dataset, Filter, Logs, LogsConfig, Operator, Query, Record};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::fixture::{TestClock, account, config, lake, open, open_with, request, run};

fn newest() -> Query {
    Query::newest(account(1), Dataset::GatewayHttp)
}

/// Returns every record a query finds, page by page.
async fn all(logs: &Logs, query: Query) -> Vec<Map<String, Value>> {
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let page = logs.query(Query { before, ..query.clone() }).await.unwrap();
        found.extend(page.entries.into_iter().map(|entry| entry.fields));
        before = page.next;
        if before.is_none() {
            return found;
        }
    }
}

#[test]
fn every_golden_record_comes_back_from_the_lake() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let logs = open(directory.path()).await;
        let mut expected = BTreeMap::new();
        for dataset in Dataset::ALL {
            let (text, fields) = crate::golden::golden(dataset);
            logs.append(Record::from_json(dataset, &text).unwrap()).await.unwrap();
            expected.insert(dataset, fields);
        }
        logs.settle().await.unwrap();
        for (dataset, fields) in expected {
            let page = logs.query(Query::newest(account(1), dataset)).await.unwrap();
            assert_eq!(page.entries[0].fields, fields, "{dataset}");
            let found = logs.get(account(1), dataset, page.entries[0].id).await.unwrap();
            assert_eq!(found.unwrap().fields, fields, "{dataset}");
            assert_eq!(std::fs::read_dir(directory.path().join(dataset.as_str())).unwrap().count(), 1, "{dataset}");
        }
        logs.shutdown().await;
    });
}

/// Some records settled, some merged, some in sealed segments and some in the one being written: a page knows no difference.
#[test]
fn pages_go_over_lake_and_journal_without_gaps_or_repeats() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let clock = TestClock::new();
        let small = LogsConfig { segment_bytes: 40_000, ..config(&clock) };
        let mut logs = open_with(directory.path(), small.clone()).await.unwrap();
        let mut expected = Vec::new();
        for round in 0..12 {
            for number in 0..100 {
                let second = round * 3_000 + (number * 37) % 100;
                let mut record = request(second, if number % 3 == 0 { "block" } else { "allow" });
                record.email = format!("person-{}@example.com", number % 7);
                expected.push((record.datetime, record.id, record.action == "block"));
                logs.append(record).await.unwrap();
            }
            if round % 2 == 0 {
                logs.settle().await.unwrap();
            }
            if round == 5 {
                logs.shutdown().await;
                drop(logs);
                logs = open_with(directory.path(), small.clone()).await.unwrap();
            }
            clock.advance(Duration::from_secs(3_000));
        }
        logs.flush().await.unwrap();
        expected.sort_unstable();
        expected.reverse();
        let id = |fields: &Map<String, Value>| fields["RequestID"].as_str().unwrap().parse::<Uuid>().unwrap();
        let found = all(&logs, Query { limit: 77, ..newest() }).await;
        let ids: Vec<_> = expected.iter().map(|(_, id, _)| *id).collect();
        assert_eq!(found.iter().map(id).collect::<Vec<_>>(), ids);

        let filters = vec![Filter { field: "Action".into(), operator: Operator::Equal, value: json!("block") }];
        let found = all(&logs, Query { limit: 10, filters, ..newest() }).await;
        let blocked: Vec<_> = expected.iter().filter(|(.., blocked)| *blocked).map(|(_, id, _)| *id).collect();
        assert_eq!(found.iter().map(id).collect::<Vec<_>>(), blocked);

        let (since, until) = (expected[900].0, expected[300].0);
        let found = all(&logs, Query { limit: 50, since: Some(since), until: Some(until), ..newest() }).await;
        let within = expected.iter().filter(|(time, ..)| *time >= since && *time < until);
        assert_eq!(found.iter().map(id).collect::<Vec<_>>(), within.map(|(_, id, _)| *id).collect::<Vec<_>>());

        for (_, id, _) in expected.iter().step_by(97) {
            assert!(logs.get(account(1), Dataset::GatewayHttp, *id).await.unwrap().is_some());
            assert!(logs.get(account(2), Dataset::GatewayHttp, *id).await.unwrap().is_none());
        }
        logs.shutdown().await;
    });
}

#[test]
fn hours_that_are_over_become_one_file_and_days_one() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let clock = TestClock::new();
        let logs = open_with(directory.path(), config(&clock)).await.unwrap();
        let files = || {
            let table = lake(directory.path()).join(account(1).to_string()).join("gateway_http");
            let days = std::fs::read_dir(table).unwrap().map(|entry| entry.unwrap().path());
            let days = days.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("date="));
            days.map(|day| std::fs::read_dir(day).unwrap().count()).sum::<usize>()
        };
        for second in 0..10 {
            logs.append(request(second, "allow")).await.unwrap();
            logs.settle().await.unwrap();
        }
        assert_eq!(files(), 10);
        clock.advance(Duration::from_secs(3_600 + 600));
        logs.settle().await.unwrap();
        // The ten are kept for queries that read them, and go a while later.
        assert_eq!(files(), 11);
        clock.advance(Duration::from_secs(1_200));
        logs.settle().await.unwrap();
        assert_eq!(files(), 1);
        logs.append(request(7_300, "allow")).await.unwrap();
        logs.settle().await.unwrap();
        assert_eq!(files(), 2);
        clock.advance(Duration::from_secs(2 * 24 * 3_600));
        logs.settle().await.unwrap();
        clock.advance(Duration::from_secs(1_200));
        logs.settle().await.unwrap();
        assert_eq!(files(), 1);
        assert_eq!(all(&logs, newest()).await.len(), 11);
        logs.shutdown().await;
    });
}

/// As two nodes that share a lake do: both take over, both find both.
#[test]
fn an_account_has_a_table_of_its_own() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let logs = open(directory.path()).await;
        for number in 1..4 {
            let mut record = request(number, "allow");
            record.account_id = account(number as u128).to_string();
            logs.append(record).await.unwrap();
        }
        logs.settle().await.unwrap();
        for number in 1..4 {
            let query = Query::newest(account(number), Dataset::GatewayHttp);
            let found = all(&logs, query).await;
            assert_eq!(found.len(), 1);
            assert_eq!(found[0]["AccountID"], account(number).to_string());
        }
        logs.shutdown().await;
    });
}

/// A table of many commits is read from its checkpoint and what came after it, also when the commits before are gone.
#[test]
fn a_checkpoint_stands_for_the_commits_before_it() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let logs = open(directory.path()).await;
        for second in 0..70 {
            logs.append(request(second, "allow")).await.unwrap();
            logs.settle().await.unwrap();
        }
        logs.shutdown().await;
        drop(logs);
        let log = lake(directory.path()).join(account(1).to_string()).join("gateway_http/_delta_log");
        let last: Value = serde_json::from_slice(&std::fs::read(log.join("_last_checkpoint")).unwrap()).unwrap();
        let version = last["version"].as_u64().unwrap();
        for commit in 0..=version {
            std::fs::remove_file(log.join(format!("{commit:020}.json"))).unwrap();
        }
        let logs = open(directory.path()).await;
        assert_eq!(all(&logs, newest()).await.len(), 70);
        logs.append(request(70, "allow")).await.unwrap();
        logs.settle().await.unwrap();
        assert_eq!(all(&logs, newest()).await.len(), 71);
        logs.shutdown().await;
    });
}
