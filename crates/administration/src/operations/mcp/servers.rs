//! MCP servers.
//!
//! Invariants: a secret that is not sent stays, one that no longer belongs goes; where a server is does not change, so what
//! signs in goes to no other; a server that a portal names is not deleted.

use std::collections::BTreeMap;

use identity::document::read_stored;
use mcp::document::server::{CLIENT_SECRET, HEADERS, Secrets, Server, ServerDocument};
use mcp::document::view::{self, ServerFacts, SignedIn, Stamps, SyncError, Synced};
use serde_json::{Map, Value};
use store::{McpCatalog, McpCredentialId, McpHolder, McpServer, ReadAccess, Sealed, Stored, WriteAccess};
use types::{Code, McpServerId, Verbatim};

use super::super::access::{AccessView, body, refused, system};
use super::super::rules::lists_named_in;
use super::super::time;
use super::{
    SERVER, SERVER_RESOURCE, Times, application, author, check_workers, chosen, finds, holds, name_of, names_server,
    same, unreadable,
};
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::{Failure, taken};

/// Returns the servers whose id or name holds the text searched for.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn search(cx: &OpContext, search: Option<&str>) -> Result<Vec<Stored<McpServer>>, Failure> {
    let grant = cx.authorize::<ReadAccess>()?;
    let mut all = cx.store().mcp_servers().list(&grant).await?;
    all.retain(|server| finds(search, &[server.id.as_str(), name_of(&server.document.body)]));
    Ok(all)
}

/// Shows servers with what they offer.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn show_all(cx: &OpContext, servers: &[Stored<McpServer>]) -> Result<Vec<AccessView>, Failure> {
    let mut shown = Vec::with_capacity(servers.len());
    for server in servers {
        shown.push(show(cx, server).await?);
    }
    Ok(shown)
}

/// Returns one server.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, id: &McpServerId) -> Result<AccessView, Failure> {
    show(cx, &load(cx, id).await?).await
}

/// Returns the document of a server, which holds no secret.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn document(cx: &OpContext, id: &McpServerId) -> Result<ServerDocument, Failure> {
    document_of(&load(cx, id).await?)
}

/// Tells whether programs are run as MCP servers here, which whoever operates the service decides.
#[must_use]
pub fn runs_programs(cx: &OpContext) -> bool {
    cx.app.deps.mcp.as_ref().is_some_and(|mcp| mcp.may_run_programs())
}

/// Makes a server, and the application that says who may use it.
///
/// # Errors
///
/// A [`Failure`] that points at every member at fault, `Conflict` for an id that is taken.
pub async fn create(cx: &OpContext, sent: &Value) -> Result<AccessView, Failure> {
    let grant = cx.authorize::<WriteAccess>()?;
    let document = ServerDocument::read(sent, None).map_err(refused)?;
    let id: McpServerId = chosen(document.id.as_deref())?;
    let server = read(cx, &id, document, None).await?;
    let name = name_of(&server.body).to_owned();
    let servers = cx.store().mcp_servers();
    let stored = servers
        .create(&grant, id.clone(), server)
        .await
        .map_err(|error| taken(error, || Failure::conflict("/id", "is the id of another MCP server")))?;
    if let Err(failure) = application::make_for_server(cx, &id, &name).await {
        servers.delete_with_sign_ins(&grant, &id, Some(stored.revision)).await?;
        return Err(failure);
    }
    let shown = show(cx, &stored).await?;
    cx.record(Change::new(Verb::Create, SERVER_RESOURCE, &id).after(summary(&shown))).await?;
    Ok(shown)
}

/// Changes a server; what is not sent stays.
///
/// # Errors
///
/// As [`create`], and `NotFound`.
pub async fn replace(cx: &OpContext, id: &McpServerId, sent: &Value) -> Result<AccessView, Failure> {
    let grant = cx.authorize::<WriteAccess>()?;
    let before = load(cx, id).await?;
    let standing = document_of(&before)?;
    let document = ServerDocument::read(sent, Some(&standing)).map_err(refused)?;
    same(document.id.as_deref(), id.as_str())?;
    let changed = document.changed_for_good(&standing);
    if !changed.is_empty() {
        return Err(refused(changed));
    }
    let server = read(cx, id, document, Some(&before)).await?;
    let other_client = document_of_body(&server.body)?.auth_config != standing.auth_config
        || server.client_secret_version != before.document.client_secret_version;
    let shown_before = show(cx, &before).await?;
    let stored = cx.store().mcp_servers().replace(&grant, id.clone(), server, Some(before.revision)).await?;
    if other_client {
        cx.store().mcp_credentials().forget_server(&grant, id).await?;
    }
    let shown = show(cx, &stored).await?;
    let change = Change::new(Verb::Update, SERVER_RESOURCE, id).before(summary(&shown_before)).after(summary(&shown));
    cx.record(change).await?;
    Ok(shown)
}

