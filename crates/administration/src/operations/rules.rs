//! Gateway rules (reference section 5.2).
//!
//! The author's document is kept byte for byte where it matters (expressions) and member for member everywhere; the policy
//! engine says whether it is a rule. Invariants: every stored rule compiled against the lists of its time; two rules of one
//! hook never have the same precedence.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use expr::List;
use policy::{Hook, RuleSpec, SpecError};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use store::{Grant, ReadLists, ReadRules, Rule, Stored, WriteRules};
use types::{Code, ListId, RuleId};
use utoipa::ToSchema;
use uuid::Uuid;

use super::managed::{self, Parted};
use super::time;
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::{Failure, Problem};

/// A rule, as the API shows it: what its author sent, with the read-only members beside it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object)]
pub struct RuleView(pub Map<String, Value>);

/// A rule to be made or replaced; see docs/rules.md.
#[derive(Debug, Clone, ToSchema)]
#[schema(value_type = Object)]
pub struct RuleBody(pub Value);

/// A new order for every rule of a hook.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reorder {
    /// Every rule of one hook, the first to be held against a request first.
    #[schema(value_type = Vec<String>)]
    pub order: Vec<RuleId>,
}

/// What checking a rule without storing it came to.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct RuleCheck {
    pub valid: bool,
    #[schema(value_type = Vec<Object>)]
    pub errors: Vec<SpecError>,
    pub warnings: Vec<String>,
}

/// Returns every rule in order of precedence.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(cx: &OpContext) -> Result<Vec<RuleView>, Failure> {
    let grant = cx.authorize::<ReadRules>()?;
    let rules = cx.store().rules().list(&grant).await?;
    let needed = rules.iter().map(|rule| rule.document.body.get());
    let lists = lists_named_in(cx, needed).await?;
    rules.iter().map(|rule| view(rule, &lists)).collect()
}

/// Returns one rule.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, id: RuleId) -> Result<RuleView, Failure> {
    let grant = cx.authorize::<ReadRules>()?;
    let rule = cx.store().rules().get(&grant, &id).await?.ok_or_else(missing)?;
    show(cx, &rule).await
}

async fn show(cx: &OpContext, rule: &Stored<Rule>) -> Result<RuleView, Failure> {
    let lists = lists_named_in(cx, [rule.document.body.get()]).await?;
    view(rule, &lists)
}

/// Checks a document without storing it, for live checking while it is written.
///
/// # Errors
///
/// A [`Failure`] for the caller; faults of the document are in the answer.
pub async fn check(cx: &OpContext, document: &Value) -> Result<RuleCheck, Failure> {
    cx.authorize::<ReadRules>()?;
    let outcome = match RuleSpec::parse(document) {
        Ok(spec) => {
            let lists = lists_named_in(cx, spec_texts(&spec)).await?;
            policy::check(&spec, &lists).map(|more| spec.warnings.iter().cloned().chain(more).collect())
        }
        Err(errors) => Err(errors),
    };
    Ok(match outcome {
        Ok(warnings) => RuleCheck { valid: true, errors: Vec::new(), warnings },
        Err(errors) => RuleCheck { valid: false, errors, warnings: Vec::new() },
    })
}

/// Makes a rule.
///
/// # Errors
///
/// A [`Failure`] that points at every member at fault, `Conflict` for a taken precedence.
pub async fn create(cx: &OpContext, document: Value) -> Result<RuleView, Failure> {
    let grant = cx.authorize::<WriteRules>()?;
    let spec = compile(cx, &document).await?;
    check_targets(cx, &spec).await?;
    // One writer at a time: the precedence must still be free when it is stored.
    let _writing = cx.app.rule_writes.lock().await;
    let precedence = free_precedence(cx, &grant, &spec, None).await?;
    let id = RuleId(Uuid::new_v4());
    let parted = managed::part(cx, &grant, id, &spec, None)?;
    let stored = cx.store().rules().create(&grant, id, rule(&spec, precedence, parted)?).await?;
    cx.record(Change::new(Verb::Create, "gateway_rule", id).after(shown(&stored)?)).await?;
    show(cx, &stored).await
}

