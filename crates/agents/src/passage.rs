//! A request on its way to a server and back: what is said meanwhile, what is asked, and how its answer is found again.
//!
//! [`Passage::step`] follows the server; three audiences hear of it: a client with a session, whose stream outlives its
//! connections; a client without, whose connection is the request; and nobody, where a program or a batch calls. Between
//! generations of the protocol it translates: questions in the middle of a call and results that ask for input, tasks that
//! a client did not ask for and those it has no way to ask for. Invariants: an answer goes to the request it belongs to;
//! what a server asks is asked under an id of ours, and only of clients that said they answer such things; a request that
//! is given up is given up at its server; and no server keeps one going without end.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use mcp::message::{ErrorCode, Id, Message, Notification, Request, Response, RpcError};
use mcp::raw::{self, Object};
use mcp::version::input::{self, InputRequest, InputRequired};
use mcp::version::stateless::missing_capability;
use mcp::version::tasks::{self, Status};
use mcp::version::{Era, Feature, Version};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::feed::Feed;
use crate::input::{Mark, PATIENCE, Parked, Question};
use crate::record::{Outcome, Recording};
use crate::rules::Redaction;
use crate::session::{Pending, Running, RunningGuard};
use crate::signin::Credential;
use crate::signin::calls::{self, NoAnswer};
use crate::snapshot::Served;
use crate::sse;
use crate::turn::{Said, Turn};
use crate::upstream::http::{ExchangeError, Stream};
use crate::upstream::link::{Link, LinkError, Manner, Reply, answers};

/// How long an answer is waited for before the client is given a stream.
const EAGER: Duration = Duration::from_secs(1);
/// How long a client with a session may be away from the stream of a request.
const LINGER: Duration = Duration::from_secs(5 * 60);
/// How long nothing is said before a comment keeps the connection open.
const KEEP_ALIVE: Duration = Duration::from_secs(25);
/// Times that a server may want something more before it answers.
const MOST_ROUNDS: u32 = 32;
/// Times in a row that a server's stream may break off with nothing said.
const MOST_LOST: u32 = 16;
/// How long to wait before a server's stream is gone on with, in milliseconds: unless it says so, and at most.
const RETRY: u64 = 1_000;
const LONGEST_RETRY: u64 = 30_000;
/// How often a server is asked about a task, in milliseconds: at most, unless it says so, and at least.
const SHORTEST_POLL: u64 = 100;
const POLL: u64 = 1_000;
const LONGEST_POLL: u64 = 30_000;

/// A request that passed.
pub(crate) struct Passage {
    pub(crate) turn: Arc<Turn>,
    pub(crate) served: Arc<Served>,
    pub(crate) link: Arc<Link>,
    /// What signs it in at the server.
    pub(crate) credential: Option<Arc<Credential>>,
    /// What the client asked.
    pub(crate) method: &'static str,
    pub(crate) client_id: Id,
    /// What it is about, as its server names it.
    pub(crate) subject: Box<str>,
    pub(crate) redactions: Vec<Redaction>,
    pub(crate) recording: Option<Recording>,
    /// Which request it is, for one that may be tried again.
    pub(crate) mark: Option<Mark>,
    /// The client said no to a page it was to visit.
    pub(crate) declined: bool,
    pub(crate) way: Way,
    pub(crate) life: Life,
}

/// Where a passage stands at its server.
pub(crate) struct Way {
    /// What is sent next, or was last.
    method: &'static str,
    params: Box<RawValue>,
    manner: Manner,
    upstream: Upstream,
    guard: Option<(RunningGuard, Id)>,
    /// The questions that were put to the client: our ids and the server's.
    asked: Vec<(Id, Id)>,
    /// A task that the client has no part in.
    task: Option<String>,
    /// The task was asked for here: its result is waited for.
    makes_task: bool,
    /// A task was waited for in the client's place.
    waited: bool,
    wanted: Wanted,
    rounds: u32,
    /// Keys of a task's questions that have been answered.
    settled: BTreeSet<String>,
}

