//! A server that is spoken to over one connection: opened when it is needed, and opened anew when it is gone.
//!
//! Two kinds: a program of this machine, whose messages are lines of its standard streams, and HTTP+SSE of 2024-11-05,
//! whose messages come on one event stream and go in POSTs to an address that the stream names. What a server keeps for a
//! client lives as long as the connection, so the connection's number stands for the session. Invariants: a program or
//! stream belongs to one link and ends with it; the address a stream names is of the server's own origin; and a message is
//! never written in half.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::StatusCode;
use http::header::{HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use mcp::message::Request;
use memchr::memchr;
use programs::{Handle, Process, Program, Programs, StartError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::sync::{Mutex, mpsc};

use super::http::{Answer, Answered, Bounds, Endpoint, ExchangeError, SESSION, Stream};
use crate::sse::EventError;

use super::wire::{Outgoing, Over, Receiver, Wire, is_answer, outgoing};

/// The first request of the newest version.
const DISCOVER: &str = "server/discover";
/// Messages that wait to be written to a program.
const MOST_QUEUED: usize = 16;
/// How long a program whose output has ended may take to end.
const ENDS: Duration = Duration::from_secs(3);
/// An event stream that is only listened to may be silent for as long as a session lives.
const UNHEARD: Duration = Duration::from_secs(24 * 3_600);

/// A program that is an MCP server.
#[derive(Clone)]
pub struct Stdio {
    pub programs: Programs,
    /// The server's id: what programs are counted by.
    pub server: String,
    /// For whom: what programs of one server are counted by as well.
    pub owner: String,
    pub program: Arc<Program>,
    pub bounds: Bounds,
}

/// What is behind the connection.
pub(crate) enum Opener {
    Program(Stdio),
    /// The address of an event stream.
    Events(Box<Endpoint>),
}

/// The connection of one link.
pub(crate) struct Duplex {
    opener: Opener,
    current: Mutex<Option<Arc<Live>>>,
    generations: AtomicU64,
}

struct Live {
    wire: Arc<Wire>,
    out: Out,
}

enum Out {
    Lines {
        lines: mpsc::Sender<Bytes>,
        handle: Arc<Handle>,
        programs: Programs,
        server: String,
    },
    /// Where the server takes messages.
    Posts(Box<Endpoint>),
}

impl Drop for Live {
    fn drop(&mut self) {
        self.wire.close();
    }
}

impl Duplex {
    pub(crate) fn new(opener: Opener) -> Self {
        Self { opener, current: Mutex::default(), generations: AtomicU64::new(1) }
    }

    /// Whether it is of the transport that only 2024-11-05 has.
    pub(crate) fn is_of_2024(&self) -> bool {
        matches!(self.opener, Opener::Events(_))
    }

    fn bounds(&self) -> Bounds {
        match &self.opener {
            Opener::Program(stdio) => stdio.bounds,
            Opener::Events(endpoint) => endpoint.bounds,
        }
    }

    /// Sends one message.
    ///
    /// # Errors
    /// The server cannot be started or reached, is late, or is gone; [`ExchangeError::Forgotten`] where it is the
    /// connection of the session that is.
    pub(crate) async fn post(&self, headers: HeaderMap, message: Bytes) -> Result<Answered, ExchangeError> {
        let live = self.live(&headers).await?;
        let Outgoing::Request(request) = outgoing(&message)? else {
            live.send(headers, message, self.bounds()).await?;
            return Ok(Answered { session: None, answer: Answer::Accepted });
        };
        let mut receiver = live.wire.expect(&request)?;
        receiver.working = live.work();
        live.send(headers, message, self.bounds()).await?;
        let first = match self.first(&mut receiver, &request).await {
            Ok(first) => first,
            Err(error) => {
                if &*request.method == DISCOVER {
                    // An answer that comes late would make it a connection of the newest version, which takes no
                    // `initialize`; what is tried next begins with a connection of its own.
                    live.wire.end(Over::Why("it does not answer to the method".into()));
                }
                return Err(error);
            }
        };
        live.served();
        let begins = &*request.method == "initialize";
        let session = begins.then(|| HeaderValue::from(live.wire.generation));
        let answer = if is_answer(&first, &request.id) {
            Answer::Message(first)
        } else {
            Answer::Stream(Stream::of_wire(receiver, Some(first)))
        };
        Ok(Answered { session, answer })
    }

    async fn first(&self, receiver: &mut Receiver, request: &Request) -> Result<Bytes, ExchangeError> {
        let (head, silence) = (self.bounds().head, self.bounds().silence);
        let patience = match &*request.method {
            // Those that do not know it should say so, and some say nothing.
            DISCOVER => head / 2,
            "initialize" => head,
            // As long as it says something at all.
            _ => silence.saturating_mul(2),
        };
        match tokio::time::timeout(patience, receiver.next()).await {
            Ok(Ok(Some(first))) => Ok(first),
            Ok(Ok(None)) => Err(ExchangeError::Gone("the connection ended".into())),
            Ok(Err(error)) => Err(error),
            Err(_) if &*request.method == DISCOVER => {
                Err(ExchangeError::Gone("it does not answer to the method".into()))
            }
            Err(_) => Err(ExchangeError::Late(patience)),
        }
    }

    /// Listens to what the server says unasked.
    ///
    /// # Errors
    /// As [`Duplex::post`].
    pub(crate) async fn listen(&self, headers: &HeaderMap) -> Result<Stream, ExchangeError> {
        let live = self.live(headers).await?;
        Ok(Stream::of_wire(live.wire.listen(), None))
    }

    /// Ends the connection.
    pub(crate) async fn end(&self) {
        self.current.lock().await.take();
    }

    async fn live(&self, headers: &HeaderMap) -> Result<Arc<Live>, ExchangeError> {
        let session = headers.get(SESSION).map(|session| session.to_str().unwrap_or_default());
        let mut current = self.current.lock().await;
        if let Some(live) = current.as_ref().filter(|live| !live.wire.is_gone()) {
            if session.is_some_and(|session| session != live.wire.generation.to_string()) {
                return Err(ExchangeError::Forgotten);
            }
            return Ok(Arc::clone(live));
        }
        *current = None;
        if session.is_some() {
            return Err(ExchangeError::Forgotten);
        }
        let wire = Wire::new(self.generations.fetch_add(1, Ordering::Relaxed), self.bounds());
        let live = match &self.opener {
            Opener::Program(stdio) => open_program(stdio, wire).await?,
            Opener::Events(endpoint) => open_events(endpoint, headers, wire).await?,
        };
        Ok(Arc::clone(current.insert(Arc::new(live))))
    }
}

impl Live {
    async fn send(&self, mut headers: HeaderMap, message: Bytes, bounds: Bounds) -> Result<(), ExchangeError> {
        match &self.out {
            Out::Lines { lines, .. } => {
                let sent = tokio::time::timeout(bounds.head, lines.send(message)).await;
                match sent {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(_)) => Err(self.wire.why().into()),
                    Err(_) => {
                        self.wire.end(Over::Why("it does not read what it is sent".into()));
                        Err(ExchangeError::Late(bounds.head))
                    }
                }
            }
            Out::Posts(endpoint) => {
                // Its sessions are in the address.
                let begun = headers.remove(SESSION).is_some();
                match endpoint.post(headers, message).await {
                    Ok(_) | Err(ExchangeError::ContentType(_)) => Ok(()),
                    Err(ExchangeError::Status { status: StatusCode::NOT_FOUND, .. }) if begun => {
                        self.wire.end(Over::Why("the server has forgotten the session".into()));
                        Err(ExchangeError::Forgotten)
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    fn work(&self) -> Option<programs::Working> {
        match &self.out {
            Out::Lines { handle, .. } => Some(handle.work()),
            Out::Posts(_) => None,
        }
    }

    fn served(&self) {
        if let Out::Lines { handle, programs, server, .. } = &self.out {
            programs.served(server, handle);
        }
    }
}

async fn open_program(stdio: &Stdio, wire: Arc<Wire>) -> Result<Live, ExchangeError> {
    let Process { input, output, handle } = stdio.programs.start(&stdio.server, &stdio.owner, &stdio.program).await?;
    let (lines, waiting) = mpsc::channel(MOST_QUEUED);
    let handle = Arc::new(handle);
    wire.run(write_lines(input, waiting));
    wire.run(read_lines(output, Arc::clone(&wire), Arc::clone(&handle), stdio.bounds.message));
    let (programs, server) = (stdio.programs.clone(), stdio.server.clone());
    Ok(Live { wire, out: Out::Lines { lines, handle, programs, server } })
}

async fn write_lines(mut input: pipe::Sender, mut waiting: mpsc::Receiver<Bytes>) {
    while let Some(message) = waiting.recv().await {
        // A message of ours is one line: JSON needs no line ends, and those that a client put between tokens go.
        let line = one_line(&message);
        if input.write_all(&line).await.is_err() {
            return;
        }
    }
}

fn one_line(message: &[u8]) -> Vec<u8> {
    let mut line: Vec<u8> = message.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect();
    line.push(b'\n');
    line
}

async fn read_lines(output: pipe::Receiver, wire: Arc<Wire>, handle: Arc<Handle>, limit: usize) {
    let over = tokio::select! {
        over = lines_of(output, &wire, &handle, limit) => over,
        over = wire.gone() => over,
    };
    wire.end(over);
    handle.stop();
}

async fn lines_of(mut output: pipe::Receiver, wire: &Wire, handle: &Handle, limit: usize) -> Over {
    let mut held = BytesMut::with_capacity(8 << 10);
    let mut searched = 0;
    loop {
        if let Some(end) = memchr(b'\n', held.get(searched..).unwrap_or_default()) {
            let line = held.split_to(searched + end);
            held.advance(1);
            searched = 0;
            let line = line.freeze();
            if !line.trim_ascii().is_empty() {
                wire.deliver(line).await;
            }
            continue;
        }
        searched = held.len();
        if searched > limit {
            return Over::Large(limit);
        }
        match output.read_buf(&mut held).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Over::Why(how_it_ended(handle).await.into()),
        }
    }
}

/// Its output ends a moment before the program itself does.
async fn how_it_ended(handle: &Handle) -> String {
    match tokio::time::timeout(ENDS, handle.ended()).await {
        Ok(end) => {
            let words = handle.said();
            if words.is_empty() { end.to_string() } else { format!("{end}; it last said: {words}") }
        }
        Err(_) => "it closed its output".to_owned(),
    }
}

async fn open_events(endpoint: &Endpoint, headers: &HeaderMap, wire: Arc<Wire>) -> Result<Live, ExchangeError> {
    let patience = endpoint.bounds.head;
    let unheard = Endpoint { bounds: Bounds { silence: UNHEARD, ..endpoint.bounds }, ..endpoint.clone() };
    let mut stream = unheard.listen(headers.clone()).await?;
    let named = tokio::time::timeout(patience, async {
        loop {
            match stream.next().await? {
                Some(event) if event.name == "endpoint" => return Ok(event.data),
                Some(_) => {}
                None => return Err(ExchangeError::Gone("its stream named no address for messages".into())),
            }
        }
    });
    let named = named.await.map_err(|_| ExchangeError::Late(patience))??;
    let target = messages_at(endpoint, &named)
        .ok_or_else(|| ExchangeError::Gone("its stream named an address that is not its own".into()))?;
    let posts = Endpoint { target, ..endpoint.clone() };
    let reader = Arc::clone(&wire);
    wire.run(async move {
        let over = tokio::select! {
            over = events_of(stream, &reader) => over,
            over = reader.gone() => over,
        };
        reader.end(over);
    });
    Ok(Live { wire, out: Out::Posts(Box::new(posts)) })
}

async fn events_of(mut stream: Stream, wire: &Wire) -> Over {
    loop {
        match stream.next().await {
            Ok(Some(event)) if event.name == "message" && !event.data.is_empty() => wire.deliver(event.data).await,
            Ok(Some(_)) => {}
            Ok(None) => return Over::Why("its stream ended".into()),
            Err(ExchangeError::Events(EventError::TooLarge(limit))) => return Over::Large(limit),
            Err(_) => return Over::Why("its stream broke off".into()),
        }
    }
}

/// Resolves the address for messages against that of the stream; `None` when it is of another origin.
fn messages_at(endpoint: &Endpoint, named: &[u8]) -> Option<PathAndQuery> {
    let authority = endpoint.authority.to_str().ok()?;
    let scheme = endpoint.route.origin.scheme.as_str();
    let base = url::Url::parse(&format!("{scheme}://{authority}{}", endpoint.target)).ok()?;
    let found = base.join(std::str::from_utf8(named).ok()?.trim()).ok()?;
    if found.origin() != base.origin() {
        return None;
    }
    let query = found.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}{query}", found.path()).parse().ok()
}

impl From<StartError> for ExchangeError {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}
