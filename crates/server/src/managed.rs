//! Managed actions: a template that ships with the product, with one rule's parameters, as a script like any other.
//!
//! It fills `env`; what a template does is its own TypeScript. Invariant: a parameter of kind secret reaches the script
//! as its own binding and never as part of `env.parameters`, and a template reaches only hosts its parameters name.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use policy::{ActionPlan, StoredRule};
use serde_json::{Map, Value};
use store::Revision;
use types::{AccountId, KvNamespaceId, RuleId, Secret};
use worker::protocol::{Isolation, Limits, Module};
use worker::templates::{self, ParameterError, Template};
use worker::typescript::{self, TypeScriptError};
use worker::{Binding, EgressError, EgressList, Script, ScriptKey};

#[derive(Debug, thiserror::Error)]
pub(crate) enum ManagedError {
    #[error("rule {rule}: there is no template {template:?}")]
    Unknown { rule: RuleId, template: String },
    #[error("rule {rule}: its parameters")]
    Parameters { rule: RuleId, source: ParameterError },
    #[error("rule {rule}: the hosts of its parameters")]
    Egress { rule: RuleId, source: EgressError },
    #[error("rule {rule}: its secrets do not open: {reason}")]
    Sealed { rule: RuleId, reason: String },
    #[error("template {template}")]
    Template { template: &'static str, source: TypeScriptError },
}

impl ManagedError {
    /// The rule at fault; a template that does not compile is at fault itself.
    pub(crate) fn subject(&self) -> String {
        match self {
            Self::Unknown { rule, .. }
            | Self::Parameters { rule, .. }
            | Self::Egress { rule, .. }
            | Self::Sealed { rule, .. } => rule.to_string(),
            Self::Template { template, .. } => (*template).to_owned(),
        }
    }
}

/// What the store keeps of a rule with a managed action beside its document.
pub(crate) struct Kept {
    pub revision: Revision,
    /// By parameter, or why they do not open.
    pub secrets: Result<BTreeMap<String, Secret<String>>, String>,
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

    /// Prepares the script of every enabled rule with a managed action. One that cannot be prepared is left out and
    /// reported; the gateway blocks what such a rule matches.
    pub(crate) fn prepare(
        &self,
        account: AccountId,
        rules: &[StoredRule],
        kept: &HashMap<RuleId, Kept>,
    ) -> (HashMap<RuleId, Arc<Script>>, Vec<ManagedError>) {
        let (mut prepared, mut failed) = (HashMap::new(), Vec::new());
        for rule in rules.iter().filter(|rule| rule.spec.is_enabled()) {
            let ActionPlan::Managed(plan) = rule.spec.plan() else { continue };
            let Some(kept) = kept.get(&rule.id) else { continue };
            match self.script(account, rule.id, plan.template.as_str(), &plan.parameters, kept) {
                Ok(script) => drop(prepared.insert(rule.id, script)),
                Err(error) => failed.push(error),
            }
        }
        (prepared, failed)
    }

    fn script(
        &self,
        account: AccountId,
        rule: RuleId,
        name: &str,
        given: &Map<String, Value>,
        kept: &Kept,
    ) -> Result<Arc<Script>, ManagedError> {
        let template =
            templates::find(name).ok_or_else(|| ManagedError::Unknown { rule, template: name.to_owned() })?;
        let secrets = kept.secrets.as_ref().map_err(|reason| ManagedError::Sealed { rule, reason: reason.clone() })?;
        // The document holds a mark where each secret was.
        let mut given = given.clone();
        for (parameter, secret) in secrets {
            given.insert(parameter.clone(), Value::String(secret.expose().clone()));
        }
        let configured = template.configure(&given).map_err(|source| ManagedError::Parameters { rule, source })?;
        let mut bindings = BTreeMap::from([("parameters".to_owned(), Binding::Json(configured.parameters))]);
        for (name, value) in configured.secrets {
            bindings.insert(name, Binding::Secret(Secret::new(value)));
        }
        if template.state {
            bindings.insert("STATE".into(), Binding::Kv(self.memory.to_string()));
        }
        let code = self.code(template)?;
        Ok(Arc::new(Script {
            // Parameters and secrets change with the rule, and the version is shown: it must tell nothing about them.
            key: ScriptKey { account, name: format!("managed:{name}:{rule}"), version: kept.revision.0.to_string() },
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
