//! The console's pages, server-rendered. They call the same operations as the API.
//!
//! One file per place of the console; this one lists every route. It decides nothing an operation decides. Invariants: a
//! page without a session leads to the sign-in; nothing changes without the session's CSRF token; no page holds inline
//! script or style, so the Content-Security-Policy needs no exception.

mod access;
mod activity;
mod agents;
mod assets;
mod control;
mod entry;
mod explorer;
mod fields;
mod format;
mod frame;
mod kv;
mod library;
mod lists;
mod mcp_sign_in;
mod overview;
mod record;
mod rules;
mod settings;
mod shadow_mcp;
mod signals;
mod usage;
mod visitor;
mod workers;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};

use crate::app::App;
use crate::failure::Failure;
use frame::Refused;
use visitor::{LARGEST_FORM, Submission, Theme};

/// What a page's handler returns.
type Page = Result<Response, Refused>;

/// Builds the routes of the pages.
pub(crate) fn router(_app: &Arc<App>) -> Router<Arc<App>> {
    Router::new()
        .merge(entry_routes())
        .merge(rule_routes())
        .merge(library_routes())
        .merge(usage_routes())
        .merge(worker_routes())
        .merge(access_routes())
        .merge(agent_routes())
        .merge(settings_routes())
        .layer(DefaultBodyLimit::max(LARGEST_FORM))
}

fn entry_routes() -> Router<Arc<App>> {
    Router::new()
        .route("/assets/{name}", get(assets::serve))
        .route("/favicon.svg", get(assets::icon))
        .route("/setup", get(entry::setup_page).post(entry::setup))
        .route("/sign-in", get(entry::sign_in_page).post(entry::sign_in))
        .route("/sign-out", post(entry::sign_out))
        .route("/theme", post(theme))
        .route("/", get(overview::page))
        .route("/activity", get(activity::page))
        .route("/explore", get(explorer::page).post(explorer::run))
        .route("/explore/saved", post(signals::save_query))
        .route("/explore/saved/{id}/delete", post(signals::delete_query))
        .route("/signals", get(signals::page).post(signals::create))
        .route("/signals/new", get(signals::new_page))
        .route("/signals/try", post(signals::try_out))
        .route("/signals/{id}", get(signals::signal_page).post(signals::save))
        .route("/signals/{id}/webhook_secret", get(signals::confirm_renew).post(signals::renew_key))
        .route("/signals/{id}/delete", get(signals::confirm_delete).post(signals::delete))
        .route("/activity/live", get(activity::live))
        .route("/activity/{dataset}/{id}", get(record::page))
}

fn rule_routes() -> Router<Arc<App>> {
    Router::new()
        .route("/rules", get(rules::page).post(rules::editor::create))
        .route("/rules/new", get(rules::editor::new_page))
        .route("/rules/check", post(rules::check::check))
        .route("/rules/test", get(rules::trial::page).post(rules::trial::run))
        .route("/rules/replay", get(rules::replay::page).post(rules::replay::run))
        .route("/rules/{id}", get(rules::editor::page).post(rules::editor::save))
        .route("/rules/{id}/enabled", post(rules::toggle))
        .route("/rules/{id}/move", post(rules::shift))
        .route("/rules/{id}/reset", post(rules::reset))
        .route("/rules/{id}/delete", get(rules::confirm_delete).post(rules::delete))
        .route("/lists", get(lists::page).post(lists::create))
        .route("/lists/{id}", get(lists::list_page).post(lists::save))
        .route("/lists/{id}/items", post(lists::change_items))
        .route("/lists/{id}/delete", get(lists::confirm_delete).post(lists::delete))
}

fn library_routes() -> Router<Arc<App>> {
    Router::new()
        .route("/library", get(library::page))
        .route("/library/lists", get(library::lists_page).post(library::import))
        .route("/library/lists/{id}/delete", post(library::delete_list))
        .route("/library/{application}", get(library::overview).post(library::save_review))
        .route("/library/{application}/status", post(library::set_status))
        .route("/library/{application}/findings", get(library::findings).post(library::save_evidence))
        .route("/library/{application}/policies", get(library::policies))
}

fn usage_routes() -> Router<Arc<App>> {
    Router::new()
        .route("/usage", get(usage::page))
        .route("/usage/review", get(usage::review))
        .route("/usage/digest", get(usage::digest).post(usage::save_digest))
        .route("/usage/applications/{application}", get(usage::application))
        .route("/usage/people", get(usage::people))
        .route("/usage/people/{person}", get(usage::person))
        .route("/usage/groups", get(usage::groups))
        .route("/usage/groups/{group}", get(usage::group))
}

