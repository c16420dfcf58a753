//! From a finding to a rule: what follows when an application is found in use.
//!
//! A draft is a rule document as the API takes it; nothing is stored. Invariant: what a draft matches is the application or
//! the status that the finding is about, and nothing beside it.

use logs::usage::FILES;
use serde_json::{Map, Value, json};

use super::applications::{self, ApplicationQuery, ApplicationView};
use crate::auth::OpContext;
use crate::failure::Failure;

/// What may follow from a finding, by its word.
pub const FINDINGS: [&str; 6] = ["block", "redirect", "coach", "uploads", "log", "block-unapproved"];

/// Drafts the rule that follows from a finding about an application, by its number or slug; `block-unapproved` is about none.
///
/// # Errors
///
/// A [`Failure`] that names the parameter at fault, `NotFound` for an application that is not there.
pub async fn draft(cx: &OpContext, finding: &str, application: &str) -> Result<Map<String, Value>, Failure> {
    let document = if finding == "block-unapproved" {
        json!({
            "name": "Block unapproved applications",
            "action": "block",
            "traffic": r#"any(app.statuses[*] == "unapproved")"#,
            "rule_settings": {"block_reason": "This application is not approved here."},
        })
    } else {
        of_application(cx, finding, &applications::get(cx, application).await?).await?
    };
    let mut document = document.as_object().cloned().unwrap_or_default();
    document.insert("filters".to_owned(), json!(["http"]));
    document.insert("enabled".to_owned(), json!(true));
    Ok(document)
}

async fn of_application(cx: &OpContext, finding: &str, application: &ApplicationView) -> Result<Value, Failure> {
    let name = &application.name;
    let its = format!("any(app.ids[*] in {{{}}})", application.id);
    Ok(match finding {
        "block" => json!({
            "name": format!("Block {name}"),
            "action": "block",
            "traffic": its,
            "rule_settings": {"block_reason": format!("{name} is not approved here.")},
        }),
        "redirect" => {
            let target = sanctioned(cx, application).await?;
            let to = target.as_ref().map_or("the approved application", |target| &target.name);
            let host = target.as_ref().and_then(|target| target.hostnames.first());
            json!({
                "name": format!("Send {name} to {to}"),
                "action": "redirect",
                "traffic": its,
                "rule_settings": {"redirect": {"target_uri": host.map(|host| format!("https://{host}/")).unwrap_or_default()}},
            })
        }
        "coach" => json!({
            "name": format!("Coach people on {name}"),
            "action": "managed",
            "traffic": its,
            "rule_settings": {"managed": {"template": "coaching", "parameters": {
                "message": format!("{name} has not been reviewed yet. Do not give it personal data, secrets or source code."),
            }}},
        }),
        "uploads" => json!({
            "name": format!("Stop uploads to {name}"),
            "action": "block",
            "traffic": format!(r#"{its} and http.request.method in {{"POST" "PUT" "PATCH"}} and ({})"#, files()),
            "rule_settings": {"block_reason": format!("{name} is in review: it can be used, but takes no files yet.")},
        }),
        "log" => json!({"name": format!("Allow and log {name}"), "action": "allow", "traffic": its}),
        _ => return Err(Failure::invalid("finding", format!("must be one of {}", FINDINGS.join(", ")))),
    })
}

/// Says in an expression that a body is a file, as usage counts it.
fn files() -> String {
    FILES.map(|begin| format!(r#"starts_with(http.upload.mime, "{begin}")"#)).join(" or ")
}

/// Returns an approved application for the same purpose: of the same type, and of the same kind of artificial intelligence if
/// there is one.
async fn sanctioned(cx: &OpContext, application: &ApplicationView) -> Result<Option<ApplicationView>, Failure> {
    let query = ApplicationQuery {
        status: Some(catalog::Status::Approved),
        kind: Some(application.portunus.type_id),
        limit: applications::MOST,
        ..ApplicationQuery::default()
    };
    let approved = applications::list(cx, &query).await?.applications;
    let shared = |other: &ApplicationView| {
        other.portunus.ai.iter().filter(|kind| application.portunus.ai.contains(kind)).count()
    };
    let others = approved.into_iter().filter(|other| other.id != application.id && !other.hostnames.is_empty());
    Ok(others.max_by_key(shared))
}
