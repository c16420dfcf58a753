//! Requests that a server answers: found in the view, held against the rules, sent on, and the answer on its way back.
//!
//! One list of steps for tools, prompts and resources alike. Invariants: nothing is sent before the rules let it through
//! and every condition they name is met; an answer goes to the request it belongs to; what a server asks its client is
//! asked under an id of ours, and only of clients that said they answer such things.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use mcp::catalog::{Definition, Kind};
use mcp::message::{ErrorCode, Id, Message, Notification, Request, Response, RpcError};
use mcp::names::ServerId;
use mcp::neutralise;
use mcp::raw::{self, Object};
use mcp::uris;
use mcp::view::Standing;
use policy::facts::mcp::Arguments;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::facts::{self, PersonFacts};
use crate::plane::Inner;
use crate::record::{Outcome, Recording};
use crate::redact;
use crate::rules::{self, Condition, Redaction, Verdict};
use crate::session::{Pending, Running, RunningGuard};
use crate::snapshot::{Served, Way};
use crate::sse;
use crate::turn::{self, Said, Turn};
use crate::upstream::http::{ExchangeError, Stream};
use crate::upstream::link::{Link, LinkError, LinkParts, Reply, answers};

/// The code of the error that names the rule a request did not pass. Of the range JSON-RPC leaves to servers; MCP gives
/// policy none.
pub(crate) const BLOCKED: i64 = -32_010;
/// Characters of arguments and results that a record keeps.
const MOST_RECORDED: usize = 16 << 10;

/// A tool that was asked for.
pub(crate) struct Asked {
    /// As clients see it.
    pub(crate) name: String,
    pub(crate) arguments: Option<Box<RawValue>>,
    /// The request that asked, for its id and `_meta`.
    pub(crate) request: Request,
}

/// A request that passed, on its way.
struct Passing {
    turn: Arc<Turn>,
    served: Arc<Served>,
    link: Arc<Link>,
    method: &'static str,
    client_id: Id,
    redactions: Vec<Redaction>,
    recording: Option<Recording>,
    /// What the server has asked the client meanwhile.
    asked: Vec<Id>,
}

impl Drop for Passing {
    /// Nobody waits for answers to what was asked on the way.
    fn drop(&mut self) {
        for id in &self.asked {
            self.turn.session.answered(id);
        }
    }
}

/// Answers `tools/call`.
pub(crate) async fn tool(turn: Arc<Turn>, request: Request) -> Said {
    let name = match turn::member(&request, "name") {
        Ok(name) => name,
        Err(error) => return Said::Now(Message::error(request.id, error)),
    };
    if let Some(said) = Box::pin(turn::built_in(&turn, &name, &request)).await {
        return said;
    }
    // On these surfaces tools are called through the portal's own.
    if matches!(turn.surface, mcp::surface::Surface::SearchAndExecute | mcp::surface::Surface::CodeMode) {
        return Said::Now(Message::error(request.id, turn::unknown(&turn, Kind::Tool, &name)));
    }
    let arguments = request.params().and_then(|params| params.value("arguments").map(ToOwned::to_owned));
    named_tool(turn, Asked { name, arguments, request }, None).await
}

/// Calls a tool by the name clients see.
pub(crate) async fn named_tool(turn: Arc<Turn>, asked: Asked, parent: Option<Uuid>) -> Said {
    let Asked { name, arguments, request } = asked;
    let mut recording = turn.recording("tools/call", parent);
    recording.note(|record| record.tool = Some(name.clone()));
    let Some(target) = turn.view.find(Kind::Tool, &name) else {
        let error = turn::unknown(&turn, Kind::Tool, &name);
        recording.end(Outcome::Failed(error.message.to_string()));
        return Said::Now(Message::error(request.id, error));
    };
    let found = Found { server: target.server.id.clone(), definition: target.definition.clone() };
    let arguments = arguments.unwrap_or_else(|| raw::raw(&json!({})));
    let params = request.params.clone().unwrap_or_else(|| raw::raw(&json!({})));
    let upstream = raw::raw(&*found.definition.key);
    let make = move |arguments: &RawValue| {
        let changes = [("name", Some(&*upstream)), ("arguments", Some(arguments))];
        raw::splice(params.get(), &changes).ok()
    };
    pass(turn, found, request.id, "tools/call", Some(arguments), make, recording).await
}

