//! The authorization endpoint: from a client's request through the ordinary sign-in to the person's answer.
//!
//! Invariants: nothing is sent to an address that the client did not register; a request is decided once, by a person who
//! was asked on a page of ours in the browser that brought it; and a program that asks is never answered with a page.

use std::sync::Arc;

use http::{HeaderValue, Response, StatusCode, header};
use identity::access_policy::Policy;
use identity::application::SameSite;
use identity::cookie::{APP_SIGN_IN, Cookie};
use identity::oauth::authorization::{
    Arrival, Decision as Answer, DecisionError, Lifetimes, PendingRequest, Prompt, REQUEST_LIFE, Refusal, Target,
    begin, consent_token,
};
use identity::oauth::client::Client;
use identity::oauth::consent::Consent;
use identity::oauth::error::{ErrorCode, OauthError};
use identity::oauth::form::Form;
use identity::oauth::metadata::{ENDPOINTS, Issuer};
use identity::opaque::{self, Digest};
use identity::session::{Moment, SessionSecret};
use maud::html;
use net::proxy::body::{Body, collect};
use url::Url;

use super::clients::{self, NoClient};
use super::discovery::{self, Server};
use super::ledger::KeptGrant;
use super::standing::{self, Outcome};
use super::tokens;
use crate::approval;
use crate::caller::{self, Signed, Who};
use crate::denial::{self, BROWSER};
use crate::endpoints;
use crate::exchange::Exchange;
use crate::gate;
use crate::login;
use crate::page::{self, Frame};
use crate::record::{self, Decision};
use crate::throttle;
use crate::ticket;
use crate::words::Message;

/// Returns the path of the endpoints around the consent page, if a sign-in began there.
pub(crate) fn consent_of(back: &str) -> Option<&str> {
    let path = back.split('?').next().unwrap_or_default();
    let endpoints = path.strip_suffix("authorization")?;
    endpoints.strip_prefix(ENDPOINTS)?.starts_with('/').then_some(endpoints)
}

/// Takes a request in, or shows one that waits.
pub(crate) async fn show(exchange: &Exchange, server: Server<'_>) -> Response<Body> {
    match exchange.parameter("request") {
        Some(id) if exchange.parameter("client_id").is_none() => ask(exchange, server, &id).await,
        Some(_) | None => arrive(exchange, server).await,
    }
}

async fn arrive(exchange: &Exchange, server: Server<'_>) -> Response<Body> {
    let plane = exchange.plane();
    let source = throttle::source(exchange.source());
    if !plane.oauth.begun.admit(source) {
        return problem(
            exchange,
            StatusCode::TOO_MANY_REQUESTS,
            &error(ErrorCode::TemporarilyUnavailable, "too many requests from this address; wait a minute"),
        );
    }
    let form = match Form::parse(exchange.query.as_deref().unwrap_or_default().as_bytes()) {
        Ok(form) => form,
        Err(why) => {
            return problem(exchange, StatusCode::BAD_REQUEST, &error(ErrorCode::InvalidRequest, why.to_string()));
        }
    };
    let client = match form.get("client_id") {
        Some(id) => match clients::find(exchange, server, id).await {
            Ok(client) => client,
            Err(NoClient::Refused(why)) => return problem(exchange, StatusCode::BAD_REQUEST, &why),
            Err(NoClient::Ledger(why)) => return endpoints::unavailable(exchange, &why),
        },
        None => None,
    };
    let known = exchange.cookies(APP_SIGN_IN).find_map(SessionSecret::parse);
    let fresh = known.is_none();
    let secret = known.or_else(|| ticket::random().map(SessionSecret::of));
    let (Some(secret), Some(random), Some(issuer)) = (secret, ticket::random(), server.issuer(exchange)) else {
        return page::failed(exchange);
    };
    let (secret, id) = (secret.text(), opaque::text(&random));
    let arrival = Arrival { request_id: &id, browser_secret: &secret, now: exchange.now.seconds() };
    let pending = match read(exchange, server, &form, client.as_deref(), &issuer, arrival) {
        Ok(pending) => pending,
        Err(Refusal::Show(why)) => {
            let reason =
                format!("a request of the client {} was refused: {}", shown(form.get("client_id")), why.description);
            record::oauth(exchange, server.published, None, reason, false);
            return problem(exchange, StatusCode::BAD_REQUEST, &why);
        }
        Err(Refusal::Redirect(address)) => return page::redirect(address.as_str()),
    };
    if let Err(why) = plane.oauth_ledger.begin(&pending, &format!("oauth/{source}")).await {
        return endpoints::unavailable(exchange, &why);
    }
    let mut response = page::redirect(&format!("{}?request={id}", issuer.endpoint("authorization")));
    if fresh {
        let cookie = Cookie::own(APP_SIGN_IN, &secret, BROWSER, SameSite::None).header();
        if let Some(value) = cookie.ok().and_then(|text| HeaderValue::try_from(text).ok()) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }
    response
}

