//! Requests that a server answers: found in the view, held against the rules, and sent on.
//!
//! One list of steps for tools, prompts and resources alike; what becomes of a request on its way is
//! [`crate::passage`]'s. Invariant: nothing is sent before the rules let it through and every condition they name is met.

use std::sync::Arc;

use mcp::catalog::{Definition, Kind};
use mcp::message::{ErrorCode, Id, Message, Request, RpcError};
use mcp::names::ServerId;
use mcp::raw::{self, Object};
use mcp::version::tasks::{self, Support};
use mcp::version::{Era, Feature, LogLevel, headers, input};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::admit::{self, Admitted, Case};
use crate::elicit;
use crate::facts;
use crate::input::Mark;
use crate::passage::{self, Passage};
use crate::record::{Outcome, Recording};
use crate::redact;
use crate::rules::Redaction;
use crate::signin::Credential;
use crate::signin::calls::{self, NoAnswer, Told};
use crate::snapshot::{Served, Way};
use crate::turn::{self, Said, Turn};
use crate::upstream::http::ExchangeError;
use crate::upstream::link::{Link, LinkError, LinkParts, Manner};
use crate::watch;

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
    if let Err(error) = turn.check_parameters(&found.definition, arguments.as_deref()).map_err(|fault| fault.error()) {
        recording.end(Outcome::Failed(error.message.to_string()));
        return Said::Now(Message::error(request.id, error));
    }
    let arguments = arguments.unwrap_or_else(|| raw::raw(&json!({})));
    let given = Given::of(&request, Some(arguments));
    let params = request.params.clone().unwrap_or_else(|| raw::raw(&json!({})));
    let upstream = raw::raw(&*found.definition.key);
    let make = move |arguments: &RawValue| {
        let changes = [("name", Some(&*upstream)), ("arguments", Some(arguments))];
        raw::splice(params.get(), &changes).ok()
    };
    pass(turn, found, request.id, "tools/call", given, make, recording).await
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
    let given = Given::of(&request, arguments);
    let make = move |arguments: &RawValue| {
        let mut changes = vec![("name", Some(&*upstream))];
        if with {
            changes.push(("arguments", Some(arguments)));
        }
        raw::splice(params.get(), &changes).ok()
    };
    pass(turn, found, request.id, "prompts/get", given, make, recording).await
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
    let given = Given::of(&request, None);
    pass(turn, found, request.id, "resources/read", given, make, recording).await
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
    pass(turn, found, request.id, "completion/complete", Given::default(), make, recording).await
}

