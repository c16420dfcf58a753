//! Messages over one connection in both directions: a program's standard streams, or HTTP+SSE of 2024-11-05.
//!
//! What comes in finds the request it belongs to: answers by their id, progress by its token, and what a server asks or
//! says while it works, on the newest request under way; everything else goes to whoever listens. It does not know what
//! carries the bytes. Invariants: what waits to be taken is bounded in bytes and in number, so that a server which says
//! too much is not read any further; a request that is no longer waited for is forgotten; and when the connection is gone,
//! everybody who waits is told why.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mcp::message::{self, Id, Limits, Message, Payload};
use mcp::raw::Object;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::http::{Bounds, ExchangeError};

/// Requests under way at a time.
const MOST_REQUESTS: usize = 256;
/// Messages that wait to be taken, of one request.
const MOST_WAITING: usize = 64;
/// Bytes that wait to be taken, of a connection. At least one message of the largest size fits.
const MOST_BYTES: usize = 16 << 20;
/// Lines that are no message, before the server is given up: some print a greeting.
const MOST_NOISE: u64 = 200;

/// A message in the place where it waits, and the room it takes there.
type Waiting = (Bytes, OwnedSemaphorePermit);

/// One live connection.
pub(crate) struct Wire {
    /// Differs from that of every other connection of a link.
    pub(crate) generation: u64,
    bounds: Bounds,
    room: Arc<Semaphore>,
    routes: Mutex<Routes>,
    /// Why it is gone.
    over: Mutex<Option<Over>>,
    gone: CancellationToken,
    heard: AtomicU64,
    noise: AtomicU64,
    /// Sends and receives; ended with the connection.
    tasks: Mutex<JoinSet<()>>,
}

/// Why a connection is gone.
#[derive(Debug, Clone)]
pub(crate) enum Over {
    /// A message was larger than is accepted.
    Large(usize),
    /// In words.
    Why(Arc<str>),
}

impl From<Over> for ExchangeError {
    fn from(over: Over) -> Self {
        match over {
            Over::Large(limit) => Self::Message(limit),
            Over::Why(why) => Self::Gone(why),
        }
    }
}

#[derive(Default)]
struct Routes {
    /// By the id's JSON; in the order in which they were made.
    requests: Vec<Route>,
    /// Progress tokens, as JSON, and the request's id.
    tokens: HashMap<String, String>,
    listener: Option<mpsc::Sender<Waiting>>,
}

struct Route {
    id: String,
    sender: mpsc::Sender<Waiting>,
}

/// The messages of one request, or those that belong to none.
pub(crate) struct Receiver {
    wire: Arc<Wire>,
    /// Absent: of the listener.
    id: Option<String>,
    messages: mpsc::Receiver<Waiting>,
    /// Keeps a program from being idle.
    pub(super) working: Option<programs::Working>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(id) = &self.id {
            self.wire.forget(id);
        }
    }
}

impl Receiver {
    /// Waits for the next message; `None` at the end of what is listened to.
    ///
    /// # Errors
    /// The connection is gone, or nothing came for too long.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ExchangeError> {
        let silence = self.wire.bounds.silence;
        let heard = self.wire.heard.load(Ordering::Relaxed);
        let message = tokio::select! {
            // What arrived before the end is still told.
            biased;
            message = self.messages.recv() => message,
            () = self.wire.gone.cancelled() => None,
            // Who only listens may hear nothing for as long as it takes.
            () = tokio::time::sleep(silence), if self.id.is_some() => {
                if self.wire.heard.load(Ordering::Relaxed) == heard {
                    self.wire.end(Over::Why("it said nothing any more".into()));
                }
                return Err(ExchangeError::Late(silence));
            }
        };
        match message {
            Some((bytes, _room)) => Ok(Some(bytes)),
            None if self.id.is_none() => Ok(None),
            None => Err(self.wire.why().into()),
        }
    }
}