/// Replaces a rule.
///
/// # Errors
///
/// `NotFound`, a [`Failure`] that points at every member at fault, `Conflict` for a taken precedence.
pub async fn replace(cx: &OpContext, id: RuleId, document: Value) -> Result<RuleView, Failure> {
    let grant = cx.authorize::<WriteRules>()?;
    let before = cx.store().rules().get(&grant, &id).await?.ok_or_else(missing)?;
    let spec = compile(cx, &document).await?;
    check_targets(cx, &spec).await?;
    let _writing = cx.app.rule_writes.lock().await;
    let precedence = free_precedence(cx, &grant, &spec, Some(&before)).await?;
    let parted = managed::part(cx, &grant, id, &spec, Some(&before))?;
    let document = rule(&spec, precedence, parted)?;
    let stored = cx.store().rules().replace(&grant, id, document, Some(before.revision)).await?;
    let change = Change::new(Verb::Update, "gateway_rule", id);
    cx.record(change.before(shown(&before)?).after(shown(&stored)?)).await?;
    show(cx, &stored).await
}

/// Deletes a rule.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn delete(cx: &OpContext, id: RuleId) -> Result<(), Failure> {
    let grant = cx.authorize::<WriteRules>()?;
    let before = cx.store().rules().get(&grant, &id).await?.ok_or_else(missing)?;
    cx.store().rules().delete(&grant, &id, None).await?;
    cx.record(Change::new(Verb::Delete, "gateway_rule", id).before(shown(&before)?)).await
}

