//! The access log, and why somebody was not let in, in words a help desk can read out.
//!
//! Shows what was recorded and decides nothing. Invariant: whatever a page says about a decision stands in its record.

use maud::{Markup, html};
use serde_json::{Map, Value};
use store::Permission;
use types::Code;
use uuid::Uuid;

use super::head;
use crate::failure::Failure;
use crate::operations::logs;
use crate::pages::frame::{self, Place, empty};
use crate::pages::record::sentence;
use crate::pages::visitor::Visitor;
use crate::pages::{Page, format};

const DATASET: &str = "access_requests";
/// Records of one page.
const ROWS: &str = "50";

/// Serves `GET /access/log`: the newest decisions, those about one person, or the explanation of one.
pub(in crate::pages) async fn page(visitor: Visitor) -> Page {
    let asked = visitor.query.get("q").to_owned();
    let body = match asked.parse::<Uuid>() {
        Ok(reference) => match logs::get(&visitor.cx, DATASET, reference).await {
            Ok(record) => found(&visitor, &asked, &html! { (explanation(&record.0)) }),
            Err(failure) if failure.code == Code::NotFound => {
                let advice = html! { "It may be older than what is kept, or one figure may be missing: it stands on the page the person saw." };
                found(&visitor, &asked, &empty("There is no decision with this reference.", &advice))
            }
            Err(failure) => return Err(failure.into()),
        },
        Err(_) => list(&visitor, &asked).await?,
    };
    Ok(frame::page(&visitor, Place::Access, "Access log", &body))
}

fn search(visitor: &Visitor, asked: &str) -> Markup {
    let refused = visitor.query.ticked("refused");
    html! {
        (head(visitor, "log", &html! { a.button.quiet href="/activity?dataset=access_requests" { "Live, with every filter" } }))
        form.filters method="get" action="/access/log" role="search" {
            label.wide { span { "Why was somebody refused? Their address, or the reference they were shown" } input type="search" name="q" value=(asked) placeholder="ada@example.com" autocomplete="off" spellcheck="false"; }
            label.tick { input type="checkbox" name="refused" value="1" checked[refused]; span { "Refused alone" } }
            button type="submit" { "Look up" }
        }
    }
}

fn found(visitor: &Visitor, asked: &str, body: &Markup) -> Markup {
    html! { (search(visitor, asked)) (body) p { a href="/access/log" { "The newest decisions" } } }
}

async fn list(visitor: &Visitor, asked: &str) -> Result<Markup, Failure> {
    let before = visitor.query.get("before");
    let mut parameters = vec![("limit".to_owned(), ROWS.to_owned()), ("before".to_owned(), before.to_owned())];
    parameters.push(("Email~".to_owned(), asked.to_owned()));
    if visitor.query.ticked("refused") {
        parameters.push(("Allowed".to_owned(), "false".to_owned()));
    }
    let found = logs::page(&visitor.cx, DATASET, &parameters).await?;
    Ok(html! {
        (search(visitor, asked))
        @if found.records.is_empty() {
            (empty("Nothing is recorded.", &html! { "Every sign-in and every request that is refused appears here within a second." }))
        } @else { (decisions(found.records.iter().map(|record| &record.0))) }
        @if !found.cursor.is_empty() {
            nav.pages aria-label="Pages" { a.button href=(older(visitor, asked, &found.cursor)) { "Older" } }
        }
    })
}

fn older(visitor: &Visitor, asked: &str, cursor: &str) -> String {
    let mut pairs = url::form_urlencoded::Serializer::new("/access/log?".to_owned());
    pairs.append_pair("q", asked).append_pair("before", cursor);
    if visitor.query.ticked("refused") {
        pairs.append_pair("refused", "1");
    }
    pairs.finish()
}

