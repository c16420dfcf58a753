//! The pages on which a person confirms a call of their agent, or proves a second factor for it.
//!
//! Needs no script. Invariants: an answer counts in the person's own browser alone, never from a client with a token, and
//! from a form of these pages; and what is confirmed is shown whole, with what is invisible made visible.

use std::sync::Arc;

use http::{Method, Response, StatusCode};
use maud::{Markup, html};
use mcp::neutralise::is_hidden;
use net::proxy::body::Body;
use serde_json::Value;
use url::form_urlencoded;

use crate::asks::{Ask, Call, What};
use crate::elicit;
use crate::page;
use crate::plane::{Answer, Inner};
use crate::record::{Begin, Outcome, Recording};
use crate::signin::pages::{field, form, message, token};
use crate::snapshot::Portal;
use crate::visit::{Person, Visit, Visitor};

/// Where a call is confirmed.
pub(crate) const APPROVE: &str = "/approve";
/// Where a second factor is proved.
pub(crate) const PROVE: &str = "/prove";

const GONE: &str =
    "Nothing waits for you under this address: it was answered, or too long ago. Let your agent try again.";
const NOT_HERE: &str = "This page is for a person's browser.";

/// Answers a request for one of these pages.
pub(crate) async fn answer(plane: &Arc<Inner>, portal: &Arc<Portal>, visit: Visit) -> Answer {
    let visitor = visit.visitor.clone();
    let Visitor::Person(person) = &visitor else {
        return Answer::Response(message(portal, &visitor, StatusCode::FORBIDDEN, NOT_HERE));
    };
    if person.agent {
        return Answer::Response(message(portal, &visitor, StatusCode::FORBIDDEN, NOT_HERE));
    }
    if visit.request.method() == Method::POST {
        return Answer::Response(decide(plane, portal, visit, person).await);
    }
    let query = visit.request.uri().query().unwrap_or_default();
    let id = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "id").map(|(_, id)| id.into_owned());
    let found = id.and_then(|id| plane.asks.find(person.user, portal.settings.id.as_str(), &id, plane.now()));
    let Some(ask) = found else {
        return Answer::Response(message(portal, &visitor, StatusCode::NOT_FOUND, GONE));
    };
    Answer::Response(match (&ask.what, visit.request.uri().path()) {
        (What::Call(call), APPROVE) => {
            let body = if ask.is_waiting() { question(&ask, call, person) } else { answered(&ask) };
            page::whole(portal, &visitor, StatusCode::OK, &body)
        }
        (What::Factor(factor), PROVE) => {
            let age = person.factor_at.map(|at| plane.now().saturating_sub(at));
            if age.is_none_or(|age| age > factor.max_age) {
                return Answer::Prove(std::time::Duration::from_secs(factor.max_age.unsigned_abs()));
            }
            let body = if ask.is_waiting() { proof(&ask, person) } else { answered(&ask) };
            page::whole(portal, &visitor, StatusCode::OK, &body)
        }
        _ => message(portal, &visitor, StatusCode::NOT_FOUND, GONE),
    })
}

async fn decide(plane: &Arc<Inner>, portal: &Portal, visit: Visit, person: &Person) -> Response<Body> {
    let (visitor, source, id) = (visit.visitor.clone(), visit.source, visit.id);
    let Some(fields) = form(visit, person).await else {
        let text = "This form was not sent from a page of this portal, or is too old. Open the address again.";
        return message(portal, &visitor, StatusCode::FORBIDDEN, text);
    };
    let granted = match field(&fields, "decision") {
        "allow" => true,
        "refuse" => false,
        _ => return message(portal, &visitor, StatusCode::BAD_REQUEST, "Choose to allow the call or to refuse it."),
    };
    let now = plane.now();
    let about = (person.user, portal.settings.id.as_str(), field(&fields, "id"));
    let waiting = plane.asks.find(about.0, about.1, about.2, now);
    // A proof counts from when it was given, wherever the agent's own sign-in stands.
    let at = waiting.and_then(|ask| match ask.what {
        What::Call(_) => Some(now),
        What::Factor(factor) => person.factor_at.filter(|at| now.saturating_sub(*at) <= factor.max_age),
    });
    let answer = at.and_then(|at| plane.asks.answer(about, granted.then_some(at), now));
    let Some(ask) = answer else { return message(portal, &visitor, StatusCode::NOT_FOUND, GONE) };
    record(plane, portal, (&visitor, source, id), &ask, granted);
    elicit::complete(&ask.session, &ask.id);
    page::whole(portal, &visitor, StatusCode::OK, &answered(&ask))
}

