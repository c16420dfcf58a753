//! Portals and servers as the API shows them (reference section 5.1): what an author wrote, with what is known besides.
//!
//! Decides the two states of a server. Invariant: nothing here is given a secret, so no view can hold one.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use types::{McpPortalId, McpServerId};

use super::credentials::AuthMode;
use super::overrides;
use super::portal::{LinkDocument, PortalDocument};
use super::server::{AuthType, ServerDocument};

identity::words! {
    /// How the definitions of a server stand.
    Status {
        /// Nobody asked it yet.
        Waiting = "waiting",
        Ready = "ready",
        /// They are of an earlier time: it was asked since and did not answer.
        Stale = "stale",
        /// It never answered.
        Error = "error",
    }
}

identity::words! {
    /// How the administrator's sign-in at a server stands.
    AuthenticationStatus {
        NotRequired = "not_required",
        Required = "required",
        Connected = "connected",
        /// It was there and does not work any more.
        Stale = "stale",
        /// People sign in themselves, at a client that an administrator registered.
        Manual = "manual",
    }
}

/// Why a server could not be asked for its definitions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SyncError {
    /// For an administrator.
    pub message: String,
    /// The error below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The server answered with an error; otherwise it was not reached.
    pub is_upstream: bool,
    /// The number of the protocol's error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcp_code: Option<i64>,
    /// It may be well the next time.
    pub retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
}

/// What was made of asking a server.
#[derive(Debug, Clone, Copy, Default)]
pub struct Synced<'a> {
    /// The last time it was asked, and the last time it answered.
    pub last: Option<&'a str>,
    pub last_successful: Option<&'a str>,
    pub error: Option<&'a SyncError>,
    pub tools: &'a [Value],
    pub prompts: &'a [Value],
}

/// How the administrator's own sign-in at an OAuth server stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedIn {
    No,
    Yes,
    Lapsed,
}

/// Who made and changed a document, and when.
#[derive(Debug, Clone, Copy)]
pub struct Stamps<'a> {
    pub created_at: &'a str,
    pub created_by: &'a str,
    pub modified_at: &'a str,
    pub modified_by: &'a str,
}

/// What is known of a server beside its document.
#[derive(Debug, Clone, Copy)]
pub struct ServerFacts<'a> {
    pub stamps: Stamps<'a>,
    pub synced: Synced<'a>,
    /// Headers are stored.
    pub has_headers: bool,
    /// Counts the client secrets that were set; 0: there is none.
    pub client_secret_version: u32,
    pub signed_in: SignedIn,
}

/// Decides how the definitions stand.
#[must_use]
pub fn status(synced: &Synced<'_>) -> Status {
    match (synced.last, synced.last_successful, synced.error) {
        (None, ..) => Status::Waiting,
        (Some(_), Some(_), None) => Status::Ready,
        (Some(_), Some(_), Some(_)) => Status::Stale,
        (Some(_), None, _) => Status::Error,
    }
}

/// Decides how the administrator's sign-in stands.
#[must_use]
pub fn authentication_status(document: &ServerDocument, facts: &ServerFacts<'_>) -> AuthenticationStatus {
    match document.auth_type.unwrap_or(AuthType::Unauthenticated) {
        AuthType::Unauthenticated => AuthenticationStatus::NotRequired,
        AuthType::Bearer if facts.has_headers => AuthenticationStatus::Connected,
        AuthType::Bearer => AuthenticationStatus::Required,
        AuthType::Oauth if document.manual().is_some() => AuthenticationStatus::Manual,
        AuthType::Oauth => match facts.signed_in {
            SignedIn::No => AuthenticationStatus::Required,
            SignedIn::Yes => AuthenticationStatus::Connected,
            SignedIn::Lapsed => AuthenticationStatus::Stale,
        },
    }
}