fn worker_routes() -> Router<Arc<App>> {
    Router::new()
        .route("/workers", get(workers::page).post(workers::create))
        .route("/workers/new", get(workers::new_page))
        .route("/workers/{name}", get(workers::editor::page).post(workers::editor::save))
        .route("/workers/{name}/modules", post(workers::modules::add))
        .route("/workers/{name}/modules/rename", post(workers::modules::rename))
        .route("/workers/{name}/modules/remove", post(workers::modules::remove))
        .route("/workers/{name}/preview", post(workers::preview::run))
        .route("/workers/{name}/settings", get(workers::bindings::page).post(workers::bindings::save))
        .route("/workers/{name}/variables", post(workers::bindings::put_variable))
        .route("/workers/{name}/variables/delete", post(workers::bindings::delete_variable))
        .route("/workers/{name}/secrets", post(workers::bindings::put_secret))
        .route("/workers/{name}/secrets/delete", post(workers::bindings::delete_secret))
        .route("/workers/{name}/triggers", post(workers::bindings::put_triggers))
        .route("/workers/{name}/calls", get(workers::calls::page))
        .route("/workers/{name}/versions", get(workers::versions::page).post(workers::versions::deploy))
        .route("/workers/{name}/delete", get(workers::confirm_delete).post(workers::delete))
        .route("/kv", get(kv::page).post(kv::create))
        .route("/kv/{namespace}", get(kv::keys_page).post(kv::add))
        .route("/kv/{namespace}/value", get(kv::value_page).post(kv::save))
        .route("/kv/{namespace}/delete", get(kv::confirm_delete).post(kv::delete))
}

fn access_routes() -> Router<Arc<App>> {
    use access::{
        appearance, applications, approvals, authorities, groups, log, mail_server, organization, outbox, people,
        policies, providers, published, reusable, tester, tokens,
    };
    Router::new()
        .route("/mcp/servers/{id}/sign-in", post(mcp_sign_in::begin))
        .route("/mcp/servers/{id}/sign-out", post(mcp_sign_in::end))
        .route(crate::operations::mcp::sign_in::CALLBACK, get(mcp_sign_in::callback))
        .route("/access", get(applications::page).post(applications::create))
        .route("/access/new", get(applications::new_page))
        .route("/access/log", get(log::page))
        .route("/access/test", get(tester::page).post(tester::run))
        .route("/access/certificates", get(authorities::page).post(authorities::create))
        .route("/access/certificates/settings", post(authorities::put_settings))
        .route("/access/certificates/{id}/delete", get(authorities::confirm_delete).post(authorities::delete))
        .route("/access/appearance", get(appearance::page))
        .route("/access/appearance/tags", post(appearance::create_tag))
        .route("/access/appearance/tags/delete", post(appearance::delete_tag))
        .route("/access/appearance/pages", post(appearance::create_page))
        .route("/access/appearance/pages/{id}", get(appearance::custom_page).post(appearance::save_page))
        .route("/access/appearance/pages/{id}/delete", post(appearance::delete_page))
        .route("/access/policies", get(reusable::page).post(reusable::create))
        .route("/access/policies/new", get(reusable::new_page))
        .route("/access/policies/check", post(policies::check))
        .route("/access/policies/{id}", get(reusable::policy_page).post(reusable::save))
        .route("/access/policies/{id}/attach", post(reusable::attach_to))
        .route("/access/policies/{id}/detach", post(reusable::detach_from))
        .route("/access/policies/{id}/delete", get(reusable::confirm_delete).post(reusable::delete))
        .route("/access/apps/{id}/published", get(published::page))
        .route("/access/apps/{id}", get(applications::app_page).post(applications::save))
        .route("/access/apps/{id}/revoke", post(applications::revoke))
        .route("/access/apps/{id}/delete", get(applications::confirm_delete).post(applications::delete))
        .route("/access/apps/{id}/policies", post(policies::create))
        .route("/access/apps/{id}/policies/new", get(policies::new_page))
        .route("/access/apps/{id}/policies/attach", post(policies::attach))
        .route("/access/apps/{id}/policies/{policy}", get(policies::page).post(policies::save))
        .route("/access/apps/{id}/policies/{policy}/move", post(policies::shift))
        .route("/access/apps/{id}/policies/{policy}/delete", post(policies::delete))
        .route("/access/providers", get(providers::page).post(providers::create))
        .route("/access/providers/new", get(providers::new_page))
        .route("/access/providers/{id}", get(providers::provider_page).post(providers::save))
        .route("/access/providers/{id}/scim", post(providers::refresh_scim))
        .route("/access/providers/{id}/delete", get(providers::confirm_delete).post(providers::delete))
        .route("/access/groups", get(groups::page).post(groups::create))
        .route("/access/groups/{id}", get(groups::group_page).post(groups::save))
        .route("/access/groups/{id}/delete", get(groups::confirm_delete).post(groups::delete))
        .route("/access/tokens", get(tokens::page).post(tokens::create))
        .route("/access/tokens/{id}/rotate", post(tokens::rotate))
        .route("/access/tokens/{id}/refresh", post(tokens::refresh))
        .route("/access/tokens/{id}/delete", get(tokens::confirm_delete).post(tokens::delete))
        .route("/access/people", get(people::page))
        .route("/access/people/{id}", get(people::person_page))
        .route("/access/people/{id}/end", post(people::end))
        .route("/access/people/{id}/factors", post(people::reset_factors))
        .route("/access/people/{id}/factors/{factor}", post(people::delete_factor))
        .route("/access/approvals", get(approvals::page))
        .route("/access/approvals/{id}/revoke", post(approvals::revoke))
        .route("/access/organization", get(organization::page).post(organization::save))
        .route("/access/organization/rotate", post(organization::rotate))
        .route("/access/organization/keys", post(organization::set_interval))
        .route("/access/outbox", get(outbox::page))
        .route("/access/outbox/server", get(mail_server::page).post(mail_server::save))
        .route("/access/outbox/server/test", post(mail_server::test))
        .route("/access/outbox/server/delete", post(mail_server::delete))
        .route("/access/outbox/{id}", get(outbox::mail_page))
}

