//! From a session of the organisation to one at an application: the decision, the transfer, the token.
//!
//! Invariant: a token is made only after the policies let this person in under the snapshot in force, on the host it is
//! for, in the browser that asked for it.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, header};
use identity::access_policy::Policy;
use identity::app_token::{Subject, TokenRequest};
use identity::application::{ApplicationKind, SameSite, SelfHosted};
use identity::cookie::{APP_SIGN_IN, BINDING, Cookie, ReturnUrl};
use identity::evaluation::{Outlook, Trace, Verdict};
use identity::provider::{Protocol, Provider};
use identity::session::{Session, SessionHash, SessionSecret};
use net::proxy::body::Body;
use serde_json::json;

use crate::approval;
use crate::caller;
use crate::denial;
use crate::exchange::Exchange;
use crate::gate;
use crate::login;
use crate::mfa;
use crate::oauth;
use crate::page;
use crate::record::{self, Decision};
use crate::session_table::Live;
use crate::snapshot::Published;
use crate::stages::OWN;
use crate::ticket::{self, Start, TRANSFER, Transfer};
use crate::words::Message;
use crate::workers::{self, Occasion};

/// How long a transfer may take: one redirect.
const TRANSFER_LIFE: Duration = Duration::from_secs(60);

/// Decides whether a signed-in person may open the application they came from, and sends them there.
pub(crate) async fn enter(
    exchange: &Exchange,
    start: &Start,
    hash: SessionHash,
    live: &Arc<Live>,
    justification: Option<String>,
) -> Response<Body> {
    let snapshot = Arc::clone(&exchange.snapshot);
    exchange.belongs_to(start);
    let Some((published, app)) = login::application(&snapshot, start) else { return page::nothing_here(exchange) };
    let session = live.session();
    let identity = Arc::clone(&session.identity);
    if start.approves.is_some() {
        // Whoever answers a request is let in to that alone: the link and who they are decide there.
        let reason = "signed in to answer a request for approval".to_owned();
        let decision = Decision { identity: Some(identity), ..Decision::because(reason) };
        record::login(exchange, published, &start.host, &decision, true);
        return back(exchange, start);
    }
    let mut trace = Trace::default();
    let consents = oauth::consent_of(&start.back).is_some();
    let outlook = foresee(exchange, start, published, session, &mut trace).await;
    let candidates = published.policies.candidates(&outlook);
    let mut decision = Decision { identity: Some(Arc::clone(&identity)), ..Decision::default() };
    let Some(index) = covering(published, start, &candidates).or(admitting(&outlook).filter(|_| consents)) else {
        // Whoever is let in without a session needs none.
        if matches!(outlook.verdict, Verdict::Bypass(_) | Verdict::NonIdentity(_)) {
            return back(exchange, start);
        }
        let denied = match outlook.verdict {
            Verdict::Deny(denied) => Decision::denied(published, denied, Some(&trace)),
            Verdict::Allow(_) | Verdict::NonIdentity(_) | Verdict::Bypass(_) | Verdict::SignIn | Verdict::Needs(_) => {
                Decision::unanswered(&trace)
            }
        };
        let denied = Decision { identity: decision.identity, ..denied };
        record::login(exchange, published, &start.host, &denied, false);
        return denial::denied(exchange, published, app, Some(&identity));
    };
    let Some(policy) = published.policies.policy(index) else { return page::failed(exchange) };
    decision.policy = Some((policy.id, policy.name.clone()));
    // A consent opens whatever the candidates cover; a sign-in the request it began with.
    let asking = if consents { candidates.as_slice() } else { &[] };
    for policy in asking.iter().filter_map(|index| published.policies.policy(*index)).chain([policy]) {
        if caller::owes_factor(gate::mfa_for(exchange, start, policy, app).as_ref(), live.session(), exchange.now) {
            return mfa::step_up(exchange, start, policy.id);
        }
    }
    let mut justification = justification;
    if !policy.approval.is_empty() {
        let Some(request) = approval::granted(exchange, published, policy, (hash, session)) else {
            return approval::step(exchange, start, policy);
        };
        // The question was answered for those who approved.
        justification = request.asked.justification.clone();
        decision.approved = Some(request);
    }
    match (&policy.justification, justification) {
        (Some(prompt), None) => return login::justification_page(exchange, start, published, app, prompt),
        (Some(prompt), Some(answer)) => decision.justification = Some((prompt.clone(), answer)),
        (None, _) => {}
    }
    let said = workers::notes(exchange, published.application.id);
    decision.reason = format!("the policy \"{}\" lets the person in{said}", policy.name);
    record::login(exchange, published, &start.host, &decision, true);
    match &published.application.kind {
        ApplicationKind::SelfHosted(_) | ApplicationKind::McpPortal(_) => transfer(exchange, start, hash, policy),
        // The launcher is on this host: the session is all it needs.
        ApplicationKind::Launcher(_) | ApplicationKind::Bookmark(_) | ApplicationKind::McpServer(_) => {
            back(exchange, start)
        }
    }
}