enum Upstream {
    Unsent,
    Stream(Box<Open>),
    Lost { last: String, retry: u64, id: Id, times: u32 },
    Polling(Duration),
    Done,
}

struct Open {
    stream: Stream,
    id: Id,
    /// How often it broke off since something was said.
    times: u32,
}

/// What becomes of the input that a server wants.
enum Wanted {
    Nothing,
    /// The request is sent again with it, and with this state.
    Again(Option<String>),
    /// It is sent to the task.
    Update,
}

/// How a passage ends before its answer.
#[derive(Clone, Default)]
pub(crate) struct Life {
    /// The client said that it does not want the answer, and its server was told.
    cancelled: CancellationToken,
    /// Nobody will ever hear the answer: its server is told.
    given_up: CancellationToken,
}

/// What comes next.
enum Step {
    /// The server's stream is open, and nothing is said yet.
    Open,
    Said(Notification),
    /// The server asks in the middle, under its own id.
    Asked(Request),
    /// The server's stream broke off; it is gone on with after so many milliseconds.
    Lost(u64),
    /// The server wants this before it goes on.
    Input(InputRequired),
    Last(Message),
    Failed(NoAnswer),
    /// It ends here, for a reason of ours.
    Refused(RpcError),
}

type Stepping = Pin<Box<dyn Future<Output = (Passage, Step)> + Send>>;

impl Way {
    pub(crate) fn new(method: &'static str, params: Box<RawValue>, manner: Manner, makes_task: bool) -> Self {
        Self {
            method,
            params,
            manner,
            upstream: Upstream::Unsent,
            guard: None,
            asked: Vec::new(),
            task: None,
            makes_task,
            waited: false,
            wanted: Wanted::Nothing,
            rounds: 0,
            settled: BTreeSet::new(),
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        // Nobody waits for answers to what was asked on the way.
        for (id, _) in &self.way.asked {
            self.turn.session.answered(id);
        }
        if matches!(self.way.upstream, Upstream::Done) || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        // A lost connection cancels a request without a session, and never one with (2026-07-28, 2025-11-25: transports).
        let over = self.turn.is_stateless() || self.way.manner.alone || self.life.given_up.is_cancelled();
        let told = self.life.cancelled.is_cancelled();
        let request = self.way.guard.take().map(|(_, id)| id).filter(|_| over && !told);
        let task = self.way.task.take().filter(|_| over || told);
        if request.is_some() || task.is_some() {
            let link = Arc::clone(&self.link);
            self.turn.plane.tasks.spawn(async move { abandon(&link, request, task).await });
        }
    }
}

/// Tells a server that nobody waits any more.
async fn abandon(link: &Link, request: Option<Id>, task: Option<String>) {
    let has_sessions = link.opened().is_some_and(|opened| opened.version.era() == Era::Sessions);
    if let Some(id) = request.filter(|_| has_sessions) {
        let params = json!({"requestId": id.as_json(), "reason": "nobody waits for the answer any more"});
        let _ = link.tell(&Message::notification("notifications/cancelled", &params)).await;
    }
    if let Some(id) = task {
        let _ = link.ask("tasks/cancel", Some(&raw::raw(&json!({"taskId": id})))).await;
    }
}

/// Follows a request to its end, or to the first thing that needs a stream.
pub(crate) async fn run(passage: Passage) -> Said {
    if passage.way.manner.alone {
        return Said::Now(passage.alone().await);
    }
    let (turn, life, id) = (Arc::clone(&passage.turn), passage.life.clone(), passage.client_id.clone());
    let mut stepping = next(passage);
    let first = tokio::select! {
        biased;
        () = life.cancelled.cancelled() => {
            return Said::Now(Message::error(id, RpcError::new(ErrorCode::Internal, "the request was cancelled")));
        }
        first = tokio::time::timeout(EAGER, &mut stepping) => first,
    };
    let stepping = match first {
        Ok((mut passage, Step::Last(message))) => return Said::Now(passage.finish(message)),
        Ok((mut passage, Step::Failed(error))) => return Said::Now(passage.fail(&error)),
        Ok((mut passage, Step::Refused(error))) => return Said::Now(passage.refuse(error)),
        Ok((passage, Step::Asked(request))) if turn.is_stateless() => match passage.park(request).await {
            Ok(message) => return Said::Now(message),
            Err(passage) => next(*passage),
        },
        Ok(other) => Box::pin(std::future::ready(other)),
        Err(_) => stepping,
    };
    if turn.is_stateless() { Said::Events(connected(stepping)) } else { attended(&turn, life, id, stepping) }
}

fn next(mut passage: Passage) -> Stepping {
    Box::pin(async move {
        let step = passage.step().await;
        (passage, step)
    })
}

/// The events for a client without a session: they end with its connection.
fn connected(stepping: Stepping) -> BoxStream<'static, Bytes> {
    futures_util::stream::unfold(Some(stepping), |stepping| async move {
        let mut stepping = stepping?;
        loop {
            let Ok((mut passage, step)) = tokio::time::timeout(KEEP_ALIVE, &mut stepping).await else {
                return Some((sse::comment(), Some(stepping)));
            };
            let last = match step {
                Step::Open | Step::Lost(_) => {
                    stepping = next(passage);
                    continue;
                }
                Step::Said(notification) => match passage.told(notification) {
                    Some(message) => return Some((event(&message), Some(next(passage)))),
                    None => {
                        stepping = next(passage);
                        continue;
                    }
                },
                Step::Asked(request) => match passage.park(request).await {
                    Ok(message) => message,
                    Err(passage) => {
                        stepping = next(*passage);
                        continue;
                    }
                },
                Step::Input(_) => passage.refuse(unasked(&passage.served)),
                Step::Last(message) => passage.finish(message),
                Step::Failed(error) => passage.fail(&error),
                Step::Refused(error) => passage.refuse(error),
            };
            return Some((event(&last), None));
        }
    })
    .boxed()
}