/// Who confirmed what stands in the log beside the calls.
fn record(
    plane: &Inner,
    portal: &Portal,
    (visitor, source, id): (&Visitor, std::net::IpAddr, uuid::Uuid),
    ask: &Ask,
    granted: bool,
) {
    let Some(session) = ask.session.upgrade() else { return };
    let begin = Begin {
        id,
        parent: None,
        at: (plane.clock)(),
        source,
        visitor,
        session: &session,
        audience: &portal.audience,
        method: if matches!(ask.what, What::Call(_)) { "approve" } else { "prove" },
    };
    let mut recording = Recording::begin(&plane.recorder, begin);
    recording.note(|record| {
        record.rules = vec![ask.rule.clone()];
        if let What::Call(call) = &ask.what {
            record.server = Some(call.server.clone());
            record.tool = Some(call.name.clone());
            record.arguments = portal.settings.log_arguments.then(|| call.arguments.clone());
        }
    });
    recording.end(if granted { Outcome::Success } else { Outcome::Blocked(ask.rule.clone()) });
}

/// What a client calls itself.
fn asker(ask: &Ask) -> Markup {
    let client = ask.session.upgrade().map(|session| session.client.name.clone()).filter(|name| !name.is_empty());
    html! {
        @if let Some(client) = client { dt { "Who asks" } dd { (visible(&client)) " (as it calls itself)" } }
    }
}

/// Asks whether the factor that was just proved is to count for an agent.
fn proof(ask: &Ask, person: &Person) -> Markup {
    html! {
        section aria-labelledby="ask" {
            h2 id="ask" { "Let your agent go on?" }
            p { "You have proved your second factor." }
            dl.facts {
                (asker(ask))
                dt { "Why you are asked" } dd { "The rule “" (ask.rule) "” wants it of whoever an agent works for." }
            }
            form.decide method="post" action=(APPROVE) {
                input type="hidden" name="token" value=(token(person));
                input type="hidden" name="id" value=(ask.id);
                button type="submit" name="decision" value="refuse" { "Refuse" }
                " "
                button.primary type="submit" name="decision" value="allow" { "Go on" }
            }
        }
    }
}

fn question(ask: &Ask, call: &Call, person: &Person) -> Markup {
    let arguments = serde_json::from_str::<Value>(&call.arguments).ok();
    let arguments = arguments.and_then(|value| serde_json::to_string_pretty(&value).ok()).unwrap_or_default();
    html! {
        section aria-labelledby="ask" {
            h2 id="ask" { "Let your agent do this?" }
            dl.facts {
                dt { "What" }
                dd {
                    @if let Some(title) = &call.title { (visible(title)) " " }
                    code { (visible(&call.name)) }
                }
                dt { "Where" } dd { (call.server) }
                (asker(ask))
                dt { "Why you are asked" } dd { "The rule “" (ask.rule) "” wants a person to confirm it." }
                @if call.lifetime > 0 { dt { "For how long" } dd { (lasting(call.lifetime)) } }
            }
            @if call.destructive { p.warning { "It may change or delete things that cannot be brought back." } }
            @if !arguments.is_empty() {
                h3 { @if call.lifetime > 0 { "With, this time" } @else { "With" } }
                pre.whole tabindex="0" { code { (visible(&arguments)) } }
            }
            form.decide method="post" action=(APPROVE) {
                input type="hidden" name="token" value=(token(person));
                input type="hidden" name="id" value=(ask.id);
                button type="submit" name="decision" value="refuse" { "Refuse" }
                " "
                button.primary type="submit" name="decision" value="allow" {
                    @if call.lifetime > 0 { "Allow for " (lasting(call.lifetime)) } @else { "Allow once" }
                }
            }
        }
    }
}

fn answered(ask: &Ask) -> Markup {
    let text = if ask.is_refused() {
        "You refused it. Your agent is told so."
    } else {
        "You allowed it. Your agent can go on: let it try again."
    };
    html! { p.empty role="status" { (text) } p { a href="/" { "Your servers" } } }
}

fn lasting(seconds: i64) -> String {
    let (number, unit) = match seconds {
        ..3_600 => (seconds / 60, "minute"),
        _ => (seconds / 3_600, "hour"),
    };
    match (number, seconds % if seconds < 3_600 { 60 } else { 3_600 }) {
        (1, 0) => format!("1 {unit}"),
        (_, 0) => format!("{number} {unit}s"),
        _ => format!("{seconds} seconds"),
    }
}

/// Shows what could not be seen as its number.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            shown.push_str(&format!("⟨U+{:04X}⟩", u32::from(c)));
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::{lasting, visible};

    #[test]
    fn what_is_invisible_is_shown_as_its_number() {
        assert_eq!(visible("a\u{202E}b\u{E0041}\n{}"), "a⟨U+202E⟩b⟨U+E0041⟩\n{}");
    }

    #[test]
    fn a_time_is_said_in_words() {
        for (seconds, words) in
            [(60, "1 minute"), (600, "10 minutes"), (3_600, "1 hour"), (86_400, "24 hours"), (90, "90 seconds")]
        {
            assert_eq!(lasting(seconds), words);
        }
    }
}
