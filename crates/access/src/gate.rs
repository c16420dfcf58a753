//! The gate of an application: preflights, who asks, what the policies say, and then through or away.
//!
//! Invariant: only a verdict of the policies under this request's snapshot lets a request through, and one that admitted
//! a person counts only with everything its policy asks besides: question answered, factor proved.

use std::time::Duration;

use http::{Method, Response, StatusCode, header};
use identity::access_policy::{Decision as PolicyDecision, Policy};
use identity::application::{Door, SelfHosted};
use identity::cookie;
use identity::cors::{Preflight, PreflightAnswer};
use identity::evaluation::{Caller, Denial, Lookups, Outlook, RequestContext, RequestHead, Trace, Verdict};
use identity::identity::ClientCertificate;
use identity::mfa_requirement;
use identity::session::{Session, app_session_length};
use net::proxy::body::{Body, empty_body};
use policy::facts::HeaderFacts;

use crate::approval;
use crate::caller::{self, Refusal, Who};
use crate::denial;
use crate::exchange::Exchange;
use crate::forward::{self, Assertion};
use crate::oauth;
use crate::page;
use crate::record::{self, Decision};
use crate::snapshot::Published;
use crate::ticket::Start;
use crate::workers::{self, Asker, Heard, Occasion};

/// Answers a request to an application.
pub(crate) async fn answer(exchange: &mut Exchange, published: &Published) -> Response<Body> {
    let Some(app) = published.self_hosted() else { return page::nothing_here(exchange) };
    // A preflight carries no cookie, so it is decided before anybody is looked for.
    if let Some(answer) = preflight(exchange, app) {
        return match answer {
            PreflightAnswer::Forward => forward::send(exchange, published, Assertion::None).await,
            PreflightAnswer::Refused(reason) => page::plain(StatusCode::FORBIDDEN, reason),
            PreflightAnswer::Allowed(headers) => allowed_preflight(headers),
        };
    }
    // Taken before the fields go to the application.
    let origin = exchange.headers.get(header::ORIGIN).cloned();
    let mut response = decide(exchange, published, app).await;
    if let Some(origin) = origin.as_ref().and_then(|origin| origin.to_str().ok()) {
        forward::cross_origin(response.headers_mut(), app, origin);
    }
    response
}

async fn decide(exchange: &mut Exchange, published: &Published, app: &SelfHosted) -> Response<Body> {
    // A token of an agent is answered for itself, whatever cookies come with it.
    if oauth::presented(&exchange.headers).is_some() {
        return oauth::answer_bearer(exchange, published, app).await;
    }
    let (who, ended) = match caller::identify(exchange, published, app) {
        Ok(found) => found,
        Err(refusal) => {
            let why = match refusal {
                Refusal::Presented(error) => error.to_string(),
                Refusal::WrongToken => refusal.to_string(),
            };
            record::refused(exchange, published, &Decision::because(why.clone()), "service_token");
            return denial::unauthorized(&why);
        }
    };
    let mut trace = None;
    let mut verdict = ask(exchange, published, &who, None).await;
    if matches!(verdict, Verdict::Deny(_)) {
        // Asked again for the record alone: what is allowed pays nothing for explanations.
        let mut found = Trace::default();
        verdict = ask(exchange, published, &who, Some(&mut found)).await;
        trace = Some(found);
    }
    match (verdict, &who) {
        (Verdict::Bypass(_), _) => forward::send(exchange, published, Assertion::None).await,
        (Verdict::NonIdentity(index), Who::Program(program)) => {
            let Some(policy) = published.policies.policy(index) else { return page::failed(exchange) };
            let lifetime = lifetime(exchange, policy, app);
            match caller::program_token(exchange, published, program, policy.id, lifetime) {
                Some(token) => {
                    record::passed(exchange, published, policy, &who);
                    exchange.plane().token_uses.note(program.id, exchange.now);
                    let mut response = forward::send(
                        exchange,
                        published,
                        Assertion::Program { token: &token, program: Some(program) },
                    )
                    .await;
                    if !exchange.snapshot.organization.strict_service_tokens {
                        forward::remember(response.headers_mut(), app, &token, lifetime);
                    }
                    response
                }
                None => page::failed(exchange),
            }
        }
        (Verdict::NonIdentity(index), Who::Nobody | Who::Person(_)) => {
            let Some(policy) = published.policies.policy(index) else { return page::failed(exchange) };
            record::passed(exchange, published, policy, &who);
            let judged = exchange.certificate.clone();
            match judged.as_ref().and_then(|judged| Some((judged.outcome().ok()?, judged.until()))) {
                Some((certificate, until)) => machine(exchange, published, app, policy, certificate, until).await,
                // An address let the request in; there is nobody to name.
                None => forward::send(exchange, published, Assertion::None).await,
            }
        }
        (Verdict::Allow(index), Who::Person(signed)) => {
            let Some(policy) = published.policies.policy(index) else { return page::failed(exchange) };
            // Another policy than at sign-in may ask for more; the sign-in host asks it.
            let asks_more = policy.justification.is_some() || !policy.approval.is_empty();
            let moved = asks_more && signed.policy() != Some(policy.id);
            let rules = mfa(exchange, policy, app);
            if moved
                || approval::owed(exchange, published, policy, (signed.hash, signed.live.session()))
                || caller::owes_factor(rules.as_ref(), signed.live.session(), exchange.now)
                || !fits(signed.live.session(), app)
            {
                return denial::sign_in_for(exchange, published, app, policy.id);
            }
            record::passed(exchange, published, policy, &who);
            forward::send(exchange, published, Assertion::Person(signed)).await
        }
        (Verdict::SignIn | Verdict::Allow(_), Who::Program(program)) => {
            let why = "no Service Auth policy of the application covers this service token";
            let decision =
                Decision { program: Some(program.client_id.to_string()), ..Decision::because(why.to_owned()) };
            record::refused(exchange, published, &decision, "service_token");
            denial::forbidden_program(why)
        }
        (Verdict::SignIn | Verdict::Allow(_), Who::Nobody | Who::Person(_)) => {
            denial::sign_in(exchange, published, app, ended)
        }
        // A question that is asked at sign-in and was not: the sign-in host asks it.
        (Verdict::Needs(_), _) => denial::sign_in(exchange, published, app, None),
        (Verdict::Deny(denied), _) => refuse(exchange, published, app, denied, &who, trace.as_ref()),
    }
}

