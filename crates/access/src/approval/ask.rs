//! The page of somebody whom a policy admits once others agree: it asks, and waits.
//!
//! Invariants: asking twice in one sign-in is one request; what a person can have others bothered with is bounded; nobody
//! goes on from here but by the decision that every sign-in ends with.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use identity::access_policy::{ApprovalGroup, Policy};
use identity::application::Door;
use identity::approval::{
    self, ApprovalError, ApprovalRequest, Approvers, Asked, MOST_WAITING, MOST_WAITING_AT_ONE, REQUEST_LIFETIME, State,
};
use identity::cookie::SIGN_IN as SIGN_IN_COOKIE;
use identity::opaque::{self, Digest};
use identity::session::SessionHash;
use maud::{Markup, html};
use net::proxy::body::Body;
use types::Email;

use super::ledger::KeptApproval;
use super::moment;
use crate::endpoints;
use crate::exchange::Exchange;
use crate::issue;
use crate::ledger::LedgerError;
use crate::login::{self, COOKIE_LIFE, LONGEST_REASON};
use crate::mail::{self, Letter, Part};
use crate::page::{self, Frame};
use crate::record;
use crate::session_table::Live;
use crate::snapshot::Published;
use crate::stages::OWN;
use crate::ticket::{self, APPROVAL, ApprovalForm, STEP, Start, Step};
use crate::words::Message;

/// How often the page of somebody who waits looks again, in seconds.
const LOOK: &str = "10";

/// Sends a browser to the page that asks and waits.
pub(crate) fn step(exchange: &Exchange, start: &Start, policy: &Policy) -> Response<Body> {
    let step = Step { start: start.clone(), policy: policy.id };
    address(exchange, &step).map_or_else(|| page::failed(exchange), |address| page::redirect(&address))
}

fn address(exchange: &Exchange, step: &Step) -> Option<String> {
    let sealed = exchange.snapshot.seal.seal(STEP, step).ok()?;
    let mut address = exchange.site(&exchange.snapshot.organization.auth_domain)?;
    address.set_path(&format!("{OWN}approval"));
    address.query_pairs_mut().append_pair("step", &sealed);
    Some(address.into())
}

/// Somebody at the policy that waits for others.
struct Visit<'e> {
    exchange: &'e Exchange,
    step: &'e Step,
    published: &'e Published,
    app: Door<'e>,
    policy: &'e Policy,
    hash: SessionHash,
    live: Arc<Live>,
}

impl<'e> Visit<'e> {
    fn new(exchange: &'e Exchange, step: &'e Step, (hash, live): (SessionHash, Arc<Live>)) -> Option<Self> {
        let (published, app) = login::application(&exchange.snapshot, &step.start)?;
        let policy = published.policies.policies().find(|policy| policy.id == step.policy)?;
        Some(Self { exchange, step, published, app, policy, hash, live })
    }

    fn id(&self) -> Digest {
        approval::id(self.hash, self.published.application.id, self.policy.id)
    }

    fn now(&self) -> i64 {
        self.exchange.now.seconds()
    }

    /// The page for what stands of the request, or on to the application.
    async fn page(&self, problem: Option<(StatusCode, Message)>) -> Response<Body> {
        let request = self.exchange.plane().approvals.find(&self.id());
        match request.as_ref().map(|request| request.state(self.now())) {
            // A policy that asks no more, or was granted: decided as at every sign-in.
            _ if self.policy.approval.is_empty() => self.enter().await,
            Some(State::Granted { .. }) => self.enter().await,
            Some(State::Waiting(missing)) => self.waiting(missing.iter().sum()),
            Some(State::Refused { .. }) => self.refused(),
            Some(State::Expired) | None => self.form(problem),
        }
    }

    async fn enter(&self) -> Response<Body> {
        issue::enter(self.exchange, &self.step.start, self.hash, &self.live, None).await
    }

    fn facts(&self) -> Markup {
        let language = self.exchange.language(&self.app.sign_in.languages);
        html! {
            dl.facts {
                dt { (Message::Application.text(language)) }
                dd { (self.published.application.name) }
                dt { (Message::SignedInAs.text(language)) }
                dd { (self.live.session().identity.email) }
            }
        }
    }