fn agent_routes() -> Router<Arc<App>> {
    use agents::{definitions, overrides, portals, rules, seen, servers};
    Router::new()
        .route("/agents", get(agents::page))
        .route("/shadow/mcp", get(shadow_mcp::page))
        .route("/shadow/mcp/{host}", get(shadow_mcp::server))
        .route("/agents/portals", post(portals::create))
        .route("/agents/portals/new", get(portals::new_page))
        .route("/agents/portals/{id}", get(portals::page).post(portals::save))
        .route("/agents/portals/{id}/seen", get(seen::page))
        .route("/agents/portals/{id}/servers/{server}", get(overrides::of_portal).post(overrides::save_of_portal))
        .route("/agents/portals/{id}/delete", get(portals::confirm_delete).post(portals::delete))
        .route("/agents/servers", post(servers::create))
        .route("/agents/servers/new", get(servers::new_page))
        .route("/agents/servers/{id}", get(servers::page).post(servers::save))
        .route("/agents/servers/{id}/sync", post(servers::sync))
        .route("/agents/servers/{id}/definitions", get(definitions::page).post(definitions::decide))
        .route("/agents/servers/{id}/overrides", get(overrides::of_server).post(overrides::save_of_server))
        .route("/agents/servers/{id}/delete", get(servers::confirm_delete).post(servers::delete))
        .route("/agents/{kind}/{id}/rules/{index}", get(rules::page).post(rules::save))
        .route("/agents/{kind}/{id}/rules/{index}/change", post(rules::change))
}

fn settings_routes() -> Router<Arc<App>> {
    use settings::{account, authority, gateway, network, people, push, records, tokens};
    Router::new()
        .route("/settings", get(authority::page))
        .route("/settings/authority", get(authority::page).post(authority::create))
        .route("/settings/authority/{id}/{act}", post(authority::act))
        .route("/settings/authority/{id}", get(authority::download))
        .route("/settings/people", get(people::page).post(people::create))
        .route("/settings/people/{id}", get(people::person_page).post(people::save))
        .route("/settings/people/{id}/tokens", post(people::issue_token))
        .route("/settings/people/{id}/tokens/{token}/revoke", post(people::revoke_token))
        .route("/settings/people/{id}/delete", get(people::confirm_delete).post(people::delete))
        .route("/settings/tokens", get(tokens::page).post(tokens::create))
        .route("/settings/tokens/{id}/revoke", get(tokens::confirm_revoke).post(tokens::revoke))
        .route("/settings/network", get(network::page).post(network::save))
        .route("/settings/network/endpoints", post(network::create_endpoint))
        .route("/settings/network/endpoints/{id}/delete", get(network::confirm_delete).post(network::delete_endpoint))
        .route("/settings/gateway", get(gateway::page).post(gateway::save))
        .route("/settings/records", get(records::page).post(records::save))
        .route("/settings/records/erase", post(records::erase))
        .route("/settings/push", get(push::page).post(push::create))
        .route("/settings/push/new", get(push::new_page))
        .route("/settings/push/{id}", get(push::job_page).post(push::save))
        .route("/settings/push/{id}/pause", post(push::pause))
        .route("/settings/push/{id}/test", post(push::test))
        .route("/settings/push/{id}/deliver", post(push::deliver))
        .route("/settings/push/{id}/delete", get(push::confirm_delete).post(push::delete))
        .route("/settings/account", get(account::page).post(account::create))
        .route("/settings/account/password", post(account::change_password))
        .route("/settings/account/{id}", post(account::change))
        .route("/settings/account/{id}/delete", get(account::confirm_delete).post(account::delete))
}

/// Keeps the choice between light and dark in a cookie.
async fn theme(submission: Submission) -> Response {
    let theme = Theme::named(submission.fields.get("theme"));
    let back = visitor::local_path(submission.fields.get("next"));
    let cookie = theme.cookie(submission.visitor.cx.app.deps.addresses.https);
    ([(axum::http::header::SET_COOKIE, cookie)], Redirect::to(&back)).into_response()
}

/// Sends the browser to a page of ours after a form was taken.
fn go(path: &str) -> Page {
    Ok(Redirect::to(path).into_response())
}

/// Reads an id from the path; a text that cannot be one names nothing.
fn id<T: std::str::FromStr>(text: &str, thing: &str) -> Result<T, Failure> {
    text.parse().map_err(|_| Failure::not_found(thing))
}
