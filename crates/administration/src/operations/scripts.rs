//! Workers: upload, versions, content, settings, triggers.
//!
//! A version never changes: whatever alters code or bindings makes a new one. Invariants: what is stored compiles; nobody
//! uploads code that runs with permissions they do not hold.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{
    Binding, Cron, Isolation, Module, ReadScripts, Schedule, Script, ScriptLimits, ScriptVersion, StoreError, Stored,
    WriteScripts,
};
use types::{Code, ScriptName, VersionId};
use utoipa::ToSchema;
use uuid::Uuid;

use super::upload::Metadata;
use super::{modules, secrets, time, tokens, upload};
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::Failure;

/// Most cron triggers of one Worker.
const MOST_CRONS: usize = 10;

/// A Worker, as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ScriptView {
    pub id: String,
    /// Hash of the modules.
    pub etag: String,
    pub tag: String,
    pub tags: Vec<String>,
    pub created_on: String,
    pub modified_on: String,
    pub has_modules: bool,
    pub has_assets: bool,
    pub entry_point: String,
    pub handlers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compatibility_date: Option<String>,
    pub compatibility_flags: Vec<String>,
    pub usage_model: &'static str,
    pub logpush: bool,
    /// The version that serves.
    pub deployment_id: String,
    pub startup_time_ms: u64,
    pub egress: Vec<String>,
    #[schema(value_type = String)]
    pub isolation: Isolation,
}

/// What a version is bound to.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SettingsView {
    /// Secrets are named, never shown.
    #[schema(value_type = Vec<Object>)]
    pub bindings: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compatibility_date: Option<String>,
    pub compatibility_flags: Vec<String>,
    pub usage_model: &'static str,
    pub logpush: bool,
    pub tags: Vec<String>,
    #[schema(value_type = Object)]
    pub limits: ScriptLimits,
    pub egress: Vec<String>,
    #[schema(value_type = String)]
    pub isolation: Isolation,
    pub queues: Vec<String>,
    #[schema(value_type = Object)]
    pub annotations: BTreeMap<String, String>,
}

/// What belongs to the Worker and not to a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ScriptSettingsView {
    pub logpush: bool,
    pub tags: Vec<String>,
    #[schema(value_type = Vec<Object>)]
    pub tail_consumers: Vec<Value>,
}

/// A version of a Worker.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct VersionView {
    pub id: String,
    pub number: u64,
    #[schema(value_type = Object)]
    pub metadata: Value,
    #[schema(value_type = Object)]
    pub annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub resources: Option<Value>,
    pub startup_time_ms: u64,
}

/// One page member of the version listing.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct VersionList {
    pub items: Vec<VersionView>,
}

/// Which version serves.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DeploymentView {
    pub id: String,
    pub created_on: String,
    pub source: &'static str,
    pub strategy: &'static str,
    #[schema(value_type = Vec<Object>)]
    pub versions: Vec<Value>,
    #[schema(value_type = Object)]
    pub annotations: BTreeMap<String, String>,
}

/// Every deployment that can be shown: the one that serves.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct DeploymentList {
    pub deployments: Vec<DeploymentView>,
}

/// A deployment to be made: one version with all of the traffic.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDeployment {
    /// `percentage`
    pub strategy: String,
    pub versions: Vec<Share>,
    #[serde(default, rename = "force")]
    pub _force: Option<bool>,
    #[serde(default, rename = "annotations")]
    #[schema(value_type = Option<Object>)]
    pub _annotations: Option<Value>,
}

/// How much of the traffic a version gets.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// 100; splitting traffic is not offered.
    pub percentage: f64,
    pub version_id: String,
}

/// A Worker's cron triggers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Schedules {
    pub schedules: Vec<CronView>,
}

/// One cron trigger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CronView {
    pub cron: String,
    pub created_on: String,
    pub modified_on: String,
}

/// One cron trigger to be set.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCron {
    /// Five fields, in UTC.
    pub cron: String,
    #[serde(default, rename = "created_on")]
    pub _created_on: Option<String>,
    #[serde(default, rename = "modified_on")]
    pub _modified_on: Option<String>,
}