fn event(message: &Message) -> Bytes {
    sse::write(None, message.to_json().as_bytes())
}

/// Follows a request for a client with a session, whether or not its connection lasts.
fn attended(turn: &Arc<Turn>, life: Life, id: Id, stepping: Stepping) -> Said {
    let Some(feed) = turn.session.feed() else {
        let error = RpcError::new(ErrorCode::Internal, "this client has too many requests under way");
        return Said::Now(Message::error(id, error));
    };
    if turn.version() >= Version::V2025_11_25 {
        feed.prime();
    }
    let Ok(reader) = feed.read(None) else {
        return Said::Now(Message::error(id, RpcError::new(ErrorCode::Internal, "there is no stream")));
    };
    let stop = turn.session.stop.clone();
    turn.plane.tasks.spawn(async move {
        let work = async {
            let (passage, step) = stepping.await;
            passage.attend(step, &feed).await;
        };
        tokio::pin!(work);
        tokio::select! {
            biased;
            () = stop.cancelled() => life.given_up.cancel(),
            () = life.cancelled.cancelled() => {}
            () = &mut work => {}
            () = feed.abandoned(LINGER) => life.given_up.cancel(),
        }
        feed.end();
    });
    Said::Events(events(reader))
}

/// The events that a reader of a feed is given.
pub(crate) fn events(reader: crate::feed::Reader) -> BoxStream<'static, Bytes> {
    futures_util::stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((event, reader))
    })
    .boxed()
}

fn unasked(served: &Served) -> RpcError {
    let text = format!("the server {} asks for input that nobody is here to give", served.view.name);
    RpcError::new(ErrorCode::Internal, text)
}

impl Passage {
    /// Takes up a call that waited for its client, who has brought what was asked.
    pub(crate) fn again(mut self, turn: Arc<Turn>, client_id: Id, recording: Recording) -> Self {
        self.turn = turn;
        self.client_id = client_id;
        self.recording = Some(recording);
        self
    }

