//! Turns stored Workers into scripts that can run: types stripped, bindings resolved, secrets opened, limits capped.
//!
//! It runs nothing. Invariant: the version in a script's key changes whenever its code, bindings or a secret change, so
//! processes of an older one are never asked to serve a newer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use policy::{ActionPlan, StoredRule};
use store::{Denied, Operate, Principal, ReadScripts, ScriptVersion, Store, StoreError};
use types::{AccountId, RuleId, ScriptName, Secret, VersionId};
use uuid::Uuid;
use worker::modules::CompileError;
use worker::protocol::{self, Isolation, Limits};
use worker::{Binding, EgressError, EgressList, RateSpec, Script, ScriptKey};

use crate::services::{API_SERVICE, WORKER_SERVICE};

/// Upper bounds of what an author may ask for.
const MOST_CPU_MS: u32 = 1_000;
const MOST_MEMORY_MB: u32 = 256;
const MOST_SUBREQUESTS: u32 = 1_000;

/// Compiled modules kept between snapshots; a version never changes, so neither does its JavaScript.
const KEPT_VERSIONS: usize = 2_048;

#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error("version {0} is not in the store")]
    NoVersion(VersionId),
    #[error("modules")]
    Modules(#[from] CompileError),
    #[error("egress")]
    Egress(#[from] EgressError),
}

/// Every Worker that can run, and why the others cannot.
#[derive(Default)]
pub(crate) struct Prepared {
    pub ready: HashMap<ScriptName, Arc<Script>>,
    /// Those whose `queue` handler takes security events.
    pub consumers: Vec<ScriptName>,
    /// Rules that call one of these follow their `on_error`.
    pub failed: Vec<(ScriptName, ScriptError)>,
}

/// Prepares scripts, remembering what does not change.
#[derive(Default)]
pub(crate) struct Scripts {
    compiled: Mutex<HashMap<VersionId, Arc<Vec<protocol::Module>>>>,
}

impl Scripts {
    /// Prepares the active version of every Worker. One that cannot be prepared is left out and reported, so that the
    /// others go on.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) async fn prepare_all(
        &self,
        store: &Store,
        principal: &Principal,
        account: AccountId,
    ) -> Result<Prepared, ScriptError> {
        let grant = principal.authorize::<ReadScripts>(account)?;
        let mut prepared = Prepared::default();
        for script in store.scripts().list(&grant).await? {
            let (name, version) = (script.id, script.document.active);
            let head = store.script_versions().get(&grant, &version).await?;
            let result = match &head {
                Some(head) => self.prepare(store, principal, account, head).await,
                None => Err(ScriptError::NoVersion(version)),
            };
            match result {
                Ok(ready) => {
                    let queues = head.iter().flat_map(|head| &head.document.queues);
                    if queues.into_iter().any(|queue| queue == store::SECURITY_EVENTS) {
                        prepared.consumers.push(name.clone());
                    }
                    prepared.ready.insert(name, ready);
                }
                Err(ScriptError::Store(error)) if error.is_passing() => return Err(error.into()),
                Err(error) => prepared.failed.push((name, error)),
            }
        }
        Ok(prepared)
    }

    /// Prepares one stored version.
    ///
    /// # Errors
    /// Its modules or egress list do not compile, or the store does not answer.
    async fn prepare(
        &self,
        store: &Store,
        principal: &Principal,
        account: AccountId,
        head: &store::Stored<ScriptVersion>,
    ) -> Result<Arc<Script>, ScriptError> {
        let read = principal.authorize::<ReadScripts>(account)?;
        let operate = principal.authorize::<Operate>(account)?;
        let name = &head.document.script;
        let modules = match self.remembered(head.id) {
            Some(modules) => modules,
            None => {
                let content = store.scripts().content(&read, head.id).await?;
                let content = content.ok_or(ScriptError::NoVersion(head.id))?;
                self.remember(
                    head.id,
                    console::operations::modules::compile(&head.document.main_module, &content.document.modules)?,
                )
            }
        };
        let secrets = store.script_secrets().open(&operate, name).await?;
        let version = format!(
            "{}-{}-{}",
            head.id,
            head.revision.0,
            generation(&store.script_secrets().list_of(&read, name).await?)
        );
        let key = ScriptKey { account, name: name.to_string(), version };
        assemble(key, &head.document, &modules, secrets)
    }

    /// Prepares a draft that is not stored, with the secrets of the Worker it belongs to.
    ///
    /// # Errors
    /// Its modules or egress list do not compile.
    pub(crate) async fn prepare_draft(
        &self,
        store: &Store,
        principal: &Principal,
        account: AccountId,
        version: &ScriptVersion,
        modules: &[store::Module],
    ) -> Result<Arc<Script>, ScriptError> {
        let operate = principal.authorize::<Operate>(account)?;
        let secrets = store.script_secrets().open(&operate, &version.script).await?;
        // A draft never shares a process with anything, not even with itself a moment ago.
        let key = ScriptKey { account, name: version.script.to_string(), version: format!("draft-{}", Uuid::now_v7()) };
        assemble(key, version, &console::operations::modules::compile(&version.main_module, modules)?, secrets)
    }

    fn remembered(&self, version: VersionId) -> Option<Arc<Vec<protocol::Module>>> {
        self.compiled.lock().get(&version).cloned()
    }

    fn remember(&self, version: VersionId, modules: Vec<protocol::Module>) -> Arc<Vec<protocol::Module>> {
        let modules = Arc::new(modules);
        let mut compiled = self.compiled.lock();
        if compiled.len() >= KEPT_VERSIONS {
            compiled.clear();
        }
        compiled.insert(version, Arc::clone(&modules));
        modules
    }
}

