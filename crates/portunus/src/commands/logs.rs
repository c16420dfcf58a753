//! `portunus logs tail`: the newest records of the platform that runs over a data directory, then those that follow.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use store::{NewToken, Permission, WriteTokens};

use super::state::{Opened, load};
use crate::arguments::Logs;

/// How long the token that this command makes for itself works.
const TOKEN: Duration = Duration::from_secs(24 * 3600);
/// Records from before that are shown first.
const RECENT: usize = 10;

pub(crate) async fn run(logs: Logs) -> Result<ExitCode> {
    let Logs::Tail { state, dataset, json } = logs;
    let config = load(&state)?;
    let opened = Opened::open(&state).await?;
    let api = server::ready::running_api(&config.data)
        .with_context(|| format!("no platform runs over {}", config.data.display()))?;
    let new = NewToken {
        name: "logs tail".into(),
        permissions: [Permission::LogsRead, Permission::AuditRead].into_iter().collect(),
        not_before: None,
        expires_at: Some(Timestamp::now() + TOKEN),
    };
    let grant = opened.grant::<WriteTokens>()?;
    let (token, text) = opened.store.tokens().issue(&grant, new).await?;
    let client = client(&api, &config.data)?;
    let dataset = format!("{}/accounts/{}/portunus/logs/{dataset}", api.api_url, opened.account);
    let get = |path: &str| client.get(format!("{dataset}{path}")).bearer_auth(text.expose());
    let followed = tokio::select! {
        followed = follow(get, json) => followed,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    opened.store.tokens().delete(&grant, &token.id, None).await?;
    followed?;
    Ok(ExitCode::SUCCESS)
}

/// Reaches the platform at its own address, whatever its name resolves to here, and trusts what signs its certificate:
/// the account's authority or what is in the file of the console's certificate.
fn client(api: &server::ready::Running, data: &Path) -> Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder().no_proxy();
    if let (Some(address), Some(host)) = (api.address, reqwest::Url::parse(&api.api_url)?.host_str()) {
        builder = builder.resolve(host, address);
    }
    let trusted = api.trust.clone().unwrap_or_else(|| data.join("ca.pem"));
    let pem = std::fs::read(&trusted).with_context(|| format!("cannot read {}", trusted.display()))?;
    Ok(builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(&pem)?).build()?)
}

async fn follow(get: impl Fn(&str) -> reqwest::RequestBuilder, json: bool) -> Result<()> {
    // First, so that nothing is missed in between. What comes twice for that is shown once.
    let mut response = answered(get("/tail")).await?;
    let page = answered(get(&format!("?limit={RECENT}"))).await?.bytes().await?;
    let page: Page = serde_json::from_slice(&page).context("the platform's answer cannot be read")?;
    let recent = page.result;
    for record in recent.iter().rev() {
        show(record, json);
    }
    let mut buffer = Vec::new();
    while let Some(chunk) = response.chunk().await.context("the platform ended the stream")? {
        buffer.extend_from_slice(&chunk);
        while let Some(end) = buffer.windows(2).position(|window| window == b"\n\n") {
            let event: Vec<u8> = buffer.drain(..end + 2).collect();
            print_event(&String::from_utf8_lossy(&event), &recent, json);
        }
    }
    Ok(())
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
fn print_event(event: &str, shown: &[Value], json: bool) {
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_start);
    let Some(data) = field("data:") else { return };
    if field("event:") == Some("missed") {
        eprintln!("{data} records were written faster than they could be shown");
    } else if let Ok(record) = serde_json::from_str::<Value>(data)
        && !shown.contains(&record)
    {
        show(&record, json);
    }
}

fn show(record: &Value, json: bool) {
    if json {
        println!("{record}");
    } else {
        println!("{}", line(record));
    }
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
