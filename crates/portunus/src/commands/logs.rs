//! `portunus logs tail`: the newest records of the platform that runs over a data directory, then those that follow.
//!
//! Invariant: however the command ends, no credential that it made outlives the minute it needs to connect.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{NewToken, Permission, WriteTokens};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::state::{Opened, load};
use crate::arguments::Logs;

/// How long the token that this command makes for itself works: until it is through the door, and no longer even if the
/// command is killed in between.
const TOKEN: Duration = Duration::from_secs(60);
/// Records from before that are shown first.
const RECENT: usize = 10;

pub(crate) async fn run(logs: Logs) -> Result<ExitCode> {
    let Logs::Tail { state, dataset, json } = logs;
    let config = load(&state)?;
    let opened = Opened::open(&state).await?;
    let api = server::ready::running_api(&config.data)
        .with_context(|| format!("no platform runs over {}", config.data.display()))?;
    let client = client(&api, &config.data)?;
    let dataset = format!("{}/accounts/{}/portunus/logs/{dataset}", api.api_url, opened.account);
    let mut asked_to_end = Signals::listen()?;
    let new = NewToken {
        name: "logs tail".into(),
        permissions: [Permission::LogsRead, Permission::AuditRead].into_iter().collect(),
        not_before: None,
        expires_at: Some(Timestamp::now() + TOKEN),
    };
    let grant = opened.grant::<WriteTokens>()?;
    let (token, text) = opened.store.tokens().issue(&grant, new).await?;
    let after = json!({ "name": token.document.name, "expires_on": token.document.expires_at });
    opened.record("create", "token", token.id, after)?;
    let get = |path: &str| client.get(format!("{dataset}{path}")).bearer_auth(text.expose());
    let begun = tokio::select! {
        begun = begin(get) => begun.map(Some),
        () = asked_to_end.one() => Ok(None),
    };
    // The stream goes on without it: a credential is shown once, at the door.
    opened.store.tokens().delete(&grant, &token.id, None).await?;
    let Some((recent, stream)) = begun? else { return Ok(ExitCode::SUCCESS) };
    tokio::select! {
        followed = follow(recent, stream, json) => followed?,
        () = asked_to_end.one() => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// What ends the command from outside.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(crate) fn listen() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    pub(crate) async fn one(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

/// Reaches the platform at its own address, whatever its name resolves to here, and trusts what signs its certificate:
/// the account's authority or what is in the file of the console's certificate.
pub(crate) fn client(api: &server::ready::Running, data: &Path) -> Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder().no_proxy();
    if let (Some(address), Some(host)) = (api.address, reqwest::Url::parse(&api.api_url)?.host_str()) {
        builder = builder.resolve(host, address);
    }
    let trusted = api.trust.clone().unwrap_or_else(|| data.join("ca.pem"));
    let pem = std::fs::read(&trusted).with_context(|| format!("cannot read {}", trusted.display()))?;
    Ok(builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(&pem)?).build()?)
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
            while let Some(end) = buffer.windows(2).position(|window| window == b"\n\n") {
                let event: Vec<u8> = buffer.drain(..end + 2).collect();
                print_event(&String::from_utf8_lossy(&event), &recent, json)?;
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
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_start);
    let Some(data) = field("data:") else { return Ok(()) };
    if field("event:") == Some("missed") {
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
