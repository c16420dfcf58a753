//! Service tokens (reference section 2.7). Invariant: the secret half is shown once, when it is made or rotated, and only
//! its hash is kept.

use identity::service_token::{ClientId, GRACE, SecretHash, ServiceTokenDocument, TokenLifetime, secret_of};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};
use store::{Collection, PreviousSecret, ServiceToken, Store, StoreError, Stored, WriteServiceTokens};
use types::{Secret, ServiceTokenId};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{AccessView, Kept, random, refused, view};
use crate::auth::OpContext;
use crate::failure::Failure;
use crate::operations::{parse_time, time};

/// What a rotation is asked.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// Until when the old secret works, one hour to thirty days ahead; absent ends it at once.
    #[serde(default)]
    pub previous_client_secret_expires_at: Option<String>,
}

impl Kept for ServiceToken {
    const RESOURCE: &'static str = "service_token";
    const THING: &'static str = "service token";

    fn collection(store: &Store) -> Collection<'_, Self> {
        store.service_tokens()
    }

    fn show(stored: &Stored<Self>) -> Map<String, Value> {
        let token = &stored.document;
        let mut members = Map::new();
        members.insert("name".to_owned(), token.name.clone().into());
        members.insert("client_id".to_owned(), token.client_id.clone().into());
        members.insert("duration".to_owned(), token.duration.clone().into());
        members.insert("enabled".to_owned(), token.enabled.into());
        members.insert("client_secret_version".to_owned(), token.version.into());
        members.insert("expires_at".to_owned(), token.expires_at.map_or(Value::Null, |at| time(at).into()));
        if let Some(previous) = &token.previous {
            let until = time(previous.expires_at);
            members.insert("previous_client_secret_expires_at".to_owned(), until.into());
        }
        members
    }
}

/// Returns every token.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(cx: &OpContext) -> Result<Vec<AccessView>, Failure> {
    let grant = cx.authorize::<store::ReadServiceTokens>()?;
    let uses = cx.store().service_token_uses().list(&grant).await?;
    let seen: std::collections::HashMap<_, _> =
        uses.into_iter().map(|seen| (seen.id.to_string(), seen.document.last_seen_at)).collect();
    let mut views = super::list::<ServiceToken>(cx).await?;
    for view in &mut views {
        if let Some(at) = seen.get(view.text("id")) {
            view.0.insert("last_seen_at".to_owned(), time(*at).into());
        }
    }
    Ok(views)
}

/// Returns one token.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, id: ServiceTokenId) -> Result<AccessView, Failure> {
    let stored = super::load::<ServiceToken>(cx, &id).await?;
    let grant = cx.authorize::<store::ReadServiceTokens>()?;
    let seen = cx.store().service_token_uses().get(&grant, &id).await?;
    let mut view = view(&stored);
    if let Some(seen) = seen {
        view.0.insert("last_seen_at".to_owned(), time(seen.document.last_seen_at).into());
    }
    Ok(view)
}

/// Makes a token; the answer holds its secret.
///
/// # Errors
///
/// A [`Failure`] that points at the member at fault.
pub async fn create(cx: &OpContext, document: &Value) -> Result<AccessView, Failure> {
    let document = ServiceTokenDocument::read(document).map_err(refused)?;
    let (secret, hash) = secret()?;
    let expires_at = expiry(&document, cx.now())?;
    let token = ServiceToken {
        name: document.name.trim().to_owned(),
        client_id: ClientId::of(random()?).to_string(),
        secret_hash: hash,
        version: 1,
        previous: None,
        duration: duration(&document),
        expires_at,
        enabled: document.enabled.unwrap_or(true),
    };
    let stored = super::create(cx, ServiceTokenId(Uuid::new_v4()), token).await?;
    Ok(with_secret(view(&stored), secret))
}

