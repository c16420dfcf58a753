//! The URIs under which a portal exposes the resources of many servers, and finding them in definitions and results.
//!
//! A client must see a URI, and the portal must find from it alone the server and the URI that server knows:
//!
//! | the server's | the client's | why |
//! |---|---|---|
//! | `ui://app/view` | `ui://{server}/app/view` | hosts recognise MCP Apps by this scheme |
//! | any other text of URI characters | `mcp-server:{server}/{uri}` | a path without a root, which no client normalises |
//! | any other text | `mcp-server-text:{server}/{percent-encoded}` | not a URI itself, so it is wrapped |
//! | a template (RFC 6570) | as a URI, `mcp-server:{server}/{template}` | what it expands to is what it would have, behind the prefix |
//!
//! Templates are always prefixed and never encoded: an expansion encodes its values itself, and would do so twice.
//! Decides nothing about who may read. Invariant: [`to_server`] gives back what [`to_client`] was given, byte by byte.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::names::ServerId;
use crate::raw::{self, Object, RawError, splice};

const PLAIN: &str = "mcp-server:";
const WRAPPED: &str = "mcp-server-text:";
const APPS: &str = "ui://";
/// What is encoded in a wrapped text: everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Returns the URI under which clients see `uri` of this server.
#[must_use]
pub fn to_client(server: &ServerId, uri: &str) -> String {
    if is_uri_text(uri) {
        // What is a URI may stand behind a prefix, as a template may.
        template_to_client(server, uri)
    } else {
        format!("{WRAPPED}{server}/{}", utf8_percent_encode(uri, RESERVED))
    }
}

/// Returns the template under which clients see a URI template of this server.
#[must_use]
pub fn template_to_client(server: &ServerId, template: &str) -> String {
    match template.strip_prefix(APPS) {
        Some(rest) => format!("{APPS}{server}/{rest}"),
        None => format!("{PLAIN}{server}/{template}"),
    }
}

/// Returns the server's id and the URI or template it knows; `None` for what no portal exposed.
#[must_use]
pub fn to_server(uri: &str) -> Option<(ServerId, String)> {
    let parts = |rest: &str| {
        let (server, uri) = rest.split_once('/')?;
        Some((ServerId::parse(server)?, uri.to_owned()))
    };
    if let Some(rest) = uri.strip_prefix(APPS) {
        return parts(rest).map(|(server, uri)| (server, format!("{APPS}{uri}")));
    }
    if let Some(rest) = uri.strip_prefix(PLAIN) {
        return parts(rest);
    }
    let (server, encoded) = parts(uri.strip_prefix(WRAPPED)?)?;
    Some((server, percent_decode_str(&encoded).decode_utf8().ok()?.into_owned()))
}

/// Whether RFC 3986 allows every character behind a path of ours, and each `%` begins an encoded byte.
fn is_uri_text(uri: &str) -> bool {
    let bytes = uri.as_bytes();
    let mut fragments = 0;
    bytes.iter().enumerate().all(|(index, byte)| match byte {
        b'%' => bytes.get(index + 1..index + 3).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit)),
        b'#' => {
            fragments += 1;
            fragments == 1
        }
        _ => byte.is_ascii_alphanumeric() || b"-._~:/?@!$&'()*+,;=".contains(byte),
    })
}

/// Rewrites the URIs a tool's definition names in `_meta` for MCP Apps.
///
/// # Errors
/// When the definition is no sound object.
pub fn rewrite_tool(server: &ServerId, definition: &RawValue) -> Result<Box<RawValue>, RawError> {
    let object = Object::parse(definition.get())?;
    let Some(meta) = object.value("_meta").filter(|meta| meta.get().starts_with('{')) else {
        return Ok(definition.to_owned());
    };
    let inner = Object::parse(meta.get())?;
    let mut changes = Vec::new();
    if let Some(uri) = inner.text("ui/resourceUri") {
        changes.push(("ui/resourceUri", raw::raw(&to_client(server, &uri))));
    }
    if let Some(ui) = inner.value("ui")
        && let Some(changed) = rewrite_member(server, ui, "resourceUri")?
    {
        changes.push(("ui", changed));
    }
    if changes.is_empty() {
        return Ok(definition.to_owned());
    }
    let changes: Vec<_> = changes.iter().map(|(name, value)| (*name, Some(&**value))).collect();
    let meta = splice(meta.get(), &changes)?;
    splice(definition.get(), &[("_meta", Some(&meta))])
}

