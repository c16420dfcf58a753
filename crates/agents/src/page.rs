//! What people see at a portal's own address: how to connect a client, and the servers that are theirs.
//!
//! Needs no script. Invariant: a person sees here what their clients see, and nothing of servers that they do not pass.

use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode};
use maud::{DOCTYPE, Markup, html};
use mcp::catalog::Kind;
use mcp::view::ServerView;
use net::proxy::body::{Body, empty_body, full_body};

use crate::endpoint::plain;
use crate::plane::Inner;
use crate::session::{Client, NewSession};
use crate::signin::{calls, pages};
use crate::snapshot::Portal;
use crate::turn::Turn;
use crate::visit::{Visit, Visitor};

const STYLE: &str = include_str!("page.css");
/// What a person's browser calls itself in the table of sessions.
const BROWSER: &str = "browser";

/// Answers a request for a page.
pub(crate) async fn answer(plane: &Arc<Inner>, portal: &Arc<Portal>, visit: Visit) -> Response<Body> {
    match (visit.request.uri().path(), visit.request.method()) {
        ("/", &Method::GET | &Method::HEAD) => home(plane, portal, visit).await,
        ("/page.css", &Method::GET | &Method::HEAD) => style(),
        ("/favicon.ico", _) => {
            let mut response = Response::new(empty_body());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        _ => match pages::answer(plane, portal, visit).await {
            Some(response) => response,
            None => plain(StatusCode::NOT_FOUND, "there is nothing here; clients connect at /mcp"),
        },
    }
}

fn style() -> Response<Body> {
    let mut response = Response::new(full_body(STYLE));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=300"));
    response
}

/// The turn of a person's browser; `None` when the node has no room for its session.
pub(crate) fn browsing(plane: &Arc<Inner>, portal: &Arc<Portal>, visit: Visit) -> Option<Turn> {
    let new = NewSession {
        portal: portal.settings.id.as_str(),
        holder: visit.visitor.holder(),
        version: mcp::version::Version::LATEST_WITH_SESSIONS,
        client: Client {
            name: BROWSER.to_owned(),
            version: String::new(),
            capabilities: mcp::raw::raw(&serde_json::json!({})),
        },
        apart: "page",
    };
    let opened = plane.sessions.implied(new, plane.now())?;
    plane.end_all(opened.displaced);
    Some(Turn::new(Arc::clone(plane), Arc::clone(portal), opened.session, visit))
}

async fn home(plane: &Arc<Inner>, portal: &Arc<Portal>, visit: Visit) -> Response<Body> {
    let address = visit.site.join("/mcp").map_or_else(|_| visit.site.to_string(), |url| url.to_string());
    let Some(turn) = browsing(plane, portal, visit) else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "the portal has no room for another session; try again shortly");
    };
    let standings = calls::standings(&turn).await;
    let body = html! {
        (servers(&turn, &standings))
        (connect(portal.settings.id.as_str(), &address))
    };
    whole(&turn.portal, &turn.visitor, StatusCode::OK, &body)
}

/// Makes a page of the portal.
pub(crate) fn whole(portal: &Portal, visitor: &Visitor, status: StatusCode, body: &Markup) -> Response<Body> {
    page(portal, visitor, status, &html! {}, body)
}

/// Makes a page with more in its head.
pub(crate) fn page(
    portal: &Portal,
    visitor: &Visitor,
    status: StatusCode,
    head: &Markup,
    body: &Markup,
) -> Response<Body> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (portal.settings.name) }
                link rel="stylesheet" href="/page.css";
                (head)
            }
            body {
                header {
                    h1 { (portal.settings.name) }
                    @if let Some(description) = &portal.settings.description { p { (description) } }
                    (who(visitor))
                }
                main { (body) }
            }
        }
    };
    let mut response = Response::new(full_body(page.into_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

fn who(visitor: &Visitor) -> Markup {
    html! {
        @match visitor {
            // What its forms are guarded by is the person's browser's alone.
            Visitor::Person(person) if person.agent => p.who { "Signed in as " strong { (person.email) } ", by an agent" },
            Visitor::Person(person) => form.who method="post" action="/sign-out" {
                "Signed in as " strong { (person.email) } " "
                input type="hidden" name="token" value=(pages::token(person));
                button.link type="submit" { "Sign out" }
            },
            Visitor::Program { name, .. } => p.who { "The service token " strong { (name) } },
            Visitor::Nobody => {},
        }
    }
}

fn servers(turn: &Turn, standings: &[calls::Stands]) -> Markup {
    let counts = |server: &ServerView| {
        [(Kind::Tool, "tool"), (Kind::Prompt, "prompt"), (Kind::Resource, "resource")]
            .map(|(kind, word)| {
                counted(turn.view.list(kind).filter(|target| target.server.id == server.id).count(), word)
            })
            .join(" · ")
    };
    html! {
        section aria-labelledby="servers" {
            h2 id="servers" { "Your servers" }
            @if standings.is_empty() {
                p.empty { "No allowed servers available, check your Zero Trust Policies" }
            } @else {
                ul.servers {
                    @for stands in standings {
                        li {
                            (pages::named(turn, stands, "/"))
                            span.counts { (counts(&stands.server)) }
                        }
                    }
                }
            }
        }
    }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn connect(id: &str, address: &str) -> Markup {
    let json =
        format!("{{\n  \"mcpServers\": {{\n    \"{id}\": {{ \"type\": \"http\", \"url\": \"{address}\" }}\n  }}\n}}");
    html! {
        section aria-labelledby="connect" {
            h2 id="connect" { "Connect a client" }
            p { "Every client that speaks MCP over HTTP takes this address. It asks you to sign in, once, in your browser." }
            pre tabindex="0" { code { (address) } }
            h3 { "On the command line" }
            pre tabindex="0" { code { "claude mcp add --transport http " (id) " " (address) } }
            pre tabindex="0" { code { "npx @modelcontextprotocol/inspector --cli " (address) " --transport http --method tools/list" } }
            h3 { "In a settings file" }
            p { "Editors and desktop clients read a file such as " code { "mcp.json" } ":" }
            pre tabindex="0" { code { (json) } }
            h3 { "Fewer tokens" }
            p { "With many tools, let the model write a few lines of code instead of reading every definition:" }
            pre tabindex="0" { code { (address) "?codemode=search_and_execute" } }
        }
    }
}
