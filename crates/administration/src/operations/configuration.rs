//! The account's gateway configuration (reference section 5.6).
//!
//! It keeps exactly the members its author sent: nothing is invented, `null` unsets. Invariant: every stored member is
//! one the table below knows, with a value of its kind.

use std::net::IpAddr;

use serde::Serialize;
use serde_json::{Map, Value};
use store::{BindingStatus, Configuration, Only, ReadGateway, Stored, WriteGateway};
use types::CertificateId;
use utoipa::ToSchema;

use super::time;
use crate::audit::{Change, Verb};
use crate::auth::OpContext;
use crate::failure::{Failure, Problem};
use crate::strict::{closest, push_pointer};

/// The configuration, as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ConfigurationView {
    /// One member per configured block; see the reference.
    #[schema(value_type = Object)]
    pub settings: Map<String, Value>,
    pub created_at: String,
    pub updated_at: String,
}

/// What a member may hold. Every member may also be null, which unsets it.
enum Kind {
    Flag,
    /// At most so many characters.
    Text(usize),
    Integer(i64, i64),
    Word(&'static [&'static str]),
    /// `#rrggbb`
    Colour,
    /// `http`, `https` or `mailto`.
    Link,
    Uuid,
    Block(&'static [(&'static str, Kind)]),
    /// Set by the service; tolerated when sent back, never stored.
    ReadOnly,
}

const NOTIFICATION: &[(&str, Kind)] =
    &[("enabled", Kind::Flag), ("msg", Kind::Text(100)), ("support_url", Kind::Link), ("include_context", Kind::Flag)];

const BLOCK_PAGE: &[(&str, Kind)] = &[
    ("mode", Kind::Word(&["", "customized_block_page", "redirect_uri"])),
    ("enabled", Kind::Flag),
    ("name", Kind::Text(255)),
    ("header_text", Kind::Text(1000)),
    ("footer_text", Kind::Text(1000)),
    ("background_color", Kind::Colour),
    ("logo_path", Kind::Link),
    ("mailto_address", Kind::Text(254)),
    ("mailto_subject", Kind::Text(255)),
    ("suppress_footer", Kind::Flag),
    ("target_uri", Kind::Link),
    ("include_context", Kind::Flag),
    ("read_only", Kind::ReadOnly),
    ("source_account", Kind::ReadOnly),
    ("version", Kind::ReadOnly),
];

const SETTINGS: &[(&str, Kind)] = &[
    ("activity_log", Kind::Block(&[("enabled", Kind::Flag)])),
    (
        "antivirus",
        Kind::Block(&[
            ("enabled_download_phase", Kind::Flag),
            ("enabled_upload_phase", Kind::Flag),
            ("fail_closed", Kind::Flag),
            ("notification_settings", Kind::Block(NOTIFICATION)),
        ]),
    ),
    ("block_page", Kind::Block(BLOCK_PAGE)),
    ("body_scanning", Kind::Block(&[("inspection_mode", Kind::Word(&["deep", "shallow"]))])),
    (
        "browser_isolation",
        Kind::Block(&[("url_browser_isolation_enabled", Kind::Flag), ("non_identity_enabled", Kind::Flag)]),
    ),
    ("certificate", Kind::Block(&[("id", Kind::Uuid)])),
    (
        "custom_certificate",
        Kind::Block(&[
            ("enabled", Kind::Flag),
            ("id", Kind::Uuid),
            ("binding_status", Kind::ReadOnly),
            ("updated_at", Kind::ReadOnly),
        ]),
    ),
    (
        "extended_email_matching",
        Kind::Block(&[
            ("enabled", Kind::Flag),
            ("read_only", Kind::ReadOnly),
            ("source_account", Kind::ReadOnly),
            ("version", Kind::ReadOnly),
        ]),
    ),
    ("fips", Kind::Block(&[("tls", Kind::Flag)])),
    ("host_selector", Kind::Block(&[("enabled", Kind::Flag)])),
    ("inspection", Kind::Block(&[("mode", Kind::Word(&["static", "dynamic"]))])),
    ("max_ttl_secs", Kind::Integer(0, 86_400)),
    ("protocol_detection", Kind::Block(&[("enabled", Kind::Flag)])),
    ("sandbox", Kind::Block(&[("enabled", Kind::Flag), ("fallback_action", Kind::Word(&["allow", "block"]))])),
    ("tls_decrypt", Kind::Block(&[("enabled", Kind::Flag)])),
];