    /// Waits for the next thing that the server says.
    async fn step(&mut self) -> Step {
        loop {
            let (message, id) = match self.hear().await {
                Ok(Heard::Message(message, id)) => (message, id),
                Ok(Heard::Step(step)) => return step,
                Err(error) => return Step::Failed(error),
            };
            if answers(&message, &id) {
                match self.conclude(message) {
                    Some(step) => return step,
                    None => continue,
                }
            }
            match message {
                Message::Notification(notification) => return Step::Said(notification),
                Message::Request(request) if input::is_of_servers(&request.method) => return Step::Asked(request),
                Message::Request(request) if &*request.method == "ping" => {
                    let _ = self.link.tell(&Message::response(request.id, &json!({}))).await;
                }
                Message::Request(request) => decline(&self.link, request.id).await,
                // Nothing was asked under that id.
                Message::Response(_) | Message::Error(_) => {}
            }
        }
    }

    async fn hear(&mut self) -> Result<Heard, NoAnswer> {
        match std::mem::replace(&mut self.way.upstream, Upstream::Unsent) {
            Upstream::Done => {
                self.way.upstream = Upstream::Done;
                Err(LinkError::NoAnswer.into())
            }
            Upstream::Unsent => self.send().await,
            Upstream::Stream(open) => self.listen(open).await,
            Upstream::Lost { last, retry, id, times } => self.go_on(last, retry, id, times).await,
            Upstream::Polling(wait) => {
                self.way.upstream = Upstream::Polling(wait);
                tokio::time::sleep(wait).await;
                Ok(Heard::Step(self.poll().await?))
            }
        }
    }

    async fn send(&mut self) -> Result<Heard, NoAnswer> {
        let id = self.link.next_id();
        let running = Running { link: Arc::clone(&self.link), id: id.clone(), cancelled: self.life.cancelled.clone() };
        self.way.guard = Some((self.turn.session.runs(&self.client_id, running), id.clone()));
        let Way { method, params, manner, .. } = &self.way;
        let sent = (id.clone(), *method, &**params, manner);
        match calls::request(&self.turn, &self.served, &self.link, self.credential.as_ref(), sent).await? {
            Reply::Message(message) => Ok(Heard::Message(message, id)),
            Reply::Stream { stream, id } => self.listen(Box::new(Open { stream, id, times: 0 })).await,
        }
    }

    async fn listen(&mut self, open: Box<Open>) -> Result<Heard, NoAnswer> {
        let id = open.id.clone();
        // Kept in place while it is waited for: whoever gives this request up finds where it stands.
        self.way.upstream = Upstream::Stream(open);
        let Upstream::Stream(open) = &mut self.way.upstream else { return Err(LinkError::NoAnswer.into()) };
        let heard = open.stream.next().await;
        let error = match heard {
            Ok(Some(event)) => {
                open.times = 0;
                if event.data.is_empty() {
                    return Ok(Heard::Step(Step::Open));
                }
                return Ok(Heard::Message(self.link.read(&event.data)?, id));
            }
            Ok(None) => LinkError::NoAnswer,
            Err(error @ (ExchangeError::Broken(_) | ExchangeError::Late(_))) => error.into(),
            Err(error) => return Err(LinkError::from(error).into()),
        };
        let resumes = self.link.opened().is_some_and(|opened| opened.version.has(Feature::Resumption));
        match open.stream.last_id().map(str::to_owned).filter(|_| resumes && open.times < MOST_LOST) {
            Some(last) => {
                let retry = open.stream.retry().unwrap_or(RETRY).min(LONGEST_RETRY);
                let times = open.times + 1;
                self.way.upstream = Upstream::Lost { last, retry, id, times };
                Ok(Heard::Step(Step::Lost(retry)))
            }
            None => Err(error.into()),
        }
    }

    /// Goes on with a stream that the server closed, after its last event.
    async fn go_on(&mut self, last: String, retry: u64, id: Id, times: u32) -> Result<Heard, NoAnswer> {
        self.way.upstream = Upstream::Lost { last: last.clone(), retry, id: id.clone(), times };
        tokio::time::sleep(Duration::from_millis(retry)).await;
        match self.link.listen(Some(&last)).await {
            Ok(Some(stream)) => self.listen(Box::new(Open { stream, id, times })).await,
            Ok(None) => Err(LinkError::NoAnswer.into()),
            Err(error) if times >= MOST_LOST => Err(error.into()),
            Err(_) => {
                let retry = (retry * 2).clamp(RETRY, LONGEST_RETRY);
                self.way.upstream = Upstream::Lost { last, retry, id, times: times + 1 };
                Ok(Heard::Step(Step::Lost(retry)))
            }
        }
    }

