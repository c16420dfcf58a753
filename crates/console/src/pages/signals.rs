//! Signals and the queries they ask: what is watched, what came of it, and the forms to change both.
//!
//! Draws and submits; what a signal may be is the operations'. Invariants: a refused form keeps what was typed; what posts are
//! signed with is shown once, on the page that answers the form that made it.

use axum::extract::Path;
use maud::{Markup, html};
use serde_json::Value;
use store::{Permission, Severity};
use types::{SavedQueryId, Secret, SignalId};

use super::control::{Control, Problems, button, csrf};
use super::fields::Fields;
use super::frame::{self, Place, confirm, empty, refused_form, shown_once, title};
use super::visitor::{Submission, Visitor};
use super::{Page, format, go, id};
use crate::failure::Failure;
use crate::operations::saved_queries::{self, SavedQueryBody, SavedQueryView};
use crate::operations::signals::{self, SignalBody, SignalEventView, SignalView, TrialView};

/// Events that a page shows.
const SHOWN: usize = 200;
const TITLE: &str = "Signals";

/// Serves `GET /signals`.
pub(super) async fn page(visitor: Visitor) -> Page {
    let all = signals::list(&visitor.cx).await?;
    let events = signals::events(&visitor.cx).await?;
    let may_write = visitor.may(Permission::LogsWrite);
    let actions = html! {
        a.button.quiet href="/explore" { "Explore" }
        @if may_write { a.button.primary href="/signals/new" { "New signal" } }
    };
    let body = html! {
        (title(TITLE, "Saved queries that are asked on a schedule; what they find becomes a security event.", &actions))
        @if all.is_empty() {
            (empty("There is no signal yet.", &html! { "Save a query under " a href="/explore" { "Explore" } ", then say how often it is asked and what is too much." }))
        } @else { (table(&all)) }
        section {
            h2 { "Events" small { (events.len()) } }
            @if events.is_empty() { p.muted { "Nothing was found yet." } } @else { (event_table(&events)) }
        }
    };
    Ok(frame::page(&visitor, Place::Explore, TITLE, &body))
}

fn table(all: &[SignalView]) -> Markup {
    html! {
        table.cards {
            thead { tr { th scope="col" { "Signal" } th scope="col" { "Asked" } th scope="col" { "Told when" } th scope="col" { "Severity" } th scope="col" { "Last window" } } }
            tbody { @for signal in all { tr.off[!signal.enabled] {
                td data-label="Signal" { a.strong href={ "/signals/" (signal.id) } { (signal.name) } div.muted { (signal.query_name) } }
                td data-label="Asked" { @if signal.enabled { (every(signal.every_minutes)) } @else { "not at all" } }
                td data-label="Told when" { (signal.column.as_deref().unwrap_or("rows")) " ≥ " (signal.at_least) }
                td data-label="Severity" { (severity(signal.severity)) }
                td data-label="Last window" {
                    @match &signal.checked_through {
                        None => { span.muted { "none yet" } }
                        Some(through) if signal.last_error.is_empty() => { (signal.last_value.unwrap_or_default()) " until " (format::time(through)) }
                        Some(through) => { span.badge.bad { "failed" } " " (format::time(through)) div.warning { (signal.last_error) } }
                    }
                }
            } } }
        }
    }
}

fn every(minutes: u32) -> String {
    match minutes {
        1 => "every minute".to_owned(),
        1_440 => "every day".to_owned(),
        minutes if minutes.is_multiple_of(60) => format!("every {} h", minutes / 60),
        minutes => format!("every {minutes} min"),
    }
}

fn severity(word: &str) -> Markup {
    let tone = match word {
        "critical" | "high" => "bad",
        "medium" => "accent",
        _ => "plain",
    };
    html! { span class={ "badge " (tone) } { (word) } }
}

