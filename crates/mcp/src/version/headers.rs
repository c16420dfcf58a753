//! The headers of a stateless request, held against its body.
//!
//! Intermediaries route by `MCP-Protocol-Version`, `Mcp-Method`, `Mcp-Name` and `Mcp-Param-*`; servers act on the body.
//! Decides whether both say the same, and what the body's `_meta` says about the client. Does not decide whether the call
//! is allowed. Invariant: what passes here means the same to whoever reads the headers and to whoever reads the body.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Era, LogLevel, Version};
use crate::message::{ErrorCode, Request, RpcError};
use crate::raw::{self, Object};

/// The prefix of every `_meta` key the protocol defines.
const META: &str = "io.modelcontextprotocol/";
/// The depth to which a schema is searched for parameters that stand in headers.
const MAX_SCHEMA_DEPTH: usize = 16;
/// Most parameters of one tool that stand in headers.
const MAX_PARAMETERS: usize = 32;

/// The headers this module reads, as they came. Values have no bytes outside of ASCII: the HTTP layer refused them.
#[derive(Debug, Clone, Default)]
pub struct Headers<'a> {
    pub protocol_version: Option<&'a str>,
    pub method: Option<&'a str>,
    pub name: Option<&'a str>,
    /// What follows `Mcp-Param-` in a header's name, in any case, and its value.
    pub parameters: Vec<(&'a str, &'a str)>,
}

/// What a request says about its client.
#[derive(Debug, Clone)]
pub struct ClientMeta {
    pub version: Version,
    pub capabilities: Box<RawValue>,
    /// `{name, version, …}`, when the client says who it is.
    pub info: Option<Box<RawValue>>,
    /// Log messages below it are not sent, and none when it is absent.
    pub log_level: Option<LogLevel>,
}

