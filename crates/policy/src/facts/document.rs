//! Facts as a JSON document: field names to values, for explaining, replaying and testing rules.
//!
//! A field that is not named is unknown; `null` says it has no value. What follows from a URL or a host is filled in where
//! the document is silent. Invariant: every value has its field's type, so evaluation cannot fail on it.

use std::net::IpAddr;

use expr::{Ecosystem, Fact, FactTable, Facts, FieldId, FieldSet, MapRef, Type, Value, ValueRef};
use serde_json::{Map, Value as Json};

use super::Host;
use crate::hook::{Hook, http::id as http, l4::id as l4};
use crate::spec::{SpecError, closest};

/// Longest value shown in a trace, in characters.
const MAX_SHOWN: usize = 200;
/// Most elements of one array shown in a trace.
const MAX_ELEMENTS: usize = 20;

/// Owned facts of one hook.
#[derive(Debug, Clone)]
pub struct FactsDocument {
    hook: Hook,
    known: FieldSet,
    table: FactTable,
}

impl FactsDocument {
    /// Reads a document; older field names are accepted.
    ///
    /// # Errors
    /// With each member that is no field or has a value of another type.
    pub fn parse(hook: Hook, document: &Json) -> Result<Self, Vec<SpecError>> {
        let fault = |pointer: String, message: String, suggestion| SpecError { pointer, message, suggestion };
        let Json::Object(members) = document else {
            return Err(vec![fault(String::new(), "facts are an object: field name to value".to_owned(), None)]);
        };
        let mut this = Self { hook, known: FieldSet::EMPTY, table: FactTable::new() };
        let mut errors = Vec::new();
        let scheme = hook.scheme();
        for (name, json) in members {
            let pointer = format!("/{}", name.chars().take(80).collect::<String>());
            let Some(id) = scheme.id(name) else {
                let suggestion = closest(name, scheme.fields().iter().map(|field| field.name));
                errors.push(fault(pointer, "there is no such field".to_owned(), suggestion));
                continue;
            };
            let ecosystem =
                members.get("pkg.ecosystem").and_then(Json::as_str).and_then(crate::package::ecosystem_named);
            match read(scheme.field(id).kind, json, ecosystem) {
                Ok(None) => this.set_absent(id),
                Ok(Some(value)) => this.set(id, value),
                Err(message) => errors.push(fault(pointer, message, None)),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        if hook == Hook::Http {
            this.derive(members);
        } else {
            this.derive_domains(members, "net.sni.host", l4::SNI_DOMAINS);
            this.supply(l4::PROTOCOL, "tcp");
            this.supply(l4::IS_ISOLATED, false);
            this.supply(l4::ONRAMP, "proxy_endpoint");
            this.supply(l4::OFFRAMP, "internet");
        }
        Ok(this)
    }

    /// Returns facts of which none is known.
    #[must_use]
    pub fn none(hook: Hook) -> Self {
        Self { hook, known: FieldSet::EMPTY, table: FactTable::new() }
    }

    /// Returns the hook whose fields these are.
    #[must_use]
    pub const fn hook(&self) -> Hook {
        self.hook
    }

    /// Returns the fields with a value or known to have none.
    #[must_use]
    pub const fn known(&self) -> FieldSet {
        self.known
    }

    /// Sets a field the document is silent on.
    pub fn supply(&mut self, field: FieldId, value: impl Into<Value>) {
        if !self.known.contains(field) {
            self.set(field, value.into());
        }
    }

    /// Forgets a field, as if the document had not named it.
    pub fn withhold(&mut self, field: FieldId) {
        self.known = self.known.difference(FieldSet::of(field));
        self.table.forget(field);
    }

    /// Returns the text of a field that has one.
    #[must_use]
    pub fn text(&self, field: FieldId) -> Option<&str> {
        let Fact::Known(ValueRef::Bytes(bytes)) = self.table.fact(field) else { return None };
        std::str::from_utf8(bytes).ok()
    }

    fn set(&mut self, field: FieldId, value: Value) {
        self.known.insert(field);
        self.table.set(field, value);
    }

    fn set_absent(&mut self, field: FieldId) {
        self.known.insert(field);
        self.table.set_absent(field);
    }

    fn derive(&mut self, members: &Map<String, Json>) {
        if let Some(url) =
            members.get("http.request.uri").and_then(Json::as_str).and_then(|text| url::Url::parse(text).ok())
        {
            if let Some(host) = url.host_str() {
                let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
                self.supply(http::HOST, host.as_str());
                let domains: Vec<&str> = Host(&host).domains().collect();
                self.supply(http::DOMAINS, domains);
            }
            self.supply(http::SCHEME, url.scheme());
            if let Some(port) = url.port_or_known_default() {
                self.supply(http::PORT, i64::from(port));
            }
            self.supply(http::PATH, url.path());
            match url.query() {
                Some(query) => {
                    self.supply(http::QUERY, query);
                    self.supply(http::PATH_AND_QUERY, format!("{}?{query}", url.path()).as_str());
                }
                None => {
                    if !self.known.contains(http::QUERY) {
                        self.set_absent(http::QUERY);
                    }
                    self.supply(http::PATH_AND_QUERY, url.path());
                }
            }
        }
        self.derive_domains(members, "http.request.host", http::DOMAINS);
        // What is the same for every request through this gateway.
        self.supply(http::IS_ISOLATED, false);
        self.supply(http::ONRAMP, "proxy_endpoint");
        self.supply(http::OFFRAMP, "internet");
    }

    fn derive_domains(&mut self, members: &Map<String, Json>, host: &str, field: FieldId) {
        if let Some(host) = members.get(host).and_then(Json::as_str) {
            let host = host.to_ascii_lowercase();
            let domains: Vec<&str> = Host(&host).domains().collect();
            self.supply(field, domains);
        }
    }
}

impl Facts for FactsDocument {
    fn fact(&self, field: FieldId) -> Fact<'_> {
        self.table.fact(field)
    }
}

/// Reads a JSON value as a type; null is no value.
fn read(kind: Type, json: &Json, ecosystem: Option<Ecosystem>) -> Result<Option<Value>, String> {
    if json.is_null() {
        return Ok(None);
    }
    let wrong = || format!("must be a {kind}, or null for no value");
    let value = match (kind, json) {
        (Type::Bool, Json::Bool(value)) => Value::Bool(*value),
        (Type::Int, Json::Number(number)) => Value::Int(number.as_i64().ok_or_else(wrong)?),
        (Type::Int, Json::String(text)) => Value::Int(text.parse().map_err(|_| wrong())?),
        (Type::Bytes, Json::String(text)) => Value::Bytes(text.clone().into_bytes()),
        (Type::Ip, Json::String(text)) => Value::Ip(text.parse::<IpAddr>().map_err(|_| wrong())?),
        (Type::Version, Json::String(text)) => {
            let ecosystem = ecosystem.ok_or("a version needs `pkg.ecosystem` beside it")?;
            Value::Version(ecosystem, text.clone())
        }
        (Type::Array(element), Json::Array(items)) => {
            let items: Result<Vec<Option<Value>>, String> =
                items.iter().map(|item| read(*element, item, ecosystem)).collect();
            Value::Array(items?.into_iter().flatten().collect())
        }
        // One value is an array of one, as in the expression language.
        (Type::Array(element), scalar) if !scalar.is_object() => {
            Value::Array(read(*element, scalar, ecosystem)?.into_iter().collect())
        }
        (Type::Map(value), Json::Object(members)) => {
            let mut entries = Vec::with_capacity(members.len());
            for (name, member) in members {
                if let Some(member) = read(*value, member, ecosystem)? {
                    entries.push((name.clone().into_bytes(), member));
                }
            }
            Value::Map(entries)
        }
        _ => return Err(wrong()),
    };
    Ok(Some(value))
}

/// Shows the value of a field for a trace: bounded, and masked where it is likely to be a secret.
#[must_use]
pub fn show(name: &str, fact: Fact<'_>) -> Json {
    match fact {
        Fact::Unknown => Json::String("(unknown)".to_owned()),
        Fact::Absent => Json::Null,
        Fact::Known(value) => show_value(name, value),
    }
}

/// Shows the values of several fields, by name.
#[must_use]
pub fn show_map(hook: Hook, fields: FieldSet, facts: &dyn Facts) -> Map<String, Json> {
    let scheme = hook.scheme();
    fields
        .iter()
        .map(|field| (scheme.field(field).name, facts.fact(field)))
        .filter(|(_, fact)| !matches!(fact, Fact::Unknown))
        .map(|(name, fact)| (name.to_owned(), show(name, fact)))
        .collect()
}

/// Masks a value shown beside the condition that looked at it.
pub(crate) fn mask(condition: &str, value: String) -> String {
    if condition.contains("headers[") && is_secret(condition) {
        "(masked)".to_owned()
    } else if condition.contains("http.request.uri") {
        mask_query(&value, if condition.contains("uri.query") { "http.request.uri.query" } else { "http.request.uri" })
    } else {
        value
    }
}

fn show_value(name: &str, value: ValueRef<'_>) -> Json {
    match value {
        ValueRef::Bool(value) => Json::Bool(value),
        ValueRef::Int(value) => Json::from(value),
        ValueRef::Ip(value) => Json::String(value.to_string()),
        ValueRef::Version(version) => Json::String(bounded(version.text)),
        ValueRef::Bytes(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            let masked = if name.starts_with("http.request.uri") { mask_query(&text, name) } else { text.into_owned() };
            Json::String(bounded(&masked))
        }
        ValueRef::Array(items) => {
            Json::Array(items.iter().take(MAX_ELEMENTS).map(|item| show_value(name, item)).collect())
        }
        ValueRef::Map(map) => show_entries(name, map),
    }
}

fn show_entries(name: &str, map: MapRef<'_>) -> Json {
    let entries = map.iter().take(MAX_ELEMENTS).map(|(key, value)| {
        let key = bounded(&String::from_utf8_lossy(key));
        let shown = if is_secret(&key) { Json::String("(masked)".to_owned()) } else { show_value(name, value) };
        (key, shown)
    });
    Json::Object(entries.collect())
}

/// Hides the values of query parameters whose name says they are secret.
fn mask_query(text: &str, name: &str) -> String {
    let (before, query) = match text.split_once('?') {
        Some((before, query)) => (Some(before), query),
        None if name.ends_with(".query") => (None, text),
        None => return text.to_owned(),
    };
    let parameters: Vec<String> = query
        .split('&')
        .map(|parameter| match parameter.split_once('=') {
            Some((key, _)) if is_secret(key) => format!("{key}=(masked)"),
            _ => parameter.to_owned(),
        })
        .collect();
    let query = parameters.join("&");
    before.map_or_else(|| query.clone(), |before| format!("{before}?{query}"))
}

/// Tells whether a header or parameter of this name usually carries a secret.
fn is_secret(name: &str) -> bool {
    const WORDS: [&str; 14] = [
        "authorization",
        "cookie",
        "token",
        "secret",
        "password",
        "passwd",
        "api-key",
        "apikey",
        "api_key",
        "access_key",
        "signature",
        "session",
        "credential",
        "assertion",
    ];
    let lower = name.to_ascii_lowercase();
    matches!(lower.as_str(), "sig" | "code" | "key" | "pwd" | "auth" | "jwt")
        || WORDS.iter().any(|word| lower.contains(word))
}

fn bounded(text: &str) -> String {
    if text.chars().count() <= MAX_SHOWN {
        return text.to_owned();
    }
    text.chars().take(MAX_SHOWN - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use expr::{Fact, Facts, ValueRef};
    use serde_json::json;

    use super::{FactsDocument, show, show_map};
    use crate::hook::{Hook, http::id as http};

    #[test]
    fn a_url_supplies_what_follows_from_it() {
        let facts = FactsDocument::parse(
            Hook::Http,
            &json!({"http.request.uri": "https://A.Example.com:8443/p/q?x=1", "http.request.uri.path": "/own"}),
        )
        .unwrap();
        let shown = show_map(Hook::Http, facts.known(), &facts);
        assert_eq!(shown["http.request.host"], "a.example.com");
        assert_eq!(shown["http.request.domains"], json!(["a.example.com", "example.com", "com"]));
        assert_eq!(shown["http.request.port"], 8443);
        assert_eq!(shown["http.request.uri.path"], "/own");
        assert_eq!(shown["http.request.uri.path_and_query"], "/p/q?x=1");
        assert!(matches!(facts.fact(http::METHOD), Fact::Unknown));
    }

    #[test]
    fn null_is_absent_and_silence_is_unknown() {
        let facts = FactsDocument::parse(Hook::Http, &json!({"identity.email": null})).unwrap();
        assert!(matches!(facts.fact(http::IDENTITY_EMAIL), Fact::Absent));
        assert!(matches!(facts.fact(http::IDENTITY_NAME), Fact::Unknown));
    }

    #[test]
    fn values_of_another_type_and_unknown_fields_are_refused() {
        let errors = FactsDocument::parse(
            Hook::Http,
            &json!({"http.conn.src_ip": "nine", "http.request.hosts": "a", "http.response.status_code": true, "pkg.version": "1"}),
        )
        .unwrap_err();
        let messages: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            messages,
            [
                "/http.conn.src_ip: must be a IP address, or null for no value",
                "/http.request.hosts: there is no such field; did you mean `http.request.host`?",
                "/http.response.status_code: must be a number, or null for no value",
                "/pkg.version: a version needs `pkg.ecosystem` beside it",
            ]
        );
    }

    #[test]
    fn scalars_serve_as_arrays_and_old_names_as_new_ones() {
        let facts = FactsDocument::parse(
            Hook::Http,
            &json!({"http.conn.hostname": "h.example", "http.conn.dst_ip": "192.0.2.1", "http.response.status_code": "200"}),
        )
        .unwrap();
        let shown = show_map(Hook::Http, facts.known(), &facts);
        assert_eq!(shown["http.request.host"], "h.example");
        assert_eq!(shown["http.conn.dst_ip"], json!(["192.0.2.1"]));
        assert_eq!(shown["http.response.status_code"], 200);
    }

    #[test]
    fn shown_values_are_bounded_and_secrets_masked() {
        let long = "x".repeat(500);
        let shown = show("identity.name", Fact::Known(ValueRef::from(long.as_str())));
        assert_eq!(shown.as_str().unwrap().chars().count(), 200);
        let shown = show("http.request.uri", Fact::Known(ValueRef::from("https://a/?a=1&access_token=s3cret&b=2")));
        assert_eq!(shown, "https://a/?a=1&access_token=(masked)&b=2");
        let facts =
            FactsDocument::parse(Hook::Http, &json!({"http.request.headers": {"cookie": ["a=b"], "accept": ["x"]}}))
                .unwrap();
        let shown = show_map(Hook::Http, facts.known(), &facts);
        assert_eq!(shown["http.request.headers"], json!({"accept": ["x"], "cookie": "(masked)"}));
    }
}
