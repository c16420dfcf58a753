//! `portunus logs erase`: erases what is recorded of a person, and waits until nobody finds it any more.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::{Value, json};
use store::Permission;

use crate::arguments::State;
use crate::commands::door::{Door, Visit, accepted};

const PATH: &str = "/portunus/logs/erasures";
/// How often it is looked how far it is.
const LOOK: Duration = Duration::from_millis(250);
/// How often it is looked in one visit, whose credential lives for a minute.
const LOOKS: u32 = 120;

#[derive(Debug, Deserialize)]
struct Erasure {
    id: String,
    state: String,
    files_done: u64,
    files_total: u64,
    records: BTreeMap<String, u64>,
    error: Option<String>,
}

pub(crate) async fn run(state: &State, email: String, confirm: Option<String>, no_wait: bool) -> Result<ExitCode> {
    let confirm = match confirm {
        Some(confirm) => confirm,
        None => ask(&email)?,
    };
    let body = json!({ "email": email, "confirm": confirm });
    let mut door = Door::find(state).await?;
    let begun = door
        .pass("logs erase", &[Permission::LogsErase], async |visit| {
            let response = visit.request(reqwest::Method::POST, PATH).json(&body).send().await;
            erasure(response.context("cannot reach the platform")?).await
        })
        .await?;
    let Some(mut erasure) = begun else { return Ok(ExitCode::FAILURE) };
    if no_wait {
        println!("{}", erasure.id);
        return Ok(ExitCode::SUCCESS);
    }
    let style = ProgressStyle::with_template("{bar:30} {human_pos} of {human_len} files, {elapsed}{msg}")?;
    let bar = ProgressBar::new(0).with_style(style);
    while matches!(erasure.state.as_str(), "waiting" | "running") {
        let id = erasure.id.clone();
        let waited = door.pass("logs erase", &[Permission::LogsErase], async |visit| follow(&visit, &id, &bar).await);
        let Some(followed) = waited.await? else {
            eprintln!("the erasure {id} goes on without this command");
            return Ok(ExitCode::FAILURE);
        };
        erasure = followed;
    }
    bar.finish_and_clear();
    let mut out = std::io::stdout().lock();
    for (dataset, records) in &erasure.records {
        writeln!(out, "{dataset:<18}{}", HumanCount(*records))?;
    }
    if erasure.records.is_empty() {
        writeln!(out, "nothing was recorded of this person")?;
    }
    eprintln!("erased; files that held the records are deleted within eleven minutes");
    Ok(ExitCode::SUCCESS)
}

/// Has the address typed again.
fn ask(email: &str) -> Result<String> {
    if !std::io::stdin().is_terminal() {
        bail!("this cannot be undone; repeat the address with --confirm");
    }
    eprint!("Everything recorded of {email} will be erased. This cannot be undone. Type the address again: ");
    let mut typed = String::new();
    std::io::stdin().read_line(&mut typed).context("cannot read what is typed")?;
    Ok(typed.trim().to_owned())
}

async fn follow(visit: &Visit<'_>, id: &str, bar: &ProgressBar) -> Result<Erasure> {
    let mut last = None;
    for _ in 0..LOOKS {
        let response = visit.request(reqwest::Method::GET, &format!("{PATH}/{id}")).send().await;
        let found = erasure(response.context("cannot reach the platform")?).await?;
        bar.set_length(found.files_total);
        bar.set_position(found.files_done);
        bar.set_message(found.error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default());
        let runs = matches!(found.state.as_str(), "waiting" | "running");
        last = Some(found);
        if !runs {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    last.context("the platform does not tell how far it is")
}

async fn erasure(response: reqwest::Response) -> Result<Erasure> {
    let mut envelope: Value = accepted(response).await?.json().await?;
    serde_json::from_value(envelope["result"].take()).context("the platform's answer cannot be read")
}