    /// Looks at the answer to what was sent last; `None` where more is to be asked before the client has its own.
    fn conclude(&mut self, message: Message) -> Option<Step> {
        let Message::Response(response) = &message else { return Some(Step::Last(message)) };
        let link_era = self.link.opened().map(|opened| opened.version.era());
        let knows_input = self.turn.is_stateless() && !self.way.manner.alone;
        if let Some(required) = input::read(&response.result).filter(|_| !knows_input) {
            return Some(match required {
                Ok(required) => {
                    self.way.wanted = Wanted::Again(required.state.clone());
                    self.wanted(required)
                }
                Err(error) => {
                    let text = format!("the server {} asks for input, but {error}", self.served.view.name);
                    Step::Refused(RpcError::new(ErrorCode::Internal, text))
                }
            });
        }
        let Some(task) = tasks::created(&response.result) else { return Some(Step::Last(message)) };
        let ours = match link_era {
            Some(Era::Sessions) => self.way.makes_task,
            Some(Era::Stateless) => !knows_input,
            None => false,
        };
        if !ours || self.way.task.is_some() {
            return Some(Step::Last(message));
        }
        self.way.task = Some(task.id.clone());
        self.way.waited = true;
        if link_era == Some(Era::Sessions) {
            self.way.method = "tasks/result";
            self.way.params = raw::raw(&json!({"taskId": task.id}));
            self.way.upstream = Upstream::Unsent;
        } else {
            self.way.upstream = Upstream::Polling(pause(task.poll));
        }
        None
    }

    fn wanted(&mut self, required: InputRequired) -> Step {
        self.way.rounds += 1;
        if self.way.rounds > MOST_ROUNDS {
            let text = format!("the server {} asks for more and more", self.served.view.name);
            return Step::Refused(RpcError::new(ErrorCode::Internal, text));
        }
        Step::Input(required)
    }

    /// Asks about a task that the client has no part in.
    async fn poll(&mut self) -> Result<Step, LinkError> {
        let Some(id) = self.way.task.clone() else { return Err(LinkError::NoAnswer) };
        let params = raw::raw(&json!({"taskId": id}));
        let result = match self.link.ask_as("tasks/get", Some(&params), &self.way.manner).await? {
            Ok(result) => result,
            Err(error) => return Ok(Step::Refused(error)),
        };
        let task = tasks::state(&result).ok_or(LinkError::NoAnswer)?;
        self.way.upstream = Upstream::Polling(pause(task.poll));
        let object = Object::parse(result.get()).map_err(|_| LinkError::NoAnswer)?;
        Ok(match task.status {
            Status::Working => Step::Open,
            Status::InputRequired => {
                let Some(Ok(mut requests)) = object.value("inputRequests").map(input::requests_of) else {
                    return Err(LinkError::NoAnswer);
                };
                requests.retain(|(key, _)| !self.way.settled.contains(key));
                if requests.is_empty() {
                    return Ok(Step::Open);
                }
                self.way.wanted = Wanted::Update;
                self.wanted(InputRequired { requests, state: None })
            }
            Status::Completed => {
                let result = object.value("result").ok_or(LinkError::NoAnswer)?.to_owned();
                self.way.task = None;
                Step::Last(Message::Response(Response { id: self.client_id.clone(), result }))
            }
            Status::Failed => {
                self.way.task = None;
                Step::Refused(
                    error_of(&object).unwrap_or_else(|| RpcError::new(ErrorCode::Internal, "the task failed")),
                )
            }
            Status::Cancelled => {
                self.way.task = None;
                Step::Refused(RpcError::new(ErrorCode::Internal, "the server cancelled the task"))
            }
        })
    }

