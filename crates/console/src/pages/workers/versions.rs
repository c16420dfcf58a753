//! The versions of a Worker, and which of them serves.
//!
//! Versions never change; serving an older one is a deployment. Invariant: exactly one version serves.

use axum::extract::Path;
use maud::html;

use super::head;
use crate::operations::scripts::{self, NewDeployment, Share};
use crate::pages::control::button;
use crate::pages::frame::{self, Place};
use crate::pages::visitor::{Submission, Visitor};
use crate::pages::{Page, format, go, record};

/// Serves `GET /workers/{name}/versions`.
pub(in crate::pages) async fn page(visitor: Visitor, Path(name): Path<String>) -> Page {
    let name = scripts::parse_name(&name)?;
    let serving = scripts::get(&visitor.cx, &name).await?.deployment_id;
    let versions = scripts::versions(&visitor.cx, &name).await?;
    let may_write = visitor.may(store::Permission::WorkersWrite);
    let body = html! {
        (head(&visitor, &name, "/versions"))
        table.cards {
            thead { tr { th scope="col" { "Version" } th scope="col" { "Made" } th scope="col" { "By" } th scope="col" { "Id" } th scope="col" { "Serves" } } }
            tbody {
                @for version in &versions {
                    tr {
                        td data-label="Version" { b { (version.number) } }
                        td data-label="Made" { (format::time(version.metadata.get("created_on").and_then(|at| at.as_str()).unwrap_or_default())) }
                        td data-label="By" { (version.metadata.get("author_email").map(record::shown).filter(|author| author != "null").unwrap_or_default()) }
                        td data-label="Id" { code { (version.id) } }
                        td data-label="Serves" {
                            @if version.id == serving { span.badge.calm { "serves" } }
                            @else if may_write { (button(&format!("/workers/{name}/versions"), &visitor.csrf, "quiet", &html! { "Serve this one" }, &[("version", &version.id)])) }
                        }
                    }
                }
            }
        }
    };
    Ok(frame::page(&visitor, Place::Workers, name.as_str(), &body))
}

/// Serves `POST /workers/{name}/versions`.
pub(in crate::pages) async fn deploy(Path(name): Path<String>, submission: Submission) -> Page {
    let name = scripts::parse_name(&name)?;
    let share = Share { percentage: 100.0, version_id: submission.fields.get("version").to_owned() };
    let new =
        NewDeployment { strategy: "percentage".to_owned(), versions: vec![share], _force: None, _annotations: None };
    scripts::deploy(&submission.visitor.cx, &name, new).await?;
    go(&format!("/workers/{name}/versions?note=deployed"))
}
