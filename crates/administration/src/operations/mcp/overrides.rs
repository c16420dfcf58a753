//! What administrators change of single tools and prompts of a server, and what comes of it behind a portal.
//!
//! Puts together what the documents say apart: the portal's changes, the server's own, approval, and what is usual for its
//! kind. Invariant: whether and under which name something is seen is the MCP engine's word, for somebody whom every policy
//! lets in and no rule keeps from anything.

use std::collections::HashSet;
use std::sync::Arc;

use mcp::catalog::{Definition, Kind};
use mcp::document::overrides::OverrideDocument;
use mcp::document::portal::LinkDocument;
use mcp::document::server::ServerDocument;
use mcp::names::{Change, Override, ServerId};
use mcp::pinning::{self, KindWord, Ledger};
use mcp::view::{ServerView, Toggles, View};
use store::ReadAccess;
use types::McpServerId;

use super::definitions::{listed, pinning_of};
use super::servers;
use crate::auth::OpContext;
use crate::failure::Failure;

/// One tool, prompt, resource or template of a server, and what is changed of it.
#[derive(Debug, Clone)]
pub struct Changeable {
    pub kind: KindWord,
    /// The name, URI or URI template at the server.
    pub name: String,
    /// What the server says of it, as people are shown it.
    pub description: String,
    pub state: ChangedState,
    /// The name or URI that clients know it by.
    pub exposed: String,
    /// On where nobody says anything: all but what a Worker's tools may write.
    pub usual: bool,
    /// What is changed here.
    pub own: OverrideDocument,
    /// What the server's own document changes, which the portal's comes before.
    pub beneath: OverrideDocument,
}

/// What becomes of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangedState {
    Shown,
    Hidden,
    /// It waits for an administrator's approval.
    Held,
    /// Another definition or a tool of the portal has its name.
    Shadowed,
    /// The server does not list it: it is gone, or is to come.
    Absent,
}

/// Lists what a server offers with what is changed of it: behind a portal, or for all of them where no `link` is given.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn list(
    cx: &OpContext,
    server: &McpServerId,
    link: Option<&LinkDocument>,
) -> Result<Vec<Changeable>, Failure> {
    let alone = LinkDocument { server_id: server.to_string(), ..LinkDocument::default() };
    let Some((view, document)) = behind(cx, link.unwrap_or(&alone)).await? else {
        return Err(Failure::not_found(super::SERVER));
    };
    let (id, view) = (view.id.clone(), Arc::new(view));
    let merged = View::merge([Arc::clone(&view)], &Toggles::from([(id, true)]), |_, _| true);
    let mut all = Vec::new();
    for kind in Kind::ALL {
        let changes = Changes::of(kind, &document, link);
        let definitions = view.catalog.list(kind);
        all.extend(definitions.iter().map(|found| changeable(found, &view, &merged, &changes, &document)));
        let offered: HashSet<&str> = definitions.iter().map(|found| &*found.key).collect();
        all.extend(changes.beyond(&offered).into_iter().map(|name| absent(kind, name, &view, &changes)));
    }
    Ok(all)
}

/// The two lists of changes of one kind.
struct Changes<'a> {
    own: &'a [OverrideDocument],
    beneath: &'a [OverrideDocument],
}

impl<'a> Changes<'a> {
    fn of(kind: Kind, server: &'a ServerDocument, link: Option<&'a LinkDocument>) -> Self {
        let (of_server, of_link): (&[_], Option<&[_]>) = match kind {
            Kind::Tool => (&server.updated_tools, link.map(|link| &*link.updated_tools)),
            Kind::Prompt => (&server.updated_prompts, link.map(|link| &*link.updated_prompts)),
            Kind::Resource | Kind::ResourceTemplate => (&[], None),
        };
        match of_link {
            Some(own) => Self { own, beneath: of_server },
            None => Self { own: of_server, beneath: &[] },
        }
    }