    /// Gives a server what it wanted.
    async fn supply(&mut self, responses: Vec<(String, Box<RawValue>)>) -> Result<(), LinkError> {
        match std::mem::replace(&mut self.way.wanted, Wanted::Nothing) {
            Wanted::Nothing => {}
            Wanted::Again(state) => {
                if responses.is_empty() {
                    // It wants nothing but time.
                    tokio::time::sleep(Duration::from_millis(RETRY)).await;
                }
                let again = input::again(&self.way.params, &responses, state.as_deref());
                self.way.params = again.map_err(|_| LinkError::NoAnswer)?;
                self.way.upstream = Upstream::Unsent;
            }
            Wanted::Update => {
                let members: Vec<(&str, Option<&RawValue>)> =
                    responses.iter().map(|(key, response)| (key.as_str(), Some(&**response))).collect();
                let sent = raw::splice("{}", &members).map_err(|_| LinkError::NoAnswer)?;
                let params = raw::raw(&json!({"taskId": self.way.task, "inputResponses": sent}));
                self.way.settled.extend(responses.into_iter().map(|(key, _)| key));
                let answered = self.link.ask_as("tasks/update", Some(&params), &self.way.manner).await?;
                answered.map_err(LinkError::Refused)?;
            }
        }
        Ok(())
    }

    /// Waits for the answer alone.
    async fn alone(mut self) -> Message {
        loop {
            match self.step().await {
                Step::Open | Step::Said(_) | Step::Lost(_) => {}
                Step::Asked(request) => decline(&self.link, request.id).await,
                Step::Input(_) => {
                    let error = unasked(&self.served);
                    return self.refuse(error);
                }
                Step::Last(message) => return self.finish(message),
                Step::Failed(error) => return self.fail(&error),
                Step::Refused(error) => return self.refuse(error),
            }
        }
    }

    /// Tells a client with a session everything.
    async fn attend(mut self, mut step: Step, feed: &Feed) {
        let last = loop {
            match step {
                Step::Open => {}
                Step::Said(notification) => {
                    if let Some(message) = self.told(notification) {
                        feed.room().await;
                        feed.push(message.to_json().as_bytes());
                    }
                }
                Step::Asked(request) => self.ask(request, feed).await,
                // As the server lets the portal poll, the portal lets the client (2025-11-25).
                Step::Lost(retry) if self.turn.version() >= Version::V2025_11_25 => feed.pause(retry),
                Step::Lost(_) => {}
                Step::Input(required) => match self.collect(required, feed).await {
                    Ok(responses) => {
                        if let Err(error) = self.supply(responses).await {
                            break self.fail(&error.into());
                        }
                    }
                    Err(error) => break self.refuse(error),
                },
                Step::Last(message) => break self.finish(message),
                Step::Failed(error) => break self.fail(&error),
                Step::Refused(error) => break self.refuse(error),
            }
            step = self.step().await;
        };
        feed.room().await;
        let (id, last) = (self.client_id.clone(), last.to_json());
        if feed.has_place(last.len()) {
            feed.push(last.as_bytes());
        } else {
            let error = RpcError::new(ErrorCode::Internal, "nobody read the answer, and there is no room to keep it");
            feed.push(Message::error(id, error).to_json().as_bytes());
        }
    }

    /// Passes a server's question on to a client with a session.
    async fn ask(&mut self, request: Request, feed: &Feed) {
        let own = crate::tasks::owner(&self.turn);
        let exposed = |id: &str| self.turn.plane.handles.exposed(&own, &self.served.id, id);
        let shown = request.params.clone().map(|params| self.content("", params));
        let params = shown.as_deref().map(|params| tasks::rename(params, &exposed)).transpose();
        let pending =
            Pending::Server { link: Arc::clone(&self.link), server: self.served.id.clone(), id: request.id.clone() };
        match params.ok().and_then(|params| Some((params, self.turn.session.ask(pending)?))) {
            Some((params, id)) => {
                self.way.asked.push((id.clone(), request.id.clone()));
                feed.room().await;
                feed.push(Message::Request(Request { id, params, ..request }).to_json().as_bytes());
            }
            None => decline(&self.link, request.id).await,
        }
    }