/// Shows a server.
#[must_use]
pub fn server(id: &McpServerId, document: &ServerDocument, facts: &ServerFacts<'_>) -> Map<String, Value> {
    let mut shown = document.show();
    shown.insert("id".to_owned(), id.as_str().into());
    stamp(&mut shown, facts.stamps);
    shown.insert("tools".to_owned(), facts.synced.tools.into());
    shown.insert("prompts".to_owned(), facts.synced.prompts.into());
    let status = authentication_status(document, facts);
    shown.insert("authentication_status".to_owned(), status.as_str().into());
    if document.auth_type == Some(AuthType::Oauth) {
        shown.insert("auth_config_summary".to_owned(), auth_summary(document, facts.client_secret_version));
    }
    for (member, time) in [("last_synced", facts.synced.last), ("last_successful_sync", facts.synced.last_successful)] {
        if let Some(time) = time {
            shown.insert(member.to_owned(), time.into());
        }
    }
    shown.extend(sync(&facts.synced));
    shown
}

/// Shows what came of asking a server: the answer to `…/sync`, and part of every view.
#[must_use]
pub fn sync(synced: &Synced<'_>) -> Map<String, Value> {
    let mut shown = Map::new();
    shown.insert("status".to_owned(), status(synced).as_str().into());
    if let Some(error) = synced.error {
        shown.insert("error".to_owned(), error.message.as_str().into());
        let mut details = Map::new();
        details.insert("is_upstream".to_owned(), error.is_upstream.into());
        details.insert("retryable".to_owned(), error.retryable.into());
        details.insert("cause".to_owned(), error.cause.as_deref().unwrap_or(&error.message).into());
        if let Some(code) = error.mcp_code {
            details.insert("mcp_code".to_owned(), code.into());
        }
        if let Some(code) = error.status_code {
            details.insert("status_code".to_owned(), code.into());
        }
        shown.insert("error_details".to_owned(), Value::Object(details));
    }
    shown
}

fn auth_summary(document: &ServerDocument, secret_version: u32) -> Value {
    let Some(config) = document.manual() else { return json!({"auth_mode": AuthMode::Dcr}) };
    let mut summary = json!(config);
    summary["has_client_secret"] = (secret_version > 0).into();
    if secret_version > 0 {
        summary["client_secret_version"] = secret_version.into();
    }
    summary
}

fn stamp(shown: &mut Map<String, Value>, stamps: Stamps<'_>) {
    for (member, value) in [
        ("created_at", stamps.created_at),
        ("created_by", stamps.created_by),
        ("modified_at", stamps.modified_at),
        ("modified_by", stamps.modified_by),
    ] {
        shown.insert(member.to_owned(), value.into());
    }
}

/// Shows a portal. `server` finds a server that it names, and shows it; one that is gone is left out.
#[must_use]
pub fn portal(
    id: &McpPortalId,
    document: &PortalDocument,
    stamps: Stamps<'_>,
    mut server: impl FnMut(&LinkDocument) -> Option<(Map<String, Value>, ServerDocument)>,
) -> Map<String, Value> {
    let mut shown = document.show();
    shown.insert("id".to_owned(), id.as_str().into());
    stamp(&mut shown, stamps);
    let servers = document.servers.iter().filter_map(|link| {
        let (mut shown, standing) = server(link)?;
        // What calls every portal through is the server's own affair.
        shown.remove("portunus");
        if let Some(extension) = &link.portunus {
            shown.insert("portunus".to_owned(), json!(extension));
        }
        shown.insert("server_id".to_owned(), link.server_id.as_str().into());
        shown.insert("default_disabled".to_owned(), link.default_disabled.into());
        shown.insert("on_behalf".to_owned(), link.on_behalf.into());
        shown.insert("updated_tools".to_owned(), overrides::show(&link.updated_tools, &standing.updated_tools));
        shown.insert("updated_prompts".to_owned(), overrides::show(&link.updated_prompts, &standing.updated_prompts));
        Some(Value::Object(shown))
    });
    let servers = servers.collect();
    shown.insert("servers".to_owned(), servers);
    shown
}
