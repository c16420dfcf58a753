//! Access policies, reusable or of one application (reference section 1.5).
//!
//! Invariants: a stored policy compiled against the groups and lists of its time; a reusable policy that an application
//! names cannot be deleted.

use std::collections::HashMap;

use identity::access_policy::{Policy, PolicyDocument};
use identity::evaluation::PolicySet;
use identity::group::Groups;
use identity::selector::Selector;
use serde::Serialize;
use serde_json::{Map, Value};
use store::{AccessPolicy, Application, Collection, ReadAccess, Store, Stored, WriteAccess};
use types::{AccessPolicyId, ApplicationId, Code};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{AccessView, Kept, body, groups, members, providers, refused, system, view};
use crate::auth::OpContext;
use crate::failure::{Failure, Problem};
use crate::operations::rules::lists_named_in;

/// What checking a policy without storing it came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PolicyCheck {
    pub valid: bool,
    pub errors: Vec<PolicyFault>,
    pub warnings: Vec<String>,
}

/// One fault of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PolicyFault {
    pub pointer: String,
    pub message: String,
}

impl Kept for AccessPolicy {
    const RESOURCE: &'static str = "access_policy";
    const THING: &'static str = "policy";

    fn collection(store: &Store) -> Collection<'_, Self> {
        store.access_policies()
    }

    fn show(stored: &Stored<Self>) -> Map<String, Value> {
        let mut members = members(&stored.document.body);
        members.insert("reusable".to_owned(), stored.document.application.is_none().into());
        members
    }
}

/// Returns every reusable policy.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn list(cx: &OpContext) -> Result<Vec<AccessView>, Failure> {
    let grant = cx.authorize::<ReadAccess>()?;
    let policies = cx.store().access_policies().list(&grant).await?;
    let counts = use_counts(&cx.store().applications().list(&grant).await?);
    let reusable = policies.iter().filter(|policy| policy.document.application.is_none());
    Ok(reusable.map(|policy| counted(policy, &counts)).collect())
}

/// Returns one reusable policy.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] for the caller.
pub async fn get(cx: &OpContext, id: AccessPolicyId) -> Result<AccessView, Failure> {
    let grant = cx.authorize::<ReadAccess>()?;
    let policy = load_reusable(cx, id).await?;
    Ok(counted(&policy, &use_counts(&cx.store().applications().list(&grant).await?)))
}

/// Makes a reusable policy.
///
/// # Errors
///
/// A [`Failure`] that points at every member at fault.
pub async fn create(cx: &OpContext, document: &Value) -> Result<AccessView, Failure> {
    cx.authorize::<WriteAccess>()?;
    let id = AccessPolicyId(Uuid::new_v4());
    let policy = read(cx, id, document, None).await?;
    Ok(counted(&super::create(cx, id, policy).await?, &HashMap::new()))
}

/// Replaces a reusable policy.
///
/// # Errors
///
/// `NotFound`, and a [`Failure`] that points at every member at fault.
pub async fn replace(cx: &OpContext, id: AccessPolicyId, document: &Value) -> Result<AccessView, Failure> {
    let grant = cx.authorize::<WriteAccess>()?;
    let before = load_reusable(cx, id).await?;
    let policy = read(cx, id, document, None).await?;
    let stored = super::replace(cx, &before, policy).await?;
    Ok(counted(&stored, &use_counts(&cx.store().applications().list(&grant).await?)))
}

/// Deletes a reusable policy that no application names.
///
/// # Errors
///
/// `NotFound`, `Conflict` when it is in use.
pub async fn delete(cx: &OpContext, id: AccessPolicyId) -> Result<(), Failure> {
    let grant = cx.authorize::<WriteAccess>()?;
    let before = load_reusable(cx, id).await?;
    let applications = cx.store().applications().list(&grant).await?;
    if let Some(user) = applications.iter().find(|application| links(application).contains(&id)) {
        let message = format!("application \"{}\" names this policy; take it out there first", user.document.name);
        return Err(Failure::new(Code::Conflict, message));
    }
    super::delete(cx, &before).await
}

/// Checks a policy without storing it, for live checking while it is written.
///
/// # Errors
///
/// A [`Failure`] for the caller; faults of the document are in the answer.
pub async fn check(cx: &OpContext, document: &Value) -> Result<PolicyCheck, Failure> {
    cx.authorize::<ReadAccess>()?;
    let id = AccessPolicyId(Uuid::nil());
    match compile(cx, id, document).await {
        Ok(Compiled { policy, set, .. }) => {
            let mut warnings = policy.warnings(&providers::by_mail(cx).await?);
            warnings.extend(set.unknowable());
            Ok(PolicyCheck { valid: true, errors: Vec::new(), warnings })
        }
        Err(failure) if failure.code == Code::InvalidInput => {
            let fault = |problem: Problem| PolicyFault {
                pointer: problem.pointer.unwrap_or_default(),
                message: problem.message,
            };
            let errors = failure.problems.into_iter().map(fault).collect();
            Ok(PolicyCheck { valid: false, errors, warnings: Vec::new() })
        }
        Err(failure) => Err(failure),
    }
}

