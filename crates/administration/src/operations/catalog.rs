//! What rules can be written about: categories, application types, selectors, managed actions.
//!
//! Data of the engines, in the shapes pages and v4 clients expect. Invariant: nothing here changes anything.

use catalog::taxonomy::{self, Category};
use policy::Hook;
use serde::Serialize;
use store::ReadRules;
use utoipa::ToSchema;

use crate::auth::OpContext;
use crate::failure::Failure;

/// An entry of `GET …/gateway/app_types`: a type, or an application of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum AppType {
    Type { id: u32, name: String, description: String, created_at: String },
    Application { id: u32, application_type_id: u32, name: String, created_at: String },
}

/// A selector of rule expressions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SelectorView {
    /// `http` or `l4`
    pub hook: &'static str,
    pub name: &'static str,
    #[serde(rename = "type")]
    pub kind: String,
    pub documentation: &'static str,
    pub example: &'static str,
}

/// A managed action, without its source.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TemplateView {
    pub name: String,
    pub title: String,
    pub description: String,
    #[schema(value_type = Vec<Object>)]
    pub parameters: Vec<worker::templates::Parameter>,
}

/// Returns the content categories (reference section 5.8).
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub fn categories(cx: &OpContext) -> Result<Vec<Category>, Failure> {
    cx.authorize::<ReadRules>()?;
    Ok(taxonomy::categories())
}

/// Returns the application types, then every application of the catalogue (reference section 5.8).
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub fn app_types(cx: &OpContext) -> Result<Vec<AppType>, Failure> {
    cx.authorize::<ReadRules>()?;
    let classifier = cx.app.deps.snapshot.classifier();
    let catalog = classifier.catalog();
    let created_at = edition_time(&catalog.header().version);
    let types = taxonomy::types().iter().map(|(id, name)| AppType::Type {
        id: *id,
        name: (*name).to_owned(),
        description: String::new(),
        created_at: created_at.clone(),
    });
    let applications = catalog.applications().iter().map(|application| AppType::Application {
        id: application.id,
        application_type_id: application.kind,
        name: application.name.to_string(),
        created_at: created_at.clone(),
    });
    Ok(types.chain(applications).collect())
}

/// The time of an edition, which is named by its date.
pub(crate) fn edition_time(version: &str) -> String {
    let date = if catalog::score::is_date(version) { version } else { "2026-11-01" };
    format!("{date}T00:00:00Z")
}

/// Returns every selector that expressions can use.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub fn selectors(cx: &OpContext) -> Result<Vec<SelectorView>, Failure> {
    cx.authorize::<ReadRules>()?;
    let of = |hook: Hook| {
        hook.scheme().fields().iter().map(move |field| SelectorView {
            hook: hook.as_str(),
            name: field.name,
            kind: field.kind.to_string(),
            documentation: field.documentation,
            example: field.example,
        })
    };
    Ok(of(Hook::Http).chain(of(Hook::L4)).collect())
}

/// Returns the managed actions.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub fn templates(cx: &OpContext) -> Result<Vec<TemplateView>, Failure> {
    cx.authorize::<ReadRules>()?;
    let templates = worker::templates::all().iter().map(|template| TemplateView {
        name: template.name.clone(),
        title: template.title.clone(),
        description: template.description.clone(),
        parameters: template.parameters.clone(),
    });
    Ok(templates.collect())
}
