//! Identity providers (reference sections 3.1 and 3.3).
//!
//! Invariants: the client's secret is written and never shown; a PUT without it keeps it. The SCIM secret is shown once,
//! in the answer that made it, and only its hash is kept.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::provider::{Provider as Sound, ProviderDocument, ProviderType};
use serde_json::{Map, Value};
use store::{Application, Collection, HashId, Provider, Store, Stored, WriteIdentity};
use types::{Code, ProviderId, Secret};
use uuid::Uuid;

use super::{AccessView, Kept, body, members, random, refused, system, view};
use crate::auth::OpContext;
use crate::failure::Failure;

/// The member of `config` that is sealed.
const CLIENT_SECRET: &str = "client_secret";

impl Kept for Provider {
    const RESOURCE: &'static str = "identity_provider";
    const THING: &'static str = "identity provider";

    fn collection(store: &Store) -> Collection<'_, Self> {
        store.providers()
    }

    fn show(stored: &Stored<Self>) -> Map<String, Value> {
        members(&stored.document.body)
    }
}

/// Returns every provider.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(cx: &OpContext) -> Result<Vec<AccessView>, Failure> {
    let mut all = super::list::<Provider>(cx).await?;
    let sign_in = sign_in_host(cx).await?;
    all.iter_mut().for_each(|view| with_addresses(view, &sign_in, None));
    Ok(all)
}

/// Returns the providers that sign in whoever reads a mailbox.
pub(super) async fn by_mail(cx: &OpContext) -> Result<Vec<ProviderId>, Failure> {
    let grant = system(cx, "find the providers that send codes by mail")?;
    let all = cx.store().providers().list(&grant).await?;
    let word = ProviderType::OneTimePin.as_str();
    Ok(all.into_iter().filter(|found| found.document.body["type"] == word).map(|found| found.id).collect())
}

/// Returns one provider.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, id: ProviderId) -> Result<AccessView, Failure> {
    let stored = super::load::<Provider>(cx, &id).await?;
    shown(cx, &stored, None).await
}

/// Makes a provider. With SCIM enabled the answer holds its secret.
///
/// # Errors
///
/// A [`Failure`] that points at every member at fault.
pub async fn create(cx: &OpContext, document: &Value) -> Result<AccessView, Failure> {
    let id = ProviderId(Uuid::new_v4());
    let (provider, secret) = read(cx, id, document, None)?;
    let stored = super::create(cx, id, provider).await?;
    shown(cx, &stored, secret).await
}

/// Replaces a provider; a client secret that is not sent stays.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] that points at every member at fault.
pub async fn replace(cx: &OpContext, id: ProviderId, document: &Value) -> Result<AccessView, Failure> {
    cx.authorize::<WriteIdentity>()?;
    let before = super::load::<Provider>(cx, &id).await?;
    let (provider, secret) = read(cx, id, document, Some(&before))?;
    let stored = super::replace(cx, &before, provider).await?;
    shown(cx, &stored, secret).await
}

/// Deletes a provider that no application names.
///
/// # Errors
///
/// `NotFound`, `Conflict` when it is in use.
pub async fn delete(cx: &OpContext, id: ProviderId) -> Result<(), Failure> {
    cx.authorize::<WriteIdentity>()?;
    let before = super::load::<Provider>(cx, &id).await?;
    let grant = system(cx, "check that an identity provider is not in use")?;
    let text = Value::from(id.to_string());
    let names = |application: &Stored<Application>| {
        ["/allowed_idps", "/portunus/login_chain"].iter().any(|list| {
            let named = application.document.body.pointer(list).and_then(Value::as_array);
            named.is_some_and(|named| named.contains(&text))
        })
    };
    if let Some(user) = cx.store().applications().list(&grant).await?.iter().find(|found| names(found)) {
        let message = format!("application \"{}\" signs people in with it; change that first", user.document.name);
        return Err(Failure::new(Code::Conflict, message));
    }
    super::remove(cx, &before, async |grant| {
        cx.store().providers().delete_with_directory(grant, id, Some(before.revision)).await
    })
    .await
}