/// Everything of one version that is shown.
#[derive(Debug, Clone)]
pub struct Content {
    pub main: String,
    pub modules: Vec<Module>,
    pub etag: String,
}

/// Returns every Worker.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(cx: &OpContext) -> Result<Vec<ScriptView>, Failure> {
    let grant = cx.authorize::<ReadScripts>()?;
    let scripts = cx.store().scripts().list(&grant).await?;
    let mut views = Vec::with_capacity(scripts.len());
    for script in scripts {
        // A version can be gone by now if the Worker was deleted meanwhile.
        if let Some(version) = cx.store().script_versions().get(&grant, &script.document.active).await? {
            views.push(view(&script, &version));
        }
    }
    Ok(views)
}

/// Returns one Worker.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, name: &ScriptName) -> Result<ScriptView, Failure> {
    let (script, version) = active(cx, name).await?;
    Ok(view(&script, &version))
}

/// Returns the source of the version that serves.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn content(cx: &OpContext, name: &ScriptName) -> Result<Content, Failure> {
    let (_, version) = active(cx, name).await?;
    content_of(cx, &version).await
}

pub async fn content_of(cx: &OpContext, version: &Stored<ScriptVersion>) -> Result<Content, Failure> {
    let grant = cx.authorize::<ReadScripts>()?;
    let content = cx.store().scripts().content(&grant, version.id).await?.ok_or_else(missing_script)?;
    let main = version.document.main_module.clone();
    let etag = modules::etag(&main, &content.document.modules);
    Ok(Content { main, modules: content.document.modules, etag })
}

pub async fn active(cx: &OpContext, name: &ScriptName) -> Result<(Stored<Script>, Stored<ScriptVersion>), Failure> {
    let grant = cx.authorize::<ReadScripts>()?;
    let script = cx.store().scripts().get(&grant, name).await?.ok_or_else(missing_script)?;
    let version =
        cx.store().script_versions().get(&grant, &script.document.active).await?.ok_or_else(missing_script)?;
    Ok((script, version))
}

/// An upload, as its parts were read.
#[derive(Debug)]
pub struct Upload {
    pub metadata: Metadata,
    pub modules: Vec<Module>,
}

/// What an upload does once it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serve {
    /// The new version serves at once.
    Now,
    /// It waits to be deployed.
    Later,
}

/// Stores a new version of a Worker, which is made if it does not exist.
///
/// # Errors
///
/// A [`Failure`] that names the module, line and column, or points at the member at fault.
pub async fn put(
    cx: &OpContext,
    name: &ScriptName,
    upload: Upload,
    serve: Serve,
) -> Result<(ScriptView, VersionView), Failure> {
    let grant = cx.authorize::<WriteScripts>()?;
    upload.metadata.check()?;
    let before = match cx.store().scripts().get(&grant, name).await? {
        Some(script) => cx.store().script_versions().get(&grant, &script.document.active).await?,
        None => None,
    };
    let Some(main) = upload.metadata.main().map(normal_name) else {
        return Err(Failure::invalid("/main_module", "name the module that exports the handlers").numbered(10021));
    };
    let old_secrets = if before.is_some() { secret_names(cx, name).await? } else { Vec::new() };
    let old_bindings = before.as_ref().map(|version| version.document.bindings.clone()).unwrap_or_default();
    let bindings = upload.metadata.bindings(&old_bindings, &old_secrets)?.unwrap_or_default();
    check_reach(cx, &bindings.bound)?;
    check_clashes(&bindings, &old_secrets)?;
    modules::check(&main, &upload.modules)?;
    compile(&main, &upload.modules).await?;
    let version = ScriptVersion {
        script: name.clone(),
        number: 0,
        main_module: main,
        modules: Vec::new(),
        bindings: bindings.bound,
        egress: upload.metadata.egress()?.unwrap_or_default(),
        compatibility_date: upload.metadata.compatibility_date.clone(),
        compatibility_flags: upload.metadata.compatibility_flags.clone().unwrap_or_default(),
        limits: upload.metadata.limits()?.unwrap_or_default(),
        isolation: upload.metadata.isolation()?.unwrap_or_default(),
        queues: upload.metadata.queues()?.unwrap_or_default(),
        annotations: upload.metadata.annotations.clone().unwrap_or_default(),
    };
    // An existing Worker gets its secrets first, so that the new version never runs without them.
    if before.is_some() {
        set_secrets(cx, &grant, name, &bindings.secrets).await?;
    }
    let etag = modules::etag(&version.main_module, &upload.modules);
    let saved = save(cx, &grant, name, version, upload.modules, serve, etag).await?;
    if before.is_none() {
        set_secrets(cx, &grant, name, &bindings.secrets).await?;
    }
    if let Some(tags) = upload.metadata.tags {
        set_tags(cx, name, tags).await?;
    }
    Ok((get(cx, name).await?, version_view(&saved, false)))
}

