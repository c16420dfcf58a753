//! SQL: the same rows wherever they are, one account, within bounds.

use std::sync::Arc;
use std::time::Duration;

use logs::sql::{Answer, Bounds, Progress, SqlError};
use logs::{AccessRequest, Dataset, Logs};
use serde_json::{Value, json};

use crate::fixture::{START, TestClock, account, config, open, open_with, request, run};

async fn ask(logs: &Logs, text: &str) -> Result<Answer, SqlError> {
    logs.sql(account(1), &Dataset::ALL, text, Bounds::default(), Arc::new(Progress::default())).await
}

async fn rows(logs: &Logs, text: &str) -> Value {
    let answer = ask(logs, text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
    json!(answer.rows().unwrap())
}

/// Four people, two days, some refused, applications with and without a status; half of it in the lake.
async fn company(logs: &Logs) {
    for number in 0..400_i64 {
        let mut record = request(number * 500, if number % 5 == 0 { "block" } else { "allow" });
        record.email = format!("person-{}@example.com", number % 4);
        record.http_host =
            if number % 8 == 1 { "mcp.example.com".into() } else { format!("app-{}.example.com", number % 3) };
        record.url = format!("https://{}/a/{number}", record.http_host);
        record.http_status_code = if number % 5 == 0 { 403 } else { 200 };
        record.application_statuses = if number % 2 == 0 { vec!["unapproved".into()] } else { Vec::new() };
        record.request_bytes = number as u64;
        logs.append(record).await.unwrap();
        if number == 200 {
            logs.settle().await.unwrap();
        }
    }
    for number in 0..10 {
        let record = AccessRequest {
            account_id: account(1).to_string(),
            datetime: jiff::Timestamp::from_second(START + number).unwrap(),
            app_domain: "wiki.example.com".into(),
            email: format!("person-{}@example.com", number % 4),
            allowed: number != 3,
            country: "de".into(),
            ..AccessRequest::default()
        };
        logs.append(record).await.unwrap();
    }
    let mut theirs = request(1, "allow");
    theirs.account_id = account(2).to_string();
    logs.append(theirs).await.unwrap();
    logs.flush().await.unwrap();
}

#[test]
fn queries_see_lake_and_journal_alike() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let logs = open(directory.path()).await;
        company(&logs).await;
        for round in 0..2 {
            assert_eq!(rows(&logs, "select count(*) as n from gateway_http").await, json!([{"n": 400}]), "{round}");
            let by_action =
                "SELECT action, COUNT(*) AS n, SUM(RequestBytes) b FROM gateway_http GROUP BY Action ORDER BY n";
            let blocked: i64 = (0..400).step_by(5).sum();
            let expected = json!([
                {"Action": "block", "n": 80, "b": blocked},
                {"Action": "allow", "n": 320, "b": (0..400).sum::<i64>() - blocked},
            ]);
            assert_eq!(rows(&logs, by_action).await, expected, "{round}");
            let person = "select count(*) n, min(url) u from gateway_http where email = 'person-3@example.com' and date = '2027-01-15'";
            assert_eq!(rows(&logs, person).await[0]["n"], 29, "{round}");
            let newest = "select url from gateway_http order by datetime desc limit 2";
            assert_eq!(rows(&logs, newest).await[1]["URL"], "https://app-2.example.com/a/398", "{round}");
            let joined = "select g.email, count(distinct a.rayid) n from gateway_http g join access_requests a on g.email = a.email \
                where a.allowed = false group by 1";
            assert_eq!(rows(&logs, joined).await, json!([{"Email": "person-3@example.com", "n": 1}]), "{round}");
            logs.settle().await.unwrap();
        }
        logs.shutdown().await;
    });
}

