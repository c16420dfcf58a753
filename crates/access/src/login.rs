//! The sign-in host: choice of provider, passwords, callbacks, questions, sign-out.
//!
//! It orders the steps; what each means is `identity`'s. Invariants: a session is made fresh by every sign-in (nothing a
//! browser brought becomes one), a form or callback counts only in the browser that was given it, and a sign-in that
//! could not be written down did not happen.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderValue, Method, Response, StatusCode, header};
use identity::app_token;
use identity::application::{ApplicationKind, Door, SameSite};
use identity::claims::{self, ClaimsError, Established, SignInFacts};
use identity::cookie::{AUTHORIZATION, Cookie, SIGN_IN as SIGN_IN_COOKIE};
use identity::evaluation::{Answer, Frozen, Lookups, Need};
use identity::github::GithubError;
use identity::identity::{Gaps, Identity, ProviderClaims};
use identity::jose::encode;
use identity::provider::{OidcSettings, Protocol, Provider};
use identity::relying_party::{self, Callback, CallbackError, LoginRandom, begin, demand_contexts};
use identity::selector::ExternalEvaluation;
use identity::session::{Revoked, Session, SessionHash, SessionSecret};
use maud::{Markup, html};
use moka::sync::Cache;
use net::proxy::body::{Body, collect};
use types::{Email, ProviderId, Secret};
use url::Url;

use crate::approval;
use crate::config::AccessConfig;
use crate::endpoints;
use crate::exchange::Exchange;
use crate::gate;
use crate::issue;
use crate::language;
use crate::launcher;
use crate::ledger::Newcomer;
use crate::mfa;
use crate::page::{self, Frame};
use crate::passkey::{self, Refused};
use crate::password::Passwords;
use crate::pin;
use crate::provider::{ProviderError, Providers};
use crate::record;
use crate::scim;
use crate::session_table::Live;
use crate::sign_out;
use crate::snapshot::Published;
use crate::stages::OWN;
use crate::throttle::{self, Throttle};
use crate::ticket::{self, FORM, Form, SIGN_IN, START, SignIn, Start};
use crate::webauthn;
use crate::words::{Language, Message};

/// Life of the cookie of the sign-in host (reference section 2.1).
pub(crate) const COOKIE_LIFE: Duration = Duration::from_secs(4 * 3_600);
/// Longest form that is read.
pub(crate) const LONGEST_FORM: usize = 16 << 10;
/// Longest answer to the question of a policy, in characters.
pub(crate) const LONGEST_REASON: usize = 1_000;
const USER_AGENT: usize = 400;
/// Other services asked about one person at the same time.
const EVALUATIONS_AT_ONCE: usize = 8;

/// What sign-ins share on this node.
pub(crate) struct Logins {
    providers: Providers,
    passwords: Passwords,
    begun: Throttle<std::net::IpAddr>,
    pub(crate) wrong_by_source: Throttle<std::net::IpAddr>,
    wrong_by_address: Throttle<String>,
    /// Steps of a chain that were passed. Only somebody whom a provider vouched for makes an entry; a chain is finished
    /// at the node where it began.
    chains: Cache<String, Arc<Vec<Established>>>,
}

impl Logins {
    pub(crate) fn new(config: &AccessConfig) -> Self {
        Self {
            providers: Providers::new(config.provider_timeout),
            passwords: Passwords::new(),
            begun: Throttle::new(config.sign_ins_per_minute),
            wrong_by_source: Throttle::new(config.failures_per_minute),
            wrong_by_address: Throttle::new(config.failures_per_minute),
            chains: Cache::builder().max_capacity(10_000).time_to_live(Duration::from_secs(900)).build(),
        }
    }

    pub(crate) fn password_checks(&self) -> u64 {
        self.passwords.checked()
    }
}

/// Answers a request to the sign-in host.
pub(crate) async fn answer(exchange: &mut Exchange) -> Response<Body> {
    let name = exchange.path.strip_prefix(OWN).unwrap_or_default().to_owned();
    let reads = matches!(exchange.method, Method::GET | Method::HEAD);
    if let Some(rest) = name.strip_prefix(scim::PREFIX) {
        return Box::pin(scim::answer(exchange, rest)).await;
    }
    match (name.as_str(), reads) {
        ("certs", true) => endpoints::keys(exchange),
        ("language", true) => language::switch(exchange),
        ("callback", true) => callback(exchange).await,
        ("get-identity", true) => match session(exchange) {
            Some((_, live)) => endpoints::identity_document(exchange, &live),
            None => page::json(StatusCode::UNAUTHORIZED, &serde_json::json!({"error": "unauthenticated"})),
        },
        ("logout", _) if reads || exchange.method == Method::POST => logout(exchange).await,
        ("webauthn.js", true) => webauthn::script(),
        ("provider" | "password" | "passkey" | "pin" | "pin-code" | "justify", false)
            if exchange.method == Method::POST =>
        {
            post(exchange, &name).await
        }
        ("approval", true) => approval::wait(exchange).await,
        ("approve", true) => approval::show(exchange).await,
        ("approval-ask" | "approve-answer", false) if exchange.method == Method::POST => {
            match form_fields(exchange, LONGEST_FORM).await {
                Ok(fields) if name == "approval-ask" => approval::ask(exchange, &fields).await,
                Ok(fields) => approval::take(exchange, &fields).await,
                Err(response) => response,
            }
        }
        ("mfa" | "account", true) => mfa::get(exchange, name == "mfa").await,
        (action, false) if exchange.method == Method::POST && action.starts_with("mfa-") => {
            mfa::post(exchange, action).await
        }
        ("", true) if exchange.path == "/" => launcher::home(exchange).await,
        (path, true) => match path.strip_prefix("login/") {
            Some(host) => entry(exchange, host).await,
            None => page::nothing_here(exchange),
        },
        (_, false) => page::plain(StatusCode::METHOD_NOT_ALLOWED, "that method is not answered here"),
    }
}