    /// Asks a client with a session for what a server without wants, and waits for all of it.
    async fn collect(
        &mut self,
        required: InputRequired,
        feed: &Feed,
    ) -> Result<Vec<(String, Box<RawValue>)>, RpcError> {
        let mut waiting = Vec::with_capacity(required.requests.len());
        for (key, request) in required.requests {
            if missing_capability(&self.turn.session.client.capabilities, &input::capability(&request)).is_some() {
                let text =
                    format!("the server {} asks for something that this client cannot do", self.served.view.name);
                return Err(RpcError::new(ErrorCode::Internal, text));
            }
            let (sender, receiver) = oneshot::channel();
            let Some(id) = self.turn.session.ask(Pending::Here(sender)) else {
                return Err(RpcError::new(ErrorCode::Internal, "the client has too many questions to answer"));
            };
            self.way.asked.push((id.clone(), id.clone()));
            let is_elicitation = &*request.method == "elicitation/create";
            let params = Some(identified(request.params));
            feed.room().await;
            feed.push(Message::Request(Request { id, method: request.method, params }).to_json().as_bytes());
            waiting.push((key, is_elicitation, receiver));
        }
        let mut responses = Vec::with_capacity(waiting.len());
        for (key, is_elicitation, receiver) in waiting {
            let answered = tokio::time::timeout(PATIENCE, receiver).await;
            let response = match answered {
                Ok(Ok(Ok(response))) => response,
                // A client that cannot show a form says no in its person's name.
                Ok(Ok(Err(_))) if is_elicitation => raw::raw(&json!({"action": "cancel"})),
                Ok(Ok(Err(error))) => return Err(error),
                Ok(Err(_)) | Err(_) => {
                    return Err(RpcError::new(ErrorCode::Internal, "the client did not answer what it was asked"));
                }
            };
            responses.push((key, response));
        }
        Ok(responses)
    }

    /// Lets a call of a client without a session wait for what its server asked; itself again where that cannot be.
    pub(crate) async fn park(self, request: Request) -> Result<Message, Box<Self>> {
        let asked = InputRequest { method: request.method, params: request.params };
        let capabilities = &self.turn.session.client.capabilities;
        let place = Arc::clone(&self.turn.plane.parked).try_acquire_owned();
        let can = input::may_ask(self.method) && missing_capability(capabilities, &input::capability(&asked)).is_none();
        match (place, self.mark) {
            (Ok(place), Some(_)) if can => {
                let question = Question { key: "1".to_owned(), id: request.id, request: asked };
                Ok(Parked { passage: self, questions: vec![question], place }.wait())
            }
            _ => {
                decline(&self.link, request.id).await;
                Err(Box::new(self))
            }
        }
    }

    /// Notes that the server has answered.
    pub(crate) fn close(&mut self) {
        self.way.upstream = Upstream::Done;
    }

    /// Notes that the client is answered before its server is done: the server is told, if it is still at work.
    pub(crate) fn give_up(&mut self) {
        match self.way.upstream {
            Upstream::Unsent | Upstream::Done if self.way.task.is_none() => self.close(),
            Upstream::Unsent | Upstream::Done | Upstream::Stream(_) | Upstream::Lost { .. } | Upstream::Polling(_) => {
                self.life.given_up.cancel();
            }
        }
    }

    /// Tells whether a task was waited for in the client's place.
    pub(crate) fn has_waited(&self) -> bool {
        self.way.waited
    }

    /// Makes a server's notification the client's; `None` where it is not for the client.
    fn told(&self, notification: Notification) -> Option<Message> {
        match &*notification.method {
            "notifications/cancelled" => self.withdrawn(&notification),
            "notifications/message" if self.turn.is_stateless() => {
                let wanted = self.turn.log_level?;
                let level = notification
                    .params()
                    .and_then(|params| params.text("level").and_then(|level| mcp::version::LogLevel::parse(&level)));
                level.filter(|level| *level >= wanted).map(|_| Message::Notification(notification))
            }
            _ => {
                let Turn { plane, portal, session, .. } = &*self.turn;
                crate::watch::told(plane, portal, session, &self.served, (notification, &self.redactions))
            }
        }
    }

