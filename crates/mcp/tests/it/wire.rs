//! One input of the fuzz target `mcp_message`, which shares this file: the first line names a reader, the rest is its input.
//! Whatever the bytes, a reader refuses them or keeps its promise.

use mcp::catalog::{Catalog, Kind};
use mcp::codemode;
use mcp::message::{self, Limits, Message, Payload};
use mcp::names::ServerId;
use mcp::neutralise;
use mcp::raw::{self, Object};
use mcp::uris;
use mcp::version::headers::{self, Headers};
use mcp::version::stateless::{self, CacheHint, CacheScope};
use mcp::version::{Version, input, tasks};
use serde_json::value::RawValue;
use serde_json::{Value, json};

const LIMITS: Limits = Limits { bytes: 1 << 20, depth: 64, batch: 16 };
const HINT: CacheHint = CacheHint { milliseconds: 5, scope: CacheScope::Private };

/// Feeds one input to the reader it names; tells whether there is such a reader.
pub(crate) fn check(data: &[u8]) -> bool {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (reader, body) = (&data[..end], &data[(end + 1).min(data.len())..]);
    match reader {
        b"message" => message(body),
        b"result" => sound(body).as_deref().map_or((), result),
        b"request" => request(body),
        b"catalog" => catalog(body),
        b"uri" => uri(body),
        b"program" => program(body),
        _ => return false,
    }
    true
}

/// What is read is written and read again as the same.
fn message(body: &[u8]) {
    let Ok(payload) = message::parse(body, LIMITS) else { return };
    let all = match payload {
        Payload::One(message) => vec![message],
        Payload::Batch(messages) => messages.into_iter().flatten().collect(),
    };
    for message in all {
        let written = message.to_json();
        match message::parse(written.as_bytes(), LIMITS) {
            Ok(Payload::One(again)) => assert_eq!(again.to_json(), written),
            other => panic!("{written} was not read again: {other:?}"),
        }
    }
}

fn sound(body: &[u8]) -> Option<Box<RawValue>> {
    let text = std::str::from_utf8(body).ok()?;
    (raw::depth(body) <= LIMITS.depth && Object::parse(text).is_ok()).then(|| {
        RawValue::from_string(text.trim_ascii().to_owned()).unwrap_or_else(|error| panic!("an object is JSON: {error}"))
    })
}

fn is_object(value: &RawValue) {
    assert!(Object::parse(value.get()).is_ok(), "{value}");
}

/// Whatever a server answers, what is made of it is an object again, and a task's id is never left as it was.
fn result(result: &RawValue) {
    let Some(server) = ServerId::parse("files") else { return };
    for method in ["tools/call", "prompts/get", "resources/read", "tasks/result", "notifications/resources/updated"] {
        if let Ok(changed) = uris::rewrite_result(&server, method, result) {
            is_object(&changed);
        }
    }
    if let Some(changed) = neutralise::result(result) {
        is_object(&changed);
    }
    for method in ["tools/list", "tools/call"] {
        if let Ok(completed) = stateless::complete(result, method, &json!({"name": "p"}), HINT) {
            let plain = stateless::plain(&completed).unwrap_or(completed);
            assert!(Object::parse(plain.get()).is_ok_and(|plain| plain.value("resultType").is_none()), "{plain}");
        }
    }
    let renamed = tasks::rename(result, &|id| Some(format!("ours-{id}")));
    if let Ok(renamed) = renamed {
        let back = tasks::rename(&renamed, &|id| id.strip_prefix("ours-").map(str::to_owned));
        let value = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).ok();
        let has_odd_members = value(result).is_some_and(|value| value["tasks"].is_array());
        assert!(has_odd_members || back.is_ok_and(|back| value(&back) == value(result)), "{renamed}");
    }
    let _ = (tasks::created(result), tasks::state(result), tasks::unrelated(result), tasks::declared(result));
    if let Some(Ok(required)) = input::read(result) {
        let made = input::required(&required.requests, required.state.as_deref());
        let again = input::read(&made);
        assert!(again.is_some_and(|again| again.is_ok_and(|again| again.requests.len() == required.requests.len())));
    }
    let _ = codemode::unwrap(result);
}

/// What is sent on for a request passes the check of its receiver.
fn request(body: &[u8]) {
    let Ok(Payload::One(Message::Request(request))) = message::parse(body, LIMITS) else { return };
    let told = Headers { protocol_version: Some("2026-07-28"), method: Some(&request.method), ..Headers::default() };
    let _ = (headers::era(&told, &request), headers::check(&told, &request));
    let params = request.params();
    if let (Ok(_), Some(params)) = (input::tried(params.as_ref()), &request.params) {
        let tried = input::without(params).unwrap_or_else(|_| params.clone());
        assert!(input::tried(Object::parse(tried.get()).ok().as_ref()).is_ok_and(|tried| tried.responses.is_empty()));
    }
    let sent = headers::headers_of(Version::V2026_07_28, &request, &[]);
    for (name, value) in sent.iter().filter(|(name, _)| name != "mcp-protocol-version") {
        let expected = match headers::named_member(&request.method) {
            Some(member) if name == "mcp-name" => request.params().and_then(|p| p.text(member).map(|t| t.into_owned())),
            _ => Some(request.method.to_string()),
        };
        assert_eq!(headers::decode(value), expected, "{name}");
    }
}

fn catalog(body: &[u8]) {
    let Some(list) = std::str::from_utf8(body).ok().and_then(|text| serde_json::from_str::<Vec<&RawValue>>(text).ok())
    else {
        return;
    };
    let mut catalog = Catalog::default();
    for kind in Kind::ALL {
        catalog.extend(kind, list.iter().copied());
    }
    for definition in catalog.list(Kind::Tool) {
        let schema = definition.member("inputSchema");
        assert!(headers::header_parameters(&schema).len() <= 32);
        let _ = (headers::are_sound(&schema), tasks::Support::of(&definition.json));
    }
}

fn uri(body: &[u8]) {
    let (Ok(uri), Some(server)) = (std::str::from_utf8(body), ServerId::parse("files")) else { return };
    assert_eq!(uris::to_server(&uris::to_client(&server, uri)), Some((server, uri.to_owned())));
    let _ = uris::to_server(uri);
}

fn program(body: &[u8]) {
    let Ok(code) = std::str::from_utf8(body) else { return };
    let code = codemode::normalise(code);
    let _ = (codemode::expression_module(code), codemode::statements_module(code, None), codemode::identifier(code));
}
