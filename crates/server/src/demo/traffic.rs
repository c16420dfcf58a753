//! A month of generated traffic for the demo, so that its pages have something to show.
//!
//! It is put in once, in the background of the first start over a new data directory, and goes on at the next start when
//! it was cut off. What is to be made is written down before anything is made. Invariant: no data directory that held
//! an account before gets any of it, and none gets it twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use console::GeneratedTraffic;
use generate::Plan;
use jiff::Timestamp;
use logs::Logs;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use types::AccountId;

/// What is kept of the plan, beside the journal.
const FILE: &str = "demo-traffic.json";
const VERSION: u32 = 1;
const DAYS: u32 = 30;
const ROWS: u64 = 60_000;
/// Also what makes a demo of today look like one of yesterday.
const SEED: u64 = 20_261;

/// What is to be made, or was.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marker {
    version: u32,
    seed: u64,
    /// The end of the period.
    until: Timestamp,
    days: u32,
    rows: u64,
    done: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    #[error("cannot keep what traffic the demo generates in {path}")]
    Keep { path: PathBuf, source: std::io::Error },
    #[error("{path} is not what the demo wrote: remove it, and the demo shows no generated traffic")]
    Read { path: PathBuf, source: serde_json::Error },
}

/// Decides that a new data directory gets traffic, before it has an account.
///
/// # Errors
/// The file cannot be written.
pub fn claim(data: &Path, now: Timestamp) -> Result<(), TrafficError> {
    let path = data.join(FILE);
    if path.exists() {
        return Ok(());
    }
    write(data, &Marker { version: VERSION, seed: SEED, until: now, days: DAYS, rows: ROWS, done: false })
}

/// Traffic of a data directory: what the console says of it, and what is still to be done.
pub struct Traffic {
    pub shown: Arc<GeneratedTraffic>,
    data: PathBuf,
    marker: Marker,
}

/// Says which traffic was generated in a data directory, if any was.
///
/// # Errors
/// There is a file of that name that says something else.
pub fn find(data: &Path) -> Result<Option<Traffic>, TrafficError> {
    let path = data.join(FILE);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(TrafficError::Keep { path, source }),
    };
    let marker: Marker = serde_json::from_slice(&text).map_err(|source| TrafficError::Read { path, source })?;
    let plan = plan(&marker, AccountId(uuid::Uuid::nil()));
    let shown = Arc::new(GeneratedTraffic::new(plan.from, plan.to, if marker.done { 100 } else { 0 }));
    Ok(Some(Traffic { shown, data: data.to_path_buf(), marker }))
}

impl Traffic {
    /// Puts in what is missing, until it is all there or the platform stops.
    pub async fn fill(mut self, account: AccountId, logs: Logs, stop: CancellationToken) {
        if self.marker.done {
            return;
        }
        let applications = generate::catalogued(&catalog::Catalog::embedded());
        let plan = Plan { applications, ..plan(&self.marker, account) };
        let filling = generate::resume(&plan, &logs, |behind| self.shown.reach(behind * 100 / plan.rows.max(1)));
        let filled = tokio::select! {
            filled = filling => filled,
            () = stop.cancelled() => return,
        };
        if let Err(error) = filled {
            tracing::warn!(%error, "the demo's traffic could not be generated; the next start tries again");
            return;
        }
        self.marker.done = true;
        if let Err(error) = write(&self.data, &self.marker) {
            tracing::warn!(%error, "the next start looks again whether all of the demo's traffic is there");
        }
        self.shown.reach(100);
    }
}

/// Returns what is thought of the applications that people use most, by their numbers.
pub(super) fn statuses() -> BTreeMap<u32, catalog::Status> {
    let all = generate::catalogued(&catalog::Catalog::embedded());
    let reviewed = all.iter().take(generate::built_in().len()).filter_map(|application| {
        let id = u32::try_from(application.id).ok().filter(|id| *id != 0)?;
        let status = catalog::Status::named(application.status.as_str())?;
        (status != catalog::Status::Unreviewed).then_some((id, status))
    });
    reviewed.collect()
}

fn plan(marker: &Marker, account: AccountId) -> Plan {
    Plan { seed: marker.seed, ..Plan::last_days(account, marker.until, marker.days, marker.rows) }
}

