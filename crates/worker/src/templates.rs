//! The managed actions that ship with the product: ordinary Workers in TypeScript, each with a manifest.
//!
//! Decides: what a template asks an administrator for, whether given values fit, and which origins it may then reach.
//! Does not compile or run them: they take the way of anyone's script. Parameters reach a template as the JSON variable
//! `parameters`, its secrets as text variables of their own names, its state as the KV namespace `STATE`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One managed action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Template {
    pub name: String,
    pub title: String,
    pub description: String,
    /// Whether a KV namespace must be bound as `STATE`.
    #[serde(default)]
    pub state: bool,
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
    pub default: Option<Value>,
}

/// The type of a parameter's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParameterKind {
    Text,
    Number,
    Boolean,
    /// An absolute http or https URL; its origin joins the egress list.
    Url,
    /// A list of texts.
    List,
    /// Kept sealed, bound as `env.<name>`, never part of `env.parameters`.
    Secret,
}

/// Values that fit a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// The JSON of `env.parameters`.
    pub parameters: String,
    /// Secrets by binding name.
    pub secrets: BTreeMap<String, String>,
    /// Origins (`https://host[:port]`) the script may reach.
    pub egress: Vec<String>,
}

/// Why values do not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    #[error("parameter \"{0}\" is required")]
    Missing(String),
    #[error("parameter \"{0}\" is not known")]
    Unknown(String),
    #[error("parameter \"{name}\" must be {expected}")]
    Type { name: String, expected: &'static str },
}

static TEMPLATES: LazyLock<Vec<Template>> = LazyLock::new(|| {
    [
        (include_str!("../templates/require-training.json"), include_str!("../templates/require-training.ts")),
        (include_str!("../templates/open-ticket.json"), include_str!("../templates/open-ticket.ts")),
        (include_str!("../templates/coaching.json"), include_str!("../templates/coaching.ts")),
        (include_str!("../templates/risk-api.json"), include_str!("../templates/risk-api.ts")),
    ]
    .into_iter()
    .filter_map(|(manifest, source)| {
        let mut template: Template = serde_json::from_str(manifest).ok()?;
        source.clone_into(&mut template.source);
        Some(template)
    })
    .collect()
});

/// Every template, by name.
pub fn all() -> &'static [Template] {
    &TEMPLATES
}

/// The template called `name`.
pub fn find(name: &str) -> Option<&'static Template> {
    all().iter().find(|template| template.name == name)
}

impl Template {
    /// Checks values against the manifest, fills in defaults and derives what the script needs.
    ///
    /// # Errors
    /// When a required value is missing, one is unknown, or one has the wrong type.
    pub fn configure(&self, values: &serde_json::Map<String, Value>) -> Result<Configured, ParameterError> {
        if let Some(name) = values.keys().find(|name| !self.parameters.iter().any(|known| known.name == **name)) {
            return Err(ParameterError::Unknown(name.clone()));
        }
        let mut parameters = serde_json::Map::new();
        let mut secrets = BTreeMap::new();
        let mut egress = Vec::new();
        for parameter in &self.parameters {
            let given = values.get(&parameter.name).filter(|value| !value.is_null());
            let Some(value) = given.or(parameter.default.as_ref()) else {
                if parameter.required {
                    return Err(ParameterError::Missing(parameter.name.clone()));
                }
                continue;
            };
            parameter.check(value)?;
            match (parameter.kind, value) {
                (ParameterKind::Secret, Value::String(text)) => {
                    secrets.insert(parameter.name.clone(), text.clone());
                    continue;
                }
                (ParameterKind::Url, Value::String(text)) => {
                    let origin = url::Url::parse(text).map(|url| url.origin().ascii_serialization());
                    egress.extend(origin.ok().filter(|origin| !egress.contains(origin)));
                }
                _ => {}
            }
            parameters.insert(parameter.name.clone(), value.clone());
        }
        Ok(Configured { parameters: Value::Object(parameters).to_string(), secrets, egress })
    }
}

impl Parameter {
    fn check(&self, value: &Value) -> Result<(), ParameterError> {
        let (fits, expected) = match self.kind {
            ParameterKind::Text => (value.is_string(), "a text"),
            ParameterKind::Secret => (value.as_str().is_some_and(|text| !text.is_empty()), "a text that is not empty"),
            ParameterKind::Number => {
                (value.as_f64().is_some_and(|number| number >= 0.0), "a number that is not negative")
            }
            ParameterKind::Boolean => (value.is_boolean(), "true or false"),
            ParameterKind::Url => (value.as_str().is_some_and(is_web_url), "an absolute http or https URL"),
            ParameterKind::List => {
                (value.as_array().is_some_and(|list| list.iter().all(Value::is_string)), "a list of texts")
            }
        };
        if fits { Ok(()) } else { Err(ParameterError::Type { name: self.name.clone(), expected }) }
    }
}

fn is_web_url(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_template_has_a_manifest_and_compiles() {
        assert_eq!(all().len(), 4);
        for template in all() {
            assert!(find(&template.name).is_some());
            crate::typescript::to_javascript("worker.ts", &template.source).unwrap();
        }
    }

    #[test]
    fn values_are_checked_and_completed() {
        let template = find("require-training").unwrap();
        let values = json!({"lookup_url": "https://lms.test/api", "training_url": "https://lms.test/course", "lookup_token": "s"});
        let configured = template.configure(values.as_object().unwrap()).unwrap();
        assert_eq!(configured.egress, ["https://lms.test"]);
        assert_eq!(configured.secrets["lookup_token"], "s");
        let parameters: Value = serde_json::from_str(&configured.parameters).unwrap();
        assert_eq!((&parameters["course"], &parameters["lookup_token"]), (&json!("compliance"), &Value::Null));
        for (values, error) in [
            (json!({}), "parameter \"lookup_url\" is required"),
            (json!({"nope": 1}), "parameter \"nope\" is not known"),
            (
                json!({"lookup_url": "file:///etc/passwd"}),
                "parameter \"lookup_url\" must be an absolute http or https URL",
            ),
            (
                json!({"lookup_url": "https://a.test", "training_url": 5}),
                "parameter \"training_url\" must be an absolute http or https URL",
            ),
        ] {
            assert_eq!(template.configure(values.as_object().unwrap()).unwrap_err().to_string(), error);
        }
    }
}
