//! A process that is killed in the middle of appending, taking over or merging loses nothing older than the write interval,
//! and has nothing twice.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use logs::{Dataset, LogsConfig, MAX_LIMIT, Query};
use uuid::Uuid;

use crate::fixture::{account, lake, open, open_with, request, run};

/// Tells this test, started again as a child, to be the writer in the given directory.
const CHILD: &str = "PORTUNUS_TEST_CRASH_APPENDER";
const ROUNDS: usize = 8;

/// The child appends without pause and prints an id once the journal says it is written, which it is at most one write
/// interval after it was accepted.
#[test]
fn a_killed_process_loses_nothing_that_was_written() {
    if let Some(directory) = std::env::var_os(CHILD) {
        run(append_until_killed(directory.as_ref(), jiff::SignedDuration::ZERO));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut written = Vec::new();
    for round in 0..ROUNDS {
        let mut child = Child::start("crash::a_killed_process_loses_nothing_that_was_written", directory.path());
        child.written(3 + round * 13, &mut written);
        child.kill(&mut written);
        run(check(directory.path(), &written));
    }
}

/// Records of yesterday are merged into one file each time some are taken over, so that nearly all that is written is written by
/// a merge. The child is killed when a file is written and hardly part of the table.
#[test]
fn a_process_killed_while_it_merges_has_every_record_once() {
    if let Some(directory) = std::env::var_os(CHILD) {
        run(append_until_killed(directory.as_ref(), jiff::SignedDuration::from_hours(24)));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut written = Vec::new();
    for _ in 0..ROUNDS {
        let mut child = Child::start("crash::a_process_killed_while_it_merges_has_every_record_once", directory.path());
        child.written(60, &mut written);
        let before = files(&lake(directory.path()));
        while files(&lake(directory.path())).is_subset(&before) {
            child.written(1, &mut written);
        }
        child.kill(&mut written);
        run(check(directory.path(), &written));
    }
}

/// Returns the files of records below a folder.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    // What is written or deleted meanwhile may be gone between two looks.
    let Ok(entries) = std::fs::read_dir(folder) else { return BTreeSet::new() };
    let paths = entries.flatten().map(|entry| entry.path()).filter(|path| !path.ends_with("_usage"));
    let found = paths.flat_map(|path| match path.extension() {
        Some(extension) if extension == "parquet" => BTreeSet::from([path]),
        _ => files(&path),
    });
    found.collect()
}

/// A process that appends.
struct Child {
    process: std::process::Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Child {
    fn start(test: &str, directory: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(CHILD, directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    /// Waits until it says of so many records that they are written.
    fn written(&mut self, wanted: usize, written: &mut Vec<Uuid>) {
        let mut seen = 0;
        while seen < wanted {
            let line = self.lines.next().expect("the appender ended by itself").unwrap();
            if let Some(id) = line.strip_prefix("written ") {
                written.push(id.parse::<Uuid>().unwrap());
                seen += 1;
            }
        }
    }

    fn kill(mut self, written: &mut Vec<Uuid>) {
        self.process.kill().unwrap();
        // What it said after our last look counts as well; its last line may be torn.
        let rest = self.lines.map_while(Result::ok);
        written.extend(rest.filter_map(|line| line.strip_prefix("written ")?.parse::<Uuid>().ok()));
        self.process.wait().unwrap();
    }
}

async fn append_until_killed(directory: &Path, ago: jiff::SignedDuration) {
    let logs = open_with(directory, LogsConfig { segment_bytes: 100_000, ..LogsConfig::default() }).await.unwrap();
    let mut out = std::io::stdout();
    loop {
        let mut last = None;
        for second in 0..40 {
            let mut record = request(second, "allow");
            record.datetime = jiff::Timestamp::now() - ago;
            let id = record.id;
            last = Some((id, logs.append(record).await.unwrap()));
        }
        let (id, receipt) = last.unwrap();
        logs.written(receipt).await.unwrap();
        writeln!(out, "written {id}").unwrap();
        out.flush().unwrap();
    }
}

/// Every record that was written is there once, in the journal or in the lake, and none twice.
async fn check(directory: &Path, written: &[Uuid]) {
    let logs = open(directory).await;
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let query = Query { limit: MAX_LIMIT, before, ..Query::newest(account(1), Dataset::GatewayHttp) };
        let page = logs.query(query).await.unwrap();
        found.extend(page.entries.iter().map(|entry| entry.id));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    let unique: BTreeSet<_> = found.iter().copied().collect();
    assert_eq!(unique.len(), found.len(), "some records are there twice");
    for id in written {
        assert!(unique.contains(id), "record {id} is gone");
    }
    logs.shutdown().await;
}