/// Deletes a server that no portal names, with what it offers, every sign-in at it, and its application.
///
/// # Errors
///
/// `NotFound`, `Conflict` when a portal names it.
pub async fn delete(cx: &OpContext, id: &McpServerId) -> Result<AccessView, Failure> {
    let grant = cx.authorize::<WriteAccess>()?;
    let before = load(cx, id).await?;
    let portals = cx.store().mcp_portals().list(&grant).await?;
    if let Some(portal) = portals.iter().find(|portal| names_server(&portal.document, id.as_str())) {
        let message = format!("portal \"{}\" names it; take it out of that first", portal.id);
        return Err(Failure::new(Code::Conflict, message));
    }
    let shown = show(cx, &before).await?;
    cx.store().mcp_servers().delete_with_sign_ins(&grant, id, Some(before.revision)).await?;
    application::delete_of_server(cx, id).await?;
    cx.record(Change::new(Verb::Delete, SERVER_RESOURCE, id).before(summary(&shown))).await?;
    Ok(shown)
}

/// Asks a server what it offers, and says what came of it.
///
/// # Errors
///
/// `NotFound`, `Unavailable` where MCP servers are not spoken to.
pub async fn sync(cx: &OpContext, id: &McpServerId) -> Result<AccessView, Failure> {
    cx.authorize::<WriteAccess>()?;
    load(cx, id).await?;
    let away = || Failure::new(Code::Unavailable, "MCP servers are not spoken to here; the role `agents` does that");
    let mcp = cx.app.deps.mcp.as_ref().ok_or_else(away)?;
    mcp.sync(id).await.map_err(|reason| Failure::new(Code::Unavailable, reason.to_string()))?;
    let catalog = Catalog::load(cx, id).await?;
    let shown = AccessView(view::sync(&catalog.synced(false)));
    cx.record(Change::new(Verb::Update, "mcp_catalog", id).after(Value::Object(shown.0.clone()))).await?;
    Ok(shown)
}

pub(super) async fn load(cx: &OpContext, id: &McpServerId) -> Result<Stored<McpServer>, Failure> {
    let grant = cx.authorize::<ReadAccess>()?;
    cx.store().mcp_servers().get(&grant, id).await?.ok_or_else(|| Failure::not_found(SERVER))
}

/// Checks a document, seals what it came with, and puts both together.
async fn read(
    cx: &OpContext,
    id: &McpServerId,
    mut document: ServerDocument,
    before: Option<&Stored<McpServer>>,
) -> Result<McpServer, Failure> {
    let sent = document.take_secrets().map_err(refused)?;
    let mut secrets: BTreeMap<String, Sealed> =
        before.map(|before| before.document.secrets.clone()).unwrap_or_default();
    secrets.retain(|name, _| document.wants(name));
    let rules = document.portunus.as_ref().map(|extension| extension.rules.clone()).unwrap_or_default();
    let lists = lists_named_in(cx, mcp::document::rule::expressions(&rules)).await?;
    let held = |name: &str| sent.contains_key(name) || secrets.contains_key(name);
    Server::parse(id.clone(), &document, &held, &lists).map_err(refused)?;
    check_workers(cx, &rules).await?;
    check_upstream(cx, &document).await?;
    let set = u32::from(sent.contains_key(CLIENT_SECRET));
    let version = if secrets.contains_key(CLIENT_SECRET) || set > 0 {
        before.map_or(0, |before| before.document.client_secret_version).saturating_add(set)
    } else {
        0
    };
    seal(cx, id, sent, &mut secrets)?;
    let author = author(cx);
    Ok(McpServer {
        body: body(&document)?,
        secrets,
        client_secret_version: version,
        created_by: before.map_or_else(|| author.clone(), |before| before.document.created_by.clone()),
        modified_by: author,
    })
}

fn seal(
    cx: &OpContext,
    id: &McpServerId,
    sent: Secrets,
    secrets: &mut BTreeMap<String, Sealed>,
) -> Result<(), Failure> {
    let grant = cx.authorize::<WriteAccess>()?;
    for (name, secret) in sent {
        let sealed = cx.store().mcp_servers().seal_member(&grant, id, &name, &secret)?;
        secrets.insert(name, sealed);
    }
    Ok(())
}

