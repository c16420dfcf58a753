//! Looks at a server: what it speaks and everything it offers, and when that has changed.
//!
//! It reads; what is kept, pinned or shown is decided elsewhere. Invariant: whatever a server answers, the look ends, and
//! what it brings back is bounded.

use http::header::HeaderMap;
use mcp::catalog::{Kind, ListPage, MAX_DEFINITIONS};
use mcp::message::{ErrorCode, Message, RpcError};
use mcp::oauth::challenge::Challenge;
use mcp::raw::{self, Object};
use mcp::version::{Era, Version, headers};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::signin::calls::refusal;
use crate::upstream::http::ExchangeError;
use crate::upstream::link::{Link, LinkError, LinkParts, Reply};
use crate::upstream::{Channel, Place};

/// Pages of one list.
const MOST_PAGES: usize = 200;
/// Bytes of everything a server lists.
const MOST_BYTES: usize = 4 << 20;

/// What a server is.
#[derive(Debug)]
pub struct Seen {
    pub version: Version,
    /// `serverInfo`, as it gave it.
    pub info: Option<Box<RawValue>>,
    pub instructions: Option<String>,
    /// Where it was found, of a server at an address.
    pub place: Option<Place>,
    /// Its definitions, by kind, as it listed them.
    pub lists: [Vec<Box<RawValue>>; 4],
}

/// Why a look brought nothing, in the words of the API (reference section 5.1).
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct LookError {
    pub message: String,
    /// It answered, with an error; else it was not reached.
    pub is_upstream: bool,
    pub status: Option<u16>,
    pub mcp_code: Option<i64>,
    /// It wants somebody to sign in.
    pub sign_in: bool,
    /// What it asks for, where it took no credential or wants one that reaches further.
    pub refusal: Option<Challenge>,
}

/// Looks at a server with a credential.
///
/// # Errors
/// It cannot be reached, refuses, or answers what is no answer.
pub async fn look(endpoint: Channel, credential: HeaderMap) -> Result<Seen, LookError> {
    // Servers leave out what a client could not answer; which clients can is found out with each call.
    let everything = json!({"roots": {"listChanged": true}, "sampling": {}, "elicitation": {"form": {}, "url": {}}});
    let capabilities = raw::raw(&everything);
    let link = Link::new(LinkParts { endpoint, credential, version: None, capabilities });
    let seen = read(&link).await;
    link.end().await;
    seen
}

/// Listens to a server until it hangs up, and says so each time the server tells that its definitions have changed. Returns
/// at once where the server tells nobody.
///
/// # Errors
/// It cannot be reached, refuses, or breaks off.
pub async fn listen(endpoint: Channel, credential: HeaderMap, changed: &(dyn Fn() + Sync)) -> Result<(), LookError> {
    let link = Link::new(LinkParts { endpoint, credential, version: None, capabilities: raw::raw(&json!({})) });
    let heard = hear(&link, changed).await;
    link.end().await;
    heard
}

