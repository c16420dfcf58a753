//! What changes at servers, and which clients are told.
//!
//! Servers with sessions speak unasked on a stream of their own, servers without on one that is asked for; clients listen in
//! the same two ways, and any of the four pairs is served. Invariants: a client hears of what it asked for and may see, by the
//! names it knows; a change of a server's definitions is told once they are known here, not before; and what a client asks
//! to hear is bounded and ends with its stream or its session.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use mcp::message::{ErrorCode, Message, Notification, Request, RpcError};
use mcp::raw::{self, Object};
use mcp::version::stateless::missing_capability;
use mcp::version::{Era, tasks};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

use crate::admit::{self, Case};
use crate::answer;
use crate::call::{self, Given, Reached};
use crate::plane::Inner;
use crate::record::Outcome;
use crate::rules::Redaction;
use crate::session::{Pending, Session};
use crate::snapshot::{Portal, Served};
use crate::sse;
use crate::turn::{self, Said, Turn};
use crate::upstream::link::{Link, Reply};

/// Streams of one client without a session.
const MOST_LISTENERS: usize = 16;
/// Resources and tasks that one stream may name, and one session may watch at one server.
const MOST_WATCHED: usize = 256;
/// Messages, and their bytes, that wait for a stream to be read.
const MOST_WAITING: usize = 256;
const MOST_BYTES: usize = 1 << 20;
/// How long nothing is said before a comment keeps the connection open.
const KEEP_ALIVE: Duration = Duration::from_secs(25);
/// How long to wait before a server is listened to again: at first, and at most.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// What says to which stream a notification belongs (2026-07-28).
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// The streams of a client without a session.
#[derive(Default)]
pub(crate) struct Listeners {
    all: Mutex<Vec<Listener>>,
    next: AtomicU64,
}

struct Listener {
    number: u64,
    /// The id of the request that opened it.
    subscription: Box<RawValue>,
    wanted: Wanted,
    sender: mpsc::Sender<Bytes>,
    waiting: Arc<AtomicUsize>,
}

/// What a stream reads.
struct Heard {
    receiver: mpsc::Receiver<Bytes>,
    waiting: Arc<AtomicUsize>,
}

impl Heard {
    async fn next(&mut self) -> Option<Bytes> {
        let event = self.receiver.recv().await?;
        self.waiting.fetch_sub(event.len(), Ordering::Relaxed);
        Some(event)
    }
}

impl Listener {
    fn tell(&self, event: Bytes) {
        let size = event.len();
        if self.waiting.fetch_add(size, Ordering::Relaxed) > MOST_BYTES || self.sender.try_send(event).is_err() {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
        }
    }
}

/// What a stream is to hear of, by the names that clients know.
#[derive(Default, Clone)]
struct Wanted {
    /// Methods of notifications.
    lists: Vec<&'static str>,
    uris: BTreeSet<String>,
    tasks: BTreeSet<String>,
}

impl Wanted {
    fn has(&self, notification: &Notification) -> bool {
        let names = |member: &str, names: &BTreeSet<String>| {
            notification.params().and_then(|params| params.text(member).map(|name| names.contains(&*name)))
        };
        match &*notification.method {
            "notifications/resources/updated" => names("uri", &self.uris).unwrap_or(false),
            "notifications/tasks" => names("taskId", &self.tasks).unwrap_or(false),
            method => self.lists.contains(&method),
        }
    }
}

impl Listeners {
    pub(crate) fn is_empty(&self) -> bool {
        self.all.lock().iter().all(|listener| listener.sender.is_closed())
    }

    /// Sends a notification on every stream that wants it. A stream that is not read misses what there is no room for.
    pub(crate) fn tell(&self, message: &Message) {
        let Message::Notification(notification) = message else { return };
        for listener in self.all.lock().iter().filter(|listener| listener.wanted.has(notification)) {
            listener.tell(tagged(notification, &listener.subscription));
        }
    }

    fn add(&self, subscription: Box<RawValue>, wanted: Wanted) -> (u64, Heard) {
        let (sender, receiver) = mpsc::channel(MOST_WAITING);
        let waiting = Arc::new(AtomicUsize::new(0));
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut all = self.all.lock();
        all.retain(|listener| !listener.sender.is_closed());
        if all.len() >= MOST_LISTENERS {
            all.remove(0);
        }
        all.push(Listener { number, subscription, wanted, sender, waiting: Arc::clone(&waiting) });
        (number, Heard { receiver, waiting })
    }