/// Lets a request through whose client is named by its certificate alone (reference section 2.8).
async fn machine(
    exchange: &mut Exchange,
    published: &Published,
    app: &SelfHosted,
    policy: &Policy,
    certificate: &ClientCertificate,
    until: i64,
) -> Response<Body> {
    let now = exchange.now.seconds();
    let left = Duration::from_secs(u64::try_from(until.saturating_sub(now)).unwrap_or_default());
    let lifetime = lifetime(exchange, policy, app).min(left);
    let Some(token) = caller::certificate_token(exchange, published, certificate, policy.id, lifetime) else {
        return page::failed(exchange);
    };
    let known = exchange.cookies(cookie::AUTHORIZATION).any(|text| *text == *token);
    let mut response = forward::send(exchange, published, Assertion::Program { token: &token, program: None }).await;
    // For the application to read; here it opens nothing without the certificate.
    if !known {
        forward::remember(response.headers_mut(), app, &token, lifetime);
    }
    response
}

fn refuse(
    exchange: &Exchange,
    published: &Published,
    app: &SelfHosted,
    denied: Denial,
    who: &Who,
    trace: Option<&Trace>,
) -> Response<Body> {
    let mut decision = Decision::denied(published, denied, trace);
    let connection = decision.of(who);
    record::refused(exchange, published, &decision, connection);
    match who {
        Who::Program(_) => denial::forbidden_program(&decision.reason),
        // Signing in gives nobody a certificate (reference section 2.8).
        Who::Nobody if published.policies.is_service_auth_only() && published.policies.reads_certificate() => {
            denial::nobody(exchange, app)
        }
        // Signing in helps nobody here; the browser is still sent there (reference section 2.3), unless the author said
        // otherwise.
        Who::Nobody if published.policies.is_service_auth_only() && app.denied.non_identity_url.is_none() => {
            denial::sign_in(exchange, published, app, None)
        }
        Who::Nobody if published.policies.policies().all(|policy| policy.decision != PolicyDecision::Allow) => {
            denial::nobody(exchange, app)
        }
        Who::Nobody => denial::denied(exchange, published, app, None),
        Who::Person(signed) => denial::denied(exchange, published, app, Some(&signed.live.session().identity)),
    }
}

/// Asks the policies of an application about a request.
pub(crate) async fn ask(exchange: &Exchange, published: &Published, who: &Who, trace: Option<&mut Trace>) -> Verdict {
    ask_about(exchange, published, who.into(), trace).await
}

/// Asks the policies of an application about a request, and the Workers that its outcome hangs on.
pub(crate) async fn ask_about(
    exchange: &Exchange,
    published: &Published,
    asker: Asker<'_>,
    mut trace: Option<&mut Trace>,
) -> Verdict {
    workers::settled(exchange, published, (asker, Occasion::Request), || {
        let snapshot = &*exchange.snapshot;
        let trace = trace.as_deref_mut();
        match asker {
            Asker::Nobody => evaluate(exchange, published, &Caller::default(), snapshot, trace),
            Asker::Program(program) => {
                let caller = Caller { service_token: Some(program.id), ..Caller::default() };
                evaluate(exchange, published, &caller, snapshot, trace)
            }
            Asker::Person(session) => {
                let caller = Caller { identity: Some(&session.identity), ..Caller::default() };
                evaluate(exchange, published, &caller, &session.frozen.with(snapshot), trace)
            }
        }
    })
    .await
}