/// Changes a token's name, duration or whether it is enabled; what is not sent stays.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] that points at the member at fault.
pub async fn replace(cx: &OpContext, id: ServiceTokenId, document: &Value) -> Result<AccessView, Failure> {
    cx.authorize::<WriteServiceTokens>()?;
    let before = super::load::<ServiceToken>(cx, &id).await?;
    let mut document = document.clone();
    if let Value::Object(members) = &mut document {
        members.entry("name").or_insert_with(|| before.document.name.clone().into());
        members.entry("duration").or_insert_with(|| before.document.duration.clone().into());
    }
    let document = ServiceTokenDocument::read(&document).map_err(refused)?;
    let duration = duration(&document);
    // A duration counts from the moment the token was made; one that stays keeps what `refresh` added.
    let expires_at = if duration == before.document.duration {
        before.document.expires_at
    } else {
        expiry(&document, before.created_at)?
    };
    let token = ServiceToken {
        name: document.name.trim().to_owned(),
        duration,
        expires_at,
        enabled: document.enabled.unwrap_or(before.document.enabled),
        ..before.document.clone()
    };
    Ok(view(&super::replace(cx, &before, token).await?))
}

/// Deletes a token; it stops working at once.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn delete(cx: &OpContext, id: ServiceTokenId) -> Result<AccessView, Failure> {
    let grant = cx.authorize::<WriteServiceTokens>()?;
    let before = super::load::<ServiceToken>(cx, &id).await?;
    super::delete(cx, &before).await?;
    match cx.store().service_token_uses().delete(&grant, &id, None).await {
        Ok(()) | Err(StoreError::NotFound(_)) => Ok(view(&before)),
        Err(error) => Err(error.into()),
    }
}

/// Moves the expiry a year ahead; a token that never expires stays so.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn refresh(cx: &OpContext, id: ServiceTokenId) -> Result<AccessView, Failure> {
    cx.authorize::<WriteServiceTokens>()?;
    let before = super::load::<ServiceToken>(cx, &id).await?;
    let year = SignedDuration::from_hours(8_760);
    let expires_at = before.document.expires_at.map(|at| at.checked_add(year).unwrap_or(Timestamp::MAX));
    let token = ServiceToken { expires_at, ..before.document.clone() };
    Ok(view(&super::replace(cx, &before, token).await?))
}

/// Makes a new secret; the answer holds it.
///
/// # Errors
///
/// `NotFound`, `InvalidInput` for a grace that is too short or too long.
pub async fn rotate(cx: &OpContext, id: ServiceTokenId, rotation: Rotation) -> Result<AccessView, Failure> {
    const MEMBER: &str = "/previous_client_secret_expires_at";
    cx.authorize::<WriteServiceTokens>()?;
    let before = super::load::<ServiceToken>(cx, &id).await?;
    let until = rotation.previous_client_secret_expires_at.filter(|text| !text.is_empty());
    let previous = match until {
        None => None,
        Some(text) => {
            let expires_at = parse_time(MEMBER, &text)?;
            let grace = expires_at.duration_since(cx.now());
            if grace.is_negative() || !(GRACE[0]..=GRACE[1]).contains(&grace.unsigned_abs()) {
                return Err(Failure::invalid(MEMBER, "the old secret can work for one hour to thirty days more"));
            }
            Some(PreviousSecret { secret_hash: before.document.secret_hash.clone(), expires_at })
        }
    };
    let (secret, secret_hash) = secret()?;
    let version = before.document.version.saturating_add(1);
    let token = ServiceToken { secret_hash, version, previous, ..before.document.clone() };
    Ok(with_secret(view(&super::replace(cx, &before, token).await?), secret))
}

fn secret() -> Result<(Secret<String>, String), Failure> {
    loop {
        if let Some(secret) = secret_of(&random()?) {
            let hash = SecretHash::of(secret.expose()).to_string();
            return Ok((secret, hash));
        }
    }
}

fn duration(document: &ServiceTokenDocument) -> String {
    document.duration.clone().filter(|text| !text.is_empty()).unwrap_or_else(|| "8760h".to_owned())
}

fn expiry(document: &ServiceTokenDocument, from: Timestamp) -> Result<Option<Timestamp>, Failure> {
    match document.lifetime().map_err(|message| Failure::invalid("/duration", message))? {
        TokenLifetime::Forever => Ok(None),
        TokenLifetime::For(length) => {
            let end = from.checked_add(length).map_err(|_| Failure::invalid("/duration", "is too long"))?;
            Ok(Some(end))
        }
    }
}

fn with_secret(mut view: AccessView, secret: Secret<String>) -> AccessView {
    view.0.insert("client_secret".to_owned(), secret.into_inner().into());
    view
}