/// The newest decisions about one person; nothing for whoever may not read the log.
pub(super) async fn of_person(visitor: &Visitor, email: &str) -> Result<Markup, Failure> {
    if !visitor.may(Permission::LogsRead) {
        return Ok(html! { p.muted { "Reading the log needs a permission you do not have." } });
    }
    let parameters = [("limit".to_owned(), "10".to_owned()), ("Email".to_owned(), email.to_owned())];
    let found = logs::page(&visitor.cx, DATASET, &parameters).await?;
    let mut query = url::form_urlencoded::Serializer::new("/access/log?".to_owned());
    query.append_pair("q", email);
    Ok(html! {
        @if found.records.is_empty() { p.muted { "Nothing is recorded about this person." } } @else {
            (decisions(found.records.iter().map(|record| &record.0)))
            p { a href=(query.finish()) { "All of them" } }
        }
    })
}

/// Decisions as rows, each leading to its explanation.
fn decisions<'r>(records: impl Iterator<Item = &'r Map<String, Value>>) -> Markup {
    html! {
        table.cards {
            thead { tr { th scope="col" { "When" } th scope="col" { "Who" } th scope="col" { "What happened" } th scope="col" { "Why" } th scope="col" { "From" } } }
            tbody { @for record in records {
                @let text = |name: &str| format::text(record, name);
                tr {
                    td data-label="When" { a.open href={ "/access/log?q=" (text("RayID")) } { (format::time(text("CreatedAt"))) } }
                    td data-label="Who" { (who(record)) }
                    td data-label="What happened" { (result(record)) " " (act(record)) }
                    td data-label="Why" { (text("Reason")) }
                    td data-label="From" { code { (text("IPAddress")) } }
                }
            } }
        }
    }
}

/// Whether a record tells of somebody let in.
fn allowed(record: &Map<String, Value>) -> bool {
    record.get("Allowed").and_then(Value::as_bool).unwrap_or(false)
}

/// The badge of a decision.
pub(in crate::pages) fn result(record: &Map<String, Value>) -> Markup {
    html! { @if allowed(record) { span.badge.calm { "let in" } } @else { span.badge.bad { "refused" } } }
}

/// Who asked, as far as it is known.
pub(in crate::pages) fn who(record: &Map<String, Value>) -> &str {
    match (format::text(record, "Email"), format::text(record, "Connection")) {
        ("", "service_token") => "a program with a service token",
        ("", "certificate") => "a machine with a client certificate",
        ("", _) => "somebody who was not signed in",
        (email, _) => email,
    }
}

/// What was tried, in words.
pub(in crate::pages) fn act(record: &Map<String, Value>) -> String {
    let place = match (format::text(record, "AppName"), format::text(record, "AppDomain")) {
        ("", "") => String::new(),
        ("", host) => format!(" at {host}"),
        (name, _) => format!(" to {name}"),
    };
    match format::text(record, "Action") {
        "login" => format!("signing in{place}"),
        "logout" => "signing out".to_owned(),
        "mfa" => "a second factor".to_owned(),
        "approval" => format!("an approval of others{place}"),
        _ => format!("a request{place}"),
    }
}

/// One decision in plain words: what happened, why, what each policy made of it, what would change it.
pub(in crate::pages) fn explanation(record: &Map<String, Value>) -> Markup {
    let text = |name: &str| format::text(record, name);
    let policies = record.get("Trace").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    html! {
        section.why {
            h2 { (result(record)) " " (headline(record)) }
            p.muted { (format::time(text("CreatedAt"))) " UTC, from " code { (text("IPAddress")) } @if !text("Country").is_empty() { " (" (text("Country")) ")" } ", reference " code data-copy { (text("RayID")) } }
            @if !text("Reason").is_empty() { p.lead { (sentence(text("Reason"))) } }
            @if !text("PolicyID").is_empty() && !text("AppUUID").is_empty() {
                p { "Decided by " a href={ "/access/apps/" (text("AppUUID")) "/policies/" (text("PolicyID")) } { "the policy " (text("PolicyName")) } "." }
            }
        }
        @if !policies.is_empty() {
            section {
                h2 { "What each policy made of it" }
                ol.trace { @for policy in policies { (policy_part(policy)) } }
            }
        }
        @if !allowed(record) { section { h2 { "What would change it" } p { (advice(record, policies)) } } }
        @if !text("PurposeJustificationResponse").is_empty() {
            section { h2 { "The reason they gave" } p.muted { (text("PurposeJustificationPrompt")) } p { (text("PurposeJustificationResponse")) } }
        }
        @if !text("Path").is_empty() { p { "Asked for " code { (text("Method")) " " (text("AppDomain")) (text("Path")) } } }
        p.actions {
            @if !text("AppUUID").is_empty() { a.button.quiet href={ "/access/apps/" (text("AppUUID")) } { "The application" } }
            @if !text("UserUID").is_empty() && text("UserUID").parse::<Uuid>().is_ok() { a.button.quiet href={ "/access/people/" (text("UserUID")) } { "The person" } }
            a.button.quiet href={ "/activity/access_requests/" (text("RayID")) } { "Every field" }
        }
    }
}

