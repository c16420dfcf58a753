//! What one person sees through a portal: allowed servers, their enabled definitions, pins and toggles, merged.
//!
//! Who may use which server or tool is the plane's to say, as arguments; this module merges, names, lists and resolves.
//! A view is a value: the same inputs give the same view, so people with the same rights can share one. Invariant: what is
//! not listed cannot be resolved, and the answer to it is that to something that never existed.

mod cursor;
mod template;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::json;
use serde_json::value::RawValue;

use self::cursor::Cursor;
pub use self::cursor::CursorError;
use crate::builtin::BuiltIn;
use crate::catalog::{Catalog, Definition, Kind};
use crate::message::{ErrorCode, RpcError};
use crate::names::{self, Change, Override, ServerId};
use crate::raw::{self, Object, splice};
use crate::surface::Surface;
use crate::uris;
use crate::version::Version;

/// Whether calls to a server can be made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Standing {
    #[default]
    Ready,
    /// The person's login at the server lapsed: its definitions stay listed, calls ask to sign in again.
    SignInAgain,
    /// The server does not answer; its definitions are those of the last time it did.
    Unreachable,
}

/// One server behind a portal, as far as this person's view depends on it.
#[derive(Debug, Clone)]
pub struct ServerView {
    pub id: ServerId,
    /// The name people see.
    pub name: String,
    pub catalog: Arc<Catalog>,
    /// Administrators' changes, by kind and upstream name.
    pub overrides: HashMap<(Kind, Box<str>), Override>,
    /// Definitions that wait for approval, by kind and key.
    pub held: HashSet<(Kind, Box<str>)>,
    pub default_disabled: bool,
    /// Whether names and URIs carry the server's id. A portal in front of a single server may leave it out.
    pub prefixed: bool,
    pub standing: Standing,
}

impl ServerView {
    /// Makes the view of a server with nothing changed, held or disabled.
    #[must_use]
    pub fn new(id: ServerId, name: impl Into<String>, catalog: Arc<Catalog>) -> Self {
        Self {
            id,
            name: name.into(),
            catalog,
            overrides: HashMap::new(),
            held: HashSet::new(),
            default_disabled: false,
            prefixed: true,
            standing: Standing::Ready,
        }
    }

    /// Takes up what the server's document and the portal's change of one kind. The portal's word comes after the server's,
    /// and counts where it says something.
    pub fn change<'a>(
        &mut self,
        kind: Kind,
        server: impl IntoIterator<Item = Change<'a>>,
        portal: impl IntoIterator<Item = Change<'a>>,
    ) {
        let text = |text: Option<&str>| text.map(str::to_owned);
        for change in server {
            let entry = self.overrides.entry((kind, change.name.into())).or_default();
            (entry.server_alias, entry.server_description) = (text(change.alias), text(change.description));
            entry.enabled = change.enabled;
        }
        for change in portal {
            let entry = self.overrides.entry((kind, change.name.into())).or_default();
            (entry.portal_alias, entry.portal_description) = (text(change.alias), text(change.description));
            entry.enabled = change.enabled.or(entry.enabled);
        }
    }

    /// Switches off what may write, unless somebody switched it on by name: what the tools of a Worker begin with.
    pub fn hold_writes(&mut self) {
        for tool in self.catalog.list(Kind::Tool).iter().filter(|tool| tool.may_write()) {
            self.overrides.entry((Kind::Tool, tool.key.clone())).or_default().enabled.get_or_insert(false);
        }
    }

    fn changed(&self, definition: &Definition) -> Option<&Override> {
        self.overrides.get(&(definition.kind, definition.key.clone()))
    }

    fn prefix(&self) -> Option<&ServerId> {
        self.prefixed.then_some(&self.id)
    }

    /// Returns the name or URI a client would see.
    #[must_use]
    pub fn exposed_name(&self, definition: &Definition) -> String {
        self.exposed(definition).0
    }

    /// Returns the name or URI a client sees, and whether an administrator gave it.
    fn exposed(&self, definition: &Definition) -> (String, bool) {
        match definition.kind {
            Kind::Tool | Kind::Prompt => {
                let alias = self.changed(definition).and_then(Override::alias).filter(|alias| names::is_alias(alias));
                (names::exposed(self.prefix(), alias.unwrap_or(&definition.key)), alias.is_some())
            }
            Kind::Resource if self.prefixed => (uris::to_client(&self.id, &definition.key), false),
            Kind::ResourceTemplate if self.prefixed => (uris::template_to_client(&self.id, &definition.key), false),
            Kind::Resource | Kind::ResourceTemplate => (definition.key.to_string(), false),
        }
    }
}