/// Rewrites the URIs in a result of `method`, or in the params of a notification of that name.
///
/// Links and embedded resources in content, contents that were read, and updated resources are found; text is not
/// searched: a URI in prose is for the reader, who may not be asking this portal.
///
/// # Errors
/// When an object on the way is not sound.
pub fn rewrite_result(server: &ServerId, method: &str, result: &RawValue) -> Result<Box<RawValue>, RawError> {
    let changed = match method {
        "tools/call" | "tasks/result" => rewrite_list(result, "content", |item| rewrite_content(server, item))?,
        "prompts/get" => rewrite_list(result, "messages", |message| rewrite_message(server, message))?,
        "resources/read" => rewrite_list(result, "contents", |item| rewrite_member(server, item, "uri"))?,
        "notifications/resources/updated" => rewrite_member(server, result, "uri")?,
        _ => None,
    };
    Ok(changed.unwrap_or_else(|| result.to_owned()))
}

fn rewrite_member(server: &ServerId, object: &RawValue, member: &str) -> Result<Option<Box<RawValue>>, RawError> {
    if !object.get().starts_with('{') {
        return Ok(None);
    }
    let Some(uri) = Object::parse(object.get())?.text(member) else { return Ok(None) };
    splice(object.get(), &[(member, Some(&raw::raw(&to_client(server, &uri))))]).map(Some)
}

fn rewrite_content(server: &ServerId, item: &RawValue) -> Result<Option<Box<RawValue>>, RawError> {
    if !item.get().starts_with('{') {
        return Ok(None);
    }
    let object = Object::parse(item.get())?;
    match object.text("type").as_deref() {
        Some("resource_link") => rewrite_member(server, item, "uri"),
        Some("resource") => {
            let Some(resource) = object.value("resource") else { return Ok(None) };
            let Some(resource) = rewrite_member(server, resource, "uri")? else { return Ok(None) };
            splice(item.get(), &[("resource", Some(&resource))]).map(Some)
        }
        _ => Ok(None),
    }
}

fn rewrite_message(server: &ServerId, message: &RawValue) -> Result<Option<Box<RawValue>>, RawError> {
    if !message.get().starts_with('{') {
        return Ok(None);
    }
    match Object::parse(message.get())?.value("content") {
        Some(content) if content.get().starts_with('[') => {
            rewrite_list(message, "content", |item| rewrite_content(server, item))
        }
        Some(content) => match rewrite_content(server, content)? {
            Some(content) => splice(message.get(), &[("content", Some(&content))]).map(Some),
            None => Ok(None),
        },
        None => Ok(None),
    }
}

