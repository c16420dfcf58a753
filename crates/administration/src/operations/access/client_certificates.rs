//! Authorities of client certificates, and what is done with the certificates at each host (reference section 2.8).
//!
//! Invariant: what is stored as an authority may sign others.

use identity::certificate::{CertificateDocument, CertificateSettings, ClientAuthorities, authorities};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::{
    ClientAuthority, ClientCertificateSettings, Collection, Only, ReadClientCertificates, Store, Stored,
    WriteClientCertificates,
};
use types::CertificateId;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{AccessView, Kept, body, members, refused, view};
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::Failure;
use crate::operations::time;

/// Most hosts with settings.
const MOST_HOSTS: usize = 1_000;

/// What is done with client certificates at one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HostSettings {
    pub hostname: String,
    #[serde(default)]
    pub china_network: bool,
    /// Adds headers about the client's certificate for the origin.
    #[serde(default)]
    pub client_certificate_forwarding: bool,
}

/// The settings of every host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsBody {
    pub settings: Vec<HostSettings>,
}

impl Kept for ClientAuthority {
    const RESOURCE: &'static str = "client_certificate_authority";
    const THING: &'static str = "certificate";

    fn collection(store: &Store) -> Collection<'_, Self> {
        store.client_authorities()
    }

    fn show(stored: &Stored<Self>) -> Map<String, Value> {
        let mut members = members(&stored.document.body);
        let pem = members.get("certificate").and_then(Value::as_str).unwrap_or_default();
        if let Some(first) = authorities(pem).ok().and_then(|found| found.into_iter().next()) {
            members.insert("fingerprint".to_owned(), first.fingerprint.into());
            members.insert("expires_on".to_owned(), time(first.expires).into());
        }
        members
    }
}

/// Returns every authority.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(cx: &OpContext) -> Result<Vec<AccessView>, Failure> {
    super::list::<ClientAuthority>(cx).await
}

/// Returns one authority.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, id: CertificateId) -> Result<AccessView, Failure> {
    Ok(view(&super::load::<ClientAuthority>(cx, &id).await?))
}

/// Adds an authority.
///
/// # Errors
///
/// A [`Failure`] that points at the member at fault.
pub async fn create(cx: &OpContext, document: &Value) -> Result<AccessView, Failure> {
    let id = CertificateId(Uuid::new_v4());
    let authority = read(id, document)?;
    Ok(view(&super::create(cx, id, authority).await?))
}

/// Changes an authority's name or hosts; a certificate that is not sent stays.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] that points at the member at fault.
pub async fn replace(cx: &OpContext, id: CertificateId, document: &Value) -> Result<AccessView, Failure> {
    cx.authorize::<WriteClientCertificates>()?;
    let before = super::load::<ClientAuthority>(cx, &id).await?;
    let mut document = document.clone();
    if let Value::Object(sent) = &mut document {
        for member in ["certificate", "name"] {
            sent.entry(member).or_insert_with(|| before.document.body[member].clone());
        }
    }
    let authority = read(id, &document)?;
    Ok(view(&super::replace(cx, &before, authority).await?))
}

/// Removes an authority; its clients are nobody from then on.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn delete(cx: &OpContext, id: CertificateId) -> Result<(), Failure> {
    cx.authorize::<WriteClientCertificates>()?;
    let before = super::load::<ClientAuthority>(cx, &id).await?;
    super::delete(cx, &before).await
}

fn read(id: CertificateId, document: &Value) -> Result<ClientAuthority, Failure> {
    let document = CertificateDocument::read(document).map_err(refused)?;
    let sound = ClientAuthorities::parse(id, &document).map_err(refused)?;
    Ok(ClientAuthority { name: sound.name, body: body(&document)? })
}

/// Returns the settings of every host that has some.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn settings(cx: &OpContext) -> Result<Vec<HostSettings>, Failure> {
    let grant = cx.authorize::<ReadClientCertificates>()?;
    let stored = cx.store().client_certificate_settings().get(&grant, &Only).await?;
    let entries = stored.map(|stored| stored.document.entries).unwrap_or_default();
    let read = |entry: Value| {
        let settings: CertificateSettings = identity::document::read_stored(&entry).ok()?;
        Some(HostSettings {
            hostname: settings.hostname,
            china_network: settings.china_network,
            client_certificate_forwarding: settings.client_certificate_forwarding,
        })
    };
    Ok(entries.into_iter().filter_map(read).collect())
}

/// Replaces the settings of every host.
///
/// # Errors
///
/// A [`Failure`] that points at the host at fault.
pub async fn put_settings(cx: &OpContext, sent: SettingsBody) -> Result<Vec<HostSettings>, Failure> {
    let grant = cx.authorize::<WriteClientCertificates>()?;
    if sent.settings.len() > MOST_HOSTS {
        return Err(Failure::invalid("/settings", format!("is limited to {MOST_HOSTS} hosts")));
    }
    let mut entries = Vec::with_capacity(sent.settings.len());
    for (index, mut settings) in sent.settings.into_iter().enumerate() {
        let pointer = format!("/settings/{index}/hostname");
        let pattern: Result<identity::destination::Pattern, _> = settings.hostname.parse();
        match pattern {
            Ok(pattern) if pattern.has_exact_host() && pattern.path().is_empty() => {
                settings.hostname = pattern.host().to_owned();
            }
            Ok(_) | Err(_) => return Err(Failure::invalid(pointer, "must be one host name")),
        }
        entries.push(body(&settings)?);
    }
    let document = ClientCertificateSettings { entries: entries.clone() };
    cx.store().client_certificate_settings().put(&grant, Only, document).await?;
    let change = Change::new(Verb::Update, "client_certificate_settings", cx.account);
    cx.record(change.after(Value::Array(entries))).await?;
    settings(cx).await
}