/// A person's switches for the session, by server.
pub type Toggles = HashMap<ServerId, bool>;

#[derive(Debug, Clone)]
struct Entry {
    exposed: Box<str>,
    server: u32,
    definition: u32,
}

/// What one person sees.
#[derive(Debug, Clone)]
pub struct View {
    servers: Vec<(Arc<ServerView>, bool)>,
    /// By kind, in the order of what clients see.
    entries: [Vec<Entry>; 4],
}

/// What an exposed name or URI stands for.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    pub server: &'a Arc<ServerView>,
    pub definition: &'a Definition,
    /// The name or URI clients see.
    pub exposed: &'a str,
}

/// Where a resource is read.
#[derive(Debug, Clone)]
pub struct Route<'a> {
    pub server: &'a Arc<ServerView>,
    /// The URI that server knows.
    pub uri: String,
    /// Its definition, when it is listed; links in results name others too.
    pub definition: Option<&'a Definition>,
}

/// How much of a list one answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimits {
    pub items: usize,
    /// Bytes of definitions; one definition always fits.
    pub bytes: usize,
}

impl Default for PageLimits {
    fn default() -> Self {
        Self { items: 1_000, bytes: 1_024 * 1_024 }
    }
}

/// One answer to a list request.
#[derive(Debug, Clone)]
pub struct Page {
    pub items: Vec<Box<RawValue>>,
    pub next_cursor: Option<String>,
}

impl Page {
    /// Returns the result to send.
    #[must_use]
    pub fn result(&self, kind: Kind) -> Box<RawValue> {
        let list = raw::raw(&self.items);
        let cursor = self.next_cursor.as_deref().map(raw::raw);
        let changes = [(kind.member(), Some(&*list)), ("nextCursor", cursor.as_deref())];
        splice("{}", &changes).unwrap_or(list)
    }
}

impl View {
    /// Merges servers, which are those this person passes, in the portal's order.
    ///
    /// `permitted` says of each definition whether policy lets this person see it. Where two definitions come to one
    /// name, an administrator's alias wins, then the earlier server, then the earlier definition; the other is not seen.
    #[must_use]
    pub fn merge(
        servers: impl IntoIterator<Item = Arc<ServerView>>,
        toggles: &Toggles,
        mut permitted: impl FnMut(&ServerView, &Definition) -> bool,
    ) -> Self {
        let servers: Vec<_> = servers
            .into_iter()
            .map(|server| {
                let on = toggles.get(&server.id).copied().unwrap_or(!server.default_disabled);
                (server, on)
            })
            .collect();
        let mut entries: [Vec<Entry>; 4] = Default::default();
        for kind in Kind::ALL {
            let mut found: Vec<(Entry, bool)> = Vec::new();
            for (number, (server, _)) in servers.iter().enumerate().filter(|(_, (_, on))| *on) {
                for (index, definition) in server.catalog.list(kind).iter().enumerate() {
                    let enabled = server.changed(definition).and_then(|changed| changed.enabled).unwrap_or(true);
                    let held = server.held.contains(&(kind, definition.key.clone()));
                    if !enabled || held || !permitted(server, definition) {
                        continue;
                    }
                    let (exposed, aliased) = server.exposed(definition);
                    if kind == Kind::Tool && BuiltIn::named(&exposed).is_some() {
                        continue;
                    }
                    // The counts are bounded by the catalogue and the portal.
                    let (server, definition) = (number as u32, index as u32);
                    found.push((Entry { exposed: exposed.into(), server, definition }, !aliased));
                }
            }
            found.sort_by(|(one, by_server), (other, other_by_server)| {
                (&one.exposed, by_server, one.server, one.definition).cmp(&(
                    &other.exposed,
                    other_by_server,
                    other.server,
                    other.definition,
                ))
            });
            found.dedup_by(|(later, _), (earlier, _)| later.exposed == earlier.exposed);
            entries[kind as usize] = found.into_iter().map(|(entry, _)| entry).collect();
        }
        Self { servers, entries }
    }