/// Starts a rule's life again: it expires its duration from this moment.
///
/// # Errors
///
/// `NotFound`, `InvalidInput` for a rule without a duration.
pub async fn reset_expiration(cx: &OpContext, id: RuleId) -> Result<RuleView, Failure> {
    let grant = cx.authorize::<WriteRules>()?;
    let before = cx.store().rules().get(&grant, &id).await?.ok_or_else(missing)?;
    let spec = spec_of(&before)?;
    let Some(expires_at) = spec.expiration.and_then(|expiration| expiration.reset(cx.now())) else {
        return Err(Failure::invalid(
            "/expiration/duration",
            "the rule has no duration; set expiration.duration first",
        ));
    };
    let mut document = document_of(&before)?;
    document["expiration"]["expires_at"] = Value::String(expires_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let body = raw(&document)?;
    let changed = Rule { body, ..before.document.clone() };
    let stored = cx.store().rules().replace(&grant, id, changed, Some(before.revision)).await?;
    let change = Change::new(Verb::Update, "gateway_rule", id).before(shown(&before)?);
    cx.record(change.after(shown(&stored)?)).await?;
    show(cx, &stored).await
}

/// Gives every rule of a hook a new place; rules that keep theirs are not touched.
///
/// # Errors
///
/// `InvalidInput` when the order does not name every rule of one hook exactly once.
pub async fn reorder(cx: &OpContext, body: Reorder) -> Result<Vec<RuleView>, Failure> {
    let grant = cx.authorize::<WriteRules>()?;
    let _writing = cx.app.rule_writes.lock().await;
    let rules = cx.store().rules().list(&grant).await?;
    let named = rules.iter().find(|rule| body.order.first() == Some(&rule.id));
    let named = named.ok_or_else(|| Failure::invalid("/order", "begins with a rule that does not exist"))?;
    let hook = hook_of(named);
    let current: HashMap<RuleId, &Stored<Rule>> =
        rules.iter().filter(|rule| hook_of(rule) == hook).map(|rule| (rule.id, rule)).collect();
    let numbers: Vec<(RuleId, i64)> = current.values().map(|rule| (rule.id, rule.document.precedence)).collect();
    let order = policy::precedence::reorder(&numbers, &body.order)
        .map_err(|error| Failure::invalid("/order", error.to_string()))?;
    let mut changed = Vec::new();
    for (id, precedence) in order {
        if let Some(rule) = current.get(&id).filter(|rule| rule.document.precedence != precedence) {
            let mut document = document_of(rule)?;
            if document.get("precedence").is_some() {
                document["precedence"] = precedence.into();
            }
            let moved = Rule { precedence, body: raw(&document)?, ..rule.document.clone() };
            changed.push((id, moved, Some(rule.revision)));
        }
    }
    if !changed.is_empty() {
        let moved: Vec<_> =
            changed.iter().map(|(id, rule, _)| json!({"id": id.to_string(), "precedence": rule.precedence})).collect();
        cx.store().rules().put_all(&grant, changed).await?;
        cx.record(Change::new(Verb::Update, "gateway_rule", "order").after(Value::Array(moved))).await?;
    }
    drop(_writing);
    list(cx).await
}

/// Reads and compiles a document.
pub async fn compile(cx: &OpContext, document: &Value) -> Result<RuleSpec, Failure> {
    let spec = RuleSpec::parse(document).map_err(|errors| refused(&errors))?;
    let lists = lists_named_in(cx, spec_texts(&spec)).await?;
    policy::check(&spec, &lists).map_err(|errors| refused(&errors))?;
    Ok(spec)
}

/// A rule may only call a Worker that exists; a typo would fail closed for everyone it matches. Managed actions are checked
/// where their secrets are taken out.
async fn check_targets(cx: &OpContext, spec: &RuleSpec) -> Result<(), Failure> {
    let settings = spec.document().get("rule_settings");
    let text = |pointer: &str| settings.and_then(|settings| settings.pointer(pointer)).and_then(Value::as_str);
    if let Some(script) = text("/worker/script") {
        let system = store::Principal::system("check that a rule's Worker exists");
        let grant = system.authorize::<store::ReadScripts>(cx.account)?;
        let exists = match script.parse() {
            Ok(name) => cx.store().scripts().get(&grant, &name).await?.is_some(),
            Err(_) => false,
        };
        if !exists {
            let message = format!("there is no Worker \"{script}\"; upload it first");
            return Err(Failure::invalid("/rule_settings/worker/script", message));
        }
    }
    Ok(())
}

/// Returns the precedence the author asked for, if it is free, or the next one.
async fn free_precedence(
    cx: &OpContext,
    grant: &Grant<WriteRules>,
    spec: &RuleSpec,
    before: Option<&Stored<Rule>>,
) -> Result<i64, Failure> {
    let rules = cx.store().rules().list(grant).await?;
    let own = before.map(|rule| rule.id);
    let others = || rules.iter().filter(|rule| Some(rule.id) != own && hook_of(rule) == spec.hook.as_str());
    if let Some(wanted) = spec.precedence {
        return match others().find(|rule| rule.document.precedence == wanted) {
            None => Ok(wanted),
            Some(other) => {
                let message =
                    format!("precedence {wanted} is taken by rule \"{}\"; choose another number", other.document.name);
                Err(Failure::conflict("/precedence", message))
            }
        };
    }
    // A replaced rule stays where it is, unless it moved to a hook where its place is taken.
    if let Some(kept) = before.map(|rule| rule.document.precedence)
        && others().all(|rule| rule.document.precedence != kept)
    {
        return Ok(kept);
    }
    let random = u64::from(rand::random::<u32>());
    policy::precedence::append(others().map(|rule| rule.document.precedence), random)
        .map_err(|error| Failure::conflict("/precedence", error.to_string()))
}

fn rule(spec: &RuleSpec, precedence: i64, parted: Parted) -> Result<Rule, Failure> {
    let body = raw(&parted.document)?;
    Ok(Rule { name: spec.name.clone(), enabled: spec.is_enabled(), precedence, body, secrets: parted.secrets })
}

fn raw(document: &Value) -> Result<Box<RawValue>, Failure> {
    serde_json::value::to_raw_value(document).map_err(|error| Failure::internal("rule document", &error))
}

/// The document as the API and the audit log show it.
fn shown(rule: &Stored<Rule>) -> Result<Value, Failure> {
    let mut document = document_of(rule)?;
    managed::mask(&mut document);
    Ok(document)
}

fn document_of(rule: &Stored<Rule>) -> Result<Value, Failure> {
    serde_json::from_str(rule.document.body.get()).map_err(|error| Failure::internal("rule document", &error))
}

pub fn spec_of(rule: &Stored<Rule>) -> Result<RuleSpec, Failure> {
    RuleSpec::parse(&document_of(rule)?).map_err(|errors| refused(&errors))
}

/// The hook of a stored rule. A document that cannot be read belongs to the default hook and is shown as broken there.
fn hook_of(rule: &Stored<Rule>) -> &'static str {
    spec_of(rule).map_or(Hook::Http.as_str(), |spec| spec.hook.as_str())
}

