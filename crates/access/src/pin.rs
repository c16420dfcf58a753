//! Signing in with a code that is mailed: the page that asks for an address, the page that asks for the code.
//!
//! Which code counts is `identity::pin`'s. Invariants: every address is answered in the same words after the same work,
//! whether or not it may sign in here or is anybody's; a guess is written down before it is answered, so that a code works
//! once and guesses are counted on whatever node they come to; while the store does not answer nobody is signed in.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Response, StatusCode, header};
use identity::application::Door;
use identity::claims::{self, Established, SignInFacts};
use identity::cookie::SIGN_IN as SIGN_IN_COOKIE;
use identity::identity::{Gaps, ProviderClaims};
use identity::opaque::{self, Digest, Seed};
use identity::pin::{self, LIFE, PendingPin, Rate, RateLimited};
use identity::provider::Provider;
use maud::{Markup, html};
use net::proxy::body::Body;
use types::{Email, ProviderId, UserId};
use uuid::Uuid;

use crate::endpoints;
use crate::exchange::Exchange;
use crate::ledger::LedgerError;
use crate::login::{self, COOKIE_LIFE};
use crate::mail::{self, Part};
use crate::page::{self, Frame};
use crate::record;
use crate::snapshot::Published;
use crate::stages::OWN;
use crate::throttle;
use crate::ticket::{self, FORM, Form, Mailed};
use crate::words::{Language, Message};

/// How often something is written down anew when two meet.
const TRIES: usize = 8;
/// Longest time a source is told to wait, in seconds.
const LONGEST_WAIT: i64 = 3_600;

/// A code that a login waits for, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptPin {
    /// Of the record as it was read.
    pub revision: u64,
    pub pin: PendingPin,
}

/// Keeps the codes that logins wait for.
///
/// # Security
/// An implementation seals them where they are stored. Of two writes over one revision only one happens.
pub trait PinLedger: Send + Sync {
    /// Keeps the code of a login, in the place of an older one; `source` is whose share of logins it counts into.
    fn begin<'a>(
        &'a self,
        login: Digest,
        pin: &'a PendingPin,
        source: &'a str,
    ) -> BoxFuture<'a, Result<(), LedgerError>>;

    /// Finds the code of a login.
    fn pending(&self, login: Digest) -> BoxFuture<'_, Result<Option<KeptPin>, LedgerError>>;

    /// Writes a code over the revision it was read at; `false`: another write came first.
    fn settle<'a>(&'a self, login: Digest, kept: &'a KeptPin) -> BoxFuture<'a, Result<bool, LedgerError>>;

    /// Finds what is used of a rate.
    fn rate(&self, of: Digest) -> BoxFuture<'_, Result<KeptRate, LedgerError>>;

    /// Writes what is used of a rate over the revision it was read at, until it is whole; `false`: another write came first.
    fn spend(&self, of: Digest, kept: KeptRate, now: i64) -> BoxFuture<'_, Result<bool, LedgerError>>;
}

/// What is used of a rate that every node counts into.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeptRate {
    /// Of the record as it was read; 0: there is none yet.
    pub revision: u64,
    pub rate: Rate,
}

/// Why no code is made.
enum NotBegun {
    Limited(RateLimited),
    Ledger(LedgerError),
}

impl From<LedgerError> for NotBegun {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

/// Where somebody is who signs in by mail.
pub(crate) struct At<'a> {
    pub(crate) form: &'a Form,
    pub(crate) published: &'a Published,
    pub(crate) app: Door<'a>,
    pub(crate) provider: &'a Provider,
    /// Steps of a chain that were passed before.
    pub(crate) steps: &'a [Established],
}

/// Answers a form of these pages: with whom it signs in, or with the next page.
pub(crate) async fn post(
    exchange: &Exchange,
    at: &At<'_>,
    name: &str,
    fields: &Bytes,
) -> Result<Established, Response<Body>> {
    match (name, &at.form.mailed) {
        ("pin", _) => Err(send(exchange, at, fields).await),
        ("pin-code", Some(mailed)) => check(exchange, at, mailed, fields).await,
        _ => {
            let known = at.steps.first().map(|first| first.email.as_str()).unwrap_or_default();
            Err(address_page(exchange, at, known, None))
        }
    }
}

