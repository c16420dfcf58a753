//! The way to one server for one client: the version both speak, the session there, and messages over it.
//!
//! A link is made when it is first needed and made again when the server has forgotten its session. It does not decide
//! what may be sent. Invariants: a link is never shared by two holders, so nothing a server keeps for one is seen by
//! another; request ids at the server are the link's own; and a server is told the capabilities of its client alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use mcp::message::{self, Id, Limits, Message, Payload, Request, RpcError};
use mcp::raw::{self, Object};
use mcp::version::headers::{HeaderParameter, headers_of};
use mcp::version::{Era, Version, tasks};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::channel::{Channel, Line, Place, is_elsewhere};
use super::http::{Answer, Answered, ExchangeError, LAST_EVENT, SESSION, Stream, VERSION};
use crate::signin::Credential;

/// How long a server may take over what the portal itself asks of it, however much it says meanwhile.
const LONGEST: Duration = Duration::from_secs(5 * 60);
/// Prefix of the members of `_meta` that the protocol owns (2026-07-28).
pub(crate) const META: &str = "io.modelcontextprotocol/";
/// Members of `_meta` that speak of a client, not of a request.
const OF_THE_CLIENT: [&str; 3] = ["protocolVersion", "clientCapabilities", "clientInfo"];
/// The member of `_meta` that asks for logs (2026-07-28).
const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// Messages between a request and its answer that are looked at before a server is given up.
const MOST_BETWEEN: usize = 10_000;

/// Why a server has no answer to a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The server takes no credential of ours; `challenge` is its `WWW-Authenticate`.
    #[error("the server wants somebody to sign in")]
    SignIn { challenge: Option<String> },
    #[error("the server's message is not one: {0}")]
    Message(message::MessageError),
    #[error("the server refused to begin: {}", .0.message)]
    Refused(RpcError),
    #[error("the server speaks no version that is known here")]
    Version,
    #[error("the server's stream ended before its answer")]
    NoAnswer,
}

/// What a link is made from.
pub(crate) struct LinkParts {
    pub(crate) endpoint: Channel,
    /// The fields that carry the credential at the server.
    pub(crate) credential: HeaderMap,
    /// What the server spoke when it was last looked at; `None` finds out.
    pub(crate) version: Option<Version>,
    /// Of the client that the link is made for.
    pub(crate) capabilities: Box<RawValue>,
}

/// A link to one server.
pub(crate) struct Link {
    parts: LinkParts,
    /// What was presented last, where it is a sign-in that is renewed from time to time.
    presented: ArcSwapOption<Credential>,
    open: ArcSwapOption<Opened>,
    /// What carries its messages: the way that led to the server, once one has.
    line: ArcSwapOption<Line>,
    /// How often it was opened.
    openings: watch::Sender<u64>,
    /// Somebody hears what the server says unasked.
    heard: AtomicBool,
    over: CancellationToken,
    opening: tokio::sync::Mutex<()>,
    next: AtomicU64,
}

/// What the server said when the link was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) version: Version,
    session: Option<HeaderValue>,
    pub(crate) capabilities: Box<RawValue>,
    pub(crate) info: Option<Box<RawValue>>,
    pub(crate) instructions: Option<String>,
}

impl Opened {
    /// Tells whether the server has a capability.
    #[must_use]
    pub(crate) fn offers(&self, capability: &str) -> bool {
        Object::parse(self.capabilities.get()).is_ok_and(|all| all.value(capability).is_some())
    }

    /// Tells whether the server lists tasks (2025-11-25).
    #[must_use]
    pub(crate) fn lists_tasks(&self) -> bool {
        let tasks = Object::parse(self.capabilities.get()).ok().and_then(|all| all.object("tasks"));
        tasks.is_some_and(|tasks| tasks.value("list").is_some())
    }
}

/// How a request is made, beside what it says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manner {
    /// Arguments that a server without sessions reads in headers.
    pub(crate) parameters: Vec<HeaderParameter>,
    /// From which level on a server without sessions is to send logs; `None` leaves what the params say.
    pub(crate) log_level: Option<String>,
    /// Nobody is there to be asked anything.
    pub(crate) alone: bool,
}