/// A median keeps counts beside distinct ones from being planned as sums: the answer is the same with it and without it.
#[test]
fn counts_beside_distinct_ones_are_what_they_are_alone() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let logs = open(directory.path()).await;
        company(&logs).await;
        for (counts, rest) in [
            ("HTTPHost, COUNT(*), COUNT(DISTINCT Email)", "GROUP BY HTTPHost ORDER BY 1"),
            ("HTTPHost, COUNT(DISTINCT Email) p, COUNT(*) n, COUNT(1) m, SUM(1) s", "GROUP BY 1 ORDER BY n, 1"),
            ("Action a, COUNT(NULLIF(HTTPStatusCode, 403)) ok, COUNT(DISTINCT Email) p", "GROUP BY Action ORDER BY a"),
            (
                "upper(Email) e, date, COUNT(*) n, COUNT(DISTINCT HTTPHost) h",
                "GROUP BY 1, 2 HAVING COUNT(*) > 30 ORDER BY 1, 2",
            ),
            ("Email, COUNT(NULL) n, COUNT(DISTINCT URL) u, MAX(RequestBytes) m", "GROUP BY 1 ORDER BY 1"),
            ("COUNT(*) n, COUNT(DISTINCT Email) p", "WHERE Email = 'nobody'"),
            ("Email, COUNT(*) n, COUNT(DISTINCT HTTPHost) h", "GROUP BY ROLLUP (Email) ORDER BY 1"),
        ] {
            let alone = ask(&logs, &format!("SELECT {counts} FROM gateway_http {rest}")).await.unwrap();
            let beside = format!("SELECT {counts}, MEDIAN(RequestBytes) AS median FROM gateway_http {rest}");
            let beside = ask(&logs, &beside).await.unwrap();
            let columns = beside.columns.split_last().unwrap().1.to_vec();
            assert_eq!(alone.columns, columns, "{counts}");
            let mut expected = beside.rows().unwrap();
            for row in &mut expected {
                row.remove("median").unwrap();
            }
            assert!(!expected.is_empty(), "{counts}");
            assert_eq!(alone.rows().unwrap(), expected, "{counts}");
        }
        logs.shutdown().await;
    });
}

/// The dialect people know, as the reference prints it.
#[test]
fn queries_of_the_vendors_dialect_run_unchanged() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let logs = open(directory.path()).await;
        company(&logs).await;
        let unapproved = "SELECT HTTPHost, COUNT(*) AS n, COUNT(DISTINCT Email) AS users FROM gateway_http
            WHERE date >= '2026-09-01' AND ARRAY_CONTAINS(ApplicationStatuses, 'unapproved') GROUP BY HTTPHost ORDER BY n DESC LIMIT 20;";
        assert_eq!(rows(&logs, unapproved).await[0]["users"], 2);
        let mcp = "SELECT Email, HTTPHost, URL FROM gateway_http
            WHERE date = '2027-01-15' AND (HTTPHost LIKE 'mcp.%' OR URL LIKE '%/mcp%' OR URL LIKE '%/sse%') LIMIT 500;";
        assert_eq!(rows(&logs, mcp).await.as_array().unwrap().len(), 15);
        let refused = "SELECT CreatedAt, AppDomain, Email, Allowed, Country FROM access_requests
            WHERE date = '2027-01-15' AND Allowed = false LIMIT 100;";
        let expected = json!([{"CreatedAt": "2027-01-15T08:00:03Z", "AppDomain": "wiki.example.com",
            "Email": "person-3@example.com", "Allowed": false, "Country": "de"}]);
        assert_eq!(rows(&logs, refused).await, expected);
        for text in [
            "select count(*) from gateway_http where httphost ~ '^app-[01]\\.' and url ilike '%/A/1%'",
            "select approx_distinct(email), approx_percentile_cont(requestbytes, 0.95) from gateway_http",
            "select date_trunc('day', datetime) d, count(*) from gateway_http group by d order by d",
            "select count(*) from gateway_http where datetime > now() - interval '30' day",
            "select email, row_number() over (partition by email order by datetime) from gateway_http limit 3",
            "with t as (select email e from gateway_http) select e, count(*) from t group by e having count(*) > 1",
            "select distinct regexp_like(httphost, 'mcp') from gateway_http union all select true",
        ] {
            ask(&logs, text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
        }
        logs.shutdown().await;
    });
}

#[test]
fn an_account_is_all_a_query_can_see() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let logs = open(directory.path()).await;
        company(&logs).await;
        logs.settle().await.unwrap();
        let theirs = logs
            .sql(account(2), &Dataset::ALL, "select count(*) n from gateway_http", Bounds::default(), Arc::default())
            .await
            .unwrap();
        assert_eq!(theirs.rows().unwrap()[0]["n"], 1);
        let other = format!("select * from \"lake/{}/gateway_http\"", account(2));
        for text in [
            other.as_str(),
            "select * from '/etc/passwd'",
            "select * from 'x.parquet'",
            "select * from read_parquet('x.parquet')",
            "select * from information_schema.tables",
            "copy gateway_http to '/tmp/x'",
            "create external table t stored as parquet location '/tmp'",
            "select 1; drop table gateway_http",
            "set datafusion.execution.target_partitions = 1",
        ] {
            assert!(matches!(ask(&logs, text).await, Err(SqlError::Invalid(_))), "{text}");
        }
        let some = [Dataset::GatewayHttp];
        let audit = logs.sql(account(1), &some, "select * from audit", Bounds::default(), Arc::default()).await;
        assert!(matches!(audit, Err(SqlError::Invalid(message)) if message.contains("audit")));
        logs.shutdown().await;
    });
}