fn read(
    exchange: &Exchange,
    server: Server<'_>,
    form: &Form,
    client: Option<&Client>,
    issuer: &Issuer,
    arrival: Arrival<'_>,
) -> Result<PendingRequest, Refusal> {
    let (issuer, resource) = (&*issuer.url(), server.resource(exchange).unwrap_or_default());
    let target = Target {
        application: server.published.application.id,
        issuer,
        default_resource: &resource,
        contains: &|url: &Url| contains(exchange, server, url),
        scopes: &[],
        lifetimes: Lifetimes::of(server.rules),
    };
    begin(form, client, &target, arrival)
}

/// Whether a URL lies within the application, at whichever of its hosts.
fn contains(exchange: &Exchange, server: Server<'_>, url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let same_port = exchange.site(host).is_some_and(|site| site.origin() == url.origin());
    let found = exchange.snapshot.routes.find(host, url.path()).ok().flatten();
    let found = found.and_then(|(index, _)| exchange.snapshot.applications.get(index));
    // A client that knows the host alone means what is published there.
    let whole =
        server.of_host && url.path() == "/" && server.app.destinations.iter().any(|pattern| pattern.covers_host(host));
    same_port
        && (found.is_some_and(|published| published.application.id == server.published.application.id)
            || found.is_none() && whole)
}

/// A request that waits, in the browser it belongs to, before a person who may decide it.
struct Open {
    id: String,
    /// The text of the browser's secret.
    browser: String,
    pending: PendingRequest,
    client: Arc<Client>,
    signed: Signed,
}

/// Finds out whether the person before a browser may decide a request; if not, what they are shown.
async fn open(exchange: &Exchange, server: Server<'_>, id: &str) -> Result<Open, Response<Body>> {
    let plane = exchange.plane();
    let pending = plane.oauth_ledger.pending(Digest::of(id)).await;
    let pending = pending.map_err(|why| endpoints::unavailable(exchange, &why))?;
    let pending = pending.filter(|pending| {
        pending.is_open(exchange.now.seconds()) && pending.application == server.published.application.id
    });
    let secrets = exchange.cookies(APP_SIGN_IN).filter_map(SessionSecret::parse).map(|secret| secret.text());
    let found = pending.and_then(|pending| {
        let browser = secrets.into_iter().find(|secret| pending.browser.matches(secret))?;
        Some((pending, browser))
    });
    let Some((pending, browser)) = found else { return Err(login::stale(exchange, None)) };
    let client = match clients::find(exchange, server, &pending.client).await {
        Ok(Some(client)) => client,
        Ok(None) => return Err(login::stale(exchange, None)),
        Err(NoClient::Refused(why)) => return Err(problem(exchange, StatusCode::BAD_REQUEST, &why)),
        Err(NoClient::Ledger(why)) => return Err(endpoints::unavailable(exchange, &why)),
    };
    let signed = match caller::identify(exchange, server.published, server.app) {
        Ok((Who::Person(signed), _)) => signed,
        Ok((Who::Nobody, ended)) => return Err(denial::sign_in(exchange, server.published, server.app, ended)),
        Ok((Who::Program(_), _)) | Err(_) => {
            return Err(denial::forbidden_program("a person must consent, not a program"));
        }
    };
    match kept_out(exchange, server, &signed).await {
        Some(response) => Err(response),
        None => Ok(Open { id: id.to_owned(), browser, pending, client, signed }),
    }
}