/// Asks the policies about the request that a sign-in began with.
async fn foresee(
    exchange: &Exchange,
    start: &Start,
    published: &Published,
    session: &Session,
    trace: &mut Trace,
) -> Outlook {
    // The consent page is no request to the application: what depends on one is decided with each that an agent sends.
    let request = oauth::consent_of(&start.back).is_none().then_some(start);
    gate::foresee(exchange, published, (session, Occasion::SignIn), request, trace).await
}

/// Finds the provider at which somebody who would be kept out may prove an authentication context that a policy asks for, and
/// that their sign-in did not.
pub(crate) async fn context_owed(
    exchange: &Exchange,
    start: &Start,
    published: &Published,
    session: &Session,
) -> Option<Arc<Provider>> {
    let provider = session.identity.steps.iter().find_map(|step| {
        let provider = exchange.snapshot.provider(step.provider)?;
        let Protocol::Oidc(settings) = &provider.protocol else { return None };
        let proved = |wanted: &&str| step.claims.iter().any(|claim| &*claim.0 == "acrs" && *claim.1 == **wanted);
        let owed = settings.contexts && !published.policies.auth_contexts(provider.id).iter().all(proved);
        owed.then(|| Arc::clone(provider))
    })?;
    let outlook = foresee(exchange, start, published, session, &mut Trace::default()).await;
    let kept_out = matches!(outlook.verdict, Verdict::Deny(_)) && published.policies.candidates(&outlook).is_empty();
    (kept_out && start.approves.is_none()).then_some(provider)
}

/// Returns the policy that a sign-in is held to: the one that the gate found to cover the request, if what is known here does
/// not speak against it, else the first of the candidates.
fn covering(published: &Published, start: &Start, candidates: &[usize]) -> Option<usize> {
    let found =
        |index: &&usize| published.policies.policy(**index).is_some_and(|policy| Some(policy.id) == start.policy);
    candidates.iter().find(found).or(candidates.first()).copied()
}

/// Returns a policy that lets in whoever it is, for some request at least.
fn admitting(outlook: &Outlook) -> Option<usize> {
    match outlook.verdict {
        Verdict::Bypass(index) | Verdict::NonIdentity(index) => Some(index),
        Verdict::Allow(_) | Verdict::SignIn | Verdict::Deny(_) | Verdict::Needs(_) => outlook.perhaps.first().copied(),
    }
}

fn transfer(exchange: &Exchange, start: &Start, hash: SessionHash, policy: &Policy) -> Response<Body> {
    let transfer = Transfer {
        start: start.clone(),
        session: hash.text(),
        policy: policy.id,
        issued: exchange.plane().sessions.stamp(exchange.now).0,
        expires: exchange.now.after(TRANSFER_LIFE).seconds(),
    };
    let sealed = exchange.snapshot.seal.seal(TRANSFER, &transfer);
    let (Ok(sealed), Some(mut address)) = (sealed, exchange.site(&start.host)) else {
        return page::failed(exchange);
    };
    address.set_path(&format!("{OWN}authorized"));
    address.query_pairs_mut().append_pair("token", &sealed);
    page::redirect(address.as_str())
}

/// Returns the address in the application that a sign-in began with.
pub(crate) fn return_address(exchange: &Exchange, start: &Start) -> Option<String> {
    let site = exchange.site(&start.host)?;
    let back = ReturnUrl::parse(&start.back, &site).ok()?;
    Some(back.as_str().to_owned())
}

fn back(exchange: &Exchange, start: &Start) -> Response<Body> {
    return_address(exchange, start).map_or_else(|| page::failed(exchange), |address| page::redirect(&address))
}