impl Wire {
    pub(crate) fn new(generation: u64, bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            generation,
            bounds,
            room: Arc::new(Semaphore::new(MOST_BYTES.max(bounds.message))),
            routes: Mutex::default(),
            over: Mutex::default(),
            gone: CancellationToken::new(),
            heard: AtomicU64::new(0),
            noise: AtomicU64::new(0),
            tasks: Mutex::default(),
        })
    }

    /// Gives the connection a task that ends with it.
    pub(crate) fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.lock().spawn(task);
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.is_cancelled()
    }

    /// Resolves when the connection is gone.
    pub(crate) async fn gone(&self) -> Over {
        self.gone.cancelled().await;
        self.why()
    }

    /// Ends the connection; the first reason stays.
    pub(crate) fn end(&self, over: Over) {
        self.over.lock().get_or_insert(over);
        self.gone.cancel();
        let mut routes = self.routes.lock();
        routes.requests.clear();
        routes.listener = None;
    }

    /// Ends the connection's tasks as well. Must not be called by one of them.
    pub(crate) fn close(&self) {
        self.end(Over::Why("it is no longer wanted".into()));
        self.tasks.lock().abort_all();
    }

    pub(crate) fn why(&self) -> Over {
        self.over.lock().clone().unwrap_or_else(|| Over::Why("the connection ended".into()))
    }

    /// Makes a place for the answer to a request, before it is sent.
    ///
    /// # Errors
    /// Too many are under way, or the connection is gone.
    pub(crate) fn expect(self: &Arc<Self>, request: &message::Request) -> Result<Receiver, ExchangeError> {
        let id = request.id.as_json().get().to_owned();
        let token = request
            .params()
            .and_then(|params| params.object("_meta")?.value("progressToken").map(|token| token.get().to_owned()));
        let (sender, messages) = mpsc::channel(MOST_WAITING);
        let mut routes = self.routes.lock();
        if self.is_gone() {
            return Err(self.why().into());
        }
        if routes.requests.len() >= MOST_REQUESTS {
            return Err(ExchangeError::Gone("too many requests are under way there".into()));
        }
        routes.requests.push(Route { id: id.clone(), sender });
        if let Some(token) = token {
            routes.tokens.insert(token, id.clone());
        }
        Ok(Receiver { wire: Arc::clone(self), id: Some(id), messages, working: None })
    }

    /// Listens to what belongs to no request; whoever did before hears nothing more.
    pub(crate) fn listen(self: &Arc<Self>) -> Receiver {
        let (sender, messages) = mpsc::channel(MOST_WAITING);
        self.routes.lock().listener = Some(sender);
        Receiver { wire: Arc::clone(self), id: None, messages, working: None }
    }

    fn forget(&self, id: &str) {
        let mut routes = self.routes.lock();
        routes.requests.retain(|route| route.id != id);
        routes.tokens.retain(|_, of| of != id);
    }

    /// Takes a message that came in. While it has no room, nothing more is read.
    pub(crate) async fn deliver(&self, bytes: Bytes) {
        let limits = Limits { bytes: self.bounds.message, ..Limits::default() };
        let message = match message::parse(&bytes, limits) {
            Ok(Payload::One(message)) => message,
            Ok(Payload::Batch(_)) | Err(_) => {
                if self.noise.fetch_add(1, Ordering::Relaxed) >= MOST_NOISE {
                    self.end(Over::Why("what it says is no message".into()));
                }
                return;
            }
        };
        self.heard.fetch_add(1, Ordering::Relaxed);
        let Some((sender, is_request)) = self.place(&message) else { return };
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let sent = async {
            let room = Arc::clone(&self.room).acquire_many_owned(size).await.ok()?;
            sender.send((bytes, room)).await.ok()
        };
        if tokio::time::timeout(self.waits(), sent).await.is_err() && is_request {
            // Whoever asked does not take the answer; the others are not to wait for them.
            let mut routes = self.routes.lock();
            routes.requests.retain(|route| !route.sender.same_channel(&sender));
        }
    }

    fn waits(&self) -> Duration {
        self.bounds.silence
    }

    /// Finds where a message belongs, and whether that is a request's place.
    fn place(&self, message: &Message) -> Option<(mpsc::Sender<Waiting>, bool)> {
        let routes = self.routes.lock();
        let of =
            |id: &str| routes.requests.iter().find(|route| route.id == id).map(|route| (route.sender.clone(), true));
        let newest = || routes.requests.last().map(|route| (route.sender.clone(), true));
        let listener = || routes.listener.clone().map(|sender| (sender, false));
        match message {
            Message::Response(response) => of(response.id.as_json().get()),
            Message::Error(error) => match &error.id {
                Some(id) => of(id.as_json().get()),
                // It could not read what it was sent.
                None => newest(),
            },
            Message::Request(_) => newest().or_else(listener),
            Message::Notification(notification) => match &*notification.method {
                "notifications/progress" => {
                    let token = notification.params()?.value("progressToken")?.get().to_owned();
                    of(routes.tokens.get(&token)?)
                }
                "notifications/message" => newest().or_else(listener),
                _ => listener(),
            },
        }
    }
}

/// What a message is to the one who sends it.
pub(crate) enum Outgoing {
    Request(message::Request),
    Other,
}

