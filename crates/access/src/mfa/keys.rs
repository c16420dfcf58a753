//! Authenticators of the WebAuthn kind at the sign-in host: which are asked for, enrolled and proved.
//!
//! What an answer is worth is the engine's. Invariants: an authenticator is enrolled only while factors may change, and
//! what it proved is written down before it is answered.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::{Response, StatusCode};
use identity::mfa::step_up;
use identity::mfa::webauthn::{Answer, EnrolmentState, Kind, ModelRules, Person, ProofState};
use identity::mfa_requirement::{Authenticator, Proof};
use identity::opaque::Digest;
use identity::provider::ProviderType;
use net::proxy::body::Body;
use uuid::Uuid;

use super::answer::{Visit, device_or_new, remember};
use super::pages::Trouble;
use super::wallet::{self, Key, Unproved, place};
use crate::endpoints;
use crate::page;
use crate::record;
use crate::ticket::{self, CeremonyState};
use crate::webauthn::{self, Ask};
use crate::words::Message;

/// Longest name of an authenticator, in characters.
pub(super) const LONGEST_NAME: usize = 60;

/// Ways to prove a factor, as a page offers them.
pub(super) struct Ways {
    /// By a code of the app.
    pub(super) code: bool,
    pub(super) keys: Vec<(Kind, Ask)>,
}

/// What can be added, as a page offers it.
pub(super) struct Additions {
    /// An app that shows codes.
    pub(super) app: bool,
    pub(super) keys: Vec<(Kind, Ask)>,
}

const FACTORS: [Kind; 2] = [Kind::Biometrics, Kind::SecurityKey];

fn takes(kinds: &[Authenticator], kind: Kind) -> bool {
    kind.authenticator().is_some_and(|kind| kinds.contains(&kind))
}

