//! The page of somebody who was asked to approve: it says who asks for what and why, and takes the answer.
//!
//! Invariants: a link counts only together with the sign-in of the person it was mailed to; what is wrong with either is
//! told in one text; an answer is written over what was read before it is shown as given.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use identity::approval::{Answer, ApprovalError, ApprovalRequest, State};
use identity::cookie::SIGN_IN as SIGN_IN_COOKIE;
use identity::opaque::{self, Digest};
use maud::{Markup, html};
use net::proxy::body::Body;
use types::AccessPolicyId;
use uuid::Uuid;

use super::ledger::KeptApproval;
use super::moment;
use crate::caller;
use crate::endpoints;
use crate::exchange::Exchange;
use crate::gate;
use crate::launcher;
use crate::ledger::LedgerError;
use crate::login::{self, COOKIE_LIFE};
use crate::mfa;
use crate::page::{self, Frame};
use crate::record;
use crate::session_table::Live;
use crate::snapshot::Published;
use crate::stages::OWN;
use crate::ticket::{ANSWER, AnswerForm, START, Start};
use crate::words::{Language, Message};

/// How long access may be granted for, as it is offered, in minutes.
const LENGTHS: [u64; 7] = [15, 30, 60, 120, 240, 480, 1_440];
/// The one that is chosen already.
const USUAL: u64 = 60;
/// Bytes of base64url of a link's secret.
const LINK: usize = 43;
/// How often an answer is written down anew when two meet.
const TRIES: usize = 8;

/// What a link names.
#[derive(Clone)]
struct Link {
    request: Digest,
    key: String,
}

impl Link {
    fn of(exchange: &Exchange) -> Option<Self> {
        let request = Digest(opaque::bytes(&exchange.parameter("request")?)?);
        let key = exchange.parameter("key").filter(|key| key.len() == LINK)?;
        Some(Self { request, key })
    }

    /// The path and query that lead here.
    fn path(&self) -> String {
        format!("{OWN}approve?request={}&key={}", opaque::text(&self.request.0), self.key)
    }
}

/// Why an approver sees no request.
enum Unshown {
    Told(StatusCode, Message),
    Response(Response<Body>),
}

/// Shows a request to whoever was asked, after they signed in.
pub(crate) async fn show(exchange: &Exchange) -> Response<Body> {
    let Some(link) = Link::of(exchange) else { return told(exchange, StatusCode::NOT_FOUND, Message::ApproveLink) };
    let (live, kept) = match open(exchange, &link).await {
        Ok(opened) => opened,
        Err(Unshown::Told(status, text)) => return told(exchange, status, text),
        Err(Unshown::Response(response)) => return response,
    };
    request_page(exchange, &link, &live, &kept.request, None)
}

/// Finds out whether the person before a browser was asked.
async fn open(exchange: &Exchange, link: &Link) -> Result<(Arc<Live>, KeptApproval), Unshown> {
    let Some((_, live)) = login::session(exchange) else { return Err(Unshown::Response(sign_in(exchange, link))) };
    let found = exchange.plane().approval_ledger.find(link.request).await;
    let found = found.map_err(|error| Unshown::Response(endpoints::unavailable(exchange, &error)))?;
    let email = &live.session().identity.email;
    let asked = found.filter(|kept| kept.request.recognize(email, &link.key).is_ok());
    let Some(kept) = asked else { return Err(Unshown::Told(StatusCode::FORBIDDEN, Message::ApproveLink)) };
    // What the organisation asks of people elsewhere it asks of those who open doors for others.
    if let Some(start) = start(exchange, link) {
        let door = login::application(&exchange.snapshot, &start).map(|(_, door)| door);
        let rules = door.and_then(|door| gate::mfa_at(exchange, door));
        if caller::owes_factor(rules.as_ref(), live.session(), exchange.now) {
            let nobody = AccessPolicyId(Uuid::nil());
            return Err(Unshown::Response(mfa::step_up(exchange, &start, nobody)));
        }
    }
    Ok((live, kept))
}