/// Reads a message of our own.
pub(crate) fn outgoing(bytes: &[u8]) -> Result<Outgoing, ExchangeError> {
    let limits = Limits { bytes: usize::MAX, ..Limits::default() };
    match message::parse(bytes, limits) {
        Ok(Payload::One(Message::Request(request))) => Ok(Outgoing::Request(request)),
        Ok(Payload::One(_)) => Ok(Outgoing::Other),
        Ok(Payload::Batch(_)) | Err(_) => Err(ExchangeError::Gone("what was to be sent is no message".into())),
    }
}

/// Tells whether a message is the answer to a request.
pub(crate) fn is_answer(bytes: &[u8], id: &Id) -> bool {
    let Some(object) = std::str::from_utf8(bytes).ok().and_then(|text| Object::parse(text).ok()) else { return false };
    object.value("method").is_none() && object.value("id").is_some_and(|found| found.get() == id.as_json().get())
}

#[cfg(test)]
mod tests {
    use mcp::raw::raw;
    use serde_json::{Value, json};

    use super::*;

    const BOUNDS: Bounds = Bounds { head: Duration::from_secs(5), silence: Duration::from_secs(5), message: 1_000 };

    fn request(id: i64, params: Value) -> message::Request {
        message::Request {
            id: Id::number(id.try_into().unwrap()),
            method: "tools/call".into(),
            params: Some(raw(&params)),
        }
    }

    async fn said(wire: &Wire, message: Value) {
        wire.deliver(message.to_string().into()).await;
    }

    async fn next(receiver: &mut Receiver) -> Value {
        serde_json::from_slice(&receiver.next().await.unwrap().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn each_message_goes_to_the_request_it_belongs_to_or_to_the_listener() {
        let wire = Wire::new(1, BOUNDS);
        let mut listener = wire.listen();
        let mut first = wire.expect(&request(1, json!({"_meta": {"progressToken": "a"}}))).unwrap();
        let mut second = wire.expect(&request(2, json!({"_meta": {"progressToken": 7}}))).unwrap();
        said(&wire, json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "a", "progress": 1}})).await;
        said(&wire, json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})).await;
        said(&wire, json!({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": {}})).await;
        said(&wire, json!({"jsonrpc": "2.0", "id": 2, "result": {}})).await;
        said(&wire, json!({"jsonrpc": "2.0", "id": 9, "result": {"nobody": "asked"}})).await;
        said(&wire, json!({"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "no"}})).await;
        assert_eq!(next(&mut first).await["params"]["progress"], 1);
        assert_eq!(next(&mut first).await["error"]["code"], 1);
        assert_eq!(next(&mut second).await["method"], "elicitation/create");
        assert_eq!(next(&mut second).await["id"], 2);
        assert_eq!(next(&mut listener).await["method"], "notifications/tools/list_changed");
        drop((first, second));
        assert!(wire.routes.lock().requests.is_empty() && wire.routes.lock().tokens.is_empty());
    }

    #[tokio::test]
    async fn what_nobody_takes_stops_the_reading_and_not_for_ever() {
        tokio::time::pause();
        let wire = Wire::new(1, BOUNDS);
        let slow = wire.expect(&request(1, json!({"_meta": {"progressToken": 1}}))).unwrap();
        let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}});
        for _ in 0..MOST_WAITING {
            said(&wire, progress.clone()).await;
        }
        let begun = tokio::time::Instant::now();
        said(&wire, progress.clone()).await;
        assert!(begun.elapsed() >= BOUNDS.silence);
        // Others are heard again.
        let mut quick = wire.expect(&request(2, json!({}))).unwrap();
        said(&wire, progress).await;
        said(&wire, json!({"jsonrpc": "2.0", "id": 2, "result": {}})).await;
        assert_eq!(next(&mut quick).await["id"], 2);
        drop(slow);
    }

    #[tokio::test]
    async fn noise_ends_the_connection_and_everybody_is_told() {
        let wire = Wire::new(1, BOUNDS);
        let mut waits = wire.expect(&request(1, json!({}))).unwrap();
        for _ in 0..=MOST_NOISE {
            wire.deliver(Bytes::from_static(b"Welcome!")).await;
        }
        let error = waits.next().await.unwrap_err();
        assert!(error.to_string().contains("no message"), "{error}");
        assert!(wire.expect(&request(2, json!({}))).is_err());
    }

    #[tokio::test]
    async fn silence_is_an_error_for_those_who_wait_and_ends_a_connection_on_which_nothing_comes() {
        tokio::time::pause();
        let wire = Wire::new(1, BOUNDS);
        let mut waits = wire.expect(&request(1, json!({}))).unwrap();
        assert!(matches!(waits.next().await, Err(ExchangeError::Late(_))));
        assert!(wire.is_gone());
    }
}
