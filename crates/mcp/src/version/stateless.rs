//! What results of the stateless era carry: discovery, cache hints, who answered, and missing capabilities.
//!
//! Decides shapes only. A portal's answers depend on who asks, so they are `private` unless the caller knows better.
//! Invariant: members are added to a server's result and never taken out or rewritten, and nobody is told that an answer
//! made for one person may be given to another.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Version;
use crate::message::{ErrorCode, RpcError};
use crate::raw::{self, Object, RawError, splice};

/// Who may be given a cached answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheScope {
    /// Whoever asks.
    Public,
    /// The same caller only.
    Private,
}

impl CacheScope {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
    }
}

/// How long, and for whom, an answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheHint {
    pub milliseconds: u64,
    pub scope: CacheScope,
}

/// Tells whether results of this method carry cache hints.
#[must_use]
pub fn is_cacheable(method: &str) -> bool {
    matches!(
        method,
        "server/discover"
            | "tools/list"
            | "prompts/list"
            | "resources/list"
            | "resources/templates/list"
            | "resources/read"
    )
}

/// Answers `server/discover`; `server_info` is `{name, version, …}`, `capabilities` an object.
#[must_use]
pub fn discovery(
    server_info: &Value,
    capabilities: &Value,
    instructions: Option<&str>,
    hint: CacheHint,
) -> Box<RawValue> {
    let mut result = json!({
        "resultType": "complete",
        "supportedVersions": Version::ALL.map(Version::as_str),
        "capabilities": capabilities,
        "ttlMs": hint.milliseconds,
        "cacheScope": hint.scope.as_str(),
        "_meta": {"io.modelcontextprotocol/serverInfo": server_info},
    });
    if let Some(text) = instructions {
        result["instructions"] = text.into();
    }
    raw::raw(&result)
}

/// Makes an older server's result one of the stateless era: `resultType`, cache hints, who answered.
///
/// What the result says itself stays, except that a scope of `public` becomes `private` when `hint` is: the portal
/// answered this person.
///
/// # Errors
/// When the result is no object or names a member twice.
pub fn complete(
    result: &RawValue,
    method: &str,
    server_info: &Value,
    hint: CacheHint,
) -> Result<Box<RawValue>, RawError> {
    let object = Object::parse(result.get())?;
    let mut changes: Vec<(&str, Box<RawValue>)> = Vec::new();
    if object.value("resultType").is_none() {
        changes.push(("resultType", raw::raw("complete")));
    }
    let is_complete = object.text("resultType").is_none_or(|kind| kind == "complete");
    if is_cacheable(method) && is_complete {
        if object.value("ttlMs").is_none() {
            changes.push(("ttlMs", raw::raw(&hint.milliseconds)));
        }
        if object.value("cacheScope").is_none() || hint.scope == CacheScope::Private {
            changes.push(("cacheScope", raw::raw(hint.scope.as_str())));
        }
    }
    const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
    match object.value("_meta") {
        None => changes.push(("_meta", raw::raw(&json!({SERVER_INFO: server_info})))),
        Some(meta) => {
            let inner = Object::parse(meta.get())?;
            if inner.value(SERVER_INFO).is_none() {
                let info = raw::raw(server_info);
                changes.push(("_meta", splice(meta.get(), &[(SERVER_INFO, Some(&info))])?));
            }
        }
    }
    let changes: Vec<_> = changes.iter().map(|(name, value)| (*name, Some(&**value))).collect();
    splice(result.get(), &changes)
}

/// Takes out of a stateless server's result what versions with sessions do not have.
///
/// # Errors
/// When the result is no object or names a member twice.
pub fn plain(result: &RawValue) -> Result<Box<RawValue>, RawError> {
    const OWN: [&str; 3] = ["resultType", "ttlMs", "cacheScope"];
    let has_own = |name: &&str| raw::may_hold(result, name);
    if !OWN.iter().any(has_own) {
        return Ok(result.to_owned());
    }
    let object = Object::parse(result.get())?;
    let changes: Vec<_> =
        OWN.into_iter().filter(|name| object.value(name).is_some()).map(|name| (name, None)).collect();
    if changes.is_empty() { Ok(result.to_owned()) } else { splice(result.get(), &changes) }
}

/// Returns the error for a request that needs capabilities its client did not declare, when it lacks one of them.
///
/// `required` is an object of the shape of `clientCapabilities`; each of its members must be declared, at any depth.
#[must_use]
pub fn missing_capability(declared: &RawValue, required: &Value) -> Option<RpcError> {
    let declared: Value = serde_json::from_str(declared.get()).unwrap_or(Value::Null);
    (!declares(&declared, required)).then(|| {
        RpcError::with(
            ErrorCode::MissingCapability,
            "the client did not declare a capability this request needs",
            &json!({"requiredCapabilities": required}),
        )
    })
}

