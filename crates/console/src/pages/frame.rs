//! What stands around every page: head, navigation, the state of the configuration, notes, the list of shortcuts.
//!
//! Draws only. Invariant: a page that failed says what to do and shows nothing internal.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};
use types::Code;

use super::assets;
use super::control::{button, csrf};
use super::visitor::{Theme, Visitor};
use crate::app::{GeneratedTraffic, SnapshotStatus};
use crate::failure::Failure;

/// Where in the console a page stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Overview,
    Rules,
    Lists,
    Library,
    Usage,
    Workers,
    Kv,
    Access,
    Agents,
    Activity,
    Explore,
    Settings,
}

const PLACES: [(Place, &str, &str, &str); 12] = [
    (Place::Overview, "/", "Overview", "o"),
    (Place::Rules, "/rules", "Rules", "r"),
    (Place::Lists, "/lists", "Lists", "l"),
    (Place::Usage, "/usage", "Usage", "u"),
    (Place::Library, "/library", "Library", "b"),
    (Place::Workers, "/workers", "Workers", "w"),
    (Place::Kv, "/kv", "KV", "k"),
    (Place::Access, "/access", "Access", "c"),
    (Place::Agents, "/agents", "Agents", "m"),
    (Place::Activity, "/activity", "Activity", "a"),
    (Place::Explore, "/explore", "Explore", "e"),
    (Place::Settings, "/settings", "Settings", "s"),
];

/// What a page says after a form was taken; the query names it, so nobody can make it say something else.
const NOTES: [(&str, &str); 20] = [
    ("saved", "Saved. It is in force within a second."),
    ("created", "Created. It is in force within a second."),
    ("stored", "Stored. Workers read it from here on."),
    ("deleted", "Deleted."),
    ("moved", "Moved."),
    ("approved", "Approved. People see it within a second."),
    ("refused", "Refused. It asks for no attention until it changes again."),
    ("asked", "The server was asked; its state says what came of it."),
    ("enabled", "The rule is enabled."),
    ("disabled", "The rule is disabled; it decides nothing."),
    ("deployed", "That version serves from here on."),
    ("revoked", "Revoked. It stops working at once."),
    ("delivering", "It is being delivered; how far it is stands below."),
    ("erasing", "It is being erased; how far it is stands below."),
    ("ended", "Ended. It counts nowhere within a second."),
    ("rotated", "A new key signs from here on; the one before is accepted for a week."),
    ("secret", "The secret is set. It is never shown again."),
    ("activated", "The certificate is available."),
    ("deactivated", "The certificate is out of service."),
    ("chosen", "Intercepted sites show this certificate from here on."),
];

/// Draws a page in its frame.
pub(super) fn page(visitor: &Visitor, place: Place, title: &str, body: &Markup) -> Response {
    page_with(visitor, place, title, StatusCode::OK, body)
}

/// Draws a page whose form was refused.
pub(super) fn refused_form(visitor: &Visitor, place: Place, title: &str, failure: &Failure, body: &Markup) -> Response {
    let status = StatusCode::from_u16(failure.code.status()).unwrap_or(StatusCode::BAD_REQUEST);
    page_with(visitor, place, title, status, body)
}

fn page_with(visitor: &Visitor, place: Place, title: &str, status: StatusCode, body: &Markup) -> Response {
    let snapshot = visitor.cx.app.deps.snapshot.status();
    let note = NOTES.iter().find(|(word, _)| *word == visitor.query.get("note"));
    let markup = html! {
        (DOCTYPE)
        html lang="en" data-theme=[visitor.theme.word()] {
        (head(title))
        body {
            a.skip href="#content" { "Skip to the content" }
            header.top {
                a.brand href="/" { (mark()) span { "Portunus" } }
                nav aria-label="Main" {
                    @for (here, path, name, key) in PLACES {
                        a href=(path) aria-current=[(here == place).then_some("page")] data-go=(key) { (name) }
                    }
                }
                div.who {
                    (status_dot(&snapshot))
                    (theme_switch(visitor))
                    span.email title="Signed in" { (visitor.email) }
                    (button("/sign-out", &visitor.csrf, "quiet", &html! { "Sign out" }, &[]))
                }
            }
            main id="content" {
                (banner(&snapshot))
                @if let Some(generated) = &visitor.cx.app.deps.generated { (generated_traffic(generated)) }
                @if let Some((_, text)) = note { p.notice.good role="status" { (text) } }
                (body)
            }
            (shortcuts())
        }
        }
    };
    finish(status, markup)
}

/// Draws a page for someone who has not signed in.
pub(super) fn bare(title: &str, theme: Theme, status: StatusCode, body: &Markup) -> Response {
    let markup = html! {
        (DOCTYPE)
        html lang="en" data-theme=[theme.word()] {
        (head(title))
        body.bare {
            main id="content" {
                div.brand { (mark()) span { "Portunus" } }
                (body)
            }
        }
        }
    };
    finish(status, markup)
}

/// Draws a part of a page, for our script.
pub(super) fn fragment(body: Markup) -> Response {
    finish(StatusCode::OK, body)
}

fn finish(status: StatusCode, markup: Markup) -> Response {
    let mut response = (status, markup).into_response();
    // With no-referrer a browser sends its own forms with `Origin: null`, which proves nothing.
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

fn head(title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { (title) " · Portunus" }
            link rel="icon" href="/favicon.svg" type="image/svg+xml";
            link rel="stylesheet" href=(assets::style());
            script src=(assets::script()) defer {}
        }
    }
}