#[test]
fn what_goes_over_a_bound_fails_alone_and_says_which() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let logs = open_with(directory.path(), config(&TestClock::new())).await.unwrap();
        company(&logs).await;
        let bounds = Bounds { memory: 1024 * 1024, time: Duration::from_secs(30), rows: 5 };
        let with = |text: &'static str, bounds: Bounds| {
            let logs = logs.clone();
            async move { logs.sql(account(1), &Dataset::ALL, text, bounds, Arc::default()).await }
        };
        let large = "select a.url, b.url, count(*) from gateway_http a, gateway_http b, gateway_http c group by 1, 2";
        let refused = with(large, bounds).await.unwrap_err();
        assert!(refused.to_string().contains("more than 1 MiB of memory"), "{refused}");
        let endless =
            "select count(*) from gateway_http a, gateway_http b, gateway_http c, gateway_http d, gateway_http e";
        let short = Bounds { time: Duration::from_millis(300), ..Bounds::default() };
        assert!(matches!(with(endless, short).await.unwrap_err(), SqlError::Time(_)));
        let answer = with("select url from gateway_http", bounds).await.unwrap();
        assert_eq!((answer.row_count(), answer.truncated), (5, true));
        let huge = "select repeat(url, 8000) u from gateway_http";
        assert!(matches!(ask(&logs, huge).await.unwrap_err(), SqlError::Answer));
        let deep = format!("select {}1", "(1 + ".repeat(20_000));
        assert!(matches!(ask(&logs, &deep).await.unwrap_err(), SqlError::Invalid(_)));
        let wide = format!("select count(*) n from gateway_http where {}", ["email = 'a'"; 4_000].join(" or "));
        let refused = ask(&logs, &wide).await.unwrap_err();
        assert!(refused.to_string().contains("more than 500 operators"), "{refused}");
        let listed = format!("select count(*) n from gateway_http where email in ({})", ["'a'"; 4_000].join(", "));
        assert_eq!(rows(&logs, &listed).await, json!([{"n": 0}]));
        assert_eq!(rows(&logs, "select count(*) n from gateway_http").await, json!([{"n": 400}]));
        logs.shutdown().await;
    });
}

#[test]
fn an_error_says_what_is_wrong_with_the_text() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let logs = open(directory.path()).await;
        for (text, says) in [
            ("selec 1", "selec"),
            ("select emal from gateway_http", "there is no field emal; did you mean Email?"),
            ("select * from gateway_htp", "gateway_htp"),
            ("select sum(email) from gateway_http", "sum"),
        ] {
            let error = ask(&logs, text).await.unwrap_err();
            assert!(matches!(&error, SqlError::Invalid(message) if message.contains(says)), "{text}: {error}");
        }
        logs.shutdown().await;
    });
}

#[test]
fn an_answer_is_exported_in_every_form() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let logs = open(directory.path()).await;
        company(&logs).await;
        let answer =
            ask(&logs, "select email, applicationstatuses s, 'a,\"b' q from gateway_http order by url limit 2")
                .await
                .unwrap();
        let csv = String::from_utf8(answer.csv().unwrap()).unwrap();
        assert_eq!(csv.lines().next().unwrap(), "Email,s,q");
        assert_eq!(csv.lines().nth(1).unwrap(), "person-0@example.com,\"[\"\"unapproved\"\"]\",\"a,\"\"b\"");
        let lines = String::from_utf8(answer.json_lines().unwrap()).unwrap();
        assert_eq!(lines.lines().count(), 2);
        assert!(answer.parquet().unwrap().starts_with(b"PAR1"));
        assert_eq!(answer.columns.iter().map(|column| column.kind).collect::<Vec<_>>(), ["string", "array", "string"]);
        logs.shutdown().await;
    });
}

/// A query ends with whoever waits for it, and its place is free.
#[test]
fn a_query_that_nobody_waits_for_ends() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let logs = open(directory.path()).await;
        company(&logs).await;
        let endless = "select count(*) from gateway_http a, gateway_http b, gateway_http c, gateway_http d";
        for _ in 0..8 {
            let progress = Arc::new(Progress::default());
            let asking = logs.sql(account(1), &Dataset::ALL, endless, Bounds::default(), Arc::clone(&progress));
            let begun = async {
                while progress.rows_in_range() == 0 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                _ = asking => panic!("it is not endless"),
                () = begun => {}
            }
        }
        // More were left behind than run at once.
        assert_eq!(rows(&logs, "select count(*) n from gateway_http").await, json!([{"n": 400}]));
        logs.shutdown().await;
    });
}