/// Writes the marker so that a kill leaves the old one or the new one.
fn write(data: &Path, marker: &Marker) -> Result<(), TrafficError> {
    let path = data.join(FILE);
    let fail = |source| TrafficError::Keep { path: path.clone(), source };
    let text = serde_json::to_vec_pretty(marker).map_err(|error| fail(error.into()))?;
    let beside = data.join(format!("{FILE}.new"));
    let mut file = std::fs::File::create(&beside).map_err(fail)?;
    std::io::Write::write_all(&mut file, &text).map_err(fail)?;
    file.sync_all().map_err(fail)?;
    std::fs::rename(&beside, &path).map_err(fail)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use logs::{Dataset, Logs, LogsConfig, Query};
    use tokio_util::sync::CancellationToken;
    use types::AccountId;
    use uuid::Uuid;

    use super::{FILE, Marker, claim, find, write};

    const NOW: &str = "2026-11-27T12:00:00Z";

    fn account() -> AccountId {
        AccountId(Uuid::from_u128(5))
    }

    async fn logs(data: &std::path::Path) -> Logs {
        let clock: logs::Clock = Arc::new(|| NOW.parse().unwrap());
        Logs::open(&data.join("logs"), LogsConfig { clock, ..LogsConfig::default() }).await.unwrap()
    }

    /// A small plan in place of the real one.
    fn small(data: &std::path::Path) {
        claim(data, NOW.parse().unwrap()).unwrap();
        let marker: Marker = serde_json::from_slice(&std::fs::read(data.join(FILE)).unwrap()).unwrap();
        write(data, &Marker { rows: 800, ..marker }).unwrap();
    }

    async fn web_requests(logs: &Logs) -> usize {
        let query = Query { limit: 1_000, ..Query::newest(account(), Dataset::GatewayHttp) };
        logs.query(query).await.unwrap().entries.len()
    }

    #[tokio::test]
    async fn a_directory_gets_its_traffic_once() {
        let data = tempfile::tempdir().unwrap();
        assert!(find(data.path()).unwrap().is_none(), "nobody claimed it");
        small(data.path());
        let logs = logs(data.path()).await;
        let traffic = find(data.path()).unwrap().unwrap();
        assert_eq!(traffic.shown.percent(), 0);
        let shown = Arc::clone(&traffic.shown);
        traffic.fill(account(), logs.clone(), CancellationToken::new()).await;
        assert_eq!(shown.percent(), 100);
        let first = web_requests(&logs).await;
        assert!(first > 600, "{first}");
        claim(data.path(), "2026-12-27T12:00:00Z".parse().unwrap()).unwrap();
        let again = find(data.path()).unwrap().unwrap();
        assert_eq!((again.shown.percent(), again.shown.until), (100, NOW.parse().unwrap()));
        again.fill(account(), logs.clone(), CancellationToken::new()).await;
        assert_eq!(web_requests(&logs).await, first);
        logs.shutdown().await;
    }

    #[tokio::test]
    async fn what_was_cut_off_goes_on() {
        let data = tempfile::tempdir().unwrap();
        small(data.path());
        let logs = logs(data.path()).await;
        let stop = CancellationToken::new();
        stop.cancel();
        find(data.path()).unwrap().unwrap().fill(account(), logs.clone(), stop).await;
        // As after a kill: some of it may be there, and the marker says that it was not all.
        let traffic = find(data.path()).unwrap().unwrap();
        assert_eq!(traffic.shown.percent(), 0);
        traffic.fill(account(), logs.clone(), CancellationToken::new()).await;
        let all = web_requests(&logs).await;
        let marker: Marker = serde_json::from_slice(&std::fs::read(data.path().join(FILE)).unwrap()).unwrap();
        write(data.path(), &Marker { done: false, ..marker }).unwrap();
        find(data.path()).unwrap().unwrap().fill(account(), logs.clone(), CancellationToken::new()).await;
        assert_eq!(web_requests(&logs).await, all);
        logs.shutdown().await;
    }

    #[test]
    fn a_foreign_file_is_named() {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join(FILE), "{}").unwrap();
        let error = find(data.path()).err().unwrap().to_string();
        assert!(error.contains(FILE) && error.contains("remove it"), "{error}");
    }
}
