//! The people whose traffic is decided, and the tokens they show the proxy.
//!
//! Invariants: an address names one person; a proxy token's text is shown once.

use serde::{Deserialize, Serialize};
use store::{Group, ProxyToken, ReadUsers, StoreError, Stored, User, WriteUsers};
use types::{Email, Secret, TokenId, UserId};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{check_name, parse_time, time};
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::Failure;

/// Most groups of one person.
const MOST_GROUPS: usize = 500;

/// A person, as the API shows them.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PersonView {
    pub id: String,
    pub email: String,
    pub name: String,
    pub groups: Vec<GroupView>,
    pub disabled: bool,
    pub created_at: String,
    pub updated_at: String,
}

/// A group a person is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupView {
    /// The same as the name where the directory gives no id.
    #[serde(default)]
    pub id: String,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// A person to be added or replaced.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PersonBody {
    pub email: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub groups: Vec<GroupView>,
    #[serde(default)]
    pub disabled: bool,
}

/// A proxy token, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProxyTokenView {
    pub id: String,
    pub user_id: String,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_on: Option<String>,
    pub created_at: String,
    /// The token itself, the password for the proxy; only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A proxy token to be made.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProxyToken {
    #[serde(default)]
    pub name: String,
    pub expires_on: Option<String>,
}

fn view(stored: Stored<User>) -> PersonView {
    let document = stored.document;
    let groups = document.groups.into_iter();
    PersonView {
        id: stored.id.to_string(),
        email: document.email.to_string(),
        name: document.name,
        groups: groups.map(|Group { id, name, email }| GroupView { id, name, email }).collect(),
        disabled: document.disabled,
        created_at: time(stored.created_at),
        updated_at: time(stored.updated_at),
    }
}

fn token_view(stored: &Stored<ProxyToken>, value: Option<Secret<String>>) -> ProxyTokenView {
    ProxyTokenView {
        id: stored.id.to_string(),
        user_id: stored.document.user.to_string(),
        name: stored.document.name.clone(),
        expires_on: stored.document.expires_at.map(time),
        created_at: time(stored.created_at),
        value: value.map(Secret::into_inner),
    }
}

/// Returns everyone.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(cx: &OpContext) -> Result<Vec<PersonView>, Failure> {
    let grant = cx.authorize::<ReadUsers>()?;
    Ok(cx.store().users().list(&grant).await?.into_iter().map(view).collect())
}

/// Returns someone who is not disabled, the one there longest, if there is anyone.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn anyone(cx: &OpContext) -> Result<Option<PersonView>, Failure> {
    let grant = cx.authorize::<ReadUsers>()?;
    let some = cx.store().users().first(&grant, 20).await?;
    Ok(some.into_iter().find(|user| !user.document.disabled).map(view))
}

/// Returns one person.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, id: UserId) -> Result<PersonView, Failure> {
    let grant = cx.authorize::<ReadUsers>()?;
    Ok(view(cx.store().users().get(&grant, &id).await?.ok_or_else(missing)?))
}

/// Adds a person.
///
/// # Errors
///
/// A [`Failure`] that points at the member at fault.
pub async fn create(cx: &OpContext, body: PersonBody) -> Result<PersonView, Failure> {
    let grant = cx.authorize::<WriteUsers>()?;
    let document = read(body)?;
    let id = UserId(Uuid::now_v7());
    let after = summary(&document);
    let stored = cx.store().users().create(&grant, id, document).await.map_err(address_taken)?;
    cx.record(Change::new(Verb::Create, "user", id).after(after)).await?;
    Ok(view(stored))
}

/// Replaces what is known of a person.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] that points at the member at fault.
pub async fn replace(cx: &OpContext, id: UserId, body: PersonBody) -> Result<PersonView, Failure> {
    let grant = cx.authorize::<WriteUsers>()?;
    let document = read(body)?;
    let before = cx.store().users().get(&grant, &id).await?.ok_or_else(missing)?;
    let after = summary(&document);
    let saved = cx.store().users().replace(&grant, id, document, Some(before.revision)).await;
    let stored = saved.map_err(address_taken)?;
    if stored.document.disabled && !before.document.disabled {
        let operate = super::access::system(cx, "end the sessions of a person who is disabled")?;
        cx.store().access_sessions().end_all(&operate, id).await?;
    }
    cx.record(Change::new(Verb::Update, "user", id).before(summary(&before.document)).after(after)).await?;
    Ok(view(stored))
}