    fn find(list: &[OverrideDocument], name: &str) -> OverrideDocument {
        let unchanged = || OverrideDocument { name: name.to_owned(), ..OverrideDocument::default() };
        list.iter().find(|change| change.name == name).cloned().unwrap_or_else(unchanged)
    }

    /// The names that are changed and not among those offered.
    fn beyond(&self, offered: &HashSet<&str>) -> Vec<&'a str> {
        let mut seen = HashSet::new();
        let names = self.own.iter().chain(self.beneath).map(|change| change.name.as_str());
        names.filter(|name| !offered.contains(name) && seen.insert(*name)).collect()
    }
}

fn changeable(
    found: &Definition,
    view: &ServerView,
    merged: &View,
    changes: &Changes<'_>,
    document: &ServerDocument,
) -> Changeable {
    let changed = view.overrides.get(&(found.kind, found.key.clone()));
    let state = if merged.of_server(&view.id, found.kind, &found.key).is_some() {
        ChangedState::Shown
    } else if view.held.contains(&(found.kind, found.key.clone())) {
        ChangedState::Held
    } else if changed.and_then(|changed| changed.enabled) == Some(false) {
        ChangedState::Hidden
    } else {
        ChangedState::Shadowed
    };
    let said = found.description.as_deref().or(found.title.as_deref());
    Changeable {
        kind: found.kind.into(),
        name: found.key.to_string(),
        description: said.unwrap_or_default().to_owned(),
        state,
        exposed: view.exposed_name(found),
        usual: !(is_worker(document) && found.may_write()),
        own: Changes::find(changes.own, &found.key),
        beneath: Changes::find(changes.beneath, &found.key),
    }
}

fn absent(kind: Kind, name: &str, view: &ServerView, changes: &Changes<'_>) -> Changeable {
    let alias = view.overrides.get(&(kind, name.into())).and_then(Override::alias).unwrap_or(name);
    Changeable {
        kind: kind.into(),
        name: name.to_owned(),
        description: String::new(),
        state: ChangedState::Absent,
        exposed: mcp::names::exposed(view.prefixed.then_some(&view.id), alias),
        usual: true,
        own: Changes::find(changes.own, name),
        beneath: Changes::find(changes.beneath, name),
    }
}

/// Reads the server of an entry as people are shown it, and its document; nothing where it is gone.
pub(super) async fn behind(
    cx: &OpContext,
    link: &LinkDocument,
) -> Result<Option<(ServerView, ServerDocument)>, Failure> {
    let grant = cx.authorize::<ReadAccess>()?;
    let (Ok(id), Some(name)) = (link.server_id.parse::<McpServerId>(), ServerId::parse(&link.server_id)) else {
        return Ok(None);
    };
    let Some(stored) = cx.store().mcp_servers().get(&grant, &id).await? else { return Ok(None) };
    let document = servers::document_of(&stored)?;
    let catalog = cx.store().mcp_catalogs().get(&grant, &id).await?;
    let catalog = catalog.map(|found| found.document).unwrap_or_default();
    let ledger = Ledger::read(catalog.pins.as_ref())
        .map_err(|error| Failure::internal("the approved definitions of an MCP server", &error))?;
    let shown = pinning::effective(&listed(&catalog), &ledger, pinning_of(&document));
    let mut view = ServerView::new(name, document.name.clone(), Arc::new(shown.catalog));
    view.held = shown.held;
    view.default_disabled = link.default_disabled;
    view.prefixed = link.portunus.as_ref().is_none_or(|ours| ours.prefix);
    for (kind, of_server, of_portal) in [
        (Kind::Tool, &document.updated_tools, &link.updated_tools),
        (Kind::Prompt, &document.updated_prompts, &link.updated_prompts),
    ] {
        view.change(kind, of_server.iter().map(Change::from), of_portal.iter().map(Change::from));
    }
    if is_worker(&document) {
        view.hold_writes();
    }
    Ok(Some((view, document)))
}

fn is_worker(document: &ServerDocument) -> bool {
    document.portunus.as_ref().is_some_and(|ours| ours.worker.is_some())
}
