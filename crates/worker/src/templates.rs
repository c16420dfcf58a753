//! The managed actions that ship with the product: ordinary Workers in TypeScript, each with a manifest.

use serde::{Deserialize, Serialize};

/// One managed action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Template {
    pub name: String,
    pub title: String,
    pub description: String,
    pub parameters: Vec<Parameter>,
    /// TypeScript source.
    #[serde(default)]
    pub source: String,
}

/// One thing an administrator fills in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    pub name: String,
    pub title: String,
    pub description: String,
    pub kind: ParameterKind,
    #[serde(default)]
    pub required: bool,
    #[serde(default)]
    pub default: Option<serde_json::Value>,
}

/// The type of a parameter's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParameterKind {
    Text,
    Number,
    Boolean,
    /// An absolute https URL; its origin joins the egress list.
    Url,
    /// A list of texts.
    List,
    /// Kept sealed, bound as `env.<name>`, never part of `env.parameters`.
    Secret,
}

/// Every template, by name.
pub fn all() -> &'static [Template] {
    &[]
}

/// The template called `name`.
pub fn find(name: &str) -> Option<&'static Template> {
    all().iter().find(|template| template.name == name)
}
