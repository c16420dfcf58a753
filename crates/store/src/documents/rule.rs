//! A gateway rule: what the store must know of it beside the author's own JSON.
//!
//! The body is the v4 rule object as its author sent it, expression text included; the policy engine reads it. Secrets of
//! a managed action are taken out before and kept beside it. Invariant: the body comes back byte for byte, and no secret
//! is in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use types::RuleId;

use super::document;
use crate::seal::Sealed;

/// A stored rule. Its `version` in the API is the revision it is stored under.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rule {
    /// Its name on pages.
    pub name: String,
    /// Whether it takes part.
    pub enabled: bool,
    /// Its place; lower comes first.
    pub precedence: i64,
    /// The author's rule object.
    pub body: Box<RawValue>,
    /// The secrets of its managed action, by parameter.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Sealed>,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.enabled == other.enabled
            && self.precedence == other.precedence
            && self.body.get() == other.body.get()
            && self.secrets == other.secrets
    }
}

document!(Rule, Rule, id RuleId, ReadRules / WriteRules {
    // One expression may have 140,000 characters (reference section 3.3), and a rule three of them.
    const MAX_BYTES: usize = 2 * 1024 * 1024;
    const MAX_COUNT: usize = 20_000;

    fn position(&self) -> i64 {
        self.precedence
    }
});
