//! WebAuthn: enrolling and using authenticators on the device (biometrics), roaming security keys, and passkeys as the
//! first factor of built-in people.
//!
//! The cryptography and the checks of the standard are webauthn-rs-core's; here are the kinds of product, the state between
//! the two requests and what is stored. The library draws challenges itself; they are replaced by the caller's random
//! bytes, so that this stays a function of its arguments. Invariants: only the relying party's own origins are accepted,
//! an authenticator takes each challenge once and within its life, a counter that does not grow is refused.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use types::UserId;
use url::Url;
use uuid::Uuid;
use webauthn_rs_core::WebauthnCore;
use webauthn_rs_core::error::WebauthnError as CoreError;
use webauthn_rs_core::internals::AuthenticatorData;
use webauthn_rs_core::proto::{
    AttestationCaList, AttestationConveyancePreference, AuthenticationState, AuthenticatorAttachment,
    AuthenticatorTransport, Credential, ParsedAttestationData, PublicKeyCredential, RegisterPublicKeyCredential,
    Registration, RegistrationState, UserVerificationPolicy,
};

use crate::mfa_requirement::Authenticator;
use crate::opaque::{Digest, Seed, text};

/// Seconds between the two requests of a ceremony.
pub const STATE_LIFE: i64 = 5 * 60;
/// Most bytes of a browser's answer.
pub const MAX_RESPONSE: usize = 64 * 1024;
/// Most authenticators of one person.
pub const MAX_CREDENTIALS: usize = 20;
/// Most proofs of one authenticator within [`STATE_LIFE`].
const MAX_RECENT: usize = 32;

/// What an authenticator is used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// On the device itself, with user verification.
    Biometrics,
    /// A key that roams.
    SecurityKey,
    /// The first factor of a built-in person: any authenticator that verifies its user and can name them.
    Passkey,
}

impl Kind {
    /// Returns the kind as `mfa_config` names it; a passkey is no second factor.
    #[must_use]
    pub const fn authenticator(self) -> Option<Authenticator> {
        match self {
            Self::Biometrics => Some(Authenticator::Biometrics),
            Self::SecurityKey => Some(Authenticator::SecurityKey),
            Self::Passkey => None,
        }
    }

    /// Returns the name under which an authenticator keeps a person's key. An authenticator holds one key for each name, so
    /// that a passkey and a second factor on the same device need two.
    fn handle(self, user: UserId) -> Vec<u8> {
        let mut handle = user.0.as_bytes().to_vec();
        if self != Self::Passkey {
            handle.push(b'2');
        }
        handle
    }

    const fn verification(self) -> UserVerificationPolicy {
        match self {
            Self::Biometrics | Self::Passkey => UserVerificationPolicy::Required,
            // A key without a PIN is something one has, which is enough beside a login. One that verified its user when it
            // was enrolled must do so each time; the library sees to that.
            Self::SecurityKey => UserVerificationPolicy::Preferred,
        }
    }
}

/// Why a ceremony fails. The texts are fit for the person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebauthnError {
    #[error("the request is too old; try again")]
    Expired,
    #[error("the browser's answer cannot be read")]
    Malformed,
    #[error("the answer was made for another site")]
    Origin,
    #[error("the answer is not for this request")]
    Challenge,
    #[error("the answer was used already")]
    Used,
    #[error("this authenticator was used too often just now; wait a few minutes")]
    TooOften,
    #[error("the authenticator did not verify its user")]
    NotVerified,
    /// The signature counter did not grow: there may be a copy of the key. Worth a security event.
    #[error("the authenticator may have been copied; ask an administrator to reset it")]
    Cloned,
    #[error("authenticators of model {0} are not allowed")]
    Model(Uuid),
    #[error("the authenticator does not prove its model")]
    Unattested,
    #[error("this authenticator is not enrolled")]
    UnknownCredential,
    #[error("this authenticator is already enrolled, or there are too many")]
    Enrolled,
    #[error("this is another kind of authenticator than was asked for")]
    WrongKind,
    #[error("the authenticator's answer is not valid: {0}")]
    Refused(String),
}