/// The first part of an answer.
pub(crate) enum Reply {
    /// A response or an error, under the server's id.
    Message(Message),
    /// Messages up to the answer to `id`.
    Stream { stream: Stream, id: Id },
}

impl Link {
    #[must_use]
    pub(crate) fn new(parts: LinkParts) -> Self {
        Self {
            parts,
            presented: ArcSwapOption::empty(),
            open: ArcSwapOption::empty(),
            line: ArcSwapOption::empty(),
            openings: watch::Sender::new(0),
            heard: AtomicBool::new(false),
            over: CancellationToken::new(),
            opening: tokio::sync::Mutex::new(()),
            next: AtomicU64::new(1),
        }
    }

    /// Presents a credential from now on. `false`: the link was begun in another sign-in, and is not for this one.
    pub(crate) fn present(&self, credential: &Arc<Credential>) -> bool {
        let presented = self.presented.load();
        match &*presented {
            Some(before) if before.sign_in != credential.sign_in => return false,
            Some(before) if Arc::ptr_eq(before, credential) => {}
            Some(_) | None => self.presented.store(Some(Arc::clone(credential))),
        }
        true
    }

    /// The fields that carry the credential at the server.
    fn credential(&self) -> HeaderMap {
        let presented = self.presented.load();
        presented.as_ref().map_or_else(|| self.parts.credential.clone(), |presented| presented.headers.clone())
    }

    /// Returns what is known of the server, if the link is open.
    pub(crate) fn opened(&self) -> Option<Arc<Opened>> {
        self.open.load_full()
    }

    /// Opens the link unless it is.
    ///
    /// # Errors
    /// The server cannot be reached, refuses, or speaks no version known here.
    pub(crate) async fn ready(&self) -> Result<Arc<Opened>, LinkError> {
        if let Some(opened) = self.open.load_full() {
            return Ok(opened);
        }
        let _alone = self.opening.lock().await;
        if let Some(opened) = self.open.load_full() {
            return Ok(opened);
        }
        let begun = tokio::time::timeout(LONGEST, self.begin()).await;
        let opened = Arc::new(begun.map_err(|_| ExchangeError::Late(LONGEST))??);
        self.open.store(Some(Arc::clone(&opened)));
        self.openings.send_modify(|openings| *openings += 1);
        Ok(opened)
    }

    /// Sends a request and returns the first part of its answer.
    ///
    /// # Errors
    /// As [`Link::request_as`].
    pub(crate) async fn request(&self, id: Id, method: &str, params: Option<&RawValue>) -> Result<Reply, LinkError> {
        self.request_as(id, method, params, &Manner::default()).await
    }

    /// Sends a request and returns the first part of its answer. A session that the server has forgotten is begun again,
    /// once: a server that answers 404 has done nothing.
    ///
    /// # Errors
    /// As [`Link::ready`], or the server answers what is no answer.
    pub(crate) async fn request_as(
        &self,
        id: Id,
        method: &str,
        params: Option<&RawValue>,
        manner: &Manner,
    ) -> Result<Reply, LinkError> {
        let opened = self.ready().await?;
        match self.send(&opened, id.clone(), method, params, manner).await {
            Err(LinkError::Exchange(
                ExchangeError::Status { status: StatusCode::NOT_FOUND, .. } | ExchangeError::Forgotten,
            )) if opened.session.is_some() => {
                self.forget(&opened);
                let opened = self.ready().await?;
                self.send(&opened, id, method, params, manner).await
            }
            reply => reply,
        }
    }