/// Answers `prompts/get`.
pub(crate) async fn prompt(turn: Arc<Turn>, request: Request) -> Said {
    let name = match turn::member(&request, "name") {
        Ok(name) => name,
        Err(error) => return Said::Now(Message::error(request.id, error)),
    };
    let mut recording = turn.recording("prompts/get", None);
    recording.note(|record| record.prompt = Some(name.clone()));
    let Some(target) = turn.view.find(Kind::Prompt, &name) else {
        let error = turn::unknown(&turn, Kind::Prompt, &name);
        recording.end(Outcome::Failed(error.message.to_string()));
        return Said::Now(Message::error(request.id, error));
    };
    let found = Found { server: target.server.id.clone(), definition: target.definition.clone() };
    let arguments = request.params().and_then(|params| params.value("arguments").map(ToOwned::to_owned));
    let params = request.params.clone().unwrap_or_else(|| raw::raw(&json!({})));
    let upstream = raw::raw(&*found.definition.key);
    let with = arguments.is_some();
    let make = move |arguments: &RawValue| {
        let mut changes = vec![("name", Some(&*upstream))];
        if with {
            changes.push(("arguments", Some(arguments)));
        }
        raw::splice(params.get(), &changes).ok()
    };
    pass(turn, found, request.id, "prompts/get", arguments, make, recording).await
}

/// Answers `resources/read`.
pub(crate) async fn resource(turn: Arc<Turn>, request: Request) -> Said {
    let uri = match turn::member(&request, "uri") {
        Ok(uri) => uri,
        Err(error) => return Said::Now(Message::error(request.id, error)),
    };
    let mut recording = turn.recording("resources/read", None);
    recording.note(|record| record.resource = Some(uri.clone()));
    let Some((found, upstream)) = route(&turn, &uri) else {
        let error = turn::unknown(&turn, Kind::Resource, &uri);
        recording.end(Outcome::Failed(error.message.to_string()));
        return Said::Now(Message::error(request.id, error));
    };
    let params = request.params.clone().unwrap_or_else(|| raw::raw(&json!({})));
    let make = move |_: &RawValue| raw::splice(params.get(), &[("uri", Some(&*raw::raw(&upstream)))]).ok();
    pass(turn, found, request.id, "resources/read", None, make, recording).await
}

/// Answers `completion/complete`, which is about a prompt or a template of the view.
pub(crate) async fn complete(turn: Arc<Turn>, request: Request) -> Said {
    let recording = turn.recording("completion/complete", None);
    let params = request.params.clone().unwrap_or_else(|| raw::raw(&json!({})));
    let about = Object::parse(params.get()).ok().and_then(|params| {
        let about = params.object("ref")?;
        let kind = about.text("type")?.into_owned();
        let (member, kind) = match kind.as_str() {
            "ref/prompt" => ("name", Kind::Prompt),
            "ref/resource" => ("uri", Kind::ResourceTemplate),
            _ => return None,
        };
        Some((kind, member, about.text(member)?.into_owned(), params.value("ref")?.to_owned()))
    });
    let Some((kind, member, name, reference)) = about else {
        let error = RpcError::new(ErrorCode::InvalidParams, "ref names no prompt and no resource");
        recording.end(Outcome::Failed(error.message.to_string()));
        return Said::Now(Message::error(request.id, error));
    };
    let target = turn.view.find(kind, &name).or_else(|| turn.view.find(Kind::Resource, &name));
    let Some(target) = target else {
        let error = turn::unknown(&turn, kind, &name);
        recording.end(Outcome::Failed(error.message.to_string()));
        return Said::Now(Message::error(request.id, error));
    };
    let found = Found { server: target.server.id.clone(), definition: target.definition.clone() };
    let upstream = raw::raw(&*found.definition.key);
    let make = move |_: &RawValue| {
        let reference = raw::splice(reference.get(), &[(member, Some(&*upstream))]).ok()?;
        raw::splice(params.get(), &[("ref", Some(&*reference))]).ok()
    };
    pass(turn, found, request.id, "completion/complete", None, make, recording).await
}

