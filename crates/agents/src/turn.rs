//! What one request of a client asks for, and the answer: from the portal itself, or from the server it belongs to.
//!
//! It decides nothing about rights: the view says what exists for the caller, the rules what becomes of a call. Invariants:
//! whatever reaches a server was found in the view of this request and passed the rules; a server sees nothing of the
//! client's credential; and there is one record for each thing that was asked.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use mcp::builtin::{self, BuiltIn};
use mcp::catalog::{Definition, Kind};
use mcp::message::{ErrorCode, Id, Limits, Message, Request, Response, RpcError};
use mcp::raw::{self, Object};
use mcp::surface::{CodeMode, Surface};
use mcp::version::headers::{self, HeaderError, Headers};
use mcp::version::stateless::{self, CacheHint, CacheScope};
use mcp::version::{Era, Feature, LogLevel, Version};
use mcp::view::{self, PageLimits, ServerView, Standing, Toggles, View};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::call::{self, Asked};
use crate::codemode::{self, Purpose};
use crate::elicit;
use crate::facts;
use crate::plane::Inner;
use crate::record::{Begin, Outcome, Recording};
use crate::rules::{self, Verdict};
use crate::session::{Pending, Seen, Session};
use crate::signin::calls;
use crate::snapshot::Portal;
use crate::tasks;
use crate::visit::{Visit, Visitor};
use crate::watch;

/// How long clients of the stateless era may keep lists: they ask again when they are told of a change.
const KEEP_LISTS: CacheHint = CacheHint { milliseconds: 30_000, scope: CacheScope::Private };

/// What an answer of ours may be when it is read again.
const LARGEST: Limits = Limits { bytes: 64 << 20, depth: 100, batch: 0 };

/// One request, with everything it is answered from.
pub(crate) struct Turn {
    pub(crate) plane: Arc<Inner>,
    pub(crate) portal: Arc<Portal>,
    pub(crate) session: Arc<Session>,
    pub(crate) visitor: Visitor,
    pub(crate) source: IpAddr,
    pub(crate) id: Uuid,
    pub(crate) site: url::Url,
    pub(crate) surface: Surface,
    pub(crate) view: Arc<Seen>,
    /// The client can be asked something before it has its answer.
    pub(crate) asks: bool,
    /// From which level on a client without a session wants logs with this request.
    pub(crate) log_level: Option<LogLevel>,
    /// What a client without a session repeats of its arguments in headers `Mcp-Param-*`: their names without that, and
    /// their values.
    parameters: Vec<(String, String)>,
}