impl From<CoreError> for WebauthnError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the library has a hundred errors that people act on alike")]
    fn from(error: CoreError) -> Self {
        match error {
            CoreError::MismatchedChallenge => Self::Challenge,
            CoreError::InvalidRPOrigin | CoreError::InvalidRPIDHash | CoreError::CredentialCrossOrigin => Self::Origin,
            CoreError::UserNotVerified => Self::NotVerified,
            CoreError::CredentialPossibleCompromise => Self::Cloned,
            CoreError::CredentialNotFound => Self::UnknownCredential,
            CoreError::AttestationNotVerifiable | CoreError::AttestationFormatMissingAaguid => Self::Unattested,
            other => Self::Refused(other.to_string()),
        }
    }
}

/// Why a relying party cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RelyingPartyError(String);

/// The site that people use their authenticators at.
#[derive(Debug, Clone)]
pub struct RelyingParty {
    core: WebauthnCore,
}

/// A person as their authenticator shows them.
#[derive(Debug, Clone, Copy)]
pub struct Person<'a> {
    pub id: UserId,
    /// Such as the address.
    pub name: &'a str,
    pub display_name: &'a str,
}

/// Which authenticators may be enrolled.
#[derive(Debug, Clone, Default)]
pub struct ModelRules {
    /// Allowed models (AAGUID). `None`: all.
    pub models: Option<BTreeSet<Uuid>>,
    /// Roots that must have signed the attestation. Without them a model is what the authenticator says it is, which keeps
    /// out the wrong purchase but no liar.
    pub roots: Option<AttestationCaList>,
}

impl ModelRules {
    const fn wants_attestation(&self) -> bool {
        self.models.is_some() || self.roots.is_some()
    }
}

/// What proves the model of an authenticator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attestation {
    /// Nothing.
    None,
    /// A signature of the new key itself.
    Own,
    /// A chain of the manufacturer, checked against roots.
    Rooted,
    /// A chain of the manufacturer, kept and not checked.
    Chain,
}

/// An enrolled authenticator, as stored (document version 1).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WebauthnCredential {
    pub kind: Kind,
    pub user: UserId,
    /// The model (AAGUID); zero if it does not say.
    pub model: Uuid,
    pub attestation: Attestation,
    /// Seconds since the epoch.
    pub enrolled_at: i64,
    pub last_used_at: Option<i64>,
    /// Challenges it has answered that are not too old yet, bounded.
    #[serde(default)]
    recent: Vec<Answered>,
    /// Key, counter and the attestation as it came.
    credential: Credential,
}

/// A challenge that was answered.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Answered {
    challenge: Digest,
    expires_at: i64,
}

impl WebauthnCredential {
    /// Returns the credential id. It is looked for among one person's authenticators alone, so that somebody who enrols
    /// another's id reaches nothing of theirs.
    #[must_use]
    pub fn id(&self) -> String {
        text(&self.credential.cred_id)
    }

    /// Takes a challenge, which must not have been taken before.
    fn take(&mut self, challenge: Digest, expires_at: i64, now: i64) -> Result<(), WebauthnError> {
        self.recent.retain(|answered| now < answered.expires_at);
        if self.recent.iter().any(|answered| answered.challenge == challenge) {
            return Err(WebauthnError::Used);
        }
        if self.recent.len() >= MAX_RECENT {
            return Err(WebauthnError::TooOften);
        }
        self.recent.push(Answered { challenge, expires_at });
        Ok(())
    }
}

/// An enrolment between its two requests. It goes with the browser, sealed and bound to its session: the credential it
/// ends in is enrolled once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EnrolmentState {
    kind: Kind,
    user: UserId,
    expires_at: i64,
    state: RegistrationState,
}

impl EnrolmentState {
    /// Returns what is being enrolled.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }
}

/// A proof between its two requests. It goes with the browser, sealed; the authenticator remembers that it was used.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProofState {
    kind: Kind,
    /// `None`: whoever the passkey names.
    user: Option<UserId>,
    expires_at: i64,
    challenge: Digest,
    /// Without credentials: the stored ones are newer.
    state: AuthenticationState,
}