/// Asks the policies about the person, with everything an ordinary sign-in asks besides. Returns what the person is shown
/// if they may not decide.
async fn kept_out(exchange: &Exchange, server: Server<'_>, signed: &Signed) -> Option<Response<Body>> {
    let session = signed.live.session();
    match standing::policies(exchange, server.published, session).await {
        Outcome::Allowed(found) => {
            let first = *found.first()?;
            let asks = first.justification.is_some() || !first.approval.is_empty();
            let moved = asks && signed.policy() != Some(first.id);
            let unapproved = approval::owed(exchange, server.published, first, (signed.hash, session));
            let owes = |policy: &&Policy| {
                caller::owes_factor(gate::mfa(exchange, policy, server.app).as_ref(), session, exchange.now)
            };
            let kept = moved || unapproved || found.iter().any(owes) || !gate::fits(session, server.app);
            kept.then(|| denial::sign_in(exchange, server.published, server.app, None))
        }
        Outcome::Denied(denied, trace) => {
            let identity = Arc::clone(&session.identity);
            let mut decision = denied.map_or_else(
                || Decision::unanswered(&trace),
                |denied| Decision::denied(server.published, denied, Some(&trace)),
            );
            decision.identity = Some(Arc::clone(&identity));
            record::refused(exchange, server.published, &decision, identity.provider_type.as_str());
            Some(denial::denied(exchange, server.published, server.app, Some(&identity)))
        }
    }
}

async fn ask(exchange: &Exchange, server: Server<'_>, id: &str) -> Response<Body> {
    let open = match open(exchange, server, id).await {
        Ok(open) => open,
        Err(response) => return response,
    };
    let arrived = open.pending.expires_at.saturating_sub(REQUEST_LIFE);
    if open.pending.prompt == Prompt::Login && open.signed.live.session().identity.signed_in < arrived {
        let why = error(ErrorCode::LoginRequired, "the person signed in before the request; sign out first");
        return close(exchange, &open, open.pending.refuse(&why)).await;
    }
    consent_page(exchange, server, &open)
}

fn consent_page(exchange: &Exchange, server: Server<'_>, open: &Open) -> Response<Body> {
    let language = exchange.language(&server.app.sign_in.languages);
    let consent = Consent::new(&open.pending, &open.client);
    let token = consent_token(&open.browser, &open.id, &Digest(*open.signed.hash.bytes()));
    let state = format!("{}.{token}", open.id);
    let action = server.issuer(exchange).map(|issuer| issuer.endpoint("consent")).unwrap_or_default();
    let identity = &open.signed.live.session().identity;
    let frame = Frame { exchange, language, status: StatusCode::OK, title: Message::Consent.text(language) };
    let name = match consent.client_name.as_str() {
        "" => Message::ConsentNameless.text(language),
        name => name,
    };
    frame.render(&html! {
        p { strong { (name) } " " (Message::ConsentAsks.text(language)) " " strong { (server.published.application.name) } "." }
        dl.facts {
            dt { (Message::ConsentAs.text(language)) } dd { (identity.email) }
            dt { (Message::ConsentFor.text(language)) } dd { code { (consent.resource) } }
            dt { (Message::ConsentGets.text(language)) }
            dd { (Message::ConsentAll.text(language)) }
            @if let Some(lasts) = consent.lasts {
                dt { (Message::ConsentLasts.text(language)) } dd { (span(lasts, language)) }
            }
            dt { (Message::ConsentSentTo.text(language)) } dd { code { (consent.sent_to) } }
            @if let Some(host) = &consent.vouched_by {
                dt { (Message::ConsentVouched.text(language)) } dd { code { (host) } }
            }
        }
        p.soft {
            (if consent.to_own_machine { Message::ConsentOwnMachine } else { Message::ConsentUnverified }.text(language))
        }
        form method="post" action=(action) {
            input type="hidden" name="state" value=(state);
            button type="submit" name="answer" value="allow" { (Message::ConsentAllow.text(language)) }
            button.quiet type="submit" name="answer" value="deny" { (Message::ConsentDeny.text(language)) }
        }
    })
}

/// Writes how long something lasts, in the largest unit that fits.
fn span(seconds: u64, language: crate::words::Language) -> String {
    let (count, unit) = match seconds {
        0..7_200 => (seconds / 60, Message::Minutes),
        7_200..172_800 => (seconds / 3_600, Message::Hours),
        _ => (seconds / 86_400, Message::Days),
    };
    format!("{count} {}", unit.text(language))
}