    fn form(&self, problem: Option<(StatusCode, Message)>) -> Response<Body> {
        let exchange = self.exchange;
        let language = exchange.language(&self.app.sign_in.languages);
        let Some((key, cookie)) = login::browser(exchange) else { return page::failed(exchange) };
        let expires = exchange.now.after(COOKIE_LIFE).seconds();
        let form = ApprovalForm { key, session: self.hash.text(), step: self.step.clone(), expires };
        let Ok(state) = exchange.snapshot.seal.seal(APPROVAL, &form) else { return page::failed(exchange) };
        let status = problem.map_or(StatusCode::OK, |(status, _)| status);
        let title = Message::ApprovalAsk.text(language);
        let prompt = self.policy.justification.as_deref();
        let mut response = Frame { exchange, language, status, title }.render(&html! {
            p { (Message::ApprovalAskText.text(language)) }
            @if let Some((_, problem)) = problem { p.error #problem role="alert" { (problem.text(language)) } }
            (self.facts())
            form method="post" action=(format!("{OWN}approval-ask")) {
                input type="hidden" name="state" value=(state);
                label for="reason" { (prompt.unwrap_or(Message::ApprovalReason.text(language))) }
                textarea id="reason" name="reason" rows="3" required[prompt.is_some()] maxlength=(LONGEST_REASON)
                    aria-describedby=[problem.map(|_| "problem")] autofocus {}
                button type="submit" { (Message::ApprovalSend.text(language)) }
            }
        });
        login::set_cookie(&mut response, SIGN_IN_COOKIE, &cookie, COOKIE_LIFE);
        response
    }

    fn waiting(&self, missing: u32) -> Response<Body> {
        let exchange = self.exchange;
        let language = exchange.language(&self.app.sign_in.languages);
        let Some(again) = address(exchange, self.step) else { return page::failed(exchange) };
        let title = Message::ApprovalWaits.text(language);
        let missing = missing.to_string();
        let mut response = Frame { exchange, language, status: StatusCode::OK, title }.render(&html! {
            p role="status" { (Message::ApprovalWaitsText.with(language, &[("missing", &missing)])) }
            (self.facts())
            a.button.quiet href=(again) { (Message::ApprovalLook.text(language)) }
        });
        response.headers_mut().insert("refresh", HeaderValue::from_static(LOOK));
        response
    }

    fn refused(&self) -> Response<Body> {
        let exchange = self.exchange;
        let language = exchange.language(&self.app.sign_in.languages);
        let title = Message::ApprovalRefused.text(language);
        Frame { exchange, language, status: StatusCode::FORBIDDEN, title }.render(&html! {
            p { (Message::ApprovalRefusedText.text(language)) }
            (self.facts())
            (page::reference(exchange, language))
        })
    }

    /// Opens the request, unless there is one.
    async fn open(self, reason: Option<String>) -> Response<Body> {
        let (exchange, now) = (self.exchange, self.now());
        if self.policy.approval.is_empty() {
            return self.enter().await;
        }
        if self.policy.justification.is_some() && reason.is_none() {
            return self.page(Some((StatusCode::BAD_REQUEST, Message::ApprovalReasonNeeded))).await;
        }
        let ledger = &exchange.plane().approval_ledger;
        let standing = match ledger.find(self.id()).await {
            Ok(standing) => standing,
            Err(error) => return endpoints::unavailable(exchange, &error),
        };
        let stands = |kept: &KeptApproval| kept.request.state(now) != State::Expired;
        let outcome = match &standing {
            Some(kept) if stands(kept) => Ok(()),
            _ => self.keep(standing.map_or(0, |kept| kept.revision), reason).await,
        };
        match outcome {
            Ok(()) => {
                let address = address(exchange, self.step);
                address.map_or_else(|| page::failed(exchange), |address| page::redirect(&address))
            }
            Err(Unasked::Told(status, text)) => self.page(Some((status, text))).await,
            Err(Unasked::Ledger(error)) => endpoints::unavailable(exchange, &error),
        }
    }

    async fn keep(&self, revision: u64, reason: Option<String>) -> Result<(), Unasked> {
        let (exchange, now) = (self.exchange, self.now());
        let (plane, identity) = (exchange.plane(), Arc::clone(&self.live.session().identity));
        let application = self.published.application.id;
        let asked_before = plane.approval_ledger.of(identity.user).await.map_err(Unasked::Ledger)?;
        let waiting = || asked_before.iter().filter(|request| matches!(request.state(now), State::Waiting(_)));
        let here = waiting().filter(|request| request.asked.application == application).count();
        if here >= MOST_WAITING_AT_ONE || waiting().count() >= MOST_WAITING {
            return Err(Unasked::Told(StatusCode::TOO_MANY_REQUESTS, Message::ApprovalMany));
        }
        let asked = Asked {
            user: identity.user,
            email: identity.email.clone(),
            application,
            policy: self.policy.id,
            session: self.hash,
            justification: reason,
        };
        let random = ticket::random()
            .ok_or_else(|| Unasked::Ledger(LedgerError::Unavailable("there is no randomness".to_owned())))?;
        let (request, invitations) =
            ApprovalRequest::open(asked, &approvers(exchange, self.policy), &random, now).map_err(Unasked::of)?;
        let count = invitations.len();
        let letters = invitations.iter().filter_map(|invitation| self.letter(&request, invitation)).collect();
        let kept = KeptApproval { revision, request: request.clone() };
        // Another write that came first is a request all the same.
        if plane.approval_ledger.write(self.id(), kept, letters).await.map_err(Unasked::Ledger)? {
            let what = format!("the policy \"{}\" asks for approval; people asked: {count}", self.policy.name);
            record::approval(exchange, Some(self.published), &request, what);
        }
        Ok(())
    }

    fn letter(&self, request: &ApprovalRequest, invitation: &approval::Invitation) -> Option<Letter> {
        let exchange = self.exchange;
        let language = exchange.language(&[]);
        let organization = page::organization(exchange);
        let mut address = exchange.site(&exchange.snapshot.organization.auth_domain)?;
        address.set_path(&format!("{OWN}approve"));
        address
            .query_pairs_mut()
            .append_pair("request", &opaque::text(&self.id().0))
            .append_pair("key", invitation.link.expose());
        let ends = moment(request.asked_at.saturating_add(REQUEST_LIFETIME));
        let values = [
            ("email", request.asked.email.as_str()),
            ("application", self.published.application.name.as_str()),
            ("organization", organization),
            ("reason", request.asked.justification.as_deref().unwrap_or_default()),
            ("until", ends.as_str()),
        ];
        let say = |message: Message| message.plain(language, &values);
        let mut parts = vec![Part::Says(say(Message::ApprovalMail))];
        if request.asked.justification.is_some() {
            parts.push(Part::Says(say(Message::ApprovalMailReason)));
        }
        parts.push(Part::Link { label: say(Message::ApprovalMailLink), address: address.into() });
        parts.push(Part::Says(say(Message::ApprovalMailUse)));
        let expires_at = request.asked_at.saturating_add(REQUEST_LIFETIME);
        let subject = say(Message::ApprovalMailSubject);
        Some(mail::write(invitation.to.clone(), (language, organization), &subject, &parts, expires_at))
    }
}

/// Why nobody was asked.
enum Unasked {
    Told(StatusCode, Message),
    Ledger(LedgerError),
}

impl Unasked {
    fn of(error: ApprovalError) -> Self {
        match error {
            ApprovalError::NobodyToAsk | ApprovalError::TooMany => {
                tracing::warn!(%error, "a policy asks for an approval that nobody can give");
                Self::Told(StatusCode::FORBIDDEN, Message::ApprovalNobody)
            }
            ApprovalError::Justification => Self::Told(StatusCode::BAD_REQUEST, Message::ApprovalReasonNeeded),
            ApprovalError::Link | ApprovalError::Length | ApprovalError::Over => {
                Self::Told(StatusCode::CONFLICT, Message::StaleText)
            }
        }
    }
}

/// Returns who may approve, lists of addresses put in.
fn approvers(exchange: &Exchange, policy: &Policy) -> Vec<Approvers> {
    let people = |group: &ApprovalGroup| {
        let listed = group.list.and_then(|list| exchange.snapshot.addresses.get(&list));
        let listed = listed.into_iter().flatten();
        group.people.iter().chain(listed).cloned().collect::<Vec<Email>>()
    };
    policy.approval.iter().map(|group| Approvers { needed: group.needed, people: people(group) }).collect()
}

/// Shows how a request stands, and goes on once it was granted.
pub(crate) async fn wait(exchange: &Exchange) -> Response<Body> {
    let step: Option<Step> = exchange.parameter("step").and_then(|text| exchange.snapshot.seal.open(STEP, &text).ok());
    let Some(step) = step.filter(|step| exchange.now.seconds() < step.start.expires) else {
        return login::stale(exchange, None);
    };
    exchange.belongs_to(&step.start);
    let Some(session) = login::session(exchange) else {
        return login::stale(exchange, issue::return_address(exchange, &step.start));
    };
    match Visit::new(exchange, &step, session) {
        Some(visit) => visit.page(None).await,
        None => page::nothing_here(exchange),
    }
}

/// Takes the form that asks.
pub(crate) async fn ask(exchange: &Exchange, fields: &Bytes) -> Response<Body> {
    let state = login::field(fields, "state").unwrap_or_default();
    let form: Option<ApprovalForm> = exchange.snapshot.seal.open(APPROVAL, &state).ok();
    let opened = form.zip(login::session(exchange));
    let ours = opened.filter(|(form, (hash, _))| {
        form.session == hash.text() && exchange.now.seconds() < form.expires && login::is_own(exchange, &form.key)
    });
    let Some((form, session)) = ours else { return login::stale(exchange, None) };
    match Visit::new(exchange, &form.step, session) {
        Some(visit) => visit.open(login::reason(fields)).await,
        None => page::nothing_here(exchange),
    }
}