    /// A server no longer wants an answer to what it asked.
    fn withdrawn(&self, notification: &Notification) -> Option<Message> {
        let params = notification.params()?;
        let theirs = Id::parse(params.value("requestId")?).ok()?;
        let (ours, _) = self.way.asked.iter().find(|(_, id)| *id == theirs)?;
        self.turn.session.answered(ours);
        let reason = params.text("reason").unwrap_or_default();
        let params = json!({"requestId": ours.as_json(), "reason": reason});
        Some(Message::notification("notifications/cancelled", &params))
    }
}

/// What a server said, and under which id its answer comes.
enum Heard {
    Message(Message, Id),
    Step(Step),
}

async fn decline(link: &Link, id: Id) {
    let error = RpcError::new(ErrorCode::MethodNotFound, "the client cannot be asked");
    let _ = link.tell(&Message::error(id, error)).await;
}

fn pause(poll: Option<u64>) -> Duration {
    Duration::from_millis(poll.unwrap_or(POLL).clamp(SHORTEST_POLL, LONGEST_POLL))
}

fn error_of(task: &Object<'_>) -> Option<RpcError> {
    let error = task.object("error")?;
    Some(RpcError {
        code: error.value("code")?.get().parse().ok()?,
        message: error.text("message")?.into(),
        data: error.value("data").map(ToOwned::to_owned),
    })
}

/// Gives a page that a person is sent to the identifier that it has with sessions (2025-11-25), and not without.
fn identified(params: Option<Box<RawValue>>) -> Box<RawValue> {
    let params = params.unwrap_or_else(|| raw::raw(&json!({})));
    let Ok(object) = Object::parse(params.get()) else { return params };
    let is_page = object.text("mode").as_deref() == Some("url") && object.value("elicitationId").is_none();
    if !is_page {
        return params;
    }
    let id = raw::raw(&Uuid::new_v4().simple().to_string());
    raw::splice(params.get(), &[("elicitationId", Some(&*id))]).unwrap_or_else(|_| params.clone())
}

impl Parked {
    /// Lets the call wait, and tells the client what is asked.
    fn wait(mut self) -> Message {
        let passage = &mut self.passage;
        let (turn, id, method) = (Arc::clone(&passage.turn), passage.client_id.clone(), passage.method);
        if let Some(recording) = passage.recording.take() {
            recording.end(Outcome::Success);
        }
        let Some(mark) = passage.mark else { return passage.refuse(unasked(&passage.served)) };
        let requests: Vec<(String, InputRequest)> =
            self.questions.iter().map(|question| (question.key.clone(), question.request.clone())).collect();
        let state = turn.session.parking.park(self, mark, turn.plane.now());
        let result = crate::turn::completed(&turn, method, input::required(&requests, Some(&state)));
        Message::Response(Response { id, result })
    }

    /// Goes on with what the client brought: hands over the answers, or asks again for those that are missing.
    pub(crate) async fn go_on(
        mut self,
        turn: Arc<Turn>,
        client_id: Id,
        recording: Recording,
        mut tried: input::Tried,
    ) -> Said {
        let mut missing = Vec::new();
        let mut brought = Vec::new();
        for question in self.questions {
            match tried.responses.remove(&question.key) {
                Some(response) => brought.push((question.id, response)),
                None => missing.push(question),
            }
        }
        self.passage = self.passage.again(turn, client_id, recording);
        for (id, result) in brought {
            if let Err(error) = self.passage.link.tell(&Message::Response(Response { id, result })).await {
                return Said::Now(self.passage.fail(&error.into()));
            }
        }
        if !missing.is_empty() {
            return Said::Now(Self { passage: self.passage, questions: missing, place: self.place }.wait());
        }
        Box::pin(run(self.passage)).await
    }
}
