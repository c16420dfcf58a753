//! What a portal's list of tools costs a model, for each surface that a client may ask for.
//!
//! For somebody whom every policy lets in and no rule keeps from anything. Invariant: what is held or turned off costs
//! nothing.

use std::sync::Arc;

use mcp::catalog::Kind;
use mcp::surface::Surface;
use mcp::tokens;
use mcp::view::{PageLimits, ServerView, Toggles, View};
use serde::Serialize;
use types::McpPortalId;
use utoipa::ToSchema;

use super::{overrides, portals};
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
    let document = portals::document(cx, portal).await?;
    let mut views = Vec::new();
    for link in &document.servers {
        views.extend(overrides::behind(cx, link).await?.map(|(view, _)| Arc::new(view)));
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
