//! The address of a portal that clients speak to: Streamable HTTP of both eras.
//!
//! It decides which session a message belongs to and how an answer is sent; what a request asks for is [`crate::turn`]'s.
//! Invariants: a message is answered in the session of its caller at this portal or in none; of a page in a browser only
//! one of the portal's own may call; a body is held up to a bound.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use mcp::message::{self, ErrorCode, Id, Limits, Message, Payload, RpcError};
use mcp::raw::{self, Object};
use mcp::version::headers::{self, Headers};
use mcp::version::{Era, Feature, Version};
use net::proxy::body::{Body, boxed, collect, empty_body, full_body};
use serde_json::json;
use serde_json::value::RawValue;

use crate::confirm;
use crate::page;
use crate::plane::{Answer, Inner};
use crate::session::{Client, NewSession, Session};
use crate::snapshot::Portal;
use crate::turn::{self, Said, Turn};
use crate::upstream::http::{LAST_EVENT, METHOD, NAME, SESSION, VERSION};
use crate::visit::{Visit, Visitor};

/// Where clients speak.
const PATH: &str = "/mcp";
/// Bytes of one body.
const MOST_BODY: usize = 4 << 20;
/// Messages of one batch (2025-03-26).
const MOST_BATCH: usize = 32;
/// Longest name or version of itself that a client's records carry, in characters.
const MOST_SELF: usize = 128;

/// Answers a request at a portal.
pub(crate) async fn answer(plane: Arc<Inner>, portal: Arc<Portal>, visit: Visit) -> Answer {
    match visit.request.uri().path() {
        confirm::APPROVE | confirm::PROVE => confirm::answer(&plane, &portal, visit).await,
        _ => Answer::Response(respond(plane, portal, visit).await),
    }
}

async fn respond(plane: Arc<Inner>, portal: Arc<Portal>, visit: Visit) -> Response<Body> {
    let (path, method) = (visit.request.uri().path(), visit.request.method());
    match (path, method) {
        (PATH, _) if is_foreign(&visit) => plain(StatusCode::FORBIDDEN, "this page may not speak to the portal"),
        (PATH, &Method::POST) => post(plane, portal, visit).await,
        (PATH, &(Method::GET | Method::DELETE)) if is_stateless(visit.request.headers()) => not_allowed("POST"),
        (PATH, &Method::GET) => listen(&plane, &portal, &visit),
        (PATH, &Method::DELETE) => end(&plane, &portal, &visit),
        (PATH, _) => not_allowed("GET, POST, DELETE"),
        _ => page::answer(&plane, &portal, visit).await,
    }
}

/// The era without sessions has nothing but messages that are posted.
fn is_stateless(headers: &HeaderMap) -> bool {
    let version = field(headers, &VERSION).and_then(|version| version.parse::<Version>().ok());
    version.is_some_and(|version| version.era() == Era::Stateless) && !headers.contains_key(SESSION)
}

