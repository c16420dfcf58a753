//! An application as it stands: the link people open, whether its origin answers, and whether anybody can enter.
//!
//! The end of publishing one, and the first thing to look at when it does not work. Invariant: the origin is asked the way
//! a request would be, by whoever may publish applications alone.

use axum::extract::Path;
use maud::{Markup, html};
use serde_json::Value;
use store::Permission;
use types::ApplicationId;

use super::applications::domain;
use super::at;
use crate::app::OriginAnswer;
use crate::operations::access::{AccessView, applications, providers};
use crate::pages::frame::{self, Place, title};
use crate::pages::visitor::Visitor;
use crate::pages::{Page, id};

/// Serves `GET /access/apps/{id}/published`.
pub(in crate::pages) async fn page(visitor: Visitor, Path(app): Path<String>) -> Page {
    let id: ApplicationId = id(&app, "application")?;
    let app = applications::get(&visitor.cx, id).await?;
    let deps = &visitor.cx.app.deps;
    let answer = if visitor.may(Permission::AccessWrite) {
        deps.snapshot.settle().await;
        Some(deps.snapshot.ask_origin(id).await)
    } else {
        None
    };
    let ways =
        if visitor.may(Permission::IdentityRead) { Some(providers::list(&visitor.cx).await?.len()) } else { None };
    let link = link(&app, deps.addresses.access_port);
    let body = html! {
        p.crumbs { a href="/access" { "Access" } " / " a href={ "/access/apps/" (app.text("id")) } { (app.text("name")) } " / Check" }
        (title(app.text("name"), "What people open, and whether it works.", &html! {}))
        ul.checks {
            (check(link.is_some(), "Its address", &match &link {
                Some(link) => html! { a href=(link) { (link) } ". Its name must lead to this server; names under localhost always do." },
                None => html! { "This node serves no access listener, or the address holds a wildcard: open one of the hosts it stands for." },
            }))
            @if let Some(answer) = &answer { (origin(answer, at(&app, "portunus/origin/url"))) }
            (who_may_enter(&app))
            @if let Some(ways) = ways {
                (check(ways > 0, "A way to sign in", &html! {
                    @if ways == 0 { "There is no identity provider yet. " a href="/access/providers/new" { "Add one" } "." } @else { (crate::pages::format::plural(ways as u64, "identity provider", "identity providers")) "." }
                }))
            }
        }
        div.actions {
            @if let Some(link) = &link { a.button.primary href=(link) { "Open it" } }
            a.button href={ "/access/apps/" (app.text("id")) "/published" } { "Check again" }
            a.button.quiet href={ "/access/apps/" (app.text("id")) } { "Settings and policies" }
        }
    };
    Ok(frame::page(&visitor, Place::Access, app.text("name"), &body))
}

/// Where a browser opens the application; nothing for one that has no single address.
fn link(app: &AccessView, port: Option<u16>) -> Option<String> {
    let address = domain(app).filter(|domain| !domain.contains('*'))?;
    let (host, path) = address.split_once('/').map_or((address, ""), |(host, path)| (host, path));
    let port = match port? {
        443 => String::new(),
        port => format!(":{port}"),
    };
    Some(format!("https://{host}{port}/{path}"))
}

fn check(good: bool, name: &str, text: &Markup) -> Markup {
    html! {
        li {
            @if good { span.badge.calm { "works" } } @else { span.badge.bad { "missing" } }
            " " b { (name) } ": " (text)
        }
    }
}

fn origin(answer: &OriginAnswer, url: &str) -> Markup {
    match answer {
        OriginAnswer::Status(status) => {
            check(*status < 500, "The origin", &html! { code { (url) } " answers with status " (status) "." })
        }
        OriginAnswer::Failed(reason) => check(
            false,
            "The origin",
            &html! { code { (url) } " does not answer: " (reason) ". Is it running, and does this server reach it?" },
        ),
        OriginAnswer::NotServed => check(
            false,
            "The origin",
            &html! { "It cannot be asked: this node serves no access listener, or the application is not in force." },
        ),
    }
}

fn who_may_enter(app: &AccessView) -> Markup {
    let policies = app.0.get("policies").and_then(Value::as_array).map_or(0, Vec::len);
    check(
        policies > 0,
        "Who may enter",
        &html! {
            @if policies == 0 { "No policy: nobody." } @else { (crate::pages::format::plural(policies as u64, "policy", "policies")) ". " a href={ "/access/test?app=" (app.text("id")) } { "Try them on people" } "." }
        },
    )
}