/// The way in: straight on with a session, else the choice of providers.
async fn entry(exchange: &Exchange, host: &str) -> Response<Body> {
    let meta = exchange.parameter("meta");
    let start: Option<Start> = meta.and_then(|text| exchange.snapshot.seal.open(START, &text).ok());
    let start = start.filter(|start| start.host == host && exchange.now.seconds() < start.expires);
    let start = start.or_else(|| launcher::start(exchange, host));
    let Some(start) = start else {
        // Without a request to go back to the application is asked for anew; a host that is none is nobody's.
        let known = exchange.snapshot.routes.has_host(host) && identity::routes::host_of(host).is_ok();
        return match exchange.site(host).filter(|_| known) {
            Some(site) => page::redirect(site.as_str()),
            None => page::nothing_here(exchange),
        };
    };
    exchange.belongs_to(&start);
    let snapshot = Arc::clone(&exchange.snapshot);
    let Some((published, app)) = application(&snapshot, &start) else { return page::nothing_here(exchange) };
    if let Some((hash, live)) = session(exchange)
        && gate::fits(live.session(), app)
        && launcher::is_fresh(exchange, published, &live).await
    {
        let live = match answered(exchange, published, hash, live).await {
            Ok(live) => live,
            Err(response) => return response,
        };
        // What a sign-in for another application did not ask the provider for may still be proved there.
        if let Some(provider) = issue::context_owed(exchange, &start, published, live.session()).await
            && app.sign_in.chain.is_empty()
            && let Some(settings) = away(&provider)
        {
            return leave(exchange, &start, &provider, settings, None).await;
        }
        return issue::enter(exchange, &start, hash, &live, None).await;
    }
    let ways = ways(exchange, app, &[]);
    let auto = app.sign_in.auto_redirect || exchange.snapshot.organization.auto_redirect;
    if let [only] = ways.as_slice()
        && auto
        && let Some(settings) = away(only)
    {
        return leave(exchange, &start, only, settings, None).await;
    }
    choice(exchange, (&start, published, app), &ways, None, "")
}

/// Finds what a sign-in is for, and how people get into it.
pub(crate) fn application<'s>(snapshot: &'s crate::Snapshot, start: &Start) -> Option<(&'s Published, Door<'s>)> {
    let found = snapshot.applications.iter().find(|published| published.application.id == start.application)?;
    let here = match &found.application.kind {
        // Whoever answers a request signs in at this door without going through it.
        ApplicationKind::SelfHosted(_) | ApplicationKind::McpPortal(_) if start.approves.is_some() => {
            snapshot.is_sign_in_host(&start.host)
        }
        ApplicationKind::SelfHosted(app) | ApplicationKind::McpPortal(app) => {
            app.destinations.iter().any(|pattern| pattern.covers_host(&start.host))
        }
        ApplicationKind::Launcher(_) => snapshot.is_sign_in_host(&start.host),
        ApplicationKind::Bookmark(_) | ApplicationKind::McpServer(_) => false,
    };
    here.then(|| found.application.door()).flatten().map(|door| (found, door))
}

/// Finds the organisation's session of this browser.
pub(crate) fn session(exchange: &Exchange) -> Option<(SessionHash, Arc<Live>)> {
    exchange.cookies(AUTHORIZATION).take(4).find_map(|text| {
        let hash = SessionSecret::parse(text)?.hash();
        let idle = exchange.snapshot.organization.idle;
        Some((hash, exchange.plane().sessions.find(hash, idle, exchange.now).ok()?))
    })
}

/// Returns how people are sent to a provider, if it is one they are sent to.
fn away(provider: &Provider) -> Option<&OidcSettings> {
    match &provider.protocol {
        Protocol::Oidc(settings) => Some(settings),
        Protocol::Github(settings) => Some(&settings.oauth),
        Protocol::OneTimePin | Protocol::BuiltIn => None,
    }
}

/// Returns the providers a person may choose among for an application, in order.
fn ways(exchange: &Exchange, app: Door<'_>, passed: &[Established]) -> Vec<Arc<Provider>> {
    if let Some(next) = claims::next_step(&app.sign_in.chain, passed) {
        return exchange.snapshot.provider(next).into_iter().cloned().collect();
    }
    let allowed = &app.sign_in.providers;
    let all = exchange.snapshot.providers.iter();
    all.filter(|provider| allowed.is_empty() || allowed.contains(&provider.id)).cloned().collect()
}