/// An answer.
pub(crate) enum Said {
    Now(Message),
    /// In one piece, when it is done.
    Later(BoxFuture<'static, Message>),
    /// Server-sent events; the answer is the last.
    Events(BoxStream<'static, Bytes>),
}

impl Turn {
    pub(crate) fn new(plane: Arc<Inner>, portal: Arc<Portal>, session: Arc<Session>, visit: Visit) -> Self {
        let query = visit.request.uri().query().unwrap_or_default();
        let setting = CodeMode::parse(portal.settings.code_mode.as_str()).unwrap_or_default();
        let surface = Surface::choose(setting, query);
        let view = session.view(portal.revision, &visit, |switched| merge(&portal, &session, &visit, switched));
        let parameters = match session.version.era() {
            Era::Sessions => Vec::new(),
            Era::Stateless => crate::endpoint::parameters(visit.request.headers()),
        };
        Self {
            plane,
            portal,
            session,
            visitor: visit.visitor,
            source: visit.source,
            id: visit.id,
            site: visit.site,
            surface,
            view,
            asks: true,
            log_level: None,
            parameters,
        }
    }

    /// Makes the turn one whose client hears nothing but its answer.
    pub(crate) fn unasked(self) -> Self {
        Self { asks: false, ..self }
    }

    /// Makes the turn one whose client wants logs from this level on.
    pub(crate) fn logging(self, log_level: Option<LogLevel>) -> Self {
        Self { log_level, ..self }
    }

    /// Holds what a client without a session repeats in headers against the arguments of a call.
    ///
    /// # Errors
    /// They say something else.
    pub(crate) fn check_parameters(
        &self,
        definition: &Definition,
        arguments: Option<&RawValue>,
    ) -> Result<(), HeaderError> {
        let is_marked = raw::may_hold(&definition.json, "x-mcp-header");
        if !self.is_stateless() || !self.asks || !is_marked {
            return Ok(());
        }
        let parameters = self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let headers = Headers { parameters, ..Headers::default() };
        headers::check_parameters(&headers, &headers::header_parameters(&definition.member("inputSchema")), arguments)
    }

    pub(crate) fn version(&self) -> Version {
        self.session.version
    }

    fn has_tasks(&self) -> bool {
        self.version().has(Feature::Tasks) || self.version().has(Feature::TasksExtension)
    }

    pub(crate) fn is_stateless(&self) -> bool {
        self.version().era() == Era::Stateless
    }

    pub(crate) fn recording(&self, method: &str, parent: Option<Uuid>) -> Recording {
        let id = if parent.is_some() { Uuid::now_v7() } else { self.id };
        let begin = Begin {
            id,
            parent,
            at: (self.plane.clock)(),
            source: self.source,
            visitor: &self.visitor,
            session: &self.session,
            audience: &self.portal.audience,
            method,
        };
        Recording::begin(&self.plane.recorder, begin)
    }
}

/// Puts together what a caller sees.
fn merge(portal: &Portal, session: &Session, visit: &Visit, switched: &Toggles) -> View {
    let open = portal.servers.iter().filter(|served| visit.open.contains(&served.application));
    let person = facts::PersonFacts::of(&visit.visitor);
    let permitted = |server: &ServerView, definition: &Definition| {
        let Some(served) = portal.server(&server.id) else { return false };
        let about = facts::About {
            portal: portal.settings.id.as_str(),
            server: Some(server.id.as_str()),
            method: facts::method_of(definition.kind),
            subject: facts::subject(definition),
            // Not known before a call; a rule that reads them decides then.
            arguments: None,
            code_mode: false,
        };
        let facts = facts::facts(&person, session, visit.source, about);
        // Hidden is what is blocked whatever the arguments.
        !matches!(rules::visible([&portal.settings.rules, &served.server.rules], &facts), Verdict::Block { .. })
    };
    View::merge(open.map(|served| Arc::clone(&served.view)), switched, permitted)
}

/// Answers a request, as events where the server answers with events.
pub(crate) async fn answer(turn: Arc<Turn>, request: Request) -> Said {
    let id = request.id.clone();
    match &*request.method {
        "tools/call" => call::tool(turn, request).await,
        "prompts/get" => call::prompt(turn, request).await,
        "resources/read" => call::resource(turn, request).await,
        "completion/complete" => call::complete(turn, request).await,
        "resources/subscribe" if !turn.is_stateless() => watch::subscribe(turn, request, "resources/subscribe").await,
        "resources/unsubscribe" if !turn.is_stateless() => {
            watch::subscribe(turn, request, "resources/unsubscribe").await
        }
        "subscriptions/listen" if turn.is_stateless() => watch::listen(&turn, request).await,
        "tasks/get" if turn.has_tasks() => tasks::answer(turn, "tasks/get", request).await,
        "tasks/cancel" if turn.has_tasks() => tasks::answer(turn, "tasks/cancel", request).await,
        "tasks/result" if turn.version().has(Feature::Tasks) => tasks::answer(turn, "tasks/result", request).await,
        "tasks/update" if turn.is_stateless() => tasks::answer(turn, "tasks/update", request).await,
        _ => {
            let recording = turn.recording(&request.method, None);
            let answer = own(&turn, &request).await;
            recording.end(match &answer {
                Ok(_) => Outcome::Success,
                Err(error) => Outcome::Failed(error.message.to_string()),
            });
            Said::Now(match answer {
                Ok(result) => {
                    Message::Response(mcp::message::Response { id, result: completed(&turn, &request.method, result) })
                }
                Err(error) => Message::error(id, error),
            })
        }
    }
}

/// Answers a request in one piece.
pub(crate) async fn whole(turn: Arc<Turn>, request: Request) -> Message {
    let id = request.id.clone();
    collected(answer(turn, request).await, id).await
}

/// Waits for an answer alone. What came before it belongs to a stream.
pub(crate) async fn collected(said: Said, id: Id) -> Message {
    match said {
        Said::Now(message) => message,
        Said::Later(message) => message.await,
        Said::Events(events) => {
            let last = events.fold(None, |_, event| async move { Some(event) }).await;
            let data = last
                .as_deref()
                .and_then(|event| event.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"data: ")));
            match data.map(|data| mcp::message::parse(data, LARGEST)) {
                Some(Ok(mcp::message::Payload::One(message))) => message,
                _ => Message::error(id, RpcError::new(ErrorCode::Internal, "the server gave no answer")),
            }
        }
    }
}

