//! Managed actions: a template that ships with the product, with one rule's parameters, as a script like any other.
//!
//! It fills `env`; what a template does is its own TypeScript. Invariant: a parameter of kind secret reaches the script
//! as its own binding and never as part of `env.parameters`, and a template reaches only hosts its parameters name.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use policy::{ActionPlan, StoredRule};
use serde_json::{Map, Value};
use types::{AccountId, KvNamespaceId, RuleId};
use worker::protocol::{Isolation, Limits, Module};
use worker::templates::{self, Configured, ParameterError, Template};
use worker::typescript::{self, TypeScriptError};
use worker::{Binding, EgressError, EgressList, Script, ScriptKey};

#[derive(Debug, thiserror::Error)]
pub enum ManagedError {
    #[error("rule {rule}: there is no template {template:?}")]
    Unknown { rule: RuleId, template: String },
    #[error("rule {rule}: its parameters")]
    Parameters { rule: RuleId, source: ParameterError },
    #[error("rule {rule}: the hosts of its parameters")]
    Egress { rule: RuleId, source: EgressError },
    #[error("template {template}")]
    Template { template: &'static str, source: TypeScriptError },
}

/// Prepares managed actions, compiling each template once.
pub(crate) struct Managed {
    /// Where templates keep what they remember.
    memory: KvNamespaceId,
    compiled: Mutex<HashMap<&'static str, Arc<str>>>,
}

impl Managed {
    #[must_use]
    pub(crate) fn new(memory: KvNamespaceId) -> Self {
        Self { memory, compiled: Mutex::default() }
    }

    /// Prepares the script of every enabled rule with a managed action.
    ///
    /// # Errors
    /// A template that does not exist or a parameter that does not fit.
    pub(crate) fn prepare(
        &self,
        account: AccountId,
        rules: &[StoredRule],
    ) -> Result<HashMap<RuleId, Arc<Script>>, ManagedError> {
        let mut prepared = HashMap::new();
        for rule in rules.iter().filter(|rule| rule.spec.is_enabled()) {
            if let ActionPlan::Managed(plan) = rule.spec.plan() {
                let script = self.script(account, rule.id, plan.template.as_str(), &plan.parameters)?;
                prepared.insert(rule.id, script);
            }
        }
        Ok(prepared)
    }

    fn script(
        &self,
        account: AccountId,
        rule: RuleId,
        name: &str,
        given: &Map<String, Value>,
    ) -> Result<Arc<Script>, ManagedError> {
        let template =
            templates::find(name).ok_or_else(|| ManagedError::Unknown { rule, template: name.to_owned() })?;
        let configured = template.configure(given).map_err(|source| ManagedError::Parameters { rule, source })?;
        let version = fingerprint(&configured);
        let mut bindings = BTreeMap::from([("parameters".to_owned(), Binding::Json(configured.parameters))]);
        for (name, value) in configured.secrets {
            bindings.insert(name, Binding::Secret(types::Secret::new(value)));
        }
        if template.state {
            bindings.insert("STATE".into(), Binding::Kv(self.memory.to_string()));
        }
        let code = self.code(template)?;
        Ok(Arc::new(Script {
            key: ScriptKey { account, name: format!("managed:{name}:{rule}"), version },
            modules: vec![Module { name: format!("{name}.ts"), code: code.to_string() }],
            bindings,
            egress: EgressList::parse(&configured.egress).map_err(|source| ManagedError::Egress { rule, source })?,
            limits: Limits::default(),
            isolation: Isolation::Request,
        }))
    }

    fn code(&self, template: &'static Template) -> Result<Arc<str>, ManagedError> {
        if let Some(code) = self.compiled.lock().get(template.name.as_str()) {
            return Ok(Arc::clone(code));
        }
        let compiled = typescript::to_javascript(&format!("{}.ts", template.name), &template.source);
        let code: Arc<str> =
            compiled.map_err(|source| ManagedError::Template { template: &template.name, source })?.into();
        self.compiled.lock().insert(&template.name, Arc::clone(&code));
        Ok(code)
    }
}

/// Changes whenever a value of the script's `env` does.
fn fingerprint(configured: &Configured) -> String {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    context.update(configured.parameters.as_bytes());
    for (name, value) in &configured.secrets {
        for part in [name, value] {
            context.update(&[0]);
            context.update(part.as_bytes());
        }
    }
    let digest = context.finish();
    digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
