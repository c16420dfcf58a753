//! `portunus logs tail`: the newest records, then those that follow.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use store::Permission;

use crate::arguments::State;
use crate::commands::door::{Door, events, field};

/// Records from before that are shown first.
const RECENT: usize = 10;

pub(crate) async fn run(state: &State, dataset: logs::Dataset, json: bool) -> Result<ExitCode> {
    let mut door = Door::find(state).await?;
    let begun = door
        .pass("logs tail", &[Permission::LogsRead, Permission::AuditRead], async |visit| {
            let path = format!("/portunus/logs/{dataset}");
            begin(|rest| visit.request(reqwest::Method::GET, &format!("{path}{rest}"))).await
        })
        .await?;
    let Some((recent, stream)) = begun else { return Ok(ExitCode::SUCCESS) };
    tokio::select! {
        followed = follow(recent, stream, json) => followed?,
        () = door.asked_to_end() => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens the stream and reads the newest records, newest first.
async fn begin(get: impl Fn(&str) -> reqwest::RequestBuilder) -> Result<(Vec<Value>, reqwest::Response)> {
    // First, so that nothing is missed in between. What comes twice for that is shown once.
    let stream = answered(get("/tail")).await?;
    let page = answered(get(&format!("?limit={RECENT}"))).await?.bytes().await?;
    let page: Page = serde_json::from_slice(&page).context("the platform's answer cannot be read")?;
    Ok((page.result, stream))
}

/// Shows records until the stream ends or nobody reads them any more.
async fn follow(recent: Vec<Value>, mut stream: reqwest::Response, json: bool) -> Result<()> {
    let shown = async {
        for record in recent.iter().rev() {
            show(record, json)?;
        }
        let mut buffer = Vec::new();
        while let Some(chunk) = stream.chunk().await.context("the platform ended the stream")? {
            buffer.extend_from_slice(&chunk);
            for event in events(&mut buffer) {
                print_event(&event, &recent, json)?;
            }
        }
        Ok(())
    };
    match shown.await {
        Err(error) if is_broken_pipe(&error) => Ok(()),
        shown => shown,
    }
}

/// Whether whoever read the records has gone, as `head` does when it has enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Records, newest first.
#[derive(Deserialize)]
struct Page {
    result: Vec<Value>,
}

async fn answered(request: reqwest::RequestBuilder) -> Result<reqwest::Response> {
    let response = request.send().await.context("cannot reach the platform")?;
    if !response.status().is_success() {
        bail!("{}: {}", response.status(), response.text().await?);
    }
    Ok(response)
}

/// Prints one server-sent event (WHATWG HTML, section 9.2), unless it tells of a record that was shown.
fn print_event(event: &str, shown: &[Value], json: bool) -> std::io::Result<()> {
    let Some(data) = field(event, "data") else { return Ok(()) };
    if field(event, "event") == Some("missed") {
        eprintln!("{data} records were written faster than they could be shown");
    } else if let Ok(record) = serde_json::from_str::<Value>(data)
        && !shown.contains(&record)
    {
        show(&record, json)?;
    }
    Ok(())
}

fn show(record: &Value, json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if json { writeln!(out, "{record}") } else { writeln!(out, "{}", line(record)) }
}

/// The few fields a person scans for, whatever the dataset.
fn line(record: &Value) -> String {
    const SHOWN: [&str; 16] = [
        "Datetime",
        "When",
        "Action",
        "ActionType",
        "EventType",
        "Outcome",
        "HTTPMethod",
        "URL",
        "SNI",
        "ResourceType",
        "HTTPStatusCode",
        "Email",
        "ActorEmail",
        "PolicyName",
        "ScriptName",
        "Explanation",
    ];
    let shown = |name: &&str| match &record[*name] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => Some(other.to_string()),
    };
    SHOWN.iter().filter_map(shown).collect::<Vec<_>>().join("  ")
}
