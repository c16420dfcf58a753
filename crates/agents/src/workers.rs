//! Asks the owner's Workers about calls, where a rule says so.
//!
//! A Worker's `fetch` handler gets the message as it would go to the server. No opinion lets it go on; a `Request` goes on
//! with its arguments; a `Response` ends it: as the result, as the reason it is refused, or as the page to visit first.
//! Invariants: no credential, neither the caller's nor the server's, reaches a script; a Worker changes arguments and
//! nothing else; what it says is bounded.

use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderName, HeaderValue};
use http::{Request, Response};
use mcp::raw::{self, Object};
use net::proxy::body::{Body, collect, full_body};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use types::ScriptName;
use worker::{Answer, BoxFuture};

use crate::admit::Case;
use crate::facts;

/// How long a Worker may take over one call.
pub(crate) const LONGEST: Duration = Duration::from_secs(5);
/// Bytes of what a Worker gives back.
const MOST: usize = 4 << 20;
/// Characters of a reason.
const MOST_REASON: usize = 500;
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Runs the owner's Workers: those that rules ask, and those that are servers.
pub trait Workers: Send + Sync + 'static {
    /// Invokes the `fetch` handler of a Worker, with `facts` as its `request.cf`. Dropping the future ends the call.
    ///
    /// # Errors
    /// In words for whoever administers it: there is no such Worker, or it failed.
    fn ask<'a>(
        &'a self,
        script: &'a ScriptName,
        request: Request<Body>,
        facts: Arc<str>,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Answer, String>>;
}

/// What a Worker makes of a call.
#[derive(Debug)]
pub(crate) enum Word {
    Pass,
    /// It goes on with these arguments.
    Changed(Box<RawValue>),
    /// This is the result.
    Result(Box<RawValue>),
    Refused(String),
    /// A person has to visit a page first.
    Visit {
        url: String,
        message: String,
    },
}

/// Asks a Worker.
///
/// # Errors
/// In words: there is no such Worker, it failed, or what it said cannot be used.
pub(crate) async fn ask(
    workers: &dyn Workers,
    script: &ScriptName,
    case: &Case<'_>,
    (rule, arguments): (&str, Option<&RawValue>),
) -> Result<Word, String> {
    let request = message(case, arguments).ok_or("the call cannot be written as a request")?;
    let facts: Arc<str> = facts_json(case, rule).into();
    match workers.ask(script, request, facts, LONGEST).await? {
        Answer::NoOpinion => Ok(Word::Pass),
        Answer::Request(request) => changed(case, request).await,
        Answer::Response(response) => ended(response).await,
    }
}

fn subject<'a>(case: &Case<'a>) -> (&'static str, &'a str) {
    let member = if case.method.starts_with("resources/") { "uri" } else { "name" };
    (member, &case.definition.key)
}

fn message(case: &Case<'_>, arguments: Option<&RawValue>) -> Option<Request<Body>> {
    let (member, key) = subject(case);
    let mut params = json!({ (member): key });
    if let Some(arguments) = arguments {
        params["arguments"] = serde_json::from_str(arguments.get()).ok()?;
    }
    let body = json!({"jsonrpc": "2.0", "id": case.turn.id, "method": case.method, "params": params});
    let mut request =
        Request::post(case.turn.site.join("/mcp").ok()?.as_str()).body(full_body(body.to_string())).ok()?;
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(METHOD, HeaderValue::from_static(case.method));
    if let Ok(name) = HeaderValue::try_from(key) {
        headers.insert(NAME, name);
    }
    Some(request)
}

async fn changed(case: &Case<'_>, request: Request<Body>) -> Result<Word, String> {
    let body = collect(request.into_body(), MOST).await.ok_or("the request that it gave back is too large")?;
    let text = std::str::from_utf8(&body).map_err(|error| error.to_string())?;
    let not_json = "the request that it gave back is no JSON-RPC message";
    let sound = raw::is_unambiguous(text).then(|| Object::parse(text).ok()).flatten();
    let message = sound.ok_or(not_json)?;
    let params = message.object("params").ok_or(not_json)?;
    let (member, key) = subject(case);
    if message.text("method").as_deref() != Some(case.method) || params.text(member).as_deref() != Some(key) {
        return Err("a Worker may change the arguments of a call, not what is called".to_owned());
    }
    match params.value("arguments") {
        Some(arguments) if arguments.get().starts_with('{') => Ok(Word::Changed(arguments.to_owned())),
        None => Ok(Word::Pass),
        Some(_) => Err("the arguments that it gave back are no object".to_owned()),
    }
}

async fn ended(response: Response<Body>) -> Result<Word, String> {
    let (parts, body) = response.into_parts();
    if parts.status.is_redirection() {
        let to = parts.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
        let url = to.and_then(|to| url::Url::parse(to).ok()).filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or("the address that it sends to is not a whole one")?;
        return Ok(Word::Visit { message: "visit this page".to_owned(), url: url.into() });
    }
    let body = collect(body, MOST).await.ok_or("what it answered is too large")?;
    let text = std::str::from_utf8(&body).map_err(|error| error.to_string())?;
    if !parts.status.is_success() {
        let reason: String = text.chars().filter(|c| !c.is_control()).take(MOST_REASON).collect();
        let reason = if reason.trim().is_empty() { format!("it answered {}", parts.status.as_u16()) } else { reason };
        return Ok(Word::Refused(reason));
    }
    let result = raw::is_unambiguous(text).then(|| RawValue::from_string(text.to_owned()).ok()).flatten();
    let result = result.filter(|result| result.get().starts_with('{'));
    result.map(Word::Result).ok_or_else(|| "what it answered is no result: a JSON object".to_owned())
}

/// What a Worker is told, in the shape of `request.cf`.
fn facts_json(case: &Case<'_>, rule: &str) -> String {
    let turn = case.turn;
    let hints = facts::hints(case.definition);
    let mut told = facts::caller(&turn.visitor);
    let more = json!({
        "requestId": turn.id,
        "accountId": turn.plane.account,
        "device": null,
        "risk": null,
        "country": null,
        "rule": {"name": rule},
        "source": {"ip": turn.source},
        "mcp": {
            "portal": turn.portal.settings.id,
            "server": case.served.id.as_str(),
            "method": case.method,
            "name": case.definition.key,
            "title": case.definition.title,
            "description": case.definition.description,
            "annotations": {
                "readOnlyHint": hints.read_only,
                "destructiveHint": hints.destructive,
                "idempotentHint": hints.idempotent,
                "openWorldHint": hints.open_world,
            },
            "client": {"name": turn.session.client.name, "version": turn.session.client.version},
            "protocolVersion": turn.version().as_str(),
            "codeMode": turn.surface == mcp::surface::Surface::CodeMode,
        },
    });
    if let Value::Object(more) = more {
        told.extend(more);
    }
    Value::Object(told).to_string()
}
