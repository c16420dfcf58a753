//! Erasing a person: what is recorded of them is nowhere afterwards, of everybody else everything still is.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use arrow::json::LineDelimitedWriter;
use logs::{
    AccessRequest, Audit, Dataset, Erasure, ErasureState, GatewayHttp, GatewayNetwork, Logs, LogsConfig, MAX_LIMIT,
    McpCall, Person, Query, WorkerInvocation,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use uuid::Uuid;

use crate::fixture::{START, TestClock, account, config, in_bucket, lake, open_with, request, run};

const ADDRESS: &str = "ada@example.com";
const DAY: i64 = 24 * 3_600;

fn ada() -> Person {
    Person { email: ADDRESS.to_owned(), ids: vec!["ada-id".to_owned()] }
}

/// A web request of somebody.
fn visit(second: i64, email: &str) -> GatewayHttp {
    GatewayHttp { email: email.to_owned(), ..request(second, "allow") }
}

async fn ids(logs: &Logs, dataset: Dataset) -> BTreeSet<Uuid> {
    let (mut found, mut before) = (BTreeSet::new(), None);
    loop {
        let query = Query { limit: MAX_LIMIT, before, ..Query::newest(account(1), dataset) };
        let page = logs.query(query).await.unwrap();
        for entry in &page.entries {
            assert!(found.insert(entry.id), "twice");
        }
        before = page.next;
        if before.is_none() {
            return found;
        }
    }
}

async fn reach(logs: &Logs, id: Uuid, state: ErasureState) -> Erasure {
    loop {
        let found = logs.erasures(account(1)).into_iter().find(|erasure| erasure.id == id).unwrap();
        if found.state == state {
            return found;
        }
        tokio::task::yield_now().await;
    }
}

/// Returns every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Returns the files below a directory that hold a text, Parquet decoded.
fn holding(directory: &Path, text: &str) -> Vec<PathBuf> {
    let mut holding = files(directory);
    if in_bucket(directory) {
        holding.extend(files(&lake(directory)));
    }
    holding.retain(|path| {
        let mut bytes = std::fs::read(path).unwrap();
        if path.extension().is_some_and(|extension| extension == "parquet") {
            let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap();
            let mut writer = LineDelimitedWriter::new(&mut bytes);
            reader.build().unwrap().for_each(|batch| writer.write(&batch.unwrap()).unwrap());
            writer.finish().unwrap();
        }
        String::from_utf8_lossy(&bytes).to_lowercase().contains(text)
    });
    holding
}

/// Appends one record of the person and one of somebody else to each dataset; returns those that are to stay.
async fn record_both(logs: &Logs, second: i64) -> Vec<(Dataset, Uuid)> {
    let mut stay = Vec::new();
    let at = jiff::Timestamp::from_second(START + second).unwrap();
    for (email, user) in [("Ada@Example.com", "x"), ("", "ada-id"), ("bob@example.com", "bob-id")] {
        let account_id = account(1).to_string();
        let (email, user_id) = (email.to_owned(), user.to_owned());
        let web = GatewayHttp { user_id: user_id.clone(), ..visit(second, &email) };
        let network = GatewayNetwork {
            id: logs::record_id(),
            datetime: at,
            account_id: account_id.clone(),
            email: email.clone(),
            user_id: user_id.clone(),
            ..GatewayNetwork::default()
        };
        let worker = WorkerInvocation {
            id: logs::record_id(),
            datetime: at,
            account_id: account_id.clone(),
            request_id: web.id.to_string(),
            logs: vec![serde_json::json!({"message": [format!("hello {email}")]})],
            ..WorkerInvocation::default()
        };
        let sign_in = AccessRequest {
            id: logs::record_id(),
            datetime: at,
            account_id: account_id.clone(),
            email: email.clone(),
            user_uid: user_id.clone(),
            ..AccessRequest::default()
        };
        let call = McpCall {
            id: logs::record_id(),
            datetime: at,
            account_id: account_id.clone(),
            user_email: email.clone(),
            user_id,
            ..McpCall::default()
        };
        if email.starts_with("bob") {
            stay.extend([
                (Dataset::GatewayHttp, web.id),
                (Dataset::GatewayNetwork, network.id),
                (Dataset::Worker, worker.id),
                (Dataset::AccessRequests, sign_in.id),
                (Dataset::McpPortalLogs, call.id),
            ]);
        }
        logs.append(web).await.unwrap();
        logs.append(network).await.unwrap();
        logs.append(worker).await.unwrap();
        logs.append(sign_in).await.unwrap();
        logs.append(call).await.unwrap();
    }
    stay
}

#[test]
fn nothing_of_a_person_is_left_in_answers_or_files_and_everything_of_others() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let clock = TestClock::new();
        let logs = open_with(directory.path(), config(&clock)).await.unwrap();
        let mut stay = Vec::new();
        for day in [-3, -2, 0] {
            stay.extend(record_both(&logs, day * DAY - 100).await);
            logs.settle().await.unwrap();
        }
        // Enough commits for a checkpoint, which describes files, too.
        for second in 0..70 {
            let record = visit(second - 200, if second % 2 == 0 { ADDRESS } else { "bob@example.com" });
            stay.extend((second % 2 == 1).then_some((Dataset::GatewayHttp, record.id)));
            logs.append(record).await.unwrap();
            logs.settle().await.unwrap();
        }
        let audit = Audit {
            id: logs::record_id(),
            datetime: clock.now(),
            account_id: account(1).to_string(),
            actor_email: "eve@example.com".to_owned(),
            ..Audit::default()
        };
        stay.push((Dataset::Audit, audit.id));
        logs.append(audit).await.unwrap();
        // In the journal, some of it not even written.
        stay.extend(record_both(&logs, -50).await);
        // What a writer left that was killed before its commit, and in the middle of a file.
        let table = lake(directory.path()).join(account(1).to_string()).join("gateway_http");
        let counts = table.join("_usage/v1");
        let day = files(&table).into_iter().find(|path| path.starts_with(&counts)).unwrap();
        // In a bucket another node may be about to name them: there they go by their age.
        if !in_bucket(directory.path()) {
            std::fs::copy(&day, day.with_file_name("00-0.parquet")).unwrap();
            let day = table.join(day.strip_prefix(&counts).unwrap());
            std::fs::copy(&day, day.with_file_name("00-0.parquet")).unwrap();
            std::fs::copy(&day, day.with_file_name("00-1.parquet#3")).unwrap();
        }
        assert!(!holding(directory.path(), ADDRESS).is_empty());

        let asked = logs.erase(account(1), ada()).await.unwrap();
        let later = visit(1, ADDRESS);
        let later_id = later.id;
        logs.append(later).await.unwrap();
        let erased = reach(&logs, asked.id, ErasureState::Erased).await;
        for (dataset, records) in
            [("gateway_http", 8 + 35), ("worker", 8), ("access_requests", 8), ("mcp_portal_logs", 8)]
        {
            assert_eq!(erased.records[dataset], records, "{dataset}");
        }
        assert_eq!(erased.files_done, erased.files_total);
        stay.push((Dataset::GatewayHttp, later_id));
        for dataset in Dataset::ALL {
            let expected = stay.iter().filter(|(of, _)| *of == dataset).map(|(_, id)| *id).collect();
            assert_eq!(ids(&logs, dataset).await, expected, "{dataset}");
        }

        // The record that arrived later is of them again; without it nothing is left once the grace is over.
        let again = {
            clock.advance(Duration::from_secs(10));
            logs.erase(account(1), ada()).await.unwrap()
        };
        let again = reach(&logs, again.id, ErasureState::Erased).await;
        assert_eq!(again.records, [("gateway_http".to_owned(), 1)].into());
        clock.advance(Duration::from_secs(700));
        logs.settle().await.unwrap();
        reach(&logs, asked.id, ErasureState::Done).await;
        assert_eq!(holding(directory.path(), ADDRESS), Vec::<PathBuf>::new());
        assert_eq!(holding(directory.path(), "ada-id"), Vec::<PathBuf>::new());
        assert!(!holding(directory.path(), "bob@example.com").is_empty());
        logs.shutdown().await;
        drop(logs);

        // The log that was written again is still one, with its checkpoint and without.
        for without_checkpoint in [false, true] {
            if without_checkpoint {
                std::fs::remove_file(table.join("_delta_log/_last_checkpoint")).unwrap();
            }
            let logs = open_with(directory.path(), config(&clock)).await.unwrap();
            let expected = stay.iter().filter(|(of, id)| *of == Dataset::GatewayHttp && *id != later_id);
            assert_eq!(ids(&logs, Dataset::GatewayHttp).await, expected.map(|(_, id)| *id).collect());
            let nothing = logs.erase(account(1), ada()).await.unwrap();
            assert!(reach(&logs, nothing.id, ErasureState::Erased).await.records.is_empty());
            logs.erasures(account(1)).iter().for_each(|erasure| assert_eq!(erasure.failing, None));
            logs.shutdown().await;
        }
    });
}