/// Answers `resources/subscribe` and `resources/unsubscribe`.
pub(crate) async fn subscribe(turn: Arc<Turn>, request: Request) -> Said {
    let method =
        if &*request.method == "resources/subscribe" { "resources/subscribe" } else { "resources/unsubscribe" };
    let uri = match turn::member(&request, "uri") {
        Ok(uri) => uri,
        Err(error) => return Said::Now(Message::error(request.id, error)),
    };
    let mut recording = turn.recording(method, None);
    recording.note(|record| record.resource = Some(uri.clone()));
    let Some((found, upstream)) = route(&turn, &uri) else {
        let error = turn::unknown(&turn, Kind::Resource, &uri);
        recording.end(Outcome::Failed(error.message.to_string()));
        return Said::Now(Message::error(request.id, error));
    };
    let params = request.params.clone().unwrap_or_else(|| raw::raw(&json!({})));
    let make = move |_: &RawValue| raw::splice(params.get(), &[("uri", Some(&*raw::raw(&upstream)))]).ok();
    pass(turn, found, request.id, method, None, make, recording).await
}

fn route(turn: &Turn, uri: &str) -> Option<(Found, String)> {
    let route = turn.view.route(uri)?;
    let definition = match route.definition {
        Some(definition) => definition.clone(),
        // A link in a result may name what no list has; rules see the URI itself.
        None => {
            let json = raw::raw(&json!({"uri": route.uri, "name": route.uri}));
            Definition::read(Kind::Resource, &json).ok()?
        }
    };
    Some((Found { server: route.server.id.clone(), definition }, route.uri))
}

/// Answers `subscriptions/listen`: an acknowledgement, then what changes.
pub(crate) fn listen(turn: &Arc<Turn>, request: Request) -> Said {
    turn.recording("subscriptions/listen", None).end(Outcome::Success);
    let wanted = request.params.as_deref().and_then(|params| Object::parse(params.get()).ok());
    let filter = wanted.and_then(|params| params.value("notifications").map(|filter| filter.get().to_owned()));
    let filter: Value = filter.and_then(|filter| serde_json::from_str(&filter).ok()).unwrap_or_else(|| json!({}));
    let wants = |name: &str| filter.get(name).and_then(Value::as_bool).unwrap_or(false);
    let kinds =
        [("tools", "toolsListChanged"), ("prompts", "promptsListChanged"), ("resources", "resourcesListChanged")];
    let kinds: Vec<String> = kinds
        .iter()
        .filter(|(_, member)| wants(member))
        .map(|(kind, _)| format!("notifications/{kind}/list_changed"))
        .collect();
    let id = request.id.as_json().to_owned();
    let meta = json!({"io.modelcontextprotocol/subscriptionId": id});
    let acknowledged = json!({"_meta": meta, "notifications": filter});
    let first = Message::notification("notifications/subscriptions/acknowledged", &acknowledged);
    let first = sse::write(None, first.to_json().as_bytes());
    let receiver = turn.session.listen();
    let stop = turn.session.stop.clone();
    let rest = futures_util::stream::unfold((receiver, stop, kinds, meta), |(mut receiver, stop, kinds, meta)| async {
        loop {
            let event = stop.run_until_cancelled(receiver.recv()).await??;
            let found = kinds.iter().find(|kind| memchr::memmem::find(&event, kind.as_bytes()).is_some());
            let Some(method) = found.cloned() else { continue };
            let event = Message::notification(&method, &json!({"_meta": meta}));
            return Some((sse::write(None, event.to_json().as_bytes()), (receiver, stop, kinds, meta)));
        }
    });
    Said::Events(futures_util::stream::once(async { first }).chain(rest).boxed())
}