async fn save(
    cx: &OpContext,
    grant: &store::Grant<WriteScripts>,
    name: &ScriptName,
    mut version: ScriptVersion,
    modules: Vec<Module>,
    serve: Serve,
    etag: String,
) -> Result<Stored<ScriptVersion>, Failure> {
    version.annotations.insert(ETAG.to_owned(), etag.clone());
    version.annotations.insert(AUTHOR.to_owned(), crate::audit::actor_name(cx.actor()));
    let id = VersionId(Uuid::now_v7());
    let activate = serve == Serve::Now;
    let uploaded = cx.store().scripts().upload(grant, name, id, version, modules, activate).await;
    let (_, stored) = uploaded.map_err(|error| {
        if matches!(error, StoreError::Stale(_)) {
            let message = "someone else uploaded this Worker at the same time; upload it again";
            return Failure::new(Code::Stale, message);
        }
        error.into()
    })?;
    let after = json!({
        "version": id.to_string(),
        "number": stored.document.number,
        "etag": etag,
        "active": activate,
        "egress": stored.document.egress,
        "bindings": stored.document.bindings.iter().map(|binding| {
            json!({"name": binding.name(), "type": upload::binding_kind(binding)})
        }).collect::<Vec<_>>(),
    });
    cx.record(Change::new(Verb::Update, "script", name).after(after)).await?;
    Ok(stored)
}

const ETAG: &str = "portunus/etag";
const AUTHOR: &str = "portunus/author";

/// Finds faults in every module, off the async threads.
async fn compile(main: &str, modules: &[Module]) -> Result<(), Failure> {
    let (main, modules) = (main.to_owned(), modules.to_vec());
    let compiled = tokio::task::spawn_blocking(move || modules::compile(&main, &modules).map(|_| ())).await;
    Ok(compiled.map_err(|error| Failure::internal("compile", &error))??)
}

async fn set_secrets(
    cx: &OpContext,
    grant: &store::Grant<WriteScripts>,
    name: &ScriptName,
    new: &[(String, types::Secret<String>)],
) -> Result<(), Failure> {
    for (secret, text) in new {
        secrets::set(cx, grant, name, secret.clone(), text).await?;
    }
    Ok(())
}

async fn secret_names(cx: &OpContext, name: &ScriptName) -> Result<Vec<String>, Failure> {
    Ok(secrets::list(cx, name).await?.into_iter().map(|secret| secret.name).collect())
}

/// Code that calls the admin API does so with its own permissions; who changes the code must hold them.
fn check_reach(cx: &OpContext, bindings: &[Binding]) -> Result<(), Failure> {
    for binding in bindings {
        if let Binding::AdminApi { permissions, .. } = binding {
            tokens::may_hand_out(cx, *permissions)?;
        }
    }
    Ok(())
}

fn check_clashes(bindings: &upload::Bindings, secrets: &[String]) -> Result<(), Failure> {
    let clash = bindings.bound.iter().find(|binding| secrets.iter().any(|name| name == binding.name()));
    match clash {
        None => Ok(()),
        Some(binding) => {
            let message =
                format!("the Worker has a secret named \"{}\"; delete it or rename the binding", binding.name());
            Err(Failure::conflict("/bindings", message))
        }
    }
}

