//! MCP portals.
//!
//! Invariants: no two portals, and no portal and another application, have one host; a portal's application has its host
//! and no other.

use std::collections::HashMap;

use identity::document::read_stored;
use mcp::document::portal::{Portal, PortalDocument};
use mcp::document::server::ServerDocument;
use mcp::document::view::{self, Stamps};
use serde_json::{Map, Value};
use store::{McpPortal, ReadAccess, Stored, WriteAccess};
use types::{McpPortalId, McpServerId};

use super::super::access::{AccessView, body, refused};
use super::super::rules::lists_named_in;
use super::{
    PORTAL, PORTAL_RESOURCE, Times, application, author, check_workers, chosen, finds, name_of, same, servers,
    unreadable,
};
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::{Failure, Problem, taken};

/// Returns the portals whose id, name or host holds the text searched for.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn search(cx: &OpContext, search: Option<&str>) -> Result<Vec<Stored<McpPortal>>, Failure> {
    let grant = cx.authorize::<ReadAccess>()?;
    let mut all = cx.store().mcp_portals().list(&grant).await?;
    all.retain(|portal| {
        let document = &portal.document;
        finds(search, &[portal.id.as_str(), name_of(&document.body), &document.hostname])
    });
    Ok(all)
}

/// Shows portals with their servers, without what those offer.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn show_all(cx: &OpContext, portals: &[Stored<McpPortal>]) -> Result<Vec<AccessView>, Failure> {
    let mut servers = Servers { definitions: false, known: HashMap::new() };
    let mut all = Vec::with_capacity(portals.len());
    for portal in portals {
        all.push(servers.show(cx, portal).await?);
    }
    Ok(all)
}

/// Returns one portal with its servers and what they offer.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, id: &McpPortalId) -> Result<AccessView, Failure> {
    show(cx, &load(cx, id).await?).await
}

/// Makes a portal, and the application that says who may use it.
///
/// # Errors
///
/// A [`Failure`] that points at every member at fault, `Conflict` for an id or host that is taken.
pub async fn create(cx: &OpContext, sent: &Value) -> Result<AccessView, Failure> {
    let grant = cx.authorize::<WriteAccess>()?;
    let document = PortalDocument::read(sent, None).map_err(refused)?;
    let id: McpPortalId = chosen(document.id.as_deref())?;
    let portals = cx.store().mcp_portals();
    if portals.get(&grant, &id).await?.is_some() {
        return Err(Failure::conflict("/id", "is the id of another MCP portal"));
    }
    let (portal, name) = read(cx, &id, &document, None).await?;
    let hostname = portal.hostname.clone();
    let stored = portals.create(&grant, id.clone(), portal).await.map_err(host_taken)?;
    if let Err(failure) = application::make_for_portal(cx, &hostname, &name).await {
        portals.delete(&grant, &id, Some(stored.revision)).await?;
        return Err(failure);
    }
    let shown = show(cx, &stored).await?;
    cx.record(Change::new(Verb::Create, PORTAL_RESOURCE, &id).after(summary(&stored))).await?;
    Ok(shown)
}

/// Changes a portal; what is not sent stays.
///
/// # Errors
///
/// As [`create`], and `NotFound`.
pub async fn replace(cx: &OpContext, id: &McpPortalId, sent: &Value) -> Result<AccessView, Failure> {
    let grant = cx.authorize::<WriteAccess>()?;
    let before = load(cx, id).await?;
    let document = PortalDocument::read(sent, Some(&document_of(&before)?)).map_err(refused)?;
    same(document.id.as_deref(), id.as_str())?;
    let (portal, name) = read(cx, id, &document, Some(&before)).await?;
    let hostname = portal.hostname.clone();
    let portals = cx.store().mcp_portals();
    let stored = portals.replace(&grant, id.clone(), portal, Some(before.revision)).await.map_err(host_taken)?;
    if hostname != before.document.hostname
        && let Err(failure) = application::move_portal(cx, &before.document.hostname, &hostname, &name).await
    {
        // Another application has the host: the portal stays where it was.
        portals.replace(&grant, id.clone(), before.document.clone(), Some(stored.revision)).await?;
        return Err(failure);
    }
    let shown = show(cx, &stored).await?;
    let change = Change::new(Verb::Update, PORTAL_RESOURCE, id).before(summary(&before)).after(summary(&stored));
    cx.record(change).await?;
    Ok(shown)
}