    /// Sends a request and waits for its answer alone; what the server says before it is dropped, and what it asks is
    /// refused.
    ///
    /// # Errors
    /// As [`Link::request`].
    pub(crate) async fn ask(
        &self,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<Result<Box<RawValue>, RpcError>, LinkError> {
        self.ask_as(method, params, &Manner::default()).await
    }

    /// As [`Link::ask`], in a manner of its own.
    ///
    /// # Errors
    /// As [`Link::request_as`].
    pub(crate) async fn ask_as(
        &self,
        method: &str,
        params: Option<&RawValue>,
        manner: &Manner,
    ) -> Result<Result<Box<RawValue>, RpcError>, LinkError> {
        let asked = async {
            match self.request_as(self.next_id(), method, params, manner).await? {
                Reply::Message(message) => outcome(message).ok_or(LinkError::NoAnswer),
                Reply::Stream { mut stream, id } => self.last_of(&mut stream, &id).await,
            }
        };
        tokio::time::timeout(LONGEST, asked).await.map_err(|_| ExchangeError::Late(LONGEST))?
    }

    async fn last_of(&self, stream: &mut Stream, id: &Id) -> Result<Result<Box<RawValue>, RpcError>, LinkError> {
        for _ in 0..MOST_BETWEEN {
            let Some(event) = stream.next().await? else { return Err(LinkError::NoAnswer) };
            if event.data.is_empty() {
                continue;
            }
            match self.read(&event.data)? {
                Message::Request(asked) => self.refuse(asked.id).await?,
                Message::Notification(_) => {}
                message @ (Message::Response(_) | Message::Error(_)) => {
                    if answers(&message, id) {
                        return outcome(message).ok_or(LinkError::NoAnswer);
                    }
                }
            }
        }
        Err(LinkError::NoAnswer)
    }

    /// Tells a server that nobody answers what it asked.
    ///
    /// # Errors
    /// As [`Link::ready`].
    pub(crate) async fn refuse(&self, id: Id) -> Result<(), LinkError> {
        let error = RpcError::new(message::ErrorCode::MethodNotFound, "nobody is here to answer");
        self.tell(&Message::error(id, error)).await
    }

    /// Sends a notification, or the answer to something the server asked.
    ///
    /// # Errors
    /// As [`Link::ready`].
    pub(crate) async fn tell(&self, message: &Message) -> Result<(), LinkError> {
        let opened = self.ready().await?;
        let method = match message {
            Message::Notification(notification) => Some(&*notification.method),
            Message::Request(_) | Message::Response(_) | Message::Error(_) => None,
        };
        let mut headers = self.headers(&opened);
        if let (Some(method), Era::Stateless) =
            (method.and_then(|m| HeaderValue::from_str(m).ok()), opened.version.era())
        {
            headers.insert(super::http::METHOD, method);
        }
        self.exchange(headers, message.to_json().into()).await?;
        Ok(())
    }

    /// Opens the stream on which the server speaks unasked; `None` where it has none.
    ///
    /// # Errors
    /// As [`Link::ready`].
    pub(crate) async fn listen(&self, last_event: Option<&str>) -> Result<Option<Stream>, LinkError> {
        let opened = self.ready().await?;
        if opened.version.era() == Era::Stateless {
            return Ok(None);
        }
        let mut headers = self.headers(&opened);
        if let Some(id) = last_event.and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert(LAST_EVENT, id);
        }
        Ok(self.line()?.listen(headers).await?)
    }

    /// Tells of each time that the link was opened.
    pub(crate) fn openings(&self) -> watch::Receiver<u64> {
        self.openings.subscribe()
    }

    /// Tells whether nobody hears yet what the server says unasked; whoever asks is to.
    pub(crate) fn is_unheard(&self) -> bool {
        !self.heard.swap(true, Ordering::Relaxed)
    }

    /// Resolves when the link is no longer wanted.
    pub(crate) async fn over(&self) {
        self.over.cancelled().await;
    }

    /// Tells whether the link leads to the same server, reached in the same way and with the same credential.
    pub(crate) fn leads_to(&self, endpoint: &Channel, credential: &HeaderMap) -> bool {
        self.parts.endpoint.is_same(endpoint) && self.parts.credential == *credential
    }