impl RelyingParty {
    /// Makes a relying party: `id` is a host name, `origins` are the exact origins at it or below it where its pages are.
    ///
    /// # Errors
    /// If an origin is not https (or http on localhost) or lies outside of `id`.
    pub fn new(name: &str, id: &str, origins: &[&str]) -> Result<Self, RelyingPartyError> {
        if origins.is_empty() || (!id.contains('.') && id != "localhost") {
            return Err(RelyingPartyError(format!("{id:?} is not a host name, or has no origin")));
        }
        let mut allowed = Vec::new();
        for origin in origins {
            let wrong = || RelyingPartyError(format!("{origin:?} is not an https origin at {id}"));
            let url = Url::parse(origin).map_err(|_| wrong())?;
            let host = url.domain().ok_or_else(wrong)?;
            let inside = host == id || host.strip_suffix(id).is_some_and(|rest| rest.ends_with('.'));
            let secure = url.scheme() == "https" || (url.scheme() == "http" && host == "localhost");
            if !inside || !secure || url.path() != "/" || url.query().is_some() {
                return Err(wrong());
            }
            allowed.push(url);
        }
        let timeout = Duration::from_secs(STATE_LIFE.unsigned_abs());
        Ok(Self { core: WebauthnCore::new_unsafe_experts_only(name, id, allowed, timeout, Some(false), Some(false)) })
    }

    /// Begins an enrolment. Returns what `navigator.credentials.create` takes, as JSON, and the state.
    ///
    /// # Errors
    /// If the person has too many authenticators or no name.
    pub fn begin_enrolment(
        &self,
        person: Person<'_>,
        kind: Kind,
        existing: &[WebauthnCredential],
        rules: &ModelRules,
        now: i64,
        seed: &Seed,
    ) -> Result<(Value, EnrolmentState), WebauthnError> {
        if existing.len() >= MAX_CREDENTIALS {
            return Err(WebauthnError::Enrolled);
        }
        let attestation = if rules.wants_attestation() {
            AttestationConveyancePreference::Direct
        } else {
            AttestationConveyancePreference::None
        };
        let attachment = match kind {
            Kind::Biometrics => Some(AuthenticatorAttachment::Platform),
            Kind::SecurityKey => Some(AuthenticatorAttachment::CrossPlatform),
            Kind::Passkey => None,
        };
        let alike = existing.iter().filter(|old| (old.kind == Kind::Passkey) == (kind == Kind::Passkey));
        let known = alike.map(|old| old.credential.cred_id.clone()).collect();
        let builder = self
            .core
            .new_challenge_register_builder(&kind.handle(person.id), person.name, person.display_name)?
            .attestation(attestation)
            .user_verification_policy(kind.verification())
            .authenticator_attachment(attachment)
            .require_resident_key(kind == Kind::Passkey)
            .exclude_credentials(Some(known));
        let (options, state) = self.core.generate_challenge_register(builder)?;
        let mut options = to_json(&options)?;
        let state = with_challenge(&mut options, &state, "exclude_credentials", seed)?;
        Ok((options, EnrolmentState { kind, user: person.id, expires_at: now.saturating_add(STATE_LIFE), state }))
    }

    /// Finishes an enrolment with the browser's answer. `existing` is what the person has by now.
    ///
    /// # Errors
    /// With what is wrong with the answer, or with the authenticator.
    pub fn finish_enrolment(
        &self,
        state: EnrolmentState,
        answer: &[u8],
        existing: &[WebauthnCredential],
        rules: &ModelRules,
        now: i64,
    ) -> Result<WebauthnCredential, WebauthnError> {
        check_life(state.expires_at, now)?;
        let attachment = read::<Attached>(answer)?.attachment;
        let answer: RegisterPublicKeyCredential = read(answer)?;
        if answer.type_ != "public-key" {
            return Err(WebauthnError::Malformed);
        }
        check_kind(state.kind, attachment.as_deref(), answer.response.transports.as_deref())?;
        let known = existing.iter().any(|old| old.credential.cred_id.as_slice() == answer.raw_id.as_ref() as &[u8]);
        if known || existing.len() >= MAX_CREDENTIALS {
            return Err(WebauthnError::Enrolled);
        }
        let model = model(&answer.response.attestation_object)?;
        let credential = self.core.register_credential(&answer, &state.state, rules.roots.as_ref())?;
        if rules.models.as_ref().is_some_and(|models| !models.contains(&model)) {
            return Err(WebauthnError::Model(model));
        }
        let attestation = match &credential.attestation.data {
            ParsedAttestationData::Basic(_) | ParsedAttestationData::AttCa(_) | ParsedAttestationData::AnonCa(_) => {
                if rules.roots.is_some() {
                    Attestation::Rooted
                } else {
                    Attestation::Chain
                }
            }
            ParsedAttestationData::Self_ => Attestation::Own,
            ParsedAttestationData::ECDAA | ParsedAttestationData::None | ParsedAttestationData::Uncertain => {
                Attestation::None
            }
        };
        Ok(WebauthnCredential {
            kind: state.kind,
            user: state.user,
            model,
            attestation,
            enrolled_at: now,
            last_used_at: None,
            recent: Vec::new(),
            credential,
        })
    }

