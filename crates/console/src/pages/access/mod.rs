//! Access: applications with their policies, reusable policies, the log of decisions, the policy tester, providers, groups, service tokens,
//! people, client certificates, tags and pages, the organisation, the outbox. One file per tab.
//!
//! Invariant: a credential is shown once, on the page that answers the form that made it.

mod agreement;
pub(super) mod appearance;
pub(super) mod applications;
pub(super) mod approvals;
pub(super) mod authorities;
mod factors;
pub(super) mod groups;
pub(super) mod log;
pub(super) mod mail_server;
pub(super) mod organization;
pub(super) mod outbox;
mod page_choice;
pub(super) mod people;
pub(super) mod policies;
pub(super) mod providers;
pub(super) mod published;
pub(super) mod reusable;
mod selectors;
pub(super) mod tester;
pub(super) mod tokens;

use maud::{Markup, html};
use serde_json::Value;
use store::Permission;

use super::visitor::Visitor;
use crate::operations::access::AccessView;

const TABS: [(&str, &str, Permission); 13] = [
    ("applications", "Applications", Permission::AccessRead),
    ("policies", "Policies", Permission::AccessRead),
    ("log", "Log", Permission::LogsRead),
    ("test", "Tester", Permission::AccessRead),
    ("people", "People", Permission::UsersRead),
    ("approvals", "Approvals", Permission::UsersRead),
    ("groups", "Groups", Permission::IdentityRead),
    ("providers", "Sign-in", Permission::IdentityRead),
    ("tokens", "Service tokens", Permission::ServiceTokensRead),
    ("certificates", "Certificates", Permission::ClientCertificatesRead),
    ("appearance", "Tags and pages", Permission::AccessRead),
    ("organization", "Organisation", Permission::IdentityRead),
    ("outbox", "Outbox", Permission::Admin),
];

fn path(tab: &str) -> String {
    if tab == "applications" { "/access".to_owned() } else { format!("/access/{tab}") }
}

/// The title and the tabs of every page of Access.
fn head(visitor: &Visitor, here: &str, actions: &Markup) -> Markup {
    html! {
        div.title { h1 { "Access" } div.actions { (actions) } }
        nav.tabs aria-label="Access" {
            @for (name, text, permission) in TABS {
                @if visitor.may(permission) { a href=(path(name)) aria-current=[(name == here).then_some("page")] { (text) } }
            }
        }
    }
}

/// A member deep inside a view, as text.
fn at<'v>(view: &'v AccessView, pointer: &str) -> &'v str {
    let (first, rest) = pointer.split_once('/').unwrap_or((pointer, ""));
    let value = view.0.get(first);
    let value = if rest.is_empty() { value } else { value.and_then(|value| value.pointer(&format!("/{rest}"))) };
    value.and_then(Value::as_str).unwrap_or_default()
}
