//! Requests about second factors at the sign-in host, and what each is answered.
//!
//! Which application waits for a proof travels through the browser, sealed. Invariants: a form counts only in the browser
//! and the session it was made for, and a session learns of a proof only after the proof was written down.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, header};
use identity::application::SameSite;
use identity::cookie::{Cookie, DEVICE};
use identity::mfa::step_up::{self, NextStep, Situation};
use identity::mfa::totp::{TotpError, TotpSecret};
use identity::mfa_requirement::{Authenticator, LONGEST_FRESHNESS, MfaRules, Proof};
use identity::opaque::Digest;
use identity::session::{Moment, SessionHash, SessionSecret};
use net::proxy::body::Body;
use types::{AccessPolicyId, UserId};
use uuid::Uuid;

use super::ledger::FactorPlace;
use super::pages::{Held, Page, Trouble};
use super::wallet::{self, Totp, Unproved, Wallet};
use crate::endpoints;
use crate::exchange::Exchange;
use crate::gate;
use crate::ledger::LedgerError;
use crate::login;
use crate::page;
use crate::record;
use crate::session_table::Live;
use crate::stages::OWN;
use crate::ticket::{self, CeremonyState, FACTOR, FactorForm, START, STEP, Start, Step};
use crate::webauthn;
use crate::words::Message;

/// Time to scan a picture and to type a code.
const FORM_LIFE: Duration = Duration::from_secs(15 * 60);

/// Sends a browser to the proof that a policy asks for.
pub(crate) fn step_up(exchange: &Exchange, start: &Start, policy: AccessPolicyId) -> Response<Body> {
    let sealed = exchange.snapshot.seal.seal(STEP, &Step { start: start.clone(), policy });
    let address = exchange.site(&exchange.snapshot.organization.auth_domain);
    let (Ok(sealed), Some(mut address)) = (sealed, address) else { return page::failed(exchange) };
    address.set_path(&format!("{OWN}mfa"));
    address.query_pairs_mut().append_pair("step", &sealed);
    page::redirect(address.as_str())
}

/// A signed-in person at a device, with their factors.
pub(super) struct Visit<'e> {
    pub(super) exchange: &'e Exchange,
    pub(super) hash: SessionHash,
    pub(super) live: Arc<Live>,
    pub(super) step: Option<Step>,
    pub(super) wallet: Wallet,
}

/// Answers the pages: of a step-up or an enrolment (`proving`), else of the person's factors.
pub(crate) async fn get(exchange: &Exchange, proving: bool) -> Response<Body> {
    let step = exchange.parameter("step");
    let opened: Option<Step> = step.as_deref().and_then(|text| exchange.snapshot.seal.open(STEP, text).ok());
    let step_is_good = opened.as_ref().is_some_and(|step| exchange.now.seconds() < step.start.expires);
    if step.is_some() && !step_is_good {
        return login::stale(exchange, None);
    }
    let Some((hash, live)) = login::session(exchange) else {
        return page::message(exchange, StatusCode::UNAUTHORIZED, Message::Stale, Message::StaleText, None);
    };
    match Visit::new(exchange, hash, live, opened).await {
        Ok(visit) => visit.page(proving).await,
        Err(error) => endpoints::unavailable(exchange, &error),
    }
}