fn view(rule: &Stored<Rule>, lists: &HashMap<String, Arc<List>>) -> Result<RuleView, Failure> {
    let Value::Object(mut members) = shown(rule)? else {
        return Err(Failure::new(Code::Internal, "a stored rule is not an object"));
    };
    let (hook, warning) = match spec_of(rule) {
        Ok(spec) => {
            let warning = match policy::check(&spec, lists) {
                Ok(more) => join(spec.warnings.iter().cloned().chain(more)),
                Err(errors) => join(errors.iter().map(|error| format!("does not compile: {error}"))),
            };
            (spec.hook.as_str(), warning)
        }
        Err(failure) => (Hook::Http.as_str(), join(failure.problems.into_iter().map(|problem| problem.message))),
    };
    // Members that clients count on; none of them inside `rule_settings`, which stays as its author wrote it.
    for (name, value) in [("enabled", json!(rule.document.enabled)), ("filters", json!([hook])), ("traffic", json!(""))]
    {
        members.entry(name).or_insert(value);
    }
    members.insert("id".to_owned(), rule.id.to_string().into());
    members.insert("precedence".to_owned(), rule.document.precedence.into());
    members.insert("version".to_owned(), rule.revision.0.into());
    members.insert("created_at".to_owned(), time(rule.created_at).into());
    members.insert("updated_at".to_owned(), time(rule.updated_at).into());
    members.insert("deleted_at".to_owned(), Value::Null);
    members.insert("warning_status".to_owned(), warning.map_or(Value::Null, Value::String));
    Ok(RuleView(members))
}

fn join(texts: impl Iterator<Item = String>) -> Option<String> {
    let texts: Vec<_> = texts.collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// Turns the engine's faults into a failure with a pointer for each.
pub fn refused(errors: &[SpecError]) -> Failure {
    let problem = |error: &SpecError| Problem {
        message: match &error.suggestion {
            Some(suggestion) => format!("{}; did you mean \"{suggestion}\"?", error.message),
            None => error.message.clone(),
        },
        pointer: Some(error.pointer.clone()),
    };
    Failure::invalid_many(errors.iter().map(problem).collect())
}

fn spec_texts(spec: &RuleSpec) -> [&str; 3] {
    spec.expressions().map(|(_, text)| text)
}

/// Loads the lists that texts name, and no others: a list may be long.
pub async fn lists_named_in<'a>(
    cx: &OpContext,
    texts: impl IntoIterator<Item = &'a str>,
) -> Result<HashMap<String, Arc<List>>, Failure> {
    let mut named = BTreeSet::new();
    for text in texts {
        named.extend(list_ids(text));
    }
    let mut lists = HashMap::with_capacity(named.len());
    if named.is_empty() {
        return Ok(lists);
    }
    // Compiling a rule is the installation's own work: whoever may write rules may name any list of the account.
    let grant = store::Principal::system("compile a rule").authorize::<ReadLists>(cx.account)?;
    for id in named {
        let Some(head) = cx.store().lists().get(&grant, &id).await? else { continue };
        let items = cx.store().lists().all_items(&grant, id).await?;
        let values: Vec<&str> = items.iter().map(|item| item.value.as_str()).collect();
        let kind = super::lists::engine_type(head.document.item_type);
        if let Ok(list) = policy::lists::compile(kind, &values) {
            lists.insert(id.to_string(), Arc::new(list));
        }
    }
    Ok(lists)
}

/// Finds what looks like a list reference, with or without dashes.
fn list_ids(text: &str) -> impl Iterator<Item = ListId> + '_ {
    text.match_indices('$').filter_map(|(index, _)| {
        let name: String =
            text[index + 1..].chars().take(36).take_while(|c| c.is_ascii_hexdigit() || *c == '-').collect();
        name.parse().ok()
    })
}

fn missing() -> Failure {
    Failure::not_found("rule")
}

#[cfg(test)]
mod tests {
    use super::list_ids;

    #[test]
    fn list_references_are_found_in_expressions() {
        let id = "01302951-49f9-47c9-a400-0297e60b6a10";
        for (text, count) in [
            (format!("any(http.request.domains[*] in ${id})"), 1),
            (format!("a in ${id} or b in ${}", id.to_uppercase()), 2),
            ("http.request.host == \"$x\"".to_owned(), 0),
            ("$".to_owned(), 0),
        ] {
            assert_eq!(list_ids(&text).count(), count, "{text}");
        }
    }
}