/// A program runs with the rights of this service, which no permission of the API confers; a Worker must exist.
async fn check_upstream(cx: &OpContext, document: &ServerDocument) -> Result<(), Failure> {
    let Some(extension) = &document.portunus else { return Ok(()) };
    if extension.stdio.is_some() && !runs_programs(cx) {
        let message = "programs are not run as MCP servers here; whoever operates this service has to allow it";
        return Err(Failure { code: Code::PermissionDenied, ..Failure::invalid("/portunus/stdio", message) });
    }
    if let Some(script) = &extension.worker {
        let grant = system(cx, "check that the Worker of an MCP server exists")?;
        if cx.store().scripts().get(&grant, script).await?.is_none() {
            return Err(Failure::invalid("/portunus/worker", "there is no such Worker"));
        }
    }
    Ok(())
}

/// Reads the document of a stored server.
pub(super) fn document_of(stored: &Stored<McpServer>) -> Result<ServerDocument, Failure> {
    document_of_body(&stored.document.body)
}

fn document_of_body(body: &Value) -> Result<ServerDocument, Failure> {
    read_stored(body).map_err(unreadable)
}

async fn show(cx: &OpContext, stored: &Stored<McpServer>) -> Result<AccessView, Failure> {
    shown(cx, stored, &document_of(stored)?, true).await.map(AccessView)
}

/// Shows a server; its definitions only when they are asked for.
pub(super) async fn shown(
    cx: &OpContext,
    stored: &Stored<McpServer>,
    document: &ServerDocument,
    definitions: bool,
) -> Result<Map<String, Value>, Failure> {
    let catalog = Catalog::load(cx, &stored.id).await?;
    let times = Times::of(stored);
    let facts = ServerFacts {
        stamps: Stamps {
            created_at: &times.created,
            created_by: &stored.document.created_by,
            modified_at: &times.modified,
            modified_by: &stored.document.modified_by,
        },
        synced: catalog.synced(definitions),
        has_headers: holds(&stored.document, HEADERS),
        client_secret_version: stored.document.client_secret_version,
        signed_in: signed_in(cx, &stored.id).await?,
    };
    Ok(view::server(&stored.id, document, &facts))
}

async fn signed_in(cx: &OpContext, server: &McpServerId) -> Result<SignedIn, Failure> {
    let grant = system(cx, "say whether an MCP server is signed in to")?;
    let id = McpCredentialId { holder: McpHolder::Everybody, server: server.clone() };
    Ok(match cx.store().mcp_credentials().get(&grant, &id).await? {
        None => SignedIn::No,
        Some(found) if found.document.lapsed => SignedIn::Lapsed,
        Some(_) => SignedIn::Yes,
    })
}

/// What the audit log shows: the view, without the definitions, which are long and not the administrator's.
fn summary(shown: &AccessView) -> Value {
    let mut members = shown.0.clone();
    members.remove("tools");
    members.remove("prompts");
    Value::Object(members)
}

/// A catalogue in the shapes its view takes.
struct Catalog {
    last: Option<String>,
    last_successful: Option<String>,
    error: Option<SyncError>,
    tools: Vec<Value>,
    prompts: Vec<Value>,
}

impl Catalog {
    async fn load(cx: &OpContext, server: &McpServerId) -> Result<Self, Failure> {
        let grant = cx.authorize::<ReadAccess>()?;
        let catalog = cx.store().mcp_catalogs().get(&grant, server).await?;
        let McpCatalog { synced_at, succeeded_at, error, tools, prompts, .. } =
            catalog.map(|found| found.document).unwrap_or_default();
        let error = error.map(|error| read_stored(&error)).transpose().map_err(unreadable)?;
        let values = |list: Vec<Verbatim>| {
            // What was kept is JSON.
            list.iter().filter_map(|item| serde_json::from_str(item.get()).ok()).collect::<Vec<Value>>()
        };
        let (tools, prompts) = (values(tools), values(prompts));
        Ok(Self { last: synced_at.map(time), last_successful: succeeded_at.map(time), error, tools, prompts })
    }

    fn synced(&self, definitions: bool) -> Synced<'_> {
        let (tools, prompts): (&[Value], &[Value]) =
            if definitions { (&self.tools, &self.prompts) } else { (&[], &[]) };
        Synced {
            last: self.last.as_deref(),
            last_successful: self.last_successful.as_deref(),
            error: self.error.as_ref(),
            tools,
            prompts,
        }
    }
}
