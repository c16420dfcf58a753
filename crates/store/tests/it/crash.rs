//! A process that is killed in the middle of writing loses nothing it acknowledged.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use store::{Expiry, KvNamespace, Location, Store, WriteKv};
use types::KvNamespaceId;
use uuid::Uuid;

use crate::fixture::{TestClock, config, grant, run};

/// Tells this test, started again as a child, to be the writer in the given directory.
const CHILD: &str = "PORTUNUS_TEST_CRASH_WRITER";
const ROUNDS: u32 = 6;

#[test]
fn a_killed_writer_loses_no_acknowledged_write() {
    if let Some(directory) = std::env::var_os(CHILD) {
        run(write_until_killed(directory.as_ref()));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        // Killed after a different number of writes each time, wherever the next one then stands.
        let wanted = 5 + round * 17;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::a_killed_writer_loses_no_acknowledged_write", "--nocapture"])
            .env(CHILD, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        while seen < wanted {
            let line = lines.next().expect("the writer ended by itself").unwrap();
            if let Some(key) = line.strip_prefix("acknowledged ") {
                acknowledged.push(key.to_owned());
                seen += 1;
            }
        }
        child.kill().unwrap();
        // What it said after our last look counts as well.
        acknowledged.extend(
            lines
                .map_while(Result::ok)
                .filter_map(|line| line.strip_prefix("acknowledged ").filter(|key| key.len() == 36).map(str::to_owned)),
        );
        child.wait().unwrap();
        run(check(directory.path(), &acknowledged));
    }
}

fn namespace() -> KvNamespaceId {
    KvNamespaceId(Uuid::from_u128(1))
}

async fn open(directory: &Path) -> Store {
    let mut config = config(Location::Sqlite(directory.join("portunus.db")), &TestClock::new());
    config.key = store::KeySource::File(directory.join("sealing.key"));
    config.limits.kv_keys = 1_000_000;
    Store::open(config).await.unwrap()
}

async fn write_until_killed(directory: &Path) {
    let store = open(directory).await;
    let grant = grant::<WriteKv>();
    store.kv().put(&grant, namespace(), KvNamespace { title: "n".into() }).await.unwrap();
    let mut out = std::io::stdout();
    loop {
        let key = Uuid::new_v4().to_string();
        store.kv().put_value(&grant, namespace(), &key, b"value".to_vec(), None, Expiry::Never).await.unwrap();
        writeln!(out, "acknowledged {key}").unwrap();
        out.flush().unwrap();
    }
}

async fn check(directory: &Path, acknowledged: &[String]) {
    let store = open(directory).await;
    for key in acknowledged {
        let value = store.kv().value(&grant::<WriteKv>(), namespace(), key).await.unwrap();
        assert!(value.is_some(), "acknowledged write {key} is gone");
    }
    store.close().await;
}