fn declares(declared: &Value, required: &Value) -> bool {
    let Some(required) = required.as_object() else { return true };
    required.iter().all(|(name, inner)| {
        let Some(declared) = declared.get(name).filter(|declared| declared.is_object()) else { return false };
        // An empty `elicitation` is one of forms: it is from before there were others.
        let is_empty = declared.as_object().is_some_and(serde_json::Map::is_empty);
        let forms =
            name == "elicitation" && is_empty && inner.as_object().is_some_and(|modes| modes.keys().eq(["form"]));
        forms || declares(declared, inner)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HINT: CacheHint = CacheHint { milliseconds: 60_000, scope: CacheScope::Private };

    fn completed(result: &str, method: &str, hint: CacheHint) -> Value {
        let result = RawValue::from_string(result.to_owned()).unwrap();
        let done = complete(&result, method, &json!({"name": "portal"}), hint).unwrap();
        serde_json::from_str(done.get()).unwrap()
    }

    #[test]
    fn discovery_names_every_version_and_who_answers() {
        let found = discovery(&json!({"name": "p", "version": "1"}), &json!({"tools": {}}), Some("Hello."), HINT);
        let found: Value = serde_json::from_str(found.get()).unwrap();
        assert_eq!(
            found,
            json!({
                "resultType": "complete", "ttlMs": 60000, "cacheScope": "private", "instructions": "Hello.",
                "supportedVersions": ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"],
                "capabilities": {"tools": {}},
                "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "p", "version": "1"}},
            })
        );
    }

    #[test]
    fn an_older_result_gains_what_the_stateless_era_wants_and_keeps_the_rest() {
        let info = json!({"io.modelcontextprotocol/serverInfo": {"name": "portal"}});
        for (result, method, expected) in [
            (
                r#"{"tools":[]}"#,
                "tools/list",
                json!({"tools": [], "resultType": "complete", "ttlMs": 60000, "cacheScope": "private", "_meta": info}),
            ),
            (r#"{"content":[]}"#, "tools/call", json!({"content": [], "resultType": "complete", "_meta": info})),
            (
                r#"{"contents":[],"ttlMs":5,"cacheScope":"public","resultType":"complete"}"#,
                "resources/read",
                json!({"contents": [], "ttlMs": 5, "cacheScope": "private", "resultType": "complete", "_meta": info}),
            ),
            (
                r#"{"resultType":"input_required","inputRequests":{}}"#,
                "resources/read",
                json!({"resultType": "input_required", "inputRequests": {}, "_meta": info}),
            ),
            (
                r#"{"_meta":{"a":1,"io.modelcontextprotocol/serverInfo":{"name":"up"}}}"#,
                "tools/call",
                json!({"resultType": "complete", "_meta": {"a": 1, "io.modelcontextprotocol/serverInfo": {"name": "up"}}}),
            ),
        ] {
            assert_eq!(completed(result, method, HINT), expected, "{result}");
        }
        let public = CacheHint { scope: CacheScope::Public, ..HINT };
        assert_eq!(completed(r#"{"cacheScope":"private"}"#, "resources/read", public)["cacheScope"], "private");
    }

    #[test]
    fn a_result_for_a_session_has_nothing_of_the_stateless_era() {
        for (result, expected) in [
            (r#"{"resultType":"complete","content":[],"ttlMs":5,"cacheScope":"public"}"#, json!({"content": []})),
            (r#"{"content":[{"text":"ttlMs"}]}"#, json!({"content": [{"text": "ttlMs"}]})),
            (r#"{"content":[]}"#, json!({"content": []})),
        ] {
            let found = plain(&RawValue::from_string(result.to_owned()).unwrap()).unwrap();
            assert_eq!(serde_json::from_str::<Value>(found.get()).unwrap(), expected);
        }
    }

    #[test]
    fn a_capability_that_was_not_declared_is_named() {
        let declared = RawValue::from_string(r#"{"elicitation":{"form":{}},"roots":{}}"#.to_owned()).unwrap();
        assert!(missing_capability(&declared, &json!({"elicitation": {"form": {}}})).is_none());
        assert!(missing_capability(&declared, &json!({})).is_none());
        let error = missing_capability(&declared, &json!({"elicitation": {"url": {}}})).unwrap();
        assert_eq!(error.code, -32021);
        assert_eq!(error.data.unwrap().get(), r#"{"requiredCapabilities":{"elicitation":{"url":{}}}}"#);
        let before_modes = RawValue::from_string(r#"{"elicitation":{}}"#.to_owned()).unwrap();
        assert!(missing_capability(&before_modes, &json!({"elicitation": {"form": {}}})).is_none());
        assert!(missing_capability(&before_modes, &json!({"elicitation": {"url": {}}})).is_some());
    }
}
