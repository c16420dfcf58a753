//! What is changed of single tools and prompts of a server: whether they are seen, their name, what they say; for one
//! portal, or for all of them.
//!
//! One page holds some of them, so a form is about its rows alone. Invariants: a row that was left as it was drawn changes
//! nothing, and one that somebody else changed meanwhile is not overwritten unseen; changes that the page does not show
//! stay.

mod change;
mod table;

use axum::extract::Path;
use mcp::document::overrides::OverrideDocument;
use mcp::document::portal::PortalDocument;
use mcp::pinning::KindWord;
use serde_json::json;
use types::{Code, McpPortalId, McpServerId};

use self::change::{Change, Typed};
use crate::failure::{Failure, Problem};
use crate::operations::mcp::overrides::{self, Changeable, ChangedState};
use crate::operations::mcp::{portals, servers};
use crate::pages::fields::Fields;
use crate::pages::frame::{self, Place, refused_form};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, go, id};

/// Rows of one page.
const ROWS: usize = 50;

/// A server whose changes are looked at, and where they are kept.
struct Opened {
    server: McpServerId,
    /// The server's name.
    name: String,
    /// The portal whose changes they are; none: the server's own, for every portal.
    portal: Option<OfPortal>,
    updated: [Vec<OverrideDocument>; 2],
    all: Vec<Changeable>,
}

struct OfPortal {
    id: McpPortalId,
    document: PortalDocument,
    /// The place of the server in the portal.
    at: usize,
}

/// Which rows a page shows.
struct Which {
    kind: KindWord,
    /// What names hold that are looked for, in lower case.
    part: String,
    page: usize,
}

impl Which {
    fn read(fields: &Fields) -> Self {
        let kind = KindWord::named(fields.get("kind")).unwrap_or(KindWord::Tool);
        let page = fields.get("page").parse().unwrap_or(1).max(1);
        Self { kind, part: fields.get("q").to_lowercase(), page }
    }

    fn all<'a>(&self, opened: &'a Opened) -> Vec<&'a Changeable> {
        let holds = |one: &&Changeable| one.kind == self.kind && one.name.to_lowercase().contains(&self.part);
        opened.all.iter().filter(holds).collect()
    }

    fn shown<'a>(&self, opened: &'a Opened) -> Vec<&'a Changeable> {
        self.all(opened).into_iter().skip((self.page - 1).saturating_mul(ROWS)).take(ROWS).collect()
    }

    fn query(&self, page: usize) -> String {
        let mut pairs = url::form_urlencoded::Serializer::new(String::new());
        pairs.append_pair("kind", self.kind.as_str());
        if !self.part.is_empty() {
            pairs.append_pair("q", &self.part);
        }
        if page > 1 {
            pairs.append_pair("page", &page.to_string());
        }
        pairs.finish()
    }
}

impl Opened {
    async fn of_server(visitor: &Visitor, server: &str) -> Result<Self, Failure> {
        let server: McpServerId = id(server, "MCP server")?;
        let document = servers::document(&visitor.cx, &server).await?;
        let all = overrides::list(&visitor.cx, &server, None).await?;
        let updated = [document.updated_tools, document.updated_prompts];
        Ok(Self { server, name: document.name, portal: None, updated, all })
    }

    async fn of_portal(visitor: &Visitor, portal: &str, server: &str) -> Result<Self, Failure> {
        let (portal, server): (McpPortalId, McpServerId) = (id(portal, "MCP portal")?, id(server, "MCP server")?);
        let document = portals::document(&visitor.cx, &portal).await?;
        let at = document.servers.iter().position(|link| link.server_id == server.as_str());
        let at = at.ok_or_else(|| Failure::not_found("MCP server behind this portal"))?;
        let name = servers::document(&visitor.cx, &server).await?.name;
        let link = &document.servers[at];
        let all = overrides::list(&visitor.cx, &server, Some(link)).await?;
        let updated = [link.updated_tools.clone(), link.updated_prompts.clone()];
        Ok(Self { server, name, portal: Some(OfPortal { id: portal, document, at }), updated, all })
    }

    fn path(&self) -> String {
        match &self.portal {
            Some(portal) => format!("/agents/portals/{}/servers/{}", portal.id, self.server),
            None => format!("/agents/servers/{}/overrides", self.server),
        }
    }

    /// The list of changes of a kind, and the member it is; the other kinds have none.
    fn list(&self, kind: KindWord) -> Option<(&[OverrideDocument], &'static str)> {
        match kind {
            KindWord::Tool => Some((&self.updated[0], "updated_tools")),
            KindWord::Prompt => Some((&self.updated[1], "updated_prompts")),
            KindWord::Resource | KindWord::ResourceTemplate => None,
        }
    }

    /// Saves a list of changes; problems name the entry and its member.
    async fn save(&self, visitor: &Visitor, member: &'static str, list: &[OverrideDocument]) -> Result<(), Failure> {
        let (saved, prefix) = match &self.portal {
            None => {
                let saved = servers::replace(&visitor.cx, &self.server, &json!({ member: list })).await;
                (saved, format!("/{member}/"))
            }
            Some(portal) => {
                let mut links = json!(portal.document.servers);
                links[portal.at][member] = json!(list);
                let saved = portals::replace(&visitor.cx, &portal.id, &json!({ "servers": links })).await;
                (saved, format!("/servers/{}/{member}/", portal.at))
            }
        };
        saved.map(|_| ()).map_err(|failure| named(failure, &prefix, list))
    }
}