/// The script of each rule that calls one of the owner's Workers, under the rule's own limits.
pub(crate) fn of_rules(
    rules: &[StoredRule],
    scripts: &HashMap<ScriptName, Arc<Script>>,
) -> HashMap<RuleId, Arc<Script>> {
    let mut limited: HashMap<ScriptKey, Arc<Script>> = HashMap::new();
    let mut found = HashMap::new();
    for rule in rules.iter().filter(|rule| rule.spec.is_enabled()) {
        let ActionPlan::Worker(plan) = rule.spec.plan() else { continue };
        let Some(script) = scripts.get(&plan.script) else { continue };
        let cpu_ms = u32::try_from(plan.cpu.as_millis()).unwrap_or(u32::MAX);
        let limits = Limits { cpu_ms, memory_bytes: plan.memory_bytes, ..script.limits };
        let version = format!("{}-{cpu_ms}-{}", script.key.version, plan.memory_bytes);
        let key = ScriptKey { version, ..script.key.clone() };
        let script =
            limited.entry(key.clone()).or_insert_with(|| Arc::new(Script { key, limits, ..Script::clone(script) }));
        found.insert(rule.id, Arc::clone(script));
    }
    found
}

/// Differs whenever the secrets of a Worker do, and tells nothing about them. A revision alone starts again when a secret
/// is deleted and set anew; the time of its creation does not.
fn generation(secrets: &[store::Stored<store::ScriptSecret>]) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for secret in secrets {
        context.update(secret.id.name.as_bytes());
        context.update(&[0]);
        context.update(&secret.created_at.as_microsecond().to_be_bytes());
        context.update(&secret.revision.0.to_be_bytes());
    }
    context.finish().as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn assemble(
    key: ScriptKey,
    version: &ScriptVersion,
    modules: &[protocol::Module],
    secrets: Vec<(String, Secret<String>)>,
) -> Result<Arc<Script>, ScriptError> {
    let mut bindings = BTreeMap::new();
    for binding in &version.bindings {
        if let Some(binding) = self::binding(binding) {
            bindings.insert(binding.0, binding.1);
        }
    }
    for (name, value) in secrets {
        bindings.insert(name, Binding::Secret(value));
    }
    Ok(Arc::new(Script {
        key,
        modules: modules.to_vec(),
        bindings,
        egress: EgressList::parse(&version.egress)?,
        limits: limits(version.limits),
        isolation: match version.isolation {
            store::Isolation::Shared => Isolation::Shared,
            store::Isolation::Request => Isolation::Request,
        },
    }))
}

/// Caps what an author asked for.
fn limits(asked: store::ScriptLimits) -> Limits {
    let default = Limits::default();
    let memory = asked.memory_mb.map(|mb| u64::from(mb.clamp(8, MOST_MEMORY_MB)) << 20);
    Limits {
        cpu_ms: asked.cpu_ms.map_or(default.cpu_ms, |ms| ms.clamp(1, MOST_CPU_MS)),
        memory_bytes: memory.unwrap_or(default.memory_bytes),
        subrequests: asked.subrequests.map_or(default.subrequests, |count| count.min(MOST_SUBREQUESTS)),
        ..default
    }
}

/// The host's form of a stored binding; a secret's value comes from its own document.
fn binding(stored: &store::Binding) -> Option<(String, Binding)> {
    let target = match stored {
        store::Binding::PlainText { text, .. } => Binding::Text(text.clone()),
        store::Binding::Json { json, .. } => Binding::Json(json.to_string()),
        store::Binding::SecretText { .. } => return None,
        store::Binding::KvNamespace { namespace_id, .. } => Binding::Kv(namespace_id.to_string()),
        store::Binding::Service { service, .. } => Binding::Service(format!("{WORKER_SERVICE}{service}")),
        store::Binding::Ratelimit { simple, .. } => {
            Binding::RateLimit(RateSpec { limit: simple.limit, period: Duration::from_secs(simple.period.into()) })
        }
        store::Binding::AdminApi { permissions, .. } => {
            let names: Vec<_> = permissions.iter().map(store::Permission::as_str).collect();
            Binding::Service(format!("{API_SERVICE}{}", names.join(",")))
        }
    };
    Some((stored.name().to_owned(), target))
}
