//! Generated records in a journal: all of them, once, however often loading is cut off.

use logs::{Dataset, Logs, LogsConfig, Query};
use portunus_generate::{Plan, append, resume};

use crate::laws::account;

fn plan(rows: u64) -> Plan {
    Plan::last_days(account(), "2026-11-22T20:00:00Z".parse().unwrap(), 30, rows)
}

fn config() -> LogsConfig {
    LogsConfig { clock: std::sync::Arc::new(|| "2026-11-22T21:00:00Z".parse().unwrap()), ..LogsConfig::default() }
}

const DATASETS: [Dataset; 4] =
    [Dataset::GatewayHttp, Dataset::GatewayNetwork, Dataset::AccessRequests, Dataset::McpPortalLogs];

/// How many records there are, and how many different ones.
async fn counted(logs: &Logs) -> (usize, usize) {
    let mut all = Vec::new();
    for dataset in DATASETS {
        let mut query = Query { limit: logs::MAX_LIMIT, ..Query::newest(account(), dataset) };
        loop {
            let page = logs.query(query.clone()).await.unwrap();
            all.extend(page.entries.iter().map(|entry| entry.id));
            match page.next {
                Some(next) => query.before = Some(next),
                None => break,
            }
        }
    }
    let records = all.len();
    all.sort_unstable();
    all.dedup();
    (records, all.len())
}

#[tokio::test]
async fn what_is_planned_is_in_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    let logs = Logs::open(directory.path(), config()).await.unwrap();
    let mut reported = Vec::new();
    let loaded = append(&plan(3_000), &logs, |behind| reported.push(behind)).await.unwrap();
    assert_eq!((loaded.added, loaded.present), (3_000, 0));
    assert_eq!(reported, [1_024, 2_048, 3_000]);
    assert_eq!(counted(&logs).await, (3_000, 3_000));
    logs.shutdown().await;
}

#[tokio::test]
async fn loading_that_was_cut_off_goes_on_and_doubles_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let plan = plan(8_000);
    let mut present = 0;
    for cut in [1_024_u64, 3_072, 3_072, 6_144] {
        let logs = Logs::open(directory.path(), config()).await.unwrap();
        {
            let (stop, stopped) = tokio::sync::oneshot::channel();
            let mut stop = Some(stop);
            let loading = resume(&plan, &logs, |behind| {
                if behind >= cut
                    && let Some(stop) = stop.take()
                {
                    let _ = stop.send(());
                }
            });
            tokio::select! {
                biased;
                _ = stopped => {}
                _ = loading => panic!("it was to be cut off"),
            }
        }
        logs.shutdown().await;
        let logs = Logs::open(directory.path(), config()).await.unwrap();
        let (records, different) = counted(&logs).await;
        assert_eq!(records, different);
        assert!(records >= present, "{records} after {present}");
        present = records;
        logs.shutdown().await;
    }
    assert!(present > 4_000, "{present}");
    let logs = Logs::open(directory.path(), config()).await.unwrap();
    let loaded = resume(&plan, &logs, |_| {}).await.unwrap();
    assert_eq!(loaded.present as usize, present);
    assert_eq!(counted(&logs).await, (8_000, 8_000));
    let again = resume(&plan, &logs, |_| {}).await.unwrap();
    assert_eq!((again.added, again.present), (0, 8_000));
    logs.shutdown().await;
}