async fn hear(link: &Link, changed: &(dyn Fn() + Sync)) -> Result<(), LookError> {
    let opened = link.ready().await.map_err(|error| explain(&error))?;
    let stream = match opened.version.era() {
        Era::Sessions => link.listen(None).await.map_err(|error| explain(&error))?,
        Era::Stateless => {
            let all = json!({"toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true});
            let params = raw::raw(&json!({"notifications": all}));
            let reply = link.request(link.next_id(), "subscriptions/listen", Some(&params)).await;
            match reply.map_err(|error| explain(&error))? {
                Reply::Stream { stream, .. } => Some(stream),
                Reply::Message(_) => None,
            }
        }
    };
    let Some(mut stream) = stream else { return Ok(()) };
    while let Some(event) = stream.next().await.map_err(|error| explain(&error.into()))? {
        match link.read(&event.data) {
            Ok(Message::Notification(told)) if told.method.ends_with("/list_changed") => changed(),
            // Nobody is here to be asked anything.
            Ok(Message::Request(asked)) => link.refuse(asked.id).await.map_err(|error| explain(&error))?,
            Ok(Message::Notification(_) | Message::Response(_) | Message::Error(_)) | Err(_) => {}
        }
    }
    Ok(())
}

async fn read(link: &Link) -> Result<Seen, LookError> {
    let opened = link.ready().await.map_err(|error| explain(&error))?;
    let mut lists: [Vec<Box<RawValue>>; 4] = Default::default();
    let mut left = MOST_BYTES;
    for kind in Kind::ALL {
        let capability = match kind {
            Kind::Tool => "tools",
            Kind::Prompt => "prompts",
            Kind::Resource | Kind::ResourceTemplate => "resources",
        };
        if opened.offers(capability) {
            lists[kind as usize] = list(link, kind, &mut left).await?;
        }
        if kind == Kind::Tool && opened.version.era() == Era::Stateless {
            // A tool whose arguments would stand in headers that nobody could check is not to be used (2026-07-28).
            lists[kind as usize].retain(|tool| is_usable(tool));
        }
    }
    let (info, instructions) = (opened.info.clone(), opened.instructions.clone());
    Ok(Seen { version: opened.version, info, instructions, place: link.place(), lists })
}

fn is_usable(tool: &RawValue) -> bool {
    if !raw::may_hold(tool, "x-mcp-header") {
        return true;
    }
    let schema = serde_json::from_str::<Value>(tool.get()).map(|mut tool| tool["inputSchema"].take());
    let usable = schema.is_ok_and(|schema| headers::are_sound(&schema));
    if !usable {
        let name = Object::parse(tool.get()).ok().and_then(|tool| tool.text("name").map(|name| name.into_owned()));
        tracing::warn!(tool = name, "a tool is left out: what its schema says of headers cannot be held to");
    }
    usable
}

async fn list(link: &Link, kind: Kind, left: &mut usize) -> Result<Vec<Box<RawValue>>, LookError> {
    let mut found = Vec::new();
    let mut cursor: Option<String> = None;
    for _ in 0..MOST_PAGES {
        let params = cursor.as_ref().map(|cursor| raw::raw(&json!({"cursor": cursor})));
        let answer = link.ask(kind.method(), params.as_deref()).await.map_err(|error| explain(&error))?;
        let result = match answer {
            Ok(result) => result,
            // Servers say that they have resources and know no templates.
            Err(error) if error.code == ErrorCode::MethodNotFound.number() => return Ok(found),
            Err(error) => return Err(refused(&error)),
        };
        let page = ListPage::read(kind, &result).ok_or_else(|| LookError {
            message: format!("the server's answer to {} holds no list", kind.method()),
            is_upstream: true,
            status: None,
            mcp_code: None,
            sign_in: false,
            refusal: None,
        })?;
        for item in page.items {
            let Some(rest) = left.checked_sub(item.get().len()).filter(|_| found.len() < MAX_DEFINITIONS) else {
                return Ok(found);
            };
            *left = rest;
            found.push(item);
        }
        // A cursor that leads to itself would lead nowhere else.
        if page.next_cursor.is_none() || page.next_cursor == cursor {
            break;
        }
        cursor = page.next_cursor;
    }
    Ok(found)
}

fn refused(error: &RpcError) -> LookError {
    LookError {
        message: error.message.to_string(),
        is_upstream: true,
        status: None,
        mcp_code: Some(error.code),
        sign_in: false,
        refusal: None,
    }
}

fn explain(error: &LinkError) -> LookError {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    let status = match error {
        LinkError::Exchange(ExchangeError::Status { status, .. }) => Some(status.as_u16()),
        LinkError::SignIn { .. } => Some(401),
        LinkError::Exchange(_)
        | LinkError::Message(_)
        | LinkError::Refused(_)
        | LinkError::Version
        | LinkError::NoAnswer => None,
    };
    let mcp_code = match error {
        LinkError::Refused(error) => Some(error.code),
        LinkError::Exchange(_)
        | LinkError::SignIn { .. }
        | LinkError::Message(_)
        | LinkError::Version
        | LinkError::NoAnswer => None,
    };
    let unreached = |error: &ExchangeError| {
        matches!(error, ExchangeError::Send(_) | ExchangeError::Late(_) | ExchangeError::Start(_))
    };
    let is_upstream = !matches!(error, LinkError::Exchange(error) if unreached(error));
    let sign_in = matches!(error, LinkError::SignIn { .. });
    LookError { message, is_upstream, status, mcp_code, sign_in, refusal: refusal(error) }
}