/// Answers a form.
pub(crate) async fn post(exchange: &Exchange, action: &str) -> Response<Body> {
    let with_answer = matches!(action, "mfa-register" | "mfa-assert");
    let longest = if with_answer { webauthn::LONGEST_FORM } else { login::LONGEST_FORM };
    let fields = match login::form_fields(exchange, longest).await {
        Ok(fields) => fields,
        Err(response) => return response,
    };
    let state = login::field(&fields, "state").unwrap_or_default();
    let typed: String = login::field(&fields, "code").unwrap_or_default().chars().take(64).collect();
    let form: Option<FactorForm> = exchange.snapshot.seal.open(FACTOR, &state).ok();
    let opened = form.zip(login::session(exchange));
    let ours = opened.filter(|(form, (hash, _))| {
        form.session == hash.text() && exchange.now.seconds() < form.expires && login::is_own(exchange, &form.key)
    });
    let Some((form, (hash, live))) = ours else { return login::stale(exchange, None) };
    let FactorForm { key, step, secret, .. } = form;
    let of = |name: &str| login::field(&fields, name).unwrap_or_default();
    let ceremony = webauthn::open(exchange, &key, Some(&hash), &of("ceremony"));
    let visit = match Visit::new(exchange, hash, live, step).await {
        Ok(visit) => visit,
        Err(error) => return endpoints::unavailable(exchange, &error),
    };
    match (action, secret) {
        ("mfa-prove", _) => visit.prove(&typed, false).await,
        ("mfa-recover", _) => visit.prove(&typed, true).await,
        ("mfa-enrol", Some(secret)) => visit.enrol(&secret, &typed).await,
        ("mfa-codes", _) => visit.codes().await,
        ("mfa-remove", _) => visit.remove(&of("factor")).await,
        ("mfa-register" | "mfa-assert", _) => match (action, ceremony) {
            ("mfa-register", Some(CeremonyState::Enrolment(state))) => {
                visit.register(state, &of("answer"), &of("name")).await
            }
            ("mfa-assert", Some(CeremonyState::Proof(state))) => visit.assert(state, &of("answer")).await,
            _ => login::stale(exchange, None),
        },
        _ => page::nothing_here(exchange),
    }
}

impl<'e> Visit<'e> {
    async fn new(
        exchange: &'e Exchange,
        hash: SessionHash,
        live: Arc<Live>,
        step: Option<Step>,
    ) -> Result<Self, LedgerError> {
        let user = live.session().identity.user;
        let wallet = Wallet::read(&*exchange.plane().factors, user).await?;
        Ok(Self { exchange, hash, live, step, wallet })
    }

    pub(super) fn now(&self) -> i64 {
        self.exchange.now.seconds()
    }

    pub(super) fn user(&self) -> UserId {
        self.live.session().identity.user
    }