/// Rewrites the items of an array member; `None` when none of them changes.
fn rewrite_list(
    object: &RawValue,
    member: &str,
    rewrite: impl Fn(&RawValue) -> Result<Option<Box<RawValue>>, RawError>,
) -> Result<Option<Box<RawValue>>, RawError> {
    #[derive(Deserialize)]
    struct Items<'a>(#[serde(borrow)] Vec<&'a RawValue>);
    let Some(list) = Object::parse(object.get())?.value(member) else { return Ok(None) };
    let Ok(Items(items)) = serde_json::from_str::<Items<'_>>(list.get()) else { return Ok(None) };
    let mut changed = false;
    let mut out = String::with_capacity(list.get().len() + 64);
    out.push('[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        let new = rewrite(item)?;
        changed |= new.is_some();
        out.push_str(new.as_deref().unwrap_or(item).get());
    }
    out.push(']');
    if !changed {
        return Ok(None);
    }
    let list = RawValue::from_string(out).map_err(|_| RawError::NotAnObject)?;
    splice(object.get(), &[(member, Some(&list))]).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use url::Url;

    fn server() -> ServerId {
        ServerId::parse("docs-1").unwrap()
    }

    #[test]
    fn clients_see_uris_that_name_their_server() {
        for (upstream, client) in [
            ("file:///a%20b?x=1#y", "mcp-server:docs-1/file:///a%20b?x=1#y"),
            ("demo://resource/1", "mcp-server:docs-1/demo://resource/1"),
            ("ui://app/view.html", "ui://docs-1/app/view.html"),
            ("my note", "mcp-server-text:docs-1/my%20note"),
            ("http://[::1]/", "mcp-server-text:docs-1/http%3A%2F%2F%5B%3A%3A1%5D%2F"),
            ("100%", "mcp-server-text:docs-1/100%25"),
            ("", "mcp-server:docs-1/"),
        ] {
            assert_eq!(to_client(&server(), upstream), client);
            assert_eq!(to_server(client), Some((server(), upstream.to_owned())), "{client}");
            // A client that reads it as a URL writes the same text again.
            assert_eq!(Url::parse(client).unwrap().as_str(), client);
        }
    }

    #[test]
    fn what_a_template_expands_to_leads_back_to_what_the_server_expects() {
        // Expansions as RFC 6570 section 3.2 makes them, of values that need encoding.
        for (template, variable, expansion) in [
            ("file:///{+path}", "{+path}", "a/b%20c"),
            ("demo://{name}/x", "{name}", "a%2Fb%20c%25"),
            ("{+uri}", "{+uri}", "~odd%20start"),
            ("notes{?q}", "{?q}", "?q=a%26b"),
            ("ui://{id}", "{id}", "x"),
        ] {
            let exposed = template_to_client(&server(), template);
            let read = exposed.replace(variable, expansion);
            assert_eq!(to_server(&read), Some((server(), template.replace(variable, expansion))), "{template}");
            assert_eq!(to_server(&exposed), Some((server(), template.to_owned())));
        }
    }

    #[test]
    fn what_no_portal_exposed_leads_nowhere() {
        for uri in [
            "",
            "file:///a",
            "mcp-server:",
            "mcp-server:docs-1",
            "mcp-server:a_b/x",
            "mcp-server:portal/x",
            "mcp-server-text:docs-1/%ff",
            "ui://",
            "ui://x",
            "MCP-SERVER:docs-1/x",
        ] {
            assert_eq!(to_server(uri), None, "{uri}");
        }
    }

    fn rewritten(method: &str, result: Value) -> Value {
        let raw = RawValue::from_string(result.to_string()).unwrap();
        serde_json::from_str(rewrite_result(&server(), method, &raw).unwrap().get()).unwrap()
    }

    #[test]
    fn results_name_resources_as_the_client_can_read_them() {
        for (method, result, pointers) in [
            (
                "tools/call",
                json!({"content": [{"type": "text", "text": "a:b"}, {"type": "resource_link", "uri": "a:b"},
                {"type": "resource", "resource": {"uri": "a:b", "text": "t"}}], "isError": false}),
                vec!["/content/1/uri", "/content/2/resource/uri"],
            ),
            (
                "prompts/get",
                json!({"messages": [{"role": "user", "content": {"type": "resource", "resource": {"uri": "a:b"}}},
                {"role": "user", "content": [{"type": "resource_link", "uri": "a:b"}]}, {"role": "user", "content": {"type": "text"}}]}),
                vec!["/messages/0/content/resource/uri", "/messages/1/content/0/uri"],
            ),
            ("resources/read", json!({"contents": [{"uri": "a:b", "text": "t"}]}), vec!["/contents/0/uri"]),
            ("notifications/resources/updated", json!({"uri": "a:b"}), vec!["/uri"]),
            ("tools/list", json!({"uri": "a:b"}), vec![]),
            ("tools/call", json!({"content": "odd"}), vec![]),
        ] {
            let mut expected = result.clone();
            for pointer in pointers {
                *expected.pointer_mut(pointer).unwrap() = json!("mcp-server:docs-1/a:b");
            }
            assert_eq!(rewritten(method, result), expected, "{method}");
        }
    }

    #[test]
    fn the_page_of_an_app_is_found_from_its_tool() {
        let tool =
            json!({"name": "t", "_meta": {"ui": {"resourceUri": "ui://a/b", "x": 1}, "ui/resourceUri": "ui://a/b"}});
        let raw = RawValue::from_string(tool.to_string()).unwrap();
        let found: Value = serde_json::from_str(rewrite_tool(&server(), &raw).unwrap().get()).unwrap();
        assert_eq!(
            found["_meta"],
            json!({"ui": {"resourceUri": "ui://docs-1/a/b", "x": 1}, "ui/resourceUri": "ui://docs-1/a/b"})
        );
        let plain = RawValue::from_string(r#"{"name": "t", "n": 1.0}"#.to_owned()).unwrap();
        assert_eq!(rewrite_tool(&server(), &plain).unwrap().get(), plain.get());
    }

    proptest! {
        #[test]
        fn every_text_comes_back_as_it_was(uri in "\\PC{0,60}|[a-z]{1,6}:[ -~]{0,40}|(ui|mcp-server|mcp-server-text):(//)?[a-z/%]{0,20}") {
            let client = to_client(&server(), &uri);
            prop_assert_eq!(to_server(&client), Some((server(), uri.clone())));
            prop_assert!(Url::parse(&client).is_ok(), "{}", client);
            let template = template_to_client(&server(), &uri);
            prop_assert_eq!(to_server(&template), Some((server(), uri)));
        }
    }
}
