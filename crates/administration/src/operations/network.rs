//! How the gateway reaches origins: names only it resolves, addresses its guard lets through, extra roots, and the
//! do-not-inspect list.
//!
//! It checks every entry the way the gateway will read it. Invariant: settings that were stored can be put in force.

use std::collections::BTreeMap;

use net::guard::Allow;
use net::resolve::OverrideTable;
use net::upstream::{TrustParams, TrustStore};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{BypassHost, Network, Only, ReadGateway, WriteGateway};
use utoipa::ToSchema;

use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::{Failure, Problem};

/// Entries of one kind.
const MOST_ENTRIES: usize = 1_000;

/// The network settings, as the API shows and takes them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkSettings {
    /// `name` or `name:port` to `address` or `address:port`; answers before any resolver.
    #[serde(default)]
    pub hosts: BTreeMap<String, String>,
    /// What the guard lets through although it refuses it by default: `127.0.0.1/32:8443`, `[::1]/128`, `host:port`.
    #[serde(default)]
    pub allow: Vec<String>,
    /// Roots trusted towards origins beside the public ones, PEM.
    #[serde(default)]
    pub roots: Vec<String>,
    /// The do-not-inspect list; null means the list that ships with the product.
    #[serde(default)]
    pub bypass: Option<Vec<BypassEntry>>,
}

/// One entry of the do-not-inspect list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BypassEntry {
    /// `host.example`, or `*.host.example` for the name and everything below it.
    pub pattern: String,
    /// Why, for whoever reads the list.
    #[serde(default)]
    pub reason: String,
}

/// What a PATCH changes; absent members stay.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkPatch {
    #[serde(default)]
    pub hosts: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub allow: Option<Vec<String>>,
    #[serde(default)]
    pub roots: Option<Vec<String>>,
    #[serde(default)]
    pub bypass: Option<Vec<BypassEntry>>,
}

/// Returns the settings.
///
/// # Errors
/// A [`Failure`] for the caller.
pub async fn get(cx: &OpContext) -> Result<NetworkSettings, Failure> {
    let grant = cx.authorize::<ReadGateway>()?;
    let stored = cx.store().network().get(&grant, &Only).await?;
    Ok(view(stored.map(|stored| stored.document).unwrap_or_default()))
}

/// Replaces the settings.
///
/// # Errors
/// A [`Failure`] that points at the entry at fault.
pub async fn replace(cx: &OpContext, settings: NetworkSettings) -> Result<NetworkSettings, Failure> {
    save(cx, |_| settings).await
}

/// Replaces the members that are sent.
///
/// # Errors
/// A [`Failure`] that points at the entry at fault.
pub async fn merge(cx: &OpContext, patch: NetworkPatch) -> Result<NetworkSettings, Failure> {
    save(cx, |old| NetworkSettings {
        hosts: patch.hosts.unwrap_or(old.hosts),
        allow: patch.allow.unwrap_or(old.allow),
        roots: patch.roots.unwrap_or(old.roots),
        bypass: patch.bypass.or(old.bypass),
    })
    .await
}

async fn save(
    cx: &OpContext,
    change: impl FnOnce(NetworkSettings) -> NetworkSettings,
) -> Result<NetworkSettings, Failure> {
    let grant = cx.authorize::<WriteGateway>()?;
    let before = cx.store().network().get(&grant, &Only).await?;
    let old = view(before.as_ref().map(|stored| stored.document.clone()).unwrap_or_default());
    let new = change(old.clone());
    let problems = check(&new);
    if !problems.is_empty() {
        return Err(Failure::invalid_many(problems));
    }
    let document = document(new.clone());
    match before {
        Some(before) => cx.store().network().replace(&grant, Only, document, Some(before.revision)).await?,
        None => cx.store().network().create(&grant, Only, document).await?,
    };
    let summary = |settings: &NetworkSettings| serde_json::to_value(settings).unwrap_or(Value::Null);
    cx.record(Change::new(Verb::Update, "network", "gateway").before(summary(&old)).after(summary(&new))).await?;
    Ok(new)
}

fn check(settings: &NetworkSettings) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut fault = |pointer: String, message: String| problems.push(Problem { pointer: Some(pointer), message });
    let mut table = OverrideTable::default();
    for (name, target) in settings.hosts.iter().take(MOST_ENTRIES) {
        if let Err(error) = table.insert_text(name, target) {
            fault(format!("/hosts/{}", name.replace('~', "~0").replace('/', "~1")), error.to_string());
        }
    }
    for (index, entry) in settings.allow.iter().enumerate().take(MOST_ENTRIES) {
        if let Err(error) = entry.parse::<Allow>() {
            fault(format!("/allow/{index}"), error.to_string());
        }
    }
    for (index, root) in settings.roots.iter().enumerate().take(MOST_ENTRIES) {
        let alone = TrustParams {
            bundled_roots: false,
            native_roots: false,
            extra_pem: vec![root.clone()],
            ..TrustParams::default()
        };
        if TrustStore::new(&alone).is_err() {
            fault(format!("/roots/{index}"), "is not a PEM certificate that can be trusted as a root".into());
        }
    }
    for (index, entry) in settings.bypass.iter().flatten().enumerate().take(MOST_ENTRIES) {
        let name = entry.pattern.strip_prefix("*.").filter(|name| name.contains('.')).unwrap_or(&entry.pattern);
        if net::Host::parse(name).ok().and_then(|host| host.name().map(|same| same == name)) != Some(true) {
            fault(
                format!("/bypass/{index}/pattern"),
                "is not a host name, nor `*.` followed by a name with a dot".into(),
            );
        }
    }
    let longest =
        [settings.hosts.len(), settings.allow.len(), settings.roots.len(), settings.bypass.iter().flatten().count()];
    if longest.iter().any(|count| *count > MOST_ENTRIES) {
        fault(String::new(), format!("at most {MOST_ENTRIES} entries of a kind"));
    }
    problems
}

fn view(document: Network) -> NetworkSettings {
    let bypass = document.bypass.map(|hosts| {
        hosts.into_iter().map(|host| BypassEntry { pattern: host.pattern, reason: host.reason }).collect()
    });
    NetworkSettings { hosts: document.hosts, allow: document.allow, roots: document.roots, bypass }
}

fn document(settings: NetworkSettings) -> Network {
    let bypass = settings.bypass.map(|entries| {
        entries.into_iter().map(|entry| BypassHost { pattern: entry.pattern, reason: entry.reason }).collect()
    });
    Network { hosts: settings.hosts, allow: settings.allow, roots: settings.roots, bypass }
}