    /// Returns the servers of the view, in the portal's order, and whether each is switched on.
    pub fn servers(&self) -> impl Iterator<Item = (&Arc<ServerView>, bool)> {
        self.servers.iter().map(|(server, on)| (server, *on))
    }

    /// Returns a server that is switched on.
    #[must_use]
    pub fn server(&self, id: &ServerId) -> Option<&Arc<ServerView>> {
        self.servers.iter().find(|(server, on)| *on && server.id == *id).map(|(server, _)| server)
    }

    /// Returns everything of a kind, in the order of lists.
    pub fn list(&self, kind: Kind) -> impl Iterator<Item = Target<'_>> {
        self.entries[kind as usize].iter().filter_map(move |entry| self.target(kind, entry))
    }

    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.entries[kind as usize].len()
    }

    fn target<'a>(&'a self, kind: Kind, entry: &'a Entry) -> Option<Target<'a>> {
        let (server, _) = self.servers.get(entry.server as usize)?;
        let definition = server.catalog.list(kind).get(entry.definition as usize)?;
        Some(Target { server, definition, exposed: &entry.exposed })
    }

    /// Finds what clients know by this name, URI or template.
    #[must_use]
    pub fn find(&self, kind: Kind, exposed: &str) -> Option<Target<'_>> {
        let entries = &self.entries[kind as usize];
        let index = entries.binary_search_by(|entry| (*entry.exposed).cmp(exposed)).ok()?;
        self.target(kind, entries.get(index)?)
    }

    /// Finds what a server knows by this key, if this person sees it.
    #[must_use]
    pub fn of_server(&self, server: &ServerId, kind: Kind, key: &str) -> Option<Target<'_>> {
        let server = self.server(server)?;
        let definition = server.catalog.find(kind, key)?;
        let target = self.find(kind, &server.exposed(definition).0)?;
        (target.server.id == server.id && target.definition.key == definition.key).then_some(target)
    }

    /// Finds where a resource is read: one that is listed, one that a listed template makes, or one a result linked to.
    ///
    /// A resource that is hidden from this person, or made by a template that is, is not found.
    #[must_use]
    pub fn route(&self, uri: &str) -> Option<Route<'_>> {
        if let Some(target) = self.find(Kind::Resource, uri) {
            let uri = target.definition.key.to_string();
            return Some(Route { server: target.server, uri, definition: Some(target.definition) });
        }
        let (server, uri) = match uris::to_server(uri) {
            Some((id, uri)) if self.server(&id).is_some_and(|server| server.prefixed) => (self.server(&id)?, uri),
            _ => (self.unprefixed(uri)?, uri.to_owned()),
        };
        // Another spelling of a listed URI leads to the same resource, and so does that of a hidden one.
        if let Some(definition) = server.catalog.find(Kind::Resource, &uri) {
            let target = self.find(Kind::Resource, &server.exposed(definition).0)?;
            return (target.server.id == server.id).then_some(Route { server, uri, definition: Some(definition) });
        }
        let made_by = |definition: &&Definition| template::makes(&definition.key, &uri);
        let mut templates = server.catalog.list(Kind::ResourceTemplate).iter().filter(made_by).peekable();
        let visible = |definition: &Definition| {
            self.find(Kind::ResourceTemplate, &server.exposed(definition).0)
                .is_some_and(|target| target.server.id == server.id)
        };
        if templates.peek().is_some() && !templates.any(visible) {
            return None;
        }
        Some(Route { server, uri, definition: None })
    }

    /// Returns the server without prefix that a URI may belong to: one whose template makes it, else the first.
    fn unprefixed(&self, uri: &str) -> Option<&Arc<ServerView>> {
        let servers = || self.servers.iter().filter(|(server, on)| *on && !server.prefixed).map(|(server, _)| server);
        let makes = |server: &&Arc<ServerView>| {
            let templates = server.catalog.list(Kind::ResourceTemplate);
            server.catalog.find(Kind::Resource, uri).is_some()
                || templates.iter().any(|definition| template::makes(&definition.key, uri))
        };
        servers().find(makes).or_else(|| servers().next())
    }

    /// Answers a list request for tools, prompts, resources or templates.
    ///
    /// # Errors
    /// When the cursor is none that this portal gave out for this kind; the answer is `-32602`.
    pub fn page(
        &self,
        kind: Kind,
        surface: Surface,
        cursor: Option<&str>,
        limits: PageLimits,
    ) -> Result<Page, CursorError> {
        let after = cursor.map(|text| Cursor::parse(kind, text)).transpose()?;
        let mut page = Page { items: Vec::new(), next_cursor: None };
        if kind == Kind::Tool && after.is_none() {
            page.items.extend(BuiltIn::of(surface).iter().map(|tool| tool.definition()));
        }
        if kind == Kind::Tool && matches!(surface, Surface::SearchAndExecute | Surface::CodeMode) {
            return Ok(page);
        }
        let entries = &self.entries[kind as usize];
        let start = after.map_or(0, |after| entries.partition_point(|entry| *entry.exposed <= *after.key));
        let (mut bytes, mut taken) = (0, 0);
        for entry in entries.get(start..).unwrap_or_default() {
            let Some(target) = self.target(kind, entry) else { continue };
            let item = target.render(surface);
            bytes += item.get().len();
            if taken > 0 && (taken >= limits.items || bytes > limits.bytes) {
                let last = &entries[start + taken - 1].exposed;
                page.next_cursor = Some(Cursor { key: last.to_string() }.to_text(kind));
                break;
            }
            page.items.push(item);
            taken += 1;
        }
        Ok(page)
    }
}