/// Finds the server of a resource, and the URI it knows.
pub(crate) fn route(turn: &Turn, uri: &str) -> Option<(Found, String)> {
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
pub(crate) struct Found {
    pub(crate) server: ServerId,
    pub(crate) definition: Definition,
}

/// What a client gives along with a request.
#[derive(Default)]
pub(crate) struct Given {
    arguments: Option<Box<RawValue>>,
    /// `inputResponses`, without what the portal itself had asked.
    input: Option<Box<RawValue>>,
}

impl Given {
    fn of(request: &Request, arguments: Option<Box<RawValue>>) -> Self {
        // Most requests have none, and are not copied to find that out.
        let params = request.params.as_deref().filter(|params| raw::may_hold(params, "inputResponses"));
        let params = params.map(|params| elicit::without_own(params.to_owned()));
        let object = params.as_deref().and_then(|params| Object::parse(params.get()).ok());
        let input = object.and_then(|params| params.value("inputResponses").map(ToOwned::to_owned));
        Self { arguments, input }
    }
}

/// The steps of a request that a server answers.
pub(crate) async fn pass(
    turn: Arc<Turn>,
    found: Found,
    client_id: Id,
    method: &'static str,
    given: Given,
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
    let Given { arguments, input } = given;
    let inner = recording.is_part();
    let case = Case { turn: &turn, served: &served, definition: &found.definition, method, input: input.as_deref() };
    let Admitted { arguments, redactions } = match admit::admit(&case, arguments, &mut recording).await {
        Ok(admitted) => admitted,
        Err(stopped) => return Said::Now(stopped.answer(&turn, (method, client_id), inner, recording)),
    };
    let settings = &turn.portal.settings;
    recording.note(|record| {
        record.bytes.0 = arguments.as_ref().map_or(0, |arguments| arguments.get().len());
        if settings.log_arguments {
            record.arguments = arguments.as_ref().map(|arguments| shortened(arguments.get()));
        }
    });
    let params = params(arguments.as_deref().unwrap_or(RawValue::NULL)).map(elicit::without_own);
    let params = params.and_then(|params| match input.filter(|_| !redactions.is_empty()) {
        Some(input) => {
            let input = redact::apply(&redactions, &input);
            raw::splice(params.get(), &[("inputResponses", Some(&*input))]).ok()
        }
        None => Some(params),
    });
    let Some(params) = params else {
        let error = RpcError::new(ErrorCode::InvalidParams, "params are not an object that can be sent on");
        recording.end(Outcome::Failed(error.message.to_string()));
        return Said::Now(Message::error(client_id, error));
    };
    let reached = match reach(&turn, &served).await {
        Ok(reached) => reached,
        Err(reason) => return Said::Now(unanswered(&turn, &served, &reason, (method, client_id), Some(recording))),
    };
    let sent = Sent { found, served, reached, method, client_id, params, redactions };
    send(turn, sent, recording).await
}

/// A request that passed the rules.
struct Sent {
    found: Found,
    served: Arc<Served>,
    reached: Reached,
    method: &'static str,
    client_id: Id,
    params: Box<RawValue>,
    redactions: Vec<Redaction>,
}

/// Sends a request in the way that its server understands.
async fn send(turn: Arc<Turn>, sent: Sent, recording: Recording) -> Said {
    let Sent { found, served, reached: Reached { link, credential }, method, client_id, params, redactions } = sent;
    let alone = recording.is_part() || !turn.asks;
    let opened = link.opened();
    let era = opened.as_ref().map_or(Era::Sessions, |opened| opened.version.era());
    let object = Object::parse(params.get()).ok();
    let tried = match input::tried(object.as_ref()).map_err(|error| (error, &params)) {
        Ok(tried) => tried,
        // A client with a session has no such members; what it calls so is its own.
        Err(_) if !turn.is_stateless() => input::Tried::default(),
        Err((error, _)) => {
            recording.end(Outcome::Failed(error.message.to_string()));
            return Said::Now(Message::error(client_id, error));
        }
    };
    let parks = turn.is_stateless() && era == Era::Sessions && input::may_ask(method);
    let mark = if parks { Mark::of(method, &params) } else { None };
    if let (Some(state), Some(mark)) = (&tried.state, mark) {
        return match turn.session.parking.take(state, mark, turn.plane.now()) {
            Some(parked) => Box::pin(parked.go_on(turn, client_id, recording, tried)).await,
            None => {
                let error = RpcError::new(ErrorCode::InvalidParams, "requestState leads to no call that waits for it");
                recording.end(Outcome::Failed(error.message.to_string()));
                Said::Now(Message::error(client_id, error))
            }
        };
    }
    let accepted = |response: &RawValue| {
        Object::parse(response.get()).ok().and_then(|answer| answer.text("action").map(|action| action == "accept"))
    };
    let declined = tried.responses.values().any(|response| accepted(response) == Some(false));
    let (params, makes_task) = match method {
        "tools/call" => in_tasks(&turn, &found.definition, &link, params, alone),
        _ => (params, false),
    };
    let params = match era {
        Era::Sessions if turn.is_stateless() => input::without(&params).unwrap_or(params),
        Era::Sessions | Era::Stateless => params,
    };
    if let (true, Some(level), Era::Sessions) = (turn.is_stateless(), turn.log_level, era) {
        hear_logs(&turn, &link, level).await;
    }
    let is_marked = || raw::may_hold(&found.definition.json, "x-mcp-header");
    let parameters = match era {
        Era::Stateless if is_marked() => headers::header_parameters(&found.definition.member("inputSchema")),
        Era::Sessions | Era::Stateless => Vec::new(),
    };
    let log_level = turn.session.level().filter(|_| !turn.is_stateless());
    let manner = Manner { parameters, log_level, alone };
    let passage = Passage {
        turn,
        served,
        link,
        credential,
        method,
        client_id,
        subject: found.definition.key,
        redactions,
        recording: Some(recording),
        mark,
        declined,
        way: passage::Way::new(method, params, manner, makes_task),
        life: passage::Life::default(),
    };
    // Boxed: it is large, and most requests never come here.
    Box::pin(passage::run(passage)).await
}

/// Lets a call be a task where its server wants one and its client cannot ask for it, and not where it cannot be one.
/// Returns the params, and whether the portal itself waits for the task.
fn in_tasks(
    turn: &Turn,
    definition: &Definition,
    link: &Link,
    params: Box<RawValue>,
    alone: bool,
) -> (Box<RawValue>, bool) {
    let both =
        turn.version().has(Feature::Tasks) && link.opened().is_some_and(|opened| opened.version.has(Feature::Tasks));
    let has_tasks = link.opened().is_some_and(|opened| opened.version.has(Feature::Tasks));
    let cannot_ask = turn.is_stateless() || alone;
    if has_tasks && cannot_ask && Support::of(&definition.json) == Support::Required {
        let task = raw::raw(&json!({}));
        let params = raw::splice(params.get(), &[("task", Some(&*task))]).unwrap_or(params);
        return (params, true);
    }
    let asks = Object::parse(params.get()).is_ok_and(|params| params.value("task").is_some());
    match asks && (!both || alone) {
        true => (raw::splice(params.get(), &[("task", None)]).unwrap_or(params), false),
        false => (params, false),
    }
}

/// Asks a server with sessions for the logs that a client without wants with this request.
async fn hear_logs(turn: &Turn, link: &Link, level: LogLevel) {
    let name = level.as_str().to_owned();
    if turn.session.level().as_ref() == Some(&name) || !link.opened().is_some_and(|opened| opened.offers("logging")) {
        return;
    }
    let params = raw::raw(&json!({"level": name}));
    if link.ask("logging/setLevel", Some(&params)).await.is_ok() {
        turn.session.set_level(name);
    }
}

/// A request about a task that the caller has made.
pub(crate) struct OfTask {
    pub(crate) found: Found,
    pub(crate) method: &'static str,
    pub(crate) client_id: Id,
    pub(crate) params: Box<RawValue>,
    /// Of the call that made it.
    pub(crate) redactions: Vec<Redaction>,
}

/// Sends a request about a task; the rules let the call through that made it.
pub(crate) async fn about_task(turn: Arc<Turn>, of_task: OfTask, recording: Recording) -> Said {
    let OfTask { found, method, client_id, params, redactions } = of_task;
    let refused = |client_id, recording: Recording| {
        recording.end(Outcome::Failed("there is no such task".to_owned()));
        Said::Now(Message::error(client_id, RpcError::new(ErrorCode::InvalidParams, "Task not found")))
    };
    let Some(served) = turn.portal.server(&found.server).cloned() else { return refused(client_id, recording) };
    let reached = match reach(&turn, &served).await {
        Ok(reached) => reached,
        Err(reason) => return Said::Now(unanswered(&turn, &served, &reason, (method, client_id), Some(recording))),
    };
    // A task is spoken of in the words of the generation that made it.
    if reached.link.opened().map(|opened| opened.version.era()) != Some(turn.version().era()) {
        return refused(client_id, recording);
    }
    let sent = Sent { found, served, reached, method, client_id, params, redactions };
    send(turn, sent, recording).await
}

/// Says why a server was not reached, or where to sign in first.
pub(crate) fn unanswered(
    turn: &Turn,
    served: &Served,
    reason: &NoAnswer,
    (method, id): (&str, Id),
    recording: Option<Recording>,
) -> Message {
    let told = match reason {
        NoAnswer::Link(error) => Err(failure(served, error)),
        NoAnswer::Broken(why) => Err(format!("the server {} cannot be used: {why}", served.id)),
        NoAnswer::SignIn(reason) => Ok(calls::told(turn, served, Some(reason))),
        NoAnswer::NobodysOwn => Ok(calls::told(turn, served, None)),
    };
    let inner = recording.as_ref().is_some_and(Recording::is_part);
    let (message, text) = match told {
        Ok(Told::Visit(need)) => (elicit::answer(turn, (method, id), &need, inner), need.message),
        Ok(Told::Words(text)) | Err(text) => {
            (Message::error(id, RpcError::new(ErrorCode::Internal, text.clone())), text)
        }
    };
    if let Some(recording) = recording {
        recording.end(Outcome::Failed(text));
    }
    message
}

/// An open link of a session to a server, and what signs it in there.
pub(crate) struct Reached {
    pub(crate) link: Arc<Link>,
    pub(crate) credential: Option<Arc<Credential>>,
}

/// Returns the open link of this session to a server.
pub(crate) async fn reach(turn: &Arc<Turn>, served: &Arc<Served>) -> Result<Reached, NoAnswer> {
    let remote = match &served.way {
        Way::Remote(remote) => remote,
        Way::Broken(why) => return Err(NoAnswer::Broken(why.clone())),
    };
    let credential = calls::credential(turn, served).await?;
    let session = &turn.session;
    let make = || {
        Link::new(LinkParts {
            endpoint: remote.endpoint.for_caller(session.holder, || about(turn, served)),
            credential: remote.credential.clone(),
            version: remote.version,
            capabilities: offered(&session.client.capabilities, turn.is_stateless()),
        })
    };
    let mut link = session.link(served.id.as_str(), make);
    if credential.as_ref().is_some_and(|credential| !link.present(credential)) {
        // Somebody signed in anew, perhaps as somebody else there: what the server keeps for one is not the other's.
        turn.plane.end(session.drop_links(|other, _| other != served.id.as_str()));
        link = session.link(served.id.as_str(), make);
        credential.iter().for_each(|credential| {
            link.present(credential);
        });
    }
    if link.opened().is_none() {
        calls::open(turn, served, &link, credential.as_ref()).await?;
        opened(turn, served, &link).await;
    }
    Ok(Reached { link, credential })
}

/// What a Worker is told of its caller, as `request.cf`: what Access found out, and nothing that the client says.
fn about(turn: &Turn, served: &Served) -> Value {
    let mut facts = facts::caller(&turn.visitor);
    let mcp = json!({"portal": turn.portal.settings.id.as_str(), "server": served.id.as_str()});
    facts.insert("mcp".to_owned(), mcp);
    Value::Object(facts)
}

/// Tells a server that was just reached what its client wants, and hears what it says unasked.
async fn opened(turn: &Arc<Turn>, served: &Arc<Served>, link: &Arc<Link>) {
    let Some(opened) = link.opened() else { return };
    if let Some(level) = turn.session.level().filter(|_| opened.offers("logging")) {
        let _ = link.ask("logging/setLevel", Some(&raw::raw(&json!({"level": level})))).await;
    }
    if opened.version.era() == Era::Sessions && link.is_unheard() {
        watch::hear(turn, served, link);
    }
}

/// What a client can do, as servers are told: what comes back to it has to have a way. Tasks of clients are left out: a
/// server could list what another one has made.
fn offered(capabilities: &RawValue, stateless: bool) -> Box<RawValue> {
    let Ok(object) = Object::parse(capabilities.get()) else { return raw::raw(&json!({})) };
    let known = ["roots", "sampling", "elicitation", "experimental", "extensions"];
    let members: Vec<(&str, Option<&RawValue>)> =
        known.into_iter().filter_map(|name| Some((name, Some(object.value(name)?)))).collect();
    let offered = raw::splice("{}", &members).unwrap_or_else(|_| raw::raw(&json!({})));
    // For a client with a session the portal itself waits for tasks of servers without.
    if stateless { offered } else { tasks::declared(&offered) }
}

/// What a client is told when a server gave no answer. What the server said stays here: it may speak of credentials.
fn failure(served: &Served, error: &LinkError) -> String {
    tracing::warn!(error = error as &dyn std::error::Error, server = %served.id, "an MCP server gave no answer");
    let name = &served.view.name;
    match error {
        LinkError::SignIn { .. } => format!("the server {name} does not take the credential it was given"),
        LinkError::Exchange(ExchangeError::Late(_)) => format!("the server {name} did not answer in time"),
        LinkError::Exchange(ExchangeError::Start(programs::StartError::Busy)) => {
            format!("the server {name} is busy: as many of its programs run as may")
        }
        LinkError::Exchange(ExchangeError::Start(_)) => format!("the program of the server {name} does not run"),
        LinkError::Exchange(ExchangeError::Gone(_) | ExchangeError::Forgotten) => {
            format!("the server {name} ended before its answer")
        }
        LinkError::Exchange(ExchangeError::Message(_) | ExchangeError::Events(_)) => {
            format!("the answer of the server {name} is larger than is accepted, or broke off")
        }
        LinkError::Refused(error) => format!("the server {name} refused to begin: {}", error.message),
        LinkError::Exchange(_) | LinkError::Message(_) | LinkError::Version | LinkError::NoAnswer => {
            format!("the server {name} gave no answer that can be used")
        }
    }
}

pub(crate) fn is_failure(method: &str, result: &RawValue) -> bool {
    let failed = |result: &RawValue| Some(Object::parse(result.get()).ok()?.value("isError")?.get() == "true");
    method == "tools/call" && failed(result).unwrap_or(false)
}

pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MOST_RECORDED) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