/// The sign-in of an approver: at the launcher's door, or at that of the application that is asked for.
fn start(exchange: &Exchange, link: &Link) -> Option<Start> {
    let launcher = launcher::find(&exchange.snapshot).map(|(published, _)| published.application.id);
    let asked = || exchange.plane().approvals.find(&link.request).map(|request| request.asked.application);
    Some(Start {
        application: launcher.or_else(asked)?,
        host: exchange.snapshot.organization.auth_domain.clone(),
        back: link.path(),
        browser: String::new(),
        certificate: exchange.certificate_for_sign_in(),
        policy: None,
        factor_within: None,
        approves: Some(link.request),
        expires: exchange.now.after(COOKIE_LIFE).seconds(),
    })
}

fn sign_in(exchange: &Exchange, link: &Link) -> Response<Body> {
    let Some(start) = start(exchange, link) else {
        return told(exchange, StatusCode::FORBIDDEN, Message::ApproveLink);
    };
    match exchange.snapshot.seal.seal(START, &start) {
        Ok(meta) => page::redirect(&format!("{OWN}login/{}?meta={meta}", start.host)),
        Err(_) => page::failed(exchange),
    }
}

fn told(exchange: &Exchange, status: StatusCode, text: Message) -> Response<Body> {
    let logout = login::session(exchange).map(|_| format!("{OWN}logout"));
    let link = logout.as_deref().map(|address| (address, Message::OtherAccount));
    page::message(exchange, status, Message::Approve, text, link)
}

fn published<'e>(exchange: &'e Exchange, request: &ApprovalRequest) -> Option<&'e Published> {
    exchange.snapshot.applications.iter().find(|found| found.application.id == request.asked.application)
}

fn facts(language: Language, published: &Published, request: &ApprovalRequest) -> Markup {
    let policy = published.policies.policies().find(|policy| policy.id == request.asked.policy);
    html! {
        dl.facts {
            dt { (Message::ApproveWho.text(language)) }
            dd { (request.asked.email) }
            dt { (Message::Application.text(language)) }
            dd { (published.application.name) @if let Some(policy) = policy { " (" (policy.name) ")" } }
            dt { (Message::ApproveWhy.text(language)) }
            dd { @match &request.asked.justification { Some(why) => (why), None => (Message::ApproveNoReason.text(language)) } }
            dt { (Message::ApproveSince.text(language)) }
            dd { (moment(request.asked_at)) }
        }
    }
}

/// The page with the request, and with the form while it waits.
fn request_page(
    exchange: &Exchange,
    link: &Link,
    live: &Live,
    request: &ApprovalRequest,
    problem: Option<(StatusCode, Message)>,
) -> Response<Body> {
    let now = exchange.now.seconds();
    let Some(published) = published(exchange, request) else {
        return told(exchange, StatusCode::NOT_FOUND, Message::ApproveOver);
    };
    let language = exchange.language(&[]);
    let settled = match request.state(now) {
        State::Waiting(_) if !request.has_agreed(&live.session().identity.email) => None,
        State::Waiting(missing) => {
            let missing = missing.iter().sum::<u32>().to_string();
            Some(Message::ApproveGiven.with(language, &[("missing", &missing)]))
        }
        State::Granted { until } => Some(Message::ApproveGranted.with(language, &[("until", &moment(until))])),
        State::Refused { .. } => Some(html! { (Message::ApproveRefused.text(language)) }),
        State::Expired => return told(exchange, StatusCode::GONE, Message::ApproveOver),
    };
    if let Some(text) = settled {
        let frame = Frame { exchange, language, status: StatusCode::OK, title: Message::Approve.text(language) };
        return frame.render(&html! { p role="status" { (text) } (facts(language, published, request)) });
    }
    let Some((key, cookie)) = login::browser(exchange) else { return page::failed(exchange) };
    let expires = exchange.now.after(COOKIE_LIFE).seconds();
    let person = live.session().identity.user;
    let form = AnswerForm { key, person, request: link.request, link: link.key.clone(), expires };
    let Ok(state) = exchange.snapshot.seal.seal(ANSWER, &form) else { return page::failed(exchange) };
    let status = problem.map_or(StatusCode::OK, |(status, _)| status);
    let mut response = Frame { exchange, language, status, title: Message::Approve.text(language) }.render(&html! {
        p { (Message::ApproveText.text(language)) }
        @if let Some((_, problem)) = problem { p.error role="alert" { (problem.text(language)) } }
        (facts(language, published, request))
        form method="post" action=(format!("{OWN}approve-answer")) {
            input type="hidden" name="state" value=(state);
            label for="minutes" { (Message::ApproveLength.text(language)) }
            select id="minutes" name="minutes" {
                @for minutes in LENGTHS { option value=(minutes) selected[minutes == USUAL] { (length(minutes, language)) } }
            }
            button type="submit" name="answer" value="grant" { (Message::ApproveGrant.text(language)) }
            button.quiet type="submit" name="answer" value="refuse" { (Message::ApproveRefuse.text(language)) }
        }
        p.soft { (Message::SignedInAs.text(language)) " " (live.session().identity.email) }
    });
    login::set_cookie(&mut response, SIGN_IN_COOKIE, &cookie, COOKIE_LIFE);
    response
}