    /// Returns where the server was found.
    pub(crate) fn place(&self) -> Option<Place> {
        self.parts.endpoint.place()
    }

    fn line(&self) -> Result<Arc<Line>, LinkError> {
        self.line.load_full().ok_or(LinkError::Exchange(ExchangeError::Forgotten))
    }

    /// Ends the session at the server.
    pub(crate) async fn end(&self) {
        self.over.cancel();
        let opened = self.open.swap(None);
        if let Some(line) = self.line.swap(None) {
            let session = opened.filter(|opened| opened.session.is_some());
            line.end(session.map(|opened| self.headers(&opened))).await;
        }
    }

    /// Reads one message of the server.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn read(&self, bytes: &[u8]) -> Result<Message, LinkError> {
        let limits = Limits { bytes: self.parts.endpoint.bounds().message, ..Limits::default() };
        match message::parse(bytes, limits) {
            Ok(Payload::One(message)) => Ok(message),
            Ok(Payload::Batch(_)) => Err(LinkError::Message(message::MessageError::Batch)),
            Err(unreadable) => Err(LinkError::Message(unreadable.error)),
        }
    }

    fn forget(&self, opened: &Arc<Opened>) {
        let current = self.open.load();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, opened)) {
            self.open.compare_and_swap(&current, None);
        }
    }

    /// Returns the id of the next request.
    pub(crate) fn next_id(&self) -> Id {
        Id::number(self.next.fetch_add(1, Ordering::Relaxed))
    }

    async fn send(
        &self,
        opened: &Opened,
        id: Id,
        method: &str,
        params: Option<&RawValue>,
        manner: &Manner,
    ) -> Result<Reply, LinkError> {
        let params = self.params(opened.version, params, manner);
        let request = Request { id: id.clone(), method: method.into(), params };
        let mut headers = self.headers(opened);
        if opened.version.era() == Era::Stateless {
            for (name, value) in headers_of(opened.version, &request, &manner.parameters) {
                let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
                    continue;
                };
                headers.insert(name, value);
            }
        }
        match self.exchange(headers, Message::Request(request).to_json().into()).await {
            Ok(sent) => self.reply(sent, id),
            Err(LinkError::Exchange(ExchangeError::Status { status, challenge, body })) => {
                match self.refusal(opened, status, &body, &id) {
                    Some(message) => Ok(Reply::Message(message)),
                    None => Err(ExchangeError::Status { status, challenge, body }.into()),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the answer that comes with a status of failure: servers without sessions say so what is wrong with a request.
    fn refusal(&self, opened: &Opened, status: StatusCode, body: &[u8], id: &Id) -> Option<Message> {
        // A session that is gone is begun again, and a credential that is not enough is no matter of the request.
        let is_ours = status == StatusCode::FORBIDDEN || (status == StatusCode::NOT_FOUND && opened.session.is_some());
        let message = self.read(body).ok().filter(|_| status.is_client_error() && !is_ours)?;
        matches!(&message, Message::Error(error) if error.id.as_ref().is_none_or(|found| found == id))
            .then_some(message)
    }

    fn reply(&self, sent: Answered, id: Id) -> Result<Reply, LinkError> {
        match sent.answer {
            Answer::Accepted => Err(LinkError::NoAnswer),
            Answer::Stream(stream) => Ok(Reply::Stream { stream, id }),
            Answer::Message(bytes) => {
                let message = self.read(&bytes)?;
                if answers(&message, &id) { Ok(Reply::Message(message)) } else { Err(LinkError::NoAnswer) }
            }
        }
    }

    async fn exchange(&self, headers: HeaderMap, body: Bytes) -> Result<Answered, LinkError> {
        match self.line()?.post(headers, body).await {
            Err(ExchangeError::Status { status: StatusCode::UNAUTHORIZED, challenge, .. }) => {
                Err(LinkError::SignIn { challenge })
            }
            outcome => Ok(outcome?),
        }
    }

    fn headers(&self, opened: &Opened) -> HeaderMap {
        let mut headers = self.credential();
        headers.insert(VERSION, HeaderValue::from_static(opened.version.as_str()));
        if let Some(session) = &opened.session {
            headers.insert(SESSION, session.clone());
        }
        headers
    }

    /// Makes a client's params the server's: what `_meta` says of the client is said anew, or taken out.
    fn params(&self, version: Version, params: Option<&RawValue>, manner: &Manner) -> Option<Box<RawValue>> {
        let text = params.map_or("{}", RawValue::get);
        let object = Object::parse(text).ok()?;
        let meta = object.value("_meta").map_or("{}", RawValue::get);
        let capabilities = || match manner.alone {
            // The portal itself waits for a task.
            true => tasks::declared(&raw::raw(&json!({}))),
            false => self.parts.capabilities.clone(),
        };
        let own = (version.era() == Era::Stateless)
            .then(|| [raw::raw(version.as_str()), capabilities(), raw::raw(&client_info())]);
        let names = OF_THE_CLIENT.map(|name| format!("{META}{name}"));
        let present = Object::parse(meta).ok()?.members().any(|(name, _)| names.iter().any(|own| own == name));
        if own.is_none() && !present {
            return params.map(ToOwned::to_owned);
        }
        let mut changes: Vec<(&str, Option<&RawValue>)> = names
            .iter()
            .enumerate()
            .map(|(at, name)| (name.as_str(), own.as_ref().and_then(|own| own.get(at)).map(|value| &**value)))
            .collect();
        let level = manner.log_level.as_deref().filter(|_| own.is_some()).map(raw::raw);
        if let Some(level) = &level {
            changes.push((LOG_LEVEL, Some(level)));
        }
        let meta = raw::splice(meta, &changes).ok()?;
        raw::splice(text, &[("_meta", Some(&meta))]).ok()
    }

    /// Begins at the first place where there is a server, over the line that led there before if there is one.
    async fn begin(&self) -> Result<Opened, LinkError> {
        if self.line.load().is_some() {
            match self.begin_there().await {
                Err(LinkError::Exchange(error)) if is_elsewhere(&error) => {}
                outcome => return outcome,
            }
        }
        let mut first = None;
        for (at, line) in self.parts.endpoint.lines() {
            self.line.store(Some(Arc::new(line)));
            match self.begin_there().await {
                Ok(opened) => {
                    self.parts.endpoint.found(at);
                    return Ok(opened);
                }
                Err(LinkError::Exchange(error)) if is_elsewhere(&error) => {
                    first.get_or_insert(LinkError::Exchange(error));
                }
                Err(error) => {
                    first = Some(error);
                    break;
                }
            }
        }
        // The next attempt looks everywhere again.
        if let Some(line) = self.line.swap(None) {
            line.end(None).await;
        }
        Err(first.unwrap_or(LinkError::NoAnswer))
    }

    async fn begin_there(&self) -> Result<Opened, LinkError> {
        if !self.line()?.is_of_2024() && self.parts.version.is_none_or(|version| version.era() == Era::Stateless) {
            match self.discover().await {
                Ok(opened) => return Ok(opened),
                // Servers of the older era know neither the method nor how to answer without a session.
                Err(error) if self.parts.version.is_some() => return Err(error),
                Err(error @ LinkError::SignIn { .. }) => return Err(error),
                Err(error @ LinkError::Exchange(ExchangeError::Send(_) | ExchangeError::Late(_))) => return Err(error),
                Err(_) => {}
            }
        }
        self.initialize().await
    }

    async fn discover(&self) -> Result<Opened, LinkError> {
        let version = Version::V2026_07_28;
        let blank =
            Opened { version, session: None, capabilities: raw::raw(&json!({})), info: None, instructions: None };
        let manner = Manner::default();
        let answer = match self.send(&blank, self.next_id(), "server/discover", None, &manner).await? {
            Reply::Message(message) => outcome(message).ok_or(LinkError::NoAnswer)?,
            Reply::Stream { mut stream, id } => last_before_open(self, &mut stream, &id).await?,
        };
        let result = answer.map_err(LinkError::Refused)?;
        let object = Object::parse(result.get()).map_err(|_| LinkError::NoAnswer)?;
        let spoken: Vec<String> = object
            .value("supportedVersions")
            .and_then(|list| serde_json::from_str(list.get()).ok())
            .unwrap_or_default();
        if !spoken.iter().any(|text| text == version.as_str()) {
            return Err(LinkError::Version);
        }
        Ok(Opened {
            capabilities: object.value("capabilities").map_or_else(|| raw::raw(&json!({})), ToOwned::to_owned),
            info: object
                .object("_meta")
                .and_then(|meta| meta.value("io.modelcontextprotocol/serverInfo").map(ToOwned::to_owned)),
            instructions: object.text("instructions").map(std::borrow::Cow::into_owned),
            ..blank
        })
    }

    async fn initialize(&self) -> Result<Opened, LinkError> {
        let id = self.next_id();
        let offered = self.parts.version.unwrap_or(Version::LATEST_WITH_SESSIONS);
        let params = json!({
            "protocolVersion": offered.as_str(),
            "capabilities": tasks::undeclared(&self.parts.capabilities),
            "clientInfo": client_info(),
        });
        let request = Request { id: id.clone(), method: "initialize".into(), params: Some(raw::raw(&params)) };
        let answered = self.exchange(self.credential(), Message::Request(request).to_json().into()).await?;
        let session = answered.session.clone();
        let answer = match self.reply(answered, id)? {
            Reply::Message(message) => outcome(message).ok_or(LinkError::NoAnswer)?,
            Reply::Stream { mut stream, id } => last_before_open(self, &mut stream, &id).await?,
        };
        let result = answer.map_err(LinkError::Refused)?;
        let object = Object::parse(result.get()).map_err(|_| LinkError::NoAnswer)?;
        let version = object.text("protocolVersion").and_then(|text| text.parse::<Version>().ok());
        let version = version.filter(|version| version.era() == Era::Sessions).ok_or(LinkError::Version)?;
        let opened = Opened {
            version,
            session,
            capabilities: object.value("capabilities").map_or_else(|| raw::raw(&json!({})), ToOwned::to_owned),
            info: object.value("serverInfo").map(ToOwned::to_owned),
            instructions: object.text("instructions").map(std::borrow::Cow::into_owned),
        };
        let ready = Message::notification("notifications/initialized", &json!({}));
        self.exchange(self.headers(&opened), ready.to_json().into()).await?;
        Ok(opened)
    }
}

/// Reads up to the answer that opens the link: until then a server may say things, but ask nothing.
async fn last_before_open(
    link: &Link,
    stream: &mut Stream,
    id: &Id,
) -> Result<Result<Box<RawValue>, RpcError>, LinkError> {
    for _ in 0..MOST_BETWEEN {
        let Some(event) = stream.next().await? else { return Err(LinkError::NoAnswer) };
        if event.data.is_empty() {
            continue;
        }
        let message = link.read(&event.data)?;
        if answers(&message, id) {
            return outcome(message).ok_or(LinkError::NoAnswer);
        }
    }
    Err(LinkError::NoAnswer)
}

/// Tells whether a message ends the request of that id.
pub(crate) fn answers(message: &Message, id: &Id) -> bool {
    match message {
        Message::Response(response) => response.id == *id,
        Message::Error(error) => error.id.as_ref().is_none_or(|found| found == id),
        Message::Request(_) | Message::Notification(_) => false,
    }
}

fn outcome(message: Message) -> Option<Result<Box<RawValue>, RpcError>> {
    match message {
        Message::Response(response) => Some(Ok(response.result)),
        Message::Error(error) => Some(Err(error.error)),
        Message::Request(_) | Message::Notification(_) => None,
    }
}

pub(crate) fn client_info() -> serde_json::Value {
    json!({"name": "portunus", "title": "Portunus", "version": env!("CARGO_PKG_VERSION")})
}