/// Reads a policy that is not stored.
pub async fn unstored(cx: &OpContext, document: &Value) -> Result<Policy, Failure> {
    Ok(compile(cx, AccessPolicyId(Uuid::new_v4()), document).await?.policy)
}

/// What an author should know about a stored policy although it is valid; or why it is not.
pub async fn remarks(cx: &OpContext, policy: &Value) -> Result<Vec<String>, Failure> {
    let checked = check(cx, policy).await?;
    let faults = checked.errors.into_iter().map(|fault| format!("admits nobody: {} {}", fault.pointer, fault.message));
    Ok(faults.chain(checked.warnings).collect())
}

/// Reads and compiles a document; a precedence in it is the application's.
pub async fn read(
    cx: &OpContext,
    id: AccessPolicyId,
    document: &Value,
    application: Option<ApplicationId>,
) -> Result<AccessPolicy, Failure> {
    let Compiled { mut document, policy, .. } = compile(cx, id, document).await?;
    document.precedence = None;
    Ok(AccessPolicy { name: policy.name, application, body: body(&document)? })
}

/// A policy that can be stored.
struct Compiled {
    document: PolicyDocument,
    policy: Policy,
    /// It alone, with the groups it names.
    set: PolicySet,
}

async fn compile(cx: &OpContext, id: AccessPolicyId, document: &Value) -> Result<Compiled, Failure> {
    let document = PolicyDocument::read(document).map_err(refused)?;
    let policy = Policy::parse(id, &document).map_err(refused)?;
    check_names(cx, &policy).await?;
    let groups: Groups = groups::known(cx).await?.into_iter().collect();
    let lists = lists_named_in(cx, policy.expression.as_deref()).await?;
    let set = PolicySet::compile(vec![policy.clone()], &groups, &lists);
    if let Some((_, fault)) = set.faults().into_iter().next() {
        let pointer = if policy.expression.is_some() { "/portunus/expression" } else { "/include" };
        return Err(Failure::invalid(pointer, fault));
    }
    Ok(Compiled { document, policy, set })
}

/// What a selector names must exist: a typo would shut people out, or let nobody in, without a word.
async fn check_names(cx: &OpContext, policy: &Policy) -> Result<(), Failure> {
    let mut problems = Vec::new();
    let lists = [("include", &policy.include), ("require", &policy.require), ("exclude", &policy.exclude)];
    for (list, selectors) in lists {
        for (index, selector) in selectors.iter().enumerate() {
            let pointer = Some(format!("/{list}/{index}"));
            if let Some(why) = selector.not_offered() {
                problems.push(Problem { message: why.to_owned(), pointer });
            } else if let Some(thing) = missing(cx, selector).await? {
                problems.push(Problem { message: format!("there is no such {thing}"), pointer });
            }
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::invalid_many(problems)) }
}

/// What a selector names and the account does not have.
async fn missing(cx: &OpContext, selector: &Selector) -> Result<Option<&'static str>, Failure> {
    let (store, grant) = (cx.store(), system(cx, "check what a policy names")?);
    let (thing, exists) = if let Selector::Group { id } = selector {
        ("rule group", store.access_groups().get(&grant, id).await?.is_some())
    } else if let Selector::ServiceToken { token_id } = selector {
        ("service token", store.service_tokens().get(&grant, token_id).await?.is_some())
    } else if let Selector::LoginMethod { id } = selector {
        ("identity provider", store.providers().get(&grant, id).await?.is_some())
    } else if let Selector::Worker(question) = selector {
        ("Worker", store.scripts().get(&grant, &question.script).await?.is_some())
    } else if let Selector::EmailList { id } | Selector::IpList { id } = selector {
        ("list", store.lists().get(&grant, id).await?.is_some())
    } else {
        return Ok(None);
    };
    Ok((!exists).then_some(thing))
}

/// The policies an application names, in its order.
pub fn links(application: &Stored<Application>) -> Vec<AccessPolicyId> {
    let entries = application.document.body.get("policies").and_then(Value::as_array);
    let id = |entry: &Value| entry.get("id").and_then(Value::as_str)?.parse().ok();
    entries.into_iter().flatten().filter_map(id).collect()
}

fn use_counts(applications: &[Stored<Application>]) -> HashMap<AccessPolicyId, usize> {
    let mut counts = HashMap::new();
    for id in applications.iter().flat_map(links) {
        *counts.entry(id).or_default() += 1;
    }
    counts
}

fn counted(policy: &Stored<AccessPolicy>, counts: &HashMap<AccessPolicyId, usize>) -> AccessView {
    let mut view = view(policy);
    view.0.insert("app_count".to_owned(), counts.get(&policy.id).copied().unwrap_or(0).into());
    view
}

async fn load_reusable(cx: &OpContext, id: AccessPolicyId) -> Result<Stored<AccessPolicy>, Failure> {
    let found = super::load::<AccessPolicy>(cx, &id).await?;
    if found.document.application.is_none() { Ok(found) } else { Err(Failure::not_found(AccessPolicy::THING)) }
}