fn event_table(events: &[SignalEventView]) -> Markup {
    html! {
        table.cards {
            thead { tr { th scope="col" { "Window" } th scope="col" { "Signal" } th scope="col" { "Severity" } th scope="col" { "Found" } th scope="col" { "Webhook" } } }
            tbody { @for event in events.iter().take(SHOWN) { tr {
                td data-label="Window" { (format::time(&event.from)) " to " (format::time(&event.until)) }
                td data-label="Signal" { (event.name) }
                td data-label="Severity" { (severity(event.severity)) }
                td data-label="Found" {
                    @if event.error.is_empty() {
                        (event.value.unwrap_or_default()) " (at least " (event.at_least) ")"
                        @if !event.sample.is_empty() {
                            details { summary { (format::plural(event.rows, "row", "rows")) }
                                @for row in &event.sample { dl.facts { @for (name, value) in row { div { dt { (name) } dd { (shown(value)) } } } } }
                            }
                        }
                    } @else { span.badge.bad { "query failed" } " " (event.error) }
                }
                td data-label="Webhook" { @match event.webhook { None => { span.muted { "none" } } Some(state) => { (state) @if !event.webhook_answer.is_empty() { div.muted { (event.webhook_answer) } } } } }
            } } }
        }
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Serves `GET /signals/new`.
pub(super) async fn new_page(visitor: Visitor) -> Page {
    let fields = Fields::parse(b"every_minutes=60&at_least=1&severity=medium&enabled=1");
    let queries = saved_queries::list(&visitor.cx).await?;
    let chosen = visitor.query.get("query").to_owned();
    let body = form(&visitor, None, &fields, &chosen, &queries, Problems::NONE);
    Ok(frame::page(&visitor, Place::Explore, "New signal", &body))
}

/// Serves `GET /signals/{id}`.
pub(super) async fn signal_page(visitor: Visitor, Path(signal): Path<String>) -> Page {
    let signal: SignalId = id(&signal, "signal")?;
    let stored = signals::get(&visitor.cx, signal).await?;
    let queries = saved_queries::list(&visitor.cx).await?;
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    text.append_pair("name", &stored.name)
        .append_pair("every_minutes", &stored.every_minutes.to_string())
        .append_pair("column", stored.column.as_deref().unwrap_or_default())
        .append_pair("at_least", &stored.at_least.to_string())
        .append_pair("severity", stored.severity)
        .append_pair("webhook", stored.webhook.as_deref().unwrap_or_default());
    if stored.enabled {
        text.append_pair("enabled", "1");
    }
    let fields = Fields::parse(text.finish().as_bytes());
    let body = form(&visitor, Some(signal), &fields, &stored.query_id, &queries, Problems::NONE);
    Ok(frame::page(&visitor, Place::Explore, &stored.name, &body))
}

fn form(
    visitor: &Visitor,
    signal: Option<SignalId>,
    fields: &Fields,
    chosen: &str,
    queries: &[SavedQueryView],
    problems: Problems<'_>,
) -> Markup {
    let may_write = visitor.may(Permission::LogsWrite);
    let action = signal.map_or_else(|| "/signals".to_owned(), |signal| format!("/signals/{signal}"));
    let name = if signal.is_some() { fields.get("name") } else { "New signal" };
    let options: Vec<(&str, &str)> = queries.iter().map(|query| (query.id.as_str(), query.name.as_str())).collect();
    let severities = Severity::ALL.map(|severity| (severity.as_str(), severity.as_str()));
    let actions = html! { @if signal.is_some() && may_write {
        @if !fields.get("webhook").is_empty() { a.button.quiet href={ (action) "/webhook_secret" } { "New signing key" } }
        a.button.quiet href={ (action) "/delete" } { "Delete" }
    } };
    html! {
        p.crumbs { a href="/signals" { "Signals" } " / " @if signal.is_some() { "Edit" } @else { "New" } }
        (title(name, "", &actions))
        (problems.summary())
        @if queries.is_empty() { (empty("There is no saved query yet.", &html! { "Save one under " a href="/explore" { "Explore" } " that names its window: " code { "WHERE Datetime >= $from AND Datetime < $until" } })) }
        form.sheet method="post" action=(action) {
            (csrf(&visitor.csrf))
            (Control::new("name", "Name").required().problems(problems.at("/name")).input("text", fields.get("name")))
            (Control::new("query_id", "Query").required().problems(problems.at("/query_id")).hint("It names both ends of its window: WHERE Datetime >= $from AND Datetime < $until").select(&options, chosen))
            div.row {
                (Control::new("every_minutes", "Minutes").required().problems(problems.at("/every_minutes")).hint("How often, and how long a window is: 1 to 1440.").input("number", fields.get("every_minutes")))
                (Control::new("column", "Column").problems(problems.at("/column")).hint("Its greatest value counts; empty counts rows.").input("text", fields.get("column")))
                (Control::new("at_least", "At least").required().problems(problems.at("/at_least")).hint("Less is nothing to tell.").input("text", fields.get("at_least")))
            }
            (Control::new("severity", "Severity").problems(problems.at("/severity")).select(&severities, fields.get("severity")))
            (Control::new("webhook", "Webhook").problems(problems.at("/webhook")).hint("Events are posted there as signed JSON; Workers get them from their queue either way. Path and query are not shown again.").input("url", fields.get("webhook")))
            (Control::new("enabled", "Enabled").tick(fields.ticked("enabled")))
            @if let Some(signal) = signal { input type="hidden" name="signal" value=(signal); }
            div.actions {
                button.primary type="submit" disabled[!may_write] { @if signal.is_some() { "Save" } @else { "Create" } }
                button type="submit" formaction="/signals/try#trial" disabled[!may_write] { "Try it" }
            }
            p.hint { "Trying asks the windows of the past what would have been told; nothing is saved and nobody is told." }
        }
    }
}

fn body_of(fields: &Fields) -> Result<SignalBody, Failure> {
    let number = |name: &str| fields.get(name).replace(',', ".");
    let every = number("every_minutes").parse().map_err(|_| Failure::invalid("/every_minutes", "must be a number"))?;
    let at_least = number("at_least").parse().map_err(|_| Failure::invalid("/at_least", "must be a number"))?;
    Ok(SignalBody {
        name: fields.get("name").to_owned(),
        query_id: fields.get("query_id").to_owned(),
        every_minutes: every,
        column: fields.text("column"),
        at_least,
        severity: fields.text("severity"),
        webhook: fields.text("webhook").map(Secret::new),
        webhook_secret: None,
        enabled: fields.ticked("enabled"),
    })
}

/// Serves `POST /signals`.
pub(super) async fn create(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let made = match body_of(&fields) {
        Ok(body) => signals::create(&visitor.cx, body).await,
        Err(failure) => Err(failure),
    };
    answered(&visitor, None, &fields, made).await
}

/// Serves `POST /signals/{id}`.
pub(super) async fn save(Path(signal): Path<String>, submission: Submission) -> Page {
    let signal: SignalId = id(&signal, "signal")?;
    let Submission { visitor, fields } = submission;
    let saved = match body_of(&fields) {
        Ok(body) => signals::replace(&visitor.cx, signal, body).await,
        Err(failure) => Err(failure),
    };
    answered(&visitor, Some(signal), &fields, saved).await
}

async fn answered(
    visitor: &Visitor,
    signal: Option<SignalId>,
    fields: &Fields,
    saved: Result<SignalView, Failure>,
) -> Page {
    match saved {
        Ok(saved) => kept(visitor, saved),
        Err(failure) => {
            let queries = saved_queries::list(&visitor.cx).await?;
            let chosen = fields.get("query_id");
            let body = form(visitor, signal, fields, chosen, &queries, Problems::of(&failure));
            Ok(refused_form(visitor, Place::Explore, TITLE, &failure, &body))
        }
    }
}

/// The list, or first what posts are signed with when that was made.
fn kept(visitor: &Visitor, saved: SignalView) -> Page {
    let Some(key) = saved.webhook_secret else { return go("/signals?note=saved") };
    let advice = html! {
        p { "Posts to the webhook are signed with it as Standard Webhooks says: its libraries check " code { "webhook-id" } ", " code { "webhook-timestamp" } " and " code { "webhook-signature" } "." }
        p { a.button href="/signals" { "I have kept it" } }
    };
    let body = html! {
        p.crumbs { a href="/signals" { "Signals" } " / " a href={ "/signals/" (saved.id) } { (saved.name) } }
        (title(&saved.name, "", &html! {}))
        (shown_once("The signing key of the webhook.", &key, &advice))
    };
    Ok(frame::page(visitor, Place::Explore, &saved.name, &body))
}

/// Serves `GET /signals/{id}/webhook_secret`.
pub(super) async fn confirm_renew(visitor: Visitor, Path(signal): Path<String>) -> Page {
    let signal: SignalId = id(&signal, "signal")?;
    let stored = signals::get(&visitor.cx, signal).await?;
    let text = html! { p { "Posts of \"" (stored.name) "\" are signed with the new key from then on. Whoever checks them with the old one refuses them until they have it." } };
    let action = format!("/signals/{signal}/webhook_secret");
    let back = format!("/signals/{signal}");
    Ok(confirm(&visitor, Place::Explore, "Make a new signing key?", &text, (&action, "Make it"), &back))
}

/// Serves `POST /signals/{id}/webhook_secret`.
pub(super) async fn renew_key(Path(signal): Path<String>, submission: Submission) -> Page {
    let renewed = signals::renew_key(&submission.visitor.cx, id(&signal, "signal")?).await?;
    kept(&submission.visitor, renewed)
}

/// Serves `POST /signals/try`: the form again, with what it would have found.
pub(super) async fn try_out(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let signal = fields.text("signal").map(|text| id(&text, "signal")).transpose()?;
    let tried = match body_of(&fields) {
        Ok(body) => signals::trial(&visitor.cx, body).await,
        Err(failure) => Err(failure),
    };
    let queries = saved_queries::list(&visitor.cx).await?;
    let form = |problems| form(&visitor, signal, &fields, fields.get("query_id"), &queries, problems);
    match tried {
        Ok(trial) => {
            let body = html! { (form(Problems::NONE)) (found(&trial)) };
            Ok(frame::page(&visitor, Place::Explore, TITLE, &body))
        }
        Err(failure) => Ok(refused_form(&visitor, Place::Explore, TITLE, &failure, &form(Problems::of(&failure)))),
    }
}

fn found(trial: &TrialView) -> Markup {
    let most = trial.windows.iter().map(|window| window.value).fold(0.0, f64::max);
    html! {
        section id="trial" aria-labelledby="tried" {
            h2 id="tried" tabindex="-1" { (format::plural(trial.events as u64, "event", "events")) " in the last " (format::plural(trial.windows.len() as u64, "window", "windows")) }
            @if trial.events == 0 { p.muted { "Nothing would have been told. The most that was found is " (most) "." } }
            table.cards {
                thead { tr { th scope="col" { "Window" } th scope="col" { "Found" } th scope="col" { "Rows" } th scope="col" { "Told" } } }
                tbody { @for window in &trial.windows { tr {
                    td data-label="Window" { (format::time(&window.from)) " to " (format::time(&window.until)) }
                    td data-label="Found" { (window.value) }
                    td data-label="Rows" { (format::count(window.rows)) }
                    td data-label="Told" { @if window.event { span.badge.bad { "event" } } @else { span.muted { "no" } } }
                } } }
            }
            @if !trial.sample.is_empty() {
                h3 { "Rows of the newest event" }
                @for row in &trial.sample { dl.facts { @for (name, value) in row { div { dt { (name) } dd { (shown(value)) } } } } }
            }
        }
    }
}

/// Serves `GET /signals/{id}/delete`.
pub(super) async fn confirm_delete(visitor: Visitor, Path(signal): Path<String>) -> Page {
    let signal: SignalId = id(&signal, "signal")?;
    let stored = signals::get(&visitor.cx, signal).await?;
    let text = html! { p { "\"" (stored.name) "\" is not asked any more. Its events stay." } };
    let action = format!("/signals/{signal}/delete");
    Ok(confirm(&visitor, Place::Explore, "Delete the signal?", &text, (&action, "Delete"), "/signals"))
}

/// Serves `POST /signals/{id}/delete`.
pub(super) async fn delete(Path(signal): Path<String>, submission: Submission) -> Page {
    signals::delete(&submission.visitor.cx, id(&signal, "signal")?).await?;
    go("/signals?note=deleted")
}

/// Serves `POST /explore/saved`: keeps a query under a name, in place of one that was opened.
pub(super) async fn save_query(submission: Submission) -> Page {
    let Submission { visitor, fields } = submission;
    let body = SavedQueryBody {
        name: fields.get("name").to_owned(),
        description: fields.get("description").to_owned(),
        sql: fields.get("query").to_owned(),
    };
    let saved = match fields.text("saved") {
        Some(saved) => saved_queries::replace(&visitor.cx, id(&saved, "saved query")?, body).await?,
        None => saved_queries::create(&visitor.cx, body).await?,
    };
    go(&format!("/explore?saved={}&note=saved", saved.id))
}

/// Serves `POST /explore/saved/{id}/delete`.
pub(super) async fn delete_query(Path(query): Path<String>, submission: Submission) -> Page {
    let query: SavedQueryId = id(&query, "saved query")?;
    saved_queries::delete(&submission.visitor.cx, query).await?;
    go("/explore?note=deleted")
}

/// What stands below the editor: the queries that were saved.
pub(super) fn saved(visitor: &Visitor, all: &[SavedQueryView]) -> Markup {
    let may_write = visitor.may(Permission::LogsWrite);
    html! {
        section.questions aria-labelledby="saved" {
            h2 id="saved" { "Saved queries" }
            @if all.is_empty() { p.muted { "None yet: write a query and save it under a name." } } @else {
                ul { @for query in all { li {
                    a href={ "/explore?saved=" (query.id) } { (query.name) }
                    " " span.muted { (query.description) }
                    @if may_write {
                        " " a href={ "/signals/new?query=" (query.id) } aria-label={ "Make a signal of " (query.name) } { "Make a signal" }
                        " " (button(&format!("/explore/saved/{}/delete", query.id), &visitor.csrf, "quiet", &html! { "Delete" }, &[]))
                    }
                } } }
            }
            p { a href="/signals" { "Signals" } ": saved queries that are asked on a schedule." }
        }
    }
}
