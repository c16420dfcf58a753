//! Portals and MCP servers as the v4 API takes and shows them (reference sections 5.1 to 5.3), and what they mean once
//! they are known to be sound.
//!
//! A `…Document` is what an author wrote, strict at the API and lenient from the store; [`portal::Portal`] and
//! [`server::Server`] are sound. What the vendor's documents have no word for stands in their member `portunus`.
//! Invariants: no secret is part of a document that can be written as JSON; an expression of a sound rule compiled.

pub mod credentials;
pub mod overrides;
pub mod portal;
pub mod rule;
pub mod server;
pub mod view;

use identity::document::Problem;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Members the API returns and takes back without effect.
const READ_ONLY: [&str; 4] = ["created_at", "created_by", "modified_at", "modified_by"];
/// Longest name, in characters.
const MAX_NAME: usize = 255;
/// Longest description, in characters.
const MAX_DESCRIPTION: usize = 4_096;

/// Reads what an author sent over what stands: a member that is not sent stays, one that is `null` goes.
fn read_over<T: DeserializeOwned>(
    sent: &Value,
    standing: Option<Map<String, Value>>,
    read_only: &[&str],
) -> Result<T, Vec<Problem>> {
    let Value::Object(sent) = sent else { return Err(vec![Problem::new("", "must be an object")]) };
    let mut members = standing.unwrap_or_default();
    members.extend(sent.iter().map(|(name, value)| (name.clone(), value.clone())));
    let read_only: Vec<&str> = READ_ONLY.iter().chain(read_only).copied().collect();
    identity::document::read(&Value::Object(members), &read_only)
}

/// The members of a document, as they are stored.
fn members<T: serde::Serialize>(document: &T) -> Map<String, Value> {
    match serde_json::to_value(document) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

/// Checks a text that may have several lines: no other control characters, at most `limit` characters.
fn prose(text: &str, limit: usize) -> Result<String, String> {
    if text.chars().count() > limit {
        return Err(format!("must be at most {limit} characters"));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err("must not hold control characters".to_owned());
    }
    Ok(text.to_owned())
}
