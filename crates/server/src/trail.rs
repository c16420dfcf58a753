//! The audit records of commands that change the store beside a running platform, or while none runs.
//!
//! The journal has one writer, the platform. A command leaves its record in the data directory, and the platform that
//! runs over it, or the next one that starts, moves it to the journal. Invariant: a record is removed from the directory
//! only once it is in the journal; one that is found again after a crash is recorded twice rather than not at all.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use logs::{Audit, Logs};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use types::AccountId;
use uuid::Uuid;

use crate::ready::write_private;

/// Where records wait, in the data directory.
const WAITING: &str = "audit-waiting";
/// How often the platform looks for them.
const LOOK: Duration = Duration::from_secs(1);
/// How many are moved at once.
const AT_ONCE: usize = 256;
/// Largest record, in bytes; a larger file is none.
const MAX_RECORD: u64 = 64 * 1024;
/// Who acts on the command line: whoever may read the data directory.
const ACTOR: &str = "command line";

/// One change that a command made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// `create`, `update` or `delete`.
    pub verb: String,
    /// The kind of what was changed, as the console's own records name it.
    pub resource: String,
    /// Which one.
    pub id: String,
    /// What is there after it, without secrets.
    pub after: Value,
}

/// A record on its way.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Waiting {
    version: u32,
    id: Uuid,
    at: Timestamp,
    account: AccountId,
    /// The user of the operating system that ran the command.
    uid: u32,
    change: Change,
}

/// Leaves the record of a change for the platform.
///
/// # Errors
/// The data directory cannot be written; the change itself stands.
pub fn leave(data: &Path, account: AccountId, uid: u32, change: Change) -> std::io::Result<()> {
    let directory = data.join(WAITING);
    DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
    let id = Uuid::now_v7();
    let waiting = Waiting { version: 1, id, at: Timestamp::now(), account, uid, change };
    write_private(&directory.join(format!("{id}.json")), &serde_json::to_vec(&waiting)?)
}

/// Moves waiting records to the journal until `stop`.
pub(crate) async fn collect(data: PathBuf, logs: Logs, stop: CancellationToken) {
    let directory = data.join(WAITING);
    loop {
        if let Err(error) = collect_once(&directory, &logs).await {
            tracing::warn!(%error, "audit records of the command line wait in {}", directory.display());
        }
        if stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
            return;
        }
    }
}

async fn collect_once(directory: &Path, logs: &Logs) -> anyhow::Result<()> {
    let from = directory.to_owned();
    let found = tokio::task::spawn_blocking(move || waiting(&from)).await??;
    for (path, record) in found {
        match record {
            Some(record) => {
                let receipt = logs.append(audit(record)).await?;
                logs.written(receipt).await?;
                tokio::fs::remove_file(&path).await?;
            }
            None => {
                tracing::warn!("{} is no audit record and was set aside", path.display());
                tokio::fs::rename(&path, path.with_extension("unreadable")).await?;
            }
        }
    }
    Ok(())
}

/// Reads the oldest records, in their order: their names begin with the time.
fn waiting(directory: &Path) -> std::io::Result<Vec<(PathBuf, Option<Waiting>)>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort_unstable();
    paths.truncate(AT_ONCE);
    paths
        .into_iter()
        .map(|path| {
            let fits = std::fs::metadata(&path)?.len() <= MAX_RECORD;
            let bytes = if fits { std::fs::read(&path)? } else { Vec::new() };
            Ok((path, serde_json::from_slice(&bytes).ok()))
        })
        .collect()
}

fn audit(waiting: Waiting) -> Audit {
    let Waiting { id, at, account, uid, change, .. } = waiting;
    Audit {
        id,
        datetime: at,
        account_id: account.to_string(),
        action_result: true,
        action_type: change.verb,
        actor_type: "system".to_owned(),
        actor_id: ACTOR.to_owned(),
        interface: "CLI".to_owned(),
        resource_type: change.resource,
        resource_id: change.id,
        new_value: Some(change.after),
        metadata: Some(serde_json::json!({ "uid": uid })),
        ..Audit::default()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use logs::{Dataset, LogsConfig, Query};
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn records_wait_for_the_platform_and_what_is_none_stands_in_nobodys_way() {
        let data = tempfile::tempdir().unwrap();
        let account = AccountId(Uuid::from_u128(1));
        for name in ["first", "second"] {
            let change = Change {
                verb: "create".into(),
                resource: "token".into(),
                id: name.into(),
                after: json!({"name": name}),
            };
            leave(data.path(), account, 1000, change).unwrap();
        }
        let directory = data.path().join(WAITING);
        assert_eq!(std::fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::write(directory.join("0.json"), "no record").unwrap();

        let logs = Logs::open(&data.path().join("logs"), LogsConfig::default()).await.unwrap();
        collect_once(&directory, &logs).await.unwrap();
        collect_once(&directory, &logs).await.unwrap();
        let found = logs.query(Query::newest(account, Dataset::Audit)).await.unwrap();
        let told: Vec<_> =
            found.entries.iter().map(|entry| (&entry.fields["ResourceID"], &entry.fields["Interface"])).collect();
        assert_eq!(told, [(&json!("second"), &json!("CLI")), (&json!("first"), &json!("CLI"))]);
        let left: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["0.unreadable"]);
    }
}
