//! What a call is made with, without saying it: each value is replaced by its kind.

use serde_json::{Map, Value};

/// Most messages of one body that are shown.
pub const MAX_MASKED: usize = 16;
const MAX_MEMBERS: usize = 32;
const MAX_ELEMENTS: usize = 8;
const MAX_DEPTH: usize = 6;
/// Longest name of a member that is shown, in characters.
const MAX_NAME: usize = 64;

/// Returns the messages of a body with every value of their params replaced by its kind: `"(e-mail)"`, `"(text, 12)"`. Methods
/// and the names of tools and prompts stay. `None` when the body is not whole or no JSON.
#[must_use]
pub fn masked(body: &[u8]) -> Option<Value> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let body: Value = serde_json::from_slice(body).ok()?;
    let messages = body.as_array().map_or_else(|| std::slice::from_ref(&body), Vec::as_slice);
    Some(messages.iter().take(MAX_MASKED).map(message).collect())
}

fn message(message: &Value) -> Value {
    let mut shown = Map::new();
    let method = message.get("method").and_then(Value::as_str).unwrap_or_default();
    if super::is_known_method(method) {
        shown.insert("method".to_owned(), method.into());
    }
    let params = message.get("params");
    let named = matches!(method, "tools/call" | "prompts/get");
    if let Some(name) = params.and_then(|params| params.get("name")).and_then(Value::as_str).filter(|_| named) {
        shown.insert("name".to_owned(), name.chars().take(MAX_NAME * 2).collect::<String>().into());
    }
    match params.and_then(|params| params.get("arguments")) {
        Some(arguments) => drop(shown.insert("arguments".to_owned(), mask(arguments, 0))),
        None => {
            for member in ["params", "result"] {
                if let Some(value) = message.get(member) {
                    shown.insert(member.to_owned(), mask(value, 0));
                }
            }
        }
    }
    Value::Object(shown)
}

fn mask(value: &Value, depth: usize) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Bool(_) => "(boolean)".into(),
        Value::Number(_) => "(number)".into(),
        Value::String(text) => kind(text).into(),
        Value::Array(items) if depth == MAX_DEPTH => format!("(list, {})", items.len()).into(),
        Value::Object(members) if depth == MAX_DEPTH => format!("(object, {})", members.len()).into(),
        Value::Array(items) => {
            let rest = items.len().saturating_sub(MAX_ELEMENTS);
            let more = (rest > 0).then(|| format!("({rest} more)").into());
            items.iter().take(MAX_ELEMENTS).map(|item| mask(item, depth + 1)).chain(more).collect()
        }
        Value::Object(members) => {
            let mut shown = Map::new();
            for (name, value) in members.iter().take(MAX_MEMBERS) {
                shown.insert(member(name), mask(value, depth + 1));
            }
            let rest = members.len().saturating_sub(MAX_MEMBERS);
            if rest > 0 {
                shown.insert("(more)".to_owned(), rest.into());
            }
            Value::Object(shown)
        }
    }
}

/// The name of a member, where it is one: keys of a map may be data, such as addresses of people.
fn member(name: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | '/');
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '$'));
    if starts && name.len() <= MAX_NAME && name.chars().all(is_name) { name.to_owned() } else { kind(name) }
}

fn kind(text: &str) -> String {
    let trimmed = text.trim();
    let count = text.chars().count();
    let word = if trimmed.is_empty() {
        "empty"
    } else if is_secret(trimmed) {
        "secret"
    } else if is_email(trimmed) {
        "e-mail"
    } else if trimmed.starts_with("http://") || trimmed.starts_with("https://") {
        "url"
    } else if trimmed.parse::<std::net::IpAddr>().is_ok() {
        "address"
    } else if is_uuid(trimmed) {
        "uuid"
    } else if is_date(trimmed) {
        "date"
    } else if is_path(trimmed) {
        "path"
    } else if trimmed.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b' ')) {
        "digits"
    } else {
        "text"
    };
    format!("({word}, {count})")
}

fn is_secret(text: &str) -> bool {
    const STARTS: [&str; 14] = [
        "sk-",
        "sk_",
        "pk_",
        "rk_",
        "ghp_",
        "gho_",
        "ghs_",
        "github_pat_",
        "glpat-",
        "xox",
        "AKIA",
        "eyJ",
        "Bearer ",
        "-----BEGIN",
    ];
    STARTS.iter().any(|start| text.starts_with(start))
}

fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    !local.is_empty() && domain.contains('.') && !text.contains(char::is_whitespace) && !domain.contains(['@', '/'])
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// `2026-07-28`, with or without a time.
fn is_date(text: &str) -> bool {
    text.get(..10).is_some_and(super::is_version)
        && text.get(10..).is_some_and(|rest| rest.is_empty() || rest.starts_with(['T', ' ']))
}

fn is_path(text: &str) -> bool {
    let drive = text.as_bytes().get(1..3).is_some_and(|rest| rest == b":\\" || rest == b":/");
    (text.starts_with(['/', '~']) || text.starts_with("./") || text.starts_with("file:") || drive) && text.len() > 1
}