/// Why a stateless request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("the header {0} is missing")]
    Missing(&'static str),
    #[error("the header {0} says something else than the body")]
    Mismatch(&'static str),
    #[error("the header Mcp-Param-{0} does not match the arguments")]
    Parameter(String),
    #[error("the protocol version {0:?} is not supported")]
    Unsupported(String),
    #[error("_meta must hold io.modelcontextprotocol/{0}")]
    Meta(&'static str),
}

impl HeaderError {
    /// Returns the HTTP status: every one of them is the client's mistake.
    #[must_use]
    pub const fn status(&self) -> u16 {
        400
    }

    #[must_use]
    pub fn error(&self) -> RpcError {
        match self {
            Self::Missing(_) | Self::Mismatch(_) | Self::Parameter(_) => {
                RpcError::new(ErrorCode::HeaderMismatch, self.to_string())
            }
            Self::Unsupported(requested) => RpcError::with(
                ErrorCode::UnsupportedVersion,
                "the protocol version is not supported",
                &json!({"supported": Version::ALL.map(Version::as_str), "requested": requested}),
            ),
            Self::Meta(_) => RpcError::new(ErrorCode::InvalidParams, self.to_string()),
        }
    }
}

/// Returns the HTTP status an error of the stateless era is sent with.
#[must_use]
pub fn status(error: &RpcError) -> u16 {
    match ErrorCode::from_number(error.code) {
        Some(ErrorCode::MethodNotFound) => 404,
        Some(
            ErrorCode::Parse
            | ErrorCode::InvalidRequest
            | ErrorCode::HeaderMismatch
            | ErrorCode::MissingCapability
            | ErrorCode::UnsupportedVersion,
        ) => 400,
        Some(
            ErrorCode::InvalidParams
            | ErrorCode::Internal
            | ErrorCode::ResourceNotFound
            | ErrorCode::UrlElicitationRequired,
        )
        | None => 200,
    }
}

/// Tells which era a request belongs to, from what only the stateless one has.
///
/// A request whose body claims both is held to the stateless rules, which then refuse it. A head that names a version with
/// sessions makes `Mcp-Method` one of the many fields that those versions do not know.
#[must_use]
pub fn era(headers: &Headers<'_>, request: &Request) -> Era {
    let named = headers.protocol_version.and_then(|text| text.parse::<Version>().ok());
    let in_body = request
        .params()
        .and_then(|params| params.object("_meta"))
        .is_some_and(|meta| meta.value("io.modelcontextprotocol/protocolVersion").is_some());
    match named.map(Version::era) {
        _ if in_body => Era::Stateless,
        Some(era) => era,
        None if headers.method.is_some() => Era::Stateless,
        None => Era::Sessions,
    }
}

/// Returns the member of the params that `Mcp-Name` repeats, for the methods that name something.
#[must_use]
pub fn named_member(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        // The extension io.modelcontextprotocol/tasks.
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    }
}

/// Holds the standard headers of a stateless request against its body.
///
/// # Errors
/// When a header is missing or differs, the version is none of the stateless ones, or `_meta` lacks what it must hold.
pub fn check(headers: &Headers<'_>, request: &Request) -> Result<ClientMeta, HeaderError> {
    let params = request.params();
    let meta = params.as_ref().and_then(|params| params.object("_meta"));
    let meta_value = |name: &str| meta.as_ref().and_then(|meta| meta.value(&format!("{META}{name}")));
    let header = headers.protocol_version.ok_or(HeaderError::Missing("MCP-Protocol-Version"))?;
    let in_body = meta_value("protocolVersion").and_then(raw::text).ok_or(HeaderError::Meta("protocolVersion"))?;
    if header.trim_ascii() != in_body {
        return Err(HeaderError::Mismatch("MCP-Protocol-Version"));
    }
    let version = match in_body.parse::<Version>() {
        Ok(version) if version.era() == Era::Stateless => version,
        // A version with sessions is spoken through `initialize`, never in `_meta`.
        Ok(_) | Err(_) => return Err(HeaderError::Unsupported(in_body.chars().take(64).collect())),
    };
    let method = headers.method.ok_or(HeaderError::Missing("Mcp-Method"))?;
    if decode(method).as_deref() != Some(&*request.method) {
        return Err(HeaderError::Mismatch("Mcp-Method"));
    }
    if let Some(member) = named_member(&request.method) {
        let name = headers.name.ok_or(HeaderError::Missing("Mcp-Name"))?;
        let in_body = params.as_ref().and_then(|params| params.text(member));
        if in_body.is_none() || decode(name).as_deref() != in_body.as_deref() {
            return Err(HeaderError::Mismatch("Mcp-Name"));
        }
    } else if headers.name.is_some() {
        // Somebody who routes by it would believe that this request names something.
        return Err(HeaderError::Mismatch("Mcp-Name"));
    }
    let is_object = |value: &&RawValue| value.get().starts_with('{');
    let capabilities =
        meta_value("clientCapabilities").filter(is_object).ok_or(HeaderError::Meta("clientCapabilities"))?.to_owned();
    let info = meta_value("clientInfo").filter(is_object).map(ToOwned::to_owned);
    let log_level = meta_value("logLevel").and_then(raw::text).and_then(|level| LogLevel::parse(&level));
    Ok(ClientMeta { version, capabilities, info, log_level })
}

/// A parameter of a tool that its schema wants repeated in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderParameter {
    /// What follows `Mcp-Param-`, as the schema writes it.
    pub header: String,
    /// Where the argument stands, outermost first.
    pub path: Vec<String>,
}

/// Finds the properties marked `x-mcp-header` in an `inputSchema`.
///
/// Only what is reached through `properties` alone counts, and only texts, integers and booleans; a mark anywhere else, a
/// name that is no header's, or one used twice has no effect, as nobody could check it.
#[must_use]
pub fn header_parameters(input_schema: &Value) -> Vec<HeaderParameter> {
    let mut found = Vec::new();
    collect(input_schema, &mut Vec::new(), &mut found);
    let lower: Vec<String> = found.iter().map(|one| one.header.to_ascii_lowercase()).collect();
    let mut index = 0;
    found.retain(|_| {
        let here = index;
        index += 1;
        lower.iter().filter(|name| **name == lower[here]).count() == 1
    });
    found
}

