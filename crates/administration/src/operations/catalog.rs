//! What rules can be written about: categories, application types, selectors, managed actions.
//!
//! Static data of the engines, in the shapes pages and v4 clients expect. Invariant: nothing here depends on the account.

use policy::Hook;
use serde::Serialize;
use store::ReadRules;
use utoipa::ToSchema;

use crate::auth::OpContext;
use crate::failure::Failure;

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
pub fn categories(cx: &OpContext) -> Result<Vec<policy::catalog::Category>, Failure> {
    cx.authorize::<ReadRules>()?;
    Ok(policy::categories())
}

/// Returns the application types and applications (reference section 5.8).
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub fn app_types(cx: &OpContext) -> Result<Vec<policy::catalog::AppType>, Failure> {
    cx.authorize::<ReadRules>()?;
    Ok(policy::app_types())
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
