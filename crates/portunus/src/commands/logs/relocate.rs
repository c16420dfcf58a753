//! `portunus logs move`: moves the lake from its directory into the bucket that the configuration names.

use std::process::ExitCode;

use anyhow::{Result, bail};
use indicatif::{HumanBytes, HumanCount};
use logs::Logs;

use crate::arguments::State;
use crate::commands::state;

pub(crate) async fn run(flags: &State) -> Result<ExitCode> {
    let config = state::load(flags)?;
    let Some(bucket) = config.bucket else {
        bail!("the configuration names no bucket: give [logs.bucket] a url, and this command the file with --config");
    };
    let now = (server::clock())();
    let tell = |moved: logs::Moved| {
        eprintln!("{} records, {} in the bucket", HumanCount(moved.rows), HumanBytes(moved.bytes));
    };
    let moved = Logs::move_lake(&config.logs, &bucket, now, tell).await?;
    println!(
        "{} tables, {} files, {} records are in {}",
        HumanCount(moved.tables),
        HumanCount(moved.files),
        HumanCount(moved.rows),
        bucket.url()
    );
    Ok(ExitCode::SUCCESS)
}