fn not_allowed(allowed: &'static str) -> Response<Body> {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "POST a message, or GET to listen in a session");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

/// The answer where the portal itself is no longer there.
pub(crate) fn gone() -> Response<Body> {
    plain(StatusCode::NOT_FOUND, "there is no portal here any more")
}

/// A browser sends the person's cookie along with what any page asks for; a token is put there by its client.
fn is_foreign(visit: &Visit) -> bool {
    let by_token = matches!(&visit.visitor, Visitor::Person(person) if person.agent);
    let Some(origin) = visit.request.headers().get(header::ORIGIN) else { return false };
    !by_token && origin.to_str().ok() != Some(visit.site.origin().ascii_serialization().as_str())
}

/// Answers with one line of text.
pub(crate) fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(full_body(format!("{text}\n")));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn json_body(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(full_body(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn refused(status: StatusCode, id: Option<Id>, error: RpcError) -> Response<Body> {
    json_body(status, Message::Error(message::ErrorResponse { id, error }).to_json())
}

fn field<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

async fn post(plane: Arc<Inner>, portal: Arc<Portal>, mut visit: Visit) -> Response<Body> {
    let body = std::mem::replace(visit.request.body_mut(), empty_body());
    let Some(bytes) = collect(body, MOST_BODY).await else {
        let error = RpcError::new(ErrorCode::InvalidRequest, "the message is larger than is accepted, or broke off");
        return refused(StatusCode::PAYLOAD_TOO_LARGE, None, error);
    };
    let limits = Limits { bytes: MOST_BODY, batch: MOST_BATCH, ..Limits::default() };
    let payload = match message::parse(&bytes, limits) {
        Ok(payload) => payload,
        Err(unreadable) => {
            let status = StatusCode::from_u16(unreadable.error.status()).unwrap_or(StatusCode::BAD_REQUEST);
            return json_body(status, unreadable.answer().to_json());
        }
    };
    match payload {
        Payload::One(Message::Request(request)) => self::request(plane, portal, visit, request).await,
        Payload::One(message) => match sessioned(&plane, &portal, &visit) {
            Ok(session) => {
                turn::take(&plane, &session, message).await;
                accepted()
            }
            Err(refusal) => refusal.for_one(None),
        },
        Payload::Batch(messages) => batch(plane, portal, visit, messages).await,
    }
}

async fn request(plane: Arc<Inner>, portal: Arc<Portal>, visit: Visit, request: message::Request) -> Response<Body> {
    let told = told(visit.request.headers());
    if headers::era(&told, &request) == Era::Stateless {
        return stateless(plane, portal, visit, request).await;
    }
    if &*request.method == "initialize" {
        return initialize(&plane, &portal, visit, request);
    }
    let session = match sessioned(&plane, &portal, &visit) {
        Ok(session) => session,
        Err(refusal) => return refusal.for_one(Some(request.id)),
    };
    let turn = Turn::new(plane, portal, session, visit);
    match turn::answer(Arc::new(turn), request).await {
        Said::Now(message) => json_body(StatusCode::OK, message.to_json()),
        Said::Later(message) => json_body(StatusCode::OK, message.await.to_json()),
        Said::Events(events) => stream(events),
    }
}

/// What a request says of itself in fields of its head.
fn told(headers: &HeaderMap) -> Headers<'_> {
    Headers {
        protocol_version: field(headers, &VERSION),
        method: field(headers, &METHOD),
        name: field(headers, &NAME),
        // They are held against the tool's definition when that is found.
        parameters: Vec::new(),
    }
}

/// What a head repeats of arguments: names without what is before them all, and values. One that is no text agrees with
/// nothing.
pub(crate) fn parameters(headers: &HeaderMap) -> Vec<(String, String)> {
    let all = headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix("mcp-param-")?;
        Some((name.to_owned(), value.to_str().unwrap_or("=?base64?!?=").to_owned()))
    });
    all.collect()
}

async fn stateless(plane: Arc<Inner>, portal: Arc<Portal>, visit: Visit, request: message::Request) -> Response<Body> {
    let checked = headers::check(&told(visit.request.headers()), &request);
    let meta = match checked {
        Ok(meta) => meta,
        Err(error) => {
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
            return refused(status, Some(request.id), error.error());
        }
    };
    let (name, version) = meta.info.as_deref().map_or_else(Default::default, self_told);
    let apart = match &visit.visitor {
        Visitor::Person(person) => person.sign_in.iter().map(|byte| format!("{byte:02x}")).collect(),
        // Strangers are told apart by what there is to tell them by.
        Visitor::Nobody => visit.source.to_string(),
        Visitor::Program { .. } => String::new(),
    };
    let new = NewSession {
        portal: portal.settings.id.as_str(),
        holder: visit.visitor.holder(),
        version: meta.version,
        client: Client { name, version, capabilities: meta.capabilities },
        apart: &apart,
    };
    let Some(opened) = plane.sessions.implied(new, plane.now()) else { return no_room(request.id) };
    plane.end_all(opened.displaced);
    let turn = Turn::new(plane, portal, opened.session, visit).logging(meta.log_level);
    match turn::answer(Arc::new(turn), request).await {
        Said::Later(message) => json_body(StatusCode::OK, message.await.to_json()),
        Said::Now(message) => {
            let status = match &message {
                Message::Error(error) => headers::status(&error.error),
                Message::Request(_) | Message::Notification(_) | Message::Response(_) => 200,
            };
            json_body(StatusCode::from_u16(status).unwrap_or(StatusCode::OK), message.to_json())
        }
        Said::Events(events) => stream(events),
    }
}

fn no_room(id: Id) -> Response<Body> {
    let error = RpcError::new(ErrorCode::Internal, "there is no room for another session at the moment");
    let mut response = refused(StatusCode::SERVICE_UNAVAILABLE, Some(id), error);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
    response
}

fn initialize(plane: &Arc<Inner>, portal: &Arc<Portal>, visit: Visit, request: message::Request) -> Response<Body> {
    let invalid = |message: &str| RpcError::new(ErrorCode::InvalidParams, message);
    let Some(params) = request.params() else {
        return refused(StatusCode::OK, Some(request.id.clone()), invalid("initialize has params"));
    };
    let (Some(asked), Some(info)) = (params.text("protocolVersion"), params.value("clientInfo")) else {
        let error = invalid("initialize names a protocolVersion and a clientInfo");
        return refused(StatusCode::OK, Some(request.id.clone()), error);
    };
    let (name, client_version) = self_told(info);
    let capabilities = params.value("capabilities").filter(|value| value.get().starts_with('{'));
    let version = Version::negotiate(&asked);
    let new = NewSession {
        portal: portal.settings.id.as_str(),
        holder: visit.visitor.holder(),
        version,
        client: Client {
            name,
            version: client_version,
            capabilities: capabilities.map_or_else(|| raw::raw(&json!({})), ToOwned::to_owned),
        },
        apart: "",
    };
    let Some(opened) = plane.sessions.open(new, plane.now()) else { return no_room(request.id) };
    plane.end_all(opened.displaced);
    let session = opened.session;
    let id = session.id.clone();
    let turn = Turn::new(Arc::clone(plane), Arc::clone(portal), session, visit);
    let result = turn::greeting(&turn);
    let mut response = json_body(StatusCode::OK, Message::response(request.id, &*result).to_json());
    if let Ok(id) = HeaderValue::try_from(id) {
        response.headers_mut().insert(SESSION, id);
    }
    response
}

/// The name and version a client gives itself, bounded.
fn self_told(info: &RawValue) -> (String, String) {
    let Ok(info) = Object::parse(info.get()) else { return Default::default() };
    let text = |name: &str| {
        let text = info.text(name).unwrap_or_default();
        text.chars().filter(|c| !c.is_control()).take(MOST_SELF).collect::<String>()
    };
    (text("name"), text("version"))
}

/// Why a message belongs to no session.
enum NoSession {
    Missing,
    Unknown,
    Version,
}

impl NoSession {
    fn for_one(&self, id: Option<Id>) -> Response<Body> {
        let (status, text) = match self {
            Self::Missing => (StatusCode::BAD_REQUEST, "begin with initialize; then every message names its session"),
            // The client begins anew when it hears this.
            Self::Unknown => (StatusCode::NOT_FOUND, "this session has ended"),
            Self::Version => (StatusCode::BAD_REQUEST, "the session speaks another version of the protocol"),
        };
        refused(status, id, RpcError::new(ErrorCode::InvalidRequest, text))
    }
}

/// Finds the session a message names.
fn sessioned(plane: &Inner, portal: &Portal, visit: &Visit) -> Result<Arc<Session>, NoSession> {
    let headers = visit.request.headers();
    let id = field(headers, &SESSION).ok_or(NoSession::Missing)?;
    let (portal, holder) = (portal.settings.id.as_str(), visit.visitor.holder());
    let session = plane.sessions.find(id, portal, holder, plane.now()).ok_or(NoSession::Unknown)?;
    Version::of_session(field(headers, &VERSION), session.version).map_err(|_| NoSession::Version)?;
    Ok(session)
}

fn accepted() -> Response<Body> {
    let mut response = Response::new(empty_body());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

/// Answers a batch, which one version has, message by message.
async fn batch(
    plane: Arc<Inner>,
    portal: Arc<Portal>,
    visit: Visit,
    messages: Vec<Result<Message, message::Unreadable>>,
) -> Response<Body> {
    let session = match sessioned(&plane, &portal, &visit) {
        Ok(session) => session,
        Err(refusal) => return refusal.for_one(None),
    };
    if !session.version.has(Feature::Batching) {
        let error = message::MessageError::Batch;
        return refused(StatusCode::BAD_REQUEST, None, RpcError::new(error.code(), error.to_string()));
    }
    let turn = Arc::new(Turn::new(Arc::clone(&plane), portal, Arc::clone(&session), visit).unasked());
    let mut answers = Vec::new();
    for message in messages {
        match message {
            Ok(Message::Request(request)) => answers.push(turn::whole(Arc::clone(&turn), request).await),
            Ok(message) => turn::take(&plane, &session, message).await,
            Err(unreadable) => answers.push(unreadable.answer()),
        }
    }
    if answers.is_empty() { accepted() } else { json_body(StatusCode::OK, raw::raw(&answers).get().to_owned()) }
}

/// Opens the stream on which servers speak unasked.
fn listen(plane: &Inner, portal: &Portal, visit: &Visit) -> Response<Body> {
    let wanted = field(visit.request.headers(), &header::ACCEPT).unwrap_or_default();
    if !wanted.contains("text/event-stream") {
        return plain(StatusCode::NOT_ACCEPTABLE, "this is where MCP clients listen: accept text/event-stream");
    }
    let session = match sessioned(plane, portal, visit) {
        Ok(session) => session,
        Err(refusal) => return refusal.for_one(None),
    };
    let last_event = field(visit.request.headers(), &LAST_EVENT).filter(|_| session.version.has(Feature::Resumption));
    let reader = match last_event {
        Some(last_event) => session.resume(last_event),
        None => session.listen(),
    };
    let Ok(reader) = reader else {
        let error = RpcError::new(ErrorCode::InvalidRequest, "the stream after this event is not kept any more");
        return refused(StatusCode::BAD_REQUEST, None, error);
    };
    let stop = session.stop.clone();
    stream(futures_util::stream::unfold((reader, stop), |(mut reader, stop)| async move {
        let event = stop.run_until_cancelled(reader.next()).await??;
        Some((event, (reader, stop)))
    }))
}

fn end(plane: &Inner, portal: &Portal, visit: &Visit) -> Response<Body> {
    let Some(id) = field(visit.request.headers(), &SESSION) else { return NoSession::Missing.for_one(None) };
    match plane.sessions.end(id, portal.settings.id.as_str(), visit.visitor.holder()) {
        Some(session) => {
            plane.end_all(vec![session]);
            let mut response = Response::new(empty_body());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        None => NoSession::Unknown.for_one(None),
    }
}

fn stream(events: impl Stream<Item = Bytes> + Send + 'static) -> Response<Body> {
    let frames = events.map(|event| Ok::<_, Infallible>(Frame::data(event)));
    let mut response = Response::new(boxed(StreamBody::new(frames)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}