/// Deletes a Worker that no rule and no policy of Access names. Forced, rules that call it follow their `on_error`, and what
/// policies ask it has no answer.
///
/// # Errors
///
/// `NotFound`, `Conflict` while something uses it and `force` is not said.
pub async fn delete(cx: &OpContext, name: &ScriptName, force: bool) -> Result<(), Failure> {
    let grant = cx.authorize::<WriteScripts>()?;
    let before = cx.store().scripts().get(&grant, name).await?.ok_or_else(missing_script)?;
    if !force && let Some(user) = user(cx, name).await? {
        let message = format!("{user} still calls this Worker; change that first, or delete with ?force=true");
        return Err(Failure::new(Code::Conflict, message));
    }
    cx.store().scripts().delete_with_versions(&grant, name, None).await?;
    let summary = json!({"version": before.document.active.to_string(), "versions": before.document.versions});
    cx.record(Change::new(Verb::Delete, "script", name).before(summary)).await
}

/// Finds something that calls a Worker, in words for its author.
async fn user(cx: &OpContext, name: &ScriptName) -> Result<Option<String>, Failure> {
    let system = store::Principal::system("find what calls a Worker");
    let rules = cx.store().rules().list(&system.authorize::<store::ReadRules>(cx.account)?).await?;
    let calls = |body: &Value, pointer: &str| body.pointer(pointer).and_then(Value::as_str) == Some(name.as_str());
    let is_called = rules.iter().any(|rule| {
        let body: Value = serde_json::from_str(rule.document.body.get()).unwrap_or(Value::Null);
        calls(&body, "/rule_settings/worker/script")
    });
    if is_called {
        return Ok(Some("a rule".to_owned()));
    }
    let asks = |body: &Value| {
        let lists = ["include", "require", "exclude"].into_iter().filter_map(|list| body.get(list)?.as_array());
        lists.flatten().any(|selector| calls(selector, "/portunus_worker/script"))
    };
    let grant = system.authorize::<store::Operate>(cx.account)?;
    let policies = cx.store().access_policies().list(&grant).await?;
    if let Some(policy) = policies.iter().find(|policy| asks(&policy.document.body)) {
        return Ok(Some(format!("the policy \"{}\"", policy.document.name)));
    }
    let groups = cx.store().access_groups().list(&grant).await?;
    let group = groups.iter().find(|group| asks(&group.document.body));
    Ok(group.map(|group| format!("the rule group \"{}\"", group.document.name)))
}

/// Replaces the code and keeps bindings and settings.
///
/// # Errors
///
/// `NotFound`, and as [`put`].
pub async fn put_content(cx: &OpContext, name: &ScriptName, upload: Upload) -> Result<ScriptView, Failure> {
    let grant = cx.authorize::<WriteScripts>()?;
    let (_, before) = active(cx, name).await?;
    let main = upload.metadata.main().map_or_else(|| before.document.main_module.clone(), normal_name);
    check_reach(cx, &before.document.bindings)?;
    modules::check(&main, &upload.modules)?;
    compile(&main, &upload.modules).await?;
    let etag = modules::etag(&main, &upload.modules);
    let version = ScriptVersion { main_module: main, ..before.document };
    save(cx, &grant, name, version, upload.modules, Serve::Now, etag).await?;
    get(cx, name).await
}

/// Returns what the serving version is bound to.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn settings(cx: &OpContext, name: &ScriptName) -> Result<SettingsView, Failure> {
    let (script, version) = active(cx, name).await?;
    let secrets = secret_names(cx, name).await?;
    Ok(settings_view(&script, &version, &secrets))
}

fn settings_view(script: &Stored<Script>, version: &Stored<ScriptVersion>, secrets: &[String]) -> SettingsView {
    let document = &version.document;
    let bound = document.bindings.iter().filter_map(|binding| serde_json::to_value(binding).ok());
    let named = secrets.iter().map(|name| json!({"name": name, "type": "secret_text"}));
    SettingsView {
        bindings: bound.chain(named).collect(),
        compatibility_date: document.compatibility_date.clone(),
        compatibility_flags: document.compatibility_flags.clone(),
        usage_model: "standard",
        logpush: false,
        tags: script.document.tags.clone(),
        limits: document.limits,
        egress: document.egress.clone(),
        isolation: document.isolation,
        queues: document.queues.clone(),
        annotations: public_annotations(document),
    }
}