/// Tells servers what a client wants to hear of their logs; those that are reached later are told then.
pub(crate) async fn set_level(turn: &Turn, level: String) {
    turn.session.set_level(level.clone());
    let params = raw::raw(&json!({"level": level}));
    for (_, link) in turn.session.links() {
        if link.opened().is_some_and(|opened| opened.offers("logging")) {
            let _ = link.ask("logging/setLevel", Some(&params)).await;
        }
    }
}

/// What a request is about.
struct Found {
    server: ServerId,
    definition: Definition,
}

/// Why a request does not reach its server.
enum Stopped {
    Error(RpcError, Outcome),
}

/// The steps of a request that a server answers.
async fn pass(
    turn: Arc<Turn>,
    found: Found,
    client_id: Id,
    method: &'static str,
    arguments: Option<Box<RawValue>>,
    params: impl FnOnce(&RawValue) -> Option<Box<RawValue>> + Send,
    mut recording: Recording,
) -> Said {
    let Some(served) = turn.portal.server(&found.server).cloned() else {
        let error = turn::unknown(&turn, found.definition.kind, &found.definition.key);
        recording.end(Outcome::Failed(error.message.to_string()));
        return Said::Now(Message::error(client_id, error));
    };
    recording.note(|record| {
        record.server = Some(served.id.to_string());
        record.server_audience = Some(served.audience.clone());
        record.server_address = Some(served.address.clone());
        let key = Some(found.definition.key.to_string());
        match found.definition.kind {
            Kind::Tool => record.tool = key,
            Kind::Prompt => record.prompt = key,
            Kind::Resource | Kind::ResourceTemplate => record.resource = key,
        }
    });
    // The rules, with everything that is known now.
    let admitted = admit(&turn, &served, &found.definition, method, arguments.as_deref(), &mut recording);
    let redactions = match admitted {
        Ok(redactions) => redactions,
        Err(Stopped::Error(error, outcome)) => {
            recording.end(outcome);
            return Said::Now(Message::error(client_id, error));
        }
    };
    let arguments = arguments.map(|arguments| redact::apply(&redactions, &arguments));
    let settings = &turn.portal.settings;
    recording.note(|record| {
        record.bytes.0 = arguments.as_ref().map_or(0, |arguments| arguments.get().len());
        if settings.log_arguments {
            record.arguments = arguments.as_ref().map(|arguments| shortened(arguments.get()));
        }
    });
    let Some(params) = params(arguments.as_deref().unwrap_or(RawValue::NULL)) else {
        let error = RpcError::new(ErrorCode::InvalidParams, "params are not an object that can be sent on");
        recording.end(Outcome::Failed(error.message.to_string()));
        return Said::Now(Message::error(client_id, error));
    };
    let link = match link(&turn, &served).await {
        Ok(link) => link,
        Err(error) => {
            recording.end(Outcome::Failed(error.message.to_string()));
            return Said::Now(Message::error(client_id, error));
        }
    };
    let id = link.next_id();
    let guard = turn.session.runs(&client_id, Running { link: Arc::clone(&link), id: id.clone() });
    let reply = link.request(id, method, Some(&params)).await;
    let mut passing =
        Passing { turn, served, link, method, client_id, redactions, recording: Some(recording), asked: Vec::new() };
    match reply {
        Ok(Reply::Message(message)) => Said::Now(passing.finish(message)),
        Ok(Reply::Stream { stream, id }) => Said::Events(events(passing, stream, id, guard)),
        Err(error) => Said::Now(passing.fail(&error)),
    }
}