/// Mails a code to whoever could sign in with it, and shows the page that asks for it.
async fn send(exchange: &Exchange, at: &At<'_>, fields: &Bytes) -> Response<Body> {
    let typed: String = login::field(fields, "email").unwrap_or_default().trim().chars().take(254).collect();
    let Some(address) = pin::mailbox(&typed) else {
        return address_page(exchange, at, &typed, Some((StatusCode::BAD_REQUEST, Message::NoAddress)));
    };
    let (Some(seed), Some(random)) = (ticket::random(), ticket::random()) else { return page::failed(exchange) };
    // A code that is asked for again takes the place of the one before.
    let login = at.form.mailed.as_ref().map_or_else(|| opaque::text(&random), |mailed| mailed.login.clone());
    let asked = Asked {
        address: &address,
        could_enter: could_enter(exchange, at, &address),
        login: &login,
        browser_secret: &at.form.key,
        seed: &seed,
    };
    let plane = exchange.plane();
    let mail = match begin(exchange, asked).await {
        Ok(mail) => mail,
        Err(NotBegun::Ledger(error)) => return endpoints::unavailable(exchange, &error),
        Err(NotBegun::Limited(RateLimited { retry_after })) => {
            let problem = (StatusCode::TOO_MANY_REQUESTS, Message::TooMany);
            let mut response = address_page(exchange, at, &typed, Some(problem));
            let wait = HeaderValue::from(retry_after.clamp(1, LONGEST_WAIT));
            response.headers_mut().insert(header::RETRY_AFTER, wait);
            return response;
        }
    };
    let language = exchange.language(&at.app.sign_in.languages);
    let letter = letter(exchange, at, language, &mail);
    if let Err(full) = plane.mail.put(letter, mail.deliver) {
        return endpoints::unavailable(exchange, &LedgerError::Unavailable(full.to_string()));
    }
    code_page(exchange, at, &Mailed { login, address }, None)
}

/// A code that somebody asks for.
#[derive(Clone, Copy)]
struct Asked<'a> {
    address: &'a Email,
    could_enter: bool,
    login: &'a str,
    browser_secret: &'a str,
    seed: &'a Seed,
}

/// Counts into the rates of the address and of the source, which are the account's and not this node's, and writes the code
/// down. The same is read and written whatever the address is.
async fn begin(exchange: &Exchange, asked: Asked<'_>) -> Result<pin::PinMail, NotBegun> {
    let (ledger, now) = (&exchange.plane().pin_ledger, exchange.now.seconds());
    let source = throttle::source(exchange.source());
    let [of_source, of_address] =
        [format!("pin/source/{source}"), format!("pin/address/{}", asked.address)].map(|name| Digest::of(&name));
    for _ in 0..TRIES {
        let (mut by_source, mut by_address) = (ledger.rate(of_source).await?, ledger.rate(of_address).await?);
        let started = pin::start(pin::Start {
            address: asked.address.clone(),
            could_enter: asked.could_enter,
            login: asked.login,
            browser_secret: asked.browser_secret,
            address_rate: &mut by_address.rate,
            source_rate: &mut by_source.rate,
            now,
            seed: asked.seed,
        });
        let (pending, mail) = started.map_err(NotBegun::Limited)?;
        // The address first: a source that loses a race pays twice, an address never goes free.
        if ledger.spend(of_address, by_address, now).await? && ledger.spend(of_source, by_source, now).await? {
            ledger.begin(Digest::of(asked.login), &pending, &format!("pin/{source}")).await?;
            return Ok(mail);
        }
    }
    // So many at once are too many.
    Err(NotBegun::Limited(RateLimited { retry_after: 1 }))
}