    /// Begins a proof with one of a person's authenticators of a kind. Returns what `navigator.credentials.get` takes, as
    /// JSON, and the state.
    ///
    /// # Errors
    /// If the person has none of that kind.
    pub fn begin_proof(
        &self,
        user: UserId,
        kind: Kind,
        enrolled: &[WebauthnCredential],
        now: i64,
        seed: &Seed,
    ) -> Result<(Value, ProofState), WebauthnError> {
        let usable: Vec<Credential> = enrolled
            .iter()
            .filter(|old| old.kind == kind && old.user == user)
            .map(|old| old.credential.clone())
            .collect();
        if usable.is_empty() {
            return Err(WebauthnError::UnknownCredential);
        }
        self.begin(kind, Some(user), usable, now, seed)
    }

    /// Begins a sign-in with whatever passkey the person picks; nothing about any person is told.
    ///
    /// # Errors
    /// Only if the state cannot be made.
    pub fn begin_sign_in(&self, now: i64, seed: &Seed) -> Result<(Value, ProofState), WebauthnError> {
        self.begin(Kind::Passkey, None, Vec::new(), now, seed)
    }

    fn begin(
        &self,
        kind: Kind,
        user: Option<UserId>,
        usable: Vec<Credential>,
        now: i64,
        seed: &Seed,
    ) -> Result<(Value, ProofState), WebauthnError> {
        let builder = self.core.new_challenge_authenticate_builder(usable, Some(kind.verification()))?;
        let (options, state) = self.core.generate_challenge_authenticate(builder)?;
        let mut options = to_json(&options)?;
        let state = with_challenge(&mut options, &state, "credentials", seed)?;
        let challenge = Digest::of(options["publicKey"]["challenge"].as_str().unwrap_or_default());
        Ok((options, ProofState { kind, user, expires_at: now.saturating_add(STATE_LIFE), challenge, state }))
    }

    /// Finishes a proof or sign-in. `credential` is the stored authenticator that [`Answer::credential_id`] names. Returns
    /// it as it must be stored now, over the revision that was read, before the answer is sent.
    ///
    /// # Errors
    /// With what is wrong with the answer.
    pub fn finish_proof(
        &self,
        mut state: ProofState,
        answer: &Answer,
        credential: &WebauthnCredential,
        now: i64,
    ) -> Result<WebauthnCredential, WebauthnError> {
        check_life(state.expires_at, now)?;
        let named = answer.user();
        let owned = match state.user {
            Some(user) => user == credential.user && named.is_none_or(|named| named == user),
            // Without a person, the passkey must name its own (WebAuthn section 7.2, step 6).
            None => named == Some(credential.user),
        };
        if !owned || credential.kind != state.kind {
            return Err(WebauthnError::UnknownCredential);
        }
        let mut used = credential.clone();
        used.take(state.challenge, state.expires_at, now)?;
        // The stored record has the newest counter.
        state.state.set_allowed_credentials(vec![credential.credential.clone()]);
        let result = self.core.authenticate_credential(&answer.0, &state.state)?;
        used.credential.counter = result.counter();
        used.credential.backup_state = result.backup_state();
        used.last_used_at = Some(now);
        Ok(used)
    }
}

/// A browser's answer to a proof, read so that the caller can find the authenticator.
#[derive(Debug, Clone)]
pub struct Answer(PublicKeyCredential);