    /// Changes what a stream is to hear of.
    fn set(&self, number: u64, wanted: &Wanted) {
        if let Some(listener) = self.all.lock().iter_mut().find(|listener| listener.number == number) {
            listener.wanted.clone_from(wanted);
        }
    }

    /// Forgets a stream, and returns what no other one of the client wants.
    fn remove(&self, number: u64, wanted: &Wanted) -> Wanted {
        let mut all = self.all.lock();
        all.retain(|listener| listener.number != number);
        let of_others = |name: &String, names: fn(&Wanted) -> &BTreeSet<String>| {
            all.iter().any(|listener| names(&listener.wanted).contains(name))
        };
        let uris = wanted.uris.iter().filter(|uri| !of_others(uri, |wanted| &wanted.uris)).cloned().collect();
        let tasks = wanted.tasks.iter().filter(|task| !of_others(task, |wanted| &wanted.tasks)).cloned().collect();
        Wanted { lists: Vec::new(), uris, tasks }
    }
}

fn tagged(notification: &Notification, subscription: &RawValue) -> Bytes {
    let params = notification.params.as_deref().map_or("{}", RawValue::get);
    let meta = Object::parse(params).ok().and_then(|params| params.value("_meta").map(ToOwned::to_owned));
    let meta = meta.as_deref().map_or("{}", RawValue::get);
    let tagged = raw::splice(meta, &[(SUBSCRIPTION, Some(subscription))])
        .and_then(|meta| raw::splice(params, &[("_meta", Some(&*meta))]));
    let params = tagged.unwrap_or_else(|_| raw::raw(&json!({"_meta": {SUBSCRIPTION: subscription}})));
    let message = Message::Notification(Notification { method: notification.method.clone(), params: Some(params) });
    sse::write(None, message.to_json().as_bytes())
}

/// What a session watches at servers without sessions, by server.
#[derive(Default)]
pub(crate) struct Watches(Mutex<HashMap<String, Watch>>);

#[derive(Default)]
struct Watch {
    /// By the server's names, and how often.
    uris: BTreeMap<String, usize>,
    tasks: BTreeMap<String, usize>,
    changed: Arc<Notify>,
}

/// What is watched: a resource or a task, as its server names it.
#[derive(Debug, Clone)]
enum Thing {
    Uri(String),
    Task(String),
}

impl Watches {
    /// Adds a thing; `Some(true)` where nothing of the server was watched before, `None` where it is too much.
    fn add(&self, server: &str, thing: &Thing) -> Option<bool> {
        let mut all = self.0.lock();
        let is_new = !all.contains_key(server);
        let watch = all.entry(server.to_owned()).or_default();
        let has_room = watch.uris.len() + watch.tasks.len() < MOST_WATCHED;
        let (names, name) = match thing {
            Thing::Uri(uri) => (&mut watch.uris, uri),
            Thing::Task(task) => (&mut watch.tasks, task),
        };
        if !has_room && !names.contains_key(name) {
            return None;
        }
        let count = names.entry(name.clone()).or_default();
        *count += 1;
        // Whoever begins to watch reads what there is by then.
        if *count == 1 && !is_new {
            watch.changed.notify_one();
        }
        Some(is_new)
    }

    fn remove(&self, server: &str, thing: &Thing) {
        let mut all = self.0.lock();
        let Some(watch) = all.get_mut(server) else { return };
        let (names, name) = match thing {
            Thing::Uri(uri) => (&mut watch.uris, uri),
            Thing::Task(task) => (&mut watch.tasks, task),
        };
        if let Some(count) = names.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                names.remove(name);
                watch.changed.notify_one();
            }
        }
    }

    /// Returns what to ask a server for, and what tells that it is no longer that; `None` when nothing of it is watched,
    /// and then it is forgotten.
    fn filter(&self, server: &str) -> Option<(Value, Arc<Notify>)> {
        let mut all = self.0.lock();
        let watch = all.get(server)?;
        if watch.uris.is_empty() && watch.tasks.is_empty() {
            all.remove(server);
            return None;
        }
        let mut filter = json!({});
        if !watch.uris.is_empty() {
            filter["resourceSubscriptions"] = watch.uris.keys().cloned().collect();
        }
        if !watch.tasks.is_empty() {
            filter["taskIds"] = watch.tasks.keys().cloned().collect();
        }
        Some((filter, Arc::clone(&watch.changed)))
    }
}