/// Tells whether a code could help the person of an address in: what it proves, with the steps before it, and with whatever
/// the steps after it will say; or to what they were asked to approve.
fn could_enter(exchange: &Exchange, at: &At<'_>, address: &Email) -> bool {
    if let Some(request) = &at.form.start.approves {
        let request = exchange.plane().approvals.find(request);
        return request.is_some_and(|request| request.invited().contains(&address));
    }
    let chain = &at.app.sign_in.chain;
    let mut steps = if chain.is_empty() { Vec::new() } else { at.steps.to_vec() };
    if claims::chain(&mut steps, established(at.provider.id, address.clone())).is_err() {
        return false;
    }
    let passed: Vec<ProviderId> = steps.iter().map(|step| step.claims.provider).collect();
    let awaited: Vec<ProviderId> = chain.iter().filter(|step| !passed.contains(step)).copied().collect();
    let facts = SignInFacts {
        user: UserId(Uuid::nil()),
        provider_type: at.provider.kind,
        signed_in: exchange.now.seconds(),
        ip: exchange.source(),
        country: None,
    };
    claims::assemble(&[], steps, facts)
        .is_ok_and(|known| at.published.policies.could_admit(&known, &*exchange.snapshot, &awaited))
}

/// What a code proves: that somebody reads this mailbox. RFC 8176 calls it `mca`, for it came by another channel; `otp` is
/// a device's and would stand for a second factor.
fn established(provider: ProviderId, email: Email) -> Established {
    let claims = ProviderClaims { provider, groups: [].into(), claims: [].into(), gaps: Gaps::NONE };
    Established { email, name: String::new(), amr: vec!["mca".into()], claims }
}

/// Checks what was typed.
async fn check(
    exchange: &Exchange,
    at: &At<'_>,
    mailed: &Mailed,
    fields: &Bytes,
) -> Result<Established, Response<Body>> {
    let typed: String = login::field(fields, "code").unwrap_or_default().chars().take(64).collect();
    let wrong = &exchange.plane().logins.wrong_by_source;
    let (status, text) = if let Some(attempt) = wrong.attempt(throttle::source(exchange.source())) {
        match verify(exchange, at, mailed, &typed).await {
            Ok(Some(email)) => {
                attempt.take_back();
                return Ok(established(at.provider.id, email));
            }
            Ok(None) => (StatusCode::UNAUTHORIZED, Message::WrongPin),
            Err(error) => return Err(endpoints::unavailable(exchange, &error)),
        }
    } else {
        (StatusCode::TOO_MANY_REQUESTS, Message::TooMany)
    };
    let (kind, reason) = (at.provider.kind.as_str(), text.english().to_owned());
    record::failed_login(exchange, Some(at.published), &at.form.start.host, mailed.address.as_str(), kind, reason);
    Err(code_page(exchange, at, mailed, Some((status, text))))
}

/// Returns whose code was typed; `None`: it is wrong, old, used, or of somebody who may not enter.
async fn verify(exchange: &Exchange, at: &At<'_>, mailed: &Mailed, typed: &str) -> Result<Option<Email>, LedgerError> {
    let (ledger, login) = (&exchange.plane().pin_ledger, Digest::of(&mailed.login));
    for _ in 0..TRIES {
        let Some(mut kept) = ledger.pending(login).await? else { return Ok(None) };
        let verified = kept.pin.verify(typed, &mailed.login, &at.form.key, exchange.now.seconds()).ok();
        if ledger.settle(login, &kept).await? {
            return Ok(verified);
        }
    }
    Ok(None)
}

fn letter(exchange: &Exchange, at: &At<'_>, language: Language, mail: &pin::PinMail) -> mail::Letter {
    let organization = page::organization(exchange);
    let application = &at.published.application.name;
    let minutes = (LIFE / 60).to_string();
    let values = [("organization", organization), ("application", application), ("minutes", minutes.as_str())];
    let say = |message: Message| message.plain(language, &values);
    let parts = [
        Part::Says(say(Message::PinMail)),
        Part::Code(mail.pin.expose().clone()),
        Part::Says(say(Message::PinMailUse)),
        Part::Says(say(Message::PinMailUnasked)),
    ];
    let expires_at = exchange.now.seconds().saturating_add(LIFE);
    mail::write(mail.to.clone(), (language, organization), &say(Message::PinMailSubject), &parts, expires_at)
}

