//! API tokens and what they may do, in the shape v4 clients know: policies of permission groups.
//!
//! Invariants: a token's text is shown once; nobody issues a token that may do more than they may themselves.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::{NewToken, Permission, Permissions, ReadTokens, Stored, Token, WriteTokens};
use types::{Code, Secret, TokenId};
use utoipa::ToSchema;

use super::{check_name, parse_time, time};
use crate::audit::{Change, Verb};
use crate::auth::{Credential, OpContext};
use crate::failure::Failure;

/// A token, as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TokenView {
    pub id: String,
    pub name: String,
    /// `active`, `disabled` or `expired`
    pub status: &'static str,
    pub issued_on: String,
    pub modified_on: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_on: Option<String>,
    #[schema(value_type = Vec<Object>)]
    pub policies: Vec<Value>,
    /// The same as words, for people.
    #[schema(value_type = Vec<String>)]
    pub permissions: Permissions,
    /// The token itself; only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// What a token verifies as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Verified {
    pub id: String,
    pub status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_on: Option<String>,
}

/// A token to be made or replaced.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenBody {
    pub name: String,
    #[serde(default)]
    pub policies: Vec<Policy>,
    /// Short for one policy over this account: words such as `gateway:write`.
    #[serde(default)]
    pub permissions: Vec<String>,
    #[serde(default)]
    pub not_before: Option<String>,
    #[serde(default)]
    pub expires_on: Option<String>,
    /// `active` or `disabled`
    #[serde(default)]
    pub status: Option<String>,
    /// Not offered; a token that should be bound to addresses is refused, so that it is not wider than its author thinks.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub condition: Option<Value>,
}

/// One policy of a token.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    #[serde(default, rename = "id")]
    #[schema(read_only)]
    pub _id: Option<String>,
    /// `allow`
    pub effect: String,
    pub permission_groups: Vec<PermissionGroupRef>,
    /// `{"com.cloudflare.api.account.<id>": "*"}`
    #[serde(default)]
    #[schema(value_type = Object)]
    pub resources: Map<String, Value>,
}

/// Names a permission group by its id, or by the word of the permission.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PermissionGroupRef {
    pub id: String,
    #[serde(default, rename = "name")]
    pub _name: Option<String>,
    #[serde(default, rename = "meta")]
    #[schema(value_type = Option<Object>)]
    pub _meta: Option<Value>,
}

/// A permission group that tokens can be made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PermissionGroup {
    pub id: String,
    pub name: String,
    /// The word of the permission.
    pub key: String,
    pub scopes: Vec<String>,
}

/// The id of a permission's group: stable, derived from its word.
fn group_id(permission: Permission) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, permission.as_str().as_bytes());
    digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns every permission group.
#[must_use]
pub fn permission_groups() -> Vec<PermissionGroup> {
    let groups = Permission::ALL.iter().map(|permission| PermissionGroup {
        id: group_id(*permission),
        name: permission.cloudflare_name().to_owned(),
        key: permission.to_string(),
        scopes: vec!["com.cloudflare.api.account".to_owned()],
    });
    groups.collect()
}

fn find_group(text: &str) -> Option<Permission> {
    let same = |permission: &&Permission| {
        permission.as_str() == text || permission.cloudflare_name() == text || group_id(**permission) == text
    };
    Permission::ALL.iter().find(same).copied()
}

fn view(cx: &OpContext, stored: &Stored<Token>, value: Option<Secret<String>>) -> TokenView {
    let document = &stored.document;
    let groups: Vec<_> = document
        .permissions
        .iter()
        .map(|permission| serde_json::json!({"id": group_id(permission), "name": permission.cloudflare_name()}))
        .collect();
    let policy = serde_json::json!({
        "id": stored.id.to_string(),
        "effect": "allow",
        "permission_groups": groups,
        "resources": {format!("com.cloudflare.api.account.{}", cx.account): "*"},
    });
    TokenView {
        id: stored.id.to_string(),
        name: document.name.clone(),
        status: status(document, cx.now()),
        issued_on: time(stored.created_at),
        modified_on: time(stored.updated_at),
        not_before: document.not_before.map(time),
        expires_on: document.expires_at.map(time),
        policies: vec![policy],
        permissions: document.permissions,
        value: value.map(Secret::into_inner),
    }
}

