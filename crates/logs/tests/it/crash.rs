//! A process that is killed in the middle of appending loses nothing older than the write interval.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use logs::{Dataset, Logs, LogsConfig};
use uuid::Uuid;

use crate::fixture::{account, open, request, run};

/// Tells this test, started again as a child, to be the writer in the given directory.
const CHILD: &str = "PORTUNUS_TEST_CRASH_APPENDER";
const ROUNDS: usize = 6;

/// The child appends without pause and prints an id once the journal says it is written, which it is at most one write
/// interval after it was accepted.
#[test]
fn a_killed_process_loses_nothing_that_was_written() {
    if let Some(directory) = std::env::var_os(CHILD) {
        run(append_until_killed(directory.as_ref()));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut written = Vec::new();
    for round in 0..ROUNDS {
        let wanted = 3 + round * 29;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::a_killed_process_loses_nothing_that_was_written", "--nocapture"])
            .env(CHILD, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        while seen < wanted {
            let line = lines.next().expect("the appender ended by itself").unwrap();
            if let Some(id) = line.strip_prefix("written ") {
                written.push(id.parse::<Uuid>().unwrap());
                seen += 1;
            }
        }
        child.kill().unwrap();
        // What it said after our last look counts as well; its last line may be torn.
        let rest = lines.map_while(Result::ok);
        written.extend(rest.filter_map(|line| line.strip_prefix("written ")?.parse::<Uuid>().ok()));
        child.wait().unwrap();
        run(check(directory.path(), &written));
    }
}

async fn append_until_killed(directory: &Path) {
    let logs = Logs::open(directory, LogsConfig { segment_bytes: 200_000, ..LogsConfig::default() }).await.unwrap();
    let mut out = std::io::stdout();
    loop {
        let mut last = None;
        for second in 0..40 {
            let record = request(second, "allow");
            let id = record.id;
            last = Some((id, logs.append(record).await.unwrap()));
        }
        let (id, receipt) = last.unwrap();
        logs.written(receipt).await.unwrap();
        writeln!(out, "written {id}").unwrap();
        out.flush().unwrap();
    }
}

async fn check(directory: &Path, written: &[Uuid]) {
    let logs = open(directory).await;
    for id in written {
        let found = logs.get(account(1), Dataset::GatewayHttp, *id).await.unwrap();
        assert!(found.is_some(), "record {id} is gone");
    }
    logs.shutdown().await;
}