/// Removes a person with everything that is theirs; their sessions end.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn delete(cx: &OpContext, id: UserId) -> Result<(), Failure> {
    let grant = cx.authorize::<WriteUsers>()?;
    let before = cx.store().users().get(&grant, &id).await?.ok_or_else(missing)?;
    let operate = super::access::system(cx, "end the sessions of a person who is removed")?;
    cx.store().access_sessions().end_all(&operate, id).await?;
    cx.store().users().delete_with_tokens(&grant, id).await?;
    cx.record(Change::new(Verb::Delete, "user", id).before(summary(&before.document))).await
}

/// Returns a person's proxy tokens, without their text.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn tokens(cx: &OpContext, id: UserId) -> Result<Vec<ProxyTokenView>, Failure> {
    let grant = cx.authorize::<ReadUsers>()?;
    cx.store().users().get(&grant, &id).await?.ok_or_else(missing)?;
    let tokens = cx.store().proxy_tokens().list_of(&grant, id).await?;
    Ok(tokens.iter().map(|stored| token_view(stored, None)).collect())
}

/// Makes a proxy token for a person; the answer holds its text.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn issue_token(cx: &OpContext, id: UserId, new: NewProxyToken) -> Result<ProxyTokenView, Failure> {
    let grant = cx.authorize::<WriteUsers>()?;
    if !new.name.is_empty() {
        check_name("/name", &new.name, 120)?;
    }
    let expires_at = new.expires_on.map(|text| parse_time("/expires_on", &text)).transpose()?;
    cx.store().users().get(&grant, &id).await?.ok_or_else(missing)?;
    let (stored, secret) = cx.store().proxy_tokens().issue(&grant, id, new.name, expires_at).await?;
    let after = serde_json::json!({"user": id.to_string(), "name": stored.document.name});
    cx.record(Change::new(Verb::Create, "proxy_token", stored.id).after(after)).await?;
    Ok(token_view(&stored, Some(secret)))
}

/// Revokes a proxy token.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn revoke_token(cx: &OpContext, id: UserId, token: TokenId) -> Result<(), Failure> {
    let grant = cx.authorize::<WriteUsers>()?;
    let found = cx.store().proxy_tokens().get(&grant, &token).await?;
    let found = found.filter(|stored| stored.document.user == id).ok_or_else(|| Failure::not_found("proxy token"))?;
    cx.store().proxy_tokens().delete(&grant, &token, Some(found.revision)).await?;
    let before = serde_json::json!({"user": id.to_string(), "name": found.document.name});
    cx.record(Change::new(Verb::Delete, "proxy_token", token).before(before)).await
}

fn read(body: PersonBody) -> Result<User, Failure> {
    let email = read_email("/email", &body.email)?;
    if !body.name.is_empty() {
        check_name("/name", &body.name, 255)?;
    }
    if body.groups.len() > MOST_GROUPS {
        return Err(Failure::invalid("/groups", format!("is limited to {MOST_GROUPS} groups")));
    }
    let mut groups = Vec::with_capacity(body.groups.len());
    for (index, group) in body.groups.into_iter().enumerate() {
        check_name(&format!("/groups/{index}/name"), &group.name, 255)?;
        let id = if group.id.is_empty() { group.name.clone() } else { group.id };
        check_name(&format!("/groups/{index}/id"), &id, 255)?;
        groups.push(Group { id, name: group.name, email: group.email });
    }
    Ok(User { email, name: body.name, groups, disabled: body.disabled })
}

/// Reads an address as people type it: case and outer spaces do not count.
pub fn read_email(pointer: &str, text: &str) -> Result<Email, Failure> {
    let invalid = |_| Failure::invalid(pointer, "must be an e-mail address as in ada@example.com");
    text.trim().to_lowercase().parse().map_err(invalid)
}

fn missing() -> Failure {
    Failure::not_found("user")
}

fn address_taken(error: StoreError) -> Failure {
    crate::failure::taken(error, || Failure::conflict("/email", "another person has this address"))
}

fn summary(user: &User) -> serde_json::Value {
    let groups: Vec<_> = user.groups.iter().map(|group| &group.name).collect();
    serde_json::json!({"email": user.email, "name": user.name, "groups": groups, "disabled": user.disabled})
}
