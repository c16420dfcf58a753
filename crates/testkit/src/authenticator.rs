//! An authenticator in software, with the browser around it: what it is asked by a page, it answers as a browser writes it.
//!
//! It holds one credential and verifies its user each time. Invariant: it answers for the origin it is shown, so that what a
//! page elsewhere gets from it is what a phisher would get.

use anyhow::{Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use passkey::authenticator::{Authenticator, UiHint, UserCheck, UserValidationMethod};
use passkey::client::{Client, DefaultClientData};
use passkey::crypto::AvailableBackend;
use passkey::types::Passkey;
use passkey::types::ctap2::{Aaguid, Ctap2Error};
use passkey::types::webauthn::{AuthenticatorTransport, CredentialCreationOptions, CredentialRequestOptions};
use serde_json::Value;
use url::Url;

/// A finger that is always there.
struct Finger;

#[async_trait::async_trait]
impl UserValidationMethod for Finger {
    type PasskeyItem = Passkey;

    async fn check_user<'a>(
        &self,
        _hint: UiHint<'a, Self::PasskeyItem>,
        _presence: bool,
        verification: bool,
    ) -> Result<UserCheck, Ctap2Error> {
        Ok(UserCheck { presence: true, verification })
    }

    fn is_presence_enabled(&self) -> bool {
        true
    }

    fn is_verification_enabled(&self) -> Option<bool> {
        Some(true)
    }
}

/// An authenticator and its browser.
pub struct SoftwareAuthenticator {
    client: Client<Option<Passkey>, Finger, AvailableBackend, public_suffix::PublicSuffixList, ()>,
    roams: bool,
}

/// What an authenticator held at some time.
#[derive(Clone)]
pub struct HeldCredential(Option<Passkey>);

impl HeldCredential {
    /// Returns the id of the credential in base64url.
    #[must_use]
    pub fn id(&self) -> Option<String> {
        self.0.as_ref().map(|held| URL_SAFE_NO_PAD.encode(held.credential_id.as_slice()))
    }
}

impl SoftwareAuthenticator {
    /// Makes one of a model, on a USB key or on the device itself. A key counts its signatures.
    #[must_use]
    pub fn new(model: [u8; 16], roams: bool) -> Self {
        let transport = if roams { AuthenticatorTransport::Usb } else { AuthenticatorTransport::Internal };
        let device = Authenticator::new(Aaguid::from(model), None, Finger, AvailableBackend);
        let made = Self { client: Client::new(device.transports(vec![transport])), roams };
        made.counting(roams)
    }

    /// Says whether credentials it makes count their signatures.
    #[must_use]
    pub fn counting(mut self, counts: bool) -> Self {
        self.client.authenticator_mut().set_make_credentials_with_signature_counter(counts);
        self
    }

    /// Answers what a page at `origin` asks, be it for a credential or for a proof.
    ///
    /// # Errors
    /// It does not understand, or must not answer there.
    pub async fn answer(&mut self, origin: &Url, options: &Value) -> Result<Value> {
        let refused = |error| anyhow!("the authenticator does not answer: {error:?}");
        let mut answer = if options["publicKey"]["user"].is_object() {
            let options: CredentialCreationOptions = serde_json::from_value(options.clone())?;
            serde_json::to_value(self.client.register(origin, options, DefaultClientData).await.map_err(refused)?)?
        } else {
            let options: CredentialRequestOptions = serde_json::from_value(options.clone())?;
            serde_json::to_value(self.client.authenticate(origin, options, DefaultClientData).await.map_err(refused)?)?
        };
        text(&mut answer);
        // The library calls every authenticator a part of the device.
        answer["authenticatorAttachment"] = if self.roams { "cross-platform" } else { "platform" }.into();
        Ok(answer)
    }

    /// Copies what it holds, as a thief would.
    #[must_use]
    pub fn held(&mut self) -> HeldCredential {
        HeldCredential(self.client.authenticator_mut().store().clone())
    }

    /// Puts back what it held before.
    pub fn hold(&mut self, held: HeldCredential) {
        *self.client.authenticator_mut().store_mut() = held.0;
    }
}

/// Turns lists of bytes, as the library writes them, into base64url, as `toJSON` of browsers does.
fn text(value: &mut Value) {
    let byte = |item: &Value| item.as_u64().and_then(|number| u8::try_from(number).ok());
    match value {
        Value::Array(items) => match items.iter().map(byte).collect::<Option<Vec<u8>>>() {
            Some(bytes) if !bytes.is_empty() => *value = URL_SAFE_NO_PAD.encode(bytes).into(),
            Some(_) | None => {}
        },
        Value::Object(members) => members.values_mut().for_each(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