fn status(token: &Token, now: Timestamp) -> &'static str {
    match token.expires_at {
        _ if token.disabled => "disabled",
        Some(end) if end <= now => "expired",
        _ => "active",
    }
}

/// Returns every token, newest first.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(cx: &OpContext) -> Result<Vec<TokenView>, Failure> {
    let grant = cx.authorize::<ReadTokens>()?;
    let tokens = cx.store().tokens().list(&grant).await?;
    Ok(tokens.iter().rev().map(|stored| view(cx, stored, None)).collect())
}

/// Returns one token.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, id: TokenId) -> Result<TokenView, Failure> {
    let grant = cx.authorize::<ReadTokens>()?;
    let stored = cx.store().tokens().get(&grant, &id).await?.ok_or_else(missing)?;
    Ok(view(cx, &stored, None))
}

/// Says what the caller's own credential is.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn verify(cx: &OpContext) -> Result<Verified, Failure> {
    let Credential::Token(id) = cx.caller.credential else {
        let message = "this call tells about an API token; the console session is not one";
        return Err(Failure::new(Code::InvalidInput, message));
    };
    // A token may always ask about itself, whatever it may do otherwise.
    let grant = store::Principal::system("verify a token").authorize::<ReadTokens>(cx.account)?;
    let stored = cx.store().tokens().get(&grant, &id).await?.ok_or_else(missing)?;
    let Token { not_before, expires_at, .. } = stored.document;
    let status = status(&stored.document, cx.now());
    Ok(Verified { id: id.to_string(), status, not_before: not_before.map(time), expires_on: expires_at.map(time) })
}

/// Makes a token; the answer holds its text.
///
/// # Errors
///
/// A [`Failure`] that points at the member at fault.
pub async fn create(cx: &OpContext, body: TokenBody) -> Result<TokenView, Failure> {
    let grant = cx.authorize::<WriteTokens>()?;
    let read = read(cx, body)?;
    let new = NewToken {
        name: read.name,
        permissions: read.permissions,
        not_before: read.not_before,
        expires_at: read.expires_at,
    };
    let (stored, secret) = cx.store().tokens().issue(&grant, new).await?;
    cx.record(Change::new(Verb::Create, "token", stored.id).after(summary(&stored.document))).await?;
    Ok(view(cx, &stored, Some(secret)))
}

/// Replaces what a token may do; its text stays.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] that points at the member at fault.
pub async fn replace(cx: &OpContext, id: TokenId, body: TokenBody) -> Result<TokenView, Failure> {
    let grant = cx.authorize::<WriteTokens>()?;
    let before = cx.store().tokens().get(&grant, &id).await?.ok_or_else(missing)?;
    may_hand_out(cx, before.document.permissions)?;
    let Read { name, permissions, not_before, expires_at, disabled } = read(cx, body)?;
    let secret_hash = before.document.secret_hash.clone();
    let disabled = disabled.unwrap_or(before.document.disabled);
    let document = Token { name, secret_hash, permissions, not_before, expires_at, disabled };
    let stored = cx.store().tokens().replace(&grant, id, document, Some(before.revision)).await?;
    let change = Change::new(Verb::Update, "token", id).before(summary(&before.document));
    cx.record(change.after(summary(&stored.document))).await?;
    Ok(view(cx, &stored, None))
}

/// Gives a token a new text and returns it.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn roll(cx: &OpContext, id: TokenId) -> Result<String, Failure> {
    let grant = cx.authorize::<WriteTokens>()?;
    let before = cx.store().tokens().get(&grant, &id).await?.ok_or_else(missing)?;
    // Rolling hands out a working credential with the permissions that stand.
    may_hand_out(cx, before.document.permissions)?;
    let (_, secret) = cx.store().tokens().roll(&grant, id).await?;
    cx.record(Change::new(Verb::Update, "token", id).after(serde_json::json!({"value": "rolled"}))).await?;
    Ok(secret.into_inner())
}