fn collect(schema: &Value, path: &mut Vec<String>, found: &mut Vec<HeaderParameter>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    if path.len() >= MAX_SCHEMA_DEPTH {
        return;
    }
    for (name, property) in properties {
        path.push(name.clone());
        let header = property.get("x-mcp-header").and_then(Value::as_str).filter(|name| is_header_name(name));
        let kind = property.get("type").and_then(Value::as_str);
        if let (Some(header), Some("string" | "integer" | "boolean")) = (header, kind)
            && found.len() < MAX_PARAMETERS
        {
            found.push(HeaderParameter { header: header.to_owned(), path: path.clone() });
        }
        collect(property, path, found);
        path.pop();
    }
}

/// Tells whether every mark `x-mcp-header` of an `inputSchema` stands where it counts, as clients must not use a tool
/// otherwise: what a server reads from a header could differ from what was asked for.
#[must_use]
pub fn are_sound(input_schema: &Value) -> bool {
    marks(input_schema, 0) == Some(header_parameters(input_schema).len())
}

/// Counts marks at any place; `None` where a schema nests too deep to tell.
fn marks(schema: &Value, depth: usize) -> Option<usize> {
    if depth > 2 * MAX_SCHEMA_DEPTH {
        return None;
    }
    match schema {
        Value::Object(members) => members.iter().try_fold(0, |sum, (name, value)| match (name.as_str(), value) {
            ("x-mcp-header", _) => Some(sum + 1),
            // Names of properties are nobody's marks.
            ("properties", Value::Object(properties)) => {
                properties.values().try_fold(sum, |sum, property| Some(sum + marks(property, depth + 1)?))
            }
            (_, value) => Some(sum + marks(value, depth + 1)?),
        }),
        Value::Array(items) => items.iter().try_fold(0, |sum, item| Some(sum + marks(item, depth + 1)?)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(0),
    }
}

fn is_header_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Holds the `Mcp-Param-*` headers of a `tools/call` against its arguments.
///
/// # Errors
/// When an argument that stands in a header differs from it, is missing in one of the two places, or cannot be decoded.
/// Headers the schema does not ask for mean nothing here, and are not passed on.
pub fn check_parameters(
    headers: &Headers<'_>,
    parameters: &[HeaderParameter],
    arguments: Option<&RawValue>,
) -> Result<(), HeaderError> {
    let arguments: Value = arguments.and_then(|text| serde_json::from_str(text.get()).ok()).unwrap_or(Value::Null);
    let fault = |name: &str| HeaderError::Parameter(name.chars().take(64).collect());
    for (name, _) in &headers.parameters {
        let same = headers.parameters.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).count();
        if same != 1 && parameters.iter().any(|parameter| parameter.header.eq_ignore_ascii_case(name)) {
            return Err(fault(name));
        }
    }
    for parameter in parameters {
        let name = &parameter.header;
        let header =
            headers.parameters.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, text)| *text);
        let argument = parameter.path.iter().try_fold(&arguments, |value, step| value.get(step));
        let agrees = match (header, argument.filter(|value| !value.is_null())) {
            (None, None) => true,
            (Some(header), Some(argument)) => decode(header).is_some_and(|text| agree(&text, argument)),
            (None, Some(_)) | (Some(_), None) => false,
        };
        if !agrees {
            return Err(fault(name));
        }
    }
    Ok(())
}

