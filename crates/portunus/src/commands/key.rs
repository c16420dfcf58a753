//! `portunus key rotate | forget`.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde_json::json;
use store::{Grant, Operate, Resealed, StoreError};

use super::state::Opened;
use crate::arguments::Key;

/// How often a secret that someone else saved meanwhile is tried again.
const ATTEMPTS: usize = 5;

pub(crate) async fn run(key: Key) -> Result<ExitCode> {
    match key {
        Key::Rotate { state, json } => {
            let opened = Opened::open(&state).await?;
            let grants = grants(&opened).await?;
            let mut before = 0;
            for grant in &grants {
                before += opened.store.sealed_before(grant).await?;
            }
            // A rotation that was stopped has its key already; another one would only make the file longer.
            let resumed = before > 0;
            if !resumed {
                opened.store.add_sealing_key(&grants[0]).await.context("cannot add a key to the key file")?;
            }
            let mut sealed = 0;
            for grant in &grants {
                sealed += reseal(&opened, grant, json).await?;
            }
            opened.record(
                "update",
                "sealing_key",
                "",
                json!({ "rotated": true, "resumed": resumed, "sealed": sealed }),
            )?;
            opened.store.close().await;
            if json {
                println!("{}", json!({ "rotated": true, "resumed": resumed, "sealed": sealed }));
            } else {
                let how = if resumed { "finished the rotation that was interrupted" } else { "rotated" };
                println!("{how}: {sealed} secrets are sealed with the new key");
                eprintln!(
                    "Copy the key file to every other node and to where you keep its copy. The older keys are still in \
                     it; `portunus key forget` removes them."
                );
            }
        }
        Key::Forget { state, json } => {
            let opened = Opened::open(&state).await?;
            let grants = grants(&opened).await?;
            let removed = match opened.store.remove_old_sealing_keys(&grants).await {
                Err(StoreError::Stale(_)) => {
                    bail!("some secrets are still sealed with an older key: run `portunus key rotate` first")
                }
                removed => removed.context("the older keys stay")?,
            };
            opened.record("delete", "sealing_key", "", json!({ "removed": removed }))?;
            opened.store.close().await;
            if json {
                println!("{}", json!({ "removed": removed }));
            } else {
                println!("removed {removed} older keys");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The right to open secrets, for every account; the key file is theirs together.
async fn grants(opened: &Opened) -> Result<Vec<Grant<Operate>>> {
    let principal = opened.principal();
    let accounts = opened.store.accounts(principal).await?;
    Ok(accounts.iter().map(|account| principal.authorize(account.id)).collect::<Result<_, _>>()?)
}

async fn reseal(opened: &Opened, grant: &Grant<Operate>, json: bool) -> Result<usize> {
    let bar = indicatif::ProgressBar::no_length();
    let mut sealed = 0;
    for attempt in 1.. {
        let show = |so_far: Resealed| {
            if json {
                // Whoever reads may have gone; the rotation goes on.
                let _ = writeln!(std::io::stdout(), "{}", json!({ "sealed": so_far.done, "of": so_far.of }));
            } else {
                bar.set_length(u64::try_from(so_far.of).unwrap_or(u64::MAX));
                bar.set_position(u64::try_from(so_far.done).unwrap_or(u64::MAX));
            }
            sealed += 1;
        };
        match opened.store.reseal(grant, show).await {
            Ok(_) => break,
            Err(StoreError::Stale(_)) if attempt < ATTEMPTS => {}
            Err(error) => {
                return Err(error).context(
                    "the rotation is not finished; nothing is lost, run `portunus key rotate` again to go on",
                );
            }
        }
    }
    bar.finish_and_clear();
    Ok(sealed)
}