/// Holds a request against the rules.
fn admit(
    turn: &Turn,
    served: &Served,
    definition: &Definition,
    method: &'static str,
    arguments: Option<&RawValue>,
    recording: &mut Recording,
) -> Result<Vec<Redaction>, Stopped> {
    let value: Option<Value> = arguments.map(|arguments| serde_json::from_str(arguments.get()).unwrap_or_default());
    let none = Arguments::default();
    let indexed = match &value {
        Some(value) => Arguments::index(value),
        None => Some(none),
    };
    let caller = PersonFacts::of(&turn.visitor);
    let about = facts::About {
        portal: turn.portal.settings.id.as_str(),
        server: Some(served.id.as_str()),
        method,
        subject: facts::subject(definition),
        arguments: indexed.as_ref(),
        code_mode: turn.surface == mcp::surface::Surface::CodeMode,
    };
    let facts = facts::facts(&caller, &turn.session, turn.source, about);
    let ruling = rules::decide([&turn.portal.settings.rules, &served.server.rules], &facts);
    recording.note(|record| record.rules.clone_from(&ruling.by));
    if let Verdict::Block { rule, message } = &ruling.verdict {
        return Err(blocked(rule, message.as_deref()));
    }
    for condition in &ruling.conditions {
        meet(turn, condition)?;
    }
    Ok(ruling.redactions)
}

fn blocked(rule: &str, message: Option<&str>) -> Stopped {
    let text = match message {
        Some(message) => format!("blocked by the rule \"{rule}\": {message}"),
        None => format!("blocked by the rule \"{rule}\""),
    };
    let data = Some(raw::raw(&json!({"rule": rule, "reason": message})));
    Stopped::Error(RpcError { code: BLOCKED, message: text.into(), data }, Outcome::Blocked(rule.to_owned()))
}

/// Tells whether a condition is met; what is not leads to an error that says what to do.
fn meet(turn: &Turn, condition: &Condition) -> Result<(), Stopped> {
    match condition {
        Condition::Factor { rule, max_age } => {
            let proved = turn.visitor.person().and_then(|person| person.factor_at);
            let age = proved.map(|at| turn.plane.now().saturating_sub(at));
            let limit = i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX);
            if age.is_some_and(|age| age <= limit) {
                return Ok(());
            }
            let message = "prove a second factor by signing in to the portal again, then repeat the call";
            Err(blocked(rule, Some(message)))
        }
        Condition::Approval { rule, .. } => {
            Err(blocked(rule, Some("it needs a person's confirmation, which this client cannot ask for")))
        }
        Condition::Worker { rule, .. } => Err(blocked(rule, Some("the Worker that decides about it is not running"))),
    }
}

/// Returns the open link of this session to a server.
async fn link(turn: &Arc<Turn>, served: &Arc<Served>) -> Result<Arc<Link>, RpcError> {
    if served.view.standing == Standing::SignInAgain {
        return Err(sign_in(turn, served));
    }
    let remote = match &served.way {
        Way::Remote(remote) => remote,
        Way::Broken(why) => {
            let text = format!("the server {} cannot be used: {why}", served.id);
            return Err(RpcError::new(ErrorCode::Internal, text));
        }
    };
    let session = &turn.session;
    let link = session.link(served.id.as_str(), || {
        Link::new(LinkParts {
            endpoint: remote.endpoint.clone(),
            credential: remote.credential.clone(),
            version: remote.version,
            capabilities: offered(&session.client.capabilities, turn.is_stateless()),
        })
    });
    if link.opened().is_none() {
        let opened = link.ready().await.map_err(|error| failure(turn, served, &error))?;
        if let Some(level) = session.level().filter(|_| opened.offers("logging")) {
            let _ = link.ask("logging/setLevel", Some(&raw::raw(&json!({"level": level})))).await;
        }
        hear(turn, served, &link);
    }
    Ok(link)
}