/// Tells this test, started again as a child, whom to erase in which directory.
const CHILD: &str = "PORTUNUS_TEST_CRASH_ERASER";
const PEOPLE: usize = 6;

/// A file that cannot be read keeps back its own erasure, and neither others nor the upkeep of the lake.
#[test]
fn a_damaged_file_keeps_back_nobody_else() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let clock = TestClock::new();
        let logs = open_with(directory.path(), config(&clock)).await.unwrap();
        logs.append(visit(1, ADDRESS)).await.unwrap();
        logs.append(visit(2, "bob@example.com")).await.unwrap();
        let other = GatewayHttp { account_id: account(2).to_string(), ..visit(3, ADDRESS) };
        logs.append(other).await.unwrap();
        clock.advance(Duration::from_secs(60));
        logs.settle().await.unwrap();
        let of_first = lake(directory.path()).join(account(1).to_string()).join("gateway_http");
        let data = |path: &PathBuf| path.parent().unwrap().parent() == Some(of_first.as_path());
        let damaged = files(&of_first).into_iter().filter(|path| path.extension().is_some_and(|end| end == "parquet"));
        let damaged: Vec<_> = damaged.filter(data).collect();
        assert_eq!(damaged.len(), 1);
        let whole = std::fs::read(&damaged[0]).unwrap();
        std::fs::write(&damaged[0], b"PAR1 nothing of the kind PAR1").unwrap();

        let stuck = logs.erase(account(1), ada()).await.unwrap();
        let free = logs.erase(account(2), ada()).await.unwrap();
        while logs.erasures(account(2))[0].state != ErasureState::Erased {
            tokio::task::yield_now().await;
        }
        assert_eq!(logs.erasures(account(2))[0].id, free.id);
        let failing = logs.erasures(account(1)).remove(0);
        assert!(failing.id == stuck.id && failing.failing.is_some(), "{failing:?}");
        assert!(logs.settle().await.is_err(), "the erasure is still to be done");
        std::fs::write(&damaged[0], whole).unwrap();
        let erased = reach(&logs, stuck.id, ErasureState::Erased).await;
        assert_eq!(erased.records["gateway_http"], 1);
        assert_eq!(ids(&logs, Dataset::GatewayHttp).await.len(), 1);
        logs.shutdown().await;
    });
}

