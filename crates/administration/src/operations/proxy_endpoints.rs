//! Proxy endpoints: who may use the proxy by where they come from, or by who they are (reference section 5.5).
//!
//! Invariant: an endpoint of kind `ip` names ranges that parse and are not wider than /8 or /32.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use store::{ProxyEndpoint, ProxyEndpointKind, ReadGateway, StoreError, Stored, WriteGateway};
use types::ProxyEndpointId;
use utoipa::ToSchema;
use uuid::Uuid;

use super::configuration::parse_range;
use super::{check_name, time};
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::{Failure, Problem};

/// Most ranges of one endpoint.
const MOST_RANGES: usize = 1000;

/// A proxy endpoint, as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ProxyEndpointView {
    pub id: String,
    pub name: String,
    /// `ip` or `identity`
    #[schema(value_type = String)]
    pub kind: ProxyEndpointKind,
    /// Ranges it serves; only for kind `ip`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ips: Option<Vec<String>>,
    pub subdomain: String,
    pub created_at: String,
    pub updated_at: String,
}

/// A proxy endpoint to be made.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProxyEndpoint {
    pub name: String,
    /// `ip` unless it says `identity`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub kind: ProxyEndpointKind,
    #[serde(default)]
    pub ips: Option<Vec<String>>,
}

/// What changes of a proxy endpoint.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyEndpointPatch {
    pub name: Option<String>,
    pub ips: Option<Vec<String>>,
}

fn view(stored: Stored<ProxyEndpoint>) -> ProxyEndpointView {
    let document = stored.document;
    ProxyEndpointView {
        id: stored.id.0.simple().to_string(),
        name: document.name,
        kind: document.kind,
        ips: (document.kind == ProxyEndpointKind::Ip).then_some(document.ips),
        subdomain: document.subdomain,
        created_at: time(stored.created_at),
        updated_at: time(stored.updated_at),
    }
}

/// Returns every endpoint.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(cx: &OpContext) -> Result<Vec<ProxyEndpointView>, Failure> {
    let grant = cx.authorize::<ReadGateway>()?;
    Ok(cx.store().proxy_endpoints().list(&grant).await?.into_iter().map(view).collect())
}

/// Returns one endpoint.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, id: ProxyEndpointId) -> Result<ProxyEndpointView, Failure> {
    let grant = cx.authorize::<ReadGateway>()?;
    Ok(view(cx.store().proxy_endpoints().get(&grant, &id).await?.ok_or_else(missing)?))
}

/// Makes an endpoint.
///
/// # Errors
///
/// A [`Failure`] that points at the member at fault.
pub async fn create(cx: &OpContext, new: NewProxyEndpoint) -> Result<ProxyEndpointView, Failure> {
    let grant = cx.authorize::<WriteGateway>()?;
    check_name("/name", &new.name, 255)?;
    let ips = check_ranges(new.kind, new.ips)?;
    let id = ProxyEndpointId(Uuid::new_v4());
    let subdomain = Uuid::new_v4().simple().to_string().chars().take(12).collect();
    let document = ProxyEndpoint { name: new.name, kind: new.kind, ips, subdomain };
    let after = summary(&document);
    let stored = cx.store().proxy_endpoints().create(&grant, id, document).await.map_err(name_taken)?;
    cx.record(Change::new(Verb::Create, "proxy_endpoint", id).after(after)).await?;
    Ok(view(stored))
}

/// Changes an endpoint.
///
/// # Errors
///
/// A [`Failure`] that points at the member at fault.
pub async fn patch(
    cx: &OpContext,
    id: ProxyEndpointId,
    patch: ProxyEndpointPatch,
) -> Result<ProxyEndpointView, Failure> {
    let grant = cx.authorize::<WriteGateway>()?;
    let before = cx.store().proxy_endpoints().get(&grant, &id).await?.ok_or_else(missing)?;
    let mut document = before.document.clone();
    if let Some(name) = patch.name {
        check_name("/name", &name, 255)?;
        document.name = name;
    }
    if let Some(ips) = patch.ips {
        document.ips = check_ranges(document.kind, Some(ips))?;
    }
    let after = summary(&document);
    let saved = cx.store().proxy_endpoints().replace(&grant, id, document, Some(before.revision)).await;
    let stored = saved.map_err(name_taken)?;
    let change = Change::new(Verb::Update, "proxy_endpoint", id).before(summary(&before.document)).after(after);
    cx.record(change).await?;
    Ok(view(stored))
}

/// Deletes an endpoint.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn delete(cx: &OpContext, id: ProxyEndpointId) -> Result<ProxyEndpointView, Failure> {
    let grant = cx.authorize::<WriteGateway>()?;
    let before = cx.store().proxy_endpoints().get(&grant, &id).await?.ok_or_else(missing)?;
    cx.store().proxy_endpoints().delete(&grant, &id, Some(before.revision)).await?;
    cx.record(Change::new(Verb::Delete, "proxy_endpoint", id).before(summary(&before.document))).await?;
    Ok(view(before))
}

fn check_ranges(kind: ProxyEndpointKind, ips: Option<Vec<String>>) -> Result<Vec<String>, Failure> {
    let ips = ips.unwrap_or_default();
    if kind == ProxyEndpointKind::Identity && !ips.is_empty() {
        return Err(Failure::invalid("/ips", "an endpoint of kind identity has no ranges; leave ips out"));
    }
    if ips.len() > MOST_RANGES {
        return Err(Failure::invalid("/ips", format!("is limited to {MOST_RANGES} ranges")));
    }
    let problems: Vec<_> = ips
        .iter()
        .enumerate()
        .filter_map(|(index, text)| {
            let message = match parse_range(text) {
                None => "must be an address or a range as in 192.0.2.0/24",
                Some((IpAddr::V4(_), 0..8)) => "is too wide; IPv4 ranges are /8 or narrower",
                Some((IpAddr::V6(_), 0..32)) => "is too wide; IPv6 ranges are /32 or narrower",
                Some(_) => return None,
            };
            Some(Problem { message: message.to_owned(), pointer: Some(format!("/ips/{index}")) })
        })
        .collect();
    if problems.is_empty() { Ok(ips) } else { Err(Failure::invalid_many(problems)) }
}

fn missing() -> Failure {
    Failure::not_found("proxy endpoint")
}

fn name_taken(error: StoreError) -> Failure {
    crate::failure::taken(error, || Failure::conflict("/name", "another proxy endpoint has this name"))
}

fn summary(document: &ProxyEndpoint) -> serde_json::Value {
    serde_json::json!({"name": document.name, "kind": document.kind, "ips": document.ips})
}
