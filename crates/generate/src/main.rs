//! `cargo xtask generate`: puts generated traffic into the journal of a data directory.
//!
//! A development tool: it is not part of the product. Invariant: it never writes beside a running platform.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use generate::{Plan, Share};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use jiff::Timestamp;
use logs::{Logs, LogsConfig, OpenError};
use portunus_generate as generate;
use store::{Account, KeySource, Location, Operate, Principal, Store, StoreConfig};
use types::AccountId;
use uuid::Uuid;

/// Puts generated traffic into the journal of a data directory.
#[derive(Parser)]
#[command(name = "cargo xtask generate")]
struct Arguments {
    /// The data directory, as `portunus up --data` takes it. One without an account gets one.
    #[arg(long)]
    data: PathBuf,
    /// How many records, of all datasets together.
    #[arg(long)]
    rows: u64,
    /// How many days they spread over, to the end of the period.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3_660))]
    days: u32,
    /// The end of the period, as in `2026-11-01T00:00:00Z`; now, when it is left out.
    #[arg(long)]
    until: Option<Timestamp>,
    /// The same seed over the same period makes the same records.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many people; in proportion to the records, when it is left out.
    #[arg(long)]
    people: Option<usize>,
    /// Web requests alone, without connections, sign-ins and calls of tools.
    #[arg(long)]
    web_only: bool,
}

/// Bytes that may wait for the disk.
const QUEUE: usize = 64 << 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let store = open_store(&arguments.data).await?;
    let account = account(&store).await?;
    let logs = open_logs(&arguments.data).await?;
    let mut plan =
        Plan::last_days(account, arguments.until.unwrap_or_else(Timestamp::now), arguments.days, arguments.rows);
    plan.seed = arguments.seed;
    plan.applications = generate::catalogued(&catalog::Catalog::embedded());
    plan.people = arguments.people.unwrap_or(plan.people);
    if arguments.web_only {
        plan.share = Share::WebOnly;
    }
    let bar = ProgressBar::new(plan.rows);
    let style = "{bar:32} {human_pos} of {human_len} records, {per_sec}, {eta} left";
    bar.set_style(ProgressStyle::with_template(style)?);
    let loaded = generate::append(&plan, &logs, |behind| bar.set_position(behind)).await;
    // History belongs into the lake, where other programs find it, too.
    let settled = logs.settle().await;
    logs.shutdown().await;
    store.close().await;
    let loaded = loaded?;
    settled?;
    bar.finish_and_clear();
    let rate = HumanCount((loaded.added as f64 / bar.elapsed().as_secs_f64().max(0.001)) as u64);
    eprintln!(
        "{} records of {} people over {} days for account {account}, {rate} a second",
        HumanCount(loaded.added),
        HumanCount(plan.people as u64),
        arguments.days
    );
    Ok(())
}

async fn open_store(data: &Path) -> Result<Store> {
    std::fs::create_dir_all(data).with_context(|| format!("cannot create {}", data.display()))?;
    let location = Location::Sqlite(data.join("portunus.db"));
    let config = StoreConfig::new(location, KeySource::File(data.join("sealing.key")));
    Store::open(config).await.with_context(|| format!("cannot open the store in {}", data.display()))
}

/// The account that the records are for.
async fn account(store: &Store) -> Result<AccountId> {
    let system = Principal::system("generate");
    if let Some(account) = store.accounts(&system).await?.first() {
        return Ok(account.id);
    }
    let id = AccountId(Uuid::new_v4());
    let grant = system.authorize::<Operate>(id)?;
    store.create_account(&grant, Account { name: "Portunus".into() }).await?;
    Ok(id)
}

async fn open_logs(data: &Path) -> Result<Logs> {
    let config = LogsConfig {
        queue_bytes: QUEUE,
        append_deadline: Duration::from_secs(60),
        // What is kept is decided by the platform that starts over it.
        max_bytes: u64::MAX,
        ..LogsConfig::default()
    };
    match Logs::open(&data.join("logs"), config).await {
        Ok(logs) => Ok(logs),
        Err(OpenError::InUse(_)) => bail!(
            "a platform runs over {0}, and only one process writes its journal: stop it, or name another directory with --data",
            data.display()
        ),
        Err(error) => Err(error).with_context(|| format!("cannot open the journal in {}", data.display())),
    }
}