/// Who hears of a server.
#[derive(Clone)]
struct Ear {
    plane: Arc<Inner>,
    portal: Arc<Portal>,
    session: Arc<Session>,
    served: Arc<Served>,
    link: Arc<Link>,
}

impl Ear {
    fn of(turn: &Turn, served: &Arc<Served>, link: &Arc<Link>) -> Self {
        Self {
            plane: Arc::clone(&turn.plane),
            portal: Arc::clone(&turn.portal),
            session: Arc::clone(&turn.session),
            served: Arc::clone(served),
            link: Arc::clone(link),
        }
    }

    /// Hears one message that belongs to no request.
    async fn hear(&self, message: Message) {
        match message {
            Message::Notification(notification) => {
                let is_log = &*notification.method == "notifications/message";
                if is_log && self.session.version.era() == Era::Stateless {
                    return;
                }
                if let Some(message) = told(&self.plane, &self.portal, &self.session, &self.served, (notification, &[]))
                {
                    self.session.tell(&message);
                }
            }
            Message::Request(request) => {
                let (server, id) = (self.served.id.clone(), request.id.clone());
                let pending = Pending::Server { link: Arc::clone(&self.link), server, id };
                let may =
                    self.session.version.era() == Era::Sessions && mcp::version::input::is_of_servers(&request.method);
                match may.then(|| self.session.ask(pending)).flatten() {
                    Some(id) => self.session.tell(&Message::Request(Request { id, ..request })),
                    None if &*request.method == "ping" => {
                        let _ = self.link.tell(&Message::response(request.id, &json!({}))).await;
                    }
                    None => {
                        let error = RpcError::new(ErrorCode::MethodNotFound, "the client cannot be asked");
                        let _ = self.link.tell(&Message::error(request.id, error)).await;
                    }
                }
            }
            Message::Response(_) | Message::Error(_) => {}
        }
    }
}

/// Hears what a server with sessions says unasked, for as long as the session lives.
pub(crate) fn hear(turn: &Turn, served: &Arc<Served>, link: &Arc<Link>) {
    let ear = Ear::of(turn, served, link);
    let stop = ear.session.stop.clone();
    turn.plane.tasks.spawn(async move {
        tokio::select! {
            () = follow(&ear) => {}
            () = ear.link.over() => {}
            () = stop.cancelled() => {}
        }
    });
}

async fn follow(ear: &Ear) {
    let (mut last, mut wait) = (None::<String>, SHORTEST_WAIT);
    let mut openings = ear.link.openings();
    loop {
        openings.mark_unchanged();
        match ear.link.listen(last.as_deref()).await {
            // It has no such stream, or none that goes on from there.
            Ok(None) if last.take().is_none() => return,
            Ok(None) | Err(_) => wait = (wait * 2).min(LONGEST_WAIT),
            Ok(Some(mut stream)) => {
                // One that says nothing before it ends is not asked for again at once.
                wait = (wait * 2).min(LONGEST_WAIT);
                while let Ok(Some(event)) = stream.next().await {
                    wait = SHORTEST_WAIT;
                    if let Ok(message) = ear.link.read(&event.data) {
                        ear.hear(message).await;
                    }
                }
                if let Some(retry) = stream.retry() {
                    wait = Duration::from_millis(retry).clamp(SHORTEST_WAIT, LONGEST_WAIT);
                }
                last = stream.last_id().map(str::to_owned).or(last);
            }
        }
        // A session that was begun anew has a stream of its own, and is heard at once.
        if let Ok(Ok(())) = tokio::time::timeout(wait, openings.changed()).await {
            last = None;
        }
    }
}

/// Watches a thing at a server without sessions, for as long as the session lives or until it is let go; `false` where
/// that is more than is watched.
fn watch(ear: Ear, thing: &Thing) -> bool {
    match ear.session.watches.add(ear.served.id.as_str(), thing) {
        None => return false,
        Some(false) => return true,
        Some(true) => {}
    }
    let (plane, stop) = (Arc::clone(&ear.plane), ear.session.stop.clone());
    plane.tasks.spawn(async move {
        stop.run_until_cancelled(keep_watching(&ear)).await;
    });
    true
}