/// Deletes a portal and its application.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn delete(cx: &OpContext, id: &McpPortalId) -> Result<AccessView, Failure> {
    let grant = cx.authorize::<WriteAccess>()?;
    let before = load(cx, id).await?;
    let shown = show(cx, &before).await?;
    cx.store().mcp_portals().delete(&grant, id, Some(before.revision)).await?;
    application::delete_of_portal(cx, &before.document.hostname).await?;
    cx.record(Change::new(Verb::Delete, PORTAL_RESOURCE, id).before(summary(&before))).await?;
    Ok(shown)
}

/// Returns the document of a portal, as its author wrote it: what the portal says of its servers, without what they say.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn document(cx: &OpContext, id: &McpPortalId) -> Result<PortalDocument, Failure> {
    document_of(&load(cx, id).await?)
}

async fn load(cx: &OpContext, id: &McpPortalId) -> Result<Stored<McpPortal>, Failure> {
    let grant = cx.authorize::<ReadAccess>()?;
    cx.store().mcp_portals().get(&grant, id).await?.ok_or_else(|| Failure::not_found(PORTAL))
}

fn host_taken(error: store::StoreError) -> Failure {
    taken(error, || Failure::conflict("/hostname", "is the host of another MCP portal"))
}

fn document_of(stored: &Stored<McpPortal>) -> Result<PortalDocument, Failure> {
    read_stored(&stored.document.body).map_err(unreadable)
}

/// Checks a document; returns what is stored, and the portal's name.
async fn read(
    cx: &OpContext,
    id: &McpPortalId,
    document: &PortalDocument,
    before: Option<&Stored<McpPortal>>,
) -> Result<(McpPortal, String), Failure> {
    let rules = document.portunus.as_ref().map(|extension| extension.rules.clone()).unwrap_or_default();
    let lists = lists_named_in(cx, mcp::document::rule::expressions(&rules)).await?;
    let sound = Portal::parse(id.clone(), document, &lists).map_err(refused)?;
    check_workers(cx, &rules).await?;
    check_servers(cx, &sound).await?;
    let author = author(cx);
    let document = PortalDocument { hostname: sound.hostname.clone(), ..document.clone() };
    let portal = McpPortal {
        hostname: sound.hostname,
        body: body(&document)?,
        created_by: before.map_or_else(|| author.clone(), |before| before.document.created_by.clone()),
        modified_by: author,
    };
    Ok((portal, sound.name))
}

async fn check_servers(cx: &OpContext, portal: &Portal) -> Result<(), Failure> {
    let grant = cx.authorize::<ReadAccess>()?;
    let mut problems = Vec::new();
    for (index, link) in portal.servers.iter().enumerate() {
        if cx.store().mcp_servers().get(&grant, &link.server).await?.is_none() {
            let pointer = Some(format!("/servers/{index}/server_id"));
            problems.push(Problem { message: "there is no such MCP server; make it first".to_owned(), pointer });
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::invalid_many(problems)) }
}

async fn show(cx: &OpContext, stored: &Stored<McpPortal>) -> Result<AccessView, Failure> {
    Servers { definitions: true, known: HashMap::new() }.show(cx, stored).await
}

/// What the audit log shows: the author's document, which names the servers without showing them.
fn summary(stored: &Stored<McpPortal>) -> Value {
    stored.document.body.clone()
}

/// A server as it is shown, and its document.
type Known = (Map<String, Value>, ServerDocument);

/// The servers of portals that are shown together, each read once; one that is gone is not there.
struct Servers {
    definitions: bool,
    known: HashMap<String, Option<Known>>,
}

impl Servers {
    async fn show(&mut self, cx: &OpContext, stored: &Stored<McpPortal>) -> Result<AccessView, Failure> {
        let document = document_of(stored)?;
        for link in &document.servers {
            if !self.known.contains_key(&link.server_id) {
                let found = self.load(cx, &link.server_id).await?;
                self.known.insert(link.server_id.clone(), found);
            }
        }
        let times = Times::of(stored);
        let stamps = Stamps {
            created_at: &times.created,
            created_by: &stored.document.created_by,
            modified_at: &times.modified,
            modified_by: &stored.document.modified_by,
        };
        let find = |link: &mcp::document::portal::LinkDocument| self.known.get(&link.server_id).cloned().flatten();
        Ok(AccessView(view::portal(&stored.id, &document, stamps, find)))
    }

    async fn load(&self, cx: &OpContext, server: &str) -> Result<Option<Known>, Failure> {
        let grant = cx.authorize::<ReadAccess>()?;
        let Ok(id) = server.parse::<McpServerId>() else { return Ok(None) };
        let Some(stored) = cx.store().mcp_servers().get(&grant, &id).await? else { return Ok(None) };
        let document = servers::document_of(&stored)?;
        let shown = servers::shown(cx, &stored, &document, self.definitions).await?;
        Ok(Some((shown, document)))
    }
}