/// The end of a sign-in, on the application's host: the cookie, and on to what was asked for.
pub(crate) fn authorized(exchange: &Exchange) -> Response<Body> {
    let opened = exchange.parameter("token").and_then(|text| exchange.snapshot.seal.open(TRANSFER, &text).ok());
    let Some(transfer): Option<Transfer> = opened else { return login::stale(exchange, None) };
    let start = &transfer.start;
    let now = exchange.now.seconds();
    // The browser that asked is the browser that is let in: another site cannot sign anybody in as somebody else.
    let browser = exchange
        .cookies(APP_SIGN_IN)
        .filter_map(SessionSecret::parse)
        .any(|secret| SessionHash::parse(&start.browser) == Some(secret.hash()));
    if !browser || now >= transfer.expires || start.host != exchange.host {
        return login::stale(exchange, exchange.site(&exchange.host).map(String::from));
    }
    let snapshot = Arc::clone(&exchange.snapshot);
    let found = snapshot.applications.iter().find(|published| published.application.id == start.application);
    let found = found.and_then(|published| Some((published, published.self_hosted()?)));
    let Some((published, app)) = found else { return page::nothing_here(exchange) };
    if !app.destinations.iter().any(|pattern| pattern.covers_host(&exchange.host)) {
        return page::nothing_here(exchange);
    }
    let live = transfer
        .session()
        .and_then(|hash| exchange.plane().sessions.find(hash, snapshot.organization.idle, exchange.now).ok());
    let policy = published.policies.policies().find(|policy| policy.id == transfer.policy);
    let (Some(live), Some(policy), Some(address)) = (live, policy, return_address(exchange, start)) else {
        return login::stale(exchange, exchange.site(&exchange.host).map(String::from));
    };
    let mut response = page::redirect(&address);
    match cookies(exchange, published, app, &transfer, &live, policy) {
        Some(cookies) => {
            for cookie in cookies {
                response.headers_mut().append(header::SET_COOKIE, cookie);
            }
            response
        }
        None => page::message(exchange, StatusCode::INTERNAL_SERVER_ERROR, Message::Failed, Message::FailedText, None),
    }
}

fn cookies(
    exchange: &Exchange,
    published: &Published,
    app: &SelfHosted,
    transfer: &Transfer,
    live: &Live,
    policy: &Policy,
) -> Option<Vec<HeaderValue>> {
    let session = live.session();
    let now = exchange.now.seconds();
    let length = gate::lifetime(exchange, policy, app);
    let expires = exchange.now.after(length).seconds().min(session.expires.seconds());
    let length = Duration::from_secs(u64::try_from(expires.saturating_sub(now)).ok()?);
    let binding = match app.cookie.binding {
        true => Some(SessionSecret::of(ticket::random()?)),
        false => None,
    };
    let path = app.destinations.iter().find(|pattern| {
        pattern.covers_host(&exchange.host) && pattern.covers_path(transfer.start.back.split('?').next().unwrap_or("/"))
    });
    let path = path.map_or("/", |pattern| pattern.path().split('*').next().unwrap_or("/"));
    // The consent page is on no path of the application.
    let path = oauth::consent_of(&transfer.start.back).unwrap_or(path);
    // Larger identities are at get-identity: a cookie that a browser drops would go round for ever.
    let names = claim_names(exchange, session);
    for custom in [names.as_slice(), &[]] {
        let issuer = caller::issuer(exchange);
        let request = TokenRequest {
            issuer: &issuer,
            audience: published.application.aud,
            subject: Subject::Person { identity: &session.identity, nonce: &transfer.session, custom },
            now,
            expires,
        };
        let mut claims = request.claims();
        claims.insert("issued_ms".to_owned(), json!(transfer.issued().0));
        claims.insert("policy_id".to_owned(), json!(policy.id));
        // Reference section 2.2; this connection's own, not what the sign-in began with.
        let certificate = exchange.certificate.as_ref().and_then(|judged| judged.outcome().ok());
        if let Some(name) = certificate.and_then(|certificate| certificate.common_name.as_deref()) {
            claims.insert("common_name".to_owned(), json!(name));
        }
        if let Some(binding) = &binding {
            claims.insert("binding".to_owned(), json!(binding.hash().text()));
        }
        let token = exchange.snapshot.keys.current().sign(&claims).ok()?;
        let Ok(cookie) = Cookie::application(&token, path, length, app.cookie).header() else { continue };
        let mut cookies = vec![HeaderValue::try_from(cookie).ok()?];
        if let Some(binding) = &binding {
            let text = binding.text();
            let cookie = Cookie::own(BINDING, &text, length, SameSite::None).header().ok()?;
            cookies.push(HeaderValue::try_from(cookie).ok()?);
        }
        return Some(cookies);
    }
    None
}

/// Returns the names of claims that the person's providers are told to keep.
pub(crate) fn claim_names(exchange: &Exchange, session: &Session) -> Vec<String> {
    let steps = session.identity.steps.iter();
    let settings = steps.filter_map(|step| match &exchange.snapshot.provider(step.provider)?.protocol {
        Protocol::Oidc(settings) => Some(settings.claims.clone()),
        Protocol::OneTimePin | Protocol::BuiltIn | Protocol::Github(_) => None,
    });
    settings.flatten().collect()
}