fn agree(header: &str, argument: &Value) -> bool {
    match argument {
        Value::String(text) => header == text,
        Value::Bool(flag) => header == if *flag { "true" } else { "false" },
        Value::Number(number) => {
            if let (Some(argument), Ok(header)) = (number.as_i128(), header.parse::<i128>()) {
                return argument == header;
            }
            // `42.0` and `42` are one integer. Beyond 2^53 two integers may share a float, so they are not compared so.
            const EXACT: f64 = 9_007_199_254_740_992.0;
            match (number.as_f64(), header.parse::<f64>()) {
                (Some(argument), Ok(header)) => {
                    argument.abs() <= EXACT && argument.fract() == 0.0 && (argument - header).abs() == 0.0
                }
                _ => false,
            }
        }
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// Decodes a header's value: `=?base64?…?=` holds text that cannot stand in a header, everything else is itself.
///
/// Returns `None` for an encoding that is none.
#[must_use]
pub fn decode(value: &str) -> Option<String> {
    let value = value.trim_ascii();
    match value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) {
        Some(encoded) => String::from_utf8(BASE64.decode(encoded).ok()?).ok(),
        None => Some(value.to_owned()),
    }
}

/// Encodes text for a header, plainly where that is read back as the same text.
#[must_use]
pub fn encode(text: &str) -> String {
    let plain = !text.is_empty()
        && text.trim_ascii() == text
        && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
        && !(text.starts_with("=?base64?") && text.ends_with("?="));
    if plain { text.to_owned() } else { format!("=?base64?{}?=", BASE64.encode(text)) }
}

/// Returns what a request to a stateless server repeats in headers, names in lower case.
#[must_use]
pub fn headers_of(version: Version, request: &Request, parameters: &[HeaderParameter]) -> Vec<(String, String)> {
    let mut headers = vec![
        ("mcp-protocol-version".to_owned(), version.to_string()),
        ("mcp-method".to_owned(), encode(&request.method)),
    ];
    let params: Option<Object<'_>> = request.params();
    let name = named_member(&request.method).and_then(|member| params.as_ref()?.text(member));
    headers.extend(name.map(|name| ("mcp-name".to_owned(), encode(&name))));
    if parameters.is_empty() {
        return headers;
    }
    let arguments = params.and_then(|params| params.value("arguments"));
    let arguments: Value = arguments.and_then(|text| serde_json::from_str(text.get()).ok()).unwrap_or(Value::Null);
    for parameter in parameters {
        let value = match parameter.path.iter().try_fold(&arguments, |value, step| value.get(step)) {
            Some(Value::String(text)) => encode(text),
            Some(Value::Bool(flag)) => flag.to_string(),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => continue,
        };
        headers.push((format!("mcp-param-{}", parameter.header.to_ascii_lowercase()), value));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Id;
    use proptest::prelude::*;

    fn request(method: &str, mut params: Value) -> Request {
        if params.get("_meta").is_none() {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
                "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1"},
                "io.modelcontextprotocol/logLevel": "warning",
            });
        }
        Request { id: Id::number(1), method: method.into(), params: Some(raw::raw(&params)) }
    }

    fn headers<'a>(version: &'a str, method: &'a str, name: &'a str) -> Headers<'a> {
        let some = |text: &'a str| (!text.is_empty()).then_some(text);
        Headers { protocol_version: some(version), method: some(method), name: some(name), parameters: Vec::new() }
    }

    #[test]
    fn headers_that_repeat_the_body_pass_and_tell_who_asks() {
        let call = request("tools/call", json!({"name": "größe"}));
        let meta = check(&headers("2026-07-28", "tools/call", "=?base64?Z3LDtsOfZQ==?="), &call).unwrap();
        assert_eq!((meta.version, meta.log_level), (Version::V2026_07_28, Some(LogLevel::Warning)));
        assert_eq!(meta.capabilities.get(), r#"{"elicitation":{"form":{}}}"#);
        assert_eq!(meta.info.unwrap().get(), r#"{"name":"c","version":"1"}"#);
        let read = request("resources/read", json!({"uri": "a:b"}));
        assert!(check(&headers("2026-07-28", "resources/read", "a:b"), &read).is_ok());
        assert!(check(&headers("2026-07-28", "tools/list", ""), &request("tools/list", json!({}))).is_ok());
    }

    #[test]
    fn headers_that_say_something_else_than_the_body_are_refused_with_their_code() {
        let call = || request("tools/call", json!({"name": "a"}));
        let meta = |meta: Value| request("tools/call", json!({"name": "a", "_meta": meta}));
        let version = |version: &str| meta(json!({"io.modelcontextprotocol/protocolVersion": version}));
        for (request, headers, code) in [
            (call(), headers("", "tools/call", "a"), -32020),
            (call(), headers("2025-11-25", "tools/call", "a"), -32020),
            (call(), headers("2026-07-28", "", "a"), -32020),
            (call(), headers("2026-07-28", "tools/list", "a"), -32020),
            (call(), headers("2026-07-28", "Tools/Call", "a"), -32020),
            (call(), headers("2026-07-28", "tools/call", ""), -32020),
            (call(), headers("2026-07-28", "tools/call", "b"), -32020),
            (call(), headers("2026-07-28", "tools/call", "=?base64?%%?="), -32020),
            (request("tools/call", json!({})), headers("2026-07-28", "tools/call", "a"), -32020),
            (request("tools/list", json!({})), headers("2026-07-28", "tools/list", "a"), -32020),
            (version("2099-01-01"), headers("2099-01-01", "tools/call", "a"), -32022),
            (version("2025-11-25"), headers("2025-11-25", "tools/call", "a"), -32022),
            (version("2026-07-28"), headers("2026-07-28", "tools/call", "a"), -32602),
            (meta(json!({})), headers("2026-07-28", "tools/call", "a"), -32602),
        ] {
            let error = check(&headers, &request).unwrap_err();
            assert_eq!((error.error().code, error.status()), (code, 400), "{headers:?}: {error}");
        }
        let data = HeaderError::Unsupported("2099-01-01".to_owned()).error().data.unwrap();
        let data: Value = serde_json::from_str(data.get()).unwrap();
        assert_eq!(data["requested"], "2099-01-01");
        assert_eq!(data["supported"].as_array().unwrap().len(), 5);
    }

    #[test]
    fn one_thing_of_the_stateless_era_is_enough_to_be_held_to_its_rules() {
        let bare = Request { id: Id::number(1), method: "tools/list".into(), params: None };
        assert_eq!(era(&headers("2025-11-25", "", ""), &bare), Era::Sessions);
        assert_eq!(era(&headers("", "", ""), &bare), Era::Sessions);
        assert_eq!(era(&headers("2026-07-28", "", ""), &bare), Era::Stateless);
        assert_eq!(era(&headers("", "tools/list", ""), &bare), Era::Stateless);
        assert_eq!(era(&headers("2025-11-25", "tools/list", ""), &bare), Era::Sessions);
        assert_eq!(era(&headers("2025-11-25", "", ""), &request("tools/list", json!({}))), Era::Stateless);
    }

    fn schema() -> Value {
        json!({"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "deep": {"type": "object", "properties": {"count": {"type": "integer", "x-mcp-header": "Count"}}},
            "dry": {"type": "boolean", "x-mcp-header": "Dry"},
            "list": {"type": "array", "items": {"properties": {"x": {"type": "string", "x-mcp-header": "No"}}}},
            "ratio": {"type": "number", "x-mcp-header": "Ratio"},
            "bad": {"type": "string", "x-mcp-header": "a b"},
            "one": {"type": "string", "x-mcp-header": "Twice"}, "two": {"type": "string", "x-mcp-header": "twice"},
        }})
    }

    #[test]
    fn arguments_agree_with_their_headers_or_the_call_is_refused() {
        let parameters = header_parameters(&schema());
        let mut names: Vec<_> = parameters.iter().map(|one| one.header.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["Count", "Dry", "Region"]);
        for (sent, arguments, passes) in [
            (
                vec![("region", "eu"), ("COUNT", "42"), ("Dry", "true")],
                json!({"region": "eu", "deep": {"count": 42.0}, "dry": true}),
                true,
            ),
            (vec![("Region", "=?base64?w6k=?=")], json!({"region": "é"}), true),
            (vec![("Region", "=?base64?w6?=")], json!({"region": "é"}), false),
            (vec![], json!({"region": null}), true),
            (vec![], json!({}), true),
            (vec![], json!({"region": "eu"}), false),
            (vec![("Region", "eu")], json!({}), false),
            (vec![("Region", "eu"), ("region", "us")], json!({"region": "eu"}), false),
            (vec![("Region", "us")], json!({"region": "eu"}), false),
            (vec![("Count", "9007199254740993")], json!({"deep": {"count": 9_007_199_254_740_992_i64}}), false),
            (vec![("Count", "42x")], json!({"deep": {"count": 42}}), false),
            (vec![("Dry", "TRUE")], json!({"dry": true}), false),
            (vec![("Other", "x"), ("other", "y")], json!({"other": "x"}), true),
        ] {
            let headers = Headers { parameters: sent, ..Headers::default() };
            let checked = check_parameters(&headers, &parameters, Some(&raw::raw(&arguments)));
            assert_eq!(checked.is_ok(), passes, "{headers:?} {arguments}");
        }
    }

    #[test]
    fn a_tool_whose_marks_nobody_could_check_is_told_from_one_without_any() {
        let with = |property: Value| json!({"type": "object", "properties": {"a": property}});
        for (schema, sound) in [
            (with(json!({"type": "string", "x-mcp-header": "A"})), true),
            (with(json!({"type": "string"})), true),
            (json!({"properties": {"x-mcp-header": {"type": "string"}}}), true),
            (with(json!({"type": "number", "x-mcp-header": "A"})), false),
            (with(json!({"type": "string", "x-mcp-header": ""})), false),
            (with(json!({"type": "array", "items": {"type": "string", "x-mcp-header": "A"}})), false),
            (schema(), false),
        ] {
            assert_eq!(are_sound(&schema), sound, "{schema}");
        }
    }

    #[test]
    fn what_is_sent_upstream_passes_the_check_of_its_receiver() {
        let parameters = header_parameters(&schema());
        let call = request("tools/call", json!({"name": "größe", "arguments": {"region": " é", "deep": {"count": 7}}}));
        let sent = headers_of(Version::V2026_07_28, &call, &parameters);
        let value = |name: &str| sent.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
        let received = Headers {
            protocol_version: value("mcp-protocol-version"),
            method: value("mcp-method"),
            name: value("mcp-name"),
            parameters: sent
                .iter()
                .filter_map(|(name, value)| Some((name.strip_prefix("mcp-param-")?, value.as_str())))
                .collect(),
        };
        check(&received, &call).unwrap();
        let params = call.params().unwrap();
        check_parameters(&received, &parameters, params.value("arguments")).unwrap();
        assert_eq!(received.parameters.len(), 2);
    }

    #[test]
    fn errors_have_the_status_the_specification_gives_them() {
        for (code, expected) in [
            (ErrorCode::MethodNotFound, 404),
            (ErrorCode::HeaderMismatch, 400),
            (ErrorCode::MissingCapability, 400),
            (ErrorCode::UnsupportedVersion, 400),
            (ErrorCode::InvalidParams, 200),
            (ErrorCode::Internal, 200),
        ] {
            assert_eq!(status(&RpcError::new(code, "x")), expected, "{code:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back_from_a_header(text in "\\PC{0,40}|=\\?base64\\?[a-z]{0,4}\\?=|[ -~]{0,20}") {
            let header = encode(&text);
            prop_assert!(header.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
            prop_assert_eq!(decode(&header), Some(text));
        }
    }
}