impl Target<'_> {
    /// Returns the description that counts: an administrator's, else the server's.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        let changed = self.server.changed(self.definition).and_then(Override::description);
        changed.or(self.definition.description.as_deref())
    }

    /// Returns the definition as clients see it on this surface.
    #[must_use]
    pub fn render(&self, surface: Surface) -> Box<RawValue> {
        if self.definition.kind == Kind::Tool && surface == Surface::MinimizeTools {
            return self.minimized();
        }
        let json = &self.definition.json;
        let exposed = raw::raw(self.exposed);
        let described = self.server.changed(self.definition).and_then(Override::description).map(raw::raw);
        let mut changes = vec![(self.definition.kind.key(), Some(&*exposed))];
        if let Some(text) = &described {
            changes.push(("description", Some(text)));
        }
        // The catalogue read the definition, so it can be spliced.
        let rendered = splice(json.get(), &changes).unwrap_or_else(|_| json.clone());
        if self.definition.kind != Kind::Tool || !self.server.prefixed {
            return rendered;
        }
        uris::rewrite_tool(&self.server.id, &rendered).unwrap_or(rendered)
    }

    /// The name, and the little that clients act on without a model reading it.
    fn minimized(&self) -> Box<RawValue> {
        let mut members: Vec<(&str, Box<RawValue>)> =
            vec![("name", raw::raw(self.exposed)), ("inputSchema", raw::raw(&json!({"type": "object"})))];
        if let Ok(object) = Object::parse(self.definition.json.get()) {
            let hints = object.object("annotations").and_then(|hints| {
                // Its title would be a description by another name.
                splice(object.value("annotations")?.get(), &[("title", None)])
                    .ok()
                    .filter(|_| hints.members().count() > 0)
            });
            members.extend(hints.map(|hints| ("annotations", hints)));
            members.extend(object.value("execution").map(|execution| ("execution", execution.to_owned())));
        }
        let members: Vec<_> = members.iter().map(|(name, value)| (*name, Some(&**value))).collect();
        splice("{}", &members).unwrap_or_else(|_| self.definition.json.clone())
    }
}

/// Returns the error for a name or URI that stands for nothing this person may see, whatever the reason.
#[must_use]
pub fn unknown(kind: Kind, exposed: &str, version: Version) -> RpcError {
    let shown: String = exposed.chars().take(names::MAX_NAME).collect();
    match kind {
        Kind::Tool => RpcError::new(ErrorCode::InvalidParams, format!("Unknown tool: {shown}")),
        Kind::Prompt => RpcError::new(ErrorCode::InvalidParams, format!("Unknown prompt: {shown}")),
        Kind::Resource | Kind::ResourceTemplate => {
            RpcError::with(version.resource_not_found(), "Resource not found", &json!({"uri": exposed}))
        }
    }
}

#[cfg(test)]
mod tests;