async fn keep_watching(ear: &Ear) {
    let mut wait = SHORTEST_WAIT;
    while let Some((filter, changed)) = ear.session.watches.filter(ear.served.id.as_str()) {
        let params = raw::raw(&json!({"notifications": filter}));
        let reply = ear.link.request(ear.link.next_id(), "subscriptions/listen", Some(&params)).await;
        if let Ok(Reply::Stream { mut stream, .. }) = reply {
            loop {
                let event = tokio::select! {
                    biased;
                    () = changed.notified() => break,
                    event = stream.next() => event,
                };
                let Ok(Some(event)) = event else {
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                    break;
                };
                wait = SHORTEST_WAIT;
                if let Ok(message) = ear.link.read(&event.data) {
                    ear.hear(message).await;
                }
            }
            continue;
        }
        wait = (wait * 2).min(LONGEST_WAIT);
        tokio::time::sleep(wait).await;
    }
}

/// Makes a server's notification the client's; `None` where it is not for the client.
pub(crate) fn told(
    plane: &Inner,
    portal: &Portal,
    session: &Session,
    served: &Served,
    (notification, redactions): (Notification, &[Redaction]),
) -> Option<Message> {
    let Notification { method, params } = notification;
    let params = match (&*method, params) {
        // Clients are told when what they would be shown has changed.
        (
            "notifications/tools/list_changed"
            | "notifications/prompts/list_changed"
            | "notifications/resources/list_changed",
            _,
        ) => {
            plane.changed.changed(&served.id);
            return None;
        }
        ("notifications/subscriptions/acknowledged", _) => return None,
        // The era without sessions has no such notification.
        ("notifications/elicitation/complete", _) if session.version.era() == Era::Stateless => return None,
        ("notifications/tasks" | "notifications/tasks/status", Some(params)) => {
            Some(of_task(plane, portal, session, served, &params)?)
        }
        (_, Some(params)) => {
            let params = match served.view.prefixed {
                true => mcp::uris::rewrite_result(&served.id, &method, &params).unwrap_or(params),
                false => params,
            };
            let params = answer::content(portal, served, redactions, "", params);
            let owner = crate::tasks::owner_of(session);
            let exposed = |id: &str| plane.handles.exposed(&owner, &served.id, id);
            Some(if raw::may_hold(&params, "related-task") { tasks::rename(&params, &exposed).ok()? } else { params })
        }
        (_, None) => None,
    };
    // It names the portal's own stream, of which clients know nothing.
    let params = params.map(|params| untagged(&params));
    Some(Message::Notification(Notification { method, params }))
}

fn untagged(params: &RawValue) -> Box<RawValue> {
    let strip = || {
        let meta = Object::parse(params.get()).ok()?.value("_meta")?.to_owned();
        Object::parse(meta.get()).ok()?.value(SUBSCRIPTION)?;
        let meta = raw::splice(meta.get(), &[(SUBSCRIPTION, None)]).ok()?;
        let is_empty = Object::parse(meta.get()).ok()?.members().count() == 0;
        raw::splice(params.get(), &[("_meta", (!is_empty).then_some(&*meta))]).ok()
    };
    strip().unwrap_or_else(|| params.to_owned())
}

/// The state of a task of the caller, as its client may see it.
fn of_task(
    plane: &Inner,
    portal: &Portal,
    session: &Session,
    served: &Served,
    params: &RawValue,
) -> Option<Box<RawValue>> {
    let owner = crate::tasks::owner_of(session);
    let at_server = Object::parse(params.get()).ok()?.text("taskId")?.into_owned();
    let id = plane.handles.exposed(&owner, &served.id, &at_server)?;
    let task = plane.handles.find(&owner, &id, plane.now())?;
    let shown = |result: Box<RawValue>| {
        let result = tasks::unrelated(&result).unwrap_or(result);
        answer::content(portal, served, &task.redactions, "tools/call", result)
    };
    let params = tasks::with_result(params, shown).ok()?;
    tasks::rename(&params, &|_| Some(id.clone())).ok()
}

