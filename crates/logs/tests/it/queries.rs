//! Finding records: order, pages, ranges, filters, accounts.

use jiff::Timestamp;
use logs::{Dataset, Filter, Logs, LogsConfig, Operator, Query, QueryError};
use serde_json::json;

use crate::fixture::{START, TestClock, account, config, open, request, run};

fn newest() -> Query {
    Query::newest(account(1), Dataset::GatewayHttp)
}

fn hosts(page: &logs::Page) -> Vec<i64> {
    let number = |entry: &logs::Entry| {
        entry.fields["HTTPHost"].as_str()?.strip_prefix("host-")?.strip_suffix(".example")?.parse().ok()
    };
    page.entries.iter().map(|entry| number(entry).unwrap()).collect()
}

#[test]
fn pages_go_back_over_segments_and_blocks_without_gaps_or_repeats() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        // About five segments of about four blocks.
        let small = LogsConfig { segment_bytes: 256 * 1024, ..config(&TestClock::new()) };
        let logs = Logs::open(directory.path(), small).await.unwrap();
        for second in 0..2_000 {
            let mut record = request(second, if second % 3 == 0 { "block" } else { "allow" });
            record.explanation = "because ".repeat(40);
            logs.append(record).await.unwrap();
        }
        logs.flush().await.unwrap();
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let page = logs.query(Query { limit: 77, before, ..newest() }).await.unwrap();
            assert!(page.entries.len() <= 77);
            seen.extend(hosts(&page));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..2_000).rev().collect::<Vec<_>>());

        let (mut blocked, mut before) = (0, None);
        let filter = Filter { field: "Action".into(), operator: Operator::Equal, value: json!("block") };
        loop {
            let query = Query { limit: 100, before, filters: vec![filter.clone()], ..newest() };
            let page = logs.query(query).await.unwrap();
            assert!(hosts(&page).iter().all(|second| second % 3 == 0));
            blocked += page.entries.len();
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(blocked, 667);
        logs.shutdown().await;
    });
}

#[test]
fn a_page_is_stable_while_records_arrive() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let logs = open(directory.path()).await;
        for second in 0..10 {
            logs.append(request(second, "allow")).await.unwrap();
        }
        logs.flush().await.unwrap();
        let first = logs.query(Query { limit: 4, ..newest() }).await.unwrap();
        for second in 10..20 {
            logs.append(request(second, "allow")).await.unwrap();
        }
        logs.flush().await.unwrap();
        let second = logs.query(Query { limit: 4, before: first.next, ..newest() }).await.unwrap();
        assert_eq!((hosts(&first), hosts(&second)), (vec![9, 8, 7, 6], vec![5, 4, 3, 2]));
        logs.shutdown().await;
    });
}

#[test]
fn a_time_range_holds_its_start_and_not_its_end() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let logs = open(directory.path()).await;
        for second in [5, 1, 3, 2, 4] {
            logs.append(request(second, "allow")).await.unwrap();
        }
        logs.flush().await.unwrap();
        let at = |second| Some(Timestamp::from_second(START + second).unwrap());
        let page = logs.query(Query { since: at(2), until: at(4), ..newest() }).await.unwrap();
        assert_eq!(hosts(&page), [3, 2]);
        assert!(logs.query(Query { since: at(6), ..newest() }).await.unwrap().entries.is_empty());
        logs.shutdown().await;
    });
}

#[test]
fn an_account_never_sees_anothers_records() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let logs = open(directory.path()).await;
        let mut theirs = request(1, "allow");
        theirs.account_id = account(2).to_string();
        // Ours is mentioned where an author can write: that makes it no record of ours.
        theirs.url = format!("https://x/?\"AccountID\":\"{}\"", account(1));
        theirs.rule_trace = Some(json!({"AccountID": account(1)}));
        logs.append(theirs.clone()).await.unwrap();
        logs.flush().await.unwrap();
        assert!(logs.query(newest()).await.unwrap().entries.is_empty());
        assert_eq!(logs.get(account(1), Dataset::GatewayHttp, theirs.id).await.unwrap(), None);
        assert!(logs.get(account(2), Dataset::GatewayHttp, theirs.id).await.unwrap().is_some());
        logs.shutdown().await;
    });
}

#[test]
fn an_unknown_field_is_named() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let logs = open(directory.path()).await;
        let filter = Filter { field: "action".into(), operator: Operator::Equal, value: json!("x") };
        let refused = logs.query(Query { filters: vec![filter], ..newest() }).await;
        assert!(matches!(refused, Err(QueryError::UnknownField(name)) if name == "action"));
        logs.shutdown().await;
    });
}
