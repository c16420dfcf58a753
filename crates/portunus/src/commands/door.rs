//! The way of a command to the platform that runs over a data directory.
//!
//! A command makes a credential for itself with its access to the data, shows it at the door once and deletes it.
//! Invariant: however a command ends, no credential that it made outlives the minute it needs to be let in.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use serde_json::{Value, json};
use store::{NewToken, Permission, WriteTokens};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::state::{Opened, load};
use crate::arguments::State;

/// How long the credential works: until it is through the door, and no longer even if the command is killed in between.
const TOKEN: Duration = Duration::from_secs(60);

/// A running platform.
pub(crate) struct Door {
    client: reqwest::Client,
    opened: Opened,
    /// Begins every address of the account's API.
    account_url: String,
    asked_to_end: Signals,
}

/// What a command asks the platform with while it is at the door.
pub(crate) struct Visit<'a> {
    client: &'a reqwest::Client,
    account_url: &'a str,
    token: &'a str,
}

impl Visit<'_> {
    /// Begins a request to a path of the account's API.
    pub(crate) fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.account_url)).bearer_auth(self.token)
    }
}

impl Door {
    /// Finds the platform that runs over a data directory.
    pub(crate) async fn find(state: &State) -> Result<Self> {
        let config = load(state)?;
        let opened = Opened::open(state).await?;
        let api = server::ready::running_api(&config.data)
            .with_context(|| format!("no platform runs over {}", config.data.display()))?;
        let client = client(&api, &config.data)?;
        let account_url = format!("{}/accounts/{}", api.api_url, opened.account);
        Ok(Self { client, opened, account_url, asked_to_end: Signals::listen()? })
    }

    /// Does `begin` with a credential for `permissions`; `None` when the command was asked to end meanwhile.
    pub(crate) async fn pass<T>(
        &mut self,
        name: &str,
        permissions: &[Permission],
        begin: impl AsyncFnOnce(Visit<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let new = NewToken {
            name: name.to_owned(),
            permissions: permissions.iter().copied().collect(),
            not_before: None,
            expires_at: Some(Timestamp::now() + TOKEN),
        };
        let grant = self.opened.grant::<WriteTokens>()?;
        let (token, text) = self.opened.store.tokens().issue(&grant, new).await?;
        let after = json!({ "name": token.document.name, "expires_on": token.document.expires_at });
        self.opened.record("create", "token", token.id, after)?;
        let visit = Visit { client: &self.client, account_url: &self.account_url, token: text.expose() };
        let begun = tokio::select! {
            begun = begin(visit) => begun.map(Some),
            () = self.asked_to_end.one() => Ok(None),
        };
        // What was begun goes on without it: a credential is shown once, at the door.
        self.opened.store.tokens().delete(&grant, &token.id, None).await?;
        begun
    }

    /// Waits until the command is asked to end.
    pub(crate) async fn asked_to_end(&mut self) {
        self.asked_to_end.one().await;
    }
}

/// What ends a command from outside.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn one(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
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

/// Passes an answer on, or says what the platform has against the request, a line for each fault.
pub(crate) async fn accepted(response: reqwest::Response) -> Result<reqwest::Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let envelope: Value = response.json().await.unwrap_or_default();
    let faults = envelope["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let lines = faults.iter().map(|fault| {
        let message = fault["message"].as_str().unwrap_or_default();
        match fault["source"]["pointer"].as_str().filter(|pointer| !pointer.is_empty()) {
            Some(pointer) => format!("{pointer}: {message}"),
            None => message.to_owned(),
        }
    });
    let lines: Vec<_> = lines.collect();
    if lines.is_empty() {
        bail!("the platform answers {status}");
    }
    bail!("the platform refuses:\n{}", lines.join("\n"))
}

/// Takes the whole events out of what a stream of server-sent events gave so far (WHATWG HTML, section 9.2).
pub(crate) fn events(buffer: &mut Vec<u8>) -> Vec<String> {
    let mut events = Vec::new();
    while let Some(end) = buffer.windows(2).position(|window| window == b"\n\n") {
        let event: Vec<u8> = buffer.drain(..end + 2).collect();
        events.push(String::from_utf8_lossy(&event).into_owned());
    }
    events
}

/// Returns a field of an event.
pub(crate) fn field<'a>(event: &'a str, name: &str) -> Option<&'a str> {
    event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_start)
}
