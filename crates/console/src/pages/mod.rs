//! The console's pages, server-rendered. They call the same operations as the API.

use std::sync::Arc;

use axum::Router;

use crate::app::App;

/// Builds the routes of the pages.
pub(crate) fn router(_app: &Arc<App>) -> Router<Arc<App>> {
    Router::new()
}
