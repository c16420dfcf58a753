//! Settings: the certificate authority, people, tokens, network, gateway, records, push jobs, administrators. One file per tab.
//!
//! Invariant: a credential is shown once, on the page that answers the form that made it.

pub(super) mod account;
pub(super) mod authority;
pub(super) mod gateway;
pub(super) mod network;
pub(super) mod people;
pub(super) mod push;
pub(super) mod records;
pub(super) mod tokens;

use maud::{Markup, html};
use store::Permission;

const TABS: [(&str, &str); 8] = [
    ("authority", "Certificate authority"),
    ("people", "People"),
    ("tokens", "API tokens"),
    ("network", "Network"),
    ("gateway", "Block page, inspection, logging"),
    ("records", "Records"),
    ("push", "Push"),
    ("account", "Administrators"),
];

/// The title and the tabs of every settings page.
fn head(here: &str) -> Markup {
    html! {
        div.title { h1 { "Settings" } }
        nav.tabs aria-label="Settings" {
            @for (name, text) in TABS { a href={ "/settings/" (name) } aria-current=[(name == here).then_some("page")] { (text) } }
        }
    }
}

/// Boxes for every permission.
fn permission_boxes(chosen: &dyn Fn(&str) -> bool, with_admin: bool) -> Markup {
    html! {
        fieldset.choice {
            legend { "May" }
            div.boxes {
                @for permission in Permission::ALL.iter().filter(|permission| with_admin || **permission != Permission::Admin) {
                    label { input type="checkbox" name="permission" value=(permission) checked[chosen(permission.as_str())]; span { code { (permission) } } }
                }
            }
            p.hint { "A write permission includes reading. " @if with_admin { code { "admin" } " is everything." } }
        }
    }
}
