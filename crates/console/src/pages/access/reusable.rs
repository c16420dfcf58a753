//! Reusable policies: one document that several applications name, changed in one place for all of them.
//!
//! Invariant: the page of a policy says which applications a change of it changes.

use axum::extract::Path;
use maud::{Markup, html};
use serde_json::Value;
use store::Permission;
use types::{AccessPolicyId, ApplicationId};

use super::head;
use super::policies::{Draft, Parts, badge, draft, form, typed, value, who};
use super::selectors::Names;
use crate::failure::Failure;
use crate::operations::access::policies::remarks;
use crate::operations::access::{AccessView, applications, policies};
use crate::pages::control::{Control, Problems, button, csrf};
use crate::pages::frame::{self, Place, confirm, empty, refused_form, title};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, format, go, id};

pub(super) const PATH: &str = "/access/policies";

/// Serves `GET /access/policies`.
pub(in crate::pages) async fn page(visitor: Visitor) -> Page {
    let names = Names::load(&visitor).await?;
    let all = policies::list(&visitor.cx).await?;
    let write =
        html! { @if visitor.may(Permission::AccessWrite) { a.button.primary href={ (PATH) "/new" } { "New policy" } } };
    let body = html! {
        (head(&visitor, "policies", &write))
        @if all.is_empty() { (empty("There are no reusable policies.", &html! { "A reusable policy is written once and named by many applications. A policy of one application alone is written on its page." })) } @else {
            table.cards {
                thead { tr { th scope="col" { "Policy" } th scope="col" { "Decision" } th scope="col" { "Who" } th scope="col" { "Applications" } th scope="col" { "Changed" } } }
                tbody { @for policy in &all { (row(&names, policy)) } }
            }
        }
    };
    Ok(frame::page(&visitor, Place::Access, "Policies", &body))
}

fn row(names: &Names, policy: &AccessView) -> Markup {
    html! {
        tr {
            td data-label="Policy" { a.strong href={ (PATH) "/" (policy.text("id")) } { (policy.text("name")) } }
            td data-label="Decision" { (badge(policy.text("decision"))) }
            td data-label="Who" { (who(names, &Value::Object(policy.0.clone()))) }
            td data-label="Applications" { (format::count(policy.0.get("app_count").and_then(Value::as_u64).unwrap_or_default())) }
            td data-label="Changed" { (format::day(policy.text("updated_at"))) }
        }
    }
}

/// Serves `GET /access/policies/new`.
pub(in crate::pages) async fn new_page(visitor: Visitor) -> Page {
    let names = Names::load(&visitor).await?;
    let known = typed(&names, None);
    let form = form(&visitor, (PATH, PATH), &|name| value(&known, name), &Parts::fresh(), Problems::NONE);
    let body = editor("New policy", &html! {}, &form, Problems::NONE);
    Ok(frame::page(&visitor, Place::Access, "New policy", &body))
}

fn editor(name: &str, actions: &Markup, form: &Markup, problems: Problems<'_>) -> Markup {
    html! {
        p.crumbs { a href=(PATH) { "Policies" } " / " (name) }
        (title(name, "", actions))
        (problems.summary())
        (form)
    }
}

/// Serves `POST /access/policies`.
pub(in crate::pages) async fn create(submission: Submission) -> Page {
    save_policy(submission, None).await
}

/// Serves `GET /access/policies/{id}`.
pub(in crate::pages) async fn policy_page(visitor: Visitor, Path(policy): Path<String>) -> Page {
    let policy = policies::get(&visitor.cx, id(&policy, "policy")?).await?;
    let names = Names::load(&visitor).await?;
    let known = typed(&names, Some(&policy));
    let path = format!("{PATH}/{}", policy.text("id"));
    let parts = Parts::stored(&policy);
    let form = form(&visitor, (&path, PATH), &|name| value(&known, name), &parts, Problems::NONE);
    let body = one(&visitor, &policy, &form, Problems::NONE).await?;
    Ok(frame::page(&visitor, Place::Access, policy.text("name"), &body))
}

/// Serves `POST /access/policies/{id}`.
pub(in crate::pages) async fn save(Path(policy): Path<String>, submission: Submission) -> Page {
    save_policy(submission, Some(id(&policy, "policy")?)).await
}

async fn save_policy(submission: Submission, policy: Option<AccessPolicyId>) -> Page {
    let Submission { visitor, fields } = submission;
    let names = Names::load(&visitor).await?;
    let stored = match policy {
        Some(policy) => Some(policies::get(&visitor.cx, policy).await?),
        None => None,
    };
    let Draft { document, problems } = draft(&names, &fields, stored.as_ref());
    let saved = match policy {
        _ if !problems.is_empty() => Err(Failure::invalid_many(problems)),
        Some(policy) => policies::replace(&visitor.cx, policy, &document).await,
        None => policies::create(&visitor.cx, &document).await,
    };
    let failure = match saved {
        Ok(saved) => return go(&format!("{PATH}/{}?note=saved", saved.text("id"))),
        Err(failure) => failure,
    };
    let values = |name: &str| fields.find(name).unwrap_or_default().to_owned();
    let problems = Problems::of(&failure);
    let action = policy.map_or_else(|| PATH.to_owned(), |policy| format!("{PATH}/{policy}"));
    let form = form(&visitor, (&action, PATH), &values, &Parts::typed(&fields), problems);
    let body = match &stored {
        Some(stored) => one(&visitor, stored, &form, problems).await?,
        None => editor("New policy", &html! {}, &form, problems),
    };
    Ok(refused_form(&visitor, Place::Access, "Policy", &failure, &body))
}