impl Answer {
    /// Reads the JSON of a `PublicKeyCredential`.
    ///
    /// # Errors
    /// If it is none, or too long.
    pub fn read(body: &[u8]) -> Result<Self, WebauthnError> {
        let answer: PublicKeyCredential = read(body)?;
        if answer.type_ == "public-key" { Ok(Self(answer)) } else { Err(WebauthnError::Malformed) }
    }

    /// Returns the id of the authenticator, as [`WebauthnCredential::id`].
    #[must_use]
    pub fn credential_id(&self) -> String {
        text(&self.0.raw_id)
    }

    /// Returns the person the authenticator names; unproved until the proof is finished.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        let handle = self.0.response.user_handle.as_deref()?;
        Uuid::from_slice(handle.strip_suffix(b"2").filter(|rest| rest.len() == 16).unwrap_or(handle)).ok().map(UserId)
    }
}

fn read<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, WebauthnError> {
    if body.len() > MAX_RESPONSE {
        return Err(WebauthnError::Malformed);
    }
    serde_json::from_slice(body).map_err(|_| WebauthnError::Malformed)
}

fn to_json<T: Serialize>(value: &T) -> Result<Value, WebauthnError> {
    serde_json::to_value(value).map_err(|error| WebauthnError::Refused(error.to_string()))
}

/// Puts the caller's challenge into the options and the state in place of the library's, and leaves a list of credentials
/// out of the state: the stored ones are held against the answer.
fn with_challenge<S: Serialize + for<'de> Deserialize<'de>>(
    options: &mut Value,
    state: &S,
    list: &str,
    seed: &Seed,
) -> Result<S, WebauthnError> {
    let challenge = json!(text(&crate::opaque::derive(seed, b"webauthn challenge")));
    options["publicKey"]["challenge"] = challenge.clone();
    let mut state = to_json(state)?;
    state["challenge"] = challenge;
    state[list] = json!([]);
    serde_json::from_value(state).map_err(|error| WebauthnError::Refused(error.to_string()))
}

const fn check_life(expires_at: i64, now: i64) -> Result<(), WebauthnError> {
    if now < expires_at { Ok(()) } else { Err(WebauthnError::Expired) }
}

/// The member of an answer that the library does not read.
#[derive(Deserialize)]
struct Attached {
    #[serde(rename = "authenticatorAttachment", default)]
    attachment: Option<String>,
}

/// Holds what a browser says about where an authenticator is against the kind that was asked for.
fn check_kind(
    kind: Kind,
    attachment: Option<&str>,
    transports: Option<&[AuthenticatorTransport]>,
) -> Result<(), WebauthnError> {
    match (kind, attachment) {
        (Kind::Biometrics, Some("cross-platform")) | (Kind::SecurityKey, Some("platform")) => {
            return Err(WebauthnError::WrongKind);
        }
        (Kind::Biometrics | Kind::SecurityKey | Kind::Passkey, _) => {}
    }
    let Some(transports) = transports.filter(|transports| !transports.is_empty()) else { return Ok(()) };
    let internal = transports.iter().any(|transport| matches!(transport, AuthenticatorTransport::Internal));
    let roams = transports.iter().any(|transport| !matches!(transport, AuthenticatorTransport::Internal));
    match kind {
        Kind::Biometrics if !internal => Err(WebauthnError::WrongKind),
        Kind::SecurityKey if !roams => Err(WebauthnError::WrongKind),
        Kind::Biometrics | Kind::SecurityKey | Kind::Passkey => Ok(()),
    }
}

/// Reads the AAGUID, which the library keeps only for some attestations.
fn model(attestation_object: &[u8]) -> Result<Uuid, WebauthnError> {
    #[derive(Deserialize)]
    struct Object {
        #[serde(rename = "authData")]
        auth_data: serde_bytes::ByteBuf,
    }
    let object: Object = serde_cbor_2::from_slice(attestation_object).map_err(|_| WebauthnError::Malformed)?;
    let data = AuthenticatorData::<Registration>::try_from(object.auth_data.as_slice())?;
    data.acd.map(|acd| Uuid::from_bytes(acd.aaguid)).ok_or(WebauthnError::Malformed)
}

#[cfg(test)]
#[path = "webauthn_tests.rs"]
mod tests;