/// Takes a message that is no request.
pub(crate) async fn take(plane: &Inner, session: &Arc<Session>, message: Message) {
    match message {
        Message::Notification(notification) => match &*notification.method {
            "notifications/cancelled" => cancel(session, &notification).await,
            "notifications/roots/list_changed" => {
                let message = Message::Notification(notification);
                for (_, link) in session.links() {
                    // A server that cannot be told asks again when it needs the roots.
                    let _ = link.tell(&message).await;
                }
            }
            _ => {}
        },
        Message::Response(response) => match session.answered(&response.id) {
            Some(Pending::Server { link, server, id }) => {
                let owner = tasks::owner_of(session);
                let now = plane.now();
                let at_server = |task: &str| {
                    let task = plane.handles.find(&owner, task, now).filter(|task| task.server == server)?;
                    Some(task.at_server)
                };
                // An answer about a task that is not the client's own is none.
                let told = match mcp::version::tasks::rename(&response.result, &at_server) {
                    Ok(result) => Message::Response(Response { id, result }),
                    Err(_) => Message::error(id, RpcError::new(ErrorCode::InvalidParams, "Task not found")),
                };
                let _ = link.tell(&told).await;
            }
            Some(Pending::Here(waiting)) => {
                // Whoever waited may have gone.
                let _ = waiting.send(Ok(response.result));
            }
            None => {}
        },
        Message::Error(mut error) => match error.id.as_ref().and_then(|id| session.answered(id)) {
            Some(Pending::Server { link, id, .. }) => {
                error.id = Some(id);
                let _ = link.tell(&Message::Error(error)).await;
            }
            Some(Pending::Here(waiting)) => {
                let _ = waiting.send(Err(error.error));
            }
            None => {}
        },
        Message::Request(_) => {}
    }
}

async fn cancel(session: &Arc<Session>, notification: &mcp::message::Notification) {
    let Some(params) = notification.params() else { return };
    let Some(running) = params.value("requestId").and_then(|id| session.running(id.get())) else { return };
    let reason = params.text("reason").unwrap_or_default();
    let params = json!({"requestId": running.id.as_json(), "reason": reason});
    let told = Message::notification("notifications/cancelled", &params);
    running.cancelled.cancel();
    let _ = running.link.tell(&told).await;
}

/// Makes a result one of the version the client speaks.
pub(crate) fn completed(turn: &Turn, method: &str, result: Box<RawValue>) -> Box<RawValue> {
    if !turn.is_stateless() {
        return result;
    }
    stateless::complete(&result, method, &server_info(&turn.portal), KEEP_LISTS).unwrap_or(result)
}

fn server_info(portal: &Portal) -> Value {
    json!({"name": "portunus", "title": portal.settings.name, "version": env!("CARGO_PKG_VERSION")})
}

/// What the portal can do in a version. Whether a tool can be a task is said by its definition.
fn capabilities(version: Version) -> Value {
    let mut all = json!({
        "tools": {"listChanged": true},
        "prompts": {"listChanged": true},
        "resources": {"subscribe": true, "listChanged": true},
        "completions": {},
        "logging": {},
    });
    if version.has(Feature::Tasks) {
        all["tasks"] = json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}});
    }
    if version.has(Feature::TasksExtension) {
        all["extensions"] = json!({mcp::version::tasks::EXTENSION: {}});
    }
    all
}

fn instructions(turn: &Turn) -> String {
    let names: Vec<&str> = turn.view.servers().map(|(server, _)| server.name.as_str()).collect();
    if names.is_empty() {
        return "No allowed servers available, check your Zero Trust Policies".to_owned();
    }
    match &turn.portal.settings.description {
        Some(description) => format!("{description}\nServers: {}.", names.join(", ")),
        None => format!("One address for these servers: {}.", names.join(", ")),
    }
}

/// Returns the result of `initialize`.
pub(crate) fn greeting(turn: &Turn) -> Box<RawValue> {
    turn.recording("initialize", None).end(Outcome::Success);
    raw::raw(&json!({
        "protocolVersion": turn.version().as_str(),
        "capabilities": capabilities(turn.version()),
        "serverInfo": server_info(&turn.portal),
        "instructions": instructions(turn),
    }))
}

/// Answers what the portal answers itself.
async fn own(turn: &Arc<Turn>, request: &Request) -> Result<Box<RawValue>, RpcError> {
    let empty = || raw::raw(&json!({}));
    match &*request.method {
        "ping" if !turn.is_stateless() => Ok(empty()),
        "tasks/list" if turn.version().has(Feature::Tasks) => Ok(raw::raw(&tasks::list(turn, request).await?)),
        "server/discover" if turn.is_stateless() => {
            let info = server_info(&turn.portal);
            Ok(stateless::discovery(&info, &capabilities(turn.version()), Some(&instructions(turn)), KEEP_LISTS))
        }
        "tools/list" => list(turn, Kind::Tool, request),
        "prompts/list" => list(turn, Kind::Prompt, request),
        "resources/list" => list(turn, Kind::Resource, request),
        "resources/templates/list" => list(turn, Kind::ResourceTemplate, request),
        "logging/setLevel" if !turn.is_stateless() => {
            let level = request.params().and_then(|params| params.text("level").map(|level| level.into_owned()));
            let level = level.filter(|level| mcp::version::LogLevel::parse(level).is_some());
            let level = level.ok_or_else(|| RpcError::new(ErrorCode::InvalidParams, "level is not a level of logs"))?;
            call::set_level(turn, level).await;
            Ok(empty())
        }
        _ => Err(RpcError::new(ErrorCode::MethodNotFound, "the portal has no such method")),
    }
}