/// Revokes a token.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn delete(cx: &OpContext, id: TokenId) -> Result<(), Failure> {
    let grant = cx.authorize::<WriteTokens>()?;
    let before = cx.store().tokens().get(&grant, &id).await?.ok_or_else(missing)?;
    cx.store().tokens().delete(&grant, &id, None).await?;
    cx.record(Change::new(Verb::Delete, "token", id).before(summary(&before.document))).await
}

struct Read {
    name: String,
    permissions: Permissions,
    not_before: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    disabled: Option<bool>,
}

fn read(cx: &OpContext, body: TokenBody) -> Result<Read, Failure> {
    check_name("/name", &body.name, 120)?;
    if body.condition.is_some_and(|condition| !condition.is_null() && condition != serde_json::json!({})) {
        let message = "tokens cannot be bound to addresses here; leave the condition out";
        return Err(Failure::invalid("/condition", message));
    }
    let disabled = match body.status.as_deref() {
        None => None,
        Some("active") => Some(false),
        Some("disabled") => Some(true),
        Some(_) => return Err(Failure::invalid("/status", "must be active or disabled")),
    };
    let mut permissions = Permissions::NONE;
    for (index, word) in body.permissions.iter().enumerate() {
        let unknown = || Failure::invalid(format!("/permissions/{index}"), "there is no such permission");
        permissions = permissions.with(find_group(word).ok_or_else(unknown)?);
    }
    for (index, policy) in body.policies.iter().enumerate() {
        permissions = read_policy(cx, index, policy)?.iter().fold(permissions, Permissions::with);
    }
    if permissions.is_empty() {
        return Err(Failure::invalid("/policies", "a token needs at least one permission"));
    }
    may_hand_out(cx, permissions)?;
    let at = |pointer: &str, text: Option<String>| text.map(|text| parse_time(pointer, &text)).transpose();
    let not_before = at("/not_before", body.not_before)?;
    let expires_at = at("/expires_on", body.expires_on)?;
    if expires_at.is_some_and(|end| end <= cx.now()) {
        return Err(Failure::invalid("/expires_on", "must lie in the future"));
    }
    Ok(Read { name: body.name, permissions, not_before, expires_at, disabled })
}

fn read_policy(cx: &OpContext, index: usize, policy: &Policy) -> Result<Permissions, Failure> {
    if policy.effect != "allow" {
        let message = "only allow is offered; a token may do nothing that is not allowed";
        return Err(Failure::invalid(format!("/policies/{index}/effect"), message));
    }
    let own = format!("com.cloudflare.api.account.{}", cx.account);
    for (name, value) in &policy.resources {
        let ours = *name == own || name == "com.cloudflare.api.account.*";
        if !ours || value.as_str() != Some("*") {
            let message = format!("the only resource is {{\"{own}\": \"*\"}}");
            return Err(Failure::invalid(format!("/policies/{index}/resources"), message));
        }
    }
    let mut permissions = Permissions::NONE;
    for (place, group) in policy.permission_groups.iter().enumerate() {
        let pointer = format!("/policies/{index}/permission_groups/{place}/id");
        let unknown =
            || Failure::invalid(pointer, "there is no such permission group; list them at tokens/permission_groups");
        permissions = permissions.with(find_group(&group.id).ok_or_else(unknown)?);
    }
    Ok(permissions)
}

/// Nobody hands out what they do not have.
pub fn may_hand_out(cx: &OpContext, permissions: Permissions) -> Result<(), Failure> {
    let own = cx.caller.principal.permissions();
    match permissions.iter().find(|permission| !own.allow(*permission)) {
        None => Ok(()),
        Some(permission) => Err(Failure::new(
            Code::PermissionDenied,
            format!("the credential cannot hand out the permission \"{permission}\", because it lacks it"),
        )),
    }
}

fn missing() -> Failure {
    Failure::not_found("token")
}

fn summary(token: &Token) -> Value {
    serde_json::json!({
        "name": token.name,
        "permissions": token.permissions,
        "not_before": token.not_before.map(time),
        "expires_on": token.expires_at.map(time),
        "disabled": token.disabled,
    })
}