/// Puts problems of entries under the names that those are of: `/name/member`, escaped as RFC 6901 has it.
fn named(mut failure: Failure, prefix: &str, list: &[OverrideDocument]) -> Failure {
    for problem in &mut failure.problems {
        let rest = problem.pointer.as_deref().and_then(|pointer| pointer.strip_prefix(prefix));
        let Some((index, member)) = rest.and_then(|rest| rest.split_once('/')) else { continue };
        if let Some(entry) = index.parse::<usize>().ok().and_then(|index| list.get(index)) {
            problem.pointer = Some(at(&entry.name, member));
        }
    }
    failure
}

/// Where a problem of an entry is pointed to.
fn at(name: &str, member: &str) -> String {
    format!("/{}/{member}", name.replace('~', "~0").replace('/', "~1"))
}

/// Serves `GET /agents/portals/{id}/servers/{server}`.
pub(in crate::pages) async fn of_portal(visitor: Visitor, Path((portal, server)): Path<(String, String)>) -> Page {
    let opened = Opened::of_portal(&visitor, &portal, &server).await?;
    Ok(show(&visitor, &opened))
}

/// Serves `GET /agents/servers/{id}/overrides`.
pub(in crate::pages) async fn of_server(visitor: Visitor, Path(server): Path<String>) -> Page {
    let opened = Opened::of_server(&visitor, &server).await?;
    Ok(show(&visitor, &opened))
}

fn show(visitor: &Visitor, opened: &Opened) -> axum::response::Response {
    let which = Which::read(&visitor.query);
    let body = table::page(visitor, opened, &which, None);
    frame::page(visitor, Place::Agents, "Tools and prompts", &body)
}

/// Serves `POST /agents/portals/{id}/servers/{server}`.
pub(in crate::pages) async fn save_of_portal(
    Path((portal, server)): Path<(String, String)>,
    submission: Submission,
) -> Page {
    let opened = Opened::of_portal(&submission.visitor, &portal, &server).await?;
    save(&opened, &submission).await
}

/// Serves `POST /agents/servers/{id}/overrides`.
pub(in crate::pages) async fn save_of_server(Path(server): Path<String>, submission: Submission) -> Page {
    let opened = Opened::of_server(&submission.visitor, &server).await?;
    save(&opened, &submission).await
}

async fn save(opened: &Opened, submission: &Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let which = Which::read(fields);
    let (standing, member) = opened.list(which.kind).ok_or_else(|| Failure::not_found("list of changes"))?;
    let typed = Typed::read(fields);
    let saved = match changed(opened, &which, standing, &typed, fields.get("all")) {
        Ok(list) => opened.save(visitor, member, &list).await,
        Err(failure) => Err(failure),
    };
    match saved {
        Ok(()) => go(&format!("{}?{}&note=saved", opened.path(), which.query(which.page))),
        Err(failure) => {
            let body = table::page(visitor, opened, &which, Some((typed.as_slice(), &failure)));
            Ok(refused_form(visitor, Place::Agents, "Tools and prompts", &failure, &body))
        }
    }
}

fn is_new(name: &str, kind: KindWord, opened: &Opened) -> Result<(), &'static str> {
    match name {
        "" => Err("is required: the name at the server"),
        _ if opened.all.iter().any(|one| one.kind == kind && one.name == name) => {
            Err("stands in the list already; search for it there")
        }
        _ => Ok(()),
    }
}

/// The list of changes with what was typed, and with what is said of everything that is looked at.
fn changed(
    opened: &Opened,
    which: &Which,
    standing: &[OverrideDocument],
    typed: &[Typed],
    every: &str,
) -> Result<Vec<OverrideDocument>, Failure> {
    let mut list = standing.to_vec();
    let mut problems = Vec::new();
    for row in typed.iter().filter(|row| row.is_changed()) {
        if row.new
            && let Err(message) = is_new(&row.name, which.kind, opened)
        {
            problems.push(Problem { message: message.to_owned(), pointer: Some(at(&row.name, "name")) });
            continue;
        }
        let stands = list.iter().find(|change| change.name == row.name).map(Change::of).unwrap_or_default();
        if stands.word() != row.was {
            let message = "was changed by somebody else meanwhile; save again to put this in its place".to_owned();
            problems.push(Problem { message, pointer: Some(at(&row.name, "enabled")) });
            continue;
        }
        row.change.put(&row.name, &mut list);
    }
    if !problems.is_empty() {
        return Err(Failure { code: Code::Conflict, ..Failure::invalid_many(problems) });
    }
    let enabled = match every {
        "show" => Some(true),
        "hide" => Some(false),
        "usual" => None,
        _ => return Ok(list),
    };
    for one in which.all(opened) {
        if one.state == ChangedState::Absent && enabled.is_some() {
            continue;
        }
        let stands = list.iter().find(|change| change.name == one.name).map(Change::of).unwrap_or_default();
        Change { enabled, ..stands }.put(&one.name, &mut list);
    }
    Ok(list)
}
