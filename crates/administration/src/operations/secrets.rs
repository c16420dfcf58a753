//! Secrets of Workers: set, named, deleted, never shown.
//!
//! Invariant: no function here returns a value that was set.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use store::{ReadScripts, ScriptSecretId, WriteScripts};
use types::{ScriptName, Secret};
use utoipa::ToSchema;

use super::scripts::{check_binding_name, missing_script};
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::Failure;

/// Largest value of a secret.
const LARGEST: usize = 5 * 1024;

/// A secret, as far as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SecretView {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
}

impl SecretView {
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), kind: "secret_text" }
    }
}

/// A secret to be set.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSecret {
    pub name: String,
    #[schema(value_type = String)]
    pub text: Secret<String>,
    /// `secret_text`
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
}

/// Many secrets at once; null deletes.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretsPatch {
    #[schema(value_type = Object)]
    pub secrets: BTreeMap<String, Option<NewSecret>>,
}

/// Returns the names of a Worker's secrets.
///
/// # Errors
///
/// `NotFound` without the Worker.
pub async fn list(cx: &OpContext, script: &ScriptName) -> Result<Vec<SecretView>, Failure> {
    let grant = cx.authorize::<ReadScripts>()?;
    cx.store().scripts().get(&grant, script).await?.ok_or_else(missing_script)?;
    let secrets = cx.store().script_secrets().list_of(&grant, script).await?;
    Ok(secrets.into_iter().map(|stored| SecretView::named(stored.id.name)).collect())
}

/// Says whether a secret is set.
///
/// # Errors
///
/// `NotFound` when it is not.
pub async fn get(cx: &OpContext, script: &ScriptName, name: &str) -> Result<SecretView, Failure> {
    list(cx, script).await?.into_iter().find(|secret| secret.name == name).ok_or_else(missing)
}

/// Sets a secret.
///
/// # Errors
///
/// `NotFound` without the Worker, and a [`Failure`] that points at the member at fault.
pub async fn put(cx: &OpContext, script: &ScriptName, new: NewSecret) -> Result<SecretView, Failure> {
    let grant = cx.authorize::<WriteScripts>()?;
    let head = cx.store().scripts().get(&grant, script).await?.ok_or_else(missing_script)?;
    check(&new)?;
    let active = cx.store().script_versions().get(&grant, &head.document.active).await?;
    if active.is_some_and(|version| version.document.bindings.iter().any(|binding| binding.name() == new.name)) {
        return Err(Failure::conflict("/name", "another binding of the Worker has this name"));
    }
    set(cx, &grant, script, new.name, &new.text).await
}

pub async fn set(
    cx: &OpContext,
    grant: &store::Grant<WriteScripts>,
    script: &ScriptName,
    name: String,
    text: &Secret<String>,
) -> Result<SecretView, Failure> {
    let id = ScriptSecretId { script: script.clone(), name: name.clone() };
    cx.store().script_secrets().set(grant, id, text).await?;
    let after = serde_json::json!({"script": script, "name": name});
    cx.record(Change::new(Verb::Update, "script_secret", format!("{script}/{name}")).after(after)).await?;
    Ok(SecretView::named(name))
}

/// Deletes a secret.
///
/// # Errors
///
/// `NotFound` when it is not set.
pub async fn delete(cx: &OpContext, script: &ScriptName, name: &str) -> Result<(), Failure> {
    let grant = cx.authorize::<WriteScripts>()?;
    let id = ScriptSecretId { script: script.clone(), name: name.to_owned() };
    cx.store().script_secrets().get(&grant, &id).await?.ok_or_else(missing)?;
    cx.store().script_secrets().delete(&grant, &id, None).await?;
    let before = serde_json::json!({"script": script, "name": name});
    cx.record(Change::new(Verb::Delete, "script_secret", format!("{script}/{name}")).before(before)).await
}

/// Sets and deletes many secrets.
///
/// # Errors
///
/// `NotFound` without the Worker, and a [`Failure`] that points at the member at fault; nothing is set then.
pub async fn patch(
    cx: &OpContext,
    script: &ScriptName,
    patch: SecretsPatch,
) -> Result<BTreeMap<String, SecretView>, Failure> {
    /// Most secrets of one call.
    const MOST: usize = 100;
    if patch.secrets.len() > MOST {
        return Err(Failure::invalid("/secrets", format!("one call is limited to {MOST} secrets")));
    }
    for (name, new) in &patch.secrets {
        if let Some(new) = new {
            check(new)?;
            if new.name != *name {
                return Err(Failure::invalid(format!("/secrets/{name}/name"), "must be the name it stands under"));
            }
        }
    }
    let mut set = BTreeMap::new();
    for (name, new) in patch.secrets {
        match new {
            Some(new) => {
                set.insert(name, put(cx, script, new).await?);
            }
            None => match delete(cx, script, &name).await {
                Ok(()) => {}
                Err(failure) if failure.code == types::Code::NotFound => {}
                Err(failure) => return Err(failure),
            },
        }
    }
    Ok(set)
}

fn check(new: &NewSecret) -> Result<(), Failure> {
    if new.kind.as_deref().is_some_and(|kind| kind != "secret_text") {
        return Err(Failure::invalid("/type", "only secret_text is offered"));
    }
    check_binding_name("/name", &new.name)?;
    if new.text.expose().len() > LARGEST {
        return Err(Failure::invalid("/text", format!("is limited to {LARGEST} bytes")));
    }
    Ok(())
}

fn missing() -> Failure {
    Failure::not_found("secret").numbered(10056)
}