fn headline(record: &Map<String, Value>) -> String {
    format!("{}: {}", who(record), act(record))
}

fn policy_part(policy: &Value) -> Markup {
    let member = |name: &str| policy.get(name).and_then(Value::as_str).unwrap_or_default();
    let fits = match member("outcome") {
        "yes" => "fits",
        "no" => "does not fit",
        "unknown" => "cannot be told yet",
        _ => "cannot be evaluated",
    };
    let decision = match member("decision") {
        "allow" => "lets people in",
        "deny" => "refuses",
        "bypass" => "lets everyone through",
        _ => "lets programs in",
    };
    let reasons: Vec<&str> = policy["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    html! {
        li.match[member("outcome") == "yes"] {
            span.outcome { (fits) }
            b { (member("name")) } " " span.muted { (decision) }
            @if !reasons.is_empty() { ul { @for reason in reasons { li { (reason) } } } }
        }
    }
}

/// What an administrator can do about a refusal.
fn advice(record: &Map<String, Value>, policies: &[Value]) -> &'static str {
    let outcome = |policy: &Value, decision: &str, outcome: &str| {
        policy["decision"].as_str() == Some(decision) && policy["outcome"].as_str() == Some(outcome)
    };
    if policies.iter().any(|policy| policy["outcome"].as_str() == Some("broken")) {
        "A policy cannot be evaluated, because something it names is gone. Open it and say what it should name."
    } else if policies.iter().any(|policy| outcome(policy, "deny", "yes")) {
        "A policy refuses these people on purpose. Only taking them out of it lets them in: no other policy can."
    } else if !policies.is_empty() {
        "Nobody is let in whom no policy fits. Add the person to one: by their address, or by making them a member of a \
         group it names and having them sign in again, since groups are read at sign-in."
    } else if format::text(record, "Connection") == "service_token" {
        "Check that the program sends a client id and secret that are in force, and that a Service Auth policy of the \
         application names the token."
    } else if format::text(record, "Action") == "login" {
        "They did not get as far as the policies. The reason says what their sign-in lacked; have them try once more, and \
         if they use a password, set a new one."
    } else {
        "An application without a policy admits nobody. Add one that says who may enter."
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{advice, explanation};

    #[test]
    fn a_refusal_says_what_would_change_it() {
        let policy = |decision: &str, outcome: &str| json!({"name": "P", "decision": decision, "outcome": outcome, "reasons": []});
        for (record, policies, words) in [
            (json!({}), vec![policy("allow", "broken")], "cannot be evaluated"),
            (json!({}), vec![policy("allow", "no"), policy("deny", "yes")], "on purpose"),
            (json!({}), vec![policy("allow", "no")], "Add the person"),
            (json!({"Connection": "service_token"}), vec![], "client id"),
            (json!({"Action": "login"}), vec![], "as far as the policies"),
            (json!({"Action": "request"}), vec![], "without a policy"),
        ] {
            let found = advice(record.as_object().unwrap(), &policies);
            assert!(found.contains(words), "{found}");
        }
    }

    #[test]
    fn what_a_client_sent_is_escaped_in_an_explanation() {
        let record = json!({
            "Reason": "<b>", "Path": "/<script>", "AppName": "<i>", "PurposeJustificationResponse": "<script>",
            "Trace": [{"name": "<u>", "decision": "allow", "outcome": "no", "reasons": ["<s>"]}],
        });
        let page = explanation(record.as_object().unwrap()).into_string();
        for tag in ["<script>", "<i>", "<u>", "<s>"] {
            assert!(!page.contains(tag), "{page}");
        }
    }
}
