//! An administrator's way to the authorization server of an MCP server, and back.
//!
//! Invariant: a form leads to a page that names where the way goes; what comes back counts for a signed-in administrator.

use axum::extract::Path;
use axum::response::IntoResponse as _;
use maud::html;

use super::frame::{self, Place};
use super::visitor::{Submission, Visitor};
use super::{Page, go, id};
use crate::operations::mcp::sign_in;

/// Serves `POST /mcp/servers/{id}/sign-in`.
pub(super) async fn begin(Path(server): Path<String>, Submission { visitor, .. }: Submission) -> Page {
    let url = sign_in::begin(&visitor.cx, &id(&server, "MCP server")?).await?;
    let host = url.host_str().unwrap_or_default().to_owned();
    // The page's policy lets forms lead to the console alone.
    let body = html! {
        p { "You are on your way to " strong { (host) } ". What you allow there is used to ask the server what it offers." }
        p { a href=(url) rel="noreferrer" { "Continue to " (host) } }
    };
    Ok(frame::page(&visitor, Place::Agents, "Sign in at an MCP server", &body).into_response())
}

/// Serves `POST /mcp/servers/{id}/sign-out`.
pub(super) async fn end(Path(server): Path<String>, Submission { visitor, .. }: Submission) -> Page {
    let server: types::McpServerId = id(&server, "MCP server")?;
    sign_in::end(&visitor.cx, &server).await?;
    go(&format!("/agents/servers/{server}"))
}

/// Serves `GET /mcp/servers-callback`.
pub(super) async fn callback(visitor: Visitor, request: axum::extract::RawQuery) -> Page {
    let server = sign_in::complete(&visitor.cx, request.0.as_deref().unwrap_or_default()).await?;
    let body = html! { p.notice { "You are signed in at the MCP server " a href={ "/agents/servers/" (server) } { code { (server) } } "." } };
    Ok(frame::page(&visitor, Place::Agents, "Signed in", &body).into_response())
}