impl Visit<'_> {
    /// Makes the ways to prove one of `kinds` that the person has, for the browser with this key.
    pub(super) fn ways(&self, key: &str, kinds: &[Authenticator]) -> Option<Ways> {
        let code = self.wallet.totp.is_some() && kinds.contains(&Authenticator::Totp);
        let credentials = self.wallet.credentials();
        let mut keys = Vec::new();
        for kind in FACTORS {
            if !takes(kinds, kind) || !credentials.iter().any(|known| known.kind == kind) {
                continue;
            }
            let party = webauthn::party(self.exchange)?;
            let begun = party.begin_proof(self.user(), kind, &credentials, self.now(), &ticket::random()?);
            let (options, state) = begun.ok()?;
            let state = CeremonyState::Proof(state);
            keys.push((kind, Ask::new(self.exchange, key, Some(&self.hash), &options, state)?));
        }
        Some(Ways { code, keys })
    }

    /// Returns the kinds that may be added now: those the waiting policy takes, else those of the organisation.
    pub(super) fn addable(&self) -> Vec<Authenticator> {
        let organization = self.exchange.snapshot.organization.mfa.config.as_ref();
        match (&self.step, self.rules()) {
            (Some(_), rules) => rules.flatten().map(|rules| rules.allowed).unwrap_or_default(),
            (None, _) => match organization {
                Some(rules) => rules.allowed.clone(),
                None => vec![Authenticator::Totp, Authenticator::Biometrics, Authenticator::SecurityKey],
            },
        }
    }

    pub(super) fn additions(&self, key: &str) -> Option<Additions> {
        let kinds = self.addable();
        let identity = Arc::clone(&self.live.session().identity);
        let credentials = self.wallet.credentials();
        let mut offered: Vec<Kind> = FACTORS.into_iter().filter(|kind| takes(&kinds, *kind)).collect();
        if self.step.is_none() && identity.provider_type == ProviderType::BuiltIn {
            offered.push(Kind::Passkey);
        }
        let mut keys = Vec::new();
        for kind in offered {
            let party = webauthn::party(self.exchange)?;
            let person = Person { id: identity.user, name: identity.email.as_str(), display_name: &identity.name };
            let seed = ticket::random()?;
            // Who has as many as one may have is offered no more.
            let Ok((options, state)) =
                party.begin_enrolment(person, kind, &credentials, &self.models(kind), self.now(), &seed)
            else {
                continue;
            };
            let state = CeremonyState::Enrolment(state);
            keys.push((kind, Ask::new(self.exchange, key, Some(&self.hash), &options, state)?));
        }
        Some(Additions { app: self.wallet.totp.is_none() && kinds.contains(&Authenticator::Totp), keys })
    }

    /// Returns which models may be enrolled. A list that is not there allows none.
    fn models(&self, kind: Kind) -> ModelRules {
        let snapshot = &self.exchange.snapshot;
        let organization = snapshot.organization.mfa.config.as_ref().and_then(|rules| rules.models);
        let list = self.rules().flatten().and_then(|rules| rules.models).or(organization);
        let models = list.filter(|_| kind == Kind::SecurityKey);
        let models = models.map(|list| snapshot.models.get(&list).cloned().unwrap_or_else(BTreeSet::new));
        ModelRules { models, roots: None }
    }

    /// Finishes a proof with an authenticator.
    pub(super) async fn assert(self, state: ProofState, answer: &str) -> Response<Body> {
        let exchange = self.exchange;
        let (Some((bearer, fresh)), Some(party)) = (device_or_new(exchange), webauthn::party(exchange)) else {
            return page::failed(exchange);
        };
        let (identity, now) = (Arc::clone(&self.live.session().identity), self.now());
        let ledger = &*exchange.plane().factors;
        let outcome = match Answer::read(answer.as_bytes()) {
            Ok(answer) => {
                let bound = Some(Digest::of(&bearer.text()));
                wallet::prove_key(ledger, identity.user, (&party, &state, &answer), bound, now).await
            }
            Err(error) => Err(Unproved::Key(error)),
        };
        let (trouble, why) = match outcome {
            Ok(kind) => {
                record::factor(exchange, &identity, &format!("{} was proved", webauthn::word(kind)), true);
                let proof = kind.authenticator().map(|kind| Proof { kind, at: now });
                return remember(self.onward(proof).await, &bearer, fresh);
            }
            Err(Unproved::Key(error)) => {
                let (status, text) = webauthn::trouble(&error);
                (Trouble(status, text, None), error.to_string())
            }
            Err(Unproved::TooMany(wait)) => {
                let (status, text) = (StatusCode::TOO_MANY_REQUESTS, Message::FactorPause);
                (Trouble(status, text, Some(wait.retry_after)), wait.to_string())
            }
            Err(Unproved::Wrong) => (Trouble(StatusCode::UNAUTHORIZED, Message::KeyRefused, None), String::new()),
            Err(Unproved::Ledger(error)) => return endpoints::unavailable(exchange, &error),
        };
        record::factor(exchange, &identity, &format!("an authenticator was refused: {why}"), false);
        self.again(trouble)
    }

    /// Finishes an enrolment.
    pub(super) async fn register(self, state: EnrolmentState, answer: &str, name: &str) -> Response<Body> {
        let exchange = self.exchange;
        if self.ask(step_up::may_change).is_err() {
            return self.account(Some(Trouble(StatusCode::FORBIDDEN, Message::FactorGuard, None)));
        }
        let (Some((bearer, fresh)), Some(party)) = (device_or_new(exchange), webauthn::party(exchange)) else {
            return page::failed(exchange);
        };
        let (ledger, identity) = (&*exchange.plane().factors, Arc::clone(&self.live.session().identity));
        let (user, now) = (identity.user, self.now());
        let (existing, models) = (self.wallet.credentials(), self.models(state.kind()));
        let credential = match party.finish_enrolment(state, answer.as_bytes(), &existing, &models, now) {
            Ok(credential) => credential,
            Err(error) => {
                record::factor(exchange, &identity, &format!("an authenticator was not added: {error}"), false);
                let (status, text) = webauthn::trouble(&error);
                return self.chooser(Some(Trouble(status, text, None)));
            }
        };
        let (kind, place) = (credential.kind, place(user, &credential.id()));
        let name: String = name.trim().chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
        let key = Key::enrol(Uuid::new_v4(), name, credential, Digest::of(&bearer.text()), now);
        match wallet::write_key(ledger, user, place, 0, &key).await {
            Ok(true) => {}
            Ok(false) => return endpoints::unavailable(exchange, &wallet::contended()),
            Err(error) => return endpoints::unavailable(exchange, &error),
        }
        record::factor(exchange, &identity, &format!("{} was added", webauthn::word(kind)), true);
        let proof = kind.authenticator().map(|kind| Proof { kind, at: now });
        if proof.is_some() && self.wallet.recovery.as_ref().is_none_or(|(_, recovery)| recovery.codes.left() == 0) {
            return remember(self.first_codes(proof).await, &bearer, fresh);
        }
        remember(self.onward(proof).await, &bearer, fresh)
    }
}