fn length(minutes: u64, language: Language) -> String {
    // Both words are plural.
    match (minutes / 60, minutes % 60) {
        (hours @ 2.., 0) => format!("{hours} {}", Message::Hours.text(language)),
        _ => format!("{minutes} {}", Message::Minutes.text(language)),
    }
}

/// Takes an answer.
pub(crate) async fn take(exchange: &Exchange, fields: &Bytes) -> Response<Body> {
    let field = |name: &str| login::field(fields, name).unwrap_or_default();
    let form: Option<AnswerForm> = exchange.snapshot.seal.open(ANSWER, &field("state")).ok();
    let ours = form.filter(|form| exchange.now.seconds() < form.expires && login::is_own(exchange, &form.key));
    let Some(AnswerForm { person, request, link, .. }) = ours else { return login::stale(exchange, None) };
    let answer = match field("answer").as_str() {
        "grant" => Answer::Grant(Duration::from_secs(field("minutes").parse::<u64>().unwrap_or(0).saturating_mul(60))),
        "refuse" => Answer::Refuse,
        _ => return page::plain(StatusCode::BAD_REQUEST, "an answer is grant or refuse"),
    };
    let link = Link { request, key: link };
    for _ in 0..TRIES {
        let (live, mut kept) = match open(exchange, &link).await {
            Ok((live, _)) if live.session().identity.user != person => return login::stale(exchange, None),
            Ok(opened) => opened,
            Err(Unshown::Told(status, text)) => return told(exchange, status, text),
            Err(Unshown::Response(response)) => return response,
        };
        let email = live.session().identity.email.clone();
        match kept.request.answer(&email, &link.key, answer, exchange.now.seconds()) {
            Ok(_) => {}
            Err(ApprovalError::Length) => {
                let problem = Some((StatusCode::BAD_REQUEST, Message::ApproveBadLength));
                return request_page(exchange, &link, &live, &kept.request, problem);
            }
            Err(ApprovalError::Over) => return request_page(exchange, &link, &live, &kept.request, None),
            Err(_) => return told(exchange, StatusCode::FORBIDDEN, Message::ApproveLink),
        }
        let request = kept.request.clone();
        match exchange.plane().approval_ledger.write(link.request, kept, Vec::new()).await {
            Ok(true) => {
                note(exchange, &request, email.as_str(), answer);
                return request_page(exchange, &link, &live, &request, None);
            }
            Ok(false) => {}
            Err(error) => return endpoints::unavailable(exchange, &error),
        }
    }
    let contended = LedgerError::Unavailable("the request is answered from several places at once".to_owned());
    endpoints::unavailable(exchange, &contended)
}

/// Records an answer: whose access it is about, who gave it, and what came of it.
fn note(exchange: &Exchange, request: &ApprovalRequest, approver: &str, answer: Answer) {
    let state = request.state(exchange.now.seconds());
    let what = match (answer, &state) {
        (Answer::Refuse, _) => format!("{approver} refused"),
        (Answer::Grant(_), State::Granted { until }) => format!("{approver} agreed; granted until {}", moment(*until)),
        (Answer::Grant(_), _) => format!("{approver} agreed; others are asked too"),
    };
    record::approval(exchange, published(exchange, request), request, what);
}