/// Answers `resources/subscribe` and `resources/unsubscribe`.
pub(crate) async fn subscribe(turn: Arc<Turn>, request: Request, method: &'static str) -> Said {
    let uri = match turn::member(&request, "uri") {
        Ok(uri) => uri,
        Err(error) => return Said::Now(Message::error(request.id, error)),
    };
    let mut recording = turn.recording(method, None);
    recording.note(|record| record.resource = Some(uri.clone()));
    let found = call::route(&turn, &uri).and_then(|(found, at_server)| {
        let served = turn.portal.server(&found.server).cloned()?;
        Some((found, at_server, served))
    });
    let Some((found, at_server, served)) = found else {
        let error = turn::unknown(&turn, mcp::catalog::Kind::Resource, &uri);
        recording.end(Outcome::Failed(error.message.to_string()));
        return Said::Now(Message::error(request.id, error));
    };
    let link = match call::reach(&turn, &served).await {
        Ok(reached) => reached.link,
        Err(reason) => {
            return Said::Now(call::unanswered(&turn, &served, &reason, (method, request.id), Some(recording)));
        }
    };
    if link.opened().is_none_or(|opened| opened.version.era() == Era::Sessions) {
        let params = request.params.clone().unwrap_or_else(|| raw::raw(&json!({})));
        let make = move |_: &RawValue| raw::splice(params.get(), &[("uri", Some(&*raw::raw(&at_server)))]).ok();
        return call::pass(turn, found, request.id, method, Given::default(), make, recording).await;
    }
    // A server without sessions is listened to in the client's place.
    let case = Case { turn: &turn, served: &served, definition: &found.definition, method, input: None };
    let answer = match admit::admit(&case, None, &mut recording).await {
        Err(stopped) => return Said::Now(stopped.answer(&turn, (method, request.id), false, recording)),
        Ok(_) => {
            let thing = Thing::Uri(at_server);
            let done = match method {
                "resources/subscribe" => watch(Ear::of(&turn, &served, &link), &thing),
                _ => {
                    turn.session.watches.remove(served.id.as_str(), &thing);
                    true
                }
            };
            done.then(|| json!({})).ok_or_else(|| RpcError::new(ErrorCode::Internal, "this client watches too much"))
        }
    };
    Said::Now(match answer {
        Ok(result) => {
            recording.end(Outcome::Success);
            Message::response(request.id, &result)
        }
        Err(error) => {
            recording.end(Outcome::Failed(error.message.to_string()));
            Message::error(request.id, error)
        }
    })
}

/// Answers `subscriptions/listen`: an acknowledgement, then what changes.
pub(crate) async fn listen(turn: &Arc<Turn>, request: Request) -> Said {
    let recording = turn.recording("subscriptions/listen", None);
    let asked = request.params.as_deref().and_then(|params| Object::parse(params.get()).ok());
    let filter = asked.and_then(|params| params.value("notifications").map(|filter| filter.get().to_owned()));
    let filter: Value = filter.and_then(|filter| serde_json::from_str(&filter).ok()).unwrap_or_else(|| json!({}));
    let texts = |name: &str| -> Vec<String> {
        let list = filter.get(name).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).take(MOST_WATCHED).map(str::to_owned).collect()
    };
    let required = json!({"extensions": {tasks::EXTENSION: {}}});
    let task_ids = texts("taskIds");
    let missing = missing_capability(&turn.session.client.capabilities, &required).filter(|_| !task_ids.is_empty());
    if let Some(error) = missing {
        recording.end(Outcome::Failed(error.message.to_string()));
        return Said::Now(Message::error(request.id, error));
    }
    let mut agreed = json!({});
    let mut wanted = Wanted::default();
    for (method, member) in [
        ("notifications/tools/list_changed", "toolsListChanged"),
        ("notifications/prompts/list_changed", "promptsListChanged"),
        ("notifications/resources/list_changed", "resourcesListChanged"),
    ] {
        if filter.get(member).and_then(Value::as_bool).unwrap_or(false) {
            agreed[member] = true.into();
            wanted.lists.push(method);
        }
    }
    let uris = texts("resourceSubscriptions");
    // It hears from the beginning: what changes while it is being arranged would be lost otherwise.
    let all = Wanted {
        lists: wanted.lists.clone(),
        uris: uris.iter().cloned().collect(),
        tasks: task_ids.iter().cloned().collect(),
    };
    let subscription = request.id.as_json().to_owned();
    let (number, heard) = turn.session.listeners.add(subscription.clone(), all);
    let mut watching = Watching { turn: Arc::clone(turn), number, wanted, things: Vec::new() };
    for uri in uris {
        if watching.begin_uri(&uri).await {
            watching.wanted.uris.insert(uri);
        }
    }
    for id in task_ids {
        if watching.begin_task(&id).await {
            watching.wanted.tasks.insert(id);
        }
    }
    for (member, names) in [("resourceSubscriptions", &watching.wanted.uris), ("taskIds", &watching.wanted.tasks)] {
        if filter.get(member).is_some() {
            agreed[member] = names.iter().cloned().collect();
        }
    }
    recording.end(Outcome::Success);
    turn.session.listeners.set(number, &watching.wanted);
    let acknowledged = json!({"_meta": {SUBSCRIPTION: subscription}, "notifications": agreed});
    let first = Message::notification("notifications/subscriptions/acknowledged", &acknowledged);
    let first = sse::write(None, first.to_json().as_bytes());
    let stop = turn.session.stop.clone();
    let rest = futures_util::stream::unfold((heard, stop, watching), |(mut heard, stop, watching)| async {
        let event = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            event = heard.next() => event?,
            () = tokio::time::sleep(KEEP_ALIVE) => sse::comment(),
        };
        Some((event, (heard, stop, watching)))
    });
    Said::Events(futures_util::stream::once(async { first }).chain(rest).boxed())
}