fn evaluate(
    exchange: &Exchange,
    published: &Published,
    caller: &Caller<'_>,
    lookups: &dyn Lookups,
    trace: Option<&mut Trace>,
) -> Verdict {
    let headers = HeaderFacts::new(&exchange.headers);
    let head = RequestHead {
        application: published.application.id,
        application_name: &published.application.name,
        host: &exchange.host,
        method: exchange.method.as_str(),
        path: &exchange.path,
        query: exchange.query.as_deref(),
        headers: Some(&headers),
    };
    let context = RequestContext { request: Some(head), ..context(exchange) };
    let lookups = Heard { exchange, application: published.application.id, rest: lookups };
    published.policies.evaluate(caller, &context, &lookups, fresh(trace))
}

/// Asks the policies of an application about somebody who signs in: for the request that the sign-in began with, of which
/// everything is known but its fields, or for none in particular.
pub(crate) async fn foresee(
    exchange: &Exchange,
    published: &Published,
    (session, occasion): (&Session, Occasion<'_>),
    start: Option<&Start>,
    trace: &mut Trace,
) -> Outlook {
    let (path, query) = start.map_or(("/", None), |start| match start.back.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (start.back.as_str(), None),
    });
    let caller = Caller { identity: Some(&session.identity), ..Caller::default() };
    workers::settled(exchange, published, (Asker::Person(session), occasion), || {
        let request = start.map(|start| RequestHead {
            application: published.application.id,
            application_name: &published.application.name,
            host: &start.host,
            method: Method::GET.as_str(),
            path,
            query,
            headers: None,
        });
        let context = RequestContext { request, ..context(exchange) };
        let rest = &session.frozen.with(&*exchange.snapshot);
        let lookups = Heard { exchange, application: published.application.id, rest };
        published.policies.foresee(&caller, &context, &lookups, fresh(Some(trace)))
    })
    .await
}

/// Empties a trace, for what is asked again is explained once.
pub(crate) fn fresh(trace: Option<&mut Trace>) -> Option<&mut Trace> {
    let trace = trace?;
    trace.policies.clear();
    Some(trace)
}

/// What is known of a request besides its head.
pub(crate) fn context(exchange: &Exchange) -> RequestContext<'_> {
    RequestContext {
        ip: exchange.source(),
        country: None,
        certificate: exchange.client_certificate().and_then(Result::ok),
        device: None,
        risk: None,
        request: None,
    }
}

/// Tells whether the way a person signed in is one the application takes.
pub(crate) fn fits<'a>(session: &Session, door: impl Into<Door<'a>>) -> bool {
    let sign_in = door.into().sign_in;
    let identity = &session.identity;
    let chain = sign_in.chain.iter().all(|wanted| identity.step(*wanted).is_some());
    let allowed = &sign_in.providers;
    chain && (allowed.is_empty() || allowed.iter().any(|provider| identity.step(*provider).is_some()))
}

/// Returns the second factor a policy asks for here.
pub(crate) fn mfa<'a>(
    exchange: &Exchange,
    policy: &Policy,
    door: impl Into<Door<'a>>,
) -> Option<mfa_requirement::MfaRules> {
    mfa_requirement::effective(policy.mfa.as_ref(), door.into().mfa, &exchange.snapshot.organization.mfa)
}

/// The same for the request that a sign-in began with, which may ask for a proof that is fresher.
pub(crate) fn mfa_for<'a>(
    exchange: &Exchange,
    start: &Start,
    policy: &Policy,
    door: impl Into<Door<'a>>,
) -> Option<mfa_requirement::MfaRules> {
    let rules = mfa(exchange, policy, door);
    match start.factor_within {
        Some(seconds) => Some(mfa_requirement::MfaRules::within(rules, Duration::from_secs(seconds))),
        None => rules,
    }
}

/// Returns the second factor that is asked for at a door whatever policy covers somebody.
pub(crate) fn mfa_at<'a>(exchange: &Exchange, door: impl Into<Door<'a>>) -> Option<mfa_requirement::MfaRules> {
    mfa_requirement::effective(None, door.into().mfa, &exchange.snapshot.organization.mfa)
}

/// Returns how long a session at the application lasts.
pub(crate) fn lifetime<'a>(exchange: &Exchange, policy: &Policy, door: impl Into<Door<'a>>) -> Duration {
    /// A session that ends at once still has to reach the application.
    const SHORTEST: Duration = Duration::from_secs(5);
    let organization = exchange.snapshot.organization.session;
    app_session_length(None, policy.session, door.into().sign_in.session, organization).max(SHORTEST)
}

fn preflight(exchange: &Exchange, app: &SelfHosted) -> Option<PreflightAnswer> {
    let method = exchange.header("access-control-request-method")?;
    let origin = exchange.header("origin")?;
    (exchange.method == Method::OPTIONS).then(|| {
        let headers = exchange.header("access-control-request-headers");
        app.cors.preflight(&Preflight { origin, method, headers })
    })
}

fn allowed_preflight(headers: Vec<(&'static str, String)>) -> Response<Body> {
    let mut response = Response::new(empty_body());
    for (name, value) in headers {
        if let Ok(value) = http::HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().insert(header::CONTENT_LENGTH, http::HeaderValue::from_static("0"));
    response
}
