//! Authenticators in the browser: the script, the forms, and what travels between the two requests of a ceremony.
//!
//! Which authenticator is asked for and what an answer proves is decided elsewhere. Invariant: a ceremony goes on only in
//! the browser it began in, and in the session if there was one.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderValue, Response, StatusCode, header};
use identity::mfa::webauthn::{Kind, RelyingParty, WebauthnError};
use identity::session::SessionHash;
use maud::{Markup, html};
use net::proxy::body::{Body, full_body};
use serde_json::Value;

use crate::exchange::Exchange;
use crate::stages::OWN;
use crate::ticket::{CEREMONY, Ceremony, CeremonyState};
use crate::words::{Language, Message};

const SCRIPT: &str = include_str!("webauthn.js");
/// Longest form with an answer: the engine's bound on the answer, and what writing it as a form adds.
pub(crate) const LONGEST_FORM: usize = 96 << 10;

/// Returns the address of the script, another for each version.
pub(crate) fn script_address() -> &'static str {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    ADDRESS.get_or_init(|| {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, SCRIPT.as_bytes());
        let version: String = URL_SAFE_NO_PAD.encode(hash).chars().take(16).collect();
        format!("{OWN}webauthn.js?v={version}")
    })
}

/// Serves the script.
pub(crate) fn script() -> Response<Body> {
    let mut response = Response::new(full_body(SCRIPT));
    for (name, value) in [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=86400"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    response
}

/// Returns the sign-in host as a relying party.
pub(crate) fn party(exchange: &Exchange) -> Option<RelyingParty> {
    let organization = &exchange.snapshot.organization;
    let origin = exchange.site(&organization.auth_domain)?.origin().ascii_serialization();
    match RelyingParty::new(&organization.name, &organization.auth_domain, &[&origin]) {
        Ok(party) => Some(party),
        Err(error) => {
            tracing::warn!(%error, "authenticators cannot be used at the sign-in host");
            None
        }
    }
}

/// A form that asks an authenticator.
pub(crate) struct Ask {
    /// What the browser is asked, as JSON.
    options: String,
    /// Sealed.
    ceremony: String,
}

impl Ask {
    /// Seals a ceremony for a browser, by its key.
    pub(crate) fn new(
        exchange: &Exchange,
        key: &str,
        session: Option<&SessionHash>,
        options: &Value,
        state: CeremonyState,
    ) -> Option<Self> {
        let ceremony = Ceremony { key: key.to_owned(), session: session.map(SessionHash::text), state };
        let ceremony = exchange.snapshot.seal.seal(CEREMONY, &ceremony).ok()?;
        Some(Self { options: options.to_string(), ceremony })
    }

    /// Renders the form around `content`, which has its one button. It stays hidden where there is no script.
    pub(crate) fn form(&self, language: Language, action: &str, state: &str, content: &Markup) -> Markup {
        html! {
            form method="post" action=(format!("{OWN}{action}")) data-webauthn=(self.options) hidden
                data-failed=(Message::KeyFailed.text(language)) data-known=(Message::KeyKnown.text(language)) {
                input type="hidden" name="state" value=(state);
                input type="hidden" name="ceremony" value=(self.ceremony);
                input type="hidden" name="answer" value="";
                (content)
                p.error role="alert" hidden {}
            }
        }
    }
}

/// What is said where there is no script.
pub(crate) fn without_script(language: Language) -> Markup {
    html! { noscript { p.soft { (Message::KeyScript.text(language)) } } }
}

/// Opens a ceremony that began in this browser and session.
pub(crate) fn open(exchange: &Exchange, key: &str, session: Option<&SessionHash>, text: &str) -> Option<CeremonyState> {
    let ceremony: Ceremony = exchange.snapshot.seal.open(CEREMONY, text).ok()?;
    let ours = ceremony.key == key && ceremony.session == session.map(SessionHash::text);
    ours.then_some(ceremony.state)
}

/// Names a kind for the person.
pub(crate) const fn kind(kind: Kind) -> Message {
    match kind {
        Kind::Biometrics => Message::Biometrics,
        Kind::SecurityKey => Message::SecurityKey,
        Kind::Passkey => Message::Passkey,
    }
}

/// Says what a kind is good for.
pub(crate) const fn about(kind: Kind) -> Message {
    match kind {
        Kind::Biometrics => Message::BiometricsText,
        Kind::SecurityKey => Message::SecurityKeyText,
        Kind::Passkey => Message::PasskeyText,
    }
}

/// Names a kind in a record.
pub(crate) const fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Biometrics => "an authenticator on the device",
        Kind::SecurityKey => "a security key",
        Kind::Passkey => "a passkey",
    }
}

/// Says to the person what was wrong.
pub(crate) const fn trouble(error: &WebauthnError) -> (StatusCode, Message) {
    match error {
        WebauthnError::Expired | WebauthnError::Used | WebauthnError::Challenge => {
            (StatusCode::UNAUTHORIZED, Message::KeyStale)
        }
        WebauthnError::TooOften => (StatusCode::TOO_MANY_REQUESTS, Message::TooMany),
        WebauthnError::NotVerified => (StatusCode::UNAUTHORIZED, Message::KeyUnverified),
        WebauthnError::Cloned => (StatusCode::UNAUTHORIZED, Message::KeyCloned),
        WebauthnError::Model(_) | WebauthnError::Unattested => (StatusCode::FORBIDDEN, Message::KeyModel),
        WebauthnError::WrongKind => (StatusCode::FORBIDDEN, Message::KeyWrongKind),
        WebauthnError::Enrolled => (StatusCode::CONFLICT, Message::KeyKnown),
        WebauthnError::UnknownCredential
        | WebauthnError::Malformed
        | WebauthnError::Origin
        | WebauthnError::Refused(_) => (StatusCode::UNAUTHORIZED, Message::KeyRefused),
    }
}