/// A policy with the applications that name it.
async fn one(visitor: &Visitor, policy: &AccessView, form: &Markup, problems: Problems<'_>) -> Result<Markup, Failure> {
    let path = format!("{PATH}/{}", policy.text("id"));
    let may_write = visitor.may(Permission::AccessWrite);
    let mut document = policy.0.clone();
    // It is the application that places a policy.
    document.remove("precedence");
    let remarks = remarks(&visitor.cx, &Value::Object(document)).await?;
    let all = applications::list(&visitor.cx).await?;
    let (naming, others): (Vec<_>, Vec<_>) =
        all.iter().filter(|app| app.0.contains_key("policies")).partition(|app| names(app, policy.text("id")));
    let others: Vec<(&str, &str)> = others.iter().map(|app| (app.text("id"), app.text("name"))).collect();
    let actions = html! { @if may_write { a.button.quiet href={ (path) "/delete" } { "Delete" } } };
    Ok(html! {
        (editor(policy.text("name"), &actions, form, problems))
        @if !may_write { p.muted { "You may look at policies and not change them." } }
        @for remark in &remarks { p.warning { (remark) } }
        h2 { "Applications" small { "a change of this policy holds at all of them" } }
        @if naming.is_empty() { p.muted { "No application names it, so it lets nobody in." } } @else {
            table.cards {
                thead { tr { th scope="col" { "Application" } th scope="col" { span.hidden { "Take out" } } } }
                tbody { @for app in &naming { tr {
                    td.strong data-label="Application" { a href={ "/access/apps/" (app.text("id")) } { (app.text("name")) } }
                    td { @if may_write { (button(&format!("{path}/detach"), &visitor.csrf, "quiet", &html! { "Take out" span.hidden { " of " (app.text("name")) } }, &[("app", app.text("id"))])) } }
                } } }
            }
        }
        @if may_write && !others.is_empty() {
            form.sheet method="post" action={ (path) "/attach" } {
                (csrf(&visitor.csrf))
                (Control::new("app", "Application").hint("The policy is added behind those that it has.").select(&others, ""))
                div.actions { button type="submit" { "Add it there" } }
            }
        }
    })
}

fn names(app: &AccessView, policy: &str) -> bool {
    app.0.get("policies").and_then(Value::as_array).is_some_and(|all| all.iter().any(|known| known["id"] == policy))
}

/// The form on an application's page that adds a reusable policy; nothing where there is none to add.
pub(super) async fn attach(visitor: &Visitor, path: &str, listed: &[Value]) -> Result<Markup, Failure> {
    let all = policies::list(&visitor.cx).await?;
    let here = |policy: &&AccessView| !listed.iter().any(|known| known["id"] == policy.text("id"));
    let others: Vec<(&str, &str)> =
        all.iter().filter(here).map(|policy| (policy.text("id"), policy.text("name"))).collect();
    Ok(html! {
        @if !others.is_empty() {
            form.sheet method="post" action={ (path) "/attach" } {
                (csrf(&visitor.csrf))
                (Control::new("policy", "A reusable policy").hint("It is added behind the others, and changed on its own page.").select(&others, ""))
                div.actions { button type="submit" { "Add the reusable policy" } }
            }
        }
    })
}

/// Serves `POST /access/policies/{id}/attach`.
pub(in crate::pages) async fn attach_to(Path(policy): Path<String>, form: Submission) -> Page {
    let policy: AccessPolicyId = id(&policy, "policy")?;
    let app: ApplicationId = id(form.fields.get("app"), "application")?;
    applications::attach_policy(&form.visitor.cx, app, policy).await?;
    go(&format!("{PATH}/{policy}?note=saved"))
}

/// Serves `POST /access/policies/{id}/detach`.
pub(in crate::pages) async fn detach_from(Path(policy): Path<String>, form: Submission) -> Page {
    let policy: AccessPolicyId = id(&policy, "policy")?;
    let app: ApplicationId = id(form.fields.get("app"), "application")?;
    policies::get(&form.visitor.cx, policy).await?;
    applications::delete_policy(&form.visitor.cx, app, policy).await?;
    go(&format!("{PATH}/{policy}?note=saved"))
}

/// Serves `GET /access/policies/{id}/delete`.
pub(in crate::pages) async fn confirm_delete(visitor: Visitor, Path(policy): Path<String>) -> Page {
    let policy = policies::get(&visitor.cx, id(&policy, "policy")?).await?;
    let path = format!("{PATH}/{}", policy.text("id"));
    let text =
        html! { p { strong { (policy.text("name")) } " goes. A policy that an application names cannot be deleted." } };
    let act = format!("{path}/delete");
    Ok(confirm(&visitor, Place::Access, "Delete this policy?", &text, (&act, "Delete the policy"), &path))
}

/// Serves `POST /access/policies/{id}/delete`.
pub(in crate::pages) async fn delete(Path(policy): Path<String>, form: Submission) -> Page {
    policies::delete(&form.visitor.cx, id(&policy, "policy")?).await?;
    go(&format!("{PATH}?note=deleted"))
}