/// Returns the configuration.
///
/// # Errors
///
/// A [`Failure`] for the caller.
pub async fn get(cx: &OpContext) -> Result<ConfigurationView, Failure> {
    let grant = cx.authorize::<ReadGateway>()?;
    match cx.store().configuration().get(&grant, &Only).await? {
        Some(stored) => Ok(view(stored)),
        None => {
            let epoch = time(jiff::Timestamp::UNIX_EPOCH);
            Ok(ConfigurationView { settings: Map::new(), created_at: epoch.clone(), updated_at: epoch })
        }
    }
}

fn view(stored: Stored<Configuration>) -> ConfigurationView {
    let (created_at, updated_at) = (time(stored.created_at), time(stored.updated_at));
    ConfigurationView { settings: stored.document.settings, created_at, updated_at }
}

/// Replaces the whole configuration.
///
/// # Errors
///
/// A [`Failure`] that points at the member at fault.
pub async fn replace(cx: &OpContext, body: Value) -> Result<ConfigurationView, Failure> {
    save(cx, body, |_, new| new).await
}

/// Merges into the configuration: blocks are merged member by member, `null` unsets.
///
/// # Errors
///
/// A [`Failure`] that points at the member at fault.
pub async fn merge(cx: &OpContext, body: Value) -> Result<ConfigurationView, Failure> {
    save(cx, body, |mut old, new| {
        merge_into(&mut old, new);
        old
    })
    .await
}

async fn save(
    cx: &OpContext,
    body: Value,
    combine: impl FnOnce(Map<String, Value>, Map<String, Value>) -> Map<String, Value>,
) -> Result<ConfigurationView, Failure> {
    let grant = cx.authorize::<WriteGateway>()?;
    let sent = read_body(body)?;
    let before = cx.store().configuration().get(&grant, &Only).await?;
    let old = before.as_ref().map(|stored| stored.document.settings.clone()).unwrap_or_default();
    let mut settings = combine(old.clone(), sent);
    settings.retain(|_, value| !drop_nulls(value));
    check_certificate(cx, &settings).await?;
    let document = Configuration { settings };
    let stored = match before {
        Some(before) => cx.store().configuration().replace(&grant, Only, document, Some(before.revision)).await?,
        None => cx.store().configuration().create(&grant, Only, document).await?,
    };
    let change = Change::new(Verb::Update, "configuration", "gateway")
        .before(Value::Object(old))
        .after(Value::Object(stored.document.settings.clone()));
    cx.record(change).await?;
    Ok(view(stored))
}

fn read_body(body: Value) -> Result<Map<String, Value>, Failure> {
    let Value::Object(mut members) = body else {
        return Err(Failure::invalid("", "the body must be an object with a member \"settings\""));
    };
    let settings = members.remove("settings").unwrap_or(Value::Null);
    for read_only in ["created_at", "updated_at"] {
        members.remove(read_only);
    }
    let mut problems: Vec<Problem> =
        members.keys().map(|name| unknown(format!("/{name}"), name, ["settings"].into_iter())).collect();
    let mut settings = match settings {
        Value::Object(settings) => settings,
        Value::Null => Map::new(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Err(Failure::invalid("/settings", "must be an object"));
        }
    };
    check_block("/settings", &mut settings, SETTINGS, &mut problems);
    if problems.is_empty() { Ok(settings) } else { Err(Failure::invalid_many(problems)) }
}