/// What a stream watches at servers; let go with it.
struct Watching {
    turn: Arc<Turn>,
    number: u64,
    wanted: Wanted,
    /// Each with the name that clients know.
    things: Vec<(String, Thing, Arc<Served>, Arc<Link>)>,
}

impl Watching {
    /// Watches a resource; `false` where its caller may not, or its server does not let it be watched.
    async fn begin_uri(&mut self, uri: &str) -> bool {
        let method = "resources/subscribe";
        let Some((found, at_server)) = call::route(&self.turn, uri) else { return false };
        let Some(served) = self.turn.portal.server(&found.server).cloned() else { return false };
        let mut recording = self.turn.recording(method, Some(self.turn.id));
        recording.note(|record| record.resource = Some(at_server.clone()));
        let case = Case { turn: &self.turn, served: &served, definition: &found.definition, method, input: None };
        if let Err(stopped) = admit::admit(&case, None, &mut recording).await {
            let id = mcp::message::Id::number(0);
            stopped.answer(&self.turn, (method, id), true, recording);
            return false;
        }
        let begun = self.begin(uri, Thing::Uri(at_server), &served).await;
        recording.end(if begun { Outcome::Success } else { Outcome::Failed("it cannot be watched".to_owned()) });
        begun
    }

    async fn begin_task(&mut self, id: &str) -> bool {
        let (owner, now) = (crate::tasks::owner(&self.turn), self.turn.plane.now());
        let Some(task) = self.turn.plane.handles.find(&owner, id, now) else { return false };
        let Some(served) = self.turn.portal.server(&task.server).cloned() else { return false };
        let sees = self.turn.view.of_server(&task.server, mcp::catalog::Kind::Tool, &task.tool).is_some();
        sees && self.begin(id, Thing::Task(task.at_server), &served).await
    }