/// Changes bindings and settings; members that are absent stay. Makes a new version with the same code.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] that points at the member at fault.
pub async fn patch_settings(cx: &OpContext, name: &ScriptName, metadata: Metadata) -> Result<SettingsView, Failure> {
    let grant = cx.authorize::<WriteScripts>()?;
    metadata.check()?;
    let (_, before) = active(cx, name).await?;
    let content = content_of(cx, &before).await?;
    let secrets = secret_names(cx, name).await?;
    let bindings = metadata.bindings(&before.document.bindings, &secrets)?;
    let mut version = before.document.clone();
    if let Some(bindings) = bindings {
        check_clashes(&bindings, &secrets)?;
        set_secrets(cx, &grant, name, &bindings.secrets).await?;
        version.bindings = bindings.bound;
    }
    check_reach(cx, &version.bindings)?;
    if let Some(egress) = metadata.egress()? {
        version.egress = egress;
    }
    if let Some(isolation) = metadata.isolation()? {
        version.isolation = isolation;
    }
    if let Some(queues) = metadata.queues()? {
        version.queues = queues;
    }
    if let Some(limits) = metadata.limits()? {
        version.limits = limits;
    }
    if let Some(date) = metadata.compatibility_date {
        version.compatibility_date = Some(date);
    }
    if let Some(flags) = metadata.compatibility_flags {
        version.compatibility_flags = flags;
    }
    if let Some(annotations) = metadata.annotations {
        version.annotations = annotations;
    }
    save(cx, &grant, name, version, content.modules, Serve::Now, content.etag).await?;
    if let Some(tags) = metadata.tags {
        set_tags(cx, name, tags).await?;
    }
    settings(cx, name).await
}

/// Returns what belongs to the Worker and not to a version.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn script_settings(cx: &OpContext, name: &ScriptName) -> Result<ScriptSettingsView, Failure> {
    let grant = cx.authorize::<ReadScripts>()?;
    let script = cx.store().scripts().get(&grant, name).await?.ok_or_else(missing_script)?;
    Ok(ScriptSettingsView { logpush: false, tags: script.document.tags, tail_consumers: Vec::new() })
}

/// Changes what belongs to the Worker.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] that points at the member at fault.
pub async fn patch_script_settings(
    cx: &OpContext,
    name: &ScriptName,
    metadata: Metadata,
) -> Result<ScriptSettingsView, Failure> {
    cx.authorize::<WriteScripts>()?;
    metadata.check()?;
    if let Some(tags) = metadata.tags {
        set_tags(cx, name, tags).await?;
    }
    script_settings(cx, name).await
}

async fn set_tags(cx: &OpContext, name: &ScriptName, tags: Vec<String>) -> Result<(), Failure> {
    let grant = cx.authorize::<WriteScripts>()?;
    let before = cx.store().scripts().get(&grant, name).await?.ok_or_else(missing_script)?;
    if before.document.tags == tags {
        return Ok(());
    }
    let change = Change::new(Verb::Update, "script", name).before(json!({"tags": before.document.tags}));
    let document = Script { tags, ..before.document };
    let stored = cx.store().scripts().replace(&grant, name.clone(), document, Some(before.revision)).await?;
    cx.record(change.after(json!({"tags": stored.document.tags}))).await
}

/// Returns the versions of a Worker, newest first.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn versions(cx: &OpContext, name: &ScriptName) -> Result<Vec<VersionView>, Failure> {
    let grant = cx.authorize::<ReadScripts>()?;
    cx.store().scripts().get(&grant, name).await?.ok_or_else(missing_script)?;
    let mut versions = cx.store().script_versions().list_of(&grant, name).await?;
    versions.sort_by_key(|version| std::cmp::Reverse(version.document.number));
    Ok(versions.iter().map(|version| version_view(version, false)).collect())
}

/// Returns one version.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn version(cx: &OpContext, name: &ScriptName, id: VersionId) -> Result<VersionView, Failure> {
    Ok(version_view(&stored_version(cx, name, id).await?, true))
}

pub async fn stored_version(
    cx: &OpContext,
    name: &ScriptName,
    id: VersionId,
) -> Result<Stored<ScriptVersion>, Failure> {
    let grant = cx.authorize::<ReadScripts>()?;
    let found = cx.store().script_versions().get(&grant, &id).await?;
    found
        .filter(|version| version.document.script == *name)
        .ok_or_else(|| Failure::not_found("version").numbered(10007))
}