/// What a client can do, as servers are told: what comes back to it has to have a way.
fn offered(capabilities: &RawValue, stateless: bool) -> Box<RawValue> {
    if stateless {
        // Its requests stand alone: a server of the older era could ask it nothing.
        return raw::raw(&json!({}));
    }
    let Ok(object) = Object::parse(capabilities.get()) else { return raw::raw(&json!({})) };
    let known = ["roots", "sampling", "elicitation", "experimental"];
    let members: Vec<(&str, Option<&RawValue>)> =
        known.into_iter().filter_map(|name| Some((name, Some(object.value(name)?)))).collect();
    raw::splice("{}", &members).unwrap_or_else(|_| raw::raw(&json!({})))
}

/// Hears what a server says unasked, for as long as the session lives.
fn hear(turn: &Arc<Turn>, served: &Arc<Served>, link: &Arc<Link>) {
    let (session, served, link) = (Arc::clone(&turn.session), Arc::clone(served), Arc::clone(link));
    let (plane, stop) = (Arc::clone(&turn.plane), session.stop.clone());
    turn.plane.tasks.spawn(async move {
        let heard = async {
            let Ok(Some(mut stream)) = link.listen(None).await else { return };
            while let Ok(Some(event)) = stream.next().await {
                let Ok(message) = link.read(&event.data) else { continue };
                let message = match message {
                    Message::Notification(notification) => told(&plane, &served, notification),
                    Message::Request(request) => {
                        match session.ask(Pending { link: Arc::clone(&link), id: request.id.clone() }) {
                            Some(id) => Message::Request(Request { id, ..request }),
                            None => continue,
                        }
                    }
                    Message::Response(_) | Message::Error(_) => continue,
                };
                session.push(sse::write(None, message.to_json().as_bytes()));
            }
        };
        stop.run_until_cancelled(heard).await;
    });
}

/// Makes a server's notification the portal's: URIs are those clients know.
fn told(plane: &Inner, served: &Served, notification: Notification) -> Message {
    let Notification { method, params } = notification;
    plane.note_change(&served.server.id, &method);
    let params = params.map(|params| match served.view.prefixed {
        true => uris::rewrite_result(&served.id, &method, &params).unwrap_or(params),
        false => params,
    });
    Message::Notification(Notification { method, params })
}

fn sign_in(turn: &Turn, served: &Served) -> RpcError {
    let text = format!("sign in to {} again at {}", served.view.name, turn.site);
    RpcError::new(ErrorCode::Internal, text)
}

/// What a client is told when a server gave no answer. What the server said stays here: it may speak of credentials.
fn failure(turn: &Turn, served: &Served, error: &LinkError) -> RpcError {
    tracing::warn!(error = error as &dyn std::error::Error, server = %served.id, "an MCP server gave no answer");
    let name = &served.view.name;
    let text = match error {
        LinkError::SignIn { .. } => return sign_in(turn, served),
        LinkError::Exchange(ExchangeError::Late(_)) => format!("the server {name} did not answer in time"),
        LinkError::Exchange(ExchangeError::Message(_) | ExchangeError::Events(_)) => {
            format!("the answer of the server {name} is larger than is accepted, or broke off")
        }
        LinkError::Refused(error) => format!("the server {name} refused to begin: {}", error.message),
        LinkError::Exchange(_) | LinkError::Message(_) | LinkError::Version | LinkError::NoAnswer => {
            format!("the server {name} gave no answer that can be used")
        }
    };
    RpcError::new(ErrorCode::Internal, text)
}