fn list(turn: &Turn, kind: Kind, request: &Request) -> Result<Box<RawValue>, RpcError> {
    let cursor = request.params().and_then(|params| params.text("cursor").map(|cursor| cursor.into_owned()));
    let page = turn.view.page(kind, turn.surface, cursor.as_deref(), PageLimits::default());
    let page = page.map_err(|error| RpcError::new(ErrorCode::InvalidParams, error.to_string()))?;
    Ok(page.result(kind))
}

/// Answers a call of one of the portal's own tools; `None` where the surface has no such tool.
pub(crate) async fn built_in(turn: &Arc<Turn>, name: &str, request: &Request) -> Option<Said> {
    let tool = BuiltIn::named(name).filter(|tool| BuiltIn::of(turn.surface).contains(tool))?;
    let params = request.params();
    let arguments = params.as_ref().and_then(|params| params.value("arguments"));
    if tool == BuiltIn::Execute {
        return Some(match builtin::Execute::read(arguments) {
            Ok(execute) => {
                let asked = Asked { name: execute.name, arguments: execute.arguments, request: request.clone() };
                call::named_tool(Arc::clone(turn), asked, None).await
            }
            Err(error) => Said::Now(Message::error(request.id.clone(), error)),
        });
    }
    let mut recording = turn.recording("tools/call", None);
    recording.note(|record| record.tool = Some(name.to_owned()));
    let answer = match tool {
        BuiltIn::ListServers => Ok(listed(turn).await),
        BuiltIn::QueryTools => builtin::query_tools(arguments, &turn.view),
        BuiltIn::ToggleServers => {
            let message = "Choose the servers of this portal.".to_owned();
            let need = turn.plane.elicitations.ask(turn, None, message);
            if turn.is_stateless() && elicit::answered(request) {
                Ok(listed(turn).await)
            } else if turn.asks && elicit::opens_pages(&turn.session) {
                recording.end(Outcome::Success);
                return Some(Said::Now(elicit::answer(turn, ("tools/call", request.id.clone()), &need, false)));
            } else {
                Ok(builtin::text_result(&format!("{} {}", need.message, need.url)))
            }
        }
        BuiltIn::ToggleSingleServer => builtin::Toggle::read(arguments, &turn.view).map(|toggle| {
            turn.session.switch(toggle.server.clone(), toggle.on);
            turn.plane.tell_changed(&turn.session);
            let state = if toggle.on { "on" } else { "off" };
            builtin::text_result(&format!("{} is switched {state}.", toggle.server))
        }),
        BuiltIn::CodemodeSearch => {
            return Some(codemode::answer(Arc::clone(turn), Purpose::Search, request.clone(), recording));
        }
        BuiltIn::CodemodeExecute => {
            return Some(codemode::answer(Arc::clone(turn), Purpose::Execute, request.clone(), recording));
        }
        BuiltIn::Execute => return None,
    };
    recording.end(match &answer {
        Ok(_) => Outcome::Success,
        Err(error) => Outcome::Failed(error.message.to_string()),
    });
    Some(Said::Now(match answer {
        Ok(result) => Message::Response(mcp::message::Response {
            id: request.id.clone(),
            result: completed(turn, "tools/call", result),
        }),
        Err(error) => Message::error(request.id.clone(), error),
    }))
}

/// The servers of a caller, with how each stands.
async fn listed(turn: &Turn) -> Box<RawValue> {
    let standings = calls::standings(turn).await;
    let servers: Vec<_> = standings
        .iter()
        .map(|stands| builtin::Listed {
            server: &stands.server,
            on: stands.on,
            standing: stands.standing,
            link: (stands.standing == Standing::SignInAgain).then_some(turn.site.as_str()),
        })
        .collect();
    builtin::list_servers(&servers)
}

/// The error for a name that stands for nothing the caller may see.
pub(crate) fn unknown(turn: &Turn, kind: Kind, name: &str) -> RpcError {
    view::unknown(kind, name, turn.version())
}

/// Reads the text of a member of the params.
pub(crate) fn member(request: &Request, name: &str) -> Result<String, RpcError> {
    let found = request.params.as_deref().and_then(|params| Object::parse(params.get()).ok());
    let found = found.and_then(|params| params.text(name).map(std::borrow::Cow::into_owned));
    found.ok_or_else(|| RpcError::new(ErrorCode::InvalidParams, format!("{name} is missing, or no text")))
}