/// Returns which version serves.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn deployments(cx: &OpContext, name: &ScriptName) -> Result<DeploymentList, Failure> {
    let (script, version) = active(cx, name).await?;
    Ok(DeploymentList { deployments: vec![deployment_view(&script, &version)] })
}

/// Makes another version serve.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] that points at the member at fault.
pub async fn deploy(cx: &OpContext, name: &ScriptName, new: NewDeployment) -> Result<DeploymentView, Failure> {
    let grant = cx.authorize::<WriteScripts>()?;
    if new.strategy != "percentage" {
        return Err(Failure::invalid("/strategy", "must be percentage"));
    }
    let [Share { percentage: 100.0, version_id }] = new.versions.as_slice() else {
        let message = "splitting traffic is not offered; give one version 100 percent";
        return Err(Failure::invalid("/versions", message));
    };
    let unknown = |_| Failure::invalid("/versions/0/version_id", "there is no such version");
    let id: VersionId = version_id.parse().map_err(unknown)?;
    let version = stored_version(cx, name, id).await?;
    check_reach(cx, &version.document.bindings)?;
    let (before, _) = active(cx, name).await?;
    let script = cx.store().scripts().activate(&grant, name, id).await?;
    let change = Change::new(Verb::Update, "script", name)
        .before(json!({"version": before.document.active.to_string()}))
        .after(json!({"version": id.to_string()}));
    cx.record(change).await?;
    Ok(deployment_view(&script, &version))
}

/// Returns a Worker's cron triggers.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn schedules(cx: &OpContext, name: &ScriptName) -> Result<Schedules, Failure> {
    let grant = cx.authorize::<ReadScripts>()?;
    cx.store().scripts().get(&grant, name).await?.ok_or_else(missing_script)?;
    let stored = cx.store().schedules().get(&grant, name).await?;
    Ok(schedules_view(stored.map(|stored| stored.document.crons).unwrap_or_default()))
}

/// Replaces a Worker's cron triggers.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] that points at the trigger at fault.
pub async fn put_schedules(cx: &OpContext, name: &ScriptName, new: Vec<NewCron>) -> Result<Schedules, Failure> {
    let grant = cx.authorize::<WriteScripts>()?;
    cx.store().scripts().get(&grant, name).await?.ok_or_else(missing_script)?;
    if new.len() > MOST_CRONS {
        return Err(Failure::invalid("", format!("a Worker is limited to {MOST_CRONS} cron triggers")));
    }
    let before = cx.store().schedules().get(&grant, name).await?;
    let known = before.map(|stored| stored.document.crons).unwrap_or_default();
    let mut crons = Vec::with_capacity(new.len());
    let mut seen = BTreeSet::new();
    for (index, NewCron { cron, .. }) in new.into_iter().enumerate() {
        check_cron(&cron).map_err(|message| Failure::invalid(format!("/{index}/cron"), message))?;
        if !seen.insert(cron.clone()) {
            return Err(Failure::invalid(format!("/{index}/cron"), "stands twice"));
        }
        let created_on = known.iter().find(|known| known.cron == cron).map_or(cx.now(), |known| known.created_on);
        crons.push(Cron { cron, created_on, modified_on: cx.now() });
    }
    let summary = |crons: &[Cron]| json!(crons.iter().map(|cron| &cron.cron).collect::<Vec<_>>());
    let change = Change::new(Verb::Update, "script_schedules", name).before(summary(&known)).after(summary(&crons));
    cx.store().schedules().put(&grant, name.clone(), Schedule { crons: crons.clone() }).await?;
    cx.record(change).await?;
    Ok(schedules_view(crons))
}

fn check_cron(text: &str) -> Result<(), String> {
    if text.split_whitespace().count() != 5 || text.len() > 100 {
        return Err("must have five fields: minute hour day month weekday".to_owned());
    }
    text.parse::<croner::Cron>().map(|_| ()).map_err(|error| format!("is not a cron expression: {error}"))
}

fn schedules_view(crons: Vec<Cron>) -> Schedules {
    let view = |cron: Cron| CronView {
        cron: cron.cron,
        created_on: time(cron.created_on),
        modified_on: time(cron.modified_on),
    };
    Schedules { schedules: crons.into_iter().map(view).collect() }
}