impl Passing {
    /// Makes the server's answer the client's.
    fn finish(&mut self, message: Message) -> Message {
        let id = self.client_id.clone();
        let mut recording = self.recording.take();
        if let Some(recording) = &mut recording {
            recording.server_done();
        }
        let (message, outcome) = match message {
            Message::Response(Response { result, .. }) => {
                let failed = is_failure(self.method, &result);
                let result = self.shown(result);
                if let Some(recording) = &mut recording {
                    let log = self.turn.portal.settings.log_results;
                    recording.note(|record| {
                        record.bytes.1 = result.get().len();
                        record.result = log.then(|| shortened(result.get()));
                    });
                }
                let outcome = if failed { Outcome::Failed("the tool failed".to_owned()) } else { Outcome::Success };
                (Message::Response(Response { id, result }), outcome)
            }
            Message::Error(error) => {
                let outcome = Outcome::Failed(error.error.message.to_string());
                (Message::error(id, error.error), outcome)
            }
            Message::Request(_) | Message::Notification(_) => {
                let error = RpcError::new(ErrorCode::Internal, "the server gave no answer");
                (Message::error(id, error), Outcome::Failed("no answer".to_owned()))
            }
        };
        if let Some(recording) = recording {
            recording.end(outcome);
        }
        message
    }

    fn shown(&self, result: Box<RawValue>) -> Box<RawValue> {
        let result = match self.served.view.prefixed {
            true => uris::rewrite_result(&self.served.id, self.method, &result).unwrap_or(result),
            false => result,
        };
        let result = match self.turn.portal.settings.neutralize_results {
            true => neutralise::result(&result).unwrap_or(result),
            false => result,
        };
        // After what is invisible is gone: it could have parted what a pattern looks for.
        let result = redact::result(&self.redactions, &result);
        turn::completed(&self.turn, self.method, result)
    }

    fn fail(&mut self, error: &LinkError) -> Message {
        let error = failure(&self.turn, &self.served, error);
        if let Some(recording) = self.recording.take() {
            recording.end(Outcome::Failed(error.message.to_string()));
        }
        Message::error(self.client_id.clone(), error)
    }

    /// Makes a message that comes before the answer the client's; `None` where it is not for the client.
    async fn between(&mut self, message: Message) -> Option<Message> {
        match message {
            Message::Notification(notification) => Some(told(&self.turn.plane, &self.served, notification)),
            Message::Request(request) => {
                let pending = Pending { link: Arc::clone(&self.link), id: request.id.clone() };
                let asked = if self.turn.is_stateless() { None } else { self.turn.session.ask(pending) };
                match asked {
                    Some(id) => {
                        self.asked.push(id.clone());
                        Some(Message::Request(Request { id, ..request }))
                    }
                    None => {
                        let error = RpcError::new(ErrorCode::MethodNotFound, "the client cannot be asked");
                        let _ = self.link.tell(&Message::error(request.id, error)).await;
                        None
                    }
                }
            }
            Message::Response(_) | Message::Error(_) => None,
        }
    }
}

/// The events of a server's stream, as the client's.
fn events(
    passing: Passing,
    stream: Stream,
    id: Id,
    guard: RunningGuard,
) -> futures_util::stream::BoxStream<'static, Bytes> {
    let state = Some((passing, stream, id, guard));
    futures_util::stream::unfold(state, |state| async move {
        let (mut passing, mut stream, id, guard) = state?;
        loop {
            let message = match stream.next().await {
                Ok(Some(event)) if event.data.is_empty() => continue,
                Ok(Some(event)) => passing.link.read(&event.data),
                Ok(None) => Err(LinkError::NoAnswer),
                Err(error) => Err(error.into()),
            };
            let message = match message {
                Ok(message) if answers(&message, &id) => {
                    let last = passing.finish(message);
                    return Some((sse::write(None, last.to_json().as_bytes()), None));
                }
                Ok(message) => message,
                Err(error) => {
                    let last = passing.fail(&error);
                    return Some((sse::write(None, last.to_json().as_bytes()), None));
                }
            };
            if let Some(message) = passing.between(message).await {
                let event = sse::write(None, message.to_json().as_bytes());
                return Some((event, Some((passing, stream, id, guard))));
            }
        }
    })
    .boxed()
}

fn is_failure(method: &str, result: &RawValue) -> bool {
    let failed = |result: &RawValue| Some(Object::parse(result.get()).ok()?.value("isError")?.get() == "true");
    method == "tools/call" && failed(result).unwrap_or(false)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MOST_RECORDED) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