fn person(number: usize) -> String {
    format!("person-{number}@example.com")
}

#[test]
fn an_erasure_that_is_killed_goes_on_and_takes_nobody_elses_records() {
    if let Some(told) = std::env::var_os(CHILD) {
        let told = told.into_string().unwrap();
        let (number, directory) = told.split_once(' ').unwrap();
        run(erase_until_killed(number.parse().unwrap(), directory.as_ref()));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut expected: BTreeSet<Uuid> = BTreeSet::new();
    run(async {
        let logs = open_with(directory.path(), LogsConfig::default()).await.unwrap();
        for _ in 0..30 {
            for number in 0..PEOPLE {
                let mut record = visit(0, &person(number));
                record.datetime = jiff::Timestamp::now();
                expected.extend((number == 0).then_some(record.id));
                logs.append(record).await.unwrap();
            }
            logs.settle().await.unwrap();
        }
        logs.shutdown().await;
    });
    // Each child starts with what the last one left and erases one more person.
    for round in 1..PEOPLE {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "erase::an_erasure_that_is_killed_goes_on_and_takes_nobody_elses_records", "--nocapture"])
            .env(CHILD, format!("{round} {}", directory.path().display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Accepted, and some files on the way: fewer each round, so that the kill meets different steps.
        let wanted = format!("files {}", 3 * (PEOPLE - round));
        while !lines.next().expect("the eraser ended by itself").unwrap().starts_with(&wanted) {}
        child.kill().unwrap();
        child.wait().unwrap();
    }
    run(async {
        let logs = open_with(directory.path(), LogsConfig::default()).await.unwrap();
        for erasure in logs.erasures(account(1)) {
            reach(&logs, erasure.id, ErasureState::Erased).await;
        }
        assert_eq!(logs.erasures(account(1)).len(), PEOPLE - 1);
        assert_eq!(ids(&logs, Dataset::GatewayHttp).await, expected);
        logs.shutdown().await;
    });
}

async fn erase_until_killed(number: usize, directory: &Path) {
    let logs = open_with(directory, LogsConfig::default()).await.unwrap();
    let asked = logs.erase(account(1), Person { email: person(number), ids: Vec::new() }).await.unwrap();
    let mut out = std::io::stdout();
    let mut told = 0;
    loop {
        let all = logs.erasures(account(1));
        let done = all.iter().find(|erasure| erasure.id == asked.id).unwrap();
        for files in told + 1..=done.files_done {
            writeln!(out, "files {files}").unwrap();
            out.flush().unwrap();
        }
        told = told.max(done.files_done);
        tokio::task::yield_now().await;
    }
}