fn unknown(pointer: String, name: &str, known: impl Iterator<Item = &'static str>) -> Problem {
    let message = match closest(name, known) {
        Some(meant) => format!("unknown member \"{name}\"; did you mean \"{meant}\"?"),
        None => format!("unknown member \"{name}\"; remove it"),
    };
    Problem { message, pointer: Some(pointer) }
}

/// Checks the members of one block and removes those the service sets.
fn check_block(
    pointer: &str,
    block: &mut Map<String, Value>,
    known: &'static [(&'static str, Kind)],
    problems: &mut Vec<Problem>,
) {
    let mut read_only = Vec::new();
    for (name, value) in block.iter_mut() {
        let mut pointer = pointer.to_owned();
        push_pointer(&mut pointer, name);
        match known.iter().find(|(known, _)| known == name) {
            None => problems.push(unknown(pointer, name, known.iter().map(|(known, _)| *known))),
            Some((_, Kind::ReadOnly)) => read_only.push(name.clone()),
            Some((_, Kind::Block(members))) => match value {
                Value::Object(block) => check_block(&pointer, block, members, problems),
                Value::Null => {}
                Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    problems.push(Problem { message: "must be an object or null".to_owned(), pointer: Some(pointer) })
                }
            },
            Some((_, kind)) => {
                if let Err(message) = check_value(value, kind) {
                    problems.push(Problem { message, pointer: Some(pointer) });
                }
            }
        }
    }
    read_only.iter().for_each(|name| drop(block.remove(name)));
}

fn check_value(value: &Value, kind: &Kind) -> Result<(), String> {
    let ok = |good: bool, message: &str| if good { Ok(()) } else { Err(message.to_owned()) };
    match (value, kind) {
        (Value::Null, _) | (_, Kind::ReadOnly | Kind::Block(_)) => Ok(()),
        (value, Kind::Flag) => ok(value.is_boolean(), "must be true or false"),
        (Value::Number(number), Kind::Integer(least, most)) => {
            let fits = number.as_i64().is_some_and(|number| (*least..=*most).contains(&number));
            if fits { Ok(()) } else { Err(format!("must be a whole number from {least} to {most}")) }
        }
        (_, Kind::Integer(least, most)) => Err(format!("must be a whole number from {least} to {most}")),
        (Value::String(text), Kind::Text(most)) => {
            let fits = text.chars().count() <= *most;
            if fits { Ok(()) } else { Err(format!("is limited to {most} characters")) }
        }
        (Value::String(text), Kind::Word(words)) => {
            if words.contains(&text.as_str()) {
                Ok(())
            } else {
                Err(format!("must be one of {}", words.join(", ")))
            }
        }
        (Value::String(text), Kind::Colour) => {
            let digits =
                text.strip_prefix('#').is_some_and(|hex| hex.len() == 6 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
            ok(digits || text.is_empty(), "must be a colour as in #1a2b3c")
        }
        (Value::String(text), Kind::Link) => {
            ok(text.is_empty() || is_link(text), "must be an absolute http or https URL")
        }
        (Value::String(text), Kind::Uuid) => ok(text.parse::<CertificateId>().is_ok(), "must be a UUID"),
        (_, Kind::Text(_) | Kind::Word(_) | Kind::Colour | Kind::Link | Kind::Uuid) => Err("must be text".to_owned()),
    }
}

/// Says whether a text is a link that is safe to put into a page.
fn is_link(text: &str) -> bool {
    text.len() <= 2048
        && url::Url::parse(text).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
        })
}

fn merge_into(old: &mut Map<String, Value>, new: Map<String, Value>) {
    for (name, value) in new {
        match (old.get_mut(&name), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge_into(old, new),
            (_, value) => {
                old.insert(name, value);
            }
        }
    }
}

/// Drops nulls inside `value`; says whether it is one itself.
fn drop_nulls(value: &mut Value) -> bool {
    if let Value::Object(members) = value {
        members.retain(|_, value| !drop_nulls(value));
    }
    value.is_null()
}