/// Makes a new secret for the provider's directory; the old one stops working. The answer holds it.
///
/// # Errors
///
/// `NotFound`, `InvalidInput` when SCIM is not enabled.
pub async fn refresh_scim_secret(cx: &OpContext, id: ProviderId) -> Result<AccessView, Failure> {
    cx.authorize::<WriteIdentity>()?;
    let before = super::load::<Provider>(cx, &id).await?;
    if !has_scim(&before.document.body) {
        return Err(Failure::invalid("/scim_config/enabled", "SCIM is not enabled for this provider"));
    }
    let (secret, hash) = scim_secret()?;
    let document = Provider { scim_secret_hash: Some(hash), ..before.document.clone() };
    let stored = super::replace(cx, &before, document).await?;
    shown(cx, &stored, Some(secret)).await
}

fn has_scim(body: &Value) -> bool {
    body.pointer("/scim_config/enabled") == Some(&Value::Bool(true))
}

fn scim_secret() -> Result<(Secret<String>, String), Failure> {
    let secret = URL_SAFE_NO_PAD.encode(random::<32>()?);
    let hash = HashId::of(secret.as_bytes()).to_string();
    Ok((Secret::new(secret), hash))
}

async fn shown(
    cx: &OpContext,
    stored: &Stored<Provider>,
    secret: Option<Secret<String>>,
) -> Result<AccessView, Failure> {
    let mut view = view(stored);
    with_addresses(&mut view, &sign_in_host(cx).await?, secret);
    Ok(view)
}

/// Where the endpoints of the sign-in host are.
async fn sign_in_host(cx: &OpContext) -> Result<String, Failure> {
    let organization = super::organization::get(cx).await?;
    let host = organization.text("auth_domain");
    Ok(format!("{}/cdn-cgi/access/", cx.app.deps.addresses.of_access(host)))
}

/// Adds the addresses at which we are reached, which are not the author's to set.
fn with_addresses(view: &mut AccessView, sign_in: &str, secret: Option<Secret<String>>) {
    if view.text("type") == ProviderType::OneTimePin.as_str() {
        let config = view.0.entry("config").or_insert_with(|| Value::Object(Map::new()));
        config["redirect_url"] = format!("{sign_in}callback").into();
    }
    let address = format!("{sign_in}scim/v2/{}", view.text("id"));
    if let Some(Value::Object(scim)) = view.0.get_mut("scim_config")
        && scim.get("enabled") == Some(&Value::Bool(true))
    {
        scim.insert("scim_base_url".to_owned(), address.into());
        if let Some(secret) = secret {
            scim.insert("secret".to_owned(), secret.into_inner().into());
        }
    }
}

fn read(
    cx: &OpContext,
    id: ProviderId,
    document: &Value,
    before: Option<&Stored<Provider>>,
) -> Result<(Provider, Option<Secret<String>>), Failure> {
    let grant = cx.authorize::<WriteIdentity>()?;
    let mut document = ProviderDocument::read(document).map_err(refused)?;
    let sent = document.config.client_secret.take().filter(|secret| !secret.expose().is_empty());
    let kept = before.and_then(|before| before.document.secrets.get(CLIENT_SECRET)).cloned();
    let mut complete = document.clone();
    // Whether there is a secret is all that checking asks.
    complete.config.client_secret = sent.clone().or_else(|| kept.as_ref().map(|_| Secret::new("kept".to_owned())));
    let sound = Sound::parse(id, &complete).map_err(refused)?;
    if let Some(before) = before
        && before.document.body["type"] != sound.kind.as_str()
    {
        return Err(Failure::invalid("/type", "the type of a provider cannot change; make another provider"));
    }
    let sealed = match sent {
        Some(secret) => Some(cx.store().providers().seal_member(&grant, &id, CLIENT_SECRET, &secret)?),
        None => kept,
    };
    let secrets: BTreeMap<_, _> = sealed.map(|sealed| (CLIENT_SECRET.to_owned(), sealed)).into_iter().collect();
    let body = body(&document)?;
    let standing = before.and_then(|before| before.document.scim_secret_hash.clone());
    let (secret, scim_secret_hash) = match standing {
        _ if !has_scim(&body) => (None, None),
        Some(hash) => (None, Some(hash)),
        None => scim_secret().map(|(secret, hash)| (Some(secret), Some(hash)))?,
    };
    Ok((Provider { name: sound.name, body, secrets, scim_secret_hash }, secret))
}