    /// Asks the engine about this person at this device.
    pub(super) fn ask<T>(&self, question: impl FnOnce(&Situation<'_>) -> T) -> T {
        let identity = &self.live.session().identity;
        let amr: Vec<String> = identity.amr.iter().map(|value| value.to_string()).collect();
        let known = device(self.exchange).map(|secret| Digest::of(&secret.text()));
        question(&Situation {
            enrolled: &self.wallet.enrolled(),
            proofs: &self.wallet.proofs(),
            device: known,
            amr: &amr,
            login: identity.signed_in,
            now: self.now(),
        })
    }

    /// Returns what the waiting policy asks; the outer `None` if there is no such policy any more, or none waits.
    pub(super) fn rules(&self) -> Option<Option<MfaRules>> {
        let start = &self.step.as_ref()?.start;
        let (published, app) = login::application(&self.exchange.snapshot, start)?;
        if start.approves.is_some() {
            return Some(gate::mfa_at(self.exchange, app));
        }
        let wanted = self.step.as_ref()?.policy;
        let policy = published.policies.policies().find(|policy| policy.id == wanted)?;
        Some(gate::mfa_for(self.exchange, start, policy, app))
    }

    async fn page(self, proving: bool) -> Response<Body> {
        let app = self.exchange.parameter("add").as_deref() == Some("app") && self.wallet.totp.is_none();
        if self.step.is_none() {
            return match (proving, self.ask(step_up::may_change)) {
                (true, Ok(())) if app => self.enrolment(None),
                (true, Ok(())) => self.chooser(None),
                (true, Err(_)) | (false, _) => self.account(None),
            };
        }
        let Some(rules) = self.rules() else { return page::nothing_here(self.exchange) };
        match self.ask(|situation| step_up::next_step(rules.as_ref(), situation)) {
            NextStep::Proceed(proof) => self.onward(proof).await,
            NextStep::Prove(_) => self.prompt(None),
            NextStep::Enrol { kinds, guard } if guard.is_empty() => {
                if kinds == [Authenticator::Totp] || app && kinds.contains(&Authenticator::Totp) {
                    self.enrolment(None)
                } else {
                    self.chooser(None)
                }
            }
            // What the person has is not what is asked for, and guards it.
            NextStep::Enrol { .. } => self.account(None),
        }
    }

    /// Makes a page with its form, and the cookie that the form needs.
    fn form(
        &self,
        trouble: Option<Trouble>,
        secret: Option<[u8; 20]>,
        show: impl FnOnce(&Page<'e>, &str) -> Option<Response<Body>>,
    ) -> Response<Body> {
        let exchange = self.exchange;
        let Some((key, cookie)) = login::browser(exchange) else { return page::failed(exchange) };
        let expires = exchange.now.after(FORM_LIFE).seconds();
        let form = FactorForm { key: key.clone(), session: self.hash.text(), step: self.step.clone(), secret, expires };
        let Ok(state) = exchange.snapshot.seal.seal(FACTOR, &form) else { return page::failed(exchange) };
        let shown = show(&Page { exchange, state, trouble }, &key);
        let Some(mut response) = shown else { return page::failed(exchange) };
        login::set_cookie(&mut response, identity::cookie::SIGN_IN, &cookie, login::COOKIE_LIFE);
        if let Some(wait) = trouble.and_then(|trouble| trouble.2) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
        }
        response
    }

    /// Asks for a factor that the person has and the waiting policy takes.
    pub(super) fn prompt(&self, trouble: Option<Trouble>) -> Response<Body> {
        let kinds = self.rules().flatten().map(|rules| rules.allowed).unwrap_or_default();
        self.form(trouble, None, |page, key| Some(page.prompt(&self.ways(key, &kinds)?)))
    }

    /// Asks once more after a proof that failed.
    pub(super) fn again(&self, trouble: Trouble) -> Response<Body> {
        let next = self.rules().map(|rules| self.ask(|situation| step_up::next_step(rules.as_ref(), situation)));
        if matches!(next, Some(NextStep::Prove(_))) { self.prompt(Some(trouble)) } else { self.account(Some(trouble)) }
    }

    /// Offers what can be added.
    pub(super) fn chooser(&self, trouble: Option<Trouble>) -> Response<Body> {
        let sealed = self.step.as_ref().map(|step| self.exchange.snapshot.seal.seal(STEP, step));
        let Ok(step) = sealed.transpose() else { return page::failed(self.exchange) };
        self.form(trouble, None, |page, key| Some(page.add(&self.additions(key)?, step.as_deref())))
    }

    /// Shows a secret to enrol: a new one, or the one whose code was mistyped.
    fn enrolment(&self, again: Option<([u8; 20], Trouble)>) -> Response<Body> {
        let mut secret = [0; 20];
        let trouble = match again {
            Some((old, trouble)) => {
                secret = old;
                Some(trouble)
            }
            None if aws_lc_rs::rand::fill(&mut secret).is_err() => return page::failed(self.exchange),
            None => None,
        };
        let issuer = &self.exchange.snapshot.organization.name;
        let account = self.live.session().identity.email.as_str();
        self.form(trouble, Some(secret), |page, _| Some(page.enrol(&TotpSecret::new(secret), issuer, account)))
    }

    pub(super) fn account(&self, trouble: Option<Trouble>) -> Response<Body> {
        let left = self.wallet.recovery.as_ref().map_or(0, |(_, recovery)| recovery.codes.left());
        let may_change = self.ask(step_up::may_change).is_ok();
        let kinds: Vec<Authenticator> = self.wallet.enrolled().iter().map(|factor| factor.kind).collect();
        let held = Held { app: self.wallet.totp.is_some(), keys: &self.wallet.keys, codes_left: left };
        self.form(trouble, None, |page, key| {
            let guard = if may_change { None } else { Some(self.ways(key, &kinds)?) };
            Some(page.account(&held, guard.as_ref()))
        })
    }

    async fn prove(self, typed: &str, by_recovery: bool) -> Response<Body> {
        let Some((secret, fresh)) = device_or_new(self.exchange) else { return page::failed(self.exchange) };
        let ledger = &*self.exchange.plane().factors;
        let identity = Arc::clone(&self.live.session().identity);
        let (bound, now) = (Digest::of(&secret.text()), self.now());
        let outcome = if by_recovery {
            wallet::prove_recovery(ledger, identity.user, typed, bound, now).await
        } else {
            wallet::prove_totp(ledger, identity.user, typed, bound, now).await
        };
        let what = if by_recovery { "a recovery code" } else { "a code of the authenticator app" };
        let wrong = if by_recovery { Message::RecoveryWrong } else { Message::FactorWrong };
        let trouble = match outcome {
            Ok(()) => {
                record::factor(self.exchange, &identity, &format!("{what} was proved"), true);
                let proof = (!by_recovery).then_some(Proof { kind: Authenticator::Totp, at: now });
                return remember(self.onward(proof).await, &secret, fresh);
            }
            Err(Unproved::Wrong | Unproved::Key(_)) => Trouble(StatusCode::UNAUTHORIZED, wrong, None),
            Err(Unproved::TooMany(wait)) => {
                Trouble(StatusCode::TOO_MANY_REQUESTS, Message::FactorPause, Some(wait.retry_after))
            }
            Err(Unproved::Ledger(error)) => return endpoints::unavailable(self.exchange, &error),
        };
        record::factor(self.exchange, &identity, &format!("{what} was refused"), false);
        self.again(trouble)
    }

    async fn enrol(self, secret: &[u8; 20], typed: &str) -> Response<Body> {
        let exchange = self.exchange;
        // One for each person; another is enrolled after the first was removed, with its proof.
        if self.wallet.totp.is_some() || self.ask(step_up::may_change).is_err() {
            return self.account(Some(Trouble(StatusCode::CONFLICT, Message::FactorGuard, None)));
        }
        let Some((bearer, fresh)) = device_or_new(exchange) else { return page::failed(exchange) };
        let (ledger, identity) = (&*exchange.plane().factors, Arc::clone(&self.live.session().identity));
        let (user, now) = (identity.user, self.now());
        let factor = match Totp::enrol(Uuid::new_v4(), secret, typed, Digest::of(&bearer.text()), now) {
            Ok(factor) => factor,
            Err(TotpError::Wrong | TotpError::TooMany(_)) => {
                let trouble = Trouble(StatusCode::UNAUTHORIZED, Message::FactorWrong, None);
                return self.enrolment(Some((*secret, trouble)));
            }
        };
        match wallet::write_totp(ledger, user, 0, &factor).await {
            Ok(true) => {}
            Ok(false) => return endpoints::unavailable(exchange, &wallet::contended()),
            Err(error) => return endpoints::unavailable(exchange, &error),
        }
        record::factor(exchange, &identity, "an authenticator app was added", true);
        remember(self.first_codes(Some(Proof { kind: Authenticator::Totp, at: now })).await, &bearer, fresh)
    }

    /// Keeps the proof of a factor that was just enrolled, and shows new recovery codes before going on.
    pub(super) async fn first_codes(self, proof: Option<Proof>) -> Response<Body> {
        let (exchange, user, now) = (self.exchange, self.user(), self.now());
        let Some(seed) = ticket::random() else { return page::failed(exchange) };
        let Self { hash, live, step, wallet: Wallet { recovery, .. }, .. } = self;
        let codes = match wallet::renew_codes(&*exchange.plane().factors, user, recovery, &seed, now).await {
            Ok(codes) => codes,
            Err(error) => return endpoints::unavailable(exchange, &error),
        };
        let visit = Visit { exchange, hash, live, step, wallet: Wallet::default() };
        if let Err(error) = visit.note(proof).await {
            return endpoints::unavailable(exchange, &error);
        }
        let Some(address) = visit.address() else { return page::failed(exchange) };
        visit.form(None, None, |page, _| Some(page.codes(codes.expose(), &address)))
    }

    async fn codes(self) -> Response<Body> {
        let exchange = self.exchange;
        if self.wallet.enrolled().is_empty() || self.ask(step_up::may_change).is_err() {
            return self.account(Some(Trouble(StatusCode::FORBIDDEN, Message::FactorGuard, None)));
        }
        let Some(seed) = ticket::random() else { return page::failed(exchange) };
        let (identity, now) = (Arc::clone(&self.live.session().identity), self.now());
        let Self { hash, live, step, wallet: Wallet { recovery, .. }, .. } = self;
        match wallet::renew_codes(&*exchange.plane().factors, identity.user, recovery, &seed, now).await {
            Ok(codes) => {
                record::factor(exchange, &identity, "recovery codes were made", true);
                let visit = Visit { exchange, hash, live, step, wallet: Wallet::default() };
                visit.form(None, None, |page, _| Some(page.codes(codes.expose(), &format!("{OWN}account"))))
            }
            Err(error) => endpoints::unavailable(exchange, &error),
        }
    }

    /// Removes a factor: the one at a place, else the app.
    async fn remove(self, factor: &str) -> Response<Body> {
        let exchange = self.exchange;
        let wanted: Option<Uuid> = factor.parse().ok();
        let found = match wanted {
            None => {
                self.wallet.totp.as_ref().map(|(revision, _)| (FactorPlace::Totp, *revision, "the authenticator app"))
            }
            Some(place) => self
                .wallet
                .keys
                .iter()
                .find(|held| held.place == place)
                .map(|held| (FactorPlace::Key(place), held.revision, webauthn::word(held.key.credential.kind))),
        };
        let allowed = self.ask(step_up::may_change).is_ok();
        let (Some((place, revision, what)), true) = (found, allowed) else {
            return self.account(Some(Trouble(StatusCode::FORBIDDEN, Message::FactorGuard, None)));
        };
        let identity = Arc::clone(&self.live.session().identity);
        match exchange.plane().factors.remove(identity.user, place, revision).await {
            Ok(true) => {}
            Ok(false) => return endpoints::unavailable(exchange, &wallet::contended()),
            Err(error) => return endpoints::unavailable(exchange, &error),
        }
        record::factor(exchange, &identity, &format!("{what} was removed"), true);
        match self.note(None).await {
            Ok(()) => page::redirect(&format!("{OWN}account")),
            Err(error) => endpoints::unavailable(exchange, &error),
        }
    }

    /// Keeps a proof at the session, where requests look for it; without one, forgets all.
    async fn note(&self, proof: Option<Proof>) -> Result<(), LedgerError> {
        let mut session = self.live.session().clone();
        match proof {
            Some(proof) => session.prove(proof.kind, Moment(proof.at.saturating_mul(1_000))),
            None => session.forget_proofs(),
        }
        let plane = self.exchange.plane();
        plane.ledger.change(self.hash, &session).await?;
        if plane.sessions.insert(self.hash, session) {
            Ok(())
        } else {
            Err(LedgerError::Unavailable("no room for another session".to_owned()))
        }
    }

    /// Goes on after a proof: to the application that waits for it, else to the person's factors.
    pub(super) async fn onward(&self, proof: Option<Proof>) -> Response<Body> {
        if proof.is_some()
            && let Err(error) = self.note(proof).await
        {
            return endpoints::unavailable(self.exchange, &error);
        }
        self.address().map_or_else(|| page::failed(self.exchange), |address| page::redirect(&address))
    }

    fn address(&self) -> Option<String> {
        let Some(step) = &self.step else { return Some(format!("{OWN}account")) };
        let meta = self.exchange.snapshot.seal.seal(START, &step.start).ok()?;
        Some(format!("{OWN}login/{}?meta={meta}", step.start.host))
    }
}

fn device(exchange: &Exchange) -> Option<SessionSecret> {
    exchange.cookies(DEVICE).take(4).find_map(SessionSecret::parse)
}

/// Returns the secret of this device, and whether it is new to it.
pub(super) fn device_or_new(exchange: &Exchange) -> Option<(SessionSecret, bool)> {
    match device(exchange) {
        Some(secret) => Some((secret, false)),
        None => ticket::random().map(|random| (SessionSecret::of(random), true)),
    }
}

pub(super) fn remember(mut response: Response<Body>, secret: &SessionSecret, fresh: bool) -> Response<Body> {
    let text = secret.text();
    let cookie = Cookie::own(DEVICE, &text, LONGEST_FRESHNESS, SameSite::Lax).header();
    if fresh && let Some(value) = cookie.ok().and_then(|text| HeaderValue::try_from(text).ok()) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}
