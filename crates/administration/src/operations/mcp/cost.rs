//! What a portal's list of tools costs a model, for each surface that a client may ask for.
//!
//! For somebody whom every policy lets in and no rule keeps from anything. Invariant: what is held or turned off costs
//! nothing.

use std::collections::HashMap;
use std::sync::Arc;

use mcp::catalog::Kind;
use mcp::names::{Override, ServerId};
use mcp::pinning::{Ledger, effective};
use mcp::surface::Surface;
use mcp::tokens;
use mcp::view::{PageLimits, ServerView, Toggles, View};
use serde::Serialize;
use store::ReadAccess;
use types::{McpPortalId, McpServerId};
use utoipa::ToSchema;

use super::definitions::{listed, pinning_of};
use super::portals;
use super::servers::document_of;
use crate::auth::OpContext;
use crate::failure::Failure;

/// What a portal's tools cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CostView {
    pub tools: u64,
    /// From the whole list to the shortest.
    pub surfaces: Vec<SurfaceView>,
}

/// What one surface costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SurfaceView {
    pub name: &'static str,
    /// An estimate of tokens of o200k_base.
    pub tokens: u64,
}

/// Estimates what the tools of a portal cost.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn of(cx: &OpContext, portal: &McpPortalId) -> Result<CostView, Failure> {
    let grant = cx.authorize::<ReadAccess>()?;
    let document = portals::document(cx, portal).await?;
    let mut views = Vec::new();
    for link in &document.servers {
        let (Ok(id), Some(name)) = (link.server_id.parse::<McpServerId>(), ServerId::parse(&link.server_id)) else {
            continue;
        };
        let Some(server) = cx.store().mcp_servers().get(&grant, &id).await? else { continue };
        let Some(catalog) = cx.store().mcp_catalogs().get(&grant, &id).await? else { continue };
        let server = document_of(&server)?;
        let ledger = Ledger::read(catalog.document.pins.as_ref())
            .map_err(|error| Failure::internal("the approved definitions of an MCP server", &error))?;
        let shown = effective(&listed(&catalog.document), &ledger, pinning_of(&server));
        let mut view = ServerView::new(name, server.name.clone(), Arc::new(shown.catalog));
        view.held = shown.held;
        let mut overrides: HashMap<(Kind, Box<str>), Override> = HashMap::new();
        // The portal's word comes after the server's, and counts where it says something.
        for change in server.updated_tools.iter().chain(&link.updated_tools) {
            let entry = overrides.entry((Kind::Tool, change.name.as_str().into())).or_default();
            entry.enabled = change.enabled.or(entry.enabled);
            entry.alias = change.alias.clone().or(entry.alias.take());
            entry.description = change.description.clone().or(entry.description.take());
        }
        view.overrides = overrides;
        views.push(Arc::new(view));
    }
    let view = View::merge(views.iter().cloned(), &everything(&views), |_, _| true);
    let surfaces = [
        ("Every tool", Surface::Full),
        ("Names alone", Surface::MinimizeTools),
        ("Search and execute", Surface::SearchAndExecute),
        ("Code Mode", Surface::CodeMode),
    ];
    let surfaces = surfaces.map(|(name, surface)| SurfaceView { name, tokens: tokens_of(&view, surface) });
    Ok(CostView { tools: view.count(Kind::Tool) as u64, surfaces: surfaces.into() })
}

/// Servers that are off at first are turned on, as a person may.
fn everything(views: &[Arc<ServerView>]) -> Toggles {
    views.iter().map(|view| (view.id.clone(), true)).collect()
}

fn tokens_of(view: &View, surface: Surface) -> u64 {
    let all = PageLimits { items: usize::MAX, bytes: usize::MAX };
    let page = view.page(Kind::Tool, surface, None, all).map(|page| page.items).unwrap_or_default();
    page.iter().map(|item| tokens::estimate(item.get())).sum()
}