fn view(script: &Stored<Script>, version: &Stored<ScriptVersion>) -> ScriptView {
    let document = &version.document;
    ScriptView {
        id: script.id.to_string(),
        etag: document.annotations.get(ETAG).cloned().unwrap_or_default(),
        tag: script.document.active.0.simple().to_string(),
        tags: script.document.tags.clone(),
        created_on: time(script.created_at),
        modified_on: time(script.updated_at),
        has_modules: true,
        has_assets: false,
        entry_point: document.main_module.clone(),
        handlers: Vec::new(),
        compatibility_date: document.compatibility_date.clone(),
        compatibility_flags: document.compatibility_flags.clone(),
        usage_model: "standard",
        logpush: false,
        deployment_id: script.document.active.to_string(),
        startup_time_ms: 1,
        egress: document.egress.clone(),
        isolation: document.isolation,
    }
}

fn version_view(version: &Stored<ScriptVersion>, detail: bool) -> VersionView {
    let document = &version.document;
    let created = time(version.created_at);
    let resources = detail.then(|| {
        json!({
            "bindings": document.bindings,
            "script": {"etag": document.annotations.get(ETAG), "last_deployed_from": "api"},
            "script_runtime": {
                "compatibility_date": document.compatibility_date,
                "compatibility_flags": document.compatibility_flags,
                "usage_model": "standard",
                "limits": document.limits,
            },
        })
    });
    VersionView {
        id: version.id.to_string(),
        number: document.number,
        metadata: json!({
            "author_email": document.annotations.get(AUTHOR),
            "created_on": created,
            "modified_on": created,
            "source": "api",
            "hasPreview": false,
        }),
        annotations: public_annotations(document),
        resources,
        startup_time_ms: 1,
    }
}

fn deployment_view(script: &Stored<Script>, version: &Stored<ScriptVersion>) -> DeploymentView {
    DeploymentView {
        id: version.id.to_string(),
        created_on: time(script.updated_at),
        source: "api",
        strategy: "percentage",
        versions: vec![json!({"version_id": version.id.to_string(), "percentage": 100})],
        annotations: public_annotations(&version.document),
    }
}

fn public_annotations(version: &ScriptVersion) -> BTreeMap<String, String> {
    let own = version.annotations.iter().filter(|(name, _)| !name.starts_with("portunus/"));
    own.map(|(name, text)| (name.clone(), text.clone())).collect()
}

/// A module name as imports resolve it: without a leading `./`.
pub fn normal_name(name: &str) -> String {
    name.trim_start_matches("./").to_owned()
}

/// A name in `env` is a JavaScript identifier.
pub fn check_binding_name(pointer: &str, name: &str) -> Result<(), Failure> {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if first && rest && name.len() <= 128 {
        return Ok(());
    }
    Err(Failure::invalid(pointer, "must be 1 to 128 letters, digits and _, not starting with a digit"))
}

pub fn missing_script() -> Failure {
    Failure::not_found("Worker").numbered(10007)
}

/// Reads a Worker's name as v4 clients write it.
///
/// # Errors
///
/// A [`Failure`] that says which names there are.
pub fn parse_name(text: &str) -> Result<ScriptName, Failure> {
    text.parse().map_err(|error: types::IdError| Failure::new(Code::InvalidInput, error.to_string()).numbered(10016))
}

#[cfg(test)]
mod tests {
    use super::{check_binding_name, check_cron};

    #[test]
    fn cron_expressions_have_five_fields() {
        for (text, valid) in [
            ("* * * * *", true),
            ("*/5 8-18 * * MON-FRI", true),
            ("0 0 1 1 *", true),
            ("* * * *", false),
            ("0 * * * * *", false),
            ("61 * * * *", false),
            ("@daily", false),
        ] {
            assert_eq!(check_cron(text).is_ok(), valid, "{text}");
        }
    }

    #[test]
    fn binding_names_are_identifiers() {
        for (name, valid) in [("A", true), ("_a1", true), ("", false), ("1a", false), ("a-b", false), ("a.b", false)] {
            assert_eq!(check_binding_name("/name", name).is_ok(), valid, "{name}");
        }
    }
}