    async fn begin(&mut self, name: &str, thing: Thing, served: &Arc<Served>) -> bool {
        let Ok(Reached { link, .. }) = call::reach(&self.turn, served).await else { return false };
        let era = link.opened().map(|opened| opened.version.era());
        let begun = match (&thing, era) {
            (_, Some(Era::Stateless)) => watch(Ear::of(&self.turn, served, &link), &thing),
            (Thing::Uri(uri), Some(Era::Sessions)) => {
                let params = raw::raw(&json!({"uri": uri}));
                matches!(link.ask("resources/subscribe", Some(&params)).await, Ok(Ok(_)))
            }
            (Thing::Task(_), Some(Era::Sessions)) | (_, None) => false,
        };
        if begun {
            self.things.push((name.to_owned(), thing, Arc::clone(served), link));
        }
        begun
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let session = &self.turn.session;
        let left = session.listeners.remove(self.number, &self.wanted);
        for (name, thing, served, link) in self.things.drain(..) {
            let is_over = left.uris.contains(&name) || left.tasks.contains(&name);
            match (thing, link.opened().map(|opened| opened.version.era())) {
                (thing, Some(Era::Stateless)) => session.watches.remove(served.id.as_str(), &thing),
                (Thing::Uri(uri), Some(Era::Sessions)) if is_over && tokio::runtime::Handle::try_current().is_ok() => {
                    self.turn.plane.tasks.spawn(async move {
                        let _ = link.ask("resources/unsubscribe", Some(&raw::raw(&json!({"uri": uri})))).await;
                    });
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[tokio::test]
    async fn a_stream_hears_what_it_asked_for_under_its_own_id() {
        let listeners = Listeners::default();
        let wanted = Wanted {
            lists: vec!["notifications/tools/list_changed"],
            uris: BTreeSet::from(["a:b".to_owned()]),
            tasks: BTreeSet::new(),
        };
        let (number, mut hearing) = listeners.add(raw::raw("s-1"), wanted.clone());
        for (method, params, heard) in [
            ("notifications/tools/list_changed", json!({}), true),
            ("notifications/prompts/list_changed", json!({}), false),
            ("notifications/resources/updated", json!({"uri": "a:b"}), true),
            ("notifications/resources/updated", json!({"uri": "a:c"}), false),
            ("notifications/tasks", json!({"taskId": "1"}), false),
        ] {
            listeners.tell(&Message::notification(method, &params));
            let event = hearing.receiver.try_recv().ok();
            assert_eq!(event.is_some(), heard, "{method} {params}");
            if let Some(event) = event {
                assert!(text(&event).contains("\"io.modelcontextprotocol/subscriptionId\":\"s-1\""));
            }
        }
        let (other, _kept) = listeners.add(raw::raw("s-2"), wanted.clone());
        assert!(listeners.remove(number, &wanted).uris.is_empty(), "another stream wants it still");
        assert_eq!(listeners.remove(other, &wanted).uris.len(), 1);
        assert!(listeners.is_empty());
    }

    #[tokio::test]
    async fn what_waits_for_a_stream_that_nobody_reads_is_bounded_in_bytes() {
        let listeners = Listeners::default();
        let wanted = Wanted { tasks: BTreeSet::from(["t".to_owned()]), ..Wanted::default() };
        let (_, mut hearing) = listeners.add(raw::raw("s-1"), wanted);
        let large = json!({"taskId": "t", "result": "x".repeat(MOST_BYTES / 4)});
        for _ in 0..MOST_WAITING {
            listeners.tell(&Message::notification("notifications/tasks", &large));
        }
        let mut read = 0;
        while !hearing.receiver.is_empty() {
            read += hearing.next().await.unwrap().len();
        }
        assert!((MOST_BYTES..2 * MOST_BYTES).contains(&read), "{read}");
        listeners.tell(&Message::notification("notifications/tasks", &large));
        assert!(hearing.next().await.is_some(), "there is room again");
    }

    #[test]
    fn what_is_watched_is_counted_and_bounded() {
        let watches = Watches::default();
        let thing = Thing::Uri("a:b".to_owned());
        assert_eq!((watches.add("one", &thing), watches.add("one", &thing)), (Some(true), Some(false)));
        watches.remove("one", &thing);
        assert_eq!(watches.filter("one").unwrap().0, json!({"resourceSubscriptions": ["a:b"]}));
        watches.remove("one", &thing);
        watches.remove("one", &thing);
        assert!(watches.filter("one").is_none());
        for number in 0..MOST_WATCHED {
            assert!(watches.add("two", &Thing::Task(number.to_string())).is_some());
        }
        assert_eq!(watches.add("two", &thing), None);
    }

    #[test]
    fn the_id_of_the_portals_own_stream_is_taken_off() {
        for (before, after) in [
            (json!({"uri": "a", "_meta": {SUBSCRIPTION: 1}}), json!({"uri": "a"})),
            (json!({"uri": "a", "_meta": {SUBSCRIPTION: 1, "x": 2}}), json!({"uri": "a", "_meta": {"x": 2}})),
            (json!({"uri": "a", "_meta": {"x": 2}}), json!({"uri": "a", "_meta": {"x": 2}})),
        ] {
            let found: Value = serde_json::from_str(untagged(&raw::raw(&before)).get()).unwrap();
            assert_eq!(found, after, "{before}");
        }
    }
}