/// The field for the address, alone on its page or on the one where people choose how to sign in.
pub(crate) fn address_form(language: Language, state: &str, address: &str, problem: bool) -> Markup {
    let (invalid, told) = (problem.then_some("true"), problem.then_some("problem"));
    html! {
        form method="post" action=(format!("{OWN}pin")) {
            input type="hidden" name="state" value=(state);
            label for="email" { (Message::Email.text(language)) }
            input id="email" name="email" type="email" autocomplete="email" required value=(address) maxlength="254"
                aria-invalid=[invalid] aria-describedby=[told] autofocus;
            button type="submit" { (Message::PinSend.text(language)) }
        }
    }
}

fn address_page(
    exchange: &Exchange,
    at: &At<'_>,
    address: &str,
    problem: Option<(StatusCode, Message)>,
) -> Response<Body> {
    let language = exchange.language(&at.app.sign_in.languages);
    let application = html! { strong { (at.published.application.name) } };
    show(exchange, at, None, (Message::PinTitle, problem), &|state| {
        html! {
            p { (Message::PinText.with(language, &[("application", &application)])) }
            @if let Some((_, problem)) = problem { p.error #problem role="alert" { (problem.text(language)) } }
            (address_form(language, state, address, problem.is_some()))
        }
    })
}

fn code_page(
    exchange: &Exchange,
    at: &At<'_>,
    mailed: &Mailed,
    problem: Option<(StatusCode, Message)>,
) -> Response<Body> {
    let language = exchange.language(&at.app.sign_in.languages);
    let (invalid, told) = (problem.map(|_| "true"), problem.map(|_| "problem"));
    let (address, minutes) = (html! { strong { (mailed.address) } }, (LIFE / 60).to_string());
    show(exchange, at, Some(mailed), (Message::PinCheck, problem), &|state| {
        html! {
            p { (Message::PinSent.with(language, &[("address", &address), ("minutes", &minutes)])) }
            @if let Some((_, problem)) = problem { p.error #problem role="alert" { (problem.text(language)) } }
            form method="post" action=(format!("{OWN}pin-code")) {
                input type="hidden" name="state" value=(state);
                label for="code" { (Message::FactorCode.text(language)) }
                input id="code" name="code" inputmode="numeric" autocomplete="one-time-code" required maxlength="12"
                    aria-invalid=[invalid] aria-describedby=[told] autofocus;
                button type="submit" { (Message::SignIn.text(language)) }
            }
            form method="post" action=(format!("{OWN}pin")) {
                input type="hidden" name="state" value=(state);
                input type="hidden" name="email" value=(mailed.address);
                button.quiet type="submit" { (Message::PinAgain.text(language)) }
            }
            form method="post" action=(format!("{OWN}provider")) {
                input type="hidden" name="state" value=(state);
                button.quiet type="submit" { (Message::PinOther.text(language)) }
            }
        }
    })
}

/// Renders one of the pages around the state that its forms carry.
fn show(
    exchange: &Exchange,
    at: &At<'_>,
    mailed: Option<&Mailed>,
    (title, problem): (Message, Option<(StatusCode, Message)>),
    content: &dyn Fn(&str) -> Markup,
) -> Response<Body> {
    let language = exchange.language(&at.app.sign_in.languages);
    let Some((key, cookie)) = login::browser(exchange) else { return page::failed(exchange) };
    let form = Form {
        key,
        start: at.form.start.clone(),
        provider: Some(at.provider.id),
        mailed: mailed.cloned(),
        expires: exchange.now.after(COOKIE_LIFE).seconds(),
    };
    let Ok(state) = exchange.snapshot.seal.seal(FORM, &form) else { return page::failed(exchange) };
    let status = problem.map_or(StatusCode::OK, |(status, _)| status);
    let mut response = Frame { exchange, language, status, title: title.text(language) }.render(&content(&state));
    login::set_cookie(&mut response, SIGN_IN_COOKIE, &cookie, COOKIE_LIFE);
    response
}
