//! The parameters of a managed action on their way into the store and back: checked, and their secrets taken out.
//!
//! The template's manifest says which parameters are secret; the store seals them. What the action does is the template's.
//! Invariant: where a secret was, the stored rule, the API and the audit log hold a mark, and a secret that is kept while
//! a rule changes keeps going to the hosts it was given for.

use std::collections::BTreeMap;

use policy::RuleSpec;
use serde_json::{Map, Value, json};
use store::{Grant, Rule, Sealed, Stored, WriteRules};
use types::{RuleId, Secret};
use worker::EgressList;
use worker::templates::{self, Configured, ParameterError, ParameterKind, Template};

use crate::auth::OpContext;
use crate::failure::Failure;

const PARAMETERS: &str = "/rule_settings/managed/parameters";

/// A rule's document as it may be stored.
pub(super) struct Parted {
    pub document: Value,
    pub secrets: BTreeMap<String, Sealed>,
}

/// Takes the secrets out of a rule. `before` is the rule it replaces, whose secrets stay where the document holds their mark.
///
/// # Errors
///
/// A [`Failure`] that points at the template or the parameter at fault.
///
/// # Security
///
/// A kept secret may not reach a host it was not given for: who may write rules could otherwise have it sent to themselves.
pub(super) fn part(
    cx: &OpContext,
    grant: &Grant<WriteRules>,
    id: RuleId,
    spec: &RuleSpec,
    before: Option<&Stored<Rule>>,
) -> Result<Parted, Failure> {
    let mut document = Value::Object(spec.document().clone());
    let mut secrets = BTreeMap::new();
    let Some(managed) = document.pointer_mut("/rule_settings/managed").filter(|managed| managed.is_object()) else {
        return Ok(Parted { document, secrets });
    };
    let template = template(managed)?;
    let Some(given) = managed.get_mut("parameters").and_then(Value::as_object_mut) else {
        configure(template, &Map::new())?;
        return Ok(Parted { document, secrets });
    };
    let checked = configure(template, &with_stand_ins(template, given))?;
    let earlier = before.and_then(|before| earlier(template, before));
    for name in secret_names(template) {
        let Some(value) = given.get_mut(name) else { continue };
        if *value == mark() {
            let kept = earlier.as_ref().and_then(|(rule, reached)| Some((rule.document.secrets.get(name)?, reached)));
            let Some((sealed, reached)) = kept else {
                return Err(at(name, "there is no value to keep; give one"));
            };
            if let Some(host) = checked.egress.iter().find(|host| !reached.contains(host)) {
                return Err(at(name, format!("was not given for {host}; give it again")));
            }
            secrets.insert(name.to_owned(), sealed.clone());
        } else if let Value::String(text) = value {
            let text = Secret::new(std::mem::take(text));
            secrets.insert(name.to_owned(), cx.store().rules().seal(grant, id, name, &text)?);
            *value = mark();
        }
    }
    Ok(Parted { document, secrets })
}

/// Puts the mark in the place of whatever stands where a secret belongs, before a document is shown or recorded.
pub(super) fn mask(document: &mut Value) {
    let Some(managed) = document.pointer_mut("/rule_settings/managed") else { return };
    let Ok(template) = template(managed) else { return };
    let Some(given) = managed.get_mut("parameters").and_then(Value::as_object_mut) else { return };
    for name in secret_names(template) {
        if let Some(value) = given.get_mut(name).filter(|value| !value.is_null()) {
            *value = mark();
        }
    }
}

/// What stands for a secret: says that there is one, and when sent back, that it stays.
fn mark() -> Value {
    json!({"secret": true})
}

fn template(managed: &Value) -> Result<&'static Template, Failure> {
    let name = managed.get("template").and_then(Value::as_str).unwrap_or_default();
    templates::find(name).ok_or_else(|| {
        let known: Vec<_> = templates::all().iter().map(|template| template.name.as_str()).collect();
        let message = format!("there is no managed action \"{name}\"; there are {}", known.join(", "));
        Failure::invalid("/rule_settings/managed/template", message)
    })
}

fn secret_names(template: &Template) -> impl Iterator<Item = &str> {
    let secrets = template.parameters.iter().filter(|parameter| parameter.kind == ParameterKind::Secret);
    secrets.map(|parameter| parameter.name.as_str())
}

/// The parameters with a text wherever there is a mark, so that the manifest can be held against them.
pub fn with_stand_ins(template: &Template, given: &Map<String, Value>) -> Map<String, Value> {
    let mut given = given.clone();
    for name in secret_names(template) {
        if let Some(value) = given.get_mut(name).filter(|value| **value == mark()) {
            *value = Value::from("kept");
        }
    }
    given
}

/// The rule that is replaced and the hosts it reached, if it was one of the same template.
fn earlier<'a>(template: &Template, before: &'a Stored<Rule>) -> Option<(&'a Stored<Rule>, Vec<String>)> {
    let body: Value = serde_json::from_str(before.document.body.get()).ok()?;
    let managed = body.pointer("/rule_settings/managed")?;
    let same = managed.get("template").and_then(Value::as_str) == Some(template.name.as_str());
    let given = managed.get("parameters").and_then(Value::as_object).filter(|_| same)?;
    let configured = template.configure(&with_stand_ins(template, given)).ok()?;
    Some((before, configured.egress))
}

fn configure(template: &Template, given: &Map<String, Value>) -> Result<Configured, Failure> {
    let configured = template.configure(given).map_err(|error| {
        let name = match &error {
            ParameterError::Missing(name) | ParameterError::Unknown(name) | ParameterError::Type { name, .. } => name,
        };
        at(name, error.to_string())
    })?;
    EgressList::parse(&configured.egress).map_err(|error| Failure::invalid(PARAMETERS, error.to_string()))?;
    Ok(configured)
}

fn at(name: &str, message: impl Into<String>) -> Failure {
    Failure::invalid(format!("{PARAMETERS}/{name}"), message)
}
