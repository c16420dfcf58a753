//! `portunus logs push`: the push jobs, how each is, and what is done with them at once.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use store::Permission;

use crate::arguments::{Push, State};
use crate::commands::door::{Door, accepted};

const JOBS: &str = "/logpush/jobs";
const REASON: &str = "logs push";

#[derive(Debug, Deserialize)]
struct Job {
    id: u64,
    name: String,
    dataset: String,
    destination_conf: String,
    error_message: Option<String>,
    portunus: Standing,
}

#[derive(Debug, Deserialize)]
struct Standing {
    state: String,
    behind_records: u64,
    sent_records: u64,
    missed: Vec<Gap>,
}

#[derive(Debug, Deserialize)]
struct Gap {
    from: String,
    until: String,
    records: u64,
}

pub(crate) async fn run(state: &State, action: Option<(Push, u64)>, as_json: bool) -> Result<ExitCode> {
    let mut door = Door::find(state).await?;
    let (method, path, body) = match action {
        None => (Method::GET, JOBS.to_owned(), None),
        Some((Push::Test, job)) => (Method::POST, format!("/portunus{JOBS}/{job}/test"), None),
        Some((Push::Pause, job)) => (Method::PUT, format!("{JOBS}/{job}"), Some(json!({"enabled": false}))),
        Some((Push::Resume, job)) => (Method::PUT, format!("{JOBS}/{job}"), Some(json!({"enabled": true}))),
        Some((Push::Delete, job)) => (Method::DELETE, format!("{JOBS}/{job}"), None),
    };
    let lists = action.is_none();
    let permission = if lists { Permission::LogsRead } else { Permission::LogsWrite };
    // The audit log is sent by those alone who may read it, which a job of it asks when it is changed.
    let permissions = [permission, Permission::AuditRead];
    let answered = door.pass(REASON, &permissions, async |visit| {
        let request = visit.request(method.clone(), &path);
        let request = match &body {
            Some(body) => request.json(body),
            None => request,
        };
        let response = request.send().await.context("cannot reach the platform")?;
        let mut envelope: Value = accepted(response).await?.json().await?;
        Ok(envelope["result"].take())
    });
    let Some(result) = answered.await? else { return Ok(ExitCode::FAILURE) };
    let mut out = std::io::stdout().lock();
    if as_json {
        writeln!(out, "{result}")?;
    } else if lists {
        let jobs: Vec<Job> = serde_json::from_value(result).context("the platform's answer cannot be read")?;
        if jobs.is_empty() {
            writeln!(out, "no push jobs")?;
        }
        for job in &jobs {
            tell(&mut out, job)?;
        }
    } else if let Some(false) = result["valid"].as_bool() {
        eprintln!("the test record did not arrive: {}", result["message"].as_str().unwrap_or_default());
        return Ok(ExitCode::FAILURE);
    } else {
        writeln!(out, "done")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(out: &mut impl std::io::Write, job: &Job) -> Result<()> {
    let Job { id, name, dataset, destination_conf, error_message, portunus } = job;
    let address = destination_conf.split('?').next().unwrap_or_default();
    writeln!(out, "{id:<12}{:<10}{dataset:<22}{address}  {name}", portunus.state)?;
    if portunus.sent_records + portunus.behind_records > 0 {
        writeln!(out, "            sent {}, at most {} wait", portunus.sent_records, portunus.behind_records)?;
    }
    if let Some(error) = error_message {
        writeln!(out, "            {error}")?;
    }
    for Gap { from, until, records } in &portunus.missed {
        writeln!(out, "            missed {records} of {from} to {until}")?;
    }
    Ok(())
}