/// Takes the person's answer.
pub(crate) async fn decide(exchange: &Exchange, server: Server<'_>) -> Response<Body> {
    let within = exchange.plane().config.head_timeout;
    let body = collect(exchange.take_body(), login::LONGEST_FORM);
    let Ok(Some(fields)) = tokio::time::timeout(within, body).await else {
        return page::plain(StatusCode::BAD_REQUEST, "the form is too large or did not arrive");
    };
    let site = discovery::origin(exchange);
    let foreign = exchange.header("origin").is_some_and(|origin| origin != "null" && Some(origin) != site.as_deref());
    let state = login::field(&fields, "state").unwrap_or_default();
    let (Some((id, token)), false) = (state.split_once('.'), foreign) else { return login::stale(exchange, None) };
    let open = match open(exchange, server, id).await {
        Ok(open) => open,
        Err(response) => return response,
    };
    let session = open.signed.live.session();
    let answer = Answer {
        user: session.identity.user,
        session: Digest(*open.signed.hash.bytes()),
        request_id: &open.id,
        browser_secret: &open.browser,
        consent_token: token,
        now: exchange.now.seconds(),
    };
    let client = open.client.id.as_str();
    if login::field(&fields, "answer").as_deref() != Some("allow") {
        return match open.pending.deny(answer) {
            Ok(address) => {
                let why = format!("the person refused the client {client}");
                record::oauth(exchange, server.published, Some(&session.identity), why, false);
                close(exchange, &open, Some(address)).await
            }
            Err(why) => undecided(exchange, why),
        };
    }
    let Some(seed) = ticket::random() else { return page::failed(exchange) };
    let (grant, address) = match open.pending.approve(answer, &seed) {
        Ok(made) => made,
        Err(why) => return undecided(exchange, why),
    };
    let mut given = session.clone();
    // The session of the grant is that of the consent: made then, and over with the grant.
    given.expires = Moment(grant.expires_at.saturating_mul(1_000));
    given.seen = exchange.plane().sessions.stamp(exchange.now);
    let kept = KeptGrant { revision: 0, grant, session: given };
    match exchange.plane().oauth_ledger.approve(open.pending.id, &kept).await {
        Ok(true) => {}
        Ok(false) => return login::stale(exchange, None),
        Err(why) => return endpoints::unavailable(exchange, &why),
    }
    let why = format!("the person lets the client {client} act for them");
    record::oauth(exchange, server.published, Some(&session.identity), why, true);
    page::redirect(address.as_str())
}

/// Ends a request and tells its client.
async fn close(exchange: &Exchange, open: &Open, address: Option<Url>) -> Response<Body> {
    match (exchange.plane().oauth_ledger.abandon(open.pending.id).await, address) {
        (Ok(true), Some(address)) => page::redirect(address.as_str()),
        (Ok(true), None) => page::failed(exchange),
        (Ok(false), _) => login::stale(exchange, None),
        (Err(why), _) => endpoints::unavailable(exchange, &why),
    }
}

fn undecided(exchange: &Exchange, why: DecisionError) -> Response<Body> {
    match why {
        DecisionError::Expired | DecisionError::Forged => login::stale(exchange, None),
        DecisionError::Internal => page::failed(exchange),
    }
}

fn error(code: ErrorCode, text: impl Into<std::borrow::Cow<'static, str>>) -> OauthError {
    OauthError { code, description: text.into() }
}

/// A request that cannot be answered to its client: a page for a person, JSON for a program.
fn problem(exchange: &Exchange, status: StatusCode, why: &OauthError) -> Response<Body> {
    if !page::asks_for_page(exchange) {
        let mut response = tokens::refuse(exchange, why);
        *response.status_mut() = status;
        return response;
    }
    let language = exchange.language(&[]);
    let frame = Frame { exchange, language, status, title: Message::ClientProblem.text(language) };
    frame.render(&html! {
        p { (Message::ClientProblemText.text(language)) }
        p { code { (why.code.as_str()) } ": " (why.description) }
        p.soft { (Message::Reference.text(language)) ": " code { (exchange.id) } }
    })
}

/// What a client calls itself, short enough for a record.
fn shown(id: Option<&str>) -> String {
    id.unwrap_or("(none)").chars().filter(|c| !c.is_control()).take(200).collect()
}