/// The page where people choose how to sign in. `address` stands in the field for it.
fn choice(
    exchange: &Exchange,
    (start, published, app): (&Start, &Published, Door<'_>),
    ways: &[Arc<Provider>],
    problem: Option<(StatusCode, Message)>,
    address: &str,
) -> Response<Body> {
    let language = exchange.language(&app.sign_in.languages);
    let Some((key, cookie)) = browser(exchange) else { return page::failed(exchange) };
    let form = |provider: Option<ProviderId>| {
        let expires = exchange.now.after(COOKIE_LIFE).seconds();
        let form = Form { key: key.clone(), start: start.clone(), provider, mailed: None, expires };
        exchange.snapshot.seal.seal(FORM, &form).unwrap_or_default()
    };
    let status = problem.map_or(StatusCode::OK, |(status, _)| status);
    let frame = Frame { exchange, language, status, title: Message::SignIn.text(language) };
    let mut passwords = ways.iter().filter(|provider| matches!(provider.protocol, Protocol::BuiltIn));
    let mut by_mail = ways.iter().find(|provider| matches!(provider.protocol, Protocol::OneTimePin));
    let others: Vec<_> = ways.iter().filter(|provider| away(provider).is_some()).collect();
    let password = passwords.next();
    // Who can do nothing else is asked at once.
    let asked = by_mail.take_if(|_| ways.len() == 1);
    let passkey = password.and_then(|provider| Some((form(Some(provider.id)), passkey::ask(exchange, &key)?)));
    let mut response = frame.render_asking(passkey.is_some(), &html! {
        p {
            @if matches!(published.application.kind, ApplicationKind::Launcher(_)) {
                (Message::SignInHere.text(language))
            } @else {
                (Message::SignInTo.with(language, &[("application", &html! { strong { (published.application.name) } })]))
            }
        }
        @if let Some((_, problem)) = problem { p.error #problem role="alert" { (problem.text(language)) } }
        @if ways.is_empty() { p.error { (Message::NoProvider.text(language)) } }
        @if let Some(provider) = password {
            @let refused = !address.is_empty() && problem.is_some();
            (password_form(language, &form(Some(provider.id)), address, refused))
        }
        @if let Some(provider) = asked { (pin::address_form(language, &form(Some(provider.id)), address, false)) }
        @if let Some((state, ask)) = &passkey {
            (ask.form(language, "passkey", state, &html! {
                button.quiet type="submit" { (Message::PasskeySignIn.text(language)) }
            }))
        }
        @if password.is_some() && (!others.is_empty() || by_mail.is_some()) { p.or { (Message::Or.text(language)) } }
        @for provider in others {
            form method="post" action=(format!("{OWN}provider")) {
                input type="hidden" name="state" value=(form(Some(provider.id)));
                button.quiet[password.is_some()] type="submit" {
                    (Message::ContinueWith.text(language)) " " (provider.name)
                }
            }
        }
        @if let Some(provider) = by_mail {
            form method="post" action=(format!("{OWN}provider")) {
                input type="hidden" name="state" value=(form(Some(provider.id)));
                button.quiet[ways.len() > 1] type="submit" { (Message::PinByMail.text(language)) }
            }
        }
    });
    set_cookie(&mut response, SIGN_IN_COOKIE, &cookie, COOKIE_LIFE);
    response
}

/// `refused` tells that an attempt with this address failed.
fn password_form(language: Language, state: &str, email: &str, refused: bool) -> Markup {
    let (invalid, told) = (refused.then_some("true"), refused.then_some("problem"));
    html! {
        form method="post" action=(format!("{OWN}password")) {
            input type="hidden" name="state" value=(state);
            label for="email" { (Message::Email.text(language)) }
            input id="email" name="email" type="email" autocomplete="username" required value=(email)
                maxlength="254" aria-invalid=[invalid] aria-describedby=[told] autofocus[email.is_empty()];
            label for="password" { (Message::Password.text(language)) }
            input id="password" name="password" type="password" autocomplete="current-password" required
                maxlength="1024" aria-invalid=[invalid] aria-describedby=[told] autofocus[!email.is_empty()];
            button type="submit" { (Message::SignIn.text(language)) }
        }
    }
}

/// The page with the question a policy asks.
pub(crate) fn justification_page(
    exchange: &Exchange,
    start: &Start,
    published: &Published,
    app: Door<'_>,
    prompt: &str,
) -> Response<Body> {
    let language = exchange.language(&app.sign_in.languages);
    let Some((key, cookie)) = browser(exchange) else { return page::failed(exchange) };
    let expires = exchange.now.after(COOKIE_LIFE).seconds();
    let form = Form { key, start: start.clone(), provider: None, mailed: None, expires };
    let state = exchange.snapshot.seal.seal(FORM, &form).unwrap_or_default();
    let frame = Frame { exchange, language, status: StatusCode::OK, title: Message::Justify.text(language) };
    let mut response = frame.render(&html! {
        p { strong { (published.application.name) } }
        form method="post" action=(format!("{OWN}justify")) {
            input type="hidden" name="state" value=(state);
            label for="reason" { (prompt) }
            textarea id="reason" name="reason" rows="3" required maxlength=(LONGEST_REASON) autofocus {}
            button type="submit" { (Message::Continue.text(language)) }
        }
    });
    set_cookie(&mut response, SIGN_IN_COOKIE, &cookie, COOKIE_LIFE);
    response
}

/// Reads the cookie of the sign-in host.
pub(crate) fn sign_in(exchange: &Exchange) -> Option<SignIn> {
    let mut found = exchange.cookies(SIGN_IN_COOKIE).take(4);
    let opened = found.find_map(|text| exchange.snapshot.seal.open::<SignIn>(SIGN_IN, text).ok());
    opened.filter(|sign_in| exchange.now.seconds() < sign_in.expires)
}

/// Returns the key of this browser, kept or drawn, and the cookie that holds it. What the cookie held besides stays.
pub(crate) fn browser(exchange: &Exchange) -> Option<(String, String)> {
    let expires = exchange.now.after(COOKIE_LIFE).seconds();
    let kept = match sign_in(exchange) {
        Some(kept) => SignIn { expires, ..kept },
        None => SignIn { key: encode(&ticket::random()?), start: None, pending: None, passed: None, expires },
    };
    let cookie = exchange.snapshot.seal.seal(SIGN_IN, &kept).ok()?;
    Some((kept.key, cookie))
}

/// Goes to a provider.
async fn leave(
    exchange: &Exchange,
    start: &Start,
    provider: &Provider,
    settings: &OidcSettings,
    passed: Option<String>,
) -> Response<Body> {
    let logins = &exchange.plane().logins;
    if !logins.begun.admit(throttle::source(exchange.source())) {
        return too_many(exchange);
    }
    let metadata = match logins.providers.metadata(&exchange.snapshot.providers_upstream, settings).await {
        Ok(metadata) => metadata,
        Err(error) => return provider_failed(exchange, start, provider, &error),
    };
    let (Some(state), Some(nonce), Some(verifier), Some(key), Some(redirect)) =
        (ticket::random(), ticket::random(), ticket::random(), ticket::random(), redirect_uri(exchange))
    else {
        return page::failed(exchange);
    };
    let random = LoginRandom { state, nonce, verifier };
    let (mut address, pending) = begin(provider.id, settings, &metadata, &redirect, &random, exchange.now.seconds());
    if settings.contexts
        && let Some((published, _)) = application(&exchange.snapshot, start)
    {
        demand_contexts(&mut address, &published.policies.auth_contexts(provider.id));
    }
    let key = sign_in(exchange).map_or_else(|| encode(&key), |kept| kept.key);
    let expires = exchange.now.after(COOKIE_LIFE).seconds();
    let kept = SignIn { key, start: Some(start.clone()), pending: Some(pending), passed, expires };
    let Ok(cookie) = exchange.snapshot.seal.seal(SIGN_IN, &kept) else { return page::failed(exchange) };
    let mut response = page::redirect(address.as_str());
    set_cookie(&mut response, SIGN_IN_COOKIE, &cookie, COOKIE_LIFE);
    response
}

fn redirect_uri(exchange: &Exchange) -> Option<Url> {
    let mut address = exchange.site(&exchange.snapshot.organization.auth_domain)?;
    address.set_path(&format!("{OWN}callback"));
    Some(address)
}

/// The way back from a provider.
async fn callback(exchange: &Exchange) -> Response<Body> {
    let Some(SignIn { start: Some(start), pending: Some(pending), passed, .. }) = sign_in(exchange) else {
        return stale(exchange, None);
    };
    exchange.belongs_to(&start);
    let snapshot = Arc::clone(&exchange.snapshot);
    let Some((published, app)) = application(&snapshot, &start) else { return page::nothing_here(exchange) };
    let provider = snapshot.provider(pending.provider);
    let Some((provider, settings)) = provider.and_then(|provider| Some((provider, away(provider)?))) else {
        return stale(exchange, issue::return_address(exchange, &start));
    };
    let Some(redirect) = redirect_uri(exchange) else { return page::failed(exchange) };
    let [state, code, iss, error] = ["state", "code", "iss", "error"].map(|name| exchange.parameter(name));
    let answer =
        Callback { state: state.as_deref(), code: code.as_deref(), iss: iss.as_deref(), error: error.as_deref() };
    let pool = &snapshot.providers_upstream;
    let logins = &exchange.plane().logins;
    let now = exchange.now.seconds();
    let established = match &provider.protocol {
        Protocol::Github(github) => {
            let github = (provider.id, &**github);
            logins.providers.github(pool, github, &answer, &pending, &redirect, now).await
        }
        Protocol::Oidc(_) | Protocol::OneTimePin | Protocol::BuiltIn => {
            let claims = logins.providers.claims(pool, settings, &answer, &pending, &redirect, now).await;
            claims.and_then(|claims| Ok(claims::establish(provider.id, settings, &claims)?))
        }
    };
    match established {
        Ok(established) => complete(exchange, &start, published, app, established, passed).await,
        Err(ProviderError::Callback(CallbackError::State | CallbackError::Expired)) => {
            stale(exchange, issue::return_address(exchange, &start))
        }
        Err(ProviderError::Claims(error) | ProviderError::Github(GithubError::Claims(error))) => {
            let kind = provider.kind.as_str();
            record::failed_login(exchange, Some(published), &start.host, "", kind, error.to_string());
            nobody(exchange, error)
        }
        Err(error) => provider_failed(exchange, &start, provider, &error),
    }
}

fn nobody(exchange: &Exchange, error: ClaimsError) -> Response<Body> {
    let text = match error {
        ClaimsError::NoEmail | ClaimsError::Unverified => Message::NoEmail,
        ClaimsError::OtherPerson => Message::OtherPerson,
        ClaimsError::Unfinished => Message::StaleText,
    };
    page::message(exchange, StatusCode::FORBIDDEN, Message::ProviderFailed, text, None)
}

fn provider_failed(exchange: &Exchange, start: &Start, provider: &Provider, error: &ProviderError) -> Response<Body> {
    tracing::warn!(error = error as &dyn std::error::Error, provider = %provider.id, "a sign-in at a provider failed");
    let published = application(&exchange.snapshot, start).map(|(published, _)| published);
    record::failed_login(exchange, published, &start.host, "", provider.kind.as_str(), error.to_string());
    let refused = matches!(error, ProviderError::Callback(CallbackError::Refused(_)));
    let (status, text) = if refused {
        (StatusCode::FORBIDDEN, Message::ProviderRefused)
    } else {
        (StatusCode::BAD_GATEWAY, Message::ProviderFailedText)
    };
    let again = issue::return_address(exchange, start);
    let link = again.as_deref().map(|address| (address, Message::SignInAgain));
    page::message(exchange, status, Message::ProviderFailed, text, link)
}

/// One form of ours.
async fn post(exchange: &mut Exchange, name: &str) -> Response<Body> {
    let longest = if name == "passkey" { webauthn::LONGEST_FORM } else { LONGEST_FORM };
    let fields = match form_fields(exchange, longest).await {
        Ok(fields) => fields,
        Err(response) => return response,
    };
    let field = |name: &str| field(&fields, name);
    let form: Option<Form> = exchange.snapshot.seal.open(FORM, &field("state").unwrap_or_default()).ok();
    let form = form.filter(|form| exchange.now.seconds() < form.expires);
    let Some(form) = form.filter(|form| is_own(exchange, &form.key)) else { return stale(exchange, None) };
    exchange.belongs_to(&form.start);
    let snapshot = Arc::clone(&exchange.snapshot);
    let Some((published, app)) = application(&snapshot, &form.start) else { return page::nothing_here(exchange) };
    let passed = sign_in(exchange).and_then(|kept| kept.passed);
    if name == "justify" {
        let Some((hash, live)) = session(exchange) else {
            return stale(exchange, issue::return_address(exchange, &form.start));
        };
        return issue::enter(exchange, &form.start, hash, &live, reason(&fields)).await;
    }
    let steps = steps(exchange, passed.as_deref());
    let ways = ways(exchange, app, &steps);
    let chosen = form.provider.and_then(|wanted| ways.iter().find(|provider| provider.id == wanted));
    let Some(provider) = chosen else { return stale(exchange, issue::return_address(exchange, &form.start)) };
    match (&provider.protocol, name) {
        (Protocol::Oidc(_) | Protocol::Github(_), "provider") => match away(provider) {
            Some(settings) => leave(exchange, &form.start, provider, settings, passed).await,
            None => stale(exchange, issue::return_address(exchange, &form.start)),
        },
        (Protocol::BuiltIn, "password") => {
            let email = field("email").unwrap_or_default();
            let secret = Secret::new(field("password").unwrap_or_default());
            let typed: String = email.trim().chars().take(254).collect();
            match password(exchange, provider, &typed, secret).await {
                Ok(established) => complete(exchange, &form.start, published, app, established, passed).await,
                Err(problem) => {
                    let reason = problem.1.english().to_owned();
                    let kind = provider.kind.as_str();
                    record::failed_login(exchange, Some(published), &form.start.host, &typed, kind, reason);
                    choice(exchange, (&form.start, published, app), &ways, Some(problem), &typed)
                }
            }
        }
        (Protocol::BuiltIn, "passkey") => {
            let outcome = with_passkey(exchange, provider, &form.key, &fields).await;
            let (status, text) = match outcome {
                Ok(established) => {
                    return complete(exchange, &form.start, published, app, established, passed).await;
                }
                Err(Refused::Ledger(error)) => return endpoints::unavailable(exchange, &error),
                Err(Refused::Told(status, text)) => (status, text),
            };
            let (kind, reason) = (provider.kind.as_str(), text.english().to_owned());
            record::failed_login(exchange, Some(published), &form.start.host, "", kind, reason);
            choice(exchange, (&form.start, published, app), &ways, Some((status, text)), "")
        }
        (Protocol::OneTimePin, "provider" | "pin" | "pin-code") => {
            let at = pin::At { form: &form, published, app, provider, steps: &steps };
            match pin::post(exchange, &at, name, &fields).await {
                Ok(established) => complete(exchange, &form.start, published, app, established, passed).await,
                Err(response) => response,
            }
        }
        _ => stale(exchange, issue::return_address(exchange, &form.start)),
    }
}

/// Reads a form.
pub(crate) async fn form_fields(exchange: &Exchange, longest: usize) -> Result<Bytes, Response<Body>> {
    let within = exchange.plane().config.head_timeout;
    let body = collect(exchange.take_body(), longest);
    match tokio::time::timeout(within, body).await {
        Ok(Some(fields)) => Ok(fields),
        Ok(None) | Err(_) => Err(page::plain(StatusCode::BAD_REQUEST, "the form is too large or did not arrive")),
    }
}

/// Tells whether the browser that sends a form is the one that was given it, by the form's key; and browsers say where a form
/// comes from.
pub(crate) fn is_own(exchange: &Exchange, key: &str) -> bool {
    let site = exchange.site(&exchange.host).map(|site| site.origin().ascii_serialization());
    let foreign = exchange.header("origin").is_some_and(|origin| origin != "null" && Some(origin) != site.as_deref());
    !foreign && sign_in(exchange).is_some_and(|kept| kept.key == key)
}

/// Reads what somebody said they need access for.
pub(crate) fn reason(fields: &Bytes) -> Option<String> {
    let typed = field(fields, "reason").unwrap_or_default();
    let reason: String = typed.trim().chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect();
    (!reason.is_empty()).then_some(reason)
}

/// Checks a passkey; wrong ones are counted by source, as passwords are.
async fn with_passkey(
    exchange: &Exchange,
    provider: &Provider,
    key: &str,
    fields: &Bytes,
) -> Result<Established, Refused> {
    let wrong = &exchange.plane().logins.wrong_by_source;
    let Some(attempt) = wrong.attempt(throttle::source(exchange.source())) else {
        return Err(Refused::Told(StatusCode::TOO_MANY_REQUESTS, Message::TooMany));
    };
    let established = passkey::sign_in(exchange, provider, key, fields).await?;
    attempt.take_back();
    Ok(established)
}

pub(crate) fn field(form: &Bytes, name: &str) -> Option<String> {
    url::form_urlencoded::parse(form).find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}

/// Checks an address and password.
///
/// # Security
/// Whether the address is anybody's shows neither in the answer nor in its time; wrong ones are counted by source and by
/// address, and an address that is nobody's is counted like any other.
async fn password(
    exchange: &Exchange,
    provider: &Provider,
    email: &str,
    secret: Secret<String>,
) -> Result<Established, (StatusCode, Message)> {
    let logins = &exchange.plane().logins;
    let source = throttle::source(exchange.source());
    let address = email.to_lowercase();
    let too_many = (StatusCode::TOO_MANY_REQUESTS, Message::TooMany);
    let attempt = logins.wrong_by_source.attempt(source).ok_or(too_many)?;
    if !logins.wrong_by_address.admit(address.clone()) {
        return Err(too_many);
    }
    let parsed: Option<Email> = address.parse().ok();
    let person = parsed.as_ref().and_then(|email| exchange.snapshot.people.get(email));
    let hash = person.map(|person| person.password.clone());
    let right = logins.passwords.verify(secret, hash).await.map_err(|_| too_many)?;
    let (true, Some(email), Some(person)) = (right, parsed, person) else {
        return Err((StatusCode::UNAUTHORIZED, Message::WrongPassword));
    };
    attempt.take_back();
    logins.wrong_by_address.forget(&address);
    let claims = ProviderClaims { provider: provider.id, groups: [].into(), claims: [].into(), gaps: Gaps::NONE };
    Ok(Established { email, name: person.name.clone(), amr: vec!["pwd".into()], claims })
}

fn steps(exchange: &Exchange, passed: Option<&str>) -> Vec<Established> {
    let chains = &exchange.plane().logins.chains;
    passed.and_then(|key| chains.get(key)).map(|steps| steps.to_vec()).unwrap_or_default()
}

/// A provider vouched for somebody: on to the next step of the chain, or to a session.
async fn complete(
    exchange: &Exchange,
    start: &Start,
    published: &Published,
    app: Door<'_>,
    established: Established,
    passed: Option<String>,
) -> Response<Body> {
    let mut steps = if app.sign_in.chain.is_empty() { Vec::new() } else { steps(exchange, passed.as_deref()) };
    let established = match vouched(exchange, published, start, established).await {
        Ok(established) => established,
        Err(response) => return response,
    };
    if let Err(error) = claims::chain(&mut steps, established) {
        return nobody(exchange, error);
    }
    if claims::next_step(&app.sign_in.chain, &steps).is_some() {
        return next(exchange, start, published, app, steps);
    }
    let (Some(first), Some(random)) = (steps.first().cloned(), ticket::random()) else {
        return page::failed(exchange);
    };
    let Some(provider) = exchange.snapshot.provider(first.claims.provider) else { return page::failed(exchange) };
    let user_agent: String = exchange.header("user-agent").unwrap_or_default().chars().take(USER_AGENT).collect();
    let newcomer = Newcomer {
        email: &first.email,
        name: &first.name,
        provider: provider.id,
        ip: exchange.source(),
        user_agent: &user_agent,
    };
    let ledger = &exchange.plane().ledger;
    let user = match ledger.person(newcomer).await {
        Ok(user) => user,
        Err(error) => return endpoints::unavailable(exchange, &error),
    };
    let facts = SignInFacts {
        user,
        provider_type: provider.kind,
        signed_in: exchange.now.seconds(),
        ip: exchange.source(),
        country: None,
    };
    let identity = match claims::assemble(&app.sign_in.chain, steps, facts) {
        Ok(identity) => Arc::new(identity),
        Err(error) => return nobody(exchange, error),
    };
    let frozen = Arc::new(questions(exchange, &identity).await);
    let issued = exchange.plane().sessions.stamp(exchange.now);
    let session = Session::start(identity, frozen, exchange.snapshot.organization.session, issued);
    let secret = SessionSecret::of(random);
    let hash = secret.hash();
    if let Err(error) = ledger.start(hash, &session, newcomer).await {
        return endpoints::unavailable(exchange, &error);
    }
    let sessions = &exchange.plane().sessions;
    let kept = sessions.insert(hash, session);
    let found = sessions.find(hash, exchange.snapshot.organization.idle, exchange.now);
    let (true, Ok(live)) = (kept, found) else {
        let full = crate::LedgerError::Unavailable("no room for another session".to_owned());
        return endpoints::unavailable(exchange, &full);
    };
    exchange.plane().counters.sign_ins.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut response = issue::enter(exchange, start, hash, &live, None).await;
    set_cookie(&mut response, AUTHORIZATION, &secret.text(), exchange.snapshot.organization.session);
    // A page that follows carries a form of this browser; a redirect ends what the cookie was for.
    if response.status() == StatusCode::FOUND {
        endpoints::forget(&mut response, &[SIGN_IN_COOKIE]);
    }
    response
}

/// Holds what a provider says against what its directory says: whoever is inactive there is not let in, and groups are
/// those of the directory where it is set to keep them up to date.
async fn vouched(
    exchange: &Exchange,
    published: &Published,
    start: &Start,
    mut established: Established,
) -> Result<Established, Response<Body>> {
    let Some(provider) = exchange.snapshot.provider(established.claims.provider) else {
        return Err(page::failed(exchange));
    };
    if !provider.scim.enabled {
        return Ok(established);
    }
    let directory = &exchange.plane().directory;
    let standing = match directory.standing(provider, &established.email, &established.claims.groups).await {
        Ok(standing) => standing,
        Err(error) => {
            return Err(endpoints::unavailable(exchange, &crate::LedgerError::Unavailable(error.to_string())));
        }
    };
    if standing.inactive && provider.scim.deprovision {
        let (email, kind) = (established.email.as_str(), provider.kind.as_str());
        let reason = "the provider's directory says that the person is inactive".to_owned();
        record::failed_login(exchange, Some(published), &start.host, email, kind, reason);
        return Err(endpoints::unavailable(exchange, &crate::LedgerError::Deactivated));
    }
    if let Some(groups) = standing.groups {
        established.claims.groups = groups;
    }
    Ok(established)
}

/// The page of the next step of a chain.
fn next(
    exchange: &Exchange,
    start: &Start,
    published: &Published,
    app: Door<'_>,
    steps: Vec<Established>,
) -> Response<Body> {
    let ways = ways(exchange, app, &steps);
    let (Some(random), Some((key, _))) = (ticket::random(), browser(exchange)) else { return page::failed(exchange) };
    let passed = encode(&random);
    let address = steps.first().map(|first| first.email.clone());
    exchange.plane().logins.chains.insert(passed.clone(), Arc::new(steps));
    let expires = exchange.now.after(COOKIE_LIFE).seconds();
    let kept = SignIn { key, start: Some(start.clone()), pending: None, passed: Some(passed), expires };
    let Ok(cookie) = exchange.snapshot.seal.seal(SIGN_IN, &kept) else { return page::failed(exchange) };
    let address = address.as_ref().map(Email::as_str).unwrap_or_default();
    let mut response = choice(exchange, (start, published, app), &ways, None, address);
    response.headers_mut().remove(header::SET_COOKIE);
    set_cookie(&mut response, SIGN_IN_COOKIE, &cookie, COOKIE_LIFE);
    response
}

/// Asks everything that every application's policies want to know at sign-in, once, so that one session opens them all.
async fn questions(exchange: &Exchange, identity: &Identity) -> Frozen {
    let mut frozen = Frozen::default();
    let mut needs: Vec<Need> =
        exchange.snapshot.applications.iter().flat_map(|published| published.policies.login_questions()).collect();
    needs.sort();
    needs.dedup();
    let shown = app_token::identity_document(exchange.snapshot.account, identity, &gate::context(exchange), 1);
    let answers = futures_util::stream::iter(needs).map(|need| {
        let shown = &shown;
        async move {
            let answer = match &need {
                Need::EmailList(list) => exchange.snapshot.email_list(*list, &identity.email),
                Need::External(evaluation) => evaluated(exchange, evaluation, shown).await,
                Need::IpList(_) | Need::Worker(_) | Need::Request => Answer::NotAsked,
            };
            (need, answer)
        }
    });
    let mut answers = std::pin::pin!(answers.buffered(EVALUATIONS_AT_ONCE));
    while let Some((need, answer)) = answers.next().await {
        frozen.keep(need, answer);
    }
    frozen
}

/// Asks another service about a person. An answer that does not count, or none in time, is none: it neither helps an
/// `include` nor lets anybody past an `exclude`.
async fn evaluated(exchange: &Exchange, evaluation: &ExternalEvaluation, shown: &serde_json::Value) -> Answer {
    let (snapshot, providers) = (&exchange.snapshot, &exchange.plane().logins.providers);
    let (pool, now) = (&snapshot.providers_upstream, exchange.now.seconds());
    match providers.evaluate(pool, evaluation, &snapshot.keys, shown, now).await {
        Ok(true) => Answer::Yes,
        Ok(false) => Answer::No,
        Err(error) => {
            let service = evaluation.evaluate_url.host_str().unwrap_or_default();
            tracing::warn!(error = &error as &dyn std::error::Error, service, "an external evaluation gave no answer");
            Answer::Broken
        }
    }
}

/// Asks what a session that is older than a policy has no answer to.
pub(crate) async fn answered(
    exchange: &Exchange,
    published: &Published,
    hash: SessionHash,
    live: Arc<Live>,
) -> Result<Arc<Live>, Response<Body>> {
    let session = live.session();
    if !has_unanswered(exchange, published, session) {
        return Ok(live);
    }
    let mut renewed = session.clone();
    renewed.frozen = Arc::new(questions(exchange, &session.identity).await);
    let plane = exchange.plane();
    if let Err(error) = plane.ledger.change(hash, &renewed).await {
        return Err(endpoints::unavailable(exchange, &error));
    }
    plane.sessions.insert(hash, renewed);
    plane.sessions.find(hash, exchange.snapshot.organization.idle, exchange.now).map_err(|_| stale(exchange, None))
}

fn has_unanswered(exchange: &Exchange, published: &Published, session: &Session) -> bool {
    let lookups = session.frozen.with(&*exchange.snapshot);
    published.policies.login_questions().into_iter().any(|need| match need {
        Need::EmailList(list) => lookups.email_list(list, &session.identity.email) == Answer::NotAsked,
        Need::External(external) => lookups.external(&external) == Answer::NotAsked,
        Need::IpList(_) | Need::Worker(_) | Need::Request => false,
    })
}

/// Ends the organisation's session, and with it those at every application; the one at the provider by a link, or at once
/// where that was asked for. A form is only the answer to whether somebody means to sign out everywhere.
async fn logout(exchange: &Exchange) -> Response<Body> {
    let mut provider = None;
    let everywhere = exchange.parameter("everywhere").is_some();
    let confirms = exchange.method == Method::POST;
    let found = session(exchange);
    if confirms {
        let Some((hash, _)) = found else { return stale(exchange, None) };
        match sign_out::is_confirmed(exchange, hash).await {
            Ok(true) if everywhere => {}
            Ok(_) => return stale(exchange, None),
            Err(response) => return response,
        }
    }
    if let Some((hash, live)) = found {
        if everywhere && !confirms && !sign_out::is_meant(exchange) {
            return sign_out::ask(exchange, hash);
        }
        let user = live.session().identity.user;
        let what = if everywhere { Revoked::User(user) } else { Revoked::Session(hash) };
        if let Err(error) = endpoints::revoke(exchange, what).await {
            return endpoints::unavailable(exchange, &error);
        }
        record::logout(exchange, &live.session().identity);
        provider = provider_logout(exchange, &live).await;
    }
    let application = exchange.parameter("to").and_then(|id| {
        let wanted = exchange.snapshot.applications.iter().find(|app| app.application.id.to_string() == id)?;
        let pattern = wanted.self_hosted()?.destinations.iter().find(|pattern| pattern.has_exact_host())?;
        exchange.site(pattern.host()).map(String::from)
    });
    let launcher = launcher::address(exchange);
    let mut response = match (&provider, &application) {
        (Some(provider), _) if exchange.parameter("provider").is_some() => page::redirect(provider.as_str()),
        (provider, application) => {
            let application = application.as_deref().map(|address| (address, Message::SignInAgain));
            let link = application.or(provider.as_ref().map(|address| (address.as_str(), Message::SignOutProvider)));
            let link = link.or(launcher.as_ref().map(|address| (address.as_str(), Message::SignInAgain)));
            page::message(exchange, StatusCode::OK, Message::SignedOut, Message::SignedOutText, link)
        }
    };
    endpoints::forget(&mut response, &[AUTHORIZATION, SIGN_IN_COOKIE]);
    response
}

/// Returns where the provider that named a person signs them out (OpenID Connect RP-Initiated Logout 1.0), if it says so
/// and answers. It asks for itself whether the person means it: ID tokens are not kept, so none is shown to it.
async fn provider_logout(exchange: &Exchange, live: &Live) -> Option<Url> {
    let snapshot = &exchange.snapshot;
    let Protocol::Oidc(settings) = &snapshot.provider(live.session().identity.provider)?.protocol else { return None };
    let metadata = exchange.plane().logins.providers.metadata(&snapshot.providers_upstream, settings).await;
    let metadata = metadata.inspect_err(|error| tracing::warn!(%error, "a provider cannot be signed out of")).ok()?;
    let mut back = exchange.site(&snapshot.organization.auth_domain)?;
    back.set_path(&format!("{OWN}logout"));
    relying_party::logout(settings, &metadata, None, &back)
}

/// The page for a step that does not belong to this browser or came too late.
pub(crate) fn stale(exchange: &Exchange, address: Option<String>) -> Response<Body> {
    let link = address.as_deref().map(|address| (address, Message::OpenApp));
    page::message(exchange, StatusCode::BAD_REQUEST, Message::Stale, Message::StaleText, link)
}

fn too_many(exchange: &Exchange) -> Response<Body> {
    page::message(exchange, StatusCode::TOO_MANY_REQUESTS, Message::ProviderFailed, Message::TooMany, None)
}

pub(crate) fn set_cookie(response: &mut Response<Body>, name: &str, value: &str, life: Duration) {
    let cookie = Cookie::own(name, value, life, SameSite::None).header();
    match cookie.ok().and_then(|text| HeaderValue::try_from(text).ok()) {
        Some(value) => {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
        None => tracing::error!(name, "a cookie could not be written"),
    }
}