/// The certificate a configuration names must be one that can be used.
async fn check_certificate(cx: &OpContext, settings: &Map<String, Value>) -> Result<(), Failure> {
    let Some(id) = certificate_id(settings) else { return Ok(()) };
    let grant = cx.authorize::<ReadGateway>()?;
    let found = cx.store().certificates().get(&grant, &id).await?;
    match found.map(|certificate| certificate.document.binding_status) {
        Some(BindingStatus::Available | BindingStatus::PendingDeployment) => Ok(()),
        Some(BindingStatus::Inactive | BindingStatus::PendingDeletion) => {
            Err(Failure::invalid("/settings/certificate/id", "this certificate is not active; activate it first"))
        }
        None => Err(Failure::invalid("/settings/certificate/id", "there is no such certificate")),
    }
}

/// The certificate that a configuration chooses; the nil UUID and nothing mean the built-in one.
#[must_use]
pub fn certificate_id(settings: &Map<String, Value>) -> Option<CertificateId> {
    let id: CertificateId = settings.get("certificate")?.get("id")?.as_str()?.parse().ok()?;
    (!id.0.is_nil()).then_some(id)
}

/// Parses an address or a range in prefix notation.
pub fn parse_range(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address.parse::<IpAddr>().ok()?, prefix.parse::<u8>().ok()?),
        None => {
            let address: IpAddr = text.parse().ok()?;
            (address, if address.is_ipv4() { 32 } else { 128 })
        }
    };
    (prefix <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, prefix))
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::{drop_nulls, merge_into, read_body};

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(members) = value else { panic!("not an object") };
        members
    }

    #[test]
    fn known_members_pass_unchanged_and_read_only_ones_are_dropped() {
        let sent = json!({"settings": {"tls_decrypt": {"enabled": true}, "block_page": {"mode": "", "version": 3}}});
        let kept = json!({"tls_decrypt": {"enabled": true}, "block_page": {"mode": ""}});
        assert_eq!(Value::Object(read_body(sent).unwrap()), kept);
    }

    #[test]
    fn faults_are_named_with_their_place() {
        for (body, pointer, message) in [
            (json!({"settings": {"tls_decrpt": {}}}), "/settings/tls_decrpt", "did you mean \"tls_decrypt\"?"),
            (
                json!({"settings": {"tls_decrypt": {"enabled": "yes"}}}),
                "/settings/tls_decrypt/enabled",
                "true or false",
            ),
            (json!({"settings": {"tls_decrypt": true}}), "/settings/tls_decrypt", "object or null"),
            (
                json!({"settings": {"block_page": {"background_color": "red"}}}),
                "/settings/block_page/background_color",
                "colour",
            ),
            (
                json!({"settings": {"block_page": {"target_uri": "javascript:alert(1)"}}}),
                "/settings/block_page/target_uri",
                "URL",
            ),
            (json!({"settings": {"max_ttl_secs": 1.5}}), "/settings/max_ttl_secs", "whole number"),
            (json!({"setings": {}}), "/setings", "did you mean \"settings\"?"),
            (json!([]), "", "must be an object"),
        ] {
            let failure = read_body(body.clone()).unwrap_err();
            assert_eq!(failure.problems[0].pointer.as_deref(), Some(pointer), "{body}");
            assert!(failure.problems[0].message.contains(message), "{body}: {}", failure.problems[0].message);
        }
    }

    #[test]
    fn merging_unsets_with_null_and_keeps_the_rest() {
        let mut settings = object(json!({"a": {"x": 1, "y": 2}, "b": {"z": 3}}));
        merge_into(&mut settings, object(json!({"a": {"x": null, "w": 4}, "b": null})));
        settings.retain(|_, value| !drop_nulls(value));
        assert_eq!(Value::Object(settings), json!({"a": {"y": 2, "w": 4}}));
    }
}