/// The mark: a door ajar.
fn mark() -> Markup {
    html! {
        svg.mark viewBox="0 0 24 24" width="22" height="22" aria-hidden="true" focusable="false" {
            path d="M5 21V4.5A1.5 1.5 0 0 1 6.500 3H19v18" fill="none" stroke="currentColor" stroke-width="2" {}
            path d="M9 21V7l6-2v18z" fill="currentColor" {}
        }
    }
}

fn theme_switch(visitor: &Visitor) -> Markup {
    let (next, text) = match visitor.theme {
        Theme::System => ("light", "Theme: system"),
        Theme::Light => ("dark", "Theme: light"),
        Theme::Dark => ("system", "Theme: dark"),
    };
    html! {
        form.inline method="post" action="/theme" {
            (csrf(&visitor.csrf))
            input type="hidden" name="next" value=(visitor.path);
            input type="hidden" name="theme" value=(next);
            button.quiet type="submit" title="Switch between system, light and dark" { (text) }
        }
    }
}

fn status_dot(status: &SnapshotStatus) -> Markup {
    let well = status.store_reachable && status.stale.is_empty() && status.rule_errors.is_empty();
    html! {
        span.state.well[well].ill[!well] title="The configuration that decides traffic" {
            span.dot aria-hidden="true" {}
            "Revision " (status.revision)
        }
    }
}

/// What everybody should know before anything else on the page.
fn banner(status: &SnapshotStatus) -> Markup {
    html! {
        @if !status.store_reachable {
            div.notice.bad role="alert" {
                strong { "The store cannot be reached." }
                " Traffic continues on revision " (status.revision) ". Changes cannot be saved until it answers."
            }
        }
        @for part in &status.stale {
            div.notice.bad role="alert" {
                strong { "The newest " (part.part) " are not in force." }
                " What was before stays, everything else is in force (revision " (status.revision) "): " (part.reason)
            }
        }
        @if !status.rule_errors.is_empty() {
            div.notice.bad role="alert" {
                @if status.stale.iter().any(|part| part.part == "rules") {
                    strong { "These rules do not compile, so the ones before the change decide:" }
                } @else {
                    strong { "Some rules do not compile and block what they may concern:" }
                }
                ul { @for (id, reason) in status.rule_errors.iter().take(10) {
                    li { a href={ "/rules/" (id) } { "Open the rule" } " " (reason) }
                } }
            }
        }
    }
}

/// What nobody did must not be taken for something that happened.
fn generated_traffic(generated: &GeneratedTraffic) -> Markup {
    let day = |at: jiff::Timestamp| at.strftime("%-d %B %Y").to_string();
    html! {
        p.notice.generated role="note" {
            span.badge { "generated" }
            " Traffic from " (day(generated.from)) " to " (day(generated.until)) " was made up for this demo. What you do yourself is recorded beside it, without this mark."
            @if generated.percent() < 100 { " " b { (generated.percent()) " % of it is here so far." } }
        }
    }
}

fn shortcuts() -> Markup {
    html! {
        dialog id="shortcuts" aria-labelledby="shortcuts-title" {
            h2 id="shortcuts-title" { "Keyboard" }
            dl.keys {
                @for (_, _, name, key) in PLACES { div { dt { kbd { "g" } " " kbd { (key) } } dd { (name) } } }
                div { dt { kbd { "/" } } dd { "Go to the filter" } }
                div { dt { kbd { "p" } } dd { "Pause or resume live records" } }
                div { dt { kbd { "Ctrl" } " " kbd { "Enter" } } dd { "Send the form one writes in" } }
                div { dt { kbd { "?" } } dd { "This list" } }
            }
            form method="dialog" { button { "Close" } }
        }
    }
}

/// A question before something is lost.
pub(super) fn confirm(
    visitor: &Visitor,
    place: Place,
    title: &str,
    text: &Markup,
    (action, verb): (&str, &str),
    back: &str,
) -> Response {
    let body = html! {
        section.confirm {
            h1 { (title) }
            div.prose { (text) }
            div.actions {
                (button(action, &visitor.csrf, "danger", &html! { (verb) }, &[]))
                a.button.quiet href=(back) { "Keep it" }
            }
        }
    };
    page(visitor, place, title, &body)
}

/// The title of a page with what can be done there.
pub(super) fn title(text: &str, lead: &str, actions: &Markup) -> Markup {
    html! {
        div.title {
            div { h1 { (text) } @if !lead.is_empty() { p.lead { (lead) } } }
            div.actions { (actions) }
        }
    }
}

/// What stands where a list is empty.
pub(super) fn empty(text: &str, advice: &Markup) -> Markup {
    html! { div.empty { p { strong { (text) } } div { (advice) } } }
}

/// What a credential is shown in, once.
pub(super) fn shown_once(name: &str, value: &str, advice: &Markup) -> Markup {
    html! {
        section.notice.good.once {
            strong { (name) } " It is shown once; keep it now."
            pre.code data-copy { (value) }
            (advice)
        }
    }
}

/// A page that cannot be shown, or a form that cannot be taken.
#[derive(Debug)]
pub(super) struct Refused(pub Failure);

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Failure { code, problems, retry_after, .. } = self.0;
        let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let title = match code {
            Code::NotFound => "Not found",
            Code::PermissionDenied | Code::Unauthenticated => "Not permitted",
            Code::Unavailable => "Not available just now",
            Code::RateLimited => "Too many requests",
            Code::Conflict | Code::Stale => "Not possible as things stand",
            Code::InvalidInput | Code::LimitExceeded => "Not taken",
            Code::Internal => "Something went wrong",
        };
        let body = html! {
            h1 { (title) }
            @for problem in &problems { p { (problem.message) } }
            p { a.button href="/" { "Go to the overview" } }
        };
        let mut response = bare(title, Theme::System, status, &body);
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
